//! Stores of checkpoint directories. Invariant: only the files of this folder access a directory.
//!
//! The trait requires only what an object store can do. A file appears complete, under a free name, and never changes. Only a log
//! grows. Locking is optional: see `Store::lock`.

mod disk;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(any(test, doctest, feature = "testing"))]
pub(crate) mod suite;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::core::error::{Error, Result};
use crate::core::fault::FaultPoint;
use crate::core::path::{local, url};

/// The folders of a checkpoint directory.
pub(crate) const FOLDERS: [&str; 5] = ["leases", "manifests", "pieces", "plans", "received"];
/// The suffix of a file that is not complete.
pub(crate) const UNFINISHED: &str = ".tmp";
/// The empty file that is locked.
pub(crate) const LOCK: &str = "lock";

/// Access to the files of one checkpoint directory. Names are relative paths, such as `manifests/…`.
pub(crate) trait Store: Debug + Send + Sync {
    /// The location, for messages.
    fn place(&self) -> String;

    /// Checks that the directory can be written, by writing a file.
    fn probe(&self) -> Result<()>;

    /// Begins a file, which appears when it is published.
    fn create(&self, name: &str) -> Result<Box<dyn Draft>>;

    /// Creates a log that begins with `head`, which is durable when this returns.
    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>>;

    /// Closes a log, so that no process can create it or append to it. Returns whether it has content. A store with locks has
    /// nothing to do.
    fn close_log(&self, name: &str) -> Result<bool>;

    /// All bytes of a file; `None` if it does not exist. A file of more than `limit` bytes is an error, and is not read.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// At most `len` bytes from `offset`; fewer at the end of the file. `None` if it does not exist.
    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>>;

    /// The entries of a folder, or of the directory (""), sorted by name. A missing folder has none.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;

    /// Deletes files in this order. They are durably deleted before any later deletion. A missing file is not an error.
    fn delete(&self, names: &[String]) -> Result<()>;

    /// Takes the right to write, until the returned value is dropped.
    fn lock(&self) -> Result<Lock>;

    /// Creates a file, durable when this returns. `false`: a file of this name exists, and is unchanged.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let mut draft = self.create(name)?;
        draft.write(bytes)?;
        draft.publish()
    }
}

/// A file that is being written. If it is dropped before `publish`, no file remains.
pub(crate) trait Draft: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Completes the file, makes it durable, and gives it its name. `false`: a file of this name exists, and is unchanged.
    fn publish(self: Box<Self>) -> Result<bool>;
}

/// A file that grows.
pub(crate) trait Log: Send {
    /// Appends bytes, which are durable when this returns. After an error the durable part is unknown: do not use the log again.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Whether the log has become slow to read, even if it is short. Then another log should follow.
    fn is_long(&self) -> bool {
        false
    }
}

/// The result of [`Store::lock`].
pub(crate) enum Lock {
    /// No other process can write, until this is dropped or the process dies.
    Held(#[expect(dead_code, reason = "it is held")] Box<dyn Send + Sync>),
    /// Another process has the lock.
    Taken,
    /// The store has no locks. The newest lease decides which process may write, and that process closes the logs of older
    /// generations.
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "disks have locks"))]
    None,
}

/// A file or a folder of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub bytes: u64,
    pub folder: bool,
}

/// Opens a directory for writing, and creates it if it is missing.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn open(dir: &Path) -> Result<Arc<dyn Store>> {
    Ok(match url(dir) {
        None => Arc::new(disk::Disk::open(&local(dir).map_err(Error::config)?)?),
        Some(url) => {
            let store = objects(url)?;
            store.probe()?;
            store
        }
    })
}

/// Opens a directory for reading.
///
/// # Errors
/// The directory does not exist.
pub(crate) fn read_only(dir: &Path) -> Result<Arc<dyn Store>> {
    Ok(match url(dir) {
        None => Arc::new(disk::Disk::read_only(&local(dir).map_err(Error::config)?)?),
        Some(url) => objects(url)?,
    })
}

/// The points that an append to a log passes: before it, when it is written, and when it is durable.
fn append_points(log: &str) -> [FaultPoint; 3] {
    match log.starts_with("plans/") {
        true => [FaultPoint::PlanBefore, FaultPoint::PlanWritten, FaultPoint::PlanAfter],
        false => [FaultPoint::ReceivedBefore, FaultPoint::ReceivedWritten, FaultPoint::ReceivedAfter],
    }
}

/// The error for a file that is longer than any valid one.
fn too_long(name: &str, bytes: u64, limit: u64) -> Error {
    Error::damaged(name, format!("it has {bytes} bytes; a valid file has at most {limit}"))
}

#[cfg(feature = "object-store")]
fn objects(url: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(objects::Objects::new(url)?))
}

#[cfg(not(feature = "object-store"))]
fn objects(url: &str) -> Result<Arc<dyn Store>> {
    let scheme = url.split("://").next().unwrap_or_default();
    Err(Error::config(format!(
        "a checkpoint directory at {scheme}:// needs the feature `object-store`, which this program does not have: \
         build it with --features object-store, or use a local directory"
    )))
}

#[cfg(test)]
mod tests;
