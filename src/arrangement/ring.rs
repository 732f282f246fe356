//! A window as a ring of panes: at t, what entered is added and what left is taken away, never anything sent ahead of time.
//!
//! A pane is the combined records of one slice of time (Li et al., "No pane, no gain", SIGMOD Record 2005). Base panes are one
//! batch each and shared by all windows over the same stream; a window whose slide is longer folds them into panes of the
//! greatest common divisor of its slide and its length. The cost of a batch does not grow with the window.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::context::Graph;
use crate::data::{FastMap, KEY_GROUPS, Key, Rows, encoded};
use crate::dict::{Dict, Id};
use crate::dstream::{DStream, Pane, Panes};
use crate::error::BoxError;
use crate::flow::{Site, batched};
use crate::operator::combine::add_one;
use crate::plan::Tick;
use crate::state::{ALL, Groups, KeyedState};
use crate::time::BatchTime;
use crate::view::Keyed;

/// The shape of a window, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub length: u64,
    pub slide: u64,
    pub interval: u64,
}

impl Shape {
    /// How long a pane is: every border of a window is a border of panes.
    pub fn pane(self) -> u64 {
        let (mut a, mut b) = (self.length, self.slide);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// When the pane that holds `t` ends.
    pub fn end_of_pane(self, t: BatchTime) -> u64 {
        t.millis().div_ceil(self.pane()) * self.pane()
    }

    pub fn on_grid(self, t: BatchTime) -> bool {
        t.millis().is_multiple_of(self.slide)
    }

    /// Whether the batch of `t` is in no window: a slide longer than the window leaves some out.
    pub fn skips(self, t: BatchTime) -> bool {
        let next = t.millis().div_ceil(self.slide) * self.slide;
        self.end_of_pane(t) + self.length <= next
    }

    /// Whether a pane with this end is in the window that ends at `t`.
    pub fn holds(self, end: u64, t: BatchTime) -> bool {
        end <= t.millis() && end + self.length > t.millis()
    }
}

/// The panes of a stream: one a batch, combined by key on the workers that own the keys.
pub(crate) fn panes<'s, T: Key>(stream: &DStream<'s, T>, site: &Site) -> Panes<'s, T> {
    let fold = |map: &mut FastMap<T, i64>, rows: Rows<T>| rows.rows.iter().for_each(|r| add_one::<T>(map, r));
    let combined = stream.combine(site, fold, |a, b| *a += b);
    let graph = &stream.node.graph;
    let dict: Rc<RefCell<Dict<T>>> = Rc::default();
    let (own, probe) = (dict.clone(), graph.probe.clone());
    let stream = batched(
        &graph.flow,
        site,
        combined.inner(),
        Pipeline,
        |slots, t, rows: Rows<(T, i64)>| {
            let at: &mut Vec<Rows<(T, i64)>> = slots.at(t);
            at.push(rows);
        },
        move |plan, rows, give| {
            let mut dict = own.borrow_mut();
            dict.tidy(|t| !probe.less_equal(&t));
            let pane: Vec<(Id, i64)> = rows.into_iter().flat_map(Rows::take).map(|(k, n)| (dict.id(k, plan.time), n)).collect();
            give(vec![(plan.time, Rc::new(pane))]);
        },
    );
    Panes { stream, dict }
}

/// What one window remembers.
struct Ring {
    shape: Shape,
    /// Panes that wait for the next time on the grid, and those in the window, oldest first, by their end.
    waiting: VecDeque<(u64, Pane)>,
    inside: VecDeque<(u64, Pane)>,
    /// The pane that is being folded, if panes are longer than batches.
    folding: FastMap<Id, i64>,
}

impl Ring {
    /// A batch's pane enters.
    fn push(&mut self, t: BatchTime, pane: Pane, dict: &RefCell<Dict<impl Key>>) {
        let mut dict = dict.borrow_mut();
        pane.iter().for_each(|(id, n)| _ = dict.hold(*id, *n, t));
        if self.shape.pane() == self.shape.interval {
            self.waiting.push_back((t.millis(), pane));
            return;
        }
        pane.iter().for_each(|(id, n)| *self.folding.entry(*id).or_insert(0) += n);
        let end = self.shape.end_of_pane(t);
        if end == t.millis() {
            self.waiting.push_back((end, Rc::new(self.folding.drain().collect())));
        }
    }

