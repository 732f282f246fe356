//! A window as a ring of panes: at t, new panes are added and old panes are subtracted. No change is sent before its time.
//!
//! A pane is the combined records of one slice of time (Li et al., "No pane, no gain", SIGMOD Record 2005). Base panes hold one
//! batch each, and all windows over a stream share them. A window with a longer slide folds them into panes of the greatest common
//! divisor of its slide and its length. The cost of a batch does not grow with the window.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::dstream::{DStream, Panes};
use crate::api::view::{Form, Interned};
use crate::core::data::{FastMap, Key, Rows, encoded};
use crate::core::error::BoxError;
#[cfg(any(test, feature = "testing"))]
use crate::core::key_groups::KeyGroups;
use crate::core::schedule::{Placed, Position, WindowSpec};
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::flow::{VecStream, batched, collect_batches};
use crate::engine::operator_id::OperatorId;
use crate::engine::pane::Pane;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::engine::tick::Tick;
use crate::metrics::held::Held;
use crate::operator::kernel::partial_table::PartialTable;

/// More records than a window can hold. A chunk with a larger sum is damaged.
const MOST: i64 = i64::MAX >> 10;

/// Builds the panes of a stream: one per batch, combined by key on the workers that own the keys.
fn panes<'s, T: Key>(
    stream: &DStream<'s, T>,
    operator: &OperatorId,
    dict: &Rc<RefCell<Dict<T>>>,
) -> VecStream<'s, (BatchTime, Rc<Pane>)> {
    let fold = |table: &mut PartialTable<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *table.of(r) += 1);
    let combined = stream.combine(operator, 0, fold, |a, b| *a += b);
    let (own, probe) = (dict.clone(), stream.node.graph.probe.clone());
    collect_batches(
        &stream.flow().silent_when_empty(),
        operator,
        combined.inner(),
        move |tick, mut rows: Vec<Rows<(T, i64)>>, emit| {
            let mut dict = own.borrow_mut();
            dict.reclaim(|t| !probe.less_equal(&t));
            if rows.is_empty() {
                return;
            }
            let mut pane = Pane::default();
            rows.sort_by_key(|rows| rows.partition.index);
            let grouped = rows.into_iter().flat_map(|rows| {
                let group = rows.partition.index;
                rows.take().into_iter().map(move |(k, n)| (k, (group, n)))
            });
            dict.codes_of(grouped, tick.time, |_, code, (group, n)| pane.extend(group.into(), [(code, n)]));
            emit(vec![(tick.time, Rc::new(pane))]);
        },
    )
}

/// The panes of one window.
struct Ring {
    /// Panes that wait for the next slide, and panes in the window, oldest first, by their end.
    waiting: VecDeque<(u64, Rc<Pane>)>,
    inside: VecDeque<(u64, Rc<Pane>)>,
    /// Rows of earlier batches that came late, for panes inside. The next slide adds them.
    late: VecDeque<(u64, Rc<Pane>)>,
    /// The open pane, if panes are longer than batches, and its end.
    folding: (u64, FastMap<Code, i64>),
    /// Key groups with rows since the last snapshot.
    changed: Groups,
    /// Key groups in which an earlier pane changed since then.
    rewritten: Groups,
    /// The open pane as of the last snapshot; made at first use.
    partial: Option<Pane>,
}

impl Ring {
    fn new() -> Self {
        let (waiting, inside, late) = Default::default();
        let (changed, rewritten) = Default::default();
        Ring { waiting, inside, late, folding: Default::default(), changed, rewritten, partial: None }
    }

    /// Adds the pane of a batch.
    fn push(&mut self, at: &Position, pane: Rc<Pane>, dict: &RefCell<Dict<impl Key>>) {
        let mut dict = dict.borrow_mut();
        pane.rows().iter().for_each(|(code, n)| self.changed.insert(dict.retain(*code, *n, at.time)));
        let (end, folding) = &mut self.folding;
        let ends = at.pane_end == at.time.millis();
        if ends && folding.is_empty() {
            self.waiting.push_back((at.pane_end, pane));
            return;
        }
        *end = at.pane_end;
        pane.rows().iter().for_each(|(code, n)| *folding.entry(*code).or_insert(0) += n);
        if ends {
            let rows = folding.drain().map(|(code, n)| (dict.group_and_key(code).0, (code, n))).collect();
            self.waiting.push_back((*end, Rc::new(Pane::new(rows))));
        }
    }

