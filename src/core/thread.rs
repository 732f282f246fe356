//! Threads of a job, by names that `top` and `perf` show.

use std::thread::JoinHandle;

use crate::core::error::{Error, Result};

/// Starts a thread; `name` has at most 15 bytes, so that top and perf show all of it.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map_err(|e| Error::io(format!("start of the thread {name}"), e))
}
