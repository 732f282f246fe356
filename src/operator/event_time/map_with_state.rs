//! `map_with_state` by event time: the state of a key times out when the watermark says that it is silent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::cells::Cells;
use super::event_time::EventTimeStream;
use super::watermark::{Watermark, with_watermark};
use crate::api::dstream::{BY_KEY_GROUP, DStream};
use crate::core::data::{Data, Exchange, Key, Rows};
use crate::core::error::BoxError;
use crate::core::event_time::{Timestamped, in_micros};
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::state::{Changes, KeyedState};
use crate::metrics::held::Held;
use crate::operator::kernel::combine::by_group;
use crate::operator::state::{Function, State, StateSpec};

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// The rows that the function of `spec` returns for the values of each batch, as
    /// [`DStream::map_with_state`](crate::prelude::DStream::map_with_state), by event time: each value has its time, and the values of a key in
    /// one batch come in the order of their times. Rows have no order; outputs sort them.
    ///
    /// [`StateSpec::timeout`] is in event time: the function is called with `None` in the batch after which the watermark has passed the last
    /// value of the key by the timeout. So a session ends at the same row in a live run and in a replay. The timeout of a pair of the
    /// initial state begins at the first watermark. The function also gets values behind the watermark, and sees their times.
    ///
    /// A batch costs its values, and the keys that time out. The values move to the workers that own their keys. State: one per key until the
    /// function removes it or it times out, saved in checkpoints.
    ///
    /// The pages of each visit, which ends after five minutes without a request:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// fn visit(_: BatchTime, who: &char, page: Option<Timestamped<char>>, pages: &mut State<String>) -> Option<(char, String)> {
    ///     match page {
    ///         Some(page) => {
    ///             let so_far = pages.get().cloned().unwrap_or_default();
    ///             pages.update(so_far + &page.row.to_string());
    ///             None
    ///         }
    ///         None => pages.get().map(|pages| (*who, pages.clone())),
    ///     }
    /// }
    /// check(
    ///     [vec![(0, 'a', '/')], vec![(90, 'a', 'x')], vec![(60, 'a', 'y')], vec![(900, 'b', '/')]],
    ///     |s| {
    ///         let requests = s.event_time(|(second, ..)| second * 1_000_000, mins(1)).map(|(_, who, page)| (who, page));
    ///         requests.map_with_state(StateSpec::function(visit).timeout(mins(5)))
    ///     },
    ///     [vec![], vec![], vec![], vec![('a', "/xy".to_owned())]],
    /// );
    /// ```
    #[doc(alias = "mapWithState")]
    #[doc(alias = "transformWithState")]
    #[track_caller]
    pub fn map_with_state<S: Exchange, M: Data>(&self, spec: StateSpec<K, Timestamped<V>, S, M>) -> DStream<'s, M> {
        let operator = self.rows.operator::<(K, S)>("map_with_state", "event_time");
        let keyed = self.rows.mapped(&operator, false, |Timestamped { time, row: (k, row) }| (k, Timestamped { time, row }));
        let grouped = keyed.grouped(&operator);
        let graph = grouped.node.graph.clone();
        let (mut function, initial, timeout) = spec.parts();
        if let Some(timeout) = timeout.filter(|timeout| timeout.as_micros() == 0) {
            graph.report(&operator, format!("a timeout of {timeout:?} is too short; the shortest by event time is 1 µs"));
        }
        let state = Rc::new(RefCell::new(Timers::new(self.rows.node.graph.key_groups(), timeout)));
        let (number, owner) = graph.register_state(&operator, state.clone());
        let meta = grouped.node.meta.with_state(number);
        let (mut initial, watermarks) = (graph.own_pairs(initial), self.watermarks.clone());
        let mapped = move || {
            let owner = owner.build();
            let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
            with_watermark(&grouped, &watermarks, &operator, keep, move |tick, watermark, rows, emit| {
                let mut mapped = Vec::new();
                owner.batch(tick, || {
                    if tick.restored {
                        return;
                    }
                    let (mut state, initial) = (state.borrow_mut(), std::mem::take(&mut initial));
                    if !owner.is_restored() {
                        state.begin(initial.into_iter().map(|(_, k, s)| (k, s)), tick.time);
                    }
                    state.batch(watermark, tick.time, rows, &mut function, &mut mapped);
                });
                by_group(0, mapped, emit);
            })
        };
        DStream::new(&graph, mapped, &[BY_KEY_GROUP], meta)
    }
}

/// The state of a key, and the largest time of its values; the smallest number before the first watermark.
struct Timer<S> {
    state: Option<S>,
    last: i64,
}

impl<S> Default for Timer<S> {
    fn default() -> Self {
        Timer { state: None, last: i64::MIN }
    }
}

/// The states of the keys of one worker.
struct Timers<K, S> {
    /// Microseconds.
    timeout: Option<i64>,
    cells: Cells<K, Timer<S>>,
    /// Keys of the initial state, before the first watermark.
    untimed: Vec<Code>,
}

