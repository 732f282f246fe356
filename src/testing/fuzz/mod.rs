//! Every decoder of untrusted bytes: messages between processes, requests to the page, files of checkpoint directories, states and plans. Tests call these
//! functions with random bytes and with changed valid encodings. `scripts/fuzz` calls them under libFuzzer.
//!
//! No input may cause a panic, or an allocation above [`crate::core::data::DECODE_LEAST`] plus
//! [`crate::core::data::DECODE_PER_BYTE`] for each byte of the input.

mod directory;

use crate::cluster::fuzz as port;
use crate::job::fuzz as batch;

/// A decoder, or code that uses several.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Decodes bytes; says whether they were believed.
    pub run: fn(&[u8]) -> bool,
    /// Bytes that are believed.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // Who calls and knows nothing, who calls and can prove what it says, who is called and can; then those who have been let in.
    Target { name: "door", run: port::door, seeds: || port::seeds("door") },
    Target { name: "caller", run: port::caller, seeds: || port::seeds("caller") },
    Target { name: "called", run: port::called, seeds: || port::seeds("called") },
    Target { name: "link", run: port::link, seeds: || port::seeds("link") },
    Target { name: "data", run: port::data, seeds: || port::seeds("data") },
    Target { name: "genesis", run: |b| directory::with("genesis", b), seeds: || directory::seeds("genesis") },
    Target { name: "lease", run: |b| directory::with("leases", b), seeds: || directory::seeds("leases") },
    Target { name: "plan-log", run: |b| directory::with("plans", b), seeds: || directory::seeds("plans") },
    Target { name: "pieces", run: |b| directory::with("pieces", b), seeds: || directory::seeds("pieces") },
    Target { name: "manifest", run: |b| directory::with("manifests", b), seeds: || directory::seeds("manifests") },
    Target { name: "received", run: |b| directory::with("received", b), seeds: || directory::seeds("received") },
    Target { name: "state", run: state, seeds: states },
    Target { name: "order", run: batch::command, seeds: batch::commands },
    Target { name: "plans", run: batch::plans, seeds: batch::given },
    Target { name: "added", run: crate::live::parse::take_any, seeds: crate::live::parse::seeds },
    Target { name: "correction", run: batch::correction, seeds: batch::corrections },
    // Who calls the page.
    #[cfg(feature = "http")]
    Target { name: "reader", run: crate::http::fuzz::caller, seeds: crate::http::fuzz::seeds },
];

/// The state of one key group, of each verb that keeps some.
fn state(bytes: &[u8]) -> bool {
    use crate::{arrangement, operator};
    // All of them are given it, whichever takes it.
    arrangement::interned::take_any(bytes)
        | arrangement::ring::take_any(bytes)
        | operator::window::take_any(bytes)
        | operator::state::take_any(bytes)
        | operator::event_time::take_any(bytes)
}

fn states() -> Vec<Vec<u8>> {
    use crate::core::data::{PartitionId, encoded};
    let counts = vec![("tide", 7i64), ("mill", -3)];
    let pane = vec![("tide", 7i64), ("mill", 3)];
    let split_ids = vec![(PartitionId { branch: 1, index: 9 }, vec!["tide", "mill"])];
    let stacks = (vec![(3u64, 5i64), (2, 9)], vec![(4u64, 1i64)], Some(1i64));
    let sum = (Some(5i64), vec![(2u64, 2i64), (3, 3)]);
    vec![
        encoded(&counts),
        encoded(&(vec![(3u64, &pane), (4, &pane)], vec![(6u64, &pane)], &pane)),
        encoded(&vec![(3u64, &split_ids), (5, &split_ids)]),
        encoded(&vec![("tide", stacks, Some(15i64))]),
        encoded(&vec![("mill", sum, None::<i64>)]),
        encoded(&vec![("tide", 7i64, 3u64)]),
        encoded(&(vec![(PartitionId { branch: 1, index: 9 }, 7i64, 3u64)], 5i64, 6i64)),
        encoded(&vec![(-4i64, "tide", 7i64), (2, "mill", 3)]),
        encoded(&vec![("tide", (-4i64, 9i64, 3u64, 7i64))]),
        encoded(&vec![("tide", vec![(-4i64, 7i64)], vec![(2i64, 3i64), (2, 4)])]),
    ]
}
