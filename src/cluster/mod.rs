//! M processes that run one job: how they find, accept and check each other, and end together.
//!
//! In reading order: [`hosts`] reads the addresses of the processes, and `handshake` connects them. All must agree on their `hello`.
//! `secret` and `challenge` prove that a peer knows the shared secret. `listener` accepts callers, and `roster` has the accepted
//! connections. `run` runs the workers over the sockets. `failure` keeps the first failure, and `link` carries it between processes.
//! `data_socket` keeps timely's network threads from panicking when a peer is lost. [`launch`] starts all processes of a job on
//! this machine, with `output_lines` and `temp_file`. `supervise` starts them again, and [`rescale`] changes their number.
//! `parent_process` ends a process whose launcher has ended.
//!
//! *Invariant*: the failure of one process is the failure of all, and every process ends with an error that names the cause.
//! *Invariant*: no byte reaches timely from a peer that has not passed the handshake.

mod challenge;
mod data_socket;
pub(crate) mod failure;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
pub(crate) mod handshake;
pub(crate) mod hello;
pub mod hosts;
pub mod launch;
pub(crate) mod link;
mod listener;
mod output_lines;
pub(crate) mod parent_process;
pub mod rescale;
mod roster;
pub(crate) mod run;
pub(crate) mod secret;
mod supervise;
mod temp_file;

#[cfg(test)]
mod tests;
