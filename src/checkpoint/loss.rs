//! Losses: planned ranges that the sources no longer had. The plan log records them, so that a replayed batch reads the same rows.

use serde::{Deserialize, Serialize};

use super::frame::decode;
use super::plan_log::PlanRecord;
use crate::core::data::encoded;
use crate::core::plan::Range;
use crate::core::time::BatchTime;

/// Ranges of a batch that had aged out of the source before they were read. The job skipped them, as its settings allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRecord {
    /// The time of the batch.
    pub time: BatchTime,
    /// The planned ranges that are not in the batch.
    pub ranges: Vec<Range>,
}

/// A record of the plan log. A plan begins with its time, which is never 0. So a record that begins with 0 is not a plan.
pub(super) enum Entry {
    Plan(PlanRecord),
    Lost(LossRecord),
}

/// The byte after 0 that marks a loss.
const LOST: u8 = 1;

impl LossRecord {
    pub(super) fn payload(&self) -> Vec<u8> {
        encoded(&(0u8, LOST, self))
    }
}

impl Entry {
    pub(super) fn read(payload: &[u8]) -> Result<Entry, String> {
        match payload {
            [0, LOST, rest @ ..] => decode(rest).map(Entry::Lost),
            [0, kind, ..] => Err(format!("a record of kind {kind}, which this program does not know")),
            plan => decode(plan).map(Entry::Plan),
        }
    }
}

/// Removes lost ranges from the ranges of a batch. If a range is lost up to its end, an empty range at its end remains.
pub(crate) fn without(ranges: Vec<Range>, time: BatchTime, losses: &[LossRecord]) -> Vec<Range> {
    let lost: Vec<&Range> = losses.iter().filter(|l| l.time == time).flat_map(|l| &l.ranges).collect();
    let mut left = Vec::new();
    for mut range in ranges {
        let mut gaps: Vec<&&Range> = lost.iter().filter(|l| l.source == range.source && l.split == range.split).collect();
        gaps.sort_by_key(|l| l.from);
        for gap in gaps.into_iter().filter(|gap| gap.from < gap.until) {
            if range.from < gap.from {
                left.push(Range { until: gap.from.min(range.until), ..range.clone() });
            }
            range.from = gap.until.clamp(range.from, range.until);
        }
        left.push(range);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::Split;

    #[test]
    fn ranges_without_what_is_lost() {
        let split = |p| Split::Kafka { topic: "t".into(), partition: p };
        let range = |p, from, until| Range { source: 0, split_id: 0, split: split(p), from, until };
        let at = BatchTime::from_millis(5);
        let left = |lost: &[(i64, i64)]| {
            let ranges = lost.iter().map(|(from, until)| range(0, *from, *until)).collect();
            let other = LossRecord { time: BatchTime::from_millis(4), ranges: vec![range(0, 0, 100)] };
            let left = without(vec![range(0, 10, 20), range(1, 0, 5)], at, &[other, LossRecord { time: at, ranges }]);
            let (last, left) = left.split_last().map(|(last, left)| (last.clone(), left.to_vec())).unwrap();
            assert_eq!(last, range(1, 0, 5), "another partition");
            left.iter().map(|r| (r.from, r.until)).collect::<Vec<_>>()
        };
        assert_eq!(left(&[]), [(10, 20)]);
        assert_eq!(left(&[(10, 13)]), [(13, 20)]);
        assert_eq!(left(&[(13, 15), (10, 11)]), [(11, 13), (15, 20)]);
        assert_eq!(left(&[(10, 13), (13, 20)]), [(20, 20)], "all of it: where the next one begins stays");
        assert_eq!(left(&[(15, 20)]), [(10, 15), (20, 20)]);
    }

    #[test]
    fn a_loss_is_distinguished_from_a_plan_and_from_an_unknown_record() {
        let loss = LossRecord { time: BatchTime::from_millis(5), ranges: Vec::new() };
        assert!(matches!(Entry::read(&loss.payload()), Ok(Entry::Lost(l)) if l == loss));
        assert_eq!(loss.payload(), [0, 1, 5, 0], "docs/formats.md");
        let plan = PlanRecord {
            plan: crate::core::plan::Plan { time: BatchTime::from_millis(5), ..Default::default() },
            ..Default::default()
        };
        assert!(matches!(Entry::read(&encoded(&plan)), Ok(Entry::Plan(p)) if p == plan));
        assert!(Entry::read(&[0, 2, 5]).err().is_some_and(|e| e.contains("kind 2")));
    }
}
