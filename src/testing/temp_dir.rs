//! Paths of one test in the temporary directory: for the tests of the library, and for those in `tests/`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A path that no other test has.
pub fn unique(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("tidemill-{name}-{}-{number}", std::process::id()))
}

/// A directory that is removed when dropped. The job or the program under test makes it, or [`TempDir::made`].
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> TempDir {
        let dir = TempDir(unique(name));
        // What a killed process with this number left.
        let _ = std::fs::remove_dir_all(&dir.0);
        dir
    }

    /// The directory exists already.
    #[allow(dead_code, reason = "not in every crate that has this file")]
    pub fn made(name: &str) -> TempDir {
        let dir = TempDir::new(name);
        std::fs::create_dir_all(&dir.0).unwrap();
        dir
    }

    /// The path as an argument of a program.
    #[allow(dead_code, reason = "not in every crate that has this file")]
    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
