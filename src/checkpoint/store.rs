//! Where a checkpoint directory lies: the only file that touches it.
//!
//! The trait asks for nothing that an object store cannot do: files come into being whole, under a name that was free, and are
//! never changed; only a log grows. What a local disk can do besides, locking, a store may leave out: see `lock`.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};
use crate::fault;

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

    /// Begins a file that nobody sees before it is whole.
    fn create(&self, name: &str) -> Result<Box<dyn Draft>>;

    /// Begins a log with these bytes, which are durable when it returns. An object store makes an object of each append.
    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>>;

    /// All bytes of a file; `None` if there is none. More than `limit` bytes are an error, and not read: they are not ours.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// At most `len` bytes from `offset` on; fewer where the file ends. `None` if there is no file.
    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>>;

    /// What lies in a folder, or at the top (""), by name. No folder, no entries.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;

    /// Deletes files, in this order, and lets no later deletion become durable before these. A file that is gone is fine.
    fn delete(&self, names: &[String]) -> Result<()>;

    /// The right to write, as long as what is returned lives; `None` if somebody else has it. A store without locks gives it
    /// to everybody: there the leases, of which each generation has one, decide.
    fn lock(&self) -> Result<Option<Lock>>;

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
}

/// What keeps others out, until it is dropped or the process dies.
pub(crate) type Lock = Box<dyn Send + Sync>;

/// A file, or a folder, of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: String,
    pub bytes: u64,
    pub folder: bool,
}

/// A directory of a local disk.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: Arc<Path>,
}

impl Disk {
    /// A directory to write: made if it is not there, and tried.
    ///
    /// # Errors
    /// One that cannot be written: said now, not at the first checkpoint.
    pub fn open(dir: &Path) -> Result<Self> {
        let disk = Disk { dir: dir.into() };
        let no = |e| disk.said("cannot be made", "", e);
        for folder in FOLDERS {
            fs::create_dir_all(dir.join(folder)).map_err(no)?;
        }
        if let Some(parent) = dir.parent() {
            sync_dir(parent).map_err(no)?;
        }
        sync_dir(dir).map_err(no)?;
        disk.probe()?;
        Ok(disk)
    }

    /// Whether it can be written, found out by writing.
    pub fn probe(&self) -> Result<()> {
        let path = self.path(&format!("probe-{}{UNFINISHED}", std::process::id()));
        let tried = File::create(&path).and_then(|mut f| f.write_all(&[0; 4096]).and_then(|()| f.sync_data()));
        let cleared = found(fs::remove_file(&path)).map(drop);
        tried.and(cleared).map_err(|e| self.said("cannot be written", "", e))
    }

