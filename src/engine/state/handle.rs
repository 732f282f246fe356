//! The handle of a verb's state on one worker. Invariant: every batch goes through it, so a snapshot contains its batch and no later one.
//!
//! A snapshot is a moment between two batches. An idle worker saves its chunks, one key group at a time. The rest is saved when the
//! next batch is about to change the state. So batches do not wait for snapshots, and snapshots do not wait for batches.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::chunk_list::ChunkList;
use super::{Groups, KeyedState};
use crate::core::error::{BoxError, Result};
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::schedule::WindowSpec;
use crate::core::time::BatchTime;
use crate::engine::tick::{SnapshotScope, Tick};
use crate::metrics::held::Held;

/// A verb's state on one worker, as snapshots see it.
pub(crate) struct StateHandle {
    state: Rc<RefCell<dyn KeyedState>>,
    groups: KeyGroups,
    /// Groups that the current snapshot has not saved.
    due: RefCell<Groups>,
    /// Those of them that are saved whole.
    rewritten: RefCell<Groups>,
    /// The time of the current snapshot, and of the previous one. The latter is 0 if the current snapshot saves everything.
    current: Cell<BatchTime>,
    previous: Cell<BatchTime>,
    /// [`Changes::expired`](super::Changes::expired) of the current snapshot.
    expired: Cell<Option<BatchTime>>,
    /// Of the groups that this worker has loaded or saved.
    lists: RefCell<ByGroup<ChunkList>>,
    saved: RefCell<Vec<SavedChunk>>,
    /// Whether the operator that keeps the state has been built.
    built: Cell<bool>,
    /// Whether the checkpoint that was loaded has this state.
    restored: Cell<bool>,
}

/// A result of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SavedChunk {
    /// The state of a key group. It replaces the chunks of this worker for the group after `since`. Empty `bytes` only remove those.
    Chunk { time: BatchTime, group: u64, since: BatchTime, bytes: Vec<u8> },
    /// All chunks of this operator up to `until` have expired.
    Expired { time: BatchTime, until: BatchTime },
}

impl StateHandle {
    pub fn new(state: Rc<RefCell<dyn KeyedState>>, groups: KeyGroups) -> Rc<Self> {
        Rc::new(StateHandle {
            state,
            groups,
            due: RefCell::default(),
            rewritten: RefCell::default(),
            current: Cell::default(),
            previous: Cell::default(),
            expired: Cell::default(),
            lists: RefCell::default(),
            saved: RefCell::default(),
            built: Cell::default(),
            restored: Cell::default(),
        })
    }

    pub fn is_built(&self) -> bool {
        self.built.get()
    }

    /// Does the work of one batch, which may change the state. An earlier snapshot is completed before; its own starts after.
    pub fn batch<R>(&self, tick: &Tick, work: impl FnOnce() -> R) -> R {
        while self.step() {}
        let done = work();
        if tick.restored {
            self.current.set(tick.time);
        }
        if let Some(scope) = tick.snapshot {
            let changes = self.state.borrow_mut().snapshot(tick.time);
            let rewritten = self.state.borrow_mut().rewritten();
            let full = scope == SnapshotScope::Full;
            let due = if full { Groups::all(self.groups) } else { changes.groups.and(&rewritten) };
            self.due.replace(due);
            self.rewritten.replace(rewritten);
            self.previous.set(if full { BatchTime::default() } else { self.current.get() });
            self.current.set(tick.time);
            self.expired.set(changes.expired);
            if let Some(until) = changes.expired {
                self.saved.borrow_mut().push(SavedChunk::Expired { time: tick.time, until });
                self.lists.borrow_mut().values_mut().for_each(|list| list.expire(until));
            }
        }
        done
    }

    /// The window whose batches the state holds.
    pub fn window(&self) -> Option<WindowSpec> {
        self.state.borrow().window()
    }

    /// What the state holds in memory.
    pub fn held(&self) -> Held {
        self.state.borrow().held()
    }

    /// Saves one group that is due. Returns `false` if there is none.
    pub fn step(&self) -> bool {
        let Some(group) = self.due.borrow_mut().pop() else { return false };
        let mut lists = self.lists.borrow_mut();
        let (time, previous) = (self.current.get(), self.previous.get());
        let full = previous == BatchTime::default();
        let deltas = self.has_deltas();
        let whole = full || self.rewritten.borrow().contains(group);
        let since = match lists.get(group) {
            Some(list) if deltas && !whole => list.since(group, previous),
            _ if deltas && !whole => previous,
            _ => BatchTime::default(),
        };
        let bytes = self.state.borrow_mut().save(group, since);
        // Most groups belong to other workers. No checkpoint has a chunk of this worker for them.
        if bytes.is_empty() && lists.get(group).is_none() {
            return true;
        }
        let list = lists.of(group);
        // A group counts as changed if a function ran for a key, or a key was added and removed. Its bytes may still be equal.
        let same = if deltas { since == previous && bytes.is_empty() } else { list.ends_with(&bytes) };
        if full || !same {
            list.put(time, since, &bytes);
            self.saved.borrow_mut().push(SavedChunk::Chunk { time, group, since, bytes });
        }
        true
    }

