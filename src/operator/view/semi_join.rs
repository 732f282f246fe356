//! `semi_join` of two views: the rows whose key is in the other view.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view of the rows whose key is in the other view, each as often as in this view. The values of the other view do not count: for a
    /// view of keys alone, map each to `(key, ())`. Spark SQL calls it `left_semi`.
    ///
    /// It changes at the times of both schedules; at a time of one schedule only, the other view is as of its previous time. A batch costs
    /// the changes, and all rows of the keys that enter or leave the other view. Each worker keeps the rows of this view whose keys it owns,
    /// and the keys of the other view.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('b', 8)], vec![('b', 3)]],
    ///     |s| {
    ///         let large = s.filter(|(_, n)| *n > 5).accumulate();
    ///         s.filter(|(_, n)| *n < 5).accumulate().semi_join(&large).complete()
    ///     },
    ///     [vec![], vec![('b', 2)], vec![('b', 2), ('b', 3)]],
    /// );
    /// ```
    #[doc(alias = "left_semi")]
    #[track_caller]
    pub fn semi_join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, V)> {
        self.operator::<(K, V, W)>("semi_join", "");
        let (left, right) = (self.clone(), other.clone());
        let rows = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            sides.named(sides.left_met())
        });
        self.joined(other, rows, other.node.retracts.as_deref())
    }
}
