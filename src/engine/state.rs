//! State that goes out and comes in by key group, whatever an operator keeps.
//!
//! A checkpoint cuts between two batches. What a cut wants is saved a key group at a time while the worker has nothing else to
//! do, and the rest when the next batch is about to change it: batches do not wait for checkpoints, nor the other way round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64;

use crate::core::data::KEY_GROUPS;
use crate::core::error::{BoxError, Result};
use crate::core::plan::{Cut, Tick};
use crate::core::time::BatchTime;

/// A set of key groups: one bit each.
pub(crate) type Groups = u128;

/// All of them.
pub(crate) const ALL: Groups = !0;

const _: () = assert!(KEY_GROUPS == Groups::BITS as u64);

/// What every stateful verb offers.
pub(crate) trait KeyedState {
    /// A cut begins, after the batch of `t`. Nothing changes until `save` was called for all groups that may have changed.
    fn cut(&mut self, t: BatchTime) -> Changes;

    /// The state of the keys of one group, encoded; empty if there is none. If pieces are added to one another, only what came
    /// after `since`, which is the time of an earlier cut, or 0.
    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8>;

    /// Takes what `save` gave at a cut, on any worker and any number of workers, the oldest first; before the first batch.
    ///
    /// # Errors
    /// Bytes that `save` did not write.
    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError>;
}

/// What a state says when a cut begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes {
    /// The groups that may have changed since the last cut.
    pub groups: Groups,
    /// `None`: a piece is all there is of its group. Else pieces are added to one another, and those of cuts until then are
    /// needed no more.
    pub gone: Option<BatchTime>,
}

/// An operator's state on one worker, as checkpoints see it.
pub(crate) struct Owner {
    keeps: Rc<RefCell<dyn KeyedState>>,
    /// Groups that the cut still wants.
    due: Cell<Groups>,
    /// The cut that was reached last, the one before it, and what its state said.
    cut: Cell<BatchTime>,
    before: Cell<BatchTime>,
    gone: Cell<Option<BatchTime>>,
    lists: RefCell<Vec<List>>,
    saved: RefCell<Vec<Saved>>,
}

/// What a cut gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// A key group: it takes the place of what this worker saved of it after `since`. No bytes: nothing is left of that.
    Piece { cut: BatchTime, group: u64, since: BatchTime, bytes: Vec<u8> },
    /// Pieces of this operator until then are needed no more.
    Gone { cut: BatchTime, until: BatchTime },
}

/// The pieces of a group as they lie in the newest checkpoint.
#[derive(Default)]
struct List {
    pieces: VecDeque<(BatchTime, usize)>,
    /// The checksum of the last one.
    sum: u64,
}

/// A list of as many pieces is made shorter; of a higher group a few more, so that not all groups have their turn at once.
const LONG: usize = 64;

impl List {
    /// From when on the group is to be saved: since the last cut, or, where the list is long, as far back as pieces are no
    /// longer than half of what came after them. So a row is written again only when there is much behind it: two or three
    /// times in all, however long the list would be.
    fn since(&self, group: u64, last: BatchTime) -> BatchTime {
        if self.pieces.len() < LONG + group as usize / 2 {
            return last;
        }
        let mut behind = 0;
        let stays = self.pieces.iter().rposition(|(_, bytes)| {
            let stays = behind > 0 && 2 * *bytes > behind;
            behind += bytes;
            stays
        });
        stays.map_or(BatchTime::default(), |at| self.pieces[at].0)
    }

    fn put(&mut self, cut: BatchTime, since: BatchTime, bytes: usize, sum: u64) {
        self.pieces.truncate(self.pieces.partition_point(|(t, _)| *t <= since));
        if bytes > 0 {
            self.pieces.push_back((cut, bytes));
        }
        self.sum = sum;
    }
}

impl Owner {
    pub fn new(keeps: Rc<RefCell<dyn KeyedState>>) -> Rc<Self> {
        let lists = (0..KEY_GROUPS).map(|_| List { sum: xxh3_64(&[]), ..List::default() }).collect();
        Rc::new(Owner {
            keeps,
            due: Cell::new(0),
            cut: Cell::default(),
            before: Cell::default(),
            gone: Cell::default(),
            lists: RefCell::new(lists),
            saved: RefCell::default(),
        })
    }

    /// Does the work of one batch, which may change the state: after what an earlier cut wants of it, before its own.
    pub fn batch<R>(&self, tick: &Tick, work: impl FnOnce() -> R) -> R {
        while self.step() {}
        let done = work();
        if tick.restored {
            self.cut.set(tick.time);
        }
        if let Some(cut) = tick.cut {
            let changes = self.keeps.borrow_mut().cut(tick.time);
            self.due.set(if cut == Cut::All { ALL } else { changes.groups });
            self.before.set(if cut == Cut::All { BatchTime::default() } else { self.cut.get() });
            self.cut.set(tick.time);
            self.gone.set(changes.gone);
            if let Some(until) = changes.gone {
                self.saved.borrow_mut().push(Saved::Gone { cut: tick.time, until });
                self.lists.borrow_mut().iter_mut().for_each(|list| list.pieces.retain(|(t, _)| *t > until));
            }
        }
        done
    }