    /// What changes in the window at a time on the grid.
    fn slide(&mut self, t: BatchTime, dict: &RefCell<Dict<impl Key>>) -> Vec<(Id, BatchTime, i64)> {
        let mut dict = dict.borrow_mut();
        let mut changes = Vec::new();
        let shape = self.shape;
        while self.inside.front().is_some_and(|(end, _)| !shape.holds(*end, t)) {
            let (_, pane) = self.inside.pop_front().expect("the pane that was looked at");
            for (id, n) in pane.iter() {
                changes.push((*id, t, -n));
                dict.hold(*id, -n, t);
            }
        }
        for (end, pane) in self.waiting.drain(..) {
            if shape.holds(end, t) {
                changes.extend(pane.iter().map(|(id, n)| (*id, t, *n)));
                self.inside.push_back((end, pane));
            } else {
                // A slide longer than the window: some batches are in none.
                pane.iter().for_each(|(id, n)| _ = dict.hold(*id, -n, t));
            }
        }
        changes
    }
}

/// A window and the names of its ids: what is saved by key group.
struct Window<T> {
    ring: Ring,
    dict: Rc<RefCell<Dict<T>>>,
    /// Panes that were loaded, by their end: in the window, and waiting. They enter with the first batch.
    loaded: [BTreeMap<u64, Vec<(Id, i64)>>; 2],
    /// What was in the window that was loaded, until the first time on the grid says so.
    burst: Vec<(Id, i64)>,
    /// What a cut is to save: the panes of each group, put together when the first is asked for.
    cut: Vec<Saved>,
}

/// Panes by their end, oldest first.
type ByEnd = Vec<(u64, Vec<(Id, i64)>)>;

/// One group's panes: those in the window, those that wait, and the one that is being folded.
type Saved = (ByEnd, ByEnd, Vec<(Id, i64)>);

/// Panes as they are saved: by name.
type Named<K> = Vec<(u64, Vec<(K, i64)>)>;

impl<T: Key> Window<T> {
    /// What changes in the window with a batch.
    fn batch(&mut self, tick: &Tick, pane: Pane) -> Vec<(Id, BatchTime, i64)> {
        let t = tick.time;
        let [inside, waiting] = std::mem::take(&mut self.loaded);
        self.burst.extend(inside.values().flatten());
        self.ring.inside.extend(inside.into_iter().map(|(end, pane)| (end, Rc::new(pane))));
        self.ring.waiting.extend(waiting.into_iter().map(|(end, pane)| (end, Rc::new(pane))));
        if tick.restored {
            return self.burst.drain(..).map(|(id, n)| (id, t, n)).collect();
        }
        self.ring.push(t, pane, &self.dict);
        if !self.ring.shape.on_grid(t) {
            return Vec::new();
        }
        let mut changes: Vec<_> = self.burst.drain(..).map(|(id, n)| (id, t, n)).collect();
        changes.extend(self.ring.slide(t, &self.dict));
        changes
    }
}

impl<T: Key> Window<T> {
    /// All panes, by key group.
    fn by_group(&self) -> Vec<Saved> {
        let dict = self.dict.borrow();
        let mut cut: Vec<Saved> = (0..KEY_GROUPS).map(|_| Saved::default()).collect();
        let group = |id: Id| dict.placed(id).0 as usize;
        for (of, panes) in [(0, &self.ring.inside), (1, &self.ring.waiting)] {
            for (end, pane) in panes {
                for (id, n) in pane.iter() {
                    let saved = &mut cut[group(*id)];
                    let panes = if of == 0 { &mut saved.0 } else { &mut saved.1 };
                    match panes.last_mut().filter(|(last, _)| last == end) {
                        Some((_, rows)) => rows.push((*id, *n)),
                        None => panes.push((*end, vec![(*id, *n)])),
                    }
                }
            }
        }
        self.ring.folding.iter().for_each(|(id, n)| cut[group(*id)].2.push((*id, *n)));
        cut
    }
}