    /// Adds rows of an earlier batch to their pane.
    fn correct(&mut self, placed: Placed, pane: &Pane, t: BatchTime, dict: &RefCell<Dict<impl Key>>) {
        let mut dict = dict.borrow_mut();
        let (end, panes) = match placed {
            Placed::Waiting(end) => (end, &mut self.waiting),
            Placed::Inside(end) => (end, &mut self.late),
            Placed::Open | Placed::Left => return,
        };
        pane.rows().iter().for_each(|(code, n)| self.rewritten.insert(dict.retain(*code, *n, t)));
        join(panes, end, pane, &dict);
    }

    /// The changes of the window when it slides.
    fn slide(&mut self, at: &Position, dict: &RefCell<Dict<impl Key>>) -> Vec<(Code, BatchTime, i64)> {
        let mut dict = dict.borrow_mut();
        let (t, mut changes) = (at.time, Vec::new());
        while self.inside.front().is_some_and(|(end, _)| !at.holds(*end)) {
            let (_, pane) = self.inside.pop_front().expect("the pane that was looked at");
            for (code, n) in pane.rows() {
                changes.push((*code, t, -n));
                dict.release(*code, *n, t);
            }
        }
        for (end, pane) in self.waiting.drain(..) {
            if at.holds(end) {
                changes.extend(pane.rows().iter().map(|(code, n)| (*code, t, *n)));
                self.inside.push_back((end, pane));
            } else {
                // The slide is longer than the window: some batches are in no window.
                pane.rows().iter().for_each(|(code, n)| dict.release(*code, *n, t));
            }
        }
        for (end, pane) in std::mem::take(&mut self.late) {
            debug_assert!(at.holds(end), "rows were placed for this slide");
            for (code, n) in pane.rows() {
                self.rewritten.insert(dict.group_and_key(*code).0);
                changes.push((*code, t, *n));
            }
            join(&mut self.inside, end, &pane, &dict);
        }
        changes
    }

    /// The rows of a group in panes that end after `since`, by their end.
    fn of(&mut self, group: u64, since: BatchTime, dict: &Dict<impl Key>) -> Vec<(u64, &[(Code, i64)])> {
        let (end, folding) = &self.folding;
        let placed = || folding.iter().map(|(code, n)| (dict.group_and_key(*code).0, (*code, *n))).collect();
        let partial = self.partial.get_or_insert_with(|| Pane::new(placed()));
        let panes = self.inside.iter().chain(&self.waiting).map(|(end, pane)| (*end, &**pane)).chain([(*end, &*partial)]);
        let since = panes.filter(|(end, _)| *end > since.millis());
        since.map(|(end, pane)| (end, pane.of(group))).filter(|(_, rows)| !rows.is_empty()).collect()
    }
}

/// Adds rows to the pane with this end, or to a new one in its place.
fn join(panes: &mut VecDeque<(u64, Rc<Pane>)>, end: u64, more: &Pane, dict: &Dict<impl Key>) {
    let at = panes.partition_point(|(e, _)| *e < end);
    let known = panes.get(at).filter(|(e, _)| *e == end).is_some();
    if !known {
        panes.insert(at, (end, Rc::default()));
    }
    // Other windows share the pane.
    let rows = panes[at].1.rows().iter().chain(more.rows());
    panes[at].1 = Rc::new(Pane::new(rows.map(|row| (dict.group_and_key(row.0).0, *row)).collect()));
}

/// A window and the keys of its codes. It is saved by key group.
///
/// A chunk holds the panes with rows since the previous snapshot. A pane that was open then is saved again, and replaces its part in
/// the earlier chunk.
struct Window<T> {
    spec: WindowSpec,
    ring: Ring,
    dict: Rc<RefCell<Dict<T>>>,
    /// Restored panes, by end and group. They enter with the first batch, which knows what is still in the window.
    loaded: Loaded<T>,
    /// Those rows of them that the next slide adds.
    loaded_late: Loaded<T>,
    /// The rows of restored panes in the window, until the first slide emits them.
    restored_rows: Vec<(Code, i64)>,
}

/// Restored panes, by end and group.
type Loaded<K> = BTreeMap<u64, BTreeMap<u64, Vec<(K, i64)>>>;

/// Panes as they are saved, by key. Chunks of the first format had waiting panes and the open pane apart. Now rows for panes in the window
/// wait there.
type Named<K> = Vec<(u64, Vec<(K, i64)>)>;

