//! Ctrl-C and SIGTERM stop every job of the process gracefully. A second one ends them at once, with an error. For five seconds after
//! the end of a job they have no effect, so that the program can say how it ended. Then they have their default effect.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::core::error::Error;
use crate::core::lock::lock;
use crate::core::signals::{StopRequest, StopRequests, meant_for_job, name};
use crate::job::protocol::Event;
use crate::job::shared::{End, JobState};

/// A job of this process, how it ended, and the requests to stop it. Threads may have its state for a moment after its end.
type Job = (Weak<JobState>, End, StopRequests);
static JOBS: Mutex<Vec<Job>> = Mutex::new(Vec::new());
static LISTENING: OnceLock<bool> = OnceLock::new();

/// Registers a job, so that signals stop it.
pub(crate) fn stop_on_signals(job: &Arc<JobState>, end: &End) {
    let mut jobs = lock(&JOBS);
    jobs.retain(|(j, ..)| j.strong_count() > 0);
    jobs.push((Arc::downgrade(job), end.clone(), StopRequests::default()));
    drop(jobs);
    LISTENING.get_or_init(|| {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return false };
        let listen = move || {
            // The system ties this setting to a thread. This thread lives as long as the process.
            crate::cluster::parent_process::follow();
            signals.forever().for_each(on_signal);
        };
        std::thread::Builder::new().name("tm-signals".into()).spawn(listen).is_ok()
    });
}

fn on_signal(signal: i32) {
    let (mut running, mut first) = (false, false);
    for (job, end, requests) in lock(&JOBS).iter_mut() {
        let Some(job) = job.upgrade().filter(|_| lock(&end.0).is_none()) else { continue };
        running = true;
        match requests.signal(Instant::now()) {
            StopRequest::First => {
                first = true;
                job.post(Event::Stop { graceful: true });
            }
            StopRequest::Same => {}
            StopRequest::Again => job.fail(Error::Aborted(name(signal).into())),
        }
    }
    if first {
        tracing::info!("{}: the job stops after a last batch; a second signal ends it at once", name(signal));
    }
    // Without a job, the signal has its default effect.
    if !running && meant_for_job() {
        tracing::info!("{}: the job has just ended", name(signal));
    } else if !running {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
