//! The life of a job, and of each of its batches:
//!
//! | step | who | what |
//! |---|---|---|
//! | open | `source_operator` | sources emit into the open batch, verbs combine already |
//! | seal | `planner` asks, `source_operator` answers | every source stops at a record and says how far it is |
//! | close | `planner` | the plan goes to all workers, capabilities are given up, the frontier passes |
//! | compute | `operator/`, `arrangement/` | exchange by key, arrangements, pane rings, state |
//! | output | `output_thread` | whole batches, in order |
//! | checkpoint | `checkpoint_coordinator` asks, `snapshotter` saves, `snapshot_writer` writes | states of all operators after one batch |
//!
//! In reading order: `start` and `handle` are what a program sees, `run` starts and ends the threads, which have `shared` in
//! common. `protocol` is what the planner and the workers tell one another, and `control` carries it. The `planner` has its
//! `sources` (with `split_ids`), the batches `in_flight`, how far `stopping` is, and the `rate_controller`. `start_waits`
//! is what it waits for before the first batch. `recovery` says where a job begins, from what was `resumed` or from a `plan_file`;
//! `reporter` logs it, and `status_line` shows how the job is doing. On each worker: `worker`, its loop, `source_operator` and
//! `snapshotter`. `watchdog` sees workers that are stuck, `signals` stops jobs.
//!
//! *Invariant:* only this module moves time.

pub(crate) mod checkpoint_coordinator;
pub(crate) mod control;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
pub(crate) mod handle;
mod in_flight;
pub(crate) mod output_thread;
pub(crate) mod plan_file;
pub(crate) mod planner;
pub(crate) mod protocol;
mod rate_controller;
mod rate_estimator;
mod recovery;
mod reporter;
mod resumed;
pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod snapshot_writer;
pub(crate) mod snapshotter;
pub(crate) mod source_operator;
mod sources;
mod split_ids;
mod start;
mod start_waits;
mod status_line;
mod stopping;
mod watchdog;
pub(crate) mod worker;

pub use crate::core::clock::ManualClock;
pub use handle::JobHandle;
pub use shared::Summary;
