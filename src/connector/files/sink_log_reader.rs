//! What a `_spark_metadata` names, for a source that asks at each scan. [`sink_log`](super::sink_log) writes it.
//!
//! A file of the log is read when it is new, or was written again. So a scan reads what came since the last one, and every tenth batch the
//! compaction, which has all lines so far. Files before the last compaction are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::connector::files::durable::at;
use crate::connector::files::identity::{FileVersion, version};
use crate::core::error::BoxError;

/// The directory of the log, beside what it names.
pub(super) const FOLDER: &str = "_spark_metadata";
pub(super) const VERSION: &str = "v1";
pub(super) const COMPACT: &str = ".compact";
pub(super) const ADD: &str = "add";

/// A line of the log: Spark's class of this name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SinkFileStatus {
    pub path: String,
    pub size: u64,
    pub is_dir: bool,
    pub modification_time: i64,
    pub block_replication: u32,
    pub block_size: u64,
    pub action: String,
}

impl SinkFileStatus {
    pub fn parsed(line: &str) -> Result<Self, BoxError> {
        serde_json::from_str(line).map_err(|e| format!("{line:?} is not a line of it: {e}").into())
    }

    /// The name of the directory that the file is in, and its own.
    pub fn names(&self) -> (&str, &str) {
        let (above, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (above.rsplit('/').next().unwrap_or(above), name)
    }
}

/// The log of one table.
#[derive(Debug)]
pub(super) struct SinkLogReader {
    log: PathBuf,
    /// The files of the log that have all of its lines, by their numbers.
    known: BTreeMap<u64, Known>,
    /// What they name; `None`: they have changed.
    named: Option<Arc<[PathBuf]>>,
}

/// What is known of a file of the log.
#[derive(Debug)]
struct Known {
    version: FileVersion,
    lines: Vec<SinkFileStatus>,
}

impl SinkLogReader {
    /// The log of the table in this directory. Nothing is read yet.
    pub fn new(table: &Path) -> Self {
        SinkLogReader { log: table.join(FOLDER), known: BTreeMap::new(), named: None }
    }

    /// Whether the table has a log.
    pub fn is_there(&self) -> bool {
        self.log.is_dir()
    }

    /// The files that the log names, in its order. `None`: there is no log.
    ///
    /// # Errors
    /// The log cannot be read, a file of it is missing, or it names a file that is not on a disk.
    pub fn files(&mut self) -> Result<Option<Arc<[PathBuf]>>, BoxError> {
        if !self.is_there() {
            return Ok(None);
        }
        // The writer may have removed an old file since the directory was listed.
        self.read().or_else(|_| self.read())?;
        if let Some(named) = &self.named {
            return Ok(Some(named.clone()));
        }
        let all = || self.known.values().flat_map(|known| &known.lines);
        // Spark 2 could take files back.
        let deleted: BTreeSet<&str> = all().filter(|file| file.action != ADD).map(|file| &*file.path).collect();
        let there = all().filter(|file| !file.is_dir && !deleted.contains(&*file.path));
        let named: Arc<[PathBuf]> = there.map(|file| path_of(&file.path)).collect::<Result<_, _>>()?;
        self.named = Some(named.clone());
        Ok(Some(named))
    }

    /// Reads what came since the last time. Says how many files of the log that were.
    fn read(&mut self) -> Result<usize, BoxError> {
        let valid = valid(&self.log)?;
        let before = self.known.len();
        self.known.retain(|number, _| valid.contains_key(number));
        if self.known.len() < before {
            self.named = None;
        }
        let mut read = 0;
        for (number, name) in valid {
            let path = self.log.join(name);
            // The version is asked for first: what is written after it is read the next time.
            let Some(Ok(version)) = version(&path) else { return Err(format!("{}: it cannot be read", path.display()).into()) };
            if self.known.get(&number).is_some_and(|known| known.version == version) {
                continue;
            }
            self.named = None;
            let lines = lines_of(&path)?.iter().map(|line| SinkFileStatus::parsed(line)).collect::<Result<_, _>>();
            let lines = lines.map_err(|e| format!("{}: {e}", path.display()))?;
            self.known.insert(number, Known { version, lines });
            read += 1;
        }
        Ok(read)
    }
}

pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(COMPACT).unwrap_or(name).parse().ok()
}

/// The files of a log that have all of its lines, by number: the last compaction and what came after it. None: the log is not there.
pub(super) fn valid(log: &Path) -> Result<BTreeMap<u64, String>, BoxError> {
    let mut found = BTreeMap::new();
    if !log.is_dir() {
        return Ok(found);
    }
    for entry in at(log, std::fs::read_dir(log))? {
        let Ok(name) = at(log, entry)?.file_name().into_string() else { continue };
        found.extend(number_of(&name).map(|number| (number, name)));
    }
    let first = found.iter().rev().find(|(_, name)| name.ends_with(COMPACT)).map_or(0, |(number, _)| *number);
    let valid = found.split_off(&first);
    let missing = valid.keys().zip(first..).find(|(there, expected)| *there != expected).map(|(_, expected)| expected);
    match missing {
        None => Ok(valid),
        Some(missing) => {
            let log = log.display();
            Err(format!("{log}: batch {missing} of the log is missing, so it is not known which files are complete; restore it from a copy").into())
        }
    }
}

