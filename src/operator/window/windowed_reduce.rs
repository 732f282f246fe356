//! The kernel of `reduce_by_window` and `reduce_by_key_and_window`: panes by key, reduced by a user's function.
//!
//! A pane is added when its batch closes, and removed when the window slides. A slide visits only keys with a pane that was added or
//! removed since the previous slide. A key without panes and without a row is forgotten, so memory is that of the keys in the window.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::{Form, View, ViewNode};
use crate::core::data::{Exchange, FastMap, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::schedule::{Placed, Position, WindowSpec};
use crate::core::slide::Slide;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::flow::collect_batches;
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::engine::tick::Tick;
use crate::metrics::held::Held;

/// A way to reduce the panes of one key to one value.
pub(crate) trait WindowFold<V>: 'static {
    /// The state of one key: its panes in the window, by their end.
    type Panes: Default + Exchange;

    /// Adds a value to the newest pane if that has this end, else to a new pane.
    fn enter(&self, panes: &mut Self::Panes, end: u64, v: V);

    /// Adds a value to the pane with this end, at most that of the newest, or to a new one in its place. Returns whether it is new.
    fn amend(&self, panes: &mut Self::Panes, end: u64, v: V) -> bool;

    /// Removes the oldest pane, which has this end.
    fn leave(&self, panes: &mut Self::Panes, end: u64);

    /// The value of the window; `None` if there was never a pane, or none is left.
    fn value(&self, panes: &Self::Panes) -> Option<V>;

    /// The ends of all panes, oldest first.
    fn ends(panes: &Self::Panes) -> impl Iterator<Item = u64>;

    /// The part of the state for a chunk of a checkpoint: panes that end after `since`, and always the newest.
    fn newer(panes: &Self::Panes, since: u64) -> Self::Panes;

    /// The state of a key, from the state of earlier chunks and a newer part.
    fn joined(&self, old: Self::Panes, new: Self::Panes) -> Self::Panes;

    /// Removes panes that left the window before the last chunk was made.
    fn trim(panes: &mut Self::Panes, stays: impl Fn(u64) -> bool);

    /// Whether a key may have a value after all its panes have left.
    const REMEMBERS: bool;
}

/// The state of one key.
struct Cell<V, P> {
    panes: P,
    /// The end of its newest pane.
    newest: u64,
    /// The value of its row in the view.
    shown: Option<V>,
    /// Whether the next slide visits it.
    touched: bool,
    /// The last batch that changed the cell.
    last: BatchTime,
}

impl<V, P: Default> Cell<V, P> {
    fn new(last: BatchTime) -> Self {
        Cell { panes: P::default(), newest: 0, shown: None, touched: false, last }
    }
}

/// The state of one window: its keys by code, and the keys of each pane.
struct WindowedReduce<K, V, F: WindowFold<V>, S> {
    spec: WindowSpec,
    fold: F,
    /// Whether a row is in the view.
    show: S,
    dict: Dict<K>,
    cells: Vec<Option<Cell<V, F::Panes>>>,
    panes: BTreeMap<u64, Vec<Code>>,
    touched: Vec<Code>,
    /// Restored keys, each with the snapshot of its last chunk. They enter with the first batch, which knows what is still in the
    /// window.
    loaded: FastMap<K, (F::Panes, Option<V>, BatchTime)>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// Key groups in which an earlier pane changed since then.
    rewritten: Groups,
    /// The codes of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Vec<Code>>>,
}

impl<K: Key, V: Key, F: WindowFold<V>, S: Fn(&(K, V)) -> bool> WindowedReduce<K, V, F, S> {
    fn new(groups: KeyGroups, spec: WindowSpec, fold: F, show: S) -> Self {
        let (dict, cells, panes) = (Dict::new(groups), Vec::new(), BTreeMap::new());
        let (touched, loaded, cut) = (Vec::new(), FastMap::default(), None);
        let (changed, rewritten) = (Groups::default(), Groups::default());
        WindowedReduce { spec, fold, show, dict, cells, panes, touched, loaded, changed, rewritten, cut }
    }

