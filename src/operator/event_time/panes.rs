//! The panes of windows by event time, and the windows that they make. A worker keeps them for the keys that it owns.
//!
//! A row enters one pane. A closing window is the window before it, plus panes that enter, minus panes that leave: `pane_fold`
//! has a stack of them for each key, so its cost does not depend on length over slide. Only keys with a pane that enters or leaves are
//! looked at, and then each key that has a result. Panes may still change while they are in an open window.

use std::collections::BTreeMap;

use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

use super::pane_fold::PaneFold;
use super::watermark::Watermark;
use super::windowed_view::{InWindow, Outcome, WindowState};
use crate::core::data::{Exchange, FastMap, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::local_clock::LocalClock;
use crate::core::time::BatchTime;
use crate::core::window_shape::WindowShape;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

/// The results of one key in one batch: by the start of their pane, ascending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ByPane<A>(Vec<(i64, A)>);

impl<A> Default for ByPane<A> {
    fn default() -> Self {
        ByPane(Vec::new())
    }
}

impl<A> ByPane<A> {
    /// Sets the result of a pane to what `f` makes of the previous one. Most rows belong to the last pane.
    pub fn fold(&mut self, pane: i64, f: impl FnOnce(Option<A>) -> A) {
        let at = match self.0.last() {
            Some((last, _)) if *last >= pane => self.0.partition_point(|(start, _)| *start < pane),
            _ => self.0.len(),
        };
        let old = if self.0.get(at).is_some_and(|(start, _)| *start == pane) { Some(self.0.remove(at).1) } else { None };
        self.0.insert(at, (pane, f(old)));
    }

    /// Adds a result to a pane.
    pub fn add(&mut self, pane: i64, a: A, fold: &impl PaneFold<A>) {
        self.fold(pane, |old| match old {
            Some(old) => fold.merge(old, a),
            None => a,
        });
    }

    /// Adds the results of another worker.
    pub fn merge(&mut self, other: Self, fold: &impl PaneFold<A>) {
        other.0.into_iter().for_each(|(pane, a)| self.add(pane, a, fold));
    }

    pub fn iter(&self) -> impl Iterator<Item = &(i64, A)> {
        self.0.iter()
    }
}

/// The panes of the keys of one worker.
pub(super) struct Panes<K, A, F: PaneFold<A>> {
    /// In what `clock` shows, as all times here.
    shape: WindowShape,
    clock: LocalClock,
    /// Microseconds.
    lateness: i64,
    fold: F,
    keys: Dict<K>,
    /// By their start. A code is retained once for each of its panes.
    panes: BTreeMap<i64, FastMap<Code, A>>,
    /// The last window that closed.
    last: LastWindow<F::Stack>,
    /// The results that leave the view with the next batch: those of the windows that closed with the last one.
    leaving: Vec<InWindow<A>>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The panes of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Vec<(i64, Code)>>>,
}

/// The panes in the window that closed last, for windows of several panes.
struct LastWindow<S> {
    /// By code.
    stacks: Vec<Stack<S>>,
    /// The codes of the stacks that live, each retained once.
    live: Vec<Code>,
    /// The panes that start from here on, and before `end`, are on the stacks.
    begin: i64,
    end: i64,
    /// Codes with a pane that has changed since it was put on a stack.
    stale: Vec<Code>,
}

/// The panes of a key in this window.
#[derive(Default)]
struct Stack<S> {
    panes: S,
    /// A stack lives from its first pane until it is found empty.
    lives: bool,
}

/// The results of some panes of a key before a batch, ascending; `None`: there was none.
type Before<A> = Vec<(i64, Option<A>)>;

impl<K: Key, A: Exchange + PartialEq, F: PaneFold<A>> Panes<K, A, F> {
    pub fn new(groups: KeyGroups, shape: WindowShape, clock: LocalClock, lateness: i64, fold: F) -> Self {
        let last = LastWindow { stacks: Vec::new(), live: Vec::new(), begin: i64::MIN, end: i64::MIN, stale: Vec::new() };
        let (keys, panes, leaving, changed) = (Dict::new(groups), BTreeMap::new(), Vec::new(), Groups::default());
        Panes { shape, clock, lateness, fold, keys, panes, last, leaving, changed, cut: None }
    }

    /// When the window begins and ends whose end the clock shows as `end`.
    fn borders(&self, end: i64) -> (i64, i64) {
        (self.clock.first(end - self.shape.length), self.clock.first(end))
    }

    fn in_window(&self, end: i64, code: Code, a: A) -> InWindow<A> {
        let (start, end) = self.borders(end);
        (start, end, code, a)
    }

    /// The watermark of these windows, as the clock shows it.
    fn shown(&self, watermark: Watermark) -> Watermark {
        let Watermark { before, now, largest } = watermark.earlier(self.lateness);
        Watermark { before: self.clock.shows(before), now: self.clock.shows(now), largest }
    }

    /// Drops the panes whose windows have all closed.
    fn drop_panes(&mut self, before: i64, t: BatchTime) {
        while let Some(first) =
            self.panes.first_key_value().map(|(start, _)| *start).filter(|first| self.shape.last_end(*first) <= before)
        {
            self.leave((first + 1).min(self.last.end));
            for code in self.panes.remove(&first).into_iter().flat_map(FastMap::into_keys) {
                self.changed.insert(self.keys.retain(code, -1, t));
            }
        }
    }

    /// Adds the results of a batch to their panes. Returns the previous results of these panes by code, if the view is `shown`; and
    /// late results.
    #[allow(clippy::type_complexity, reason = "a pair")]
    fn add(
        &mut self,
        before: i64,
        t: BatchTime,
        rows: Vec<Rows<(K, ByPane<A>)>>,
        shown: bool,
    ) -> (Vec<(Code, Before<A>)>, Vec<InWindow<A>>) {
        let (mut touched, mut late) = (Vec::new(), Vec::new());
        for (key, results) in rows.into_iter().flat_map(Rows::take) {
            let (code, mut old) = (self.keys.code(key, t), Vec::new());
            for (pane, a) in results.0 {
                let last_end = self.shape.last_end(pane);
                if last_end <= before {
                    // Reclaimed with the next batch, if it has no pane.
                    self.keys.retain(code, 1, t);
                    self.keys.release(code, 1, t);
                    late.push(self.in_window(last_end, code, a));
                    continue;
                }
                self.changed.insert(self.keys.group_and_key(code).0);
                if pane < self.last.end {
                    self.last.stale.push(code);
                }
                match self.panes.entry(pane).or_default().entry(code) {
                    Entry::Occupied(e) => {
                        if shown {
                            old.push((pane, Some(e.get().clone())));
                        }
                        e.replace_entry_with(|_, old| Some(self.fold.merge(old, a)));
                    }
                    Entry::Vacant(e) => {
                        e.insert(a);
                        self.keys.retain(code, 1, t);
                        old.push((pane, None));
                    }
                }
            }
            if shown {
                touched.push((code, old));
            }
        }
        (touched, late)
    }

    /// The changes of the open windows of a key. `old`: the previous results of the panes that changed.
    fn change(&self, code: Code, old: &[(i64, Option<A>)], before: i64, changes: &mut Vec<(InWindow<A>, i64)>) {
        let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) else { return };
        let (after, until) = (before.max(*first), self.shape.last_end(*last));
        let from = self.shape.next_end(after) - self.shape.length;
        let panes = self.panes.range(from..until).filter_map(|(start, pane)| Some((*start, pane.get(&code)?.clone())));
        let now: Vec<(i64, A)> = panes.collect();
        let as_before = |(start, a): &(i64, A)| match old.binary_search_by_key(start, |(pane, _)| *pane) {
            Ok(at) => old[at].1.clone().map(|a| (*start, a)),
            Err(_) => Some((*start, a.clone())),
        };
        let was: Vec<(i64, A)> = now.iter().filter_map(as_before).collect();
        let mut was = self.windows(&was, after, until).into_iter().peekable();
        // Panes are only added: every earlier window is still there.
        for (end, a) in self.windows(&now, after, until) {
            let old = was.next_if(|(earlier, _)| *earlier == end).map(|(_, old)| old);
            if old.as_ref() != Some(&a) {
                changes.extend(old.map(|old| (self.in_window(end, code, old), -1)));
                changes.push((self.in_window(end, code, a), 1));
            }
        }
    }

    /// The results of one key in the windows that end in `after < end <= until`, from its panes.
    fn windows(&self, panes: &[(i64, A)], after: i64, until: i64) -> Vec<(i64, A)> {
        let at = |from| panes.partition_point(|(start, _)| *start < from);
        let next_pane = |from| panes.get(at(from)).map(|(start, _)| *start);
        // The panes that are to enter, and those that are to leave.
        let (mut stack, mut younger, mut older) = (F::Stack::default(), panes, panes);
        let window = |end| {
            while let Some(((start, a), later)) = younger.split_first().filter(|((start, _), _)| *start < end) {
                self.fold.enter(&mut stack, *start, a);
                younger = later;
            }
            while let Some(((start, a), later)) = older.split_first().filter(|((start, _), _)| *start < end - self.shape.length) {
                self.fold.leave(&mut stack, *start, a);
                older = later;
            }
            self.fold.result(&stack, |start| panes.get(at(start)).map(|(_, a)| a)).map(|a| (end, a))
        };
        self.shape.ends(after, until, next_pane).filter_map(window).collect()
    }

    /// The results of all keys in the windows that the watermark has passed.
    fn close(&mut self, watermark: Watermark, t: BatchTime) -> Vec<InWindow<A>> {
        if watermark.now <= watermark.before {
            return Vec::new();
        }
        let next_pane = |from| self.panes.range(from..).next().map(|(start, _)| *start);
        let ends: Vec<i64> = self.shape.ends(watermark.before, watermark.now, next_pane).collect();
        let mut closed = Vec::new();
        for end in ends {
            if self.shape.is_one_pane() {
                let pane = self.panes[&(end - self.shape.length)].iter();
                let (start, end) = self.borders(end);
                closed.extend(pane.map(|(code, a)| (start, end, *code, a.clone())));
            } else {
                self.move_to(end, t);
                self.results(t, &mut closed);
            }
        }
        closed
    }

    /// Makes the last window the one that ends at `end`.
    fn move_to(&mut self, end: i64, t: BatchTime) {
        let (from, was) = (end - self.shape.length, self.last.end);
        self.rebuild(t);
        for (start, pane) in self.panes.range(was.max(from)..end) {
            for (code, a) in pane {
                let stack = self.last.stack(*code, &mut self.keys, t);
                self.fold.enter(stack, *start, a);
            }
        }
        self.leave(from.min(was));
        (self.last.begin, self.last.end) = (from, end);
    }

    /// Makes the stacks again that have a pane which has changed since.
    fn rebuild(&mut self, t: BatchTime) {
        let mut stale = std::mem::take(&mut self.last.stale);
        stale.sort_unstable();
        stale.dedup();
        let on_stacks = self.last.begin..self.last.end;
        for code in stale {
            let stack = self.last.stack(code, &mut self.keys, t);
            *stack = F::Stack::default();
            for (start, pane) in self.panes.range(on_stacks.clone()) {
                if let Some(a) = pane.get(&code) {
                    self.fold.enter(stack, *start, a);
                }
            }
        }
    }

    /// Takes the panes from the stacks that start before `until`, which is at most the end of the last window.
    fn leave(&mut self, until: i64) {
        for (start, pane) in self.panes.range(self.last.begin..until.max(self.last.begin)) {
            for (code, a) in pane {
                self.fold.leave(&mut self.last.stacks[*code as usize].panes, *start, a);
            }
        }
        self.last.begin = until.max(self.last.begin);
    }

    /// The results of the last window. A key without one needs no stack.
    fn results(&mut self, t: BatchTime, closed: &mut Vec<InWindow<A>>) {
        let (start, end) = self.borders(self.last.end);
        let LastWindow { stacks, live, .. } = &mut self.last;
        live.retain(|code| {
            let stack = &mut stacks[*code as usize];
            let result = self.fold.result(&stack.panes, |start| self.panes.get(&start)?.get(code));
            stack.lives = result.is_some();
            if result.is_none() {
                self.keys.release(*code, 1, t);
            }
            closed.extend(result.map(|a| (start, end, *code, a)));
            stack.lives
        });
    }
}

