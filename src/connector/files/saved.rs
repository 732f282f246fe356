//! The state of a directory in a checkpoint: the files that are not read again, and their identities.
//!
//! Format: `(last_ms, [(name, size, modified_ms)])`, as the first version wrote it, then one `Saved` for each of these files, then, if there
//! are some, `[(name, size, modified_ms)]` of the files that are to be cleaned. Each version reads the values that it knows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::connector::files::identity::{FileId, FileStamp, Head};
use crate::connector::files::watch::{DirectoryWatch, Gone, Known, State};
use crate::connector::source::SplitOffset;
use crate::core::data::encoded;
use crate::core::plan::Split;

/// Names with their versions.
type Files = Vec<(String, u64, i64)>;
/// The files, and when the directory was last scanned.
type Names = (u64, Files);

/// What the first version did not save of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Saved {
    id: Option<FileId>,
    head: Option<Head>,
    /// It existed at the start, and is read if it changes.
    ignored: bool,
    /// When it left the directory.
    gone_ms: Option<u64>,
}

/// The files that are not read again, for a checkpoint. `uncleaned`: those of them that are to be cleaned.
pub(super) fn snapshot(watch: &DirectoryWatch, uncleaned: Vec<(String, FileStamp)>) -> Vec<u8> {
    let (mut names, mut saved) = (Vec::new(), Vec::new());
    let gone = watch.gone.iter().map(|gone| (&gone.name, &gone.known, Some(gone.since_ms)));
    let known = watch.known.iter().map(|(name, known)| (name, known, None));
    // A name may be in both. The first version takes the last one, the file that has the name.
    for (name, known, gone_ms) in gone.chain(known).filter(|(_, known, _)| !matches!(known.state, State::Waiting { .. })) {
        names.push((name.clone(), known.stamp.size, known.stamp.modified_ms));
        saved.push(Saved { id: known.id, head: known.head, ignored: known.state == State::Ignored, gone_ms });
    }
    let mut bytes = encoded(&(watch.last_ms, names));
    bytes.extend(encoded(&saved));
    if !uncleaned.is_empty() {
        let files: Files = uncleaned.into_iter().map(|(name, stamp)| (name, stamp.size, stamp.modified_ms)).collect();
        bytes.extend(encoded(&files));
    }
    bytes
}

/// Continues a watch after a restart. `read`: the files that were planned. Files that are not known appeared in the meantime. Returns the
/// files that are to be cleaned.
///
/// # Errors
/// The bytes are not a snapshot.
pub(super) fn restore(
    watch: &mut DirectoryWatch,
    root: &Path,
    bytes: &[u8],
    read: &[SplitOffset],
    now_ms: u64,
) -> Result<Vec<(String, FileStamp)>, postcard::Error> {
    watch.started = true;
    let (mut saved, mut uncleaned) = (Vec::new(), Files::new());
    let mut names = Vec::new();
    if bytes.is_empty() {
        // The job ended before its first checkpoint. Only its plans tell which files it read.
        let remember_ms = watch.files.remember.as_millis().min(i64::MAX as u128) as i64;
        watch.last_ms = now_ms;
        watch.ignored_before_ms = (!watch.files.existing).then(|| (now_ms as i64).saturating_sub(remember_ms));
    } else {
        let ((last_ms, listed), rest) = postcard::take_from_bytes::<Names>(bytes)?;
        (watch.last_ms, names) = (last_ms, listed);
        if !rest.is_empty() {
            let (known, rest) = postcard::take_from_bytes::<Vec<Saved>>(rest)?;
            saved = known;
            if !rest.is_empty() {
                uncleaned = postcard::from_bytes(rest)?;
            }
        }
    }
    saved.resize(names.len(), Saved::default());
    for ((name, size, modified_ms), saved) in names.into_iter().zip(saved) {
        let stamp = FileStamp { size, modified_ms };
        let state = if saved.ignored { State::Ignored } else { State::Planned { warned: false } };
        let known = Known { id: saved.id, stamp, head: saved.head, state };
        match saved.gone_ms {
            Some(since_ms) => watch.gone.push(Gone { name, known, since_ms }),
            None => drop(watch.known.insert(name, known)),
        }
    }
    for offset in read {
        let Split::File { path, size, modified_ms } = &offset.split else { continue };
        let path = Path::new(&**path);
        // The directory may have been written in another way by an earlier run.
        let name = path.strip_prefix(root).ok().or_else(|| path.file_name().map(Path::new));
        let Some(name) = name.map(|n| n.to_string_lossy().into_owned()) else { continue };
        let stamp = FileStamp { size: *size, modified_ms: *modified_ms };
        if watch.known.get(&name).is_some_and(|known| known.stamp == stamp && known.state != State::Ignored) {
            continue;
        }
        let known = Known { id: None, stamp, head: None, state: State::Planned { warned: false } };
        // A file that had the name before it is perhaps under another one now.
        if let Some(earlier) = watch.known.insert(name.clone(), known) {
            watch.gone.push(Gone { name, known: earlier, since_ms: watch.last_ms });
        }
    }
    let file = |(name, size, modified_ms)| (name, FileStamp { size, modified_ms });
    Ok(uncleaned.into_iter().map(file).collect())
}
