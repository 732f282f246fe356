//! Meta: the properties of a stream or a view, apart from its rows. A verb on two streams joins their properties.

use std::rc::Rc;

use crate::core::schedule::Schedule;

/// Where rows come from, when they come, and where the chain behind them keeps state.
#[derive(Clone)]
pub(crate) struct Meta {
    /// The sources that the rows come from, ascending.
    pub lineage: Rc<[u32]>,
    /// The times at which there is a batch. Outputs write nothing at other times.
    pub schedule: Schedule,
    /// The state of the last verb of this chain that keeps one; `None` also where two chains with state have met.
    pub state: Option<usize>,
}

impl Meta {
    /// The meta of the rows that one source reads every `interval_ms` milliseconds.
    pub fn of_source(source: u32, interval_ms: u64) -> Self {
        Meta { lineage: [source].into(), schedule: Schedule::every(interval_ms), state: None }
    }

    /// The meta of a verb on both. It has a batch when either has one. If each has a state, neither is the last one.
    pub fn join(&self, other: &Meta) -> Self {
        let mut lineage: Vec<u32> = self.lineage.iter().chain(&*other.lineage).copied().collect();
        lineage.sort_unstable();
        lineage.dedup();
        let state = match (self.state, other.state) {
            (Some(a), Some(b)) if a != b => None,
            (a, b) => a.or(b),
        };
        Meta { lineage: lineage.into(), schedule: self.schedule.union(&other.schedule), state }
    }

    /// The same, with a batch every `ms` milliseconds.
    pub fn every(&self, ms: u64) -> Self {
        self.scheduled(Schedule::every(ms))
    }

    /// The same, at other times.
    pub fn scheduled(&self, schedule: Schedule) -> Self {
        Meta { schedule, ..self.clone() }
    }

    /// The same, where the last verb keeps this state.
    pub fn with_state(&self, state: usize) -> Self {
        Meta { state: Some(state), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_meta_has_both_sources_and_at_most_one_state() {
        let (a, b) = (Meta::of_source(3, 1_000), Meta::of_source(1, 1_000).every(2_000));
        let both = a.with_state(4).join(&b.join(&a));
        assert_eq!((&*both.lineage, both.state), (&[1, 3][..], Some(4)));
        assert_eq!(both.schedule, Schedule::every(1_000));
        assert_eq!(a.with_state(4).join(&b.with_state(4)).state, Some(4));
        assert_eq!(a.with_state(4).join(&b.with_state(5)).state, None);
    }
}
