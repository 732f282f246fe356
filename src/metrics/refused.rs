//! Callers that were refused: strangers at the port of the cluster, and readers at the port of the job.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::core::clock::wall_ms;
use crate::core::lock::lock;

/// The most characters of a reason that are kept: a stranger may have sent a part of it.
const LETTERS: usize = 200;

/// The callers that one port has refused. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Refused>>);

/// How many callers were refused, and the last of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub count: u64,
    /// When the last one came, in milliseconds since the epoch, and why it was refused.
    pub last_ms: Option<u64>,
    pub why: Option<String>,
}

impl Refusals {
    /// A caller is refused.
    pub fn add(&self, why: &str) {
        let mut refused = lock(&self.0);
        let why = why.chars().take(LETTERS).collect();
        *refused = Refused { count: refused.count + 1, last_ms: Some(wall_ms()), why: Some(why) };
    }

    /// Those that were refused until now.
    pub fn now(&self) -> Refused {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_callers_are_counted_and_a_long_reason_is_cut() {
        let refusals = Refusals::default();
        assert_eq!(refusals.now(), Refused::default());
        refusals.clone().add("no token");
        refusals.add(&"é".repeat(LETTERS + 1));
        let Refused { count, last_ms, why } = refusals.now();
        assert!(count == 2 && last_ms.is_some() && why.unwrap().chars().count() == LETTERS);
    }
}
