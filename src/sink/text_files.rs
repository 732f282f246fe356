//! `save_as_text_files`: each batch as a directory of text files, whole when it has `_SUCCESS`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::data::Exchange;
use crate::dstream::{Case, DStream};
use crate::error::BoxError;
use crate::flow::Site;
use crate::operator::attach::{SHARDS, row_text};
use crate::sink::Part;
use crate::time::BatchTime;

impl<'s, T: Exchange + Debug> DStream<'s, T> {
    /// Writes each batch into a directory of its own, `prefix-MILLISECONDS.suffix`, or `prefix-MILLISECONDS` for an empty
    /// suffix: `out/msg-1526239245000.log`. Spark's `saveAsTextFiles`.
    ///
    /// - **Files** are `part-00000` and so on: one for each lane of the source (a Kafka partition, a file, a socket), for each
    ///   of the 8 shards of a stream that was exchanged by key, or one for a sequence (`count`, `sort_by`). What has no rows
    ///   has no file. A row is its text as `print` shows it (a string as it is, any other as `{:?}`) and LF; a text with line
    ///   ends in it gives several lines. Rows are in the order of the source; of shards, in the order of their text.
    /// - **An empty batch** is a directory with `_SUCCESS` alone.
    /// - **`_SUCCESS`**, an empty file, comes last: the batch is whole. Parts are written as `.part-00000.tmp` and renamed, so a
    ///   part is whole as soon as it has its name. Nothing is synced to the disk: after a power cut a batch may be damaged.
    /// - **Several processes** each write the parts of their own workers: `prefix` must lie on a file system that they share.
    ///   Each leaves a `.done-PROCESS-of-PROCESSES`, and the one that is last writes `_SUCCESS`. Without a shared file system
    ///   each has its own parts and `_SUCCESS` never comes.
    /// - **A directory that is there already**, from another run, is overwritten, with one warning: its `_SUCCESS` goes first,
    ///   and, in a job of one process, so do its parts. In a job of several, parts that this batch does not have stay.
    ///
    /// An error names the path and is tried again with the same batch, which writes the same files; then the job stops.
    /// Directories above the batch's are made when the first batch comes. Two streams must not have the same prefix and
    /// suffix: the second one's first batch is an error.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-save-{}", std::process::id()));
    /// let prefix = dir.join("words").display().to_string();
    /// let queue = Queue::from_batches([vec!["to".to_owned(), "be".to_owned()]]);
    /// StreamingContext::builder("save", secs(1)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).save_as_text_files(&prefix, "txt");
    ///     Ok(())
    /// }).unwrap();
    /// let batch = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    /// assert!(batch.file_name().unwrap().to_str().unwrap().ends_with("000.txt"));
    /// assert_eq!(std::fs::read_to_string(batch.join("part-00000")).unwrap(), "to\nbe\n");
    /// assert!(batch.join("_SUCCESS").exists());
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    #[doc(alias = "saveAsTextFiles")]
    #[track_caller]
    pub fn save_as_text_files(&self, prefix: impl AsRef<Path>, suffix: impl AsRef<str>) {
        let site = Site::of("save_as_text_files");
        let graph = &self.node.graph;
        let (prefix, suffix) = (prefix.as_ref(), suffix.as_ref());
        for problem in [check_prefix(prefix), check_suffix(suffix)].into_iter().filter_map(Result::err) {
            graph.problem(&site, problem);
        }
        let mut saver = Saver {
            prefix: prefix.into(),
            suffix: suffix.into(),
            process: graph.config.runtime.process,
            processes: graph.config.runtime.processes,
            bags: self.node.cases.iter().map(|c| matches!(c, Case::Bag { .. })).collect(),
            claim: None,
            begun: None,
            warned: false,
        };
        self.attach_spread(&site, "save_as_text_files", Some(SHARDS), move |plan, parts| saver.write(plan.time, parts));
    }
}

/// Whether there is, or can be, a directory for the batches: the nearest one above that exists must be a directory.
fn check_prefix(prefix: &Path) -> Result<(), String> {
    if prefix.as_os_str().is_empty() {
        return Err("the prefix is empty: write one as out/words".into());
    }
    match prefix.ancestors().skip(1).find(|a| a.exists()) {
        Some(above) if !above.is_dir() => {
            Err(format!("prefix {}: {} is no directory, so none can be made in it", prefix.display(), above.display()))
        }
        _ => Ok(()),
    }
}

fn check_suffix(suffix: &str) -> Result<(), String> {
    if suffix.contains('/') {
        return Err(format!("suffix \"{suffix}\": it is the end of a directory's name, as log, and must not hold '/'"));
    }
    Ok(())
}