impl<K: Key, S: Exchange> Timers<K, S> {
    fn new(groups: KeyGroups, timeout: Option<Duration>) -> Self {
        let timeout = timeout.map(|after| in_micros(after).min(i64::MAX >> 2));
        Timers { timeout, cells: Cells::new(groups), untimed: Vec::new() }
    }

    /// Adds states that no value has touched yet.
    fn begin(&mut self, initial: impl Iterator<Item = (K, S)>, t: BatchTime) {
        for (key, state) in initial {
            let code = self.cells.keys.code(key, t);
            self.set(code, Timer { state: Some(state), last: i64::MIN }, t);
        }
    }

    fn set(&mut self, code: Code, timer: Timer<S>, t: BatchTime) {
        self.cells.touch(code);
        let last = timer.last;
        match timer.state {
            Some(_) => *self.cells.of(code, t) = timer,
            None => return self.cells.remove(code, t),
        }
        match self.timeout {
            Some(_) if last == i64::MIN => self.untimed.push(code),
            Some(timeout) => self.cells.wait(code, last + timeout),
            None => {}
        }
    }

    /// Calls `f` for each value of a batch, then for each key that times out. Adds the mapped rows with their key groups.
    fn batch<V: Data, M>(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Vec<Timestamped<V>>)>>,
        f: &mut Function<K, Timestamped<V>, S, M>,
        mapped: &mut Vec<(u64, M)>,
    ) {
        self.cells.keys.reclaim(|_| true);
        for rows in rows {
            let group = u64::from(rows.partition.index);
            for (key, mut values) in rows.take() {
                values.sort_by_key(|value| value.time);
                let code = self.cells.keys.code(key.clone(), t);
                let Timer { state, mut last } = std::mem::take(self.cells.of(code, t));
                let mut state = State::of(state, false);
                for value in values {
                    last = last.max(value.time);
                    mapped.extend(f(t, &key, Some(value), &mut state).map(|m| (group, m)));
                    // The time goes with the state: else a state that is made anew would time out later in the batch that removed the old one.
                    if !state.exists() {
                        last = i64::MIN;
                    }
                }
                self.set(code, Timer { state: state.into_inner(), last }, t);
            }
        }
        self.time_out(watermark.now, t, f, mapped);
    }

    fn time_out<V, M>(&mut self, now: i64, t: BatchTime, f: &mut Function<K, Timestamped<V>, S, M>, mapped: &mut Vec<(u64, M)>) {
        let Some(timeout) = self.timeout.filter(|_| now > i64::MIN) else { return };
        for code in std::mem::take(&mut self.untimed) {
            if self.cells.get(code).is_some_and(|timer| timer.last == i64::MIN) {
                self.cells.of(code, t).last = now;
                self.cells.touch(code);
                self.cells.wait(code, now + timeout);
            }
        }
        for code in self.cells.due(now) {
            let until = self.cells.of(code, t).last + timeout;
            if until > now {
                self.cells.wait(code, until);
                continue;
            }
            let (group, key) = (self.cells.touch(code), self.cells.keys.key(code).clone());
            let mut state = State::of(self.cells.of(code, t).state.take(), true);
            mapped.extend(f(t, &key, None, &mut state).map(|m| (group, m)));
            self.cells.remove(code, t);
        }
    }
}

impl<K: Key, S: Exchange> KeyedState for Timers<K, S> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cells.snapshot()
    }

    fn held(&self) -> Held {
        self.cells.held()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        self.cells.save(group, |key, timer| (key, timer.state.as_ref(), timer.last))
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        for (key, state, last) in postcard::from_bytes::<Vec<(K, Option<S>, i64)>>(bytes)? {
            if state.is_none() || (last != i64::MIN && !(i64::MIN >> 2..i64::MAX >> 2).contains(&last)) {
                return Err("a key has no state, or no valid time".into());
            }
            let code = self.cells.keys.code(key, cut);
            self.set(code, Timer { state, last }, cut);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Timers::<String, i64>::new(KeyGroups::default(), Some(Duration::from_micros(3))), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::PartitionId;

    #[test]
    fn silent_keys_are_forgotten() {
        let mut timers: Timers<i64, i64> = Timers::new(KeyGroups::default(), Some(Duration::from_micros(20)));
        let mut f: Function<i64, Timestamped<()>, i64, bool> = Box::new(|_, _, value, state| {
            if value.is_some() {
                state.update(1);
            }
            Some(value.is_none())
        });
        for n in 0..20_000i64 {
            let (t, now) = (BatchTime::from_millis(n as u64 + 1), n * 10);
            let value = |time| vec![Timestamped { time, row: () }];
            let (rows, mut mapped) = (vec![(n, value(now)), (-1, value(now)), (n - 1, value(now - 15))], Vec::new());
            let watermark = Watermark { before: now - 10, now, largest: Some(now) };
            timers.batch(watermark, t, vec![Rows::new(PartitionId::default(), rows)], &mut f, &mut mapped);
            assert_eq!(mapped.iter().filter(|(_, over)| *over).count(), usize::from(n > 1), "at {n}");
            assert!(timers.cells.iter().count() <= 4 && timers.cells.keys.codes() <= 12, "at {n}");
        }
    }
}
