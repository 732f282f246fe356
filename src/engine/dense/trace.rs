//! The trace: one array by code for all compacted times, and one batch for each newer batch time.
//!
//! Invariant: a batch is added to the array when logical and physical compaction allow it, so that no reader distinguishes its time
//! from earlier ones. The trace changes the array in place unless a reader has it. In that case batches wait, until they have as many
//! changes as there are codes, or there are [`MOST_WAITING`] batches. Then the trace continues with a copy.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use differential_dataflow::logging::Logger;
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace, TraceReader};
use timely::PartialOrder;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::frontier::AntichainRef;
use timely::progress::{Antichain, Timestamp};
use timely::scheduling::Activator;

use super::batch::{DenseBatch, Sums, Updates};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;

/// The most batches that wait because a reader keeps the array. Each makes a look-up of every code a little dearer.
const MOST_WAITING: usize = 64;

/// A trace of dictionary codes, each with a count: differential's `Trace` for what a view remembers.
///
/// [`View::arranged`](crate::prelude::View::arranged) returns one. A reader that holds logical compaction at t reads the view as of t
/// while later batches run. Holding n batches costs their changes in memory, and one search in each for every code that is read.
pub struct DenseTrace {
    compacted: Rc<Sums>,
    /// The last batch time in `compacted`, and the bound that its times are below.
    time: BatchTime,
    upper: Antichain<BatchTime>,
    /// Newer than `compacted`, in order, without gaps.
    recent: VecDeque<Span<BatchTime, DenseBatch>>,
    logical: Antichain<BatchTime>,
    physical: Antichain<BatchTime>,
    /// The first time that a reader may still ask for.
    since: Rc<Cell<BatchTime>>,
    /// How many bytes the array and the newer batches take.
    bytes: Rc<Cell<u64>>,
}

/// The bytes of a code and of its sum.
const CODE: usize = size_of::<Code>();
const SUM: usize = size_of::<i64>();

impl DenseTrace {
    pub(crate) fn empty() -> Self {
        let start = Antichain::from_elem(BatchTime::minimum());
        DenseTrace {
            compacted: Rc::default(),
            time: BatchTime::minimum(),
            upper: start.clone(),
            recent: VecDeque::new(),
            logical: start.clone(),
            physical: start,
            since: Rc::default(),
            bytes: Rc::default(),
        }
    }

    /// The first time that a reader may still ask for. Gone when the trace is.
    pub(crate) fn since(&self) -> Weak<Cell<BatchTime>> {
        Rc::downgrade(&self.since)
    }

    /// How many bytes it takes. Gone when the trace is.
    pub(crate) fn bytes(&self) -> Weak<Cell<u64>> {
        Rc::downgrade(&self.bytes)
    }

    /// What is compacted, if anything is.
    fn base(&self) -> Option<Span<BatchTime, DenseBatch>> {
        let start = Antichain::from_elem(BatchTime::minimum());
        (self.upper != start).then(|| {
            let updates = || DenseBatch { updates: Updates::Sums(self.compacted.clone()), time: self.time };
            let desc = Description::new(start, self.upper.clone(), self.logical.clone());
            Span::new(desc, (!self.compacted.sums.is_empty()).then(updates))
        })
    }

    /// The bound of the last batch.
    fn end(&self) -> &Antichain<BatchTime> {
        self.recent.back().map_or(&self.upper, Span::upper)
    }

    /// Takes batches into the array whose times no reader tells from earlier ones.
    fn compact(&mut self) {
        self.compact_what_passed();
        let recent: usize = self.recent.iter().flat_map(|s| &s.inner).map(DenseBatch::len).sum();
        self.bytes.set((self.compacted.sums.len() * SUM + recent * (CODE + SUM)) as u64);
    }

    fn compact_what_passed(&mut self) {
        let passed = |s: &&Span<_, _>| {
            PartialOrder::less_equal(s.upper(), &self.logical) && PartialOrder::less_equal(s.upper(), &self.physical)
        };
        let ready = self.recent.iter().take_while(passed).count();
        let changes: usize = self.recent.iter().take(ready).flat_map(|s| &s.inner).map(DenseBatch::len).sum();
        let shared = Rc::strong_count(&self.compacted) > 1;
        if shared && changes > 0 && changes < self.compacted.sums.len() && ready < MOST_WAITING {
            return;
        }
        for span in self.recent.drain(..ready) {
            if let Some(batch) = span.inner {
                Rc::make_mut(&mut self.compacted).add(&batch);
                self.time = batch.time;
            }
            self.upper.clone_from(span.desc.upper());
        }
    }
}

impl TraceReader for DenseTrace {
    type Time = BatchTime;
    type Batch = DenseBatch;

    fn spans_through(&mut self, upper: AntichainRef<'_, BatchTime>) -> Option<Vec<Span<BatchTime, DenseBatch>>> {
        let mut through = Vec::new();
        for span in self.base().into_iter().chain(self.recent.iter().cloned()) {
            if PartialOrder::less_equal(&span.upper().borrow(), &upper) {
                through.push(span);
            } else if PartialOrder::less_equal(&upper, &span.lower().borrow()) {
                break;
            } else if span.has_updates() {
                return None;
            } else {
                through.push(Span::empty(span.lower().clone(), upper.to_owned()));
                break;
            }
        }
        Some(through)
    }

    fn set_logical_compaction(&mut self, frontier: AntichainRef<'_, BatchTime>) {
        self.logical = frontier.to_owned();
        self.since.set(frontier.first().copied().unwrap_or(BatchTime::from_millis(u64::MAX)));
        self.compact();
    }

    fn get_logical_compaction(&mut self) -> AntichainRef<'_, BatchTime> {
        self.logical.borrow()
    }

    fn set_physical_compaction(&mut self, frontier: AntichainRef<'_, BatchTime>) {
        self.physical = frontier.to_owned();
        self.compact();
    }

    fn get_physical_compaction(&mut self) -> AntichainRef<'_, BatchTime> {
        self.physical.borrow()
    }

    fn map_spans<F: FnMut(&Span<BatchTime, DenseBatch>)>(&self, mut each: F) {
        self.base().iter().for_each(&mut each);
        self.recent.iter().for_each(each);
    }

    /// Also from within a span: spans without updates are joined.
    fn advance_upper(&mut self, upper: &mut Antichain<BatchTime>) {
        self.map_spans(|span| {
            let begun = PartialOrder::less_equal(span.lower(), upper);
            if begun && !span.has_updates() && PartialOrder::less_equal(upper, span.upper()) {
                upper.clone_from(span.upper());
            }
        });
    }
}

impl Trace for DenseTrace {
    fn new(_: OperatorInfo, _: Option<Logger>, _: Option<Activator>) -> Self {
        Self::empty()
    }

    fn exert(&mut self) {
        self.compact();
    }

    fn set_exert_logic(&mut self, _: ExertionLogic) {}

    fn insert(&mut self, span: Span<BatchTime, DenseBatch>) {
        match self.recent.back_mut() {
            // A quiet view has one span without updates, however long it is quiet.
            Some(last) if !last.has_updates() && !span.has_updates() => {
                last.desc = Description::new(last.lower().clone(), span.upper().clone(), last.desc.since().clone());
            }
            _ => self.recent.push_back(span),
        }
        self.compact();
    }

    fn close(&mut self) {
        if !self.end().is_empty() {
            self.insert(Span::empty(self.end().clone(), Antichain::new()));
        }
    }
}
