//! `map`: one row for one row. Also the kernel of such verbs.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::map_containers;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::origins::origins;

impl<'s, T: Data> DStream<'s, T> {
    /// The result of `f` for each row, in the same partitions and order. Keeps no state.
    ///
    /// If `f` panics, the job ends with an error that names this call and the batch. [`DStream::try_map`] treats errors as data.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![]], |s| s.map(|n| n * 10), [vec![10, 20], vec![]]);
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl FnMut(T) -> U + 'static) -> DStream<'s, U> {
        let operator = self.operator::<U>("map", "");
        self.mapped(&operator, false, f)
    }

    /// The kernel of the verbs that make one row of each. `keyed`: a row keeps its key.
    pub(crate) fn mapped<U: Data>(
        &self,
        operator: &OperatorId,
        keyed: bool,
        mut f: impl FnMut(T) -> U + 'static,
    ) -> DStream<'s, U> {
        let operator = operator.clone();
        self.traced(keyed, move |s, wanted| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<T>, emit| {
                let (partition, origins) = (rows.partition, origins(&rows, &wanted));
                emit(Rows::new(partition, rows.take().into_iter().map(&mut f).collect()).with_origins(origins));
            })
        })
    }
}
