//! `_spark_metadata`: the log of the files that an output has written, as Spark's `FileStreamSink` keeps it. docs/formats.md has an example.
//!
//! The file `N` has the files of one batch: a line `v1`, then a line of JSON for each. Every tenth is `N.compact`, which has all lines so far.
//! Its numbers follow one another, so a batch without files is not in the log.
//!
//! *Invariant:* what the log names is complete. A file of the log is complete before it has its name, and a batch is in it once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::connector::files::claim::Claim;
use crate::connector::files::durable::{at, make, remove, sync};
use crate::connector::files::identity::FileStamp;
use crate::connector::files::sink_log_reader::{
    ADD, COMPACT, FOLDER, SinkFileStatus, SinkLogReader, VERSION, lines_of, number_of, valid,
};
use crate::core::clock::wall_ms;
use crate::core::error::BoxError;
use crate::core::fault::{FaultPoint, FileOperation, fails, point};

/// Every how many batches there is a compaction. Spark expects its own default until it sees two compactions.
const COMPACT_INTERVAL: u64 = 10;
/// How long a file of the log stays that a compaction has made needless: somebody may be reading it. Spark's default.
const CLEANUP_DELAY: Duration = Duration::from_secs(600);
/// What Hadoop says of a local file.
const BLOCK_SIZE: u64 = 32 << 20;

/// The log of the files that an output has written: `_spark_metadata`. Spark, and `session.read()` and `read_stream` of the crate
/// `tidemill-sql`, then read the files that it names, and no others.
///
/// Each batch has a directory below that of the table, with its time in milliseconds after a `-`: `batch-5000`, `batch-5000.json`. An output adds it
/// when its files are complete and durable. To add it again changes nothing, unless its files have other names or sizes: then the log is
/// corrected. A table has one log, which one output of a process writes. If there is no log yet, complete batches before the first one that is
/// added, those with a `_SUCCESS`, are put into it too.
///
/// Paths are absolute, as in Spark: a table that is moved must be written again.
///
/// ```
/// use tidemill::connector::files::sink_log::FileStreamSinkLog;
/// use tidemill::prelude::*;
/// let table = std::env::temp_dir().join(format!("tidemill-doc-sink-log-{}", std::process::id()));
/// # let _ = std::fs::remove_dir_all(&table);
/// let part = table.join("batch-5000").join("part-00000");
/// std::fs::create_dir_all(part.parent().unwrap())?;
/// std::fs::write(&part, "to\nbe\n")?;
///
/// assert_eq!(FileStreamSinkLog::files(&table)?, None);
/// let mut log = FileStreamSinkLog::new(&table).retention(days(30));
/// log.add("batch-5000", ["part-00000"])?;
/// log.add("batch-5000", ["part-00000"])?;
/// assert_eq!(FileStreamSinkLog::files(&table)?, Some(vec![part]));
/// let text = std::fs::read_to_string(table.join("_spark_metadata/0"))?;
/// assert!(text.starts_with("v1\n{\"path\":\"file:///") && text.contains("\"size\":6,\"isDir\":false"), "{text}");
/// # std::fs::remove_dir_all(table)?;
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Debug)]
pub struct FileStreamSinkLog {
    /// The directory of the table.
    table: PathBuf,
    retention: Option<Duration>,
    /// Whether what it writes is synced to the disk.
    pub(super) durable: bool,
    process: u16,
    /// Whether other processes write the log too.
    shared: bool,
    open: Option<Open>,
}

/// How far the log is.
#[derive(Debug)]
struct Open {
    /// The number of the next batch.
    next: u64,
    /// The largest time of a batch in it, in milliseconds.
    newest: Option<u64>,
    _claim: Claim,
}

impl Open {
    /// Takes a file of the log that is there. `batch`: a directory of the output.
    fn take(&mut self, number: u64, path: &Path, batch: &str) -> Result<(), BoxError> {
        let encoded = encoded(batch.as_bytes());
        for line in lines_of(path)? {
            let status = SinkFileStatus::parsed(&line).map_err(|e| format!("{}: {e}", path.display()))?;
            match split_time(status.names().0).filter(|_| form(status.names().0) == form(&encoded)) {
                Some((_, time, _)) => self.newest = self.newest.max(Some(time)),
                None => {
                    let (log, file) = (path.display(), &status.path);
                    let remedy =
                        "another program, or an output of another format, writes to this directory; choose one of its own";
                    return Err(format!("{log} names {file}, which is not of a batch of this output: {remedy}").into());
                }
            }
        }
        self.next = number + 1;
        Ok(())
    }
}

