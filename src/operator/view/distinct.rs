//! `distinct` of a view: each row once.

use crate::api::view::{Form, View};
use crate::arrangement::count::distinct;
use crate::core::data::Key;

impl<'s, T: Key> View<'s, T> {
    /// A view with each row of this view once, until its last copy leaves. It cannot keep the presentation order of this view: call
    /// `sort_by` after it.
    ///
    /// A batch costs the changes of this view. Each worker keeps a count for each distinct row that it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['b', 'a', 'a'], vec!['a'], vec![]],
    ///     |s| s.over(millis(2), millis(1)).distinct().complete(),
    ///     [vec!['a', 'b'], vec!['a', 'b'], vec!['a']],
    /// );
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> View<'s, T> {
        let (operator, view) = (self.operator::<T>("distinct", ""), self.clone());
        let order = self.node.order.lost(&operator);
        // It removes rows only if this view does.
        let form = Form::interned(move || distinct(&view));
        self.derive(form, None).ordered(order).view()
    }
}
