//! `anti_join` of two views: the rows whose key is not in the other view.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::Sides;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view of the rows whose key is not in the other view, each as often as in this view. The values of the other view do not count:
    /// for a view of keys alone, map each to `(key, ())`. Spark SQL calls it `left_anti`, and on batches it is `subtractByKey`.
    ///
    /// Times, cost and memory are those of [`View::semi_join`]; a worker also keeps the keys of this view.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('b', 8)], vec![('a', 3)]],
    ///     |s| {
    ///         let large = s.filter(|(_, n)| *n > 5).accumulate();
    ///         s.filter(|(_, n)| *n < 5).accumulate().anti_join(&large).complete()
    ///     },
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 1)], vec![('a', 1), ('a', 3)]],
    /// );
    /// ```
    #[doc(alias = "left_anti")]
    #[track_caller]
    pub fn anti_join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, V)> {
        let operator = self.operator::<(K, V, W)>("anti_join", "");
        let (left, right) = (self.clone(), other.clone());
        let rows = Form::rows(move || {
            let sides = Sides::new(&left, &right);
            sides.named(sides.left_alone())
        });
        self.joined(other, rows, Some(&operator.to_string()))
    }
}