    /// A directory to look at: nothing is written.
    ///
    /// # Errors
    /// No such directory.
    pub fn look(dir: &Path) -> Result<Self> {
        let disk = Disk { dir: dir.into() };
        match fs::metadata(dir) {
            Ok(m) if m.is_dir() => Ok(disk),
            Ok(_) => Err(Error::checkpoint(disk.place(), "is no directory")),
            Err(e) => Err(disk.said("cannot be read", "", e)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the system said, and what helps against it.
    fn said(&self, what: &str, name: &str, e: io::Error) -> Error {
        said(&self.path(name), what, e)
    }
}

fn said(path: &Path, what: &str, e: io::Error) -> Error {
    let remedy = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ": make room on that disk",
        ErrorKind::ReadOnlyFilesystem => ": mount it writable, or choose another directory",
        ErrorKind::PermissionDenied => ": give the user of this process the right to",
        ErrorKind::Unsupported => ": its file system has no hard links; choose a directory on another",
        _ if e.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => ": raise the limit with ulimit -n",
        _ => "",
    };
    Error::checkpoint(path.display().to_string(), format!("{what}: {e}{remedy}"))
}

/// Names become durable with their directory.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// `None` where there is no file.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(t) => Ok(Some(t)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Store for Disk {
    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn create(&self, name: &str) -> Result<Box<dyn Draft>> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let n = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self.path(&format!("{name}.{}-{n}{UNFINISHED}", std::process::id()));
        let file = File::create_new(&draft).map_err(|e| said(&draft, "cannot be made", e))?;
        Ok(Box::new(DiskDraft { file, draft, path: self.path(name) }))
    }

    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>> {
        if !self.put_new(name, head)? {
            return Err(Error::checkpoint(name, "is there already, though this generation is new: does another run write here?"));
        }
        let path = self.path(name);
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| said(&path, "cannot be opened", e))?;
        Ok(Box::new(DiskLog { file, path }))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let meta = found(fs::metadata(self.path(name))).map_err(|e| self.said("cannot be read", name, e))?;
        match meta.map(|m| m.len()) {
            Some(bytes) if bytes > limit => {
                Err(Error::damaged(name, format!("it has {bytes} bytes, and no such file has more than {limit}")))
            }
            // It may grow meanwhile, as a log does.
            Some(_) => self.read_range(name, 0, limit),
            None => Ok(None),
        }
    }

    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        let read = || {
            let Some(mut file) = found(File::open(self.path(name)))? else { return Ok(None) };
            let there = file.metadata()?.len().saturating_sub(offset).min(len);
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::with_capacity(usize::try_from(there).map_err(|_| ErrorKind::FileTooLarge)?);
            file.take(there).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        read().map_err(|e| self.said("cannot be read", name, e))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let read = || {
            let mut entries = Vec::new();
            let Some(dir) = found(fs::read_dir(self.path(folder)))? else { return Ok(entries) };
            for entry in dir {
                let entry = entry?;
                // Gone since it was listed: not there.
                let Some(meta) = found(entry.metadata())? else { continue };
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                entries.push(Entry { name, bytes: meta.len(), folder: meta.is_dir() });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        read().map_err(|e| self.said("cannot be listed", folder, e))
    }

    fn delete(&self, names: &[String]) -> Result<()> {
        let mut parents = Vec::new();
        for name in names {
            fault::point("clean.delete");
            let path = self.path(name);
            found(fs::remove_file(&path)).map_err(|e| said(&path, "cannot be deleted", e))?;
            let parent = path.parent().map(Path::to_path_buf);
            if parents.last() != Some(&parent) {
                parents.push(parent);
            }
        }
        parents.iter().flatten().try_for_each(|p| sync_dir(p).map_err(|e| said(p, "cannot be synced", e)))
    }

    fn lock(&self) -> Result<Option<Lock>> {
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(self.path(LOCK));
        let file = open().map_err(|e| self.said("cannot be opened", LOCK, e))?;
        // std has locks from Rust 1.89 on, one after the oldest that we build with.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(DiskLock(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(self.said("cannot be locked", LOCK, e.into())),
        }
    }
}

struct DiskLock(File);

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Closing is not enough where another thread is just starting a process: that has the file open until it is what it is.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

struct DiskDraft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
}

impl Draft for DiskDraft {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| said(&self.draft, "cannot be written", e))
    }

    fn publish(self: Box<Self>) -> Result<bool> {
        self.file.sync_all().map_err(|e| said(&self.draft, "cannot be synced", e))?;
        fault::point("file.synced");
        // A link, unlike a rename, never takes the place of a file that is there.
        match fs::hard_link(&self.draft, &self.path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(said(&self.path, "cannot be given its name", e)),
        }
        fault::point("file.named");
        sync_parent(&self.path).map_err(|e| said(&self.path, "its directory cannot be synced", e))?;
        Ok(true)
    }
}

impl Drop for DiskDraft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.draft);
    }
}

struct DiskLog {
    file: File,
    path: PathBuf,
}

impl Log for DiskLog {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        fault::point("plan.before");
        self.file.write_all(bytes).map_err(|e| said(&self.path, "cannot be appended to", e))?;
        fault::point("plan.written");
        self.file.sync_data().map_err(|e| said(&self.path, "cannot be synced", e))?;
        fault::point("plan.after");
        Ok(())
    }
}
