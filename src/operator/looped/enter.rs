//! `enter`: brings a view into a loop.

use differential_dataflow::AsCollection;

use crate::api::loop_view::LoopView;
use crate::api::view::View;
use crate::core::data::Key;

impl<'i, T: Key> LoopView<'i, T> {
    /// Another view, inside the loop: in every round it has the rows that it has in the batch. The result of the loop then changes at
    /// the times of both schedules, and has both sources. Make the view outside the closure of the loop, and clone it into it.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // Which numbers are reached from 1 along pairs?
    /// check(
    ///     [vec![(1, 2), (3, 4)], vec![(2, 3)]],
    ///     |s| {
    ///         let pairs = s.accumulate();
    ///         let start = pairs.filter(|(from, _)| *from == 1).map(|(from, _)| from);
    ///         start.iterate(move |reached| reached.enter(&pairs).join_keys(reached).map(|(_, to)| to).union(reached).distinct())
    ///             .complete()
    ///     },
    ///     [vec![1, 2], vec![1, 2, 3, 4]],
    /// );
    /// ```
    pub fn enter<U: Key>(&self, view: &View<'_, U>) -> LoopView<'i, U> {
        let rows = match self.lap.scope {
            Some(scope) => Some(view.rows().as_collection().enter(scope)),
            None => {
                self.lap.uses.views.borrow_mut().push(view.node.meta.clone());
                None
            }
        };
        LoopView { lap: self.lap.clone(), rows, consolidated: false }
    }
}
