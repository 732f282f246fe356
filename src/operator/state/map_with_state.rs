//! `map_with_state`: a function maps each value of a pair with the state of its key, and updates the state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

use super::states::States;
use crate::api::context::Switch;
use crate::api::dstream::{BY_KEY_GROUP, DStream, lazy};
use crate::core::data::{Data, Exchange, Key, PartitionId, Rows};
use crate::core::error::BoxError;
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::flow::{RowStream, collect_batches, split_map};
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;
use crate::operator::kernel::combine::by_group;

/// The state of one key, as the function of [`DStream::map_with_state`] sees it.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// // A key ends with its second 0. Each row says what the state was.
/// let f = |_time, key: &char, n: Option<i64>, zeros: &mut State<i64>| {
///     let before = zeros.get().copied();
///     match (n, before) {
///         (Some(0), Some(_)) => zeros.remove(),
///         (Some(0), None) => zeros.update(1),
///         _ => {}
///     }
///     Some((*key, before, zeros.exists()))
/// };
/// check(
///     [vec![('a', 7), ('a', 0)], vec![('a', 0)], vec![('a', 7)]],
///     move |s| s.map_with_state(StateSpec::function(f)).mapped(),
///     [vec![('a', None, false), ('a', None, true)], vec![('a', Some(1), false)], vec![('a', None, false)]],
/// );
/// ```
#[derive(Debug)]
pub struct State<S> {
    state: Option<S>,
    timing_out: bool,
}

impl<S> State<S> {
    pub(in crate::operator) fn of(state: Option<S>, timing_out: bool) -> Self {
        State { state, timing_out }
    }

    pub(in crate::operator) fn into_inner(self) -> Option<S> {
        self.state
    }

    /// The state; `None` if the key has none.
    #[doc(alias = "getOption")]
    pub fn get(&self) -> Option<&S> {
        self.state.as_ref()
    }

    /// Whether the key has a state.
    pub fn exists(&self) -> bool {
        self.state.is_some()
    }

    /// Whether this is the last call for the key, which had no value for the timeout of the [`StateSpec`]. The state is removed after it.
    #[doc(alias = "isTimingOut")]
    pub fn is_timing_out(&self) -> bool {
        self.timing_out
    }

    /// Sets the state.
    ///
    /// # Panics
    /// If the key is timing out, because its state would be lost. As in Spark, this ends the job.
    pub fn update(&mut self, state: S) {
        assert!(!self.timing_out, "the state of a key that is timing out cannot be updated; ask is_timing_out() first");
        self.state = Some(state);
    }

    /// Removes the state.
    pub fn remove(&mut self) {
        self.state = None;
    }
}

pub(in crate::operator) type Function<K, V, S, M> = Box<dyn FnMut(BatchTime, &K, Option<V>, &mut State<S>) -> Option<M>>;

/// The function and the settings of [`DStream::map_with_state`].
///
/// The last value before a key was silent for two batches:
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// let last = |_time, key: &char, n: Option<i64>, last: &mut State<i64>| match n {
///     Some(n) => {
///         last.update(n);
///         None
///     }
///     None => last.get().map(|n| (*key, *n)),
/// };
/// check(
///     [vec![('a', 1)], vec![('a', 2)], vec![], vec![]],
///     move |s| s.map_with_state(StateSpec::function(last).initial_state([('b', 7)]).timeout(millis(2))).mapped(),
///     [vec![], vec![], vec![('b', 7)], vec![('a', 2)]],
/// );
/// ```
pub struct StateSpec<K, V, S, M> {
    function: Function<K, V, S, M>,
    initial: Vec<(K, S)>,
    timeout: Option<Duration>,
}

impl<K, V, S, M> StateSpec<K, V, S, M> {
    /// A spec with this function. It gets the batch time, the key, a value of the key, and the state of the key. The value is `None` only
    /// if the key is timing out. The function returns a mapped row, or `None` for no row.
    pub fn function(function: impl FnMut(BatchTime, &K, Option<V>, &mut State<S>) -> Option<M> + 'static) -> Self {
        StateSpec { function: Box::new(function), initial: Vec::new(), timeout: None }
    }

