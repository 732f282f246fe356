//! `window`: the raw rows of the last batches, as a DStream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;

use crate::data::{Exchange, KEY_GROUPS, Lane, Rows, encoded};
use crate::dstream::DStream;
use crate::error::BoxError;
use crate::flow::{Site, batched};
use crate::state::KeyedState;
use crate::time::Grid;

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
        let kept: Rc<RefCell<Kept<T>>> = Rc::default();
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
                if tick.restored {
                    return;
                }
                let now = tick.time.millis();
                owner.batch(tick, || kept.borrow_mut().batch(now, rows, shape.length));
                if shape.on_grid(tick.time) {
                    for (t, batch) in &kept.borrow().0 {
                        // The oldest batch of a full window is side 0: rows are read by age, then as each batch was.
                        let age = batches - 1 - ((now - t) / shape.interval) as usize;
                        for rows in batch {
                            let mut rows = rows.clone();
                            rows.lane.side += (age * sides) as u16;
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

/// The batches in the window, oldest first, by their time.
struct Kept<T>(VecDeque<(u64, Vec<Rows<T>>)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(VecDeque::new())
    }
}

impl<T> Kept<T> {
    /// A batch enters, and those that are too old leave.
    fn batch(&mut self, now: u64, rows: Vec<Rows<T>>, length: u64) {
        self.0.push_back((now, rows));
        while self.0.front().is_some_and(|(t, _)| *t + length <= now) {
            self.0.pop_front();
        }
    }
}

/// Raw rows have no key: a lane's rows are in the group of its number.
impl<T: Exchange> KeyedState for Kept<T> {
    fn save(&mut self, group: u64) -> Vec<u8> {
        let of_group = |rows: &&Rows<T>| u64::from(rows.lane.lane) % KEY_GROUPS == group;
        let batch = |(t, batch): &(u64, Vec<Rows<T>>)| {
            let rows = batch.iter().filter(of_group).map(|r| (r.lane, r.rows.clone())).collect::<Vec<_>>();
            (!rows.is_empty()).then_some((*t, rows))
        };
        let batches: Vec<_> = self.0.iter().filter_map(batch).collect();
        if batches.is_empty() { Vec::new() } else { encoded(&batches) }
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        for (t, lanes) in postcard::from_bytes::<Vec<(u64, Vec<(Lane, Vec<T>)>)>>(bytes)? {
            let at = self.0.partition_point(|(u, _)| *u < t);
            if self.0.get(at).is_none_or(|(u, _)| *u != t) {
                self.0.insert(at, (t, Vec::new()));
            }
            self.0[at].1.extend(lanes.into_iter().map(|(lane, rows)| Rows::new(lane, rows)));
        }
        Ok(())
    }
}