impl<T: Key> Window<T> {
    fn new(spec: WindowSpec, dict: Rc<RefCell<Dict<T>>>) -> Self {
        let (loaded, loaded_late) = Default::default();
        Window { spec, ring: Ring::new(), dict, loaded, loaded_late, restored_rows: Vec::new() }
    }

    /// The changes in the window that a batch causes.
    fn batch(&mut self, tick: &Tick, pane: Option<Rc<Pane>>) -> Vec<(Code, BatchTime, i64)> {
        let t = tick.time;
        if !self.loaded.is_empty() || !self.loaded_late.is_empty() {
            let before = BatchTime::from_millis(t.millis() - self.spec.interval());
            self.enter(if tick.restored { t } else { before });
        }
        if tick.restored {
            return self.restored_rows.drain(..).map(|(code, n)| (code, t, n)).collect();
        }
        let at = self.spec.at(t);
        let pane = pane.unwrap_or_default();
        match tick.corrects().map_or(Placed::Open, |of| self.spec.placed(of, t)) {
            Placed::Open => self.ring.push(&at, pane, &self.dict),
            placed => {
                self.ring.push(&at, Rc::default(), &self.dict);
                self.ring.correct(placed, &pane, t, &self.dict);
            }
        }
        if !at.slides {
            return Vec::new();
        }
        let mut changes: Vec<_> = self.restored_rows.drain(..).map(|(code, n)| (code, t, n)).collect();
        changes.extend(self.ring.slide(&at, &self.dict));
        changes
    }

    /// Restored panes enter, as they were after the batch of `t`.
    fn enter(&mut self, t: BatchTime) {
        let at = self.spec.last_slide(t);
        let last_slide = at.time.millis();
        let mut dict = self.dict.borrow_mut();
        for (end, groups) in std::mem::take(&mut self.loaded) {
            if end <= last_slide && !at.holds(end) {
                continue;
            }
            let mut held = |(key, n)| {
                let code = dict.code(key, t);
                dict.retain(code, n, t);
                (code, n)
            };
            if end > t.millis() {
                self.ring.folding.0 = end;
                let rows = groups.into_values().flatten().map(&mut held);
                rows.for_each(|(code, n)| *self.ring.folding.1.entry(code).or_insert(0) += n);
                continue;
            }
            let mut pane = Pane::default();
            groups.into_iter().for_each(|(group, rows)| pane.extend(group, rows.into_iter().map(&mut held)));
            if end <= last_slide {
                self.restored_rows.extend_from_slice(pane.rows());
                self.ring.inside.push_back((end, Rc::new(pane)));
            } else {
                self.ring.waiting.push_back((end, Rc::new(pane)));
            }
        }
        for (end, groups) in std::mem::take(&mut self.loaded_late).into_iter().filter(|(end, _)| at.holds(*end)) {
            let mut pane = Pane::default();
            for (group, rows) in groups {
                let mut held = |(key, n)| {
                    let code = dict.code(key, t);
                    dict.retain(code, n, t);
                    (code, n)
                };
                pane.extend(group, rows.into_iter().map(&mut held).collect::<Vec<_>>());
            }
            self.ring.late.push_back((end, Rc::new(pane)));
        }
    }
}

impl<T: Key> KeyedState for Window<T> {
    fn snapshot(&mut self, t: BatchTime) -> Changes {
        self.ring.partial = None;
        Changes {
            groups: std::mem::take(&mut self.ring.changed),
            expired: Some(BatchTime::from_millis(self.spec.last_slide(t).start)),
        }
    }

    fn window(&self) -> Option<WindowSpec> {
        Some(self.spec.clone())
    }

    fn rewritten(&mut self) -> Groups {
        std::mem::take(&mut self.ring.rewritten)
    }