    /// The function, the initial states, and the timeout.
    #[allow(clippy::type_complexity, reason = "the fields")]
    pub(in crate::operator) fn parts(self) -> (Function<K, V, S, M>, Vec<(K, S)>, Option<Duration>) {
        (self.function, self.initial, self.timeout)
    }

    /// The states of these keys before the first batch. Default: none. The last pair of a key counts.
    ///
    /// They must be the same on every worker, and each worker keeps the pairs whose keys it owns. A job that continues from a checkpoint
    /// with this state does not use them.
    #[doc(alias = "initialState")]
    pub fn initial_state(self, pairs: impl IntoIterator<Item = (K, S)>) -> Self {
        StateSpec { initial: pairs.into_iter().collect(), ..self }
    }

    /// Removes the state of a key that had no value for this duration of batch time, after the function was called once more for the key,
    /// with `None`. That is in the first batch that is at least `after` later than the batch of the last value. A pair of the initial
    /// state counts as a value of the first batch. Default: states do not time out.
    ///
    /// Of a stream with event time, the duration is in event time:
    /// [`EventTimeStream::map_with_state`](crate::prelude::EventTimeStream::map_with_state).
    ///
    /// The shortest timeout is a millisecond. It is not part of a checkpoint: the job may continue with another one, or without.
    pub fn timeout(self, after: Duration) -> Self {
        StateSpec { timeout: Some(after), ..self }
    }
}

/// The mapped rows of [`DStream::map_with_state`], and the states.
///
/// It is used as the stream of mapped rows: every verb of [`DStream`] is a method. [`MapWithStateDStream::state_snapshots`] has the states.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// fn count(_: BatchTime, key: &char, _: Option<()>, count: &mut State<u64>) -> Option<(char, u64)> {
///     count.update(count.get().unwrap_or(&0) + 1);
///     Some((*key, *count.get()?))
/// }
/// let batches = || [vec![('a', ()), ('a', ())], vec![('b', ())]];
/// let counts = || StateSpec::function(count);
/// check(batches(), move |s| s.map_with_state(counts()).filter(|(_, n)| *n > 1), [vec![('a', 2)], vec![]]);
/// check(
///     batches(),
///     move |s| s.map_with_state(counts()).state_snapshots(),
///     [vec![('a', 2)], vec![('a', 2), ('b', 1)]],
/// );
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct MapWithStateDStream<'s, K: 'static, S: 'static, M: 'static> {
    mapped: DStream<'s, M>,
    states: DStream<'s, (K, S)>,
}

/// The mapped rows.
impl<'s, K, S, M> Deref for MapWithStateDStream<'s, K, S, M> {
    type Target = DStream<'s, M>;

    fn deref(&self) -> &DStream<'s, M> {
        &self.mapped
    }
}

