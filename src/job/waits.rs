//! For how long the oldest record that a split has left has waited.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::core::plan::Range;
use crate::job::protocol::SplitRead;

/// How many ends of a split are remembered.
const ENDS: usize = 1_000;

/// When records of each split were first known to exist, for sources that do not tell their timestamps.
#[derive(Default)]
pub(crate) struct Waits {
    /// By split id: the time of a seal in milliseconds, and the end of the split that was known then. Ends grow.
    ends: BTreeMap<u32, VecDeque<(u64, i64)>>,
}

impl Waits {
    /// One source on one worker has sealed its part of a batch: for how long the oldest record that each of its splits has left has
    /// waited. It is 0 if nothing is left, and unknown if the source does not tell what is left.
    pub fn sealed(&mut self, now_ms: u64, ranges: &[Range], read: &BTreeMap<u32, SplitRead>) -> BTreeMap<u32, Duration> {
        let positions = ranges.iter().map(|r| (r.split_id, r.until));
        let known = positions.filter_map(|(id, until)| {
            let SplitRead { lag, oldest, .. } = read.get(&id)?;
            // A source that knows its lag only in time tells the timestamp.
            Some((id, until, (*lag).or(oldest.map(|_| 0))?, *oldest))
        });
        known.map(|(id, until, lag, oldest)| (id, self.of(id, until, lag, oldest, now_ms))).collect()
    }

    fn of(&mut self, split_id: u32, until: i64, lag: u64, oldest: Option<u64>, now_ms: u64) -> Duration {
        let ends = self.ends.entry(split_id).or_default();
        while ends.front().is_some_and(|(_, end)| *end <= until) {
            ends.pop_front();
        }
        let end = until.saturating_add_unsigned(lag);
        if lag > 0 && ends.back().is_none_or(|(_, known)| *known < end) {
            ends.push_back((now_ms, end));
        }
        if ends.len() > ENDS {
            ends.pop_front();
        }
        let since = oldest.or_else(|| ends.front().map(|(since, _)| *since));
        Duration::from_millis(now_ms.saturating_sub(since.unwrap_or(now_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::{millis, secs};

    #[test]
    fn the_oldest_record_waits_since_its_timestamp_or_since_it_was_known() {
        let mut waits = Waits::default();
        let mut at = |now, until, lag, oldest| waits.of(0, until, lag, oldest, now);
        assert_eq!(at(1_000, 10, 0, None), millis(0), "nothing is left");
        assert_eq!(at(2_000, 20, 30, None), millis(0), "50 records are known from now on");
        assert_eq!(at(3_000, 30, 30, None), secs(1));
        assert_eq!(at(4_000, 50, 30, None), secs(1), "records 50 to 60 are known since the second before");
        assert_eq!(at(5_000, 60, 30, Some(500)), millis(4_500), "the source tells when it was made");
        assert_eq!(at(6_000, 60, 30, Some(9_000)), millis(0), "a clock that is ahead");
        assert_eq!(at(7_000, 90, 0, None), millis(0));
    }

    #[test]
    fn a_source_may_know_its_lag_only_in_time() {
        let split = crate::core::plan::Split::custom("clicks", 0);
        let range = |split_id| Range { source: 0, split_id, split: split.clone(), from: 0, until: 10 };
        let known = SplitRead { oldest: Some(400), ..SplitRead::default() };
        let read = BTreeMap::from([(0, known), (1, SplitRead::default())]);
        let waits = Waits::default().sealed(1_000, &[range(0), range(1)], &read);
        assert_eq!(waits, BTreeMap::from([(0, millis(600))]), "of the other one nothing is known");
    }
}