    /// The cell of a key, a new one if it has none.
    fn cell(&mut self, k: K, t: BatchTime) -> (Code, &mut Cell<V, F::Panes>) {
        let code = self.dict.code(k, t);
        if self.cells.len() <= code as usize {
            self.cells.resize_with(code as usize + 1, || None);
        }
        let cell = self.cells[code as usize].get_or_insert_with(|| {
            self.dict.retain(code, 1, t);
            Cell::new(t)
        });
        (code, cell)
    }

    /// Adds the value that a batch has for a key.
    fn push(&mut self, at: &Position, k: K, v: V) {
        if at.skipped {
            return;
        }
        let (t, end) = (at.time, at.pane_end);
        let (code, cell) = self.cell(k, t);
        cell.last = t;
        let new = std::mem::replace(&mut cell.newest, end) != end;
        let touched = std::mem::replace(&mut cell.touched, true);
        let cell = self.cells[code as usize].as_mut().expect("a cell that was just made");
        self.fold.enter(&mut cell.panes, end, v);
        self.changed.insert(self.dict.group_and_key(code).0);
        if !touched {
            self.touched.push(code);
        }
        if new {
            self.panes.entry(end).or_default().push(code);
        }
    }

    /// Adds the value that an earlier batch has for a key, besides what it had when it ran.
    fn correct(&mut self, of: BatchTime, t: BatchTime, k: K, v: V) {
        let end = match self.spec.placed(of, t) {
            Placed::Open => return self.push(&self.spec.at(t), k, v),
            Placed::Waiting(end) | Placed::Inside(end) => end,
            Placed::Left => return,
        };
        let (code, cell) = self.cell(k, t);
        cell.last = t;
        let newest = cell.newest;
        cell.newest = newest.max(end);
        let touched = std::mem::replace(&mut cell.touched, true);
        let cell = self.cells[code as usize].as_mut().expect("a cell that was just made");
        let new = if end <= newest {
            self.fold.amend(&mut cell.panes, end, v)
        } else {
            self.fold.enter(&mut cell.panes, end, v);
            true
        };
        self.rewritten.insert(self.dict.group_and_key(code).0);
        if !touched {
            self.touched.push(code);
        }
        if new {
            self.panes.entry(end).or_default().push(code);
        }
    }

    /// The changes when the window slides.
    fn slide(&mut self, at: &Position) -> Vec<((K, V), BatchTime, i64)> {
        let t = at.time;
        while let Some(oldest) = self.panes.first_entry() {
            let end = *oldest.key();
            if at.holds(end) {
                break;
            }
            for code in oldest.remove() {
                let cell = self.cells[code as usize].as_mut().expect("a key with panes has a cell");
                self.fold.leave(&mut cell.panes, end);
                if !std::mem::replace(&mut cell.touched, true) {
                    self.touched.push(code);
                }
            }
        }
        let mut changes = Vec::new();
        for code in std::mem::take(&mut self.touched) {
            let cell = self.cells[code as usize].as_mut().expect("a key that was touched has a cell");
            (cell.touched, cell.last) = (false, t);
            let (group, key) = self.dict.group_and_key(code);
            self.changed.insert(group);
            let row = self.fold.value(&cell.panes).map(|v| (key.clone(), v)).filter(|row| (self.show)(row));
            if row.as_ref().map(|(_, v)| v) != cell.shown.as_ref() {
                changes.extend(cell.shown.take().map(|old| ((key.clone(), old), t, -1)));
                cell.shown = row.as_ref().map(|(_, v)| v.clone());
                changes.extend(row.map(|row| (row, t, 1)));
            }
            if cell.shown.is_none() && F::ends(&cell.panes).next().is_none() {
                self.cells[code as usize] = None;
                self.dict.release(code, 1, t);
            }
        }
        // Rows are emitted with their keys: nothing outside uses these codes.
        self.dict.reclaim(|_| true);
        changes
    }

