//! Counts durations by size, for `/metrics`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bounds of the buckets, in milliseconds. A last bucket has what is longer.
pub(crate) const BOUNDS_MS: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// How many durations are in each bucket, and their sum.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Histogram {
    counts: [u64; BOUNDS_MS.len() + 1],
    pub sum: Duration,
}

impl Histogram {
    pub fn add(&mut self, duration: Duration) {
        let bucket = BOUNDS_MS.iter().position(|bound| duration <= Duration::from_millis(*bound));
        self.counts[bucket.unwrap_or(BOUNDS_MS.len())] += 1;
        self.sum += duration;
    }

    /// For each bound: how many durations are at most as long. The last number counts all.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_bucket_and_all_are_counted() {
        let mut h = Histogram::default();
        for ms in [0, 1, 3, 60_000, 60_001] {
            h.add(Duration::from_millis(ms));
        }
        let cumulative: Vec<u64> = h.cumulative().collect();
        assert_eq!((cumulative[0], cumulative[1], cumulative[2]), (2, 2, 3));
        assert_eq!((cumulative[BOUNDS_MS.len() - 1], cumulative[BOUNDS_MS.len()]), (4, 5));
        assert_eq!(h.sum, Duration::from_millis(120_005));
    }
}
