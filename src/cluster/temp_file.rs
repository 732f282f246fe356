//! The temporary files of a launch: the hostfile and the progress file. A launch locks them while it runs. So the next launch can tell
//! which files a killed launch has left, and removes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::core::error::{Error, Result};

/// The names of the files: `tidemill-NAME-PROCESS-NUMBER`.
const NAMES: [&str; 2] = ["hosts", "progress"];

/// Nobody removes a socket that is not older, even if nobody listens: its launch may be between the two calls that make it.
const YOUNG: Duration = Duration::from_secs(60);

/// A file in the temporary directory that only this user can read. It is removed when dropped.
pub(super) struct TempFile {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

impl TempFile {
    /// Creates a file with this content. `name` is one of [`NAMES`].
    ///
    /// # Errors
    /// The temporary directory cannot be written.
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let (path, mut file) = Self::create(name)?;
        let written = file.write_all(bytes).map_err(|e| Error::io(format!("cannot write {}", path.display()), e));
        let this = TempFile { path, _file: file };
        written.map(|()| this)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn create(name: &str) -> Result<(PathBuf, File)> {
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("tidemill-{name}-{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                // Another launch may have removed it before it was locked.
                Ok(file) if locked(&file) && file.metadata().is_ok_and(|m| m.nlink() > 0) => return Ok((path, file)),
                Ok(_) => number += 1,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io(format!("cannot create {}", path.display()), e)),
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the lock of a file. `false`: another process has it.
fn locked(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes the temporary files of launches that were killed. Files of other users stay.
pub(super) fn remove_left() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_left(path)) {
        let _ = std::fs::remove_file(path);
    }
}

/// Whether a path is a file of a launch that has ended.
fn is_left(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_prefix("tidemill-")) else { return false };
    // The socket of a launch whose checkpoint directory is in an object store. One that was made just now may not listen yet.
    if name.ends_with(".launch") {
        let age = path.symlink_metadata().and_then(|made| made.modified()).ok().and_then(|at| at.elapsed().ok());
        let refused = || UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        return age.is_some_and(|age| age > YOUNG) && refused();
    }
    let parts: Vec<&str> = name.split('-').collect();
    let [kind, process, number] = parts[..] else { return false };
    let (process, number) = (process.parse::<u32>(), number.parse::<u32>());
    let (Ok(process), Ok(_), true) = (process, number, NAMES.contains(&kind)) else { return false };
    // A launch of an earlier version has no lock.
    !Path::new(&format!("/proc/{process}")).exists() && File::open(path).is_ok_and(|file| locked(&file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

    use super::*;

    #[test]
    fn files_of_ended_launches_are_removed_and_no_others() {
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let of_ended = |name: &str| std::env::temp_dir().join(format!("tidemill-{name}-{}-0", ended.id()));
        let [left, used, foreign, spare] = ["hosts", "progress", "other", "spare"].map(of_ended);
        for path in [&left, &foreign, &spare] {
            std::fs::write(path, "127.0.0.1:9\n").unwrap();
        }
        // It is locked before it has its name: a launch of another test may remove what is left at any time.
        let lock = File::open(&spare).unwrap();
        assert!(locked(&lock));
        std::fs::rename(&spare, &used).unwrap();
        let own = TempFile::new("hosts", b"127.0.0.1:9\n").unwrap();
        remove_left();
        assert!(!left.exists() && used.exists() && foreign.exists() && own.path().exists());
        drop(lock);
        remove_left();
        assert!(!used.exists() && foreign.exists());
        std::fs::remove_file(foreign).unwrap();
    }

    #[test]
    fn a_socket_without_a_launch_is_removed_unless_it_is_young() {
        let [young, old, used] = ["young", "old", "used"]
            .map(|name| std::env::temp_dir().join(format!("tidemill-socket-{name}-{}.launch", std::process::id())));
        for path in [&young, &old] {
            drop(UnixListener::bind(path).unwrap());
        }
        let listener = UnixListener::bind(&used).unwrap();
        for path in [&old, &used] {
            let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = Timestamps { last_access: long_ago, last_modification: long_ago };
            utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
        }
        remove_left();
        assert!(young.exists() && !old.exists() && used.exists());
        // As long as somebody listens: a launch of another test may remove it later.
        [young, used].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        drop(listener);
    }
}