impl<S: Default> LastWindow<S> {
    /// The stack of a key, which lives from now on.
    fn stack<K: Key>(&mut self, code: Code, keys: &mut Dict<K>, t: BatchTime) -> &mut S {
        let at = code as usize;
        if self.stacks.len() <= at {
            self.stacks.resize_with(at + 1, Stack::default);
        }
        let stack = &mut self.stacks[at];
        if !stack.lives {
            stack.lives = true;
            keys.retain(code, 1, t);
            self.live.push(code);
        }
        &mut stack.panes
    }
}

impl<K: Key, A: Exchange + PartialEq, F: PaneFold<A>> WindowState<K, ByPane<A>> for Panes<K, A, F> {
    type Result = A;

    fn restored(&mut self, watermark: Watermark, t: BatchTime, shown: bool) -> Outcome<A> {
        let mut changes = Vec::new();
        if shown {
            let watermark = self.shown(watermark);
            self.leaving = self.close(watermark, t);
            let mut by_code: BTreeMap<Code, Vec<(i64, A)>> = BTreeMap::new();
            for (start, pane) in &self.panes {
                pane.iter().for_each(|(code, a)| by_code.entry(*code).or_default().push((*start, a.clone())));
            }
            for (code, panes) in by_code {
                let windows = self.windows(&panes, watermark.before, i64::MAX);
                changes.extend(windows.into_iter().map(|(end, a)| (self.in_window(end, code, a), 1)));
            }
        }
        Outcome::restored(changes)
    }