/// Prefixes and suffixes that outputs of this process write to.
static CLAIMS: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// The right to write under a prefix and suffix: one output has it at a time.
struct Claim(PathBuf, String);

impl Claim {
    fn new(prefix: &Path, suffix: &str) -> Result<Self, BoxError> {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.iter().any(|(p, s)| p == prefix && s == suffix) {
            let prefix = prefix.display();
            return Err(format!("another output of this process saves under prefix {prefix}, suffix \"{suffix}\" too").into());
        }
        claims.push((prefix.into(), suffix.into()));
        Ok(Claim(prefix.into(), suffix.into()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|(p, s)| *p != self.0 || *s != self.1);
    }
}

/// What writes the batches of one output in one process.
struct Saver {
    prefix: PathBuf,
    suffix: String,
    process: u16,
    processes: u16,
    /// For each leaf of a union, whether its rows have no order of their own.
    bags: Vec<bool>,
    claim: Option<Claim>,
    /// The batch that was tried last.
    begun: Option<BatchTime>,
    warned: bool,
}

impl Saver {
    fn write<T: Debug + 'static>(&mut self, time: BatchTime, parts: &[Part<T>]) -> Result<(), BoxError> {
        if self.claim.is_none() {
            self.claim = Some(Claim::new(&self.prefix, &self.suffix)?);
        }
        let dir = self.dir(time);
        at(&dir, std::fs::create_dir_all(&dir))?;
        let other = self.clear(&dir)?;
        let again = self.begun.replace(time) == Some(time);
        if other && !again && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(dir = %dir.display(), "the directory has a batch of another run, which is overwritten; said once");
        }
        // Lanes of a union may have one number: they are one file.
        let mut files: BTreeMap<u32, Vec<&T>> = BTreeMap::new();
        for part in parts.iter().filter(|p| !p.rows.is_empty()) {
            files.entry(part.number).or_default().extend(&part.rows);
        }
        for (number, rows) in files {
            let mut rows: Vec<String> = rows.into_iter().map(row_text).collect();
            let side = if self.bags.len() == 1 { 0 } else { (number >> 16) as usize };
            if self.bags.get(side) == Some(&true) {
                rows.sort_unstable();
            }
            write_part(&dir, number, &rows)?;
        }
        self.succeed(&dir)
    }

    fn dir(&self, time: BatchTime) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(format!("-{}", time.millis()));
        if !self.suffix.is_empty() {
            name.push(format!(".{}", self.suffix));
        }
        name.into()
    }

    fn done(&self, process: u16) -> String {
        format!(".done-{process}-of-{}", self.processes)
    }

    /// Takes away what says that the batch is whole, then, where nobody else writes, its parts. Returns whether there was any.
    fn clear(&self, dir: &Path) -> Result<bool, BoxError> {
        let mut any = false;
        let first = [dir.join("_SUCCESS"), dir.join(self.done(self.process))];
        let mut parts = Vec::new();
        if self.processes == 1 {
            for entry in at(dir, std::fs::read_dir(dir))? {
                let path = at(dir, entry)?.path();
                parts.extend(path.file_name().and_then(|n| n.to_str()).is_some_and(is_part).then_some(path));
            }
        }
        for path in first.into_iter().chain(parts) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                removed => {
                    at(&path, removed)?;
                    any = true;
                }
            }
        }
        Ok(any)
    }

    /// Says that the batch is whole, if it is.
    fn succeed(&self, dir: &Path) -> Result<(), BoxError> {
        if self.processes > 1 {
            let mine = dir.join(self.done(self.process));
            at(&mine, File::create(&mine))?;
            if !(0..self.processes).all(|p| dir.join(self.done(p)).exists()) {
                return Ok(());
            }
        }
        let success = dir.join("_SUCCESS");
        at(&success, File::create(&success)).map(drop)
    }
}

/// An error with the path it is about.
fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, BoxError> {
    result.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Whether this is the name of a part, or of one that was being written.
fn is_part(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")).unwrap_or(name);
    name.strip_prefix("part-").is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()))
}

fn write_part(dir: &Path, number: u32, rows: &[String]) -> Result<(), BoxError> {
    let (hidden, part) = (dir.join(format!(".part-{number:05}.tmp")), dir.join(format!("part-{number:05}")));
    let mut file = BufWriter::new(at(&hidden, File::create(&hidden))?);
    for row in rows {
        at(&hidden, file.write_all(row.as_bytes()).and_then(|()| file.write_all(b"\n")))?;
    }
    at(&hidden, file.flush())?;
    at(&part, std::fs::rename(&hidden, &part))
}
