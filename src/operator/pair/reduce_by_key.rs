//! `reduce_by_key` on batches: the values of each key into one.

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key, Rows};
use crate::engine::flow::Site;
use crate::operator::kernel::partial_table::Book;

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// Each key of the batch with its values through `f`, which must be associative and commutative: values are combined on
    /// every worker before they move. Spark asks for associative only, and relies on commutative.
    ///
    /// A bare `1` is an `i32` and wraps at two thousand million in a release build: write `1i64`.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1i64), ('b', 5), ('a', 2)]], |s| s.reduce_by_key(|a, b| a + b), [vec![('a', 3), ('b', 5)]]);
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Clone + 'static) -> DStream<'s, (K, V)> {
        let site = Site::of("reduce_by_key");
        self.node.graph.note::<(K, V)>("reduce_by_key", "");
        self.reduced(&site, f)
    }

    /// The kernel: one row a key, on the worker that owns it.
    pub(crate) fn reduced(&self, site: &Site, f: impl Fn(V, V) -> V + Clone + 'static) -> DStream<'s, (K, V)> {
        let (f2, f3) = (f.clone(), f);
        let fold = move |sums: &mut Book<_, _>, rows: Rows<(K, V)>| {
            rows.take().into_iter().for_each(|(k, v)| merge(sums.of_own(k), Some(v), &f2));
        };
        let reduced = self.combine(site, None, fold, move |a, b| merge(a, b, &f3));
        let flow = &self.node.graph.flow;
        let plain = crate::engine::flow::expand(flow, site, reduced.inner(), |_, rows: Rows<(K, Option<V>)>, give| {
            give(Rows::new(rows.partition, rows.take().into_iter().filter_map(|(k, v)| v.map(|v| (k, v))).collect()));
        });
        reduced.narrow(plain).placed(true)
    }
}

/// `Option` so that `f` may take its arguments by value.
fn merge<V>(acc: &mut Option<V>, more: Option<V>, f: &impl Fn(V, V) -> V) {
    *acc = match (acc.take(), more) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
    };
}
