//! Each verb against a sequential model of a few lines, at 1, 2 and 4 workers. Rows have the promised order.

mod accumulators;
mod fallible;
mod gathered;
mod handover;
mod joins;
mod laws;
mod load;
mod local_windows;
mod loops;
pub mod model;
mod narrow;
mod order;
mod outputs;
mod pair;
mod partitions;
mod presentation;
mod restart;
mod samples;
mod state;
mod sums;
mod unread;
mod view_joins;
mod view_totals;
mod views;
mod wide;
mod window_checkpoints;
mod windows;
