//! What becomes of files that were read. A thread of its own deletes or archives them, because a file system may be slow.
//!
//! *Invariant:* a file stays until no restart reads it again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::connector::files::identity::FileStamp;
use crate::connector::files::options::CleanSource;
use crate::core::error::Result;
use crate::core::lock::lock;
use crate::core::path::{local, real};
use crate::core::thread::spawn;

/// A file by its path below the root, in the version that was planned.
type Planned = (String, FileStamp);

/// The planner's half of cleaning.
pub(super) struct Cleaner {
    how: CleanSource,
    root: PathBuf,
    /// Files that were planned and are not cleaned yet. A checkpoint has them.
    waiting: Arc<Mutex<BTreeMap<String, FileStamp>>>,
    /// Those of the checkpoint with which the job began.
    restored: Vec<Planned>,
    /// To the thread. `None`: the job reads given ranges, as in a replay, and cleans nothing.
    thread: Option<(Sender<Planned>, JoinHandle<()>)>,
}

impl Cleaner {
    /// `None`: files stay.
    pub fn new(how: &CleanSource, root: &Path) -> Option<Self> {
        (*how != CleanSource::Off).then(|| Cleaner {
            how: how.clone(),
            root: root.to_owned(),
            waiting: Arc::default(),
            restored: Vec::new(),
            thread: None,
        })
    }

    /// Continues with the files of a checkpoint, all of which its batches have read.
    pub fn restore(&mut self, files: Vec<Planned>) {
        lock(&self.waiting).extend(files.iter().cloned());
        self.restored = files;
    }

    /// # Errors
    /// The system has no thread left.
    pub fn start(&mut self) -> Result<()> {
        let (files, received) = channel();
        let (how, root, waiting) = (self.how.clone(), self.root.clone(), Arc::clone(&self.waiting));
        let thread = spawn("tm-clean", move || clean_all(&how, &root, &waiting, &received))?;
        self.thread = Some((files, thread));
        Ok(())
    }

    /// A file is in a plan.
    pub fn planned(&self, name: String, stamp: FileStamp) {
        lock(&self.waiting).insert(name, stamp);
    }

    /// Cleans these files, and those of the checkpoint with which the job began.
    pub fn clean(&mut self, files: impl Iterator<Item = Planned>) {
        if let Some((thread, _)) = &self.thread {
            for file in std::mem::take(&mut self.restored).into_iter().chain(files) {
                // A thread that has panicked cleans nothing more. The next run does.
                let _ = thread.send(file);
            }
        }
    }

    /// The files that are not cleaned yet.
    pub fn waiting(&self) -> Vec<Planned> {
        lock(&self.waiting).iter().map(|(name, stamp)| (name.clone(), *stamp)).collect()
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        if let Some((files, thread)) = self.thread.take() {
            drop(files);
            let _ = thread.join();
        }
    }
}

fn clean_all(how: &CleanSource, root: &Path, waiting: &Mutex<BTreeMap<String, FileStamp>>, files: &Receiver<Planned>) {
    for (name, stamp) in files {
        let path = root.join(&name);
        match clean(how, &path, stamp) {
            Ok(()) => {
                lock(waiting).remove(&name);
            }
            // It is tried again after a restart.
            Err(reason) => tracing::warn!(file = %path.display(), "a file that was read stays: {reason}"),
        }
    }
}

/// Deletes or archives a file. One that is gone is clean.
fn clean(how: &CleanSource, path: &Path, stamp: FileStamp) -> Result<(), String> {
    let failed = |e: std::io::Error| e.to_string();
    let meta = match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(failed)?,
    };
    // What it has now is read by nobody, or by a later batch.
    if FileStamp::of(&meta) != stamp {
        tracing::warn!(file = %path.display(), "a file that was read stays, because it changed afterwards");
        return Ok(());
    }
    let CleanSource::Archive(dir) = how else { return std::fs::remove_file(path).map_err(failed) };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let to = dir.join(absolute.strip_prefix("/").unwrap_or(&absolute));
    // A rename would replace it.
    if to.symlink_metadata().is_ok() {
        return Err(format!("{} is there already", to.display()));
    }
    let above = to.parent().unwrap_or(dir);
    std::fs::create_dir_all(above).map_err(|e| format!("{}: {e}", above.display()))?;
    std::fs::rename(path, &to).map_err(|e| format!("it cannot be moved to {}: {e}", to.display()))
}

