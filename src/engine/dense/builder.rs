//! The builder of dense batches: the changes of one batch time, in any order, become codes in order, each once.
//!
//! Many changes are added up in an array by code, with a bit for each touched code. Reading the bits in order replaces a sort.
//! Few changes are sorted, so that a small batch need not read all bits.
//!
//! Sums fit into 64 bits, but the difference of two sums may not. It wraps round here and again in its readers, so the sum is right.

use super::batch::{Changes, DenseBatch, Updates};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use std::rc::Rc;

/// With fewer changes than one for this many codes, sorting is cheaper than reading all bits.
const SPARSE: usize = 64;

/// The scratch space of an arrangement, kept from batch to batch.
#[derive(Default)]
pub(super) struct DenseBuilder {
    /// The sum of each code of the current batch; 0 between batches.
    sums: Vec<i64>,
    /// A bit for each code of the current batch; 0 between batches.
    touched: Vec<u64>,
}

impl DenseBuilder {
    /// The batch of these changes, if they do not cancel out.
    pub fn build(&mut self, changes: &[Vec<(Code, BatchTime, i64)>], time: BatchTime) -> Option<DenseBatch> {
        let len = changes.iter().map(Vec::len).sum::<usize>();
        let changes = changes.iter().flatten().map(|(code, _, n)| (*code, *n));
        let built = if len < self.sums.len() / SPARSE { sorted(changes.collect()) } else { self.summed(changes, len) };
        (!built.codes.is_empty()).then(|| DenseBatch { updates: Updates::Changes(Rc::new(built)), time })
    }

    fn summed(&mut self, changes: impl Iterator<Item = (Code, i64)>, len: usize) -> Changes {
        for (code, n) in changes {
            let at = code as usize;
            if self.sums.len() <= at {
                let codes = (at + 1).next_multiple_of(64);
                self.sums.resize(codes, 0);
                self.touched.resize(codes / 64, 0);
            }
            self.sums[at] = self.sums[at].wrapping_add(n);
            self.touched[at / 64] |= 1 << (at % 64);
        }
        let mut built = Changes { codes: Vec::with_capacity(len), diffs: Vec::with_capacity(len) };
        for (word, bits) in self.touched.iter_mut().enumerate().filter(|(_, bits)| **bits != 0) {
            let mut left = std::mem::take(bits);
            while left != 0 {
                let at = word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                push(&mut built, at as Code, std::mem::take(&mut self.sums[at]));
            }
        }
        built
    }
}

fn sorted(mut changes: Vec<(Code, i64)>) -> Changes {
    changes.sort_unstable_by_key(|(code, _)| *code);
    let mut built = Changes::default();
    for same in changes.chunk_by(|a, b| a.0 == b.0) {
        push(&mut built, same[0].0, same.iter().fold(0, |sum: i64, (_, n)| sum.wrapping_add(*n)));
    }
    built
}

fn push(built: &mut Changes, code: Code, n: i64) {
    if n != 0 {
        built.codes.push(code);
        built.diffs.push(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(builder: &mut DenseBuilder, changes: &[(Code, i64)]) -> Vec<(Code, i64)> {
        let t = BatchTime::from_millis(1);
        let containers: Vec<Vec<_>> = changes.chunks(2).map(|c| c.iter().map(|(code, n)| (*code, t, *n)).collect()).collect();
        builder.build(&containers, t).iter().flat_map(|batch| batch.changes().collect::<Vec<_>>()).collect()
    }

    #[test]
    fn a_batch_has_each_code_once_in_order_whether_it_is_large_or_small() {
        let mut builder = DenseBuilder::default();
        assert_eq!(built(&mut builder, &[(700, 1), (3, 2), (0, 5), (3, 4), (64, 1), (64, -1)]), [(0, 5), (3, 6), (700, 1)]);
        assert!(builder.touched.iter().all(|bits| *bits == 0) && builder.sums.iter().all(|n| *n == 0));
        assert_eq!(built(&mut builder, &[(9, 1), (2, 2), (9, 3), (5, 1), (5, -1)]), [(2, 2), (9, 4)]);
        assert_eq!(built(&mut builder, &[(7, 1), (7, -1)]), []);
    }

    /// From the least sum to the largest: the difference does not fit, and the sum is right.
    #[test]
    fn a_difference_wraps_round() {
        let mut builder = DenseBuilder::default();
        let changes = [(1, i64::MAX), (1, i64::MAX)];
        let large = built(&mut builder, &changes)[0].1;
        assert_eq!((-i64::MAX).wrapping_add(large), i64::MAX);
        builder.sums.resize(64 * SPARSE, 0);
        builder.touched.resize(SPARSE, 0);
        assert_eq!(built(&mut builder, &changes), [(1, large)]);
    }
}
