//! `left_outer_join` of two views: `join`, and the rows of the left view whose key is not in the other.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// The rows of [`View::join`] as `(key, (left, Some(right)))`, and a row `(key, (left, None))` for each row of this view whose key is
    /// not in the other one. When such a key enters the other view, the row with `None` leaves.
    ///
    /// Times, cost and memory are those of [`View::join`]; a worker also keeps each key of both views.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('b', 8)]],
    ///     |s| {
    ///         let large = s.filter(|(_, n)| *n > 5).accumulate();
    ///         s.accumulate().filter(|(_, n)| *n < 5).left_outer_join(&large).complete()
    ///     },
    ///     [vec![('a', (1, None)), ('b', (2, None))], vec![('a', (1, None)), ('b', (2, Some(8)))]],
    /// );
    /// ```
    #[doc(alias = "leftOuterJoin")]
    #[track_caller]
    pub fn left_outer_join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, (V, Option<W>))> {
        let operator = self.operator::<(K, V, W)>("left_outer_join", "");
        let (left, right) = (self.clone(), other.clone());
        let rows = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            let alone = sides.left_alone().map(|(code, v)| (code, (v, None)));
            sides.named(sides.both(|v, w| (v, Some(w))).concat(alone))
        });
        self.joined(other, rows, Some(&operator.to_string()))
    }
}
