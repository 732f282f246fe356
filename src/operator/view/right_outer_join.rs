//! `right_outer_join` of two views: `join`, and the rows of the other view whose key is not in the left one.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// The rows of [`View::join`] as `(key, (Some(left), right))`, and a row `(key, (None, right))` for each row of the other view whose
    /// key is not in this one. When such a key enters this view, the row with `None` leaves.
    ///
    /// Times, cost and memory are those of [`View::join`]; a worker also keeps each key of both views.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('b', 8)]],
    ///     |s| {
    ///         let large = s.filter(|(_, n)| *n > 5).accumulate();
    ///         large.right_outer_join(&s.accumulate().filter(|(_, n)| *n < 5)).complete()
    ///     },
    ///     [vec![('a', (None, 1)), ('b', (None, 2))], vec![('a', (None, 1)), ('b', (Some(8), 2))]],
    /// );
    /// ```
    #[doc(alias = "rightOuterJoin")]
    #[track_caller]
    pub fn right_outer_join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, (Option<V>, W))> {
        let operator = self.operator::<(K, V, W)>("right_outer_join", "");
        let (left, right) = (self.clone(), other.clone());
        let rows = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            let alone = sides.right_alone().map(|(code, w)| (code, (None, w)));
            sides.named(sides.both(|v, w| (Some(v), w)).concat(alone))
        });
        self.joined(other, rows, Some(&operator.to_string()))
    }
}