/// The lines of a file of a log, behind the first one.
pub(super) fn lines_of(path: &Path) -> Result<Vec<String>, BoxError> {
    let text = at(path, std::fs::read_to_string(path))?;
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => Ok(lines.map(str::to_owned).collect()),
        first => {
            let (path, first) = (path.display(), first.unwrap_or_default());
            Err(format!("{path}: it begins with {first:?}, and a file of this log begins with {VERSION:?}: it is damaged, or of a newer version").into())
        }
    }
}

/// The path of a URI.
pub(super) fn path_of(uri: &str) -> Result<PathBuf, BoxError> {
    let path = uri.strip_prefix("file:").unwrap_or(uri);
    let path = path.strip_prefix("//").unwrap_or(path).as_bytes();
    if path.first() != Some(&b'/') {
        return Err(format!("the log of written files names {uri}, which is not a file of a disk").into());
    }
    let hex = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::files::sink_log::FileStreamSinkLog;
    use crate::testing::temp_dir::TempDir;

    fn put(table: &Path, log: &mut FileStreamSinkLog, n: u64, parts: &[&str]) {
        let batch = format!("batch-{}", n * 1_000);
        std::fs::create_dir_all(table.join(&batch)).unwrap();
        parts.iter().for_each(|part| std::fs::write(table.join(&batch).join(part), "x").unwrap());
        log.add(&batch, parts).unwrap();
    }

    #[test]
    fn a_scan_reads_what_came_since_the_last_one() {
        let table = TempDir::made("sink-log-reader");
        let (mut log, mut reader) = (FileStreamSinkLog::new(&*table), SinkLogReader::new(&table));
        assert_eq!(reader.files().unwrap(), None, "there is no log yet");
        for n in 0..35 {
            put(&table, &mut log, n, &["part-00000"]);
            // Every tenth file is a compaction, which takes the place of all before it.
            assert_eq!((reader.read().unwrap(), reader.read().unwrap()), (1, 0), "{n}");
            let whole = FileStreamSinkLog::files(&*table).unwrap();
            assert_eq!(reader.files().unwrap().map(|files| files.to_vec()), whole);
            assert_eq!(whole.unwrap().len(), n as usize + 1);
            assert_eq!(reader.known.len() as u64, if n < 9 { n + 1 } else { (n + 1) % 10 + 1 });
        }
        let (one, other) = (reader.files().unwrap().unwrap(), reader.files().unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &other), "it is the same list while nothing has changed");
    }

    #[test]
    fn a_file_of_the_log_that_is_written_again_is_read_again() {
        let table = TempDir::made("sink-log-reader-again");
        let (mut log, mut reader) = (FileStreamSinkLog::new(&*table), SinkLogReader::new(&table));
        (0..12).for_each(|n| put(&table, &mut log, n, &["part-00000"]));
        assert_eq!(reader.files().unwrap().unwrap().len(), 12);
        // One batch is in the compaction, and one behind it.
        for (n, files) in [(4, 13), (11, 14)] {
            put(&table, &mut log, n, &["part-00000", "part-00001"]);
            assert_eq!(reader.read().unwrap(), 1);
            assert_eq!(reader.files().unwrap().unwrap().len(), files);
        }
        // Another log in its place.
        std::fs::remove_dir_all(table.join(FOLDER)).unwrap();
        assert_eq!(reader.files().unwrap(), None);
        drop(log);
        put(&table, &mut FileStreamSinkLog::new(&*table), 20, &["part-00000"]);
        assert_eq!(reader.files().unwrap().unwrap().to_vec(), [table.join("batch-20000/part-00000")]);
    }

    #[test]
    fn a_log_that_cannot_be_read_is_an_error_until_it_can() {
        let table = TempDir::made("sink-log-reader-wrong");
        let (mut log, mut reader) = (FileStreamSinkLog::new(&*table), SinkLogReader::new(&table));
        (0..3).for_each(|n| put(&table, &mut log, n, &["part-00000"]));
        assert_eq!(reader.files().unwrap().unwrap().len(), 3);
        let (path, aside) = (table.join(FOLDER).join("1"), table.join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        for _ in 0..2 {
            assert!(reader.files().unwrap_err().to_string().contains("batch 1 of the log is missing"));
        }
        std::fs::write(&path, "v9").unwrap();
        assert!(reader.files().unwrap_err().to_string().contains("\"v9\""));
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(reader.files().unwrap().unwrap().len(), 3);
    }
}
