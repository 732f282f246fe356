//! HyperLogLog: a sketch of the distinct rows, with the estimator of O. Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches" (2017).
//!
//! By their documentation, libraries keep running sums of floats, or do not show their registers. Then an estimate may depend on the order
//! of merging, and so on the number of workers. Here it depends only on the rows, and a sketch can be a row of a window.

use serde::{Deserialize, Serialize};

use crate::core::data::stable_hash;

/// Which precisions there are: from 16 to 262,144 registers of a byte.
const PRECISIONS: std::ops::RangeInclusive<u32> = 4..=18;

/// The largest `rho` of the hashes that fell to each register; 0 without a hash. The number of registers is a power of two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Sketch(Vec<u8>);

/// The precision that has this relative standard deviation: the logarithm of the number of registers. As in Spark.
///
/// # Errors
/// No precision has it.
pub(crate) fn precision(relative_sd: f64) -> Result<u32, String> {
    let bits = (2.0 * (1.054 / relative_sd).log2()).ceil();
    if relative_sd > 0.0 && relative_sd < 1.0 && bits <= f64::from(*PRECISIONS.end()) {
        return Ok((bits as u32).max(*PRECISIONS.start()));
    }
    Err(format!("the relative standard deviation is {relative_sd}: it can be from 0.0021 to below 1, such as 0.05"))
}

impl Sketch {
    pub fn new(precision: u32) -> Self {
        Sketch(vec![0; 1 << precision])
    }

    /// The first bits of the hash choose the register. `rho` is the place of the first 1 in the others.
    pub fn add(&mut self, row: &impl Serialize) {
        let (hash, precision) = (stable_hash(row, 0), self.0.len().trailing_zeros());
        let register = &mut self.0[(hash >> (64 - precision)) as usize];
        // A 1 behind the last bit, so that `rho` is at most 65 - precision.
        let rho = ((hash << precision) | (1 << (precision - 1))).leading_zeros() + 1;
        *register = (*register).max(rho as u8);
    }

    /// The sketch of all rows of both. It has the smaller precision: a checkpoint may have sketches of another `relative_sd`.
    pub fn merge(self, other: Self) -> Self {
        let registers = self.0.len().min(other.0.len());
        let (mut merged, other) = (self.coarser(registers), other.coarser(registers));
        merged.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = (*a).max(b));
        merged
    }

    /// The sketch of the same rows with this many registers, at most as many as now.
    fn coarser(self, registers: usize) -> Self {
        let bits = (self.0.len() / registers).trailing_zeros();
        if bits == 0 {
            return self;
        }
        let mut coarser = Sketch(vec![0; registers]);
        for (i, rho) in self.0.into_iter().enumerate().filter(|(_, rho)| *rho > 0) {
            // The last bits of the register's number are the first of the others now.
            let rho = match i as u32 & ((1 << bits) - 1) {
                0 => bits as u8 + rho,
                first => (first.leading_zeros() - (u32::BITS - bits) + 1) as u8,
            };
            let register = &mut coarser.0[i >> bits];
            *register = (*register).max(rho);
        }
        coarser
    }

    /// An estimate of the number of distinct rows: Ertl's improved raw estimator.
    pub fn estimate(&self) -> i64 {
        let (m, last) = (self.0.len() as f64, 65 - self.0.len().trailing_zeros() as usize);
        let mut with = vec![0.0; last + 1];
        self.0.iter().for_each(|rho| with[usize::from(*rho)] += 1.0);
        let mut z = m * tau(1.0 - with[last] / m);
        (1..last).rev().for_each(|rho| z = 0.5 * (z + with[rho]));
        z += m * sigma(with[0] / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as i64
    }
}

/// What registers without a hash add; infinite if none has one.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let more = z + x * y;
        if more == z {
            return z;
        }
        (y, z) = (y + y, more);
    }
}

/// What full registers add.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        y *= 0.5;
        let less = z - (1.0 - x) * (1.0 - x) * y;
        if less == z {
            return z / 3.0;
        }
        z = less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(precision: u32, rows: impl IntoIterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::new(precision);
        rows.into_iter().for_each(|n| sketch.add(&n));
        sketch
    }

    /// The standard deviation of HyperLogLog is 1.04 / sqrt(m). Small numbers are nearly exact.
    #[test]
    fn estimates_are_as_near_as_promised() {
        for precision in [4, 9, 14] {
            let sd = 1.04 / f64::from(1u32 << precision).sqrt();
            for n in [0u64, 1, 2, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
                let (exact, estimate) = (n as f64, sketch(precision, 0..n).estimate() as f64);
                assert!((estimate - exact).abs() <= 3.0 * sd * exact + 0.5, "precision {precision}: {estimate} of {n}");
            }
        }
        assert_eq!([0, 1, 2, 10].map(|n| sketch(14, 0..n).estimate()), [0, 1, 2, 10]);
    }

    /// On average over many sets, the estimate is right: it has no bias.
    #[test]
    fn estimates_have_no_bias() {
        for n in [50u64, 500, 1_500, 5_000] {
            let sets = 400;
            let sum: i64 = (0..sets).map(|set| sketch(9, set * n..(set + 1) * n).estimate()).sum();
            let (mean, sd) = (sum as f64 / sets as f64, 1.04 / 512f64.sqrt() / (sets as f64).sqrt());
            assert!((mean / n as f64 - 1.0).abs() < 4.0 * sd, "{mean} of {n}");
        }
    }

    #[test]
    fn a_merged_sketch_is_that_of_all_rows() {
        let (odd, even) = (sketch(9, (0..2_000).filter(|n| n % 2 == 1)), sketch(9, (0..2_000).filter(|n| n % 2 == 0)));
        assert_eq!(odd.clone().merge(even.clone()), sketch(9, 0..2_000));
        assert_eq!(even.merge(odd.clone()).merge(odd), sketch(9, (0..2_000).rev()));
    }

    #[test]
    fn sketches_of_two_precisions_merge() {
        for (fine, coarse) in [(14, 9), (10, 9), (18, 4)] {
            let merged = sketch(fine, 0..3_000).merge(sketch(coarse, 2_000..5_000));
            assert_eq!(merged, sketch(coarse, 0..5_000));
            assert_eq!(sketch(coarse, 0..3_000).merge(sketch(fine, 2_000..5_000)), merged);
        }
    }

    /// Full registers: more distinct rows than hashes.
    #[test]
    fn the_largest_sketch_has_an_estimate() {
        let full = Sketch(vec![61; 16]);
        assert!(full.estimate() > 1 << 60, "{}", full.estimate());
    }

    #[test]
    fn precision_is_as_in_spark() {
        assert_eq!([0.05, 0.01, 0.5, 0.99].map(precision), [Ok(9), Ok(14), Ok(4), Ok(4)]);
        assert_eq!(precision(0.0021), Ok(18));
        for wrong in [0.0, -0.1, 0.001, 1.0, f64::NAN, f64::INFINITY] {
            assert!(precision(wrong).unwrap_err().contains(&format!("{wrong}")), "{wrong}");
        }
    }
}