impl FileStreamSinkLog {
    /// The log of the table in this directory. Nothing is read or written before the first [`add`](FileStreamSinkLog::add).
    pub fn new(table: impl AsRef<Path>) -> Self {
        let table = table.as_ref();
        let table = std::path::absolute(table).unwrap_or_else(|_| table.to_owned());
        FileStreamSinkLog { table, retention: None, durable: true, process: 0, shared: false, open: None }
    }

    /// Files that were changed last longer ago than this leave the log at its next compaction, so they are no longer part of the table. They
    /// stay in their directories. Default: they stay in the log. A compaction writes all lines, about 200 bytes for each file.
    pub fn retention(mut self, how_long: Duration) -> Self {
        self.retention = Some(how_long);
        self
    }

    /// The log as one of several processes writes it, each only batches that all of them have completed.
    pub(super) fn of_process(mut self, process: u16, processes: u16) -> Self {
        (self.process, self.shared) = (process, processes > 1);
        self
    }

    /// Adds the files of a batch, by their names in the directory `batch` of the table. It is durable when this returns.
    ///
    /// # Errors
    /// `batch` has no time, a file of the batch or of the log cannot be read or written, another output of this process writes the log, or
    /// another program does.
    pub fn add(&mut self, batch: &str, files: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), BoxError> {
        let Some((_, time, _)) = split_time(batch) else {
            return Err(format!("the directory {batch:?} of a batch has no time: name it as batch-5000").into());
        };
        let lines = files.into_iter().map(|file| self.line(batch, file.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if lines.is_empty() && !self.dir().is_dir() {
            return Ok(());
        }
        let newest = self.opened(batch, time)?.newest;
        let known = newest.is_some_and(|newest| time <= newest) && self.replace(batch, &lines)?;
        if known || lines.is_empty() {
            return Ok(());
        }
        self.append(lines)?;
        if let Some(open) = &mut self.open {
            open.newest = open.newest.max(Some(time));
        }
        Ok(())
    }

    /// The files that the log of this table names, in its order. `None`: there is no log.
    ///
    /// # Errors
    /// The log cannot be read, a file of it is missing, or it names a file that is not on a disk.
    pub fn files(table: impl AsRef<Path>) -> Result<Option<Vec<PathBuf>>, BoxError> {
        let files = SinkLogReader::new(table.as_ref()).files()?;
        Ok(files.map(|files| files.to_vec()))
    }

    fn dir(&self) -> PathBuf {
        self.table.join(FOLDER)
    }

    fn line(&self, batch: &str, file: &str) -> Result<String, BoxError> {
        let path = self.table.join(batch).join(file);
        let FileStamp { size, modified_ms } = FileStamp::of(&at(&path, std::fs::metadata(&path))?);
        let status = SinkFileStatus {
            path: uri(&path),
            size,
            is_dir: false,
            modification_time: modified_ms,
            block_replication: 1,
            block_size: BLOCK_SIZE,
            action: ADD.to_owned(),
        };
        Ok(serde_json::to_string(&status)?)
    }

    /// The log, read as far as it is. `batch` is to be added.
    fn opened(&mut self, batch: &str, time: u64) -> Result<&Open, BoxError> {
        let dir = self.dir();
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut open = Open { next: 0, newest: None, _claim: Claim::new(format!("writes the log {}", dir.display()))? };
                for (number, name) in valid(&dir)? {
                    open.take(number, &dir.join(name), batch)?;
                }
                open
            }
        };
        let begins = open.next == 0;
        let open = self.open.insert(open);
        while self.shared && dir.join(name_of(open.next)).exists() {
            open.take(open.next, &dir.join(name_of(open.next)), batch)?;
        }
        if begins && open.next == 0 {
            let before = self.earlier(batch, time)?;
            if !before.is_empty() {
                self.append(before)?;
                // All of them are before this one.
                self.open.iter_mut().for_each(|open| open.newest = time.checked_sub(1));
            }
        }
        self.open.as_ref().ok_or_else(|| "the log of files is not open".into())
    }

