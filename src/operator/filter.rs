//! `filter`: the rows that pass a test.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::map_containers;

impl<'s, T: Data> DStream<'s, T> {
    /// The rows for which `test` is true, in the same partitions and order. If another verb reads the same rows, the rows that pass
    /// are cloned. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2, 3]], |s| s.filter(|n| n % 2 == 1), [vec![1, 3]]);
    /// ```
    #[track_caller]
    pub fn filter(&self, mut test: impl FnMut(&T) -> bool + 'static) -> DStream<'s, T> {
        let operator = self.operator::<T>("filter", "");
        self.narrow_keyed(move |s| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<T>, emit| {
                let partition = rows.partition;
                let kept: Vec<T> = match std::rc::Rc::try_unwrap(rows.rows) {
                    Ok(mut own) => {
                        own.retain(&mut test);
                        own
                    }
                    Err(shared) => shared.iter().filter(|r| test(r)).cloned().collect(),
                };
                emit(Rows::new(partition, kept));
            })
        })
    }
}
