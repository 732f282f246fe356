//! Who started this process: a process of `tidemill launch` does not outlive it, also where it is killed with -9, and tells it
//! how far the job has committed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal, test_kill_process};

use crate::time::BatchTime;

/// Where a launch says which process it is.
pub(crate) const LAUNCHER: &str = "TIDEMILL_LAUNCHER";
/// Where it says in which file it looks how far the job is: the last batch time that is committed, eight bytes.
pub(crate) const PROGRESS: &str = "TIDEMILL_PROGRESS";

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

/// What the launcher hears of batches, if there is one. Nothing is synced: it outlives the process, not the machine.
pub(crate) struct Progress(Option<File>);

impl Progress {
    /// To the launcher of this process.
    pub fn to_launcher() -> Self {
        Progress(std::env::var_os(PROGRESS).and_then(|file| OpenOptions::new().write(true).open(file).ok()))
    }

    /// Every output is through the batch of `time`.
    pub fn committed(&self, time: BatchTime) {
        // Without its word a restart counts as one that brought nothing.
        let _ = self.0.as_ref().map(|file| file.write_all_at(&time.millis().to_be_bytes(), 0));
    }
}

/// The last batch time that a job has committed, as far as the file says.
pub(crate) fn committed(file: &Path) -> Option<BatchTime> {
    let bytes = std::fs::read(file).ok()?;
    Some(BatchTime::from_millis(u64::from_be_bytes(bytes.try_into().ok()?)))
}