impl<'s, K, S, M> MapWithStateDStream<'s, K, S, M> {
    /// The mapped rows, as a stream that does not borrow from this.
    pub fn mapped(&self) -> DStream<'s, M> {
        self.mapped.clone()
    }

    /// A row `(key, state)` per batch for every key that has a state after the batch. Rows have no order; outputs sort them. A batch
    /// costs all keys, but only if an output operation reads this stream.
    #[doc(alias = "stateSnapshots")]
    pub fn state_snapshots(&self) -> DStream<'s, (K, S)> {
        self.states.clone()
    }
}

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// The rows that the function of `spec` returns for the values of each batch, called once for each value with the state of its key.
    /// The function gets the values of a key in the order in which they were read. Rows have no order; outputs sort them.
    ///
    /// A batch costs the values in it and the keys that time out, however many keys have a state. The values move to the workers that own
    /// their keys. State: one per key until the function removes it or it times out, saved in checkpoints.
    ///
    /// Sums that are forgotten after two batches without a value:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// fn sum(_: BatchTime, key: &char, n: Option<i64>, sum: &mut State<i64>) -> Option<(char, i64)> {
    ///     let total = sum.get().unwrap_or(&0) + n.unwrap_or(0);
    ///     if sum.is_timing_out() {
    ///         return Some((*key, -total));
    ///     }
    ///     sum.update(total);
    ///     Some((*key, total))
    /// }
    /// check(
    ///     [vec![('a', 1), ('a', 2)], vec![('b', 5)], vec![('a', 3)], vec![]],
    ///     |s| s.map_with_state(StateSpec::function(sum).initial_state([('b', 100)]).timeout(millis(2))).mapped(),
    ///     [vec![('a', 1), ('a', 3)], vec![('b', 105)], vec![('a', 6)], vec![('b', -105)]],
    /// );
    /// ```
    #[doc(alias = "mapWithState")]
    #[track_caller]
    pub fn map_with_state<S: Exchange, M: Data>(&self, spec: StateSpec<K, V, S, M>) -> MapWithStateDStream<'s, K, S, M>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, S)>("map_with_state", "");
        let graph = &self.node.graph;
        if let Some(timeout) = spec.timeout.filter(|timeout| timeout.as_millis() == 0) {
            graph.report(&operator, format!("a timeout of {timeout:?} is too short; the shortest is 1 ms"));
        }
        let states = Rc::new(RefCell::new(TimedStates::new(graph.key_groups(), spec.timeout)));
        let (number, owner) = graph.register_state(&operator, states.clone());
        let (meta, wanted) = (self.node.meta.with_state(number), Switch::default());
        let (schedule, asked, stream) = (meta.schedule.clone(), wanted.clone(), self.clone());
        let (mut initial, mut f) = (graph.own_pairs(spec.initial), spec.function);
        let built = Rc::new(lazy(move || {
            let (owner, grouped) = (owner.build(), stream.grouped(&operator));
            let both = collect_batches(grouped.flow(), &operator, grouped.inner(), move |tick, rows, emit| {
                owner.batch(tick, || {
                    if tick.restored {
                        return;
                    }
                    let mut states = states.borrow_mut();
                    let initial = std::mem::take(&mut initial);
                    if !owner.is_restored() {
                        states.begin(initial, tick.time);
                    }
                    if schedule.has(tick.time) {
                        states.batch(tick.time, rows, &mut f, |mapped| emit(vec![(mapped, Rows::default())]));
                        if asked.get() {
                            emit(states.all().map(|rows| (Rows::default(), rows)).collect());
                        }
                    }
                });
            });
            split_map(grouped.flow(), &operator, both, |_, parts: Vec<Part<K, S, M>>, mapped, states| {
                for (rows, all) in parts {
                    mapped(rows);
                    states(all);
                }
            })
        }));
        let (rows, all) = (built.clone(), built);
        let mapped = DStream::new(graph, move || rows.0.clone(), &[BY_KEY_GROUP], meta.clone());
        let states = move || -> RowStream<'s, (K, S)> {
            wanted.set(true);
            all.1.clone()
        };
        MapWithStateDStream { mapped, states: DStream::new_keyed(graph, states, meta) }
    }
}

/// Mapped rows, and states.
type Part<K, S, M> = (Rows<M>, Rows<(K, S)>);

/// The state of a key, and when it times out.
#[derive(Clone, Serialize, Deserialize)]
struct Timed<S> {
    state: S,
    /// The last batch with a value of the key.
    last: BatchTime,
    /// The time at which `TimedStates::waiting` has the key.
    #[serde(skip)]
    waits_at: BatchTime,
}

/// Every key's state.
struct TimedStates<K, S> {
    states: States<K, Timed<S>>,
    /// Milliseconds.
    timeout: Option<u64>,
    /// Each key once, by the time of a value: its last one, or one before that. So a value costs no look-up here. Keys whose state was
    /// removed are skipped later.
    waiting: BTreeMap<BatchTime, Vec<(u32, K)>>,
    /// Whether states were restored and do not wait yet.
    loaded: bool,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
}

