//! Who started this process: a process of `tidemill launch` does not outlive it, also where it is killed with -9.

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal, test_kill_process};

/// Where a launch says which process it is.
pub(crate) const LAUNCHER: &str = "TIDEMILL_LAUNCHER";

/// From here on this process is killed when its launcher dies, as long as the calling thread lives.
pub(crate) fn follow() {
    let launcher = std::env::var(LAUNCHER).ok().and_then(|text| Pid::from_raw(text.parse().ok()?));
    let Some(launcher) = launcher else { return };
    if getppid() == Some(launcher) {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
    // It was gone before that; where a shell is between, whoever wrote it ends this process.
    if getppid() != Some(launcher) && test_kill_process(launcher).is_err() {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
