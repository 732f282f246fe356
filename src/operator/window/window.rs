//! `window`: the raw rows of the last batches, as a DStream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, KEY_GROUPS, PartitionId, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::time::{BatchTime, Grid};
use crate::engine::flow::{Site, batched};
use crate::engine::state::{Changes, Groups, KeyedState};

impl<'s, T: Exchange> DStream<'s, T> {
    /// Every `slide`, all rows of the batches in the last `length`, oldest first, each batch in its own order. Nothing at
    /// other times; an empty window gives no rows. Rows are shared, not copied, but the result is as large as the window: to
    /// count or reduce it, the `*_window` verbs and [`DStream::over`] cost only what changes.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2], vec![3]], |s| s.window(millis(2), millis(1)), [vec![1], vec![1, 2], vec![2, 3]]);
    /// ```
    #[track_caller]
    pub fn window(&self, length: Duration, slide: Duration) -> DStream<'s, T> {
        let site = Site::of("window");
        let graph = &self.node.graph;
        let shape = super::shape(graph, &site, length, slide);
        let name = graph.note::<T>("window", format_args!("{} {}", shape.length, shape.slide));
        let sides = self.node.cases.len();
        let batches = (shape.length / shape.interval) as usize;
        if sides * batches > u16::MAX as usize {
            graph.problem(&site, format!("a window of {batches} batches is too long for raw rows; use over(length, slide)"));
        }
        let kept = Rc::new(RefCell::new(Kept::new(shape.length)));
        let (number, owner) = graph.remember(name, kept.clone());
        let windowed = batched(
            &graph.flow,
            &site,
            self.inner(),
            Pipeline,
            |slots, t, rows: Rows<T>| {
                let at: &mut Vec<Rows<T>> = slots.at(t);
                at.push(rows);
            },
            move |tick, rows, give| {
                let now = tick.time.millis();
                owner.batch(tick, || {
                    if !tick.restored {
                        kept.borrow_mut().batch(now, rows)
                    }
                });
                if shape.on_grid(tick.time) && !tick.restored {
                    for (t, batch) in &kept.borrow().batches {
                        // The oldest batch of a full window is side 0: rows are read by age, then as each batch was.
                        let age = batches - 1 - ((now - t) / shape.interval) as usize;
                        for rows in batch {
                            let mut rows = rows.clone();
                            rows.partition.branch += (age * sides) as u16;
                            give(rows);
                        }
                    }
                }
            },
        );
        let cases: Vec<_> = (0..batches.min(u16::MAX as usize)).flat_map(|_| self.node.cases.iter().copied()).collect();
        DStream::new(graph, windowed, &cases, &self.node.lineage)
            .on_grid(Grid::every(shape.slide))
            .placed(self.node.placed)
            .with_state(Some(number))
    }
}

/// What is in the window.
struct Kept<T> {
    length: u64,
    /// Batches, oldest first, by their time.
    batches: VecDeque<(u64, Vec<Rows<T>>)>,
    /// Groups with rows since the last cut.
    changed: Groups,
}

/// Raw rows have no key: a partition's rows are in the group of its number.
fn group_of<T>(rows: &Rows<T>) -> u64 {
    u64::from(rows.partition.index) % KEY_GROUPS
}

impl<T> Kept<T> {
    fn new(length: u64) -> Self {
        Kept { length, batches: VecDeque::new(), changed: 0 }
    }

    /// A batch enters, and those that are too old leave.
    fn batch(&mut self, now: u64, rows: Vec<Rows<T>>) {
        rows.iter().filter(|r| !r.rows.is_empty()).for_each(|r| self.changed |= 1 << group_of(r));
        self.batches.push_back((now, rows));
        while self.batches.front().is_some_and(|(t, _)| *t + self.length <= now) {
            self.batches.pop_front();
        }
    }
}

impl<T: Exchange> KeyedState for Kept<T> {
    fn cut(&mut self, t: BatchTime) -> Changes {
        let gone = BatchTime::from_millis(t.millis().saturating_sub(self.length));
        Changes { groups: std::mem::take(&mut self.changed), gone: Some(gone) }
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        let batch = |(t, batch): &(u64, Vec<Rows<T>>)| {
            let of_group = batch.iter().filter(|r| group_of(r) == group && !r.rows.is_empty());
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
    crate::engine::state::take_any(Kept::<String>::new(4), bytes)
}
