//! The `tidemill launch` that started this process. The process ends with it, even if it is killed with SIGKILL, and reports to it
//! which batch was committed last.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, set_parent_process_death_signal};

use serde::{Deserialize, Serialize};

use crate::core::clock::wall_ms;
use crate::core::time::BatchTime;

/// The environment variable with the process id of the launch.
pub(crate) const LAUNCHER: &str = "TIDEMILL_LAUNCHER";
/// The environment variable with the path of the progress file: empty until the job runs, then one byte, and after the first
/// committed batch its time in eight bytes.
pub(crate) const PROGRESS: &str = "TIDEMILL_PROGRESS";

/// The environment variable with the last restarts, as a JSON list.
pub(crate) const RESTARTS: &str = "TIDEMILL_RESTARTS";
/// At most this many of them.
const LAST: usize = 20;

/// Why a launch has started the job again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// When the job had ended, in milliseconds since the epoch.
    pub at_ms: u64,
    pub why: String,
}

impl Restart {
    /// The job has ended now.
    pub fn now(why: impl Into<String>) -> Restart {
        Restart { at_ms: wall_ms(), why: why.into() }
    }
}

/// The last restarts as the processes find them in their environment.
pub(crate) fn told(restarts: &[Restart]) -> String {
    serde_json::to_string(&restarts[restarts.len().saturating_sub(LAST)..]).unwrap_or_default()
}

/// Why the launch of this process has started the job again, the newest last. Empty without a launch.
pub(crate) fn restarts() -> Vec<Restart> {
    std::env::var(RESTARTS).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// From now on this process is killed when its launcher dies. The calling thread must live as long as the process.
pub(crate) fn follow() {
    let launcher = std::env::var(LAUNCHER).ok().and_then(|text| Pid::from_raw(text.parse().ok()?));
    let Some(launcher) = launcher else { return };
    if getppid() == Some(launcher) {
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
    // It died before that, or a shell is between the two processes.
    if getppid() != Some(launcher) {
        let watch = move || match wait_for_end(launcher) {
            Ok(()) => _ = kill_process(getpid(), Signal::KILL),
            Err(e) => tracing::warn!("cannot watch process {launcher:?}, which started this one: {e}"),
        };
        let _ = std::thread::Builder::new().name("tm-parent".into()).spawn(watch);
    }
}

/// Waits until a process has ended. Its id alone would not tell: it exists until the exit status is collected.
fn wait_for_end(process: Pid) -> Result<(), Errno> {
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    while let Err(e) = poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
        if e != Errno::INTR {
            return Err(e);
        }
    }
    Ok(())
}

/// The progress file of the launcher, if there is one. It is not synced: it need not survive the machine.
pub(crate) struct Progress(Option<File>);

impl Progress {
    /// Opens the file that the launcher of this process has named.
    pub fn to_launcher() -> Self {
        Progress(std::env::var_os(PROGRESS).and_then(|file| OpenOptions::new().write(true).open(file).ok()))
    }

    /// All processes run, and have the state of the checkpoint.
    pub fn runs(&self) {
        self.write(&[0]);
    }

    /// Every output has written the batch of `time`.
    pub fn committed(&self, time: BatchTime) {
        self.write(&time.millis().to_be_bytes());
    }

    fn write(&self, bytes: &[u8]) {
        // If this fails, the launcher counts the run as one without progress.
        let _ = self.0.as_ref().map(|file| file.write_all_at(bytes, 0));
    }
}

/// Whether the job runs, read from the progress file.
pub(crate) fn runs(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
}

/// Empties the progress file, before the processes start.
pub(crate) fn begin(file: &Path) {
    let _ = OpenOptions::new().write(true).truncate(true).open(file);
}

/// The time of the last committed batch, read from the progress file.
pub(crate) fn committed(file: &Path) -> Option<BatchTime> {
    let bytes = std::fs::read(file).ok()?;
    Some(BatchTime::from_millis(u64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    #[ignore = "the child of the tests beside it: it runs until it is killed"]
    fn follows() {
        follow();
        println!("follows");
        std::thread::sleep(std::time::Duration::from_secs(600));
    }

    fn follower(launcher: &Child) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "cluster::parent_process::tests::follows", "--nocapture"]);
        command.env(LAUNCHER, launcher.id().to_string()).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_process_does_not_start_under_a_launcher_that_has_just_been_killed() {
        let mut launcher = Command::new("true").spawn().unwrap();
        let process = Pid::from_child(&launcher);
        wait_for_end(process).unwrap();
        assert!(
            rustix::process::test_kill_process(process).is_ok(),
            "its id still exists, because its exit status was not collected"
        );
        assert_eq!(follower(&launcher).wait().unwrap().signal(), Some(9));
        assert!(launcher.wait().unwrap().success());
    }

    #[test]
    fn a_process_started_by_a_shell_ends_with_the_launcher_too() {
        let mut launcher = Command::new("sleep").arg("600").spawn().unwrap();
        let mut follower = follower(&launcher);
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("follows")));
        assert!(follower.try_wait().unwrap().is_none());
        launcher.kill().unwrap();
        assert_eq!(follower.wait().unwrap().signal(), Some(9));
        launcher.wait().unwrap();
    }
}
