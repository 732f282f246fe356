//! What the sources of a process have read that is in no plan yet: the records of a batch that fails before it is planned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::core::lock::lock;
use crate::core::plan::{Plan, Range};
use crate::core::time::BatchTime;

/// The ranges of each batch that is not closed, by split id. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Unplanned(Arc<Mutex<BTreeMap<BatchTime, BTreeMap<u32, Range>>>>);

impl Unplanned {
    /// The batch of this time has these ranges so far.
    pub fn read(&self, time: BatchTime, ranges: impl IntoIterator<Item = Range>) {
        let mut ranges = ranges.into_iter().peekable();
        if ranges.peek().is_some() {
            lock(&self.0).entry(time).or_default().extend(ranges.map(|range| (range.split_id, range)));
        }
    }

    /// The batch of this time is planned.
    pub fn planned(&self, time: BatchTime) {
        lock(&self.0).remove(&time);
    }

    /// The batches that are not planned, with the ranges that were read of them.
    pub fn plans(&self) -> Vec<Plan> {
        let full = |ranges: &BTreeMap<u32, Range>| ranges.values().filter(|r| r.from < r.until).cloned().collect();
        let plan = |(time, ranges): (&BatchTime, _)| Plan { time: *time, ranges: full(ranges), shown: true };
        lock(&self.0).iter().map(plan).filter(|plan| !plan.ranges.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::{Split, SplitRange};

    #[test]
    fn what_is_planned_is_forgotten() {
        let (unplanned, at) = (Unplanned::default(), BatchTime::from_millis);
        let range = |split_id, from, until| Range::new(0, split_id, SplitRange { split: Split::custom("n", 0), from, until });
        unplanned.read(at(5), [range(0, 0, 7)]);
        unplanned.read(at(10), [range(0, 7, 8), range(1, 4, 4)]);
        unplanned.read(at(10), [range(0, 7, 9)]);
        unplanned.planned(at(5));
        assert_eq!(unplanned.plans(), [Plan { time: at(10), ranges: vec![range(0, 7, 9)], shown: true }]);
    }
}