    /// Saves one group that is due. `false`: there is none.
    pub fn step(&self) -> bool {
        let due = self.due.get();
        if due == 0 {
            return false;
        }
        let group = u64::from(due.trailing_zeros());
        self.due.set(due & (due - 1));
        let list = &mut self.lists.borrow_mut()[group as usize];
        let (cut, last) = (self.cut.get(), self.before.get());
        let all = last == BatchTime::default();
        let adds = self.gone.get().is_some();
        let since = if adds && !all { list.since(group, last) } else { BatchTime::default() };
        let bytes = self.keeps.borrow_mut().save(group, since);
        let sum = xxh3_64(&bytes);
        // A function was called for every key, or a key came and went: that does not mean that anything is different.
        let same = if adds { since == last && bytes.is_empty() } else { list.sum == sum };
        if all || !same {
            list.put(cut, since, bytes.len(), sum);
            self.saved.borrow_mut().push(Saved::Piece { cut, group, since, bytes });
        }
        true
    }

    /// What was saved since it was last asked, in order.
    pub fn saved(&self) -> Vec<Saved> {
        self.saved.take()
    }

    /// Whether pieces are added to one another.
    pub fn adds(&self) -> bool {
        self.gone.get().is_some()
    }

    /// Whether everything that the cut at `t` wants has been saved.
    pub fn has_cut(&self, t: BatchTime) -> bool {
        self.cut.get() > t || (self.cut.get() == t && self.due.get() == 0)
    }

    /// See [`KeyedState::load`]: a piece of a group, as a cut gave it.
    ///
    /// # Errors
    /// Bytes that are no state of this operator.
    pub fn load(&self, group: u32, cut: BatchTime, bytes: &[u8]) -> Result<(), BoxError> {
        let list = &mut self.lists.borrow_mut()[group as usize];
        list.pieces.push_back((cut, bytes.len()));
        list.sum = xxh3_64(bytes);
        self.keeps.borrow_mut().load(bytes, cut)
    }
}

/// Loads bytes that anybody may have written into a state that is empty, for fuzzers; says whether it took them. What it took it
/// can save.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(mut empty: impl KeyedState, bytes: &[u8]) -> bool {
    let took = empty.load(bytes, BatchTime::from_millis(8)).is_ok();
    empty.cut(BatchTime::from_millis(10));
    (0..KEY_GROUPS).for_each(|group| drop(empty.save(group, BatchTime::default())));
    took
}

/// State under its stable name.
#[derive(Clone)]
pub(crate) struct State {
    pub name: String,
    /// What it is made of: pieces of another make are not loaded.
    pub fingerprint: String,
    pub owner: Rc<Owner>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::Plan;

    /// One number a group; or all the numbers it ever had, each behind its time.
    struct Numbers {
        all: Vec<Vec<(u64, u8)>>,
        changed: Groups,
        adds: bool,
    }

    impl KeyedState for Numbers {
        fn cut(&mut self, t: BatchTime) -> Changes {
            let gone = BatchTime::from_millis(t.millis().saturating_sub(LENGTH));
            Changes { groups: std::mem::take(&mut self.changed), gone: self.adds.then_some(gone) }
        }

        fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
            let of_group = &self.all[group as usize];
            match self.adds {
                true => of_group.iter().filter(|(t, _)| *t > since.millis()).map(|(_, n)| *n).collect(),
                false => of_group.last().map(|(_, n)| *n).into_iter().collect(),
            }
        }

