//! Requests to stop a command: SIGINT or SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::core::error::{Error, Result};
use crate::core::signals::{StopRequest, StopRequests};
use crate::core::thread::spawn;

/// A flag that is set when the process gets SIGINT or SIGTERM. A second request ends the process at once.
///
/// # Errors
/// The signals cannot be watched.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let (stop, mut requests) = (Arc::new(AtomicBool::new(false)), StopRequests::default());
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Error::io("signals", e))?;
    let set = stop.clone();
    spawn("tm-signals", move || {
        for signal in signals.forever() {
            match requests.signal(Instant::now()) {
                StopRequest::First => set.store(true, Ordering::Relaxed),
                StopRequest::Same => {}
                StopRequest::Again => std::process::exit(128 + signal),
            }
        }
    })?;
    Ok(stop)
}
