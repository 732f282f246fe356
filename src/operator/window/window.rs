//! `window`: the raw rows of the last batches, as a DStream.

use std::collections::VecDeque;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;

use crate::data::{Data, Rows};
use crate::dstream::DStream;
use crate::flow::{Site, batched};
use crate::time::Grid;

impl<'s, T: Data> DStream<'s, T> {
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
        graph.note::<T>("window", format_args!("{} {}", shape.length, shape.slide));
        let sides = self.node.cases.len();
        let batches = (shape.length / shape.interval) as usize;
        if sides * batches > u16::MAX as usize {
            graph.problem(&site, format!("a window of {batches} batches is too long for raw rows; use over(length, slide)"));
        }
        let mut kept: VecDeque<(u64, Vec<Rows<T>>)> = VecDeque::new();
        let windowed = batched(
            &graph.flow,
            &site,
            self.inner(),
            Pipeline,
            |slots, t, rows: Rows<T>| {
                let at: &mut Vec<Rows<T>> = slots.at(t);
                at.push(rows);
            },
            move |plan, rows, give| {
                let now = plan.time.millis();
                kept.push_back((now, rows));
                while kept.front().is_some_and(|(t, _)| *t + shape.length <= now) {
                    kept.pop_front();
                }
                if shape.on_grid(plan.time) {
                    for (t, batch) in &kept {
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
        DStream::new(graph, windowed, &cases, &self.node.lineage).on_grid(Grid::every(shape.slide)).placed(self.node.placed)
    }
}
