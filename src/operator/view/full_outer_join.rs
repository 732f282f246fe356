//! `full_outer_join` of two views: `join`, and the rows of each view whose key is not in the other.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// The rows of [`View::join`] as `(key, (Some(left), Some(right)))`. For each row whose key is not in the other view there is a row
    /// `(key, (Some(left), None))` or `(key, (None, Some(right)))`, until the key enters the other view.
    ///
    /// Times, cost and memory are those of [`View::join`]; a worker also keeps each key of both views.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 8)], vec![('b', 2)]],
    ///     |s| {
    ///         let (small, large) = (s.filter(|(_, n)| *n < 5), s.filter(|(_, n)| *n > 5));
    ///         small.accumulate().full_outer_join(&large.accumulate()).complete()
    ///     },
    ///     [
    ///         vec![('a', (Some(1), None)), ('b', (None, Some(8)))],
    ///         vec![('a', (Some(1), None)), ('b', (Some(2), Some(8)))],
    ///     ],
    /// );
    /// ```
    #[doc(alias = "fullOuterJoin")]
    #[track_caller]
    #[allow(clippy::type_complexity, reason = "the rows of Spark's join")]
    pub fn full_outer_join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, (Option<V>, Option<W>))> {
        let operator = self.operator::<(K, V, W)>("full_outer_join", "");
        let (left, right) = (self.clone(), other.clone());
        let rows = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            let lefts = sides.left_alone().map(|(code, v)| (code, (Some(v), None)));
            let rights = sides.right_alone().map(|(code, w)| (code, (None, Some(w))));
            sides.named(sides.both(|v, w| (Some(v), Some(w))).concat(lefts).concat(rights))
        });
        self.joined(other, rows, Some(&operator.to_string()))
    }
}