    fn held(&self) -> Held {
        let Ring { waiting, inside, late, folding, .. } = &self.ring;
        let panes = inside.iter().chain(waiting).chain(late);
        let rows = panes.clone().map(|(_, pane)| pane.rows().len()).sum::<usize>() + folding.1.len();
        // The dictionary is that of all windows over the stream.
        let keys = self.dict.borrow().size().keys as usize;
        Held::of_keys(keys, rows * size_of::<(Code, i64)>()).with_panes(panes.count() + usize::from(!folding.1.is_empty()))
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        let dict = self.dict.borrow();
        let named = |rows: &[(Code, i64)]| rows.iter().map(|(code, n)| (dict.key(*code), *n)).collect::<Vec<_>>();
        let late = self.ring.late.iter().map(|(end, pane)| (*end, named(pane.of(group)))).filter(|(_, rows)| !rows.is_empty());
        let late: Named<&T> = late.collect();
        let panes = self.ring.of(group, since, &dict);
        if panes.is_empty() && late.is_empty() {
            return Vec::new();
        }
        let panes: Named<&T> = panes.into_iter().map(|(end, rows)| (end, named(rows))).collect();
        encoded(&(panes, late, Vec::<(T, i64)>::new()))
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        let (panes, waiting, folding): (Named<T>, Named<T>, Vec<(T, i64)>) = postcard::from_bytes(bytes)?;
        let all = panes.iter().chain(&waiting).map(|(_, pane)| pane).chain([&folding]);
        let counts = all.flatten().try_fold(0i64, |sum, (_, n)| sum.checked_add(*n).filter(|_| *n > 0));
        if counts.is_none_or(|sum| sum > MOST) {
            return Err("a count is not positive, or the sum of the counts is too large".into());
        }
        let groups = self.dict.borrow().groups();
        let last_slide = self.spec.last_slide(cut).time.millis();
        let (late, waiting): (Named<T>, Named<T>) = waiting.into_iter().partition(|(end, _)| *end <= last_slide);
        for (end, rows) in late {
            if let Some((k, _)) = rows.first() {
                self.loaded_late.entry(end).or_default().insert(groups.of(k), rows);
            }
        }
        for (end, rows) in panes.into_iter().chain(waiting).chain([(self.spec.at(cut).pane_end, folding)]) {
            if let Some((k, _)) = rows.first() {
                self.loaded.entry(end).or_default().insert(groups.of(k), rows);
            }
        }
        Ok(())
    }
}

/// The rows of a window over a stream, by code, and the index of its state.
pub(crate) fn ring<'s, T: Key>(stream: &DStream<'s, T>, spec: WindowSpec, operator: &OperatorId) -> (Form<'s, T>, usize) {
    let dict = stream.node.panes.get_or_init(|| Panes::new(stream.node.graph.key_groups())).dict.clone();
    let window = Rc::new(RefCell::new(Window::new(spec, dict.clone())));
    let (state, owner) = stream.node.graph.register_state(operator, window.clone());
    let (stream, operator) = (stream.clone(), operator.clone());
    let codes = move || {
        let shared = &stream.node.panes.get().expect("the window made them").stream;
        let panes = shared.get_or_init(|| panes(&stream, &operator, &dict)).clone();
        let owner = owner.build();
        let changes = batched(
            stream.flow(),
            &operator,
            panes,
            Pipeline,
            |pending, _, panes: Vec<(BatchTime, Rc<Pane>)>| {
                for (t, pane) in panes {
                    *pending.at(t) = Some(pane);
                }
            },
            move |tick, pane: Option<Rc<Pane>>, emit| emit(owner.batch(tick, || window.borrow_mut().batch(tick, pane))),
        );
        // Panes on their way here do not retain codes: the probe keeps codes from reuse until then, also if no output reads this window.
        Interned { changes: changes.probe_with(&stream.node.graph.probe), dict }
    };
    (Form::interned(codes), state)
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Window::<String>::new(WindowSpec::of(4, 2), Dict::shared(KeyGroups::default())), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// At each slide the window holds the rows of its definition, for any length and slide.
        #[test]
        fn a_ring_is_its_window(length in 1u64..9, slide in 1u64..9, batches in prop::collection::vec(0i64..4, 1..40)) {
            let spec = WindowSpec::of(length, slide);
            let (groups, dict) = (KeyGroups::default(), RefCell::new(Dict::<u8>::new(KeyGroups::default())));
            let mut ring = Ring::new();
            let code = dict.borrow_mut().code(7, BatchTime::default());
            let mut total = 0;
            for (i, n) in batches.iter().enumerate() {
                let at = spec.at(BatchTime::from_millis(i as u64 + 1));
                ring.push(&at, Rc::new(Pane::new(Vec::from_iter((*n > 0).then_some((groups.of(&7u8), (code, *n)))))), &dict);
                if at.slides {
                    total += ring.slide(&at, &dict).iter().map(|(_, _, n)| n).sum::<i64>();
                    let from = (i + 1).saturating_sub(length as usize);
                    prop_assert_eq!(total, batches[from..=i].iter().sum::<i64>());
                }
            }
        }
    }
}