impl<K: Key, S: Exchange> TimedStates<K, S> {
    fn new(groups: KeyGroups, timeout: Option<Duration>) -> Self {
        let timeout = timeout.map(|after| after.as_millis() as u64);
        TimedStates { states: States::new(groups), timeout, waiting: BTreeMap::new(), loaded: false, changed: Groups::default() }
    }

    /// Adds the initial states at the time of the first batch.
    fn begin(&mut self, initial: Vec<(u32, K, S)>, t: BatchTime) {
        for (group, k, state) in initial {
            self.changed.insert(group);
            self.states.of.of(group.into()).insert(k.clone(), Timed { state, last: t, waits_at: t });
            self.wait(t, group, k);
        }
    }

    fn wait(&mut self, t: BatchTime, group: u32, k: K) {
        if self.timeout.is_some() {
            self.waiting.entry(t).or_default().push((group, k));
        }
    }

    /// Calls `f` for each value of a batch, then for each key that times out. Emits the mapped rows by key group.
    fn batch<V: Data, M: Data>(
        &mut self,
        t: BatchTime,
        batch: Vec<Rows<(K, Vec<V>)>>,
        f: &mut Function<K, V, S, M>,
        mut emit: impl FnMut(Rows<M>),
    ) {
        if std::mem::take(&mut self.loaded) {
            self.wait_again();
        }
        for rows in batch {
            let (partition, mut mapped) = (rows.partition, Vec::new());
            for (k, values) in rows.take() {
                self.values(t, partition.index, k, values, |k, v, state| mapped.extend(f(t, k, Some(v), state)));
            }
            emit(Rows::new(partition, mapped));
        }
        let mut mapped = Vec::new();
        for (group, k, state) in self.timed_out(t) {
            let mut state = State { state: Some(state), timing_out: true };
            mapped.extend(f(t, &k, None, &mut state).map(|row| (u64::from(group), row)));
        }
        if !mapped.is_empty() {
            by_group(0, mapped, &mut emit);
        }
    }

    /// Calls `f` for each value of one key.
    fn values<V>(&mut self, t: BatchTime, group: u32, k: K, values: Vec<V>, mut f: impl FnMut(&K, V, &mut State<S>)) {
        self.changed.insert(group);
        let mapped = |k: &K, state: Option<S>| {
            let mut state = State { state, timing_out: false };
            values.into_iter().for_each(|v| f(k, v, &mut state));
            state.state
        };
        match self.states.of.of(group.into()).entry(k) {
            Entry::Occupied(e) => {
                let waits_at = e.get().waits_at;
                e.replace_entry_with(|k, old| mapped(k, Some(old.state)).map(|state| Timed { state, last: t, waits_at }));
            }
            Entry::Vacant(e) => {
                if let Some(state) = mapped(e.key(), None) {
                    let k = e.key().clone();
                    e.insert(Timed { state, last: t, waits_at: t });
                    self.wait(t, group, k);
                }
            }
        }
    }

    /// Removes the states that time out.
    fn timed_out(&mut self, t: BatchTime) -> Vec<(u32, K, S)> {
        let Some(timeout) = self.timeout else { return Vec::new() };
        let mut found = Vec::new();
        while let Some(oldest) = self.waiting.first_entry() {
            let at = *oldest.key();
            if t.millis().saturating_sub(at.millis()) < timeout {
                break;
            }
            for (group, k) in oldest.remove() {
                let states = self.states.of.of(group.into());
                let Some(timed) = states.get_mut(&k).filter(|timed| timed.waits_at == at) else { continue };
                if timed.last > at {
                    timed.waits_at = timed.last;
                    self.waiting.entry(timed.last).or_default().push((group, k));
                } else if let Some(timed) = states.remove(&k) {
                    self.changed.insert(group);
                    found.push((group, k, timed.state));
                }
            }
        }
        found
    }

