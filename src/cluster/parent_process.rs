//! Who started this process: a process of `tidemill launch` does not outlive it, also where it is killed with -9, and tells it
//! how far the job has committed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, set_parent_process_death_signal};

use crate::core::time::BatchTime;

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
    // It died before that, or a shell is between.
    if getppid() != Some(launcher) {
        let watch = move || match wait_for_end(launcher) {
            Ok(()) => _ = kill_process(getpid(), Signal::KILL),
            Err(e) => tracing::warn!("process {launcher:?}, which started this one, cannot be watched: {e}"),
        };
        let _ = std::thread::Builder::new().name("tm-parent".into()).spawn(watch);
    }
}

/// A process that ended is readable here, also before its exit status is collected. Its number alone would still exist.
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    #[ignore = "the child of the tests beside it: it never ends by itself"]
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
    fn nobody_begins_under_a_launcher_that_was_killed_a_moment_ago() {
        let mut launcher = Command::new("true").spawn().unwrap();
        let process = Pid::from_child(&launcher);
        wait_for_end(process).unwrap();
        assert!(rustix::process::test_kill_process(process).is_ok(), "its number is still there: nobody asked how it ended");
        assert_eq!(follower(&launcher).wait().unwrap().signal(), Some(9));
        assert!(launcher.wait().unwrap().success());
    }

    #[test]
    fn who_runs_behind_a_shell_ends_with_the_launcher_too() {
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
