//! How the planner makes batches of corrections.

use crate::core::correction::{Corrected, Correction};
use crate::core::plan::BatchSpan;
use crate::core::schedule::{Placed, WindowSpec};
use crate::core::time::BatchTime;
use crate::job::planner::Planner;

impl Planner {
    /// Takes a correction, or refuses it.
    pub(super) fn correct(&mut self, id: u64, correction: Correction) {
        let (of, origin, interval) = (correction.of, correction.origin.clone(), self.config.interval.millis());
        let source = if self.given.is_some() {
            Err("the batches of this job are given, by --plans or by a replay".into())
        } else if of == BatchTime::default() || !of.millis().is_multiple_of(interval) {
            Err(format!("this is no batch time: those are multiples of {interval} ms"))
        } else if of >= self.next {
            Err(format!("this batch is not sealed: the next one is {}", self.next.millis()))
        } else {
            self.sources.takes(&origin)
        };
        match source {
            Ok(source) => self.inputs.corrections.waiting.push_back((id, source, correction)),
            Err(why) => self.inputs.corrections.refuse(id, why),
        }
    }

    /// Seals the batch that is for a correction, when it is due.
    pub(super) fn seal_correction(&mut self) -> bool {
        let due = self.stopping.requested() || self.back_to_back() || self.time.now() >= self.next.millis();
        if !due {
            return false;
        }
        let (batch, corrections) = (self.next, &mut self.inputs.corrections);
        corrections.held = false;
        let Some((id, source, correction)) = corrections.waiting.pop_front() else { return false };
        let left = left(&self.inputs.windows, correction.of, batch);
        let corrected = Corrected { of: correction.of, batch, records: correction.letters.len(), left };
        corrections.sealed.push_back((id, corrected));
        let ranges = self.sources.correct(source, &correction);
        self.seal(BatchSpan { first: batch, overdue: 0 }, ranges, false, None);
        true
    }
}

/// The windows that do not hold a batch any more.
fn left(windows: &[(String, WindowSpec)], of: BatchTime, now: BatchTime) -> Vec<String> {
    windows.iter().filter(|(_, window)| window.placed(of, now) == Placed::Left).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_has_left_is_named() {
        let at = BatchTime::from_millis;
        let windows = [("short", 2, 1), ("long", 6, 3), ("gaps", 1, 3)]
            .map(|(name, length, slide)| (name.to_string(), WindowSpec::of(length, slide)));
        assert_eq!(left(&windows, at(8), at(9)), ["gaps"]);
        assert_eq!(left(&windows, at(9), at(9)), Vec::<String>::new());
        // The next window of "gaps" has the batch 12 alone.
        assert_eq!(left(&windows, at(9), at(10)), ["gaps"]);
        assert_eq!(left(&windows, at(8), at(10)), ["short", "gaps"]);
        // The next window of "long" ends at 12: it has the batches after 6.
        assert_eq!(left(&windows, at(6), at(10)), ["short", "long", "gaps"]);
    }
}
