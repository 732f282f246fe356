//! `count` of a view: the number of rows in it.

use crate::api::view::{Changes, Form, View};
use crate::core::data::Key;
use crate::core::error::Error;
use crate::core::sum::{add, checked};
use crate::core::time::BatchTime;
use crate::engine::flow::PendingBatches;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::to_one::{partial, to_one};

impl<'s, T: Key> View<'s, T> {
    /// A view of one row, the number of rows in this view. It is empty until a row was seen. After that it always has one row, even 0.
    ///
    /// A batch costs the changes of this view; each worker sends one number. Worker 0 keeps the count.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![], vec![1, 1], vec![2]], |s| s.accumulate().count().complete(), [vec![], vec![2], vec![3]]);
    /// ```
    #[track_caller]
    pub fn count(&self) -> View<'s, i64> {
        let operator = self.operator::<T>("count", "");
        self.counted_rows(&operator)
    }

    pub(crate) fn counted_rows(&self, operator: &OperatorId) -> View<'s, i64> {
        let (view, step) = (self.clone(), operator.clone());
        let count = Form::rows(move || view.count_changes(&step));
        self.derive(count, Some(&operator.to_string())).co_located(true).view()
    }

    fn count_changes(&self, operator: &OperatorId) -> Changes<'s, i64> {
        let graph = &self.node.graph;
        // Of a row only the time and the count are needed: codes will do, without their keys.
        let partials = partial(
            graph,
            operator,
            self.interned().changes,
            |pending: &mut PendingBatches<i64>, _, changes: Vec<(u32, BatchTime, i64)>| {
                changes.into_iter().for_each(|(_, t, n)| add(pending.at(t), n));
            },
            |n| if n == 0 { vec![] } else { vec![n] },
        );
        let mut total: Option<i64> = None;
        let (fail, name) = (graph.fail.clone(), operator.to_string());
        to_one(
            graph,
            operator,
            partials,
            |sum, ns: Vec<i64>| ns.into_iter().for_each(|n| add(sum, n)),
            move |tick, change: i64, emit| {
                if change != 0 {
                    let Some(new) = checked(total.unwrap_or(0), change) else {
                        return fail(Error::SumTooLarge { operator: name.clone(), key: "all rows".into(), time: tick.time });
                    };
                    let old = total.replace(new).map(|n| (n, tick.time, -1));
                    emit(old.into_iter().chain([(new, tick.time, 1)]).collect());
                }
            },
        )
    }
}
