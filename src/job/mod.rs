//! The life of a job, and of each of its batches:
//!
//! | step | who | what |
//! |---|---|---|
//! | open | `source_operator` | sources emit into the open batch, and verbs already combine |
//! | seal | `planner` asks, `source_operator` answers | every source stops at a record and says how far it is |
//! | close | `planner` | the plan goes to all workers, capabilities are given up, the frontier passes |
//! | compute | `operator/`, `arrangement/` | exchange by key, arrangements, pane rings, state |
//! | output | `output_thread` | whole batches, in order |
//! | checkpoint | `checkpoint_coordinator` asks, `snapshotter` saves, `snapshot_writer` writes | states of all operators after one batch |
//!
//! In reading order: a program uses `start` and `handle`. `run` starts and ends the threads, and `shared` is their common state.
//! `protocol` has the commands of the planner and the events of the workers, and `control` carries them. The `planner` has its
//! `sources` (with `split_ids`; `waits` is their lag in time), the batches `in_flight`, the progress of `stopping`, and the `rate_controller`. Before the first batch
//! it waits for `start_waits`. `recovery` decides where a job begins, from what was `resumed` or from a `plan_file`. `reporter` logs
//! events, and `status_line` shows the progress of the job. On each worker there are `worker`, its loop, `source_operator`, `ticks`, `snapshotter`,
//! and `holdings`, which tells what it holds in memory. `watchdog` reports stuck workers, and `signals` stops jobs. `query` asks the views of a running job; the planner has its
//! `questions`. `corrections` are batches of bad records that are read once more, `correcting` plans them, and `corrected_rows` makes rows of them.
//! `additions` are computations that are added while the job runs; `adding` is the planner's part, and `added_dataflows` that of a worker.
//!
//! *Invariant:* only this module advances time.

mod added_dataflows;
mod adding;
mod additions;
pub(crate) mod checkpoint_coordinator;
pub(crate) mod control;
mod correcting;
mod corrected_rows;
mod corrections;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
pub(crate) mod handle;
mod holdings;
mod in_flight;
mod output_reports;
pub(crate) mod output_thread;
pub(crate) mod plan_file;
pub(crate) mod planner;
mod planner_inputs;
pub(crate) mod protocol;
pub(crate) mod query;
mod questions;
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
mod ticks;
mod waits;
mod watchdog;
pub(crate) mod worker;

pub use crate::core::clock::ManualClock;
pub use handle::JobHandle;
pub use query::Query;
pub use shared::Summary;