/// Checks how the files below `root` are cleaned. Returns it with the path of the archive as it is on the disk.
///
/// # Errors
/// An archive that is inside the source, or on another file system.
pub(super) fn checked(how: &CleanSource, root: &Path) -> Result<CleanSource, String> {
    let CleanSource::Archive(dir) = how else { return Ok(how.clone()) };
    if dir.as_os_str().is_empty() {
        return Err("the archive directory is empty: name one beside the source, such as /data/archive".into());
    }
    let dir = local(dir)?;
    let (ours, theirs) = (real(&dir), real(root));
    let (archive, source) = (dir.display(), root.display());
    if ours.starts_with(&theirs) {
        return Err(format!("the archive directory {archive} is inside {source}, whose files are read: choose one beside it"));
    }
    // The first directory that exists is on the file system of those that will be made in it.
    let device = |path: &Path| path.ancestors().find_map(|above| Some(above.metadata().ok()?.dev()));
    if device(&ours) != device(&theirs) {
        return Err(format!(
            "the archive directory {archive} is on another file system than {source}, so files cannot be moved there"
        ));
    }
    Ok(CleanSource::Archive(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    fn stamp(path: &Path) -> FileStamp {
        FileStamp::of(&std::fs::metadata(path).unwrap())
    }

    #[test]
    fn a_file_is_deleted_or_keeps_its_path_in_the_archive() {
        let dir = TempDir::made("clean");
        let (path, archive) = (dir.join("in/2026/a"), CleanSource::Archive(dir.join("archive")));
        let put = |text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            stamp(&path)
        };
        let read = put("x");
        assert_eq!((clean(&CleanSource::Delete, &path, read), path.exists()), (Ok(()), false));
        assert_eq!(clean(&CleanSource::Delete, &path, read), Ok(()), "it is gone already");
        let read = put("y");
        let to = dir.join("archive").join(path.strip_prefix("/").unwrap());
        assert_eq!((clean(&archive, &path, read), path.exists()), (Ok(()), false));
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "y");
        let read = put("z");
        assert!(clean(&archive, &path, read).unwrap_err().ends_with("is there already"));
        let newer = put("longer");
        for how in [&archive, &CleanSource::Delete] {
            assert_eq!((clean(how, &path, read), stamp(&path)), (Ok(()), newer), "it changed after it was read");
        }
    }

    #[test]
    fn an_archive_is_beside_the_source() {
        let dir = TempDir::made("clean-archive");
        let source = dir.join("in");
        std::fs::create_dir(&source).unwrap();
        std::os::unix::fs::symlink(&source, dir.join("link")).unwrap();
        let check = |archive: &Path| checked(&CleanSource::Archive(archive.to_owned()), &source);
        for inside in ["in", "in/old", "link/old/deep", "in/../in/old"] {
            let e = check(&dir.join(inside)).unwrap_err();
            assert!(e.contains("is inside") && e.contains("choose one beside it"), "{inside}: {e}");
        }
        assert!(check(Path::new("")).unwrap_err().contains("is empty"));
        assert!(check(Path::new("s3://bucket/x")).unwrap_err().contains("is a URL"));
        assert!(check(Path::new("/proc/archive")).unwrap_err().contains("another file system"));
        let url = format!("file://{}/old", dir.display());
        assert_eq!(check(Path::new(&url)), Ok(CleanSource::Archive(dir.join("old"))));
        assert_eq!(checked(&CleanSource::Delete, &source), Ok(CleanSource::Delete));
    }
}
