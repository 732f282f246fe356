//! A batch of a dense trace: the sums of everything compacted, or the changes of one batch time.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use differential_dataflow::trace::Navigable;

use super::cursor::DenseCursor;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;

/// A batch of a [`DenseTrace`](super::DenseTrace): dictionary codes, each with a difference at one time. Clones share it.
#[derive(Clone)]
pub struct DenseBatch {
    pub(super) updates: Updates,
    /// The time of all its updates.
    pub(super) time: BatchTime,
}

#[derive(Clone)]
pub(super) enum Updates {
    /// What is compacted.
    Sums(Rc<Sums>),
    /// What changed at one batch time.
    Changes(Rc<Changes>),
}

/// A sum for each code, at its index; 0 for a code without one.
#[derive(Default)]
pub(super) struct Sums {
    pub sums: Vec<i64>,
    /// The codes themselves, which a cursor lends out; made when the first cursor asks.
    codes: OnceCell<Rc<[Code]>>,
}

/// Codes, ascending, each once, with differences that are not 0.
#[derive(Default)]
pub(super) struct Changes {
    pub codes: Vec<Code>,
    pub diffs: Vec<i64>,
}

impl Sums {
    pub fn add(&mut self, batch: &DenseBatch) {
        let Some(last) = batch.codes().last() else { return };
        let codes = *last as usize + 1;
        if self.sums.len() < codes {
            self.sums.resize(codes, 0);
            self.codes.take();
        }
        for (code, diff) in batch.codes().iter().zip(batch.diffs()) {
            let sum = &mut self.sums[*code as usize];
            *sum = sum.wrapping_add(*diff);
        }
    }
}

impl Clone for Sums {
    fn clone(&self) -> Self {
        Sums { sums: self.sums.clone(), codes: OnceCell::new() }
    }
}

thread_local! {
    /// 0, 1, 2 and so on: all traces of a worker share it.
    static ASCENDING: RefCell<Rc<[Code]>> = RefCell::new(Rc::new([]));
}

fn ascending(len: usize) -> Rc<[Code]> {
    ASCENDING.with_borrow_mut(|codes| {
        if codes.len() < len {
            *codes = (0..len.next_power_of_two()).map(|code| code as Code).collect();
        }
        codes.clone()
    })
}

impl DenseBatch {
    /// The time of all its updates.
    pub(crate) fn time(&self) -> BatchTime {
        self.time
    }

    /// All codes by index of their difference. In sums that is every code up to the last.
    pub(super) fn codes(&self) -> &[Code] {
        match &self.updates {
            Updates::Sums(s) => &s.codes.get_or_init(|| ascending(s.sums.len()))[..s.sums.len()],
            Updates::Changes(c) => &c.codes,
        }
    }

    pub(super) fn diffs(&self) -> &[i64] {
        match &self.updates {
            Updates::Sums(s) => &s.sums,
            Updates::Changes(c) => &c.diffs,
        }
    }
}

impl Navigable for DenseBatch {
    type Cursor = DenseCursor;

    fn cursor(&self) -> DenseCursor {
        DenseCursor::new(self)
    }
}
