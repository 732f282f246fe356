//! `sort_by` of a view: the order in which it is presented.

use std::rc::Rc;

use crate::api::view::{Form, View};
use crate::core::data::Key;
use crate::operator::sort_by::sorted;

impl<'s, T: Key> View<'s, T> {
    /// The same view in a presentation order: by ascending `key`, rows with equal keys by encoding. `complete` returns all rows in this
    /// order, `update` the changed ones, `changes` first those that left, then those that entered.
    ///
    /// The output mode then gathers its rows on worker 0, as [`DStream::sort_by`](crate::prelude::DStream::sort_by) does. `map` and
    /// `flat_map` lose the order. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().sort_by(|n| -n).complete(), [vec![2, 1], vec![3, 2, 1]]);
    /// ```
    #[doc(alias = "sortBy")]
    #[track_caller]
    pub fn sort_by<K: Ord + 'static>(&self, key: impl Fn(&T) -> K + 'static) -> View<'s, T> {
        self.operator::<T>("sort_by", "");
        let same = self.derive(Form::Rows(self.rows()), None).co_located(self.node.co_located);
        same.ordered(Some(Rc::new(move |rows| sorted(rows, &key)))).view()
    }
}
