//! Files and directories of outputs: errors with their path, and what survives a power cut.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::core::error::BoxError;

/// An error with the path it is about.
pub(super) fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, BoxError> {
    result.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// `None`: the path does not exist any more.
pub(super) fn or_gone<T>(path: &Path, result: std::io::Result<T>) -> Result<Option<T>, BoxError> {
    match result {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        other => at(path, other).map(Some),
    }
}

/// Removes a file. Returns whether it existed.
pub(super) fn remove(path: &Path) -> Result<bool, BoxError> {
    or_gone(path, std::fs::remove_file(path)).map(|removed| removed.is_some())
}

/// Syncs a directory's entries.
pub(super) fn sync(dir: &Path) -> Result<(), BoxError> {
    at(dir, File::open(dir).and_then(|d| d.sync_all()))
}

/// The parent directory; "." for a relative name.
pub(super) fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a directory and its parents, durably.
pub(super) fn make(dir: &Path) -> Result<(), BoxError> {
    if dir.is_dir() {
        return Ok(());
    }
    make(parent(dir))?;
    match std::fs::create_dir(dir) {
        // Another process of the job created it first.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        made => at(dir, made)?,
    }
    sync(parent(dir))
}
