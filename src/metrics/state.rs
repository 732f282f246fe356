//! What a job keeps: its checkpoints, the states in the newest one, and how this run began. The last bad records are here, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::core::time::BatchTime;

/// At most this many checkpoints, and bad records, are remembered.
const KEPT: usize = 50;
/// The most characters of a bad record that are remembered.
const LETTERS: usize = 500;

/// The checkpoints of a directory, as this run knows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved {
    /// The number of this run of the directory. 0: there is no directory.
    pub generation: u64,
    /// The checkpoint with which this run began.
    pub began: Option<BatchTime>,
    /// How many batches of the previous run it has run again, or will.
    pub again: usize,
    /// Those that this run has made, or tried to make, oldest first.
    pub tried: VecDeque<Tried>,
    /// The states in the newest checkpoint, also of an earlier run.
    pub states: Arc<[StateSize]>,
}

/// One checkpoint that was made, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Its batch.
    pub time: BatchTime,
    /// From the seal of its batch until it was valid, or had failed.
    pub took: Duration,
    /// The state that it holds.
    pub bytes: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The state of one operator in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateSize {
    pub name: String,
    /// What it is, and the types of its rows.
    pub kind: String,
    pub bytes: u64,
    /// Pieces in files: for a window, what entered between two checkpoints.
    pub chunks: usize,
}

impl Saved {
    /// A checkpoint was made, or has failed.
    pub fn add(&mut self, tried: Tried) {
        self.tried.push_back(tried);
        if self.tried.len() > KEPT {
            self.tried.pop_front();
        }
    }
}

/// The last bad records, as the log has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastBad(VecDeque<(BatchTime, String, String)>);

impl LastBad {
    /// A worker has read bad records of a batch, and `first` is one of them.
    pub fn add(&mut self, time: BatchTime, stream: &str, first: &str) {
        self.0.push_back((time, stream.to_owned(), first.chars().take(LETTERS).collect()));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// The batch, the stream, and what is wrong; the newest first.
    #[cfg(any(test, feature = "http"))]
    pub fn newest(&self) -> impl Iterator<Item = &(BatchTime, String, String)> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut saved, mut bad) = (Saved::default(), LastBad::default());
        for n in 0..=KEPT as u64 {
            let time = BatchTime::from_millis(n);
            saved.add(Tried { time, took: Duration::ZERO, bytes: n, failure: None });
            bad.add(time, "decode", &"é".repeat(LETTERS + 1));
        }
        assert_eq!((saved.tried.len(), saved.tried[0].bytes), (KEPT, 1));
        let (time, stream, what) = bad.newest().next().unwrap();
        assert_eq!((time.millis(), stream.as_str(), what.chars().count()), (KEPT as u64, "decode", LETTERS));
        assert_eq!(bad.newest().count(), KEPT);
    }
}
