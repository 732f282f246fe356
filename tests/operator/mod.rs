//! Every verb on batches against a sequential model of a few lines, at 1, 2 and 4 workers, rows in the order that is promised.

mod fallible;
mod handover;
mod home;
mod laws;
mod load;
mod loops;
pub mod model;
mod narrow;
mod order;
mod outputs;
mod pair;
mod presentation;
mod restart;
mod state;
mod sums;
mod unread;
mod views;
mod wide;
mod window_checkpoints;
mod windows;
