//! `sample`: a random part of each batch, the same whenever the batch runs.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, Rows, stable_hash};
use crate::operator::filter::retained;

impl<'s, T: Exchange> DStream<'s, T> {
    /// About `fraction` of the rows of each batch, drawn without replacement, in the same partitions and order. Each row is drawn on its
    /// own, so the number of rows varies. Keeps no state.
    ///
    /// The choice depends on `seed`, the batch time, and the place of the row in its partition. So a batch that runs again has the same
    /// sample: after a restart, in a replay, on any number of workers. Another seed draws other rows. Counted and shuffled rows have no
    /// place. They are drawn by their encoding, so equal rows of a batch are drawn together.
    ///
    /// Constraints: `fraction` is 0 to 1, else the start fails.
    ///
    /// ```
    /// use tidemill::testing::{check, run};
    /// check([vec!['a', 'b']], |s| s.sample(1.0, 7), [vec!['a', 'b']]);
    /// let rows: Vec<u32> = (0..1_000).collect();
    /// let [alone, four] = [1, 4].map(|workers| run(workers, vec![rows.clone()], |s| s.sample(0.1, 7)));
    /// assert_eq!(alone, four);
    /// assert!((70..130).contains(&alone[0].1.len()));
    /// ```
    #[track_caller]
    pub fn sample(&self, fraction: f64, seed: u64) -> DStream<'s, T> {
        let operator = self.operator::<T>("sample", format_args!("{fraction} {seed}"));
        if !(0.0..=1.0).contains(&fraction) {
            self.node.graph.report(&operator, format!("the fraction {fraction} is not a number from 0 to 1"));
        }
        // Of 2^64 numbers, as many as the fraction says are drawn.
        let drawn = (fraction * 2f64.powi(64)) as u128;
        let orders = self.node.orders.clone();
        self.traced(true, move |s, wanted| {
            s.positioned(&operator, move |t, before, rows: Rows<T>, emit| {
                let (partition, mut places) = (rows.partition, before..);
                let by_row = matches!(orders[partition.branch as usize], RowOrder::Unordered { .. });
                emit(retained(rows, &wanted, |row| {
                    let place = places.next().expect("a partition has fewer than 2^64 rows");
                    let number = if by_row { stable_hash(&(t, row), seed) } else { stable_hash(&(t, partition, place), seed) };
                    u128::from(number) < drawn
                }));
            })
        })
    }
}
