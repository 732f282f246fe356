//! `reduce_by_key` of a view: all values that a key has in it into one.

use crate::api::view::View;
use crate::arrangement::pairs::reduced;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// The values of each key through `f`, which must be pure, associative and commutative; a row that is there twice counts
    /// twice. A key without rows has none here.
    ///
    /// When a key's rows change, all its values are folded again, in ascending order: for keys with many values whose batches
    /// you have, [`crate::prelude::DStream::sum_by_key`] and [`crate::prelude::DStream::reduce_by_key_and_window`] cost less.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4), ('a', 4)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).reduce_by_key(|a, b| a + b).complete(),
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 11), ('b', 1)], vec![('a', 8)]],
    /// );
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + 'static) -> View<'s, (K, V)> {
        let site = Site::of("reduce_by_key");
        let graph = &self.node.graph;
        graph.note::<(K, V)>("view reduce_by_key", "");
        let fold = move |values: &[(&V, i64)]| {
            let copies = values.iter().flat_map(|(v, n)| std::iter::repeat_n((*v).clone(), (*n).max(0) as usize));
            copies.reduce(&f)
        };
        self.derive(reduced(self.plain(), graph, fold), Some(&site.name())).with(|node| node.placed = true)
    }
}
