//! The identity of a file, which does not depend on its name: its inode, its version, and the hash of its beginning.
//!
//! A renamed file keeps its identity. A new file under an old name has another one.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// The version of a file that a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) size: u64,
    pub(super) modified_ms: i64,
}

impl FileStamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        FileStamp { size: meta.len(), modified_ms: modified.map_or(0, |d| d.as_millis() as i64) }
    }
}

/// Where the disk keeps a file. It stays when the file is renamed or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct FileId {
    pub(super) inode: u64,
    /// When the file was made, in nanoseconds since the epoch; 0 if the file system does not say. The inode of a deleted file is
    /// given to another one.
    pub(super) born_ns: u64,
    /// 0 if `born_ns` is known. A device may have another number after the machine was started again.
    pub(super) device: u64,
}

impl FileId {
    pub(super) fn of(meta: &Metadata) -> Self {
        let born = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |d| d.as_nanos() as u64);
        FileId { inode: meta.ino(), born_ns, device: if born_ns == 0 { meta.dev() } else { 0 } }
    }
}

/// The beginning of a file: its length in bytes, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) len: u32,
    pub(super) hash: u64,
}

impl Head {
    /// The longest beginning that is hashed, in bytes.
    pub(super) const MAX: u32 = 4_096;

    /// Reads the first `len` bytes of a file; fewer if it is shorter.
    pub(super) fn read(path: &Path, len: u32) -> std::io::Result<Head> {
        let mut bytes = Vec::new();
        File::open(path)?.take(len.into()).read_to_end(&mut bytes)?;
        Ok(Head { len: bytes.len() as u32, hash: xxhash_rust::xxh3::xxh3_64(&bytes) })
    }
}

/// A file as a scan finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileVersion {
    pub(super) id: FileId,
    pub(super) stamp: FileStamp,
}

/// An entry of the directory; `Err`: why it is not read.
pub(super) type Found = (String, Result<FileVersion, String>);

/// What is under a path; `None`: nothing. A dangling link is something.
pub(super) fn version(path: &Path) -> Option<Result<FileVersion, String>> {
    Some(match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(FileVersion { id: FileId::of(&meta), stamp: FileStamp::of(&meta) }),
        Ok(meta) if meta.is_dir() => Err("it is a directory, and sub-directories are not read".into()),
        Ok(_) => Err("it is not a plain file".into()),
        Err(e) if e.kind() == ErrorKind::NotFound && std::fs::symlink_metadata(path).is_err() => return None,
        Err(e) => Err(e.to_string()),
    })
}

/// The entries of a directory, and what they are.
pub(super) fn list(dir: &Path) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                found.push((
                    name.to_string_lossy().into_owned(),
                    Err("its name is not UTF-8, and plans could not hold it".into()),
                ));
                continue;
            }
        };
        // Otherwise it was deleted since it was listed.
        found.extend(version(&entry.path()).map(|version| (name, version)));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The file beside `path` that has this version, if exactly one has: the file was renamed.
pub(super) fn renamed(path: &Path, stamp: FileStamp) -> Option<std::path::PathBuf> {
    let dir = path.parent()?;
    let found = list(dir).ok()?;
    let mut same = found.iter().filter(|(_, version)| version.as_ref().is_ok_and(|v| v.stamp == stamp));
    match (same.next(), same.next()) {
        (Some((name, _)), None) => Some(dir.join(name)),
        _ => None,
    }
}