    /// The lines of complete batches that are older than the log: an earlier version of the program kept none.
    fn earlier(&self, batch: &str, time: u64) -> Result<Vec<String>, BoxError> {
        let mut found = BTreeMap::new();
        for entry in at(&self.table, std::fs::read_dir(&self.table))? {
            let Ok(name) = at(&self.table, entry)?.file_name().into_string() else { continue };
            let at_time = split_time(&name).map(|(_, at, _)| at).filter(|at| *at < time && form(&name) == form(batch));
            if let Some(at) = at_time.filter(|_| self.table.join(&name).join("_SUCCESS").exists()) {
                found.insert(at, name);
            }
        }
        let mut lines = Vec::new();
        for name in found.values() {
            for part in parts(&self.table.join(name))? {
                lines.push(self.line(name, &part)?);
            }
        }
        Ok(lines)
    }

    /// Whether the log has this batch. If it has other files of it, these lines replace them.
    fn replace(&self, batch: &str, lines: &[String]) -> Result<bool, BoxError> {
        let dir = self.dir();
        let folder = encoded(batch.as_bytes());
        // The table may have been named in another way when they were written.
        let known = |line: &String| {
            let status = SinkFileStatus::parsed(line).ok()?;
            let (above, name) = status.names();
            (above == folder).then(|| (name.to_owned(), status.size))
        };
        for name in valid(&dir)?.values().rev() {
            let there = lines_of(&dir.join(name))?;
            let had: BTreeSet<_> = there.iter().filter_map(known).collect();
            let Some(first) = there.iter().position(|line| known(line).is_some()) else { continue };
            let has: BTreeSet<_> = lines.iter().filter_map(known).collect();
            if had != has {
                let mut all: Vec<String> = there.into_iter().filter(|line| known(line).is_none()).collect();
                all.splice(first..first, lines.iter().cloned());
                self.write(name, &all)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Adds a file to the log.
    fn append(&mut self, lines: Vec<String>) -> Result<(), BoxError> {
        let (dir, number) = (self.dir(), self.open.as_ref().map_or(0, |open| open.next));
        let compacts = is_compaction(number);
        let mut all = Vec::new();
        if compacts {
            // Of several processes, another one may be further: its files are not before this one.
            for before in number.saturating_sub(COMPACT_INTERVAL)..number {
                all.extend(lines_of(&dir.join(name_of(before)))?);
            }
        }
        all.extend(lines);
        if let (true, Some(retention)) = (compacts, self.retention) {
            let oldest = wall_ms().saturating_sub(retention.as_millis() as u64) as i64;
            all.retain(|line| SinkFileStatus::parsed(line).map_or(true, |status| status.modification_time >= oldest));
        }
        self.write(&name_of(number), &all)?;
        if let Some(open) = &mut self.open {
            open.next = number + 1;
        }
        if compacts {
            self.remove_needless(number.saturating_sub(COMPACT_INTERVAL));
        }
        Ok(())
    }

    fn write(&self, name: &str, lines: &[String]) -> Result<(), BoxError> {
        let dir = self.dir();
        match self.durable {
            true => make(&dir)?,
            false => at(&dir, std::fs::create_dir_all(&dir))?,
        }
        // Two processes may write the same file at the same time.
        let (hidden, path) = (dir.join(format!(".{name}.{}.tmp", self.process)), dir.join(name));
        let mut file = BufWriter::new(at(&hidden, File::create(&hidden))?);
        let mut put = |bytes: &[u8]| at(&hidden, file.write_all(bytes));
        put(VERSION.as_bytes())?;
        for line in lines {
            put(b"\n")?;
            put(line.as_bytes())?;
        }
        at(&hidden, fails(&hidden, FileOperation::Write).and_then(|()| file.flush()))?;
        if self.durable {
            at(&hidden, file.get_ref().sync_all())?;
        }
        point(FaultPoint::SaveLog);
        at(&path, std::fs::rename(&hidden, &path))?;
        if self.durable { sync(&dir) } else { Ok(()) }
    }

    /// Removes the files before number `keep`, a compaction, that nobody reads any more. The log is whole if that fails.
    fn remove_needless(&self, keep: u64) {
        let dir = self.dir();
        let oldest = wall_ms().saturating_sub(CLEANUP_DELAY.as_millis() as u64) as i64;
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let needless = entry.file_name().to_str().and_then(number_of).is_some_and(|number| number < keep);
            let old = || entry.metadata().is_ok_and(|meta| FileStamp::of(&meta).modified_ms < oldest);
            if needless
                && old()
                && let Err(error) = remove(&entry.path())
            {
                tracing::warn!(%error, "an old file of the log of written files could not be removed");
            }
        }
    }
}

/// The names of the parts of a batch that are complete.
pub(super) fn parts(batch: &Path) -> Result<BTreeSet<String>, BoxError> {
    let mut names = BTreeSet::new();
    for entry in at(batch, std::fs::read_dir(batch))? {
        names.extend(at(batch, entry)?.file_name().into_string().ok().filter(|name| name.starts_with("part-")));
    }
    Ok(names)
}

fn is_compaction(number: u64) -> bool {
    (number + 1).is_multiple_of(COMPACT_INTERVAL)
}

fn name_of(number: u64) -> String {
    format!("{number}{}", if is_compaction(number) { COMPACT } else { "" })
}

/// The name of a batch's directory in three parts: `batch-`, the milliseconds, and the rest, which is empty or begins with a dot.
fn split_time(name: &str) -> Option<(&str, u64, &str)> {
    name.rmatch_indices('-').find_map(|(at, _)| {
        let (head, rest) = name.split_at(at + 1);
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let time = digits.parse().ok().filter(|_| tail.is_empty() || tail.starts_with('.'))?;
        Some((head, time, tail))
    })
}

/// What all batches of an output have in their names.
fn form(name: &str) -> Option<(&str, &str)> {
    split_time(name).map(|(head, _, tail)| (head, tail))
}

/// A path as Hadoop's URIs have it.
fn encoded(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'=' | b':' | b'@' | b'+' | b',' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn uri(path: &Path) -> String {
    format!("file://{}", encoded(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::files::sink_log_reader::path_of;
    use crate::testing::temp_dir::TempDir;

    fn made(name: &str, batches: std::ops::Range<u64>) -> TempDir {
        let table = TempDir::made(name);
        batches.for_each(|n| put(&table, n, &["part-00000"], "x"));
        table
    }

    /// Writes the files of a batch.
    fn put(table: &Path, n: u64, parts: &[&str], text: &str) {
        let dir = table.join(batch(n));
        std::fs::create_dir_all(&dir).unwrap();
        parts.iter().for_each(|part| std::fs::write(dir.join(part), text).unwrap());
    }

    fn batch(n: u64) -> String {
        format!("batch-{}.json", n * 1_000)
    }

    fn added(table: &Path, batches: std::ops::Range<u64>) {
        let mut log = FileStreamSinkLog::new(table);
        batches.for_each(|n| log.add(&batch(n), ["part-00000"]).unwrap());
    }

    /// The names of the log's files, in order of their numbers.
    fn log_files(table: &Path) -> Vec<String> {
        let names = std::fs::read_dir(table.join(FOLDER)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_by_key(|name| number_of(name).expect("nothing else is in the log"));
        names
    }

    /// What a reader takes, as paths below the table.
    fn read(table: &Path) -> Vec<String> {
        let files = FileStreamSinkLog::files(table).unwrap().unwrap();
        files.iter().map(|path| path.strip_prefix(table).unwrap().display().to_string()).collect()
    }

    fn expected(batches: std::ops::Range<u64>) -> Vec<String> {
        batches.map(|n| format!("{}/part-00000", batch(n))).collect()
    }

    #[test]
    fn every_tenth_file_has_all_lines_so_far() {
        let table = made("sink-log", 0..23);
        added(&table, 0..23);
        let names = log_files(&table);
        assert_eq!(names.len(), 23);
        let compact: Vec<&String> = names.iter().filter(|name| name.ends_with(COMPACT)).collect();
        assert_eq!(compact, ["9.compact", "19.compact"]);
        let text = |name: &str| std::fs::read_to_string(table.join(FOLDER).join(name)).unwrap();
        assert_eq!((text("19.compact").lines().count(), text("20").lines().count()), (21, 2));
        let line: serde_json::Value = serde_json::from_str(text("20").lines().nth(1).unwrap()).unwrap();
        let path = table.join(batch(20)).join("part-00000");
        let meta = std::fs::metadata(&path).unwrap();
        let modified = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let all = serde_json::json!({
            "path": format!("file://{}", path.display()), "size": 1, "isDir": false, "modificationTime": modified,
            "blockReplication": 1, "blockSize": 33_554_432, "action": "add",
        });
        assert_eq!(line, all);
        assert!(!text("20").ends_with('\n'), "as Spark writes it");
        assert_eq!(read(&table), expected(0..23));
    }

    #[test]
    fn a_batch_that_is_added_again_changes_nothing() {
        let table = made("sink-log-again", 0..14);
        added(&table, 0..14);
        let texts = || log_files(&table).iter().map(|n| std::fs::read(table.join(FOLDER).join(n)).unwrap()).collect::<Vec<_>>();
        let before = texts();
        // Another run writes the same files again: their times are later.
        std::fs::write(table.join(batch(3)).join("part-00000"), "y").unwrap();
        added(&table, 2..14);
        assert_eq!(texts(), before);
        // The same table by another path.
        let link = table.with_extension("link");
        std::os::unix::fs::symlink(&*table, &link).unwrap();
        added(&link, 10..14);
        std::fs::remove_file(&link).unwrap();
        assert_eq!(texts(), before);
    }

    #[test]
    fn a_batch_with_other_files_replaces_those_of_the_log() {
        let table = made("sink-log-other", 0..12);
        added(&table, 0..12);
        let mut log = FileStreamSinkLog::new(&*table);
        for n in [4, 11] {
            put(&table, n, &["part-00000", "part-00007"], "longer");
            log.add(&batch(n), ["part-00000", "part-00007"]).unwrap();
        }
        log.add(&batch(5), [""; 0]).unwrap();
        let mut all = expected(0..12);
        all.insert(12, format!("{}/part-00007", batch(11)));
        all.remove(5);
        all.insert(5, format!("{}/part-00007", batch(4)));
        assert_eq!(read(&table), all);
        assert_eq!(log_files(&table).len(), 12);
        log.add(&batch(12), [""; 0]).unwrap();
        assert_eq!(log_files(&table).len(), 12, "a batch without files has no number");
    }

    #[test]
    fn complete_batches_that_are_older_than_the_log_are_in_it() {
        let table = made("sink-log-earlier", 0..5);
        for n in [0, 2] {
            std::fs::write(table.join(batch(n)).join("_SUCCESS"), "").unwrap();
        }
        std::fs::create_dir(table.join("batch-1.csv")).unwrap();
        std::fs::write(table.join("batch-1.csv/_SUCCESS"), "").unwrap();
        added(&table, 3..5);
        let files = ["batch-0.json/part-00000", "batch-2000.json/part-00000"].map(str::to_owned);
        assert_eq!(read(&table), [&files[..], &expected(3..5)].concat());
        assert_eq!(log_files(&table), ["0", "1", "2"]);
    }

    #[test]
    fn old_files_leave_the_log_and_needless_ones_of_it_the_disk() {
        let table = made("sink-log-retention", 0..30);
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000);
        let age = |path: PathBuf| File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        age(table.join(batch(7)).join("part-00000"));
        let mut log = FileStreamSinkLog::new(&*table).retention(Duration::from_secs(3_600));
        let mut add = |batches: std::ops::Range<u64>| batches.for_each(|n| log.add(&batch(n), ["part-00000"]).unwrap());
        add(0..9);
        assert!(read(&table).contains(&"batch-7000.json/part-00000".to_owned()));
        add(9..29);
        assert!(!read(&table).contains(&"batch-7000.json/part-00000".to_owned()));
        assert_eq!(read(&table).len(), 28);
        for name in log_files(&table) {
            age(table.join(FOLDER).join(name));
        }
        add(29..30);
        let names = log_files(&table);
        assert_eq!((names.len(), names[0].as_str(), names[10].as_str()), (11, "19.compact", "29.compact"));
        assert_eq!(read(&table).len(), 29);
    }

    /// Each process writes a batch that both have completed: the second one finds it, or writes the same.
    #[test]
    fn several_processes_write_one_log() {
        let table = made("sink-log-processes", 0..25);
        // Claims are of one process.
        let link = table.with_extension("other");
        std::os::unix::fs::symlink(&*table, &link).unwrap();
        let mut first = FileStreamSinkLog::new(&*table).of_process(0, 2);
        let mut second = FileStreamSinkLog::new(&link).of_process(1, 2);
        for n in 0..25 {
            let (one, two) = if n % 3 == 0 { (&mut first, &mut second) } else { (&mut second, &mut first) };
            one.add(&batch(n), ["part-00000"]).unwrap();
            if n % 2 == 0 {
                two.add(&batch(n), ["part-00000"]).unwrap();
            }
        }
        std::fs::remove_file(&link).unwrap();
        assert_eq!(log_files(&table).len(), 25);
        let files = FileStreamSinkLog::files(&*table).unwrap().unwrap();
        let names: Vec<_> = files.iter().map(|f| f.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, (0..25).map(batch).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wrong_with_a_log_is_said() {
        let table = made("sink-log-wrong", 0..4);
        let mut log = FileStreamSinkLog::new(&*table);
        let wrong = |result: Result<(), BoxError>| result.unwrap_err().to_string();
        assert!(wrong(log.add("words", ["part-00000"])).contains("name it as batch-5000"));
        assert!(wrong(log.add("batch-9", ["part-00000"])).contains("No such file"));
        log.add(&batch(0), ["part-00000"]).unwrap();
        assert!(
            wrong(FileStreamSinkLog::new(&*table).add(&batch(1), ["part-00000"]))
                .contains("another output of this process writes the log")
        );
        drop(log);
        let dir = table.join(FOLDER);
        let spark = std::fs::read_to_string(dir.join("0")).unwrap().replace("/batch-0.json", "");
        std::fs::write(dir.join("0"), &spark).unwrap();
        assert!(wrong(FileStreamSinkLog::new(&*table).add(&batch(1), ["part-00000"])).contains("choose one of its own"));
        assert_eq!(FileStreamSinkLog::files(&*table).unwrap().unwrap(), [table.join("part-00000")]);
        let deleted = spark.lines().nth(1).unwrap().replace("\"add\"", "\"delete\"");
        std::fs::write(dir.join("1"), format!("v1\n{deleted}")).unwrap();
        assert_eq!(FileStreamSinkLog::files(&*table).unwrap().unwrap(), [""; 0].map(PathBuf::from));
        let unreadable = || FileStreamSinkLog::files(&*table).unwrap_err().to_string();
        std::fs::write(dir.join("1"), "v2\n").unwrap();
        assert!(unreadable().contains("it begins with \"v2\""));
        std::fs::write(dir.join("1"), "v1\n{\"path\":3").unwrap();
        assert!(unreadable().contains("is not a line of it"));
        std::fs::write(dir.join("1"), format!("v1\n{}", spark.lines().nth(1).unwrap().replace("file:", "s3a:"))).unwrap();
        assert!(unreadable().contains("is not a file of a disk"));
        std::fs::rename(dir.join("1"), dir.join("2")).unwrap();
        assert!(unreadable().contains("batch 1 of the log is missing"));
    }

    #[test]
    fn a_path_is_a_uri_and_back() {
        for path in ["/data/out=1/batch-5.json/part-00000", "/a b/ü%/x:y?#", "/tmp/~x_y"] {
            let text = uri(Path::new(path));
            assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"?# ".contains(&b)), "{text}");
            assert_eq!(path_of(&text).unwrap(), Path::new(path));
        }
        assert_eq!(uri(Path::new("/a b/ü")), "file:///a%20b/%C3%BC");
        // As Hadoop writes local paths, and as old versions of Spark did.
        assert_eq!(path_of("file:/a%20b").unwrap(), Path::new("/a b"));
        assert_eq!(path_of("/a%zz").unwrap(), Path::new("/a%zz"));
        assert!(path_of("hdfs://name/x").is_err() && path_of("out/x").is_err());
    }

    #[test]
    fn the_time_of_a_batch_is_in_its_name() {
        assert_eq!(split_time("batch-5000"), Some(("batch-", 5_000, "")));
        assert_eq!(split_time("a-1-batch-5000.x-y"), Some(("a-1-batch-", 5_000, ".x-y")));
        assert_eq!((split_time("batch-5x"), split_time("batch-"), split_time("5000")), (None, None, None));
    }
}
