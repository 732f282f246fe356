//! `EventTimeJoin`: the rows of two streams that are joined by event time, and its late rows. Also the kernel of these joins.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use super::event_time::EventTimeStream;
use super::joint_watermark::joint;
use super::watermark::{Watermark, report_late, with_watermark};
use crate::api::context::Switch;
use crate::api::dstream::{BY_KEY_GROUP, DStream, lazy};
use crate::core::data::{Exchange, Key, Rows};
use crate::core::error::BoxError;
use crate::core::event_time::Timestamped;
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::flow::split_map;
use crate::engine::operator_id::OperatorId;
use crate::engine::state::KeyedState;
use crate::operator::kernel::combine::by_group;

/// A row of a late stream: its key, and its value on the side that it came from.
type Late<K, V, W> = (K, (Option<V>, Option<W>));

/// Two streams joined by event time: the result of [`EventTimeStream::join_within`], its outer forms, and
/// [`EventTimeStream::as_of_join`].
///
/// It is used as the stream of its rows `(key, R)`: `map`, `tumbling` and every verb of [`EventTimeStream`] are methods.
/// [`EventTimeJoin::late`] has the rows that came too late. `V` and `W` are the values of the left and of the right stream.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check2;
/// let micros = std::time::Duration::from_micros;
/// // How many clicks follow the views of each 10 µs.
/// check2(
///     [vec![1], vec![3], vec![20]],
///     [vec![3], vec![4], vec![29]],
///     move |views, clicks| {
///         let [views, clicks] = [views, clicks].map(|s| s.event_time(|time| *time, micros(0)).map(|time| ('a', time)));
///         let pairs = views.join_within(&clicks, micros(0), micros(5));
///         pairs.tumbling(micros(10)).count().append().map(|w| (w.end, w.row))
///     },
///     [vec![], vec![], vec![(10, 4)]],
/// );
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct EventTimeJoin<'s, K: 'static, V: 'static, W: 'static, R: 'static> {
    rows: EventTimeStream<'s, (K, R)>,
    late: DStream<'s, Timestamped<Late<K, V, W>>>,
}

impl<K, V, W, R> Clone for EventTimeJoin<'_, K, V, W, R> {
    fn clone(&self) -> Self {
        EventTimeJoin { rows: self.rows.clone(), late: self.late.clone() }
    }
}

/// The joined rows.
impl<'s, K, V, W, R> Deref for EventTimeJoin<'s, K, V, W, R> {
    type Target = EventTimeStream<'s, (K, R)>;

    fn deref(&self) -> &EventTimeStream<'s, (K, R)> {
        &self.rows
    }
}

impl<'s, K, V, W, R> EventTimeJoin<'s, K, V, W, R> {
    /// The rows of each batch that came too late, with their times: `(key, (Some(left), None))` or `(key, (None, Some(right)))`. The verb
    /// that joins says which rows are late. Rows have no order; outputs sort them.
    ///
    /// If no output operation reads late rows, they are counted and logged, as bad records are.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// check2(
    ///     [vec![100], vec![7, 99]],
    ///     [vec![100], vec![101]],
    ///     move |left, right| {
    ///         let [left, right] = [left, right].map(|s| s.event_time(|time| *time, micros(0)).map(|time| ('k', time)));
    ///         left.join_within(&right, micros(0), micros(5)).late().map(|late| late.row)
    ///     },
    ///     [vec![], vec![('k', (Some(7), None))]],
    /// );
    /// ```
    #[allow(clippy::type_complexity, reason = "the row, as a program sees it")]
    pub fn late(&self) -> DStream<'s, Timestamped<(K, (Option<V>, Option<W>))>> {
        self.late.clone()
    }
}

/// The rows of one key in both streams, with their times.
#[derive(Clone)]
pub(super) struct Sides<V, W> {
    pub left: Vec<(i64, V)>,
    pub right: Vec<(i64, W)>,
}

impl<V: Exchange, W: Exchange> Sides<V, W> {
    pub fn is_empty(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }

    /// Moves the rows on the left that are before `left`, and those on the right before `right`, to the late ones.
    pub fn take_late<K: Key>(&mut self, groups: KeyGroups, key: &K, left: i64, right: i64, late: &mut Vec<LateRow<K, V, W>>) {
        let mut add = |time, row| late.push((groups.of(key), Timestamped { time, row: (key.clone(), row) }));
        self.left.extract_if(.., |(time, _)| *time < left).for_each(|(time, v)| add(time, (Some(v), None)));
        self.right.extract_if(.., |(time, _)| *time < right).for_each(|(time, w)| add(time, (None, Some(w))));
    }
}

/// A joined row with its key group.
pub(super) type Joined<K, R> = (u64, Timestamped<(K, R)>);

/// A late row with its key group.
pub(super) type LateRow<K, V, W> = (u64, Timestamped<Late<K, V, W>>);

