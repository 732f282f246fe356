//! A checkpoint directory on a local or shared file system. Invariant: a file and its name are durable before its writer continues.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::{Draft, Entry, FOLDERS, LOCK, Lock, Log, Store, UNFINISHED, append_points};
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::path::explained;

/// A directory of a file system.
#[derive(Debug)]
pub(super) struct Disk {
    dir: Arc<Path>,
}

impl Disk {
    /// Opens a directory for writing, and creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open(dir: &Path) -> Result<Self> {
        let disk = Disk { dir: dir.into() };
        let no = |e| disk.error("cannot be created", "", e);
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

    /// Opens a directory for reading.
    ///
    /// # Errors
    /// The directory does not exist.
    pub fn read_only(dir: &Path) -> Result<Self> {
        let disk = Disk { dir: dir.into() };
        match fs::metadata(dir) {
            Ok(m) if m.is_dir() => Ok(disk),
            Ok(_) => Err(Error::checkpoint(disk.place(), "is not a directory")),
            Err(e) => Err(disk.error("cannot be read", "", e)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The system's error, with a remedy.
    fn error(&self, what: &str, name: &str, e: io::Error) -> Error {
        let e = if name.is_empty() { explained(&self.dir, e) } else { e };
        io_error(&self.path(name), what, e)
    }
}

fn io_error(path: &Path, what: &str, e: io::Error) -> Error {
    let remedy = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ": make room on that disk",
        ErrorKind::ReadOnlyFilesystem => ": mount it writable, or choose another directory",
        ErrorKind::PermissionDenied => ": grant it to the user of this process",
        ErrorKind::Unsupported => ": its file system has no hard links; choose a directory on another",
        _ if e.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => ": raise the limit with ulimit -n",
        _ => "",
    };
    Error::checkpoint(path.display().to_string(), format!("{what}: {e}{remedy}"))
}

/// Makes the names of the files in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// `None` if the file does not exist.
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

    fn probe(&self) -> Result<()> {
        let path = self.path(&format!("probe-{}{UNFINISHED}", std::process::id()));
        let made = fault::fails(&path, fault::FileOperation::Probe).and_then(|()| File::create(&path));
        let tried = made.and_then(|mut f| f.write_all(&[0; 4096]).and_then(|()| f.sync_data()));
        let cleared = found(fs::remove_file(&path)).map(drop);
        tried.and(cleared).map_err(|e| self.error("cannot be written", "", e))
    }

    fn create(&self, name: &str) -> Result<Box<dyn Draft>> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let n = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self.path(&format!("{name}.{}-{n}{UNFINISHED}", std::process::id()));
        let file = fault::fails(&draft, fault::FileOperation::Make).and_then(|()| File::create_new(&draft));
        let file = file.map_err(|e| io_error(&draft, "cannot be created", e))?;
        Ok(Box::new(DiskDraft { file, draft, path: self.path(name) }))
    }

    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>> {
        if !self.put_new(name, head)? {
            return Err(Error::checkpoint(name, "already exists, but this generation is new: does another run write here?"));
        }
        let path = self.path(name);
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| io_error(&path, "cannot be opened", e))?;
        Ok(Box::new(DiskLog { file, path, points: append_points(name) }))
    }

    fn close_log(&self, name: &str) -> Result<bool> {
        // This process has the lock, so its writer is dead.
        Ok(found(fs::metadata(self.path(name))).map_err(|e| self.error("cannot be read", name, e))?.is_some())
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let meta = found(fs::metadata(self.path(name))).map_err(|e| self.error("cannot be read", name, e))?;
        match meta.map(|m| m.len()) {
            Some(bytes) if bytes > limit => Err(super::too_long(name, bytes, limit)),
            // A log may grow after this.
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
        read().map_err(|e| self.error("cannot be read", name, e))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let read = || {
            let mut entries = Vec::new();
            let Some(dir) = found(fs::read_dir(self.path(folder)))? else { return Ok(entries) };
            for entry in dir {
                let entry = entry?;
                // It was deleted after it was listed.
                let Some(meta) = found(entry.metadata())? else { continue };
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                entries.push(Entry { name, bytes: meta.len(), folder: meta.is_dir() });
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        read().map_err(|e| self.error("cannot be listed", folder, e))
    }

    fn delete(&self, names: &[String]) -> Result<()> {
        let mut parents = Vec::new();
        for name in names {
            fault::point(fault::FaultPoint::CleanDelete);
            let path = self.path(name);
            found(fs::remove_file(&path)).map_err(|e| io_error(&path, "cannot be deleted", e))?;
            let parent = path.parent().map(Path::to_path_buf);
            if parents.last() != Some(&parent) {
                parents.push(parent);
            }
        }
        parents.iter().flatten().try_for_each(|p| sync_dir(p).map_err(|e| io_error(p, "cannot be synced", e)))
    }

    fn lock(&self) -> Result<Lock> {
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(self.path(LOCK));
        let file = open().map_err(|e| self.error("cannot be opened", LOCK, e))?;
        // std has locks from Rust 1.89 on, one after the oldest that we build with.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock::Held(Box::new(DiskLock(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Taken),
            Err(e) => Err(self.error("cannot be locked", LOCK, e.into())),
        }
    }
}

struct DiskLock(File);

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting has the file open until its exec.
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
        let written = fault::fails(&self.draft, fault::FileOperation::Write).and_then(|()| self.file.write_all(bytes));
        written.map_err(|e| io_error(&self.draft, "cannot be written", e))
    }

    fn publish(self: Box<Self>) -> Result<bool> {
        let synced = fault::fails(&self.draft, fault::FileOperation::Sync).and_then(|()| self.file.sync_all());
        synced.map_err(|e| io_error(&self.draft, "cannot be synced", e))?;
        fault::point(fault::FaultPoint::FileSynced);
        // A link, unlike a rename, never replaces an existing file.
        match fs::hard_link(&self.draft, &self.path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(io_error(&self.path, "cannot be given its name", e)),
        }
        fault::point(fault::FaultPoint::FileNamed);
        sync_parent(&self.path).map_err(|e| io_error(&self.path, "its directory cannot be synced", e))?;
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
    points: [fault::FaultPoint; 3],
}

impl Log for DiskLog {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        fault::point(self.points[0]);
        let written = fault::fails(&self.path, fault::FileOperation::Append).and_then(|()| self.file.write_all(bytes));
        written.map_err(|e| io_error(&self.path, "cannot be appended to", e))?;
        fault::point(self.points[1]);
        let synced = fault::fails(&self.path, fault::FileOperation::AppendSync).and_then(|()| self.file.sync_data());
        synced.map_err(|e| io_error(&self.path, "cannot be synced", e))?;
        fault::point(self.points[2]);
        Ok(())
    }
}
