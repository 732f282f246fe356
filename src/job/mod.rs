//! 2. Records become batches at a time. The life of one batch:
//!
//! | step | who | what |
//! |---|---|---|
//! | open | `input.rs` | sources emit into the open batch, verbs combine already |
//! | seal | `planner.rs` asks, `input.rs` answers | every source stops at a record and says how far it is |
//! | close | `planner.rs` | the plan goes to all workers, capabilities are given up, the frontier passes |
//! | compute | `operator/`, `arrangement/` | exchange by key, arrangements, pane rings, state |
//! | output | `job/output_thread.rs` | whole batches, in order |
//! | checkpoint | `ledger.rs` asks, `states.rs` saves, `pieces.rs` writes | states of all operators after one batch |
//!
//! `run.rs` starts and ends jobs, `worker.rs` is one worker's loop, `watch.rs` sees workers that are stuck, `control.rs` carries orders and reports; `crate::core::clock` reads time.
//! Invariant: only this module moves time.

pub(crate) mod checkpoint_coordinator;
pub(crate) mod control;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
pub(crate) mod output_thread;
pub(crate) mod plan_file;
pub(crate) mod planner;
mod rate_controller;
mod rate_estimator;
mod recovery;
pub(crate) mod run;
pub(crate) mod signals;
pub(crate) mod snapshot_writer;
pub(crate) mod snapshotter;
pub(crate) mod source_operator;
mod split_ids;
mod watchdog;
pub(crate) mod worker;

pub use crate::core::clock::ManualClock;
pub use run::{JobHandle, Summary};
