//! Where a checkpoint directory lies: only the files of this folder touch it.
//!
//! The trait asks for nothing that an object store cannot do: files come into being whole, under a name that was free, and are
//! never changed; only a log grows. What a local disk can do besides, locking, a store may leave out: see `lock`.

mod disk;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(any(test, doctest, feature = "testing"))]
pub(crate) mod suite;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::core::error::{Error, Result};

/// The folders of a checkpoint directory.
pub(crate) const FOLDERS: [&str; 4] = ["leases", "manifests", "pieces", "plans"];
/// What a file is called until it is whole.
pub(crate) const UNFINISHED: &str = ".tmp";
/// The file that the lock lies on; it is empty.
pub(crate) const LOCK: &str = "lock";

/// A place for the files of one checkpoint directory. Names are relative, `manifests/…`; whoever makes them sees to that.
pub(crate) trait Store: Debug + Send + Sync {
    /// Where that is, for messages.
    fn place(&self) -> String;

    /// Whether it can be written, found out by writing.
    fn probe(&self) -> Result<()>;

    /// Begins a file that nobody sees before it is whole.
    fn create(&self, name: &str) -> Result<Box<dyn Draft>>;

    /// Begins a log with these bytes, which are durable when it returns.
    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>>;

    /// Sees to it that nobody appends to this log any more, or begins it: what is read from now on is all there will ever be.
    /// Returns whether anything is in it. A store whose `lock` keeps others out has nothing to do.
    fn close_log(&self, name: &str) -> Result<bool>;

    /// All bytes of a file; `None` if there is none. More than `limit` bytes are an error, and not read: they are not ours.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// At most `len` bytes from `offset` on; fewer where the file ends. `None` if there is no file.
    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>>;

    /// What lies in a folder, or at the top (""), by name. No folder, no entries.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;

    /// Deletes files, in this order, and lets no later deletion become durable before these. A file that is gone is fine.
    fn delete(&self, names: &[String]) -> Result<()>;

    /// The right to write, as long as what is returned lives.
    fn lock(&self) -> Result<Lock>;

    /// Makes a file of these bytes, durable when it returns. False: there is a file of this name, which is as it was.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let mut draft = self.create(name)?;
        draft.write(bytes)?;
        draft.publish()
    }
}

/// A file that is being written. Dropped, it leaves nothing.
pub(crate) trait Draft: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// The file is whole, durable, and under its name. False: there is a file of this name, which is as it was.
    fn publish(self: Box<Self>) -> Result<bool>;
}

/// A file that grows.
pub(crate) trait Log: Send {
    /// Adds bytes; they are durable when it returns. After an error nobody knows what is durable: the log is not used again.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Whether it has become slow to read, however short it is: then another one should follow.
    fn is_long(&self) -> bool {
        false
    }
}

/// Whether others are kept out.
pub(crate) enum Lock {
    /// They are, until this is dropped or the process dies.
    Held(#[expect(dead_code, reason = "it is held")] Box<dyn Send + Sync>),
    /// Somebody else has it.
    Taken,
    /// Nobody is: there are no locks here. The leases, of which each generation has one, decide who may write, and logs are
    /// closed to those before.
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "disks have locks"))]
    None,
}

/// A file, or a folder, of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub bytes: u64,
    pub folder: bool,
}

/// A directory to write: made if it is not there, and tried.
///
/// # Errors
/// One that cannot be written: said now, not at the first checkpoint.
pub(crate) fn open(dir: &Path) -> Result<Arc<dyn Store>> {
    Ok(match url(dir) {
        None => Arc::new(disk::Disk::open(dir)?),
        Some(url) => {
            let store = objects(url)?;
            store.probe()?;
            store
        }
    })
}

/// A directory to look at: nothing is written.
///
/// # Errors
/// No such directory.
pub(crate) fn look(dir: &Path) -> Result<Arc<dyn Store>> {
    Ok(match url(dir) {
        None => Arc::new(disk::Disk::look(dir)?),
        Some(url) => objects(url)?,
    })
}

/// What has more bytes than any file of ours is none of them.
fn too_long(name: &str, bytes: u64, limit: u64) -> Error {
    Error::damaged(name, format!("it has {bytes} bytes, and no such file has more than {limit}"))
}

/// Whether a directory is in an object store: what has a scheme in front, as in `s3://bucket/prefix`.
pub(crate) fn url(dir: &Path) -> Option<&str> {
    let text = dir.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let known = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    known.then_some(text)
}

#[cfg(feature = "object-store")]
fn objects(url: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(objects::Objects::new(url)?))
}

#[cfg(not(feature = "object-store"))]
fn objects(url: &str) -> Result<Arc<dyn Store>> {
    let scheme = url.split("://").next().unwrap_or_default();
    Err(Error::config(format!(
        "a checkpoint directory at {scheme}:// needs the feature `object-store`, which this program was built without: \
         build it with --features object-store, or give a directory"
    )))
}

#[cfg(test)]
mod tests;
