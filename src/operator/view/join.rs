//! `join` of two views: the pairs of values that they have for the same key, kept up to date when either view changes.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with a row `(key, (left, right))` for each key in both views: every value of this view with every value of the other. A
    /// row that occurs n times meets a row that occurs m times n·m times.
    ///
    /// The result changes at the times of both schedules; at a time of one schedule only, the other view is as of its previous time.
    /// A batch costs the changes and the rows that they meet. Each worker keeps the rows of both views whose keys it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).join(&s.accumulate().map_values(|n| -n)).complete(),
    ///     [
    ///         vec![('a', (1, -1)), ('b', (2, -2))],
    ///         vec![('a', (1, -1)), ('a', (1, -3)), ('a', (3, -1)), ('a', (3, -3)), ('b', (2, -2))],
    ///         vec![('a', (3, -1)), ('a', (3, -3))],
    ///     ],
    /// );
    /// ```
    #[track_caller]
    pub fn join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, (V, W))> {
        self.operator::<(K, V, W)>("join", "");
        let (left, right) = (self.clone(), other.clone());
        let joined = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            sides.named(sides.both(|v, w| (v, w)))
        });
        self.joined(other, joined, other.node.retracts.as_deref())
    }

    /// The result of a join with another view, which lies on the workers that own the keys.
    pub(super) fn joined<W, X>(&self, other: &View<'s, (K, W)>, rows: Form<'s, X>, retracts: Option<&str>) -> View<'s, X> {
        self.derive(rows, retracts).co_located(true).with_meta(self.node.meta.join(&other.node.meta)).view()
    }
}
