//! Ctrl-C and SIGTERM stop every job of the process gracefully; a second one stops them at once.

use std::sync::{Mutex, OnceLock, Weak};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::core::lock::lock;
use crate::job::protocol::Event;
use crate::job::shared::JobState;

/// The running jobs of this process, and whether a signal has already asked each to stop.
static JOBS: Mutex<Vec<(Weak<JobState>, bool)>> = Mutex::new(Vec::new());
static LISTENING: OnceLock<bool> = OnceLock::new();

/// Registers a job, so that signals stop it.
pub(crate) fn stop_on_signals(job: &std::sync::Arc<JobState>) {
    let mut jobs = lock(&JOBS);
    jobs.retain(|(j, _)| j.strong_count() > 0);
    jobs.push((std::sync::Arc::downgrade(job), false));
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
    let mut running = false;
    for (job, asked) in lock(&JOBS).iter_mut() {
        if let Some(job) = job.upgrade() {
            running = true;
            job.post(Event::Stop { graceful: !std::mem::replace(asked, true) });
        }
    }
    // Without a job, the signal has its default effect.
    if !running {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}
