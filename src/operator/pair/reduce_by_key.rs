//! `reduce_by_key` on batches: the values of each key, reduced to one.

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};
use crate::engine::operator_id::OperatorId;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, value)` per batch for each key of the batch: its values reduced by `f`. Rows are in no order; outputs sort them.
    ///
    /// `f` must be associative and commutative: each worker combines values while the batch is open, and sends a row per key. (Spark
    /// asks for associative only, but relies on both.) Keeps no state.
    ///
    /// A `+` in `f` is the program's own: in a release build it wraps round when the sum does not fit. A bare `1` is an `i32`, which
    /// ends at about 2·10⁹: write `1i64`. With `overflow-checks = true` in `[profile.release]` the job ends with an error that names
    /// this call and the batch. [`DStream::sum_by_key`] checks its sums in every build.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1i64), ('b', 5), ('a', 2)]], |s| s.reduce_by_key(|a, b| a + b), [vec![('a', 3), ('b', 5)]]);
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Clone + 'static) -> DStream<'s, (K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V)>("reduce_by_key", "");
        self.reduced(&operator, f)
    }

    /// The kernel: one row per key, on the worker that owns the key.
    pub(crate) fn reduced(&self, operator: &OperatorId, f: impl Fn(V, V) -> V + Clone + 'static) -> DStream<'s, (K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.combined_by_key(operator, |v| v, f.clone(), f)
    }
}