/// What a join keeps on one worker, for the keys that it owns.
pub(super) trait JoinState<K, V, W>: KeyedState + 'static {
    /// What a joined row has beside its key.
    type Row;

    /// Adds the joined rows of a batch to `joined`, and its late ones to `late`.
    fn batch(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Sides<V, W>)>>,
        joined: &mut Vec<Joined<K, Self::Row>>,
        late: &mut Vec<LateRow<K, V, W>>,
    );
}

/// Joined rows, and late ones.
type Part<K, V, W, R> = (Rows<Timestamped<(K, R)>>, Rows<Timestamped<Late<K, V, W>>>);

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// The kernel: `state` joins the rows of both streams on the owners of their keys, and `row` makes the rows of the result. Rows leave
    /// when they are at most `hold` microseconds behind the watermark of both streams.
    pub(super) fn joined<W: Exchange, S: JoinState<K, V, W>, R: Exchange>(
        &self,
        other: &EventTimeStream<'s, (K, W)>,
        operator: OperatorId,
        state: S,
        row: impl Fn(S::Row) -> R + 'static,
        hold: i64,
    ) -> EventTimeJoin<'s, K, V, W, R> {
        let left = self.rows.mapped(&operator, false, |Timestamped { time, row: (k, v) }| (k, (time, v)));
        let right = other.rows.mapped(&operator, false, |Timestamped { time, row: (k, w) }| (k, (time, w)));
        let both = left.cogrouped(&right, &operator, |left, right| vec![Sides { left, right }]);
        let (graph, state) = (both.node.graph.clone(), Rc::new(RefCell::new(state)));
        let (number, owner) = graph.register_state(&operator, state.clone());
        let meta = both.node.meta.with_state(number);
        let ([least, held], reports) = joint(self, other, &operator, hold);
        let taken = Switch::default();
        let (takes, outbox) = (taken.clone(), graph.outbox.clone());
        let built = Rc::new(lazy(move || {
            let (owner, reports) = (owner.build(), operator.clone());
            let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
            let parts = with_watermark(&both, &least, &operator, keep, move |tick, watermark, rows, emit| {
                let (mut joined, mut late) = (Vec::new(), Vec::new());
                owner.batch(tick, || state.borrow_mut().batch(watermark, tick.time, rows, &mut joined, &mut late));
                let made = |(group, Timestamped { time, row: (k, r) })| (group, Timestamped { time, row: (k, row(r)) });
                by_group(0, joined.into_iter().map(made).collect(), &mut |rows| emit(vec![(rows, Rows::default())]));
                if takes.get() {
                    by_group(0, late, &mut |rows| emit(vec![(Rows::default(), rows)]));
                } else {
                    report_late(&outbox, &reports, tick.time, watermark, late.len() as u64);
                }
            });
            split_map(both.flow(), &operator, parts, |_, parts: Vec<Part<K, V, W, R>>, joined, late| {
                for (rows, of_late) in parts {
                    joined(rows);
                    late(of_late);
                }
            })
        }));
        let (joined, late) = (built.clone(), built);
        let rows = DStream::new(&graph, move || joined.0.clone(), &[BY_KEY_GROUP], meta.clone());
        let read = move || {
            taken.set(true);
            late.1.clone()
        };
        let late = DStream::new(&graph, read, &[BY_KEY_GROUP], meta);
        EventTimeJoin { rows: self.with_other(other, rows, held, reports), late }
    }
}

/// Checks the times of a chunk: sums of a time and a duration fit into 64 bits.
pub(super) fn valid(mut times: impl Iterator<Item = i64>) -> Result<(), BoxError> {
    const VALID: std::ops::Range<i64> = i64::MIN >> 2..i64::MAX >> 2;
    if times.all(|time| VALID.contains(&time)) { Ok(()) } else { Err("a row has no valid time".into()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::api::context::StreamingContext;
    use crate::connector::memory::MemorySink;
    use crate::connector::queue::QueueSource;
    use crate::core::time::millis;

    #[test]
    fn late_rows_are_counted_unless_an_output_reads_them() {
        let counted = |read: bool| {
            let queue = QueueSource::from_batches([vec![(0u8, 50i64)], vec![(0, 2), (1, 3), (0, 50)]]);
            let job = StreamingContext::builder("late", millis(1)).workers(2).start(move |ssc| {
                let rows = ssc.queue_stream(&queue).event_time(|(_, time)| *time, Duration::ZERO);
                let [left, right] = [0, 1].map(|side| rows.filter(move |(k, _)| *k == side).map(|(_, time)| ((), time)));
                let join = left.full_outer_join_within(&right, Duration::ZERO, Duration::ZERO);
                join.timestamped().to_memory(&MemorySink::new());
                if read {
                    join.late().to_memory(&MemorySink::new());
                }
                Ok(())
            });
            let job = job.unwrap();
            let metrics = job.metrics.clone();
            job.await_termination().unwrap();
            metrics.snapshot().bad
        };
        assert_eq!([false, true].map(counted), [2, 0]);
    }
}
