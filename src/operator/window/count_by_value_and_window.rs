//! `count_by_value_and_window`: how often each row occurs in the last batches.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::arrangement::count::counted;
use crate::core::data::Key;
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;

impl<'s, T: 'static> DStream<'s, T> {
    /// A view with a row `(row, count)` for each distinct row of the last `length`, kept up to date every `slide`. A row that is no
    /// longer in the window is no longer in the view.
    ///
    /// Cost and state are those of [`DStream::over`], and a count for each distinct row.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a', 'a'], vec!['b', 'a'], vec![]],
    ///     |s| s.count_by_value_and_window(millis(2), millis(1)).complete(),
    ///     [vec![('a', 2)], vec![('a', 3), ('b', 1)], vec![('a', 1), ('b', 1)]],
    /// );
    /// ```
    #[doc(alias = "countByValueAndWindow")]
    #[track_caller]
    pub fn count_by_value_and_window(&self, length: Duration, slide: impl Into<Slide>) -> View<'s, (T, i64)>
    where
        T: Key,
    {
        let operator = OperatorId::of("count_by_value_and_window");
        let rows = self.window_view(&operator, length, slide.into());
        rows.counted(&operator)
    }
}

impl<'s, T: Key> View<'s, T> {
    /// Each distinct row with its count.
    pub(crate) fn counted(&self, operator: &OperatorId) -> View<'s, (T, i64)> {
        let view = self.clone();
        let counts = Form::counts(move || counted(&view));
        self.derive(counts, Some(&operator.to_string())).view()
    }
}