    /// Restored keys wait for their timeouts.
    fn wait_again(&mut self) {
        let mut waiting: BTreeMap<BatchTime, Vec<(u32, K)>> = BTreeMap::new();
        if self.timeout.is_some() {
            self.states.of.for_each_mut(|group, states| {
                for (k, timed) in states {
                    timed.waits_at = timed.last;
                    waiting.entry(timed.last).or_default().push((group as u32, k.clone()));
                }
            });
        }
        self.waiting = waiting;
    }

    /// All states, by key group.
    fn all(&self) -> impl Iterator<Item = Rows<(K, S)>> {
        self.states.of.iter().map(|(group, states)| {
            let rows = states.iter().map(|(k, timed)| (k.clone(), timed.state.clone()));
            Rows::new(PartitionId { branch: 0, index: group as u32 }, rows.collect())
        })
    }
}

impl<K: Key, S: Exchange> KeyedState for TimedStates<K, S> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn held(&self) -> Held {
        self.states.held()
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        self.states.save(group, since)
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        self.loaded = true;
        self.states.load(bytes, cut)
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(TimedStates::<String, i64>::new(KeyGroups::default(), None), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that time out at `t`.
    fn timed_out(states: &mut TimedStates<char, i64>, t: u64) -> Vec<char> {
        let mut keys: Vec<char> = states.timed_out(BatchTime::from_millis(t)).into_iter().map(|(_, k, _)| k).collect();
        keys.sort_unstable();
        keys
    }

    fn value(states: &mut TimedStates<char, i64>, t: u64, k: char, keep: bool) {
        states.values(
            BatchTime::from_millis(t),
            0,
            k,
            vec![1],
            |_, v, state| if keep { state.update(v) } else { state.remove() },
        );
    }

    #[test]
    fn a_key_waits_once_however_often_it_has_values() {
        let mut states = TimedStates::new(KeyGroups::default(), Some(Duration::from_millis(10)));
        for t in 1..1_000 {
            value(&mut states, t, 'a', true);
            // Removed in each second batch, and new in the next one.
            value(&mut states, t, 'b', t % 2 == 0);
            assert!(timed_out(&mut states, t).is_empty());
            assert!(states.waiting.values().map(Vec::len).sum::<usize>() <= 2 + 10, "at {t}");
        }
        assert!(timed_out(&mut states, 1_008).is_empty());
        assert_eq!(timed_out(&mut states, 1_009), ['a']);
        assert_eq!((states.states.of.of(0).len(), states.waiting.len()), (0, 0));
    }

    #[test]
    fn restored_keys_have_the_timeout_of_the_new_program() {
        let mut old = TimedStates::new(KeyGroups::default(), Some(Duration::from_millis(10)));
        value(&mut old, 5, 'a', true);
        value(&mut old, 7, 'b', true);
        let bytes = old.save(0, BatchTime::default());
        let restored = |timeout: Option<u64>| {
            let mut new = TimedStates::new(KeyGroups::default(), timeout.map(Duration::from_millis));
            new.load(&bytes, BatchTime::from_millis(8)).unwrap();
            new.wait_again();
            new
        };
        assert_eq!([8, 9, 10].map(|t| timed_out(&mut restored(Some(3)), t)), [vec!['a'], vec!['a'], vec!['a', 'b']]);
        let mut later = restored(Some(10));
        assert_eq!([14, 15, 16, 17].map(|t| timed_out(&mut later, t)), [vec![], vec!['a'], vec![], vec!['b']]);
        let mut never = restored(None);
        assert_eq!((timed_out(&mut never, 1_000), never.waiting.len()), (vec![], 0));
    }

    #[test]
    fn a_key_that_was_removed_and_came_back_times_out_once() {
        let mut states = TimedStates::new(KeyGroups::default(), Some(Duration::from_millis(10)));
        for keep in [true, false, true, false, true] {
            value(&mut states, 5, 'a', keep);
        }
        value(&mut states, 7, 'a', false);
        value(&mut states, 8, 'a', true);
        assert_eq!([15, 17, 18, 28].map(|t| timed_out(&mut states, t)), [vec![], vec![], vec!['a'], vec![]]);
    }
}
