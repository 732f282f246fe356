//! `filter`: the rows that pass a test.

use std::rc::Rc;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::core::origin::OriginsWanted;
use crate::engine::flow::map_containers;
use crate::operator::kernel::origins::Trail;

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
        self.traced(true, move |s, wanted| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<T>, emit| {
                emit(retained(rows, &wanted, &mut test));
            })
        })
    }
}

/// The rows that pass a test, with their origins if those are wanted.
pub(super) fn retained<T: Data>(rows: Rows<T>, wanted: &OriginsWanted, mut test: impl FnMut(&T) -> bool) -> Rows<T> {
    let (partition, mut trail) = (rows.partition, Trail::new(&rows, wanted));
    let mut passes = |row: &T| {
        let passes = test(row);
        trail.step(usize::from(passes));
        passes
    };
    let kept: Vec<T> = match Rc::try_unwrap(rows.rows) {
        Ok(mut own) => {
            own.retain(passes);
            own
        }
        Err(shared) => shared.iter().filter(|r| passes(r)).cloned().collect(),
    };
    Rows::new(partition, kept).with_origins(trail.origins())
}
