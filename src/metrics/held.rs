//! What workers hold in memory: their states, dictionaries and arrangements.

use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The size of one structure on one worker, or of its parts on several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub keys: u64,
    /// Slices of time, if it is a window.
    pub panes: u64,
    /// About how many bytes it takes, without what its keys and values point to.
    pub bytes: u64,
}

impl Held {
    /// A structure of keys without slices of time.
    pub fn of_keys(keys: usize, bytes: usize) -> Held {
        Held { keys: keys as u64, panes: 0, bytes: bytes as u64 }
    }

    /// The same, with so many bytes more.
    pub fn and_bytes(self, more: usize) -> Held {
        Held { bytes: self.bytes + more as u64, ..self }
    }

    /// The same, with these panes.
    pub fn with_panes(self, panes: usize) -> Held {
        Held { panes: panes as u64, ..self }
    }
}

impl AddAssign for Held {
    fn add_assign(&mut self, more: Held) {
        self.keys += more.keys;
        self.panes += more.panes;
        self.bytes += more.bytes;
    }
}

impl Sum for Held {
    fn sum<I: Iterator<Item = Held>>(all: I) -> Held {
        all.fold(Held::default(), |mut sum, held| {
            sum += held;
            sum
        })
    }
}

/// What one worker holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerHeld {
    /// Of each state of the program, in its order.
    pub states: Vec<Held>,
    /// Of the dictionaries that verbs share.
    pub dictionaries: Held,
    /// The bytes of the arrangements of views by row.
    pub arrangements: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up() {
        let all = [Held::of_keys(2, 12).and_bytes(4), Held::of_keys(1, 8).with_panes(5)];
        assert_eq!(all.into_iter().sum::<Held>(), Held { keys: 3, panes: 5, bytes: 24 });
    }
}