    /// Restored keys enter, as they were after the batch of `t`. Returns their rows in the view.
    fn enter(&mut self, t: BatchTime) -> Vec<(K, V)> {
        let last_slide = self.spec.last_slide(t);
        let mut shown = Vec::new();
        for (k, (mut panes, row, last)) in std::mem::take(&mut self.loaded) {
            let had = F::ends(&panes).next().is_some();
            F::trim(&mut panes, |end| end > last_slide.start);
            let ends: Vec<u64> = F::ends(&panes).collect();
            // A key that outlived its panes was saved again; if all its panes have expired it is gone.
            if ends.is_empty() && (had || row.is_none()) {
                continue;
            }
            shown.extend(row.iter().map(|v| (k.clone(), v.clone())));
            let newest = ends.last().copied().unwrap_or(0);
            // A pane in the window may have been corrected since the last slide.
            let touched = newest > last_slide.time.millis() || self.fold.value(&panes) != row;
            let (code, cell) = self.cell(k, t);
            *cell = Cell { panes, newest, shown: row, touched, last };
            if touched {
                self.touched.push(code);
            }
            ends.into_iter().for_each(|end| self.panes.entry(end).or_default().push(code));
        }
        shown
    }

    /// The changes in the window that a batch causes.
    fn batch(&mut self, tick: &Tick, rows: Vec<Rows<(K, V)>>) -> Vec<((K, V), BatchTime, i64)> {
        let t = tick.time;
        let mut changes = Vec::new();
        if !self.loaded.is_empty() {
            let before = BatchTime::from_millis(t.millis() - self.spec.interval());
            let shown = self.enter(if tick.restored { t } else { before });
            changes.extend(shown.into_iter().map(|row| (row, t, 1)));
        }
        let at = self.spec.at(t);
        for (k, v) in rows.into_iter().flat_map(Rows::take) {
            match tick.corrects() {
                None => self.push(&at, k, v),
                Some(of) => self.correct(of, t, k, v),
            }
        }
        if at.slides && !tick.restored {
            changes.extend(self.slide(&at));
        }
        changes
    }
}

impl<K: Key, V: Key, F: WindowFold<V>, S: Fn(&(K, V)) -> bool> KeyedState for WindowedReduce<K, V, F, S> {
    fn snapshot(&mut self, t: BatchTime) -> Changes {
        self.cut = None;
        let gone = if F::REMEMBERS { 0 } else { self.spec.last_slide(t).start };
        Changes { groups: std::mem::take(&mut self.changed), expired: Some(BatchTime::from_millis(gone)) }
    }

    fn window(&self) -> Option<WindowSpec> {
        Some(self.spec.clone())
    }

    fn rewritten(&mut self) -> Groups {
        std::mem::take(&mut self.rewritten)
    }

    fn held(&self) -> Held {
        let cells = self.cells.capacity() * size_of::<Option<Cell<V, F::Panes>>>();
        let panes: usize = self.panes.values().map(Vec::len).sum();
        // A key has a value in each of its panes.
        let values = panes * (size_of::<Code>() + size_of::<(u64, V)>());
        self.dict.size().and_bytes(cells + values).with_panes(self.panes.len())
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        let codes = self.cut.get_or_insert_with(|| self.dict.held_by_group()).take(group);
        let cell = |code: Code| {
            let new = |cell: &&Cell<V, F::Panes>| since == BatchTime::default() || cell.last > since;
            let cell = self.cells[code as usize].as_ref().filter(new)?;
            Some((self.dict.key(code), F::newer(&cell.panes, since.millis()), &cell.shown))
        };
        let of_group: Vec<_> = codes.into_iter().filter_map(cell).collect();
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        for (k, panes, shown) in postcard::from_bytes::<Vec<(K, F::Panes, Option<V>)>>(bytes)? {
            let known = self.loaded.entry(k).or_insert_with(|| (F::Panes::default(), None, cut));
            *known = (self.fold.joined(std::mem::take(&mut known.0), panes), shown, cut);
        }
        Ok(())
    }
}

