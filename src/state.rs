//! State that goes out and comes in by key group, whatever an operator keeps.
//!
//! A checkpoint cuts between two batches. What a cut wants is saved a key group at a time while the worker has nothing else to
//! do, and the rest when the next batch is about to change it: batches do not wait for checkpoints, nor the other way round.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::data::KEY_GROUPS;
use crate::error::{BoxError, Result};
use crate::plan::{Cut, Tick};
use crate::time::BatchTime;

/// A set of key groups: one bit each.
pub(crate) type Groups = u128;

/// All of them.
pub(crate) const ALL: Groups = !0;

const _: () = assert!(KEY_GROUPS == Groups::BITS as u64);

/// What every stateful verb offers.
pub(crate) trait KeyedState {
    /// A cut begins: the groups that may have changed since the last one. Nothing changes until `save` was called for them.
    fn cut(&mut self) -> Groups {
        ALL
    }

    /// The state of the keys of one group, encoded; empty if there are none.
    fn save(&mut self, group: u64) -> Vec<u8>;

    /// Takes what `save` gave, on any worker and any number of workers; before the first batch.
    ///
    /// # Errors
    /// Bytes that `save` did not write.
    fn load(&mut self, bytes: &[u8]) -> Result<(), BoxError>;
}

/// An operator's state on one worker, as checkpoints see it.
pub(crate) struct Owner {
    keeps: Rc<RefCell<dyn KeyedState>>,
    /// Groups that the cut still wants.
    due: Cell<Groups>,
    /// The last cut that was reached.
    cut: Cell<BatchTime>,
    pieces: RefCell<Vec<Saved>>,
}

/// A group as it was at a cut: no bytes where nothing is left of it.
pub(crate) type Saved = (BatchTime, u64, Vec<u8>);

impl Owner {
    pub fn new(keeps: Rc<RefCell<dyn KeyedState>>) -> Rc<Self> {
        Rc::new(Owner { keeps, due: Cell::new(0), cut: Cell::default(), pieces: RefCell::default() })
    }

    /// Does the work of one batch, which may change the state: after what an earlier cut wants of it, before its own.
    pub fn batch<R>(&self, tick: &Tick, work: impl FnOnce() -> R) -> R {
        while self.step() {}
        let done = work();
        if let Some(cut) = tick.cut {
            let changed = self.keeps.borrow_mut().cut();
            self.due.set(if cut == Cut::All { ALL } else { changed });
            self.cut.set(tick.time);
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
        let piece = self.keeps.borrow_mut().save(group);
        self.pieces.borrow_mut().push((self.cut.get(), group, piece));
        true
    }

    /// What was saved since it was last asked, in order.
    pub fn pieces(&self) -> Vec<Saved> {
        self.pieces.take()
    }

    /// Whether everything that the cut at `t` wants has been saved.
    pub fn has_cut(&self, t: BatchTime) -> bool {
        self.cut.get() > t || (self.cut.get() == t && self.due.get() == 0)
    }

    /// See [`KeyedState::load`].
    ///
    /// # Errors
    /// Bytes that are no state of this operator.
    pub fn load(&self, bytes: &[u8]) -> Result<(), BoxError> {
        self.keeps.borrow_mut().load(bytes)
    }

    /// All there is, at the end of a job.
    pub fn all(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        while self.step() {}
        self.keeps.borrow_mut().cut();
        (0..KEY_GROUPS).map(|group| (group, self.keeps.borrow_mut().save(group))).filter(|(_, piece)| !piece.is_empty())
    }
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
    use crate::plan::Plan;

    /// One number a group.
    struct Numbers {
        all: Vec<u8>,
        changed: Groups,
    }

    impl KeyedState for Numbers {
        fn cut(&mut self) -> Groups {
            std::mem::take(&mut self.changed)
        }

        fn save(&mut self, group: u64) -> Vec<u8> {
            vec![self.all[group as usize]]
        }

        fn load(&mut self, _: &[u8]) -> Result<(), BoxError> {
            Ok(())
        }
    }

    #[test]
    fn a_cut_is_of_its_batch_however_late_it_is_saved() {
        let numbers = Rc::new(RefCell::new(Numbers { all: vec![0; 128], changed: 0 }));
        let owner = Owner::new(numbers.clone());
        let batch = |t: u64, cut, groups: &[usize]| {
            let tick = Tick { plan: Plan { time: BatchTime::from_millis(t), ..Plan::default() }, cut, ..Tick::default() };
            owner.batch(&tick, || {
                let mut n = numbers.borrow_mut();
                groups.iter().for_each(|g| (n.all[*g], n.changed) = (t as u8, n.changed | 1 << g));
            });
        };
        batch(1, Some(Cut::Changed), &[3, 100]);
        assert!(owner.step() && !owner.has_cut(BatchTime::from_millis(1)));
        batch(2, None, &[3, 100]);
        assert!(owner.has_cut(BatchTime::from_millis(1)));
        let at = BatchTime::from_millis;
        assert_eq!(owner.pieces(), [(at(1), 3, vec![1]), (at(1), 100, vec![1])], "not what batch 2 made of them");
        batch(3, Some(Cut::Changed), &[7]);
        while owner.step() {}
        assert_eq!(owner.pieces(), [(at(3), 3, vec![2]), (at(3), 7, vec![3]), (at(3), 100, vec![2])]);
        batch(4, Some(Cut::All), &[]);
        while owner.step() {}
        assert_eq!(owner.pieces().len(), 128);
    }
}