    fn batch(&mut self, watermark: Watermark, t: BatchTime, rows: Vec<Rows<(K, ByPane<A>)>>, shown: bool) -> Outcome<A> {
        // The results of the previous batch have been emitted with their keys.
        self.keys.reclaim(|_| true);
        let watermark = self.shown(watermark);
        let mut changes: Vec<_> = std::mem::take(&mut self.leaving).into_iter().map(|result| (result, -1)).collect();
        self.drop_panes(watermark.before, t);
        let (touched, late) = self.add(watermark.before, t, rows, shown);
        for (code, before) in touched {
            self.change(code, &before, watermark.before, &mut changes);
        }
        let closed = self.close(watermark, t);
        if shown {
            self.leaving.clone_from(&closed);
        }
        Outcome { changes, closed, late, late_rows: 0 }
    }

    fn group_and_key(&self, code: Code) -> (u64, &K) {
        self.keys.group_and_key(code)
    }
}

impl<K: Key, A: Exchange + PartialEq, F: PaneFold<A>> KeyedState for Panes<K, A, F> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cut = None;
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn held(&self) -> Held {
        let rows: usize = self.panes.values().map(|pane| pane.capacity() * (size_of::<(Code, A)>() + 1)).sum();
        self.keys.size().and_bytes(rows).with_panes(self.panes.len())
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let (keys, panes) = (&self.keys, &self.panes);
        let cut = self.cut.get_or_insert_with(|| {
            let mut cut: ByGroup<Vec<_>> = ByGroup::default();
            for (start, pane) in panes {
                pane.keys().for_each(|code| cut.of(keys.group_and_key(*code).0).push((*start, *code)));
            }
            cut
        });
        let mut of_group: Vec<_> =
            cut.take(group).into_iter().map(|(start, code)| (start, keys.key(code), &panes[&start][&code])).collect();
        // The bytes of a group that did not change are the same.
        of_group.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        for (start, key, a) in postcard::from_bytes::<Vec<(i64, K, A)>>(bytes)? {
            if !self.shape.is_pane(start) {
                return Err(format!("no pane starts at {start}").into());
            }
            let code = self.keys.code(key, cut);
            if self.panes.entry(start).or_default().insert(code, a).is_none() {
                self.keys.retain(code, 1, cut);
            }
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    use super::pane_fold::Reduced;
    let shape = WindowShape::new(std::time::Duration::from_micros(4), &std::time::Duration::from_micros(2).into());
    let panes = Panes::<String, i64, _>::new(
        KeyGroups::default(),
        shape.expect("a valid shape"),
        LocalClock::default(),
        0,
        Reduced::by(i64::wrapping_add),
    );
    crate::engine::state::take_any(panes, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::PartitionId;
    use crate::core::time::{days, hours};
    use crate::operator::event_time::pane_fold::{Listed, Listing, Reduced};

    const HOUR: i64 = 3_600_000_000;

    /// Two hundred days of rows with ever new keys, some of them late or for a pane that is on a stack. Returns the most panes and codes.
    fn many_days<A: Exchange + PartialEq, F: PaneFold<A>>(fold: F, one: impl Fn(i64) -> A, shown: bool) -> (usize, usize) {
        let shape = WindowShape::new(days(2), &hours(6).into()).unwrap();
        let mut panes: Panes<i64, A, F> = Panes::new(KeyGroups::default(), shape, LocalClock::default(), HOUR, fold);
        let (mut most, mut codes) = (0, 0);
        for n in 0..200 * 24 {
            let (t, now) = (BatchTime::from_millis(n as u64 + 1), n * HOUR);
            let pane = |time: i64| ByPane(vec![(shape.pane_of(time), one(time))]);
            let rows = vec![(n, pane(now)), (n + 1, pane(now - 30 * HOUR)), (n % 3, pane(now - 90 * HOUR))];
            let watermark = Watermark { before: now - HOUR, now, largest: Some(now) };
            panes.batch(watermark, t, vec![Rows::new(PartitionId::default(), rows)], shown);
            most = most.max(panes.panes.values().map(FastMap::len).sum());
            codes = codes.max(panes.keys.codes()).max(panes.last.stacks.len());
        }
        assert!(panes.panes.len() <= 12, "{} panes", panes.panes.len());
        (most, codes)
    }

    #[test]
    fn state_is_that_of_the_open_windows() {
        for shown in [false, true] {
            let (panes, codes) = many_days(Reduced::by(|a: i64, b| a + b), |_| 1, shown);
            assert!(panes < 200 && codes < 200, "{panes} panes, {codes} codes");
            let (panes, codes) = many_days(Listed, |time| Listing::from([(time, 7u8)]), shown);
            assert!(panes < 200 && codes < 200, "{panes} panes, {codes} codes");
        }
    }
}
