//! The cursor of a dense batch, with which differential reads it. A seek in sums is an index. A seek in changes is a galloping search.

use differential_dataflow::trace::Cursor;

use super::batch::{DenseBatch, Updates};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;

/// The cursor of a [`DenseBatch`]: its keys are dictionary codes, and its only value is `()`.
pub struct DenseCursor {
    at: usize,
    /// Whether the value of the current key has not been stepped over.
    value: bool,
}

impl DenseCursor {
    pub(super) fn new(batch: &DenseBatch) -> Self {
        let mut cursor = DenseCursor { at: 0, value: true };
        cursor.skip_zeros(batch);
        cursor
    }

    /// Moves on to a code that has a difference.
    fn skip_zeros(&mut self, batch: &DenseBatch) {
        let rest = batch.diffs().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|n| *n != 0).unwrap_or(rest.len());
        self.value = true;
    }
}

/// The first index from `at` whose code is not below `code`: by doubling steps, as seeks go to nearby keys.
pub(super) fn gallop(codes: &[Code], at: usize, code: Code) -> usize {
    let mut low = at;
    let mut step = 1;
    while codes.get(low + step).is_some_and(|c| *c < code) {
        low += step;
        step <<= 1;
    }
    let end = codes.len().min(low + step + 1);
    low + codes.get(low..end).unwrap_or_default().partition_point(|c| *c < code)
}

impl Cursor for DenseCursor {
    type Storage = DenseBatch;
    type Key<'a> = &'a Code;
    type ValOwn = ();
    type Val<'a> = &'a ();
    type Time = BatchTime;
    type TimeGat<'a> = &'a BatchTime;
    type Diff = i64;
    type DiffGat<'a> = &'a i64;
    type KeyContainer = Vec<Code>;
    type ValContainer = Vec<()>;
    type TimeContainer = Vec<BatchTime>;
    type DiffContainer = Vec<i64>;

    fn key_valid(&self, batch: &DenseBatch) -> bool {
        self.at < batch.diffs().len()
    }

    fn val_valid(&self, batch: &DenseBatch) -> bool {
        self.value && self.key_valid(batch)
    }

    fn key<'a>(&self, batch: &'a DenseBatch) -> &'a Code {
        &batch.codes()[self.at]
    }

    fn val<'a>(&self, _: &'a DenseBatch) -> &'a () {
        &()
    }

    fn get_key<'a>(&self, batch: &'a DenseBatch) -> Option<&'a Code> {
        self.key_valid(batch).then(|| self.key(batch))
    }

    fn get_val<'a>(&self, batch: &'a DenseBatch) -> Option<&'a ()> {
        self.val_valid(batch).then_some(&())
    }

    fn map_times<L: FnMut(&BatchTime, &i64)>(&mut self, batch: &DenseBatch, mut logic: L) {
        logic(&batch.time, &batch.diffs()[self.at]);
    }

    fn step_key(&mut self, batch: &DenseBatch) {
        self.at += 1;
        self.skip_zeros(batch);
    }

    fn seek_key(&mut self, batch: &DenseBatch, key: &Code) {
        self.at = match &batch.updates {
            Updates::Sums(_) => self.at.max(*key as usize),
            Updates::Changes(changes) => gallop(&changes.codes, self.at, *key),
        };
        self.skip_zeros(batch);
    }

    fn step_val(&mut self, _: &DenseBatch) {
        self.value = false;
    }

    fn seek_val(&mut self, _: &DenseBatch, _: &()) {}

    fn rewind_keys(&mut self, batch: &DenseBatch) {
        self.at = 0;
        self.skip_zeros(batch);
    }

    fn rewind_vals(&mut self, _: &DenseBatch) {
        self.value = true;
    }
}
