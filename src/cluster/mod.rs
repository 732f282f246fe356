//! M processes as one: how they find one another, accept one another, and end together.
//!
//! In reading order: [`hosts`] says who is where, `handshake` brings the processes together (`hello` is what each must
//! agree on, `secret` what only they know, `greet` how each proves it, `door` lets callers in, `table` holds who is there), `run` runs the workers over the sockets, `latch` is the one
//! shared word on whether the run goes on, `link` carries that word between processes, and `wire` keeps timely's network
//! threads from panicking when a peer is lost. [`launch`] starts all processes of a job on this machine, `supervise`
//! starts them again, [`control`] asks for other numbers.
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
pub(crate) mod parent_process;
pub mod rescale;
mod roster;
pub(crate) mod run;
pub(crate) mod secret;
mod supervise;

#[cfg(test)]
mod tests;