    /// Takes the results since the last call, in order.
    pub fn saved(&self) -> Vec<SavedChunk> {
        self.saved.take()
    }

    /// Whether chunks are deltas.
    pub fn has_deltas(&self) -> bool {
        self.expired.get().is_some()
    }

    /// Whether the snapshot of `t` is saved.
    pub fn has_saved(&self, t: BatchTime) -> bool {
        self.current.get() > t || (self.current.get() == t && self.due.borrow().is_empty())
    }

    /// The checkpoint that is loaded has this state, maybe an empty one.
    pub fn restore(&self) {
        self.restored.set(true);
    }

    /// Whether the state is from a checkpoint. A verb does not begin with its initial states then.
    pub fn is_restored(&self) -> bool {
        self.restored.get()
    }

    /// Loads a chunk of a group: see [`KeyedState::load`].
    ///
    /// # Errors
    /// Bytes that are not a state of this operator, or no key group.
    pub fn load(&self, group: u32, time: BatchTime, bytes: &[u8]) -> Result<(), BoxError> {
        let groups = self.groups.count();
        if u64::from(group) >= groups {
            return Err(format!("it is of key group {group}, but there are {groups}").into());
        }
        self.lists.borrow_mut().of(group.into()).load(time, bytes);
        self.state.borrow_mut().load(bytes, time)
    }
}

/// A state under its stable name.
#[derive(Clone)]
pub(crate) struct State {
    pub name: String,
    /// The verb and its types. Chunks with another fingerprint are not loaded.
    pub fingerprint: String,
    pub handle: Rc<StateHandle>,
}

/// The state of a verb whose operator may be built later. A state that no operator keeps is neither restored nor saved.
pub(crate) struct UnbuiltState(Rc<StateHandle>);

impl UnbuiltState {
    pub fn new(handle: Rc<StateHandle>) -> Self {
        UnbuiltState(handle)
    }

    /// The handle for the operator that is being built.
    pub fn build(self) -> Rc<StateHandle> {
        self.0.built.set(true);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk_list::LONG;
    use super::super::{Changes, KeyedState};
    use super::*;
    use crate::core::plan::Plan;

    /// One number for each group; or, if `adds`, all its numbers with their times.
    struct Numbers {
        all: Vec<Vec<(u64, u8)>>,
        changed: Groups,
        adds: bool,
    }

    impl KeyedState for Numbers {
        fn snapshot(&mut self, t: BatchTime) -> Changes {
            let expired = BatchTime::from_millis(t.millis().saturating_sub(LENGTH));
            Changes { groups: std::mem::take(&mut self.changed), expired: self.adds.then_some(expired) }
        }

        fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
            let of_group = &self.all[group as usize];
            match self.adds {
                true => of_group.iter().filter(|(t, _)| *t > since.millis()).map(|(_, n)| *n).collect(),
                false => of_group.last().map(|(_, n)| *n).into_iter().collect(),
            }
        }

        fn held(&self) -> Held {
            Held::of_keys(self.all.iter().map(Vec::len).sum(), 0)
        }

        fn load(&mut self, _: &[u8], _: BatchTime) -> Result<(), BoxError> {
            Ok(())
        }
    }

    /// How long chunks of `Numbers` last.
    const LENGTH: u64 = 1_000;

    struct Job {
        handle: Rc<StateHandle>,
        numbers: Rc<RefCell<Numbers>>,
    }

    impl Job {
        fn new(adds: bool) -> Self {
            let numbers = Rc::new(RefCell::new(Numbers { all: vec![Vec::new(); 128], changed: Groups::default(), adds }));
            Job { handle: StateHandle::new(numbers.clone(), KeyGroups::default()), numbers }
        }

        fn restored(&self, t: u64) {
            let tick = Tick { plan: Plan { time: at(t), ..Plan::default() }, restored: true, ..Tick::default() };
            self.handle.batch(&tick, || ());
        }

        fn batch(&self, t: u64, snapshot: Option<SnapshotScope>, groups: &[usize], number: u8) {
            let tick = Tick { plan: Plan { time: at(t), ..Plan::default() }, snapshot, ..Tick::default() };
            self.handle.batch(&tick, || {
                let mut n = self.numbers.borrow_mut();
                for g in groups {
                    n.all[*g].push((t, number));
                    n.changed.insert(*g as u64);
                }
            });
        }

        /// The chunks of a snapshot: time, group, since, bytes.
        fn chunks(&self) -> Vec<(u64, u64, u64, Vec<u8>)> {
            let chunk = |saved| match saved {
                SavedChunk::Chunk { time, group, since, bytes } => Some((time.millis(), group, since.millis(), bytes)),
                SavedChunk::Expired { .. } => None,
            };
            while self.handle.step() {}
            self.handle.saved().into_iter().filter_map(chunk).collect()
        }
    }