impl<T: Key> KeyedState for Window<T> {
    fn cut(&mut self) -> Groups {
        self.cut.clear();
        ALL
    }

    fn save(&mut self, group: u64) -> Vec<u8> {
        if self.cut.is_empty() {
            self.cut = self.by_group();
        }
        let saved = std::mem::take(&mut self.cut[group as usize]);
        if saved == Saved::default() {
            return Vec::new();
        }
        let dict = self.dict.borrow();
        let named = |pane: Vec<(Id, i64)>| pane.into_iter().map(|(id, n)| (dict.name(id), n)).collect::<Vec<_>>();
        let panes = |panes: ByEnd| panes.into_iter().map(|(end, pane)| (end, named(pane))).collect::<Vec<_>>();
        encoded(&(panes(saved.0), panes(saved.1), named(saved.2)))
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let (inside, waiting, folding): (Named<T>, Named<T>, Vec<(T, i64)>) = postcard::from_bytes(bytes)?;
        let mut dict = self.dict.borrow_mut();
        let mut held = |key, n| {
            let id = dict.id(key, BatchTime::default());
            dict.hold(id, n, BatchTime::default());
            (id, n)
        };
        for (panes, to) in [inside, waiting].into_iter().zip(&mut self.loaded) {
            for (end, rows) in panes {
                to.entry(end).or_default().extend(rows.into_iter().map(|(k, n)| held(k, n)));
            }
        }
        for (k, n) in folding {
            let (id, n) = held(k, n);
            *self.ring.folding.entry(id).or_insert(0) += n;
        }
        Ok(())
    }
}

/// The changes of a window, by id, and the number of its state.
pub(crate) fn ring<'s, T: Key>(
    panes: &Panes<'s, T>,
    shape: Shape,
    graph: &Graph<'s>,
    site: &Site,
    name: String,
) -> (Keyed<'s, T>, usize) {
    let dict = panes.dict.clone();
    let ring = Ring { shape, waiting: VecDeque::new(), inside: VecDeque::new(), folding: FastMap::default() };
    let window = Window { ring, dict: dict.clone(), loaded: Default::default(), burst: Vec::new(), cut: Vec::new() };
    let window = Rc::new(RefCell::new(window));
    let (state, owner) = graph.remember(name, window.clone());
    let changes = batched(
        &graph.flow,
        site,
        panes.stream.clone(),
        Pipeline,
        |slots, _, panes: Vec<(BatchTime, Pane)>| {
            for (t, pane) in panes {
                *slots.at(t) = Some(pane);
            }
        },
        move |tick, pane: Option<Pane>, give| {
            give(owner.batch(tick, || window.borrow_mut().batch(tick, pane.unwrap_or_default())))
        },
    );
    // Panes hold no ids on their way here: ids must not be used again before, even if no output wants this window.
    (Keyed { changes: changes.probe_with(&graph.probe), dict }, state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The window at each time on the grid is what its definition says, whatever the shape.
        #[test]
        fn a_ring_is_its_window(length in 1u64..9, slide in 1u64..9, batches in prop::collection::vec(0i64..4, 1..40)) {
            let shape = Shape { length, slide, interval: 1 };
            let dict: RefCell<Dict<u8>> = RefCell::default();
            let mut ring = Ring { shape, waiting: VecDeque::new(), inside: VecDeque::new(), folding: FastMap::default() };
            let id = dict.borrow_mut().id(7, BatchTime::default());
            let mut total = 0;
            for (i, n) in batches.iter().enumerate() {
                let t = BatchTime::from_millis(i as u64 + 1);
                ring.push(t, Rc::new(if *n > 0 { vec![(id, *n)] } else { vec![] }), &dict);
                if shape.on_grid(t) {
                    total += ring.slide(t, &dict).iter().map(|(_, _, n)| n).sum::<i64>();
                    let from = (i + 1).saturating_sub(length as usize);
                    prop_assert_eq!(total, batches[from..=i].iter().sum::<i64>());
                }
            }
        }
    }
}