/// The arguments of a windowed reduction.
pub(crate) struct ReduceSpec<F, S> {
    pub length: Duration,
    pub slide: Slide,
    pub fold: F,
    pub show: S,
}

impl<'s, K: Key, V: Key> DStream<'s, (K, V)> {
    /// The kernel: `f` combines the values of a key within a batch before they move, `fold` combines panes.
    pub(crate) fn windowed_reduce<F: WindowFold<V>>(
        &self,
        operator: &OperatorId,
        f: impl Fn(V, V) -> V + Clone + 'static,
        reduce: ReduceSpec<F, impl Fn(&(K, V)) -> bool + 'static>,
    ) -> View<'s, (K, V)> {
        let graph = &self.node.graph;
        let spec = super::register_window::<(K, V)>(graph, operator, reduce.length, &reduce.slide);
        let schedule = spec.schedule();
        let state = Rc::new(RefCell::new(WindowedReduce::new(graph.key_groups(), spec, reduce.fold, reduce.show)));
        let (number, owner) = graph.register_state(operator, state.clone());
        let (reduced, verb) = (self.reduced(operator, f), operator.clone());
        let changes = Form::rows(move || {
            let owner = owner.build();
            collect_batches(reduced.flow(), &verb, reduced.inner(), move |tick, rows, emit| {
                emit(owner.batch(tick, || state.borrow_mut().batch(tick, rows)));
            })
        });
        let meta = self.node.meta.scheduled(schedule).with_state(number);
        ViewNode::new(graph, meta, changes, Some(operator.to_string())).co_located(true).view()
    }
}