    fn at(ms: u64) -> BatchTime {
        BatchTime::from_millis(ms)
    }

    #[test]
    fn a_snapshot_is_of_its_batch_even_if_it_is_saved_later() {
        let job = Job::new(false);
        job.batch(1, Some(SnapshotScope::Changed), &[3, 100], 1);
        assert!(job.handle.step() && !job.handle.has_saved(at(1)));
        job.batch(2, None, &[3, 100], 2);
        assert!(job.handle.has_saved(at(1)));
        assert_eq!(job.chunks(), [(1, 3, 0, vec![1]), (1, 100, 0, vec![1])], "the state after batch 1, not after batch 2");
        job.batch(3, Some(SnapshotScope::Changed), &[7], 3);
        assert_eq!(job.chunks(), [(3, 3, 0, vec![2]), (3, 7, 0, vec![3]), (3, 100, 0, vec![2])]);
        job.batch(4, Some(SnapshotScope::Full), &[], 0);
        assert_eq!(job.chunks(), [(4, 3, 0, vec![2]), (4, 7, 0, vec![3]), (4, 100, 0, vec![2])]);
    }

    #[test]
    fn unchanged_state_is_not_written_again() {
        let job = Job::new(false);
        job.handle.load(7, at(1), &[5]).unwrap();
        job.restored(1);
        job.batch(2, Some(SnapshotScope::Changed), &[7, 8], 5);
        assert_eq!(job.chunks(), [(2, 8, 0, vec![5])], "7 is as it was loaded");
        job.batch(3, Some(SnapshotScope::Changed), &[7], 6);
        assert_eq!(job.chunks(), [(3, 7, 0, vec![6])]);
        job.batch(4, Some(SnapshotScope::Changed), &[7, 8], 6);
        assert_eq!(job.chunks(), [(4, 8, 0, vec![6])]);
        job.batch(5, Some(SnapshotScope::Full), &[], 0);
        assert_eq!(
            job.chunks(),
            [(5, 7, 0, vec![6]), (5, 8, 0, vec![6])],
            "a full snapshot saves every group that has ever had state"
        );
        job.numbers.borrow_mut().all[8].clear();
        job.batch(6, Some(SnapshotScope::Full), &[], 0);
        assert_eq!(job.chunks(), [(6, 7, 0, vec![6]), (6, 8, 0, vec![])], "an empty chunk removes the earlier ones");
    }

    #[test]
    fn a_delta_has_the_changes_since_the_previous_snapshot() {
        let job = Job::new(true);
        job.restored(3);
        job.batch(4, None, &[7], 1);
        job.batch(5, Some(SnapshotScope::Changed), &[7, 9], 2);
        assert_eq!(job.chunks(), [(5, 7, 3, vec![1, 2]), (5, 9, 3, vec![2])]);
        job.batch(6, Some(SnapshotScope::Changed), &[], 0);
        assert_eq!(job.chunks(), []);
        job.batch(7, Some(SnapshotScope::Changed), &[7], 3);
        assert_eq!(job.chunks(), [(7, 7, 6, vec![3])]);
        job.batch(8, Some(SnapshotScope::Full), &[], 0);
        assert_eq!(job.chunks(), [(8, 7, 0, vec![1, 2, 3]), (8, 9, 0, vec![2])], "everything");
    }

    /// Follows the list of a group like a manifest does. It stays short, each byte is written a few times, and no byte is missing.
    #[test]
    fn a_long_list_is_made_short_again() {
        for group in [0, 127] {
            let job = Job::new(true);
            let (mut list, mut written, mut longest): (Vec<(u64, Vec<u8>)>, usize, usize) = Default::default();
            for t in 1..=10_000 {
                job.batch(t, Some(SnapshotScope::Changed), &[group], (t % 251) as u8);
                while job.handle.step() {}
                for saved in job.handle.saved() {
                    match saved {
                        SavedChunk::Expired { until, .. } => list.retain(|(time, _)| *time > until.millis()),
                        SavedChunk::Chunk { time, since, bytes, .. } => {
                            list.retain(|(time, _)| *time <= since.millis());
                            written += bytes.len();
                            list.push((time.millis(), bytes));
                        }
                    }
                }
                longest = longest.max(list.len());
            }
            assert!(longest <= LONG + group / 2, "{longest} chunks");
            assert!(written < 3 * 10_000, "{written} bytes of 10,000");
            let bytes: Vec<u8> = list.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let expected: Vec<u8> = (1..=10_000u64).map(|t| (t % 251) as u8).collect();
            assert!(bytes.len() >= LENGTH as usize && expected.ends_with(&bytes), "{} bytes", bytes.len());
        }
    }
}
