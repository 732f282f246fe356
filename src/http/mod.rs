//! What a person and other programs read of a running job over HTTP: a page, JSON, and metrics for Prometheus. Off unless `--listen` is
//! given. Without the feature `http` there is only the error that names it.
//!
//! `address` is where it listens, and who may. `server` has the thread and the bounds of its connections, `routes` the answers. They
//! are made of a `reader`: `json`, `state` and `prometheus` make texts of one copy of the metrics, `events` sends each batch, `page` has the
//! files of the page, `views` asks the views of the job and `changes` follows one, `corrections` gives bad records back to it, and `added` are
//! computations beside its program. *Invariant:* the thread holds no lock while it makes a text, so a reader delays a batch by no more than the copy.

#[cfg(feature = "http")]
mod added;
pub(crate) mod address;
#[cfg(feature = "http")]
mod changes;
#[cfg(feature = "http")]
mod corrections;
#[cfg(feature = "http")]
mod events;
#[cfg(all(feature = "http", feature = "testing"))]
pub(crate) mod fuzz;
#[cfg(feature = "http")]
mod json;
pub(crate) mod otlp;
#[cfg(feature = "http")]
mod page;
#[cfg(feature = "http")]
mod prometheus;
#[cfg(feature = "http")]
mod reader;
#[cfg(feature = "http")]
mod routes;
#[cfg(feature = "http")]
mod samples;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
mod state;
#[cfg(feature = "http")]
mod views;

use std::time::Duration;

use crate::cluster::parent_process::Restart;
use crate::core::added::{Added, Reply as AddedReply, Request};
use crate::core::correction::{Correction, Reply as CorrectionReply};
use crate::core::question::{Question, Reply};

#[cfg(feature = "http")]
pub(crate) use server::{Server, start};

/// What readers are told of a job beside its metrics.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the server reads it"))]
#[derive(Clone)]
pub(crate) struct About {
    pub name: String,
    pub interval: Duration,
    pub workers: u16,
    pub processes: u16,
    /// The number of this process.
    pub process: u16,
    /// The checkpoint directory.
    pub checkpoint: Option<String>,
    /// When the job started, in milliseconds since the epoch.
    pub started_ms: u64,
    /// Why its launch has started it again.
    pub restarts: Vec<Restart>,
}

/// Questions with who waits for their answers, and their numbers.
type Ask = Box<dyn Fn(Vec<(Question, Reply)>) -> Result<Vec<u64>, String> + Send + Sync>;

/// How readers ask the views of the job, correct them, and add some.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the server asks"))]
pub(crate) struct Views {
    /// The names of the views that answer.
    pub names: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Asks some, as of one batch. Returns the numbers of the questions.
    pub ask: Ask,
    /// Ends the work for a question, or for who follows a view since it.
    pub forget: Box<dyn Fn(u64) + Send + Sync>,
    /// Gives bad records back to the job.
    pub correct: Box<dyn Fn(Correction, CorrectionReply) -> Result<(), String> + Send + Sync>,
    /// The computations that were added.
    pub added: Box<dyn Fn() -> Vec<Added> + Send + Sync>,
    /// Adds or removes one.
    pub change: Box<dyn Fn(Request, AddedReply) -> Result<(), String> + Send + Sync>,
}

/// In the place of a job.
#[cfg(all(feature = "http", any(test, feature = "testing")))]
mod no_job {
    use super::*;

    impl About {
        pub fn of_no_job() -> Self {
            About {
                name: "j".into(),
                interval: Duration::from_millis(10),
                workers: 1,
                processes: 1,
                process: 0,
                checkpoint: None,
                started_ms: 0,
                restarts: Vec::new(),
            }
        }
    }

    impl Views {
        pub fn of_no_job() -> Self {
            Views {
                names: Box::new(Vec::new),
                ask: Box::new(|_| Err("no view".into())),
                forget: Box::new(|_| ()),
                correct: Box::new(|_, _| Err("no job".into())),
                added: Box::new(Vec::new),
                change: Box::new(|_, _| Err("no job".into())),
            }
        }
    }
}

/// In place of a server.
#[cfg(not(feature = "http"))]
pub(crate) struct Server {
    pub address: std::net::SocketAddr,
}

/// Refuses to listen.
///
/// # Errors
/// Always.
#[cfg(not(feature = "http"))]
pub(crate) fn start(
    listen: address::Listen,
    _: About,
    _: crate::metrics::Metrics,
    _: Views,
) -> crate::core::error::Result<Server> {
    let what = format!("--listen {}: this program was built without the feature `http` of tidemill", listen.address);
    Err(crate::core::error::Error::config(format!("{what}; add it in Cargo.toml: features = [\"http\"]")))
}