/// See [`crate::engine::state::take_any`]: for both ways of folding.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    use super::two_stacks::{Invertible, TwoStacks};
    fn take(fold: impl WindowFold<i64>, bytes: &[u8]) -> bool {
        let spec = WindowSpec::of(4, 2);
        crate::engine::state::take_any(WindowedReduce::new(KeyGroups::default(), spec, fold, |_: &(String, i64)| true), bytes)
    }
    let (add, sub) = (i64::wrapping_add as fn(i64, i64) -> i64, i64::wrapping_sub as fn(i64, i64) -> i64);
    take(TwoStacks(add), bytes) | take(Invertible::new(add, sub), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::window::two_stacks::{Invertible, TwoStacks};

    type Sums = WindowedReduce<String, i64, Invertible<fn(i64, i64) -> i64, fn(i64, i64) -> i64>, fn(&(String, i64)) -> bool>;

    fn spec() -> WindowSpec {
        WindowSpec::of(4, 2)
    }

    fn at(ms: u64) -> BatchTime {
        BatchTime::from_millis(ms)
    }

    fn sums() -> Sums {
        WindowedReduce::new(KeyGroups::default(), spec(), Invertible::new(|a, b| a + b, |a, b| a - b), |(_, n)| *n != 0)
    }

    /// Batch `t` of the test: some keys stay, some come and go.
    fn batch(t: u64) -> impl Iterator<Item = (String, i64)> {
        (t..t + 20).map(move |k| (format!("key {}", k % 50), (t * k % 7) as i64 - 3))
    }

    fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
        rows.sort();
        rows
    }

    /// One state continues. Another is restored at `cut` in two halves, from chunks of every few batches. Both have the same results.
    fn continues_after_a_restore<F: WindowFold<i64>>(
        make: impl Fn() -> WindowedReduce<String, i64, F, fn(&(String, i64)) -> bool>,
        cut: u64,
        every: u64,
    ) {
        let (mut whole, mut halves) = (make(), [make(), make()]);
        let (mut shown, mut last) = (BTreeMap::new(), 0);
        let mut pieces: Vec<(BatchTime, u64, Vec<u8>)> = Vec::new();
        for t in 1..70 {
            let here = spec().at(at(t));
            batch(t).for_each(|(k, v)| whole.push(&here, k, v));
            let mut all = if here.slides { sorted(whole.slide(&here)) } else { Vec::new() };
            if t > cut {
                for (k, v) in batch(t) {
                    halves[(KeyGroups::default().of(&k) % 2) as usize].push(&here, k, v);
                }
                let again = halves.iter_mut().filter(|_| here.slides).flat_map(|half| half.slide(&here));
                assert_eq!(sorted(again.collect()), all, "at {t}");
            }
            all.retain(|_| t <= cut);
            for ((k, v), _, n) in all {
                *shown.entry((k, v)).or_insert(0) += n;
            }
            if t <= cut && (cut - t).is_multiple_of(every) {
                let mut changes = whole.snapshot(at(t));
                pieces.retain(|(cut, ..)| Some(*cut) > changes.expired);
                while let Some(group) = changes.groups.pop() {
                    pieces.push((at(t), group, whole.save(group, at(last))));
                }
                last = t;
            }
            if t == cut {
                for (cut, group, piece) in pieces.iter().filter(|(_, _, piece)| !piece.is_empty()) {
                    halves[(group % 2) as usize].load(piece, *cut).unwrap();
                }
                shown.retain(|_, n| *n != 0);
                let restored_rows = sorted(halves.iter_mut().flat_map(|half| half.enter(at(t))).collect());
                assert_eq!(restored_rows, shown.keys().cloned().collect::<Vec<_>>(), "at {t}");
            }
        }
        assert!(halves[0].load(&[255], at(0)).is_err());
    }

    #[test]
    fn panes_are_saved_and_restored_by_key_group() {
        for (cut, every) in [(9, 9), (10, 10), (9, 3), (10, 1), (30, 1), (31, 7), (40, 2)] {
            continues_after_a_restore(sums, cut, every);
            continues_after_a_restore(
                || {
                    WindowedReduce::new(
                        KeyGroups::default(),
                        spec(),
                        TwoStacks(|a: i64, b: i64| a.max(b)),
                        (|_| true) as fn(&(String, i64)) -> bool,
                    )
                },
                cut,
                every,
            );
        }
    }

    /// A key whose values add up to 0 is hidden, not forgotten: a value that leaves later is subtracted from the sum that it is in.
    #[test]
    fn a_key_whose_sum_is_0_keeps_its_panes() {
        let spec = WindowSpec::of(3, 1);
        let mut sums: Sums =
            WindowedReduce::new(KeyGroups::default(), spec.clone(), Invertible::new(|a, b| a + b, |a, b| a - b), |(_, n)| {
                *n != 0
            });
        let mut seen = Vec::new();
        for (t, v) in [5, -5, 0, 1].into_iter().chain([0; 4]).enumerate() {
            let here = spec.at(at(t as u64 + 1));
            if v != 0 {
                sums.push(&here, "k".into(), v);
            }
            seen.push(sums.slide(&here).into_iter().map(|((_, v), _, n)| (v, n)).collect::<Vec<_>>());
        }
        assert_eq!(
            seen,
            [vec![(5, 1)], vec![(5, -1)], vec![], vec![(-4, 1)], vec![(-4, -1), (1, 1)], vec![], vec![(1, -1)], vec![]]
        );
        assert_eq!((sums.dict.len(), sums.panes.len()), (0, 0));
    }

    #[test]
    fn keys_that_come_and_go_leave_no_state() {
        let spec = WindowSpec::of(6, 2);
        let mut max =
            WindowedReduce::new(KeyGroups::default(), spec.clone(), TwoStacks(|a: u64, b: u64| a.max(b)), |_: &(u64, u64)| true);
        for t in 1..5_000 {
            let here = spec.at(at(t));
            (0..10).for_each(|k| max.push(&here, t * 5 + k, k));
            if here.slides {
                max.slide(&here);
            }
            assert!(max.dict.len() <= 10 * 8 && max.cells.len() <= 10 * 8 && max.panes.len() <= 4);
        }
        (5_000..5_010).map(|t| spec.at(at(t))).filter(|here| here.slides).for_each(|here| drop(max.slide(&here)));
        assert_eq!((max.dict.len(), max.cells.iter().flatten().count(), max.panes.len()), (0, 0, 0));
    }
}
