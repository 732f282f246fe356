//! `window`: a DStream of the rows of the last batches.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, PartitionId, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::key_groups::KeyGroups;
use crate::core::schedule::WindowSpec;
use crate::core::slide::Slide;
use crate::core::time::BatchTime;
use crate::engine::flow::collect_batches;
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

impl<'s, T: 'static> DStream<'s, T> {
    /// Every `slide`, all rows of the batches in the last `length`, oldest batch first, each batch in its own order; no batch at other
    /// times. Before `length` has passed, the batches that there are.
    ///
    /// Rows are shared, not copied, but a batch costs all rows of the window: to count or reduce them, the `*_window` verbs and
    /// [`DStream::over`] cost only the changes. A window of more than about 65,000 batches is an error at the start. State: all rows of
    /// the window, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2], vec![3]], |s| s.window(millis(2), millis(1)), [vec![1], vec![1, 2], vec![2, 3]]);
    /// ```
    #[track_caller]
    pub fn window(&self, length: Duration, slide: impl Into<Slide>) -> DStream<'s, T>
    where
        T: Exchange,
    {
        self.windowed(&OperatorId::of("window"), length, &slide.into())
    }

    /// The kernel: the rows of the last batches.
    pub(super) fn windowed(&self, operator: &OperatorId, length: Duration, slide: &Slide) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let graph = &self.node.graph;
        let spec = super::register_window::<T>(graph, operator, length, slide);
        let (schedule, branches, batches) = (spec.schedule(), self.node.orders.len(), spec.batches());
        if branches * batches > u16::MAX as usize {
            graph.report(operator, format!("a window of {batches} batches is too long for raw rows; use over(length, slide)"));
        }
        let kept = Rc::new(RefCell::new(Kept::new(graph.key_groups(), spec.clone())));
        let (number, owner) = graph.register_state(operator, kept.clone());
        let (stream, operator) = (self.clone(), operator.clone());
        let windowed = move || {
            let owner = owner.build();
            collect_batches(stream.flow(), &operator, stream.inner(), move |tick, rows, emit| {
                let at = spec.at(tick.time);
                owner.batch(tick, || {
                    if !tick.restored {
                        kept.borrow_mut().batch(tick.time, tick.corrects(), rows)
                    }
                });
                if at.slides && !tick.restored {
                    for (t, batch) in kept.borrow().batches.iter().filter(|(t, _)| at.holds(*t)) {
                        // The oldest batch of the longest window is branch 0: rows are read by age, then in the order of their batch.
                        let younger = (tick.time.millis() - t) / spec.interval();
                        let age = batches.saturating_sub(1 + younger as usize);
                        for rows in batch {
                            let mut rows = rows.clone();
                            rows.partition.branch += (age * branches) as u16;
                            emit(rows);
                        }
                    }
                }
            })
        };
        let orders = (0..batches.min(u16::MAX as usize)).flat_map(|_| self.node.orders.iter().copied()).collect();
        let meta = self.node.meta.scheduled(schedule).with_state(number);
        DStream::build(graph, windowed, orders, meta, self.node.keyed, Rc::default())
    }
}

/// The batches in the window.
struct Kept<T> {
    groups: KeyGroups,
    spec: WindowSpec,
    /// Batches, oldest first, by their time.
    batches: VecDeque<(u64, Vec<Rows<T>>)>,
    /// Key groups with rows since the last snapshot.
    changed: Groups,
    /// Key groups in which an earlier batch changed since then.
    rewritten: Groups,
}

/// Raw rows have no key: the rows of a partition are in the key group of its index.
fn group_of<T>(rows: &Rows<T>, groups: KeyGroups) -> u64 {
    u64::from(rows.partition.index) % groups.count()
}

impl<T> Kept<T> {
    fn new(groups: KeyGroups, spec: WindowSpec) -> Self {
        Kept { groups, spec, batches: VecDeque::new(), changed: Groups::default(), rewritten: Groups::default() }
    }

    /// Adds a batch, whose rows may belong to an earlier one, and removes those that have left the window.
    fn batch(&mut self, now: BatchTime, of: Option<BatchTime>, rows: Vec<Rows<T>>) {
        let touched = if of.is_some() { &mut self.rewritten } else { &mut self.changed };
        rows.iter().filter(|r| !r.rows.is_empty()).for_each(|r| touched.insert(group_of(r, self.groups)));
        let at = of.unwrap_or(now).millis();
        let place = self.batches.partition_point(|(t, _)| *t < at);
        if self.batches.get(place).is_none_or(|(t, _)| *t != at) {
            self.batches.insert(place, (at, Vec::new()));
        }
        // Origins are not saved, and would keep the records of the source for the length of the window.
        self.batches[place].1.extend(rows.into_iter().map(|rows| rows.with_origins(None)));
        let left = self.spec.left(now).millis();
        while self.batches.front().is_some_and(|(t, _)| *t <= left) {
            self.batches.pop_front();
        }
    }
}

impl<T: Exchange> KeyedState for Kept<T> {
    fn snapshot(&mut self, t: BatchTime) -> Changes {
        Changes { groups: std::mem::take(&mut self.changed), expired: Some(self.spec.left(t)) }
    }

    fn window(&self) -> Option<WindowSpec> {
        Some(self.spec.clone())
    }

    fn rewritten(&mut self) -> Groups {
        std::mem::take(&mut self.rewritten)
    }

    fn held(&self) -> Held {
        let rows: usize = self.batches.iter().flat_map(|(_, rows)| rows).map(|rows| rows.rows.len()).sum();
        Held::of_keys(0, rows * size_of::<T>()).with_panes(self.batches.len())
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        let batch = |(t, batch): &(u64, Vec<Rows<T>>)| {
            let of_group = batch.iter().filter(|r| group_of(r, self.groups) == group && !r.rows.is_empty());
            let rows = of_group.map(|r| (r.partition, r.rows.clone())).collect::<Vec<_>>();
            (!rows.is_empty()).then_some((*t, rows))
        };
        let batches: Vec<_> = self.batches.iter().filter(|(t, _)| *t > since.millis()).filter_map(batch).collect();
        if batches.is_empty() { Vec::new() } else { encoded(&batches) }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        for (t, partitions) in postcard::from_bytes::<Vec<(u64, Vec<(PartitionId, Vec<T>)>)>>(bytes)? {
            let at = self.batches.partition_point(|(u, _)| *u < t);
            if self.batches.get(at).is_none_or(|(u, _)| *u != t) {
                self.batches.insert(at, (t, Vec::new()));
            }
            self.batches[at].1.extend(partitions.into_iter().map(|(partition, rows)| Rows::new(partition, rows)));
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Kept::<String>::new(KeyGroups::default(), WindowSpec::of(4, 1)), bytes)
}