        fn load(&mut self, _: &[u8], _: BatchTime) -> Result<(), BoxError> {
            Ok(())
        }
    }

    /// How long pieces of `Numbers` last.
    const LENGTH: u64 = 1_000;

    struct Job {
        owner: Rc<Owner>,
        numbers: Rc<RefCell<Numbers>>,
    }

    impl Job {
        fn new(adds: bool) -> Self {
            let numbers = Rc::new(RefCell::new(Numbers { all: vec![Vec::new(); 128], changed: 0, adds }));
            Job { owner: Owner::new(numbers.clone()), numbers }
        }

        fn restored(&self, t: u64) {
            let tick = Tick { plan: Plan { time: at(t), ..Plan::default() }, restored: true, ..Tick::default() };
            self.owner.batch(&tick, || ());
        }

        fn batch(&self, t: u64, cut: Option<Cut>, groups: &[usize], number: u8) {
            let tick = Tick { plan: Plan { time: at(t), ..Plan::default() }, cut, ..Tick::default() };
            self.owner.batch(&tick, || {
                let mut n = self.numbers.borrow_mut();
                for g in groups {
                    n.all[*g].push((t, number));
                    n.changed |= 1 << g;
                }
            });
        }

        /// The pieces of a cut: when, which group, in the place of what came after when, and what.
        fn pieces(&self) -> Vec<(u64, u64, u64, Vec<u8>)> {
            let piece = |saved| match saved {
                Saved::Piece { cut, group, since, bytes } => Some((cut.millis(), group, since.millis(), bytes)),
                Saved::Gone { .. } => None,
            };
            while self.owner.step() {}
            self.owner.saved().into_iter().filter_map(piece).collect()
        }
    }

    fn at(ms: u64) -> BatchTime {
        BatchTime::from_millis(ms)
    }

    #[test]
    fn a_cut_is_of_its_batch_however_late_it_is_saved() {
        let job = Job::new(false);
        job.batch(1, Some(Cut::Changed), &[3, 100], 1);
        assert!(job.owner.step() && !job.owner.has_cut(at(1)));
        job.batch(2, None, &[3, 100], 2);
        assert!(job.owner.has_cut(at(1)));
        assert_eq!(job.pieces(), [(1, 3, 0, vec![1]), (1, 100, 0, vec![1])], "not what batch 2 made of them");
        job.batch(3, Some(Cut::Changed), &[7], 3);
        assert_eq!(job.pieces(), [(3, 3, 0, vec![2]), (3, 7, 0, vec![3]), (3, 100, 0, vec![2])]);
        job.batch(4, Some(Cut::All), &[], 0);
        assert_eq!(job.pieces().len(), 128);
    }

    #[test]
    fn what_is_the_same_again_is_not_written_again() {
        let job = Job::new(false);
        job.owner.load(7, at(1), &[5]).unwrap();
        job.restored(1);
        job.batch(2, Some(Cut::Changed), &[7, 8], 5);
        assert_eq!(job.pieces(), [(2, 8, 0, vec![5])], "7 is as it was loaded");
        job.batch(3, Some(Cut::Changed), &[7], 6);
        assert_eq!(job.pieces(), [(3, 7, 0, vec![6])]);
        job.batch(4, Some(Cut::Changed), &[7, 8], 6);
        assert_eq!(job.pieces(), [(4, 8, 0, vec![6])]);
        job.batch(5, Some(Cut::All), &[], 0);
        assert_eq!(job.pieces().len(), 128, "nobody knows what became of the last ones");
    }

    #[test]
    fn what_is_added_holds_what_came_since_the_last_cut() {
        let job = Job::new(true);
        job.restored(3);
        job.batch(4, None, &[7], 1);
        job.batch(5, Some(Cut::Changed), &[7, 9], 2);
        assert_eq!(job.pieces(), [(5, 7, 3, vec![1, 2]), (5, 9, 3, vec![2])]);
        job.batch(6, Some(Cut::Changed), &[], 0);
        assert_eq!(job.pieces(), []);
        job.batch(7, Some(Cut::Changed), &[7], 3);
        assert_eq!(job.pieces(), [(7, 7, 6, vec![3])]);
        job.batch(8, Some(Cut::All), &[], 0);
        assert_eq!(job.pieces()[7], (8, 7, 0, vec![1, 2, 3]), "everything");
    }

    /// Follows a group's list as a manifest would: it stays short, each byte is written a few times, and nothing is missing.
    #[test]
    fn a_long_list_is_made_short_again() {
        for group in [0, 127] {
            let job = Job::new(true);
            let (mut list, mut written, mut longest): (Vec<(u64, Vec<u8>)>, usize, usize) = Default::default();
            for t in 1..=10_000 {
                job.batch(t, Some(Cut::Changed), &[group], (t % 251) as u8);
                while job.owner.step() {}
                for saved in job.owner.saved() {
                    match saved {
                        Saved::Gone { until, .. } => list.retain(|(cut, _)| *cut > until.millis()),
                        Saved::Piece { cut, since, bytes, .. } => {
                            list.retain(|(cut, _)| *cut <= since.millis());
                            written += bytes.len();
                            list.push((cut.millis(), bytes));
                        }
                    }
                }
                longest = longest.max(list.len());
            }
            assert!(longest <= LONG + group / 2, "{longest} pieces");
            assert!(written < 3 * 10_000, "{written} bytes of 10,000");
            let bytes: Vec<u8> = list.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let expected: Vec<u8> = (1..=10_000u64).map(|t| (t % 251) as u8).collect();
            assert!(bytes.len() >= LENGTH as usize && expected.ends_with(&bytes), "{} bytes", bytes.len());
        }
    }
}
