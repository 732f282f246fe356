//! Work that may wait for another system. It runs on a separate thread, so that its caller need not wait for its end.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::core::error::Result;
use crate::core::thread::spawn;

/// The interval at which the caller is asked whether it still waits.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `work` on a thread of this name, which has at most 15 bytes. `None`: `given_up` became true first. Then the thread ends
/// when its work does, and the result is dropped. A panic of the work is a panic here.
///
/// # Errors
/// The thread cannot start.
pub(crate) fn run<R: Send + 'static>(
    name: &str,
    mut given_up: impl FnMut() -> bool,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<Option<R>> {
    let (send, done) = channel();
    let thread = spawn(name, move || _ = send.send(work()))?;
    loop {
        match done.recv_timeout(LOOK) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Timeout) if given_up() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            // Only a panic drops the sender without a result.
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => return Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_and_a_panic_does_too() {
        assert_eq!(run("work", || false, || 7).unwrap(), Some(7));
        let panic = std::panic::catch_unwind(|| run("work", || false, || -> () { panic!("broken") })).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"broken"));
    }

    #[test]
    fn work_that_waits_can_be_given_up() {
        let (release, waits) = channel::<()>();
        let (tell, ended) = channel();
        let work = move || {
            let _ = waits.recv();
            tell.send(()).unwrap();
        };
        let mut asked = 0;
        let given_up = || {
            asked += 1;
            asked > 2
        };
        assert_eq!(run("work", given_up, work).unwrap(), None);
        assert!(ended.try_recv().is_err(), "the work still runs");
        release.send(()).unwrap();
        ended.recv().unwrap();
    }
}
