//! Requests to stop by SIGINT and SIGTERM. Signals that arrive close together are one request.
//!
//! `timeout` signals its child and then the whole process group, and so do some shells and service managers.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::core::lock::lock;

/// Signals within this time after the first one are the same request.
pub(crate) const TOGETHER: Duration = Duration::from_millis(250);

/// Signals within this time after the end of a job were meant for it. The program is about to say how the job has ended, and its exit
/// code says it too: the default effect of the signal would hide both.
const MEANT_FOR_JOB: Duration = Duration::from_secs(5);

/// When a job of this process ended last.
static JOB_ENDED: Mutex<Option<Instant>> = Mutex::new(None);

/// A job of this process has ended.
pub(crate) fn job_has_ended() {
    *lock(&JOB_ENDED) = Some(Instant::now());
}

/// Whether a signal that finds no job was meant for one that has just ended.
pub(crate) fn meant_for_job() -> bool {
    lock(&JOB_ENDED).is_some_and(|ended| ended.elapsed() < MEANT_FOR_JOB)
}

/// What a signal means, after those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopRequest {
    /// Stop in order.
    First,
    /// The same request once more.
    Same,
    /// Stop at once.
    Again,
}

/// The requests to stop one job or command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StopRequests {
    first: Option<Instant>,
}

impl StopRequests {
    /// Whether a signal has arrived.
    pub fn any(self) -> bool {
        self.first.is_some()
    }

    /// A signal has arrived at this time.
    pub fn signal(&mut self, at: Instant) -> StopRequest {
        match self.first {
            None => {
                self.first = Some(at);
                StopRequest::First
            }
            Some(first) if at.saturating_duration_since(first) < TOGETHER => StopRequest::Same,
            Some(_) => StopRequest::Again,
        }
    }
}

/// The name of a signal, as people write it.
pub(crate) fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_close_together_are_one_request() {
        let (mut requests, begun) = (StopRequests::default(), Instant::now());
        let mut at = |ms| requests.signal(begun + Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(249)], [StopRequest::First, StopRequest::Same, StopRequest::Same]);
        assert_eq!([at(250), at(251)], [StopRequest::Again, StopRequest::Again]);
    }
}
