//! `text_file_stream`: lines of the files that appear in a directory. The enumerator watches, the readers read.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::context::StreamingContext;
use crate::connector::files::watch::{DirectoryWatch, FileStamp, Scan, list};
use crate::connector::source::{Emit, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange, Waker};
use crate::core::clock::{Clock, Time};
use crate::core::error::{Error, Result};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{BadLine, LINE_LIMIT, LINES_A_CALL, Line, Splitter};
use crate::operator::Decoded;
use crate::operator::decode::decoded_lines;

/// The minimum time a file must stay unchanged. File times are only accurate to some milliseconds.
const SETTLED: Duration = Duration::from_millis(100);
/// How long the enumerator remembers a file. Default of `remember`.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes per read.
const CHUNK: usize = 64 << 10;

/// A user's test of file names.
type Accept = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What [`text_file_stream_with`](StreamingContext::text_file_stream_with) reads: a directory, and which of its files.
///
/// ```
/// use tidemill::prelude::*;
/// let logs = TextFileSource::new("/var/log/web").existing(true).remember(mins(60)).accept(|name| name.ends_with(".log"));
/// assert!(format!("{logs:?}").contains("/var/log/web"));
/// ```
#[derive(Clone)]
#[must_use = "it describes what to read"]
pub struct TextFileSource {
    pub(super) dir: PathBuf,
    pub(super) existing: bool,
    pub(super) remember: Duration,
    pub(super) accept: Accept,
}

impl TextFileSource {
    /// Reads the files that appear in this directory after the job has started.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        TextFileSource { dir: dir.into(), existing: false, remember: REMEMBER, accept: Arc::new(|_| true) }
    }

    /// Whether to also read the files that exist at the start, of any age. Default: `false`.
    pub fn existing(mut self, read: bool) -> Self {
        self.existing = read;
        self
    }

    /// Maximum age of a file, by its modification time, when it appears. Default: one day. Older files are ignored, and files
    /// that were read are forgotten after that time. A job needs memory for each file of this age in the directory.
    pub fn remember(mut self, how_long: Duration) -> Self {
        self.remember = how_long;
        self
    }

    /// Reads only files whose name passes this test. Default: all, by the rules of
    /// [`text_file_stream`](StreamingContext::text_file_stream).
    pub fn accept(mut self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.accept = Arc::new(test);
        self
    }
}

impl fmt::Debug for TextFileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextFileSource { dir, existing, remember, accept: _ } = self;
        f.debug_struct("TextFileSource")
            .field("dir", dir)
            .field("existing", existing)
            .field("remember", remember)
            .finish_non_exhaustive()
    }
}

impl<'s> StreamingContext<'s> {
    /// The lines of the files that appear in a directory while the job runs. A batch has whole files, ordered by modification
    /// time, then name. Spark's `textFileStream`.
    ///
    /// - **New** means that the file did not exist when the job started, or has changed its size or time since.
    ///   [`TextFileSource::existing`] covers files that exist at the start.
    /// - **Ready** means that the file has bytes and stays unchanged for a batch interval (at least 100 ms): neither its size
    ///   nor its modification time changes. Preferably write a file elsewhere on the same file system and move it in. A file
    ///   that changes after it was planned is not read again: a warning names it. If it changes before it is read, the job
    ///   stops. If it is deleted before it is read, it becomes an error record (origin = path, no bytes) and a warning.
    /// - **Names** that begin with `.` or `_`, or end with `.tmp` or `._COPYING_`, are not read. Sub-directories are not read.
    ///   An entry that is not a plain file, or cannot be opened, is skipped, with one warning.
    /// - **Lines** end at LF, and a CR before it is not part of them. The last line needs no LF. Two kinds of lines are error
    ///   records: lines that are not UTF-8, and lines over 1 MiB (their first MiB; the rest is skipped). Their origin is the
    ///   path, their offset the first byte.
    /// - **Every process must see the directory** under the same path: each file is a split, and workers take turns. Process 0
    ///   lists the directory once a batch, which takes a few microseconds for each file in it.
    /// - **A batch** takes files up to [`batch_bytes`](crate::api::context::Builder::batch_bytes) for each worker, and at least
    ///   one file. The next batch takes the others.
    /// - **A graceful stop** reads the files that exist at that moment, in the last batches that they need. It waits at most a
    ///   batch interval for files that are not ready. A file that changes meanwhile is not read, and a warning names it. Files
    ///   that appear later are ignored.
    ///
    /// The directory must exist when the job starts: an error names it. If it disappears later, batches are empty.
    /// [`Statistics::trouble`](crate::metrics::Statistics::trouble) reports this until the directory exists again.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-files-{}", std::process::id()));
    /// std::fs::create_dir_all(&dir).unwrap();
    /// let (seen, watched) = (MemorySink::new(), dir.clone());
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("files", millis(50)).start(move |ssc| {
    ///     ssc.text_file_stream(&watched).oks().to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// while job.statistics().batches == 0 {
    ///     std::thread::yield_now();
    /// }
    /// std::fs::write(dir.join("a.log"), "to be\nor not\n").unwrap();
    /// while seen.rows().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully().unwrap();
    /// assert_eq!(seen.rows(), ["to be", "or not"]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    #[doc(alias = "textFileStream")]
    #[track_caller]
    pub fn text_file_stream(&self, dir: impl AsRef<Path>) -> Decoded<'s, String> {
        self.text_files_at(&OperatorId::of("text_file_stream"), TextFileSource::new(dir.as_ref()))
    }

    /// Like [`text_file_stream`](StreamingContext::text_file_stream), with the options of a [`TextFileSource`]. Spark's
    /// `fileStream`.
    ///
    /// ```no_run
    /// # use tidemill::prelude::*;
    /// StreamingContext::builder("web log", secs(5)).run(|ssc| {
    ///     ssc.text_file_stream_with(TextFileSource::new("/data/in").existing(true)).oks().count().print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "fileStream")]
    #[track_caller]
    pub fn text_file_stream_with(&self, files: TextFileSource) -> Decoded<'s, String> {
        self.text_files_at(&OperatorId::of("text_file_stream_with"), files)
    }

    fn text_files_at(&self, operator: &OperatorId, files: TextFileSource) -> Decoded<'s, String> {
        if let Err(e) = self.graph.config.apart(&files.dir, true) {
            self.graph.report(operator, e);
        }
        let settled = self.batch_interval().max(SETTLED);
        let batch_bytes = self.graph.config.batch_bytes.saturating_mul(self.graph.config.peers()) as u64;
        decoded_lines(&self.read(operator, &Directory { files, settled, batch_bytes }), operator)
    }
}

/// The source: the files to read, and its limits.
struct Directory {
    files: TextFileSource,
    /// How long a file must stay unchanged before it is planned.
    settled: Duration,
    /// Soft limit on the bytes of one batch, over all workers.
    batch_bytes: u64,
}

impl Source for Directory {
    type Item = Line;

    fn name(&self) -> String {
        format!("files of {}", self.files.dir.display())
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let wrong = |reason: String| Error::source(self.name(), reason);
        if self.files.dir.to_str().is_none() {
            return Err(wrong("the path is not UTF-8: plans could not hold it; read it through a link".into()));
        }
        std::fs::read_dir(&self.files.dir).map_err(|e| wrong(format!("the directory cannot be read: {e}")))?;
        let watch = DirectoryWatch::new(self.files.clone(), self.settled, self.batch_bytes);
        Ok(Box::new(FileEnumerator { watch, ready: Vec::new(), trouble: None, clock: Time::new(Clock::System) }))
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn SourceReader<Line>>> {
        Ok(Box::new(FileReader { name: self.name(), open: None, waker }))
    }
}

/// The planner's half.
struct FileEnumerator {
    watch: DirectoryWatch,
    /// The files that were ready when the drain began.
    ready: Vec<(String, FileStamp)>,
    trouble: Option<String>,
    clock: Time,
}

impl FileEnumerator {
    fn scan(&mut self) -> std::io::Result<Scan> {
        let dir = self.watch.files.dir.clone();
        let found = list(&dir)?;
        let opens = |name: &str| File::open(dir.join(name)).map(drop).map_err(|e| e.to_string());
        let now_ms = self.clock.now();
        let scan = self.watch.scan(found, Instant::now(), now_ms, opens);
        for warning in &scan.warnings {
            tracing::warn!(dir = %dir.display(), "{warning}");
        }
        Ok(scan)
    }
}

impl SplitEnumerator for FileEnumerator {
    /// Files that existed or were read earlier are not read again. Files that appeared meanwhile are read.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        let wrong = |e: postcard::Error| {
            Error::source(self.watch.files.dir.display().to_string(), format!("what was seen cannot be read: {e}"))
        };
        // A job that ended before its first checkpoint has no snapshot. Its plans tell which files it read.
        let (last_ms, mut seen): (u64, Vec<(String, u64, i64)>) = match snapshot {
            [] => (self.clock.now(), Vec::new()),
            snapshot => postcard::from_bytes(snapshot).map_err(wrong)?,
        };
        for start in read {
            let Split::File { path, size, modified_ms } = start.split else { continue };
            let name = Path::new(&*path).file_name().map(|n| n.to_string_lossy().into_owned());
            seen.extend(name.map(|name| (name, size, modified_ms)));
        }
        self.watch.restore(last_ms, seen);
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        crate::core::data::encoded(&(self.watch.last_ms, self.watch.seen().collect::<Vec<_>>()))
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        if !self.watch.started {
            self.watch.last_ms = self.clock.now();
        }
        let dir = self.watch.files.dir.display().to_string();
        self.scan().map_err(|e| Error::source(format!("files of {dir}"), format!("the directory cannot be read: {e}")))?;
        Ok(Vec::new())
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let scan = match std::mem::take(&mut self.ready) {
            ready if ready.is_empty() => self.scan(),
            ready => Ok(Scan { ready, ..Scan::default() }),
        };
        self.trouble = scan.as_ref().err().map(|e| format!("the directory cannot be read: {e}"));
        let dir = &self.watch.files.dir;
        let range = |(name, stamp): (String, FileStamp)| SplitRange {
            split: Split::File {
                path: dir.join(name).to_string_lossy().into(),
                size: stamp.size,
                modified_ms: stamp.modified_ms,
            },
            from: 0,
            until: stamp.size as i64,
        };
        Ok(scan.map_or_else(|_| Vec::new(), |scan| scan.ready.into_iter().map(range).collect()))
    }

    fn planned(&self) -> bool {
        true
    }

    fn health(&self) -> Result<(), String> {
        self.trouble.clone().map_or(Ok(()), Err)
    }

    fn begin_drain(&mut self) -> Duration {
        self.ready = self.scan().map_or_else(|_| Vec::new(), |scan| scan.ready);
        self.watch.begin_drain(Instant::now())
    }

    fn has_pending(&mut self) -> bool {
        let (pending, changed) = self.watch.pending(Instant::now());
        if !pending && !changed.is_empty() {
            let (dir, files) = (self.watch.files.dir.display(), changed.join(", "));
            tracing::warn!(%dir, files, "these files are not read: they changed while the stop of the job waited for them");
            self.watch.draining = Some(BTreeSet::new());
        }
        pending
    }
}

/// A range that is being read.
struct Open {
    range: SplitRange,
    path: Arc<str>,
    file: File,
    splitter: Splitter,
    at: i64,
}

/// The worker's half.
struct FileReader {
    name: String,
    open: Option<Open>,
    waker: Waker,
}

impl FileReader {
    fn error(&self, reason: String) -> Error {
        Error::source(self.name.as_str(), reason)
    }

    /// Opens the file of a range; `None`: it no longer exists.
    fn open(&self, range: &SplitRange) -> Result<Option<Open>> {
        let Split::File { path, size, modified_ms } = &range.split else {
            return Err(self.error(format!("the given range of {} is not a range of a file", range.split.name())));
        };
        let failed = |e: std::io::Error| self.error(format!("{path}: {e}"));
        let mut file = match File::open(&**path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let (planned, now) =
            (FileStamp { size: *size, modified_ms: *modified_ms }, FileStamp::of(&file.metadata().map_err(failed)?));
        if planned != now {
            return Err(self.error(format!(
                "{path} changed between the plan of its batch and its reading: {} bytes, changed at {} ms; now {} bytes, {} ms. \
                 Write files elsewhere and move them in",
                planned.size, planned.modified_ms, now.size, now.modified_ms
            )));
        }
        file.seek(SeekFrom::Start(range.from as u64)).map_err(failed)?;
        let splitter = Splitter::new(LINE_LIMIT).starting_at(range.from as u64);
        Ok(Some(Open { range: range.clone(), path: path.clone(), file, splitter, at: range.from }))
    }

    /// Reads on, until there are lines for one call or the range is complete.
    fn read_on(open: &mut Open) -> std::io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut chunk = [0; CHUNK];
        let mut chunks = 0;
        // 1 MiB of long lines also ends a call.
        while open.at < open.range.until && lines.len() < LINES_A_CALL && chunks < 16 {
            let wanted = (open.range.until - open.at).min(CHUNK as i64) as usize;
            let n = match open.file.read(&mut chunk[..wanted]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                n => n?,
            };
            if n == 0 {
                return Err(std::io::Error::other(format!(
                    "it ends at byte {}, before the {} of its plan",
                    open.at, open.range.until
                )));
            }
            let path = &open.path;
            open.splitter.feed(&chunk[..n], &mut |raw| lines.push(raw.line(path, raw.at as i64)));
            open.at += n as i64;
            chunks += 1;
        }
        if open.at >= open.range.until {
            let path = &open.path;
            open.splitter.finish(&mut |raw| lines.push(raw.line(path, raw.at as i64)));
        }
        Ok(lines)
    }
}

impl SourceReader<Line> for FileReader {
    fn assign(&mut self, _split_id: u32, _split: &Split, _from: Option<i64>) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _emit: &mut Emit<'_, Line>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _emit: &mut Emit<'_, Line>) -> Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Line>) -> Result<bool> {
        let mut open = match self.open.take().filter(|o| o.range == *range) {
            Some(open) => open,
            None => match self.open(range)? {
                Some(open) => open,
                None => {
                    let (origin, reason) = (range.split.name().clone(), "the file was gone before it was read".to_string());
                    tracing::warn!(path = %origin, "{reason}");
                    let bad = BadLine { origin, offset: range.from, raw: Vec::new(), reason };
                    emit(split_id, vec![Line::Bad(Box::new(bad))], 0);
                    return Ok(true);
                }
            },
        };
        let lines = Self::read_on(&mut open).map_err(|e| self.error(format!("{}: {e}", open.path)))?;
        let done = open.at >= open.range.until;
        if !done {
            self.open = Some(open);
            // Emitted rows cause the next call. Without rows, as inside a very long line, wake the worker here.
            (self.waker)();
        }
        let bytes = lines.iter().map(Line::bytes).sum();
        emit(split_id, lines, bytes);
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::memory::MemorySink;
    use crate::core::time::{millis, secs};
    use crate::testing::temp_dir::TempDir;

    /// Moves a whole file into a directory.
    fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let (hidden, path) = (dir.join(format!(".{name}")), dir.join(name));
        std::fs::write(&hidden, bytes).unwrap();
        std::fs::rename(hidden, &path).unwrap();
        path.to_str().unwrap().into()
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < secs(300), "waited too long until {what}");
            std::thread::sleep(millis(1));
        }
    }

    const SECOND: Duration = secs(1);

    /// A watch whose clocks a test moves: one scan a second.
    struct ManualWatch {
        watch: DirectoryWatch,
        begun: Instant,
        seconds: u64,
    }

    impl ManualWatch {
        fn new(files: TextFileSource, batch_bytes: u64) -> Self {
            let mut watch = DirectoryWatch::new(files, SECOND, batch_bytes);
            watch.last_ms = 1_000_000;
            ManualWatch { watch, begun: Instant::now(), seconds: 0 }
        }

        /// The ready files and the warnings of a scan over files of these sizes, changed at these seconds.
        fn scan(&mut self, files: &[(&str, u64, i64)]) -> (Vec<String>, Vec<String>) {
            self.scan_at(files, &[], &[])
        }

        fn scan_at(&mut self, files: &[(&str, u64, i64)], others: &[&str], closed: &[&str]) -> (Vec<String>, Vec<String>) {
            let plain = files.iter().map(|(n, size, s)| (n.to_string(), Ok(FileStamp { size: *size, modified_ms: s * 1_000 })));
            let others = others.iter().map(|n| (n.to_string(), Err("it is a directory".to_string())));
            let opens = |name: &str| if closed.contains(&name) { Err("permission denied".into()) } else { Ok(()) };
            let now = self.begun + SECOND * self.seconds as u32;
            let scan = self.watch.scan(plain.chain(others).collect(), now, 1_000_000 + self.seconds * 1_000, opens);
            self.seconds += 1;
            (scan.ready.into_iter().map(|(name, _)| name).collect(), scan.warnings)
        }

        fn ready(&mut self, files: &[(&str, u64, i64)]) -> Vec<String> {
            let (taken, warnings) = self.scan(files);
            assert_eq!(warnings, [""; 0]);
            taken
        }
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn a_stopping_job_reads_the_waiting_files_that_do_not_change() {
        let mut w = ManualWatch::new(TextFileSource::new("d"), 10);
        assert_eq!(w.ready(&[]), NONE);
        let (a, b, c) = (("a", 8, 1_001), ("b", 8, 1_001), ("c", 1, 1_001));
        assert_eq!(w.ready(&[a, b, c, ("empty", 0, 1_001)]), NONE);
        let now = |w: &ManualWatch| w.begun + SECOND * w.seconds as u32;
        let early = now(&w) - SECOND / 4;
        assert_eq!(w.watch.begin_drain(early), SECOND / 4, "until they are unchanged for a second");
        let (c, late) = (("c", 2, 1_002), ("late", 1, 1_001));
        assert_eq!(w.ready(&[a, b, c, late, ("empty", 0, 1_001)]), ["a"]);
        assert_eq!(w.watch.pending(now(&w) - SECOND), (true, vec!["c"]), "b is ready and did not fit");
        assert_eq!(w.scan(&[a, b, ("c", 3, 1_003), late]).0, ["b"]);
        assert_eq!(w.watch.pending(now(&w) - SECOND), (false, vec!["c"]), "it is being written");
    }

    #[test]
    fn f5_f6_new_files_are_read_once_they_stay_unchanged() {
        let mut w = ManualWatch::new(TextFileSource::new("d"), 1_000);
        let old = ("old", 5, 999);
        assert_eq!(w.ready(&[old]), NONE);
        assert_eq!(w.ready(&[old, ("b", 1, 1_001)]), NONE);
        assert_eq!(w.ready(&[old, ("b", 1, 1_001), ("a", 1, 1_001), ("empty", 0, 1_001)]), ["b"]);
        // Moved in with a time before the start. It did not exist at the start, so it is new.
        assert_eq!(w.ready(&[old, ("b", 1, 1_001), ("a", 1, 1_001), ("moved", 1, 500)]), ["a"]);
        assert_eq!(w.ready(&[("old", 6, 1_004), ("moved", 1, 500), ("empty", 0, 1_001)]), ["moved"]);
        assert_eq!(w.ready(&[("old", 6, 1_004), ("moved", 1, 500), ("empty", 0, 1_001)]), ["old"]);
        assert_eq!(w.ready(&[("empty", 3, 1_006)]), NONE);
        assert_eq!(w.ready(&[("empty", 3, 1_006)]), ["empty"]);
        // A deleted file that reappears is new.
        assert_eq!(w.ready(&[]), NONE);
        assert_eq!(w.ready(&[("empty", 3, 1_006)]), NONE);
        assert_eq!(w.ready(&[("empty", 3, 1_006)]), ["empty"]);
    }

    #[test]
    fn f5_a_growing_file_waits_and_a_file_that_grows_later_is_one_warning() {
        let mut w = ManualWatch::new(TextFileSource::new("d"), 1_000);
        assert_eq!(w.ready(&[]), NONE);
        for n in 1..5 {
            assert_eq!(w.ready(&[("g", n, 1_000)]), NONE, "it grows");
        }
        assert_eq!(w.ready(&[("g", 4, 1_001)]), NONE, "its time changed");
        assert_eq!(w.ready(&[("g", 4, 1_001)]), ["g"]);
        let (taken, warnings) = w.scan(&[("g", 9, 1_002)]);
        assert_eq!(taken, NONE);
        assert!(matches!(&warnings[..], [w] if w.contains("g changed after it was read (4 bytes then, 9 now)")), "{warnings:?}");
        assert_eq!(w.ready(&[("g", 10, 1_003)]), NONE, "the warning is not repeated");
    }

    #[test]
    fn f8_some_names_and_kinds_of_files_are_not_read() {
        let mut w = ManualWatch::new(TextFileSource::new("d").existing(true).accept(|n| n != "no"), 1_000);
        let files = [".h", "_SUCCESS", "a.tmp", "a._COPYING_", "no", "yes", "shut"].map(|n| (n, 1, 1));
        let (taken, warnings) = w.scan_at(&files, &["sub"], &["shut"]);
        assert_eq!(taken, NONE);
        assert_eq!(warnings, ["sub is not read: it is a directory"]);
        let (taken, warnings) = w.scan_at(&files, &["sub"], &["shut"]);
        assert_eq!(taken, ["yes"]);
        assert_eq!(warnings, ["shut is not read until it can be opened: permission denied"]);
        assert_eq!(w.scan_at(&files, &["sub"], &["shut"]), (vec![], vec![]), "the warning is not repeated");
        assert_eq!(w.ready(&files), ["shut"]);
    }

    #[test]
    fn a_batch_is_ordered_and_bounded_and_has_at_least_one_file() {
        let mut w = ManualWatch::new(TextFileSource::new("d").existing(true), 10);
        let files = [("c", 6, 1), ("b", 4, 2), ("a", 4, 2), ("big", 90, 3), ("z", 1, 4)];
        assert_eq!(w.ready(&files), NONE);
        assert_eq!(w.ready(&files), ["c", "a"], "10 bytes");
        assert_eq!(w.ready(&files), ["b"], "the big one does not fit, and nothing overtakes it");
        assert_eq!(w.ready(&files), ["big"]);
        assert_eq!(w.ready(&files), ["z"]);
        assert_eq!(w.ready(&files), NONE);
    }

    #[test]
    fn f6_old_files_are_forgotten_and_waiting_files_are_not() {
        let mut w = ManualWatch::new(TextFileSource::new("d").remember(secs(3)), 5);
        let at = |s: i64| 1_000 + s;
        assert_eq!(w.ready(&[("ancient", 1, 1)]), NONE);
        assert_eq!(w.watch.known.len(), 1);
        assert_eq!(w.ready(&[("ancient", 1, 1), ("a", 5, at(1)), ("b", 5, at(1))]), NONE);
        assert!(!w.watch.known.contains_key("ancient"), "older than is remembered");
        assert_eq!(w.ready(&[("a", 5, at(1)), ("b", 5, at(1)), ("late", 5, at(-9))]), ["a"]);
        w.seconds += 10;
        assert_eq!(
            w.ready(&[("a", 5, at(1)), ("b", 5, at(1)), ("new", 1, at(5))]),
            ["b"],
            "it did not fit into the previous batch"
        );
        assert_eq!(w.ready(&[("a", 5, at(1)), ("b", 5, at(1)), ("new", 1, at(5))]), ["new"], "it appeared before the late scan");
        assert_eq!(w.ready(&[("a", 5, at(1)), ("b", 5, at(1))]), NONE, "not read again");
        assert_eq!(w.watch.known.len(), 0);
    }

    fn reader() -> FileReader {
        FileReader { name: "files of d".into(), open: None, waker: Arc::new(|| ()) }
    }

    /// The whole file as a range, in its present version.
    fn range(path: &str) -> SplitRange {
        let stamp = FileStamp::of(&std::fs::metadata(path).unwrap());
        let split = Split::File { path: path.into(), size: stamp.size, modified_ms: stamp.modified_ms };
        SplitRange { split, from: 0, until: stamp.size as i64 }
    }

    fn read_all(range: &SplitRange) -> Result<(Vec<Line>, usize)> {
        let (mut reader, mut lines, mut calls) = (reader(), Vec::new(), 1);
        let mut emit = |split_id, rows: Vec<Line>, _| {
            assert_eq!(split_id, 7);
            assert!(rows.len() <= LINES_A_CALL + CHUNK);
            lines.extend(rows);
        };
        while !reader.read_range(7, range, &mut emit)? {
            calls += 1;
        }
        Ok((lines, calls))
    }

    #[test]
    fn f1_f2_a_range_is_read_in_short_calls_and_bad_lines_have_their_offset() {
        let dir = TempDir::made("files-reads");
        let text = "línea\r\n".repeat(50_000) + "last";
        let (lines, calls) = read_all(&range(&put(&dir, "long", &text))).unwrap();
        assert!(calls > 5, "{calls}");
        assert_eq!(lines.len(), 50_001);
        assert!(lines[..50_000].iter().all(|l| *l == Line::Text("línea".into())));
        assert_eq!(lines[50_000], Line::Text("last".into()));

        let path = put(&dir, "bad", [b"ok\n\xff\xfe\n", &[b'x'; 3 * LINE_LIMIT][..], b"\nend\n"].concat());
        let (lines, _) = read_all(&range(&path)).unwrap();
        let bad = |n: usize| match &lines[n] {
            Line::Bad(bad) => (&*bad.origin, bad.offset, bad.raw.len()),
            line => panic!("{line:?}"),
        };
        assert_eq!(lines.len(), 4);
        assert_eq!((bad(1), bad(2)), ((&*path, 3, 2), (&*path, 6, LINE_LIMIT)));
        assert_eq!(lines[3], Line::Text("end".into()));

        let part = SplitRange { from: 3, until: 6, ..range(&path) };
        let (lines, _) = read_all(&part).unwrap();
        assert!(matches!(&lines[..], [Line::Bad(bad)] if bad.offset == 3), "{lines:?}");
    }

    #[test]
    fn f7_a_file_that_changed_after_its_plan_stops_the_job_and_a_deleted_one_does_not() {
        let dir = TempDir::made("files-changes");
        let path = put(&dir, "f", "abc\n");
        let planned = range(&path);
        std::fs::write(&path, "abc\ndef\n").unwrap();
        let e = read_all(&planned).unwrap_err().to_string();
        assert!(e.contains(&path) && e.contains("4 bytes") && e.contains("now 8 bytes"), "{e}");
        let longer = SplitRange { until: 99, ..range(&path) };
        let e = read_all(&longer).unwrap_err().to_string();
        assert!(e.contains(&path) && e.contains("ends at byte 8"), "{e}");
        std::fs::remove_file(&path).unwrap();
        let (lines, _) = read_all(&planned).unwrap();
        assert!(
            matches!(&lines[..], [Line::Bad(bad)] if *bad.origin == *path && bad.offset == 0 && bad.reason.contains("gone")),
            "{lines:?}"
        );
        let e = read_all(&SplitRange { split: Split::Received { from: "x:1".into() }, ..planned }).unwrap_err().to_string();
        assert!(e.contains("x:1"), "{e}");
    }

    #[test]
    fn f8_each_kind_of_directory_entry_is_recognised() {
        let dir = TempDir::made("files-kinds");
        put(&dir, "plain", "x");
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
        std::os::unix::fs::symlink("plain", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap().success());
        let mut found = list(&dir).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let sizes: Vec<_> = found.iter().map(|(name, s)| (name.as_str(), s.as_ref().map(|s| s.size).ok())).collect();
        let expected = [
            ("dangling", None),
            ("link", Some(1)),
            ("loop", None),
            ("pipe", None),
            ("plain", Some(1)),
            ("socket", None),
            ("sub", None),
        ];
        assert_eq!(sizes, expected);
        assert!(found[5].1.as_ref().unwrap_err().contains("not a plain file"));
        assert!(found[6].1.as_ref().unwrap_err().contains("sub-directories"));
    }

    #[test]
    fn f11_a_job_continues_after_its_directory_was_missing() {
        let dir = TempDir::made("files-job");
        put(&dir, "old", "old\n");
        let (oks, errors) = (MemorySink::new(), MemorySink::new());
        let (watched, good, bad) = (dir.to_path_buf(), oks.clone(), errors.clone());
        let job = StreamingContext::builder("files", millis(20)).workers(2).start(move |ssc| {
            let lines = ssc.text_file_stream(&watched);
            lines.oks().to_memory(&good);
            lines.errors().to_memory(&bad);
            Ok(())
        });
        let job = job.unwrap();
        until("the job runs", || job.statistics().batches > 0);
        let path = put(&dir, "new", b"a\r\n\xff\nb");
        put(&dir, "_hidden", "hidden\n");
        until("the file is read", || oks.rows().len() == 2);
        // The directory disappears and returns with another file.
        let aside = dir.with_extension("aside");
        std::fs::rename(&*dir, &aside).unwrap();
        until("the trouble is reported", || job.statistics().trouble.iter().any(|t| t.contains("cannot be read")));
        std::fs::rename(&aside, &*dir).unwrap();
        put(&dir, "newer", "c\n");
        until("the next file is read", || oks.rows().len() == 3);
        until("no trouble is reported", || job.statistics().trouble.is_empty());
        job.stop_gracefully().unwrap();
        assert_eq!(oks.rows(), ["a", "b", "c"]);
        let errors = errors.rows();
        assert_eq!(errors.len(), 1);
        assert_eq!((&errors[0].origin, errors[0].offset, &errors[0].raw[..]), (&path, 3, &b"\xff"[..]));
    }

    #[test]
    fn a_graceful_stop_reads_all_existing_files_in_several_batches() {
        for workers in [1, 2] {
            let dir = TempDir::made(&format!("files-stop-{workers}"));
            let (seen, watched) = (MemorySink::new(), dir.to_path_buf());
            let out = seen.clone();
            // 16 bytes a batch: two files.
            let builder = StreamingContext::builder("files", millis(300)).workers(workers).batch_bytes(16 / workers as usize);
            let job = builder.start(move |ssc| {
                ssc.text_file_stream(&watched).oks().to_memory(&out);
                Ok(())
            });
            let job = job.unwrap();
            until("the job runs", || job.statistics().batches > 0);
            let lines: Vec<String> = (0..5).map(|n| format!("line  {n}")).collect();
            lines.iter().for_each(|line| drop(put(&dir, line, format!("{line}\n"))));
            job.stop_gracefully().unwrap();
            assert_eq!(seen.rows(), lines);
            assert!(seen.batches().iter().filter(|(_, rows)| !rows.is_empty()).count() >= 3, "two files a batch");
        }
    }

    #[test]
    fn existing_files_are_read_in_order_of_time_on_any_number_of_workers() {
        for workers in [1, 2, 4] {
            let dir = TempDir::made(&format!("files-order-{workers}"));
            let now = std::time::SystemTime::now();
            for (name, age) in [("a", 10), ("b", 30), ("c", 20), ("d", 20), ("e", 99_999_999)] {
                let path = put(&dir, name, format!("{name}1\n{name}2\n"));
                let changed = now - secs(age);
                File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
            }
            // Modified last, so read last; and longer than one call.
            put(&dir, "long", [&vec![b'x'; 4 * LINE_LIMIT][..], b"\nend\n"].concat());
            let (seen, watched) = (MemorySink::new(), dir.to_path_buf());
            let out = seen.clone();
            let job = StreamingContext::builder("files", millis(20)).workers(workers).start(move |ssc| {
                ssc.text_file_stream_with(TextFileSource::new(&watched).existing(true)).oks().to_memory(&out);
                Ok(())
            });
            let job = job.unwrap();
            until("all is read", || seen.rows().len() >= 11);
            job.stop_gracefully().unwrap();
            let mut rows = seen.rows();
            assert_eq!(rows.pop().unwrap(), "end");
            let names: Vec<String> = rows.chunks(2).map(|two| two[0].replace('1', "")).collect();
            assert_eq!(names, ["e", "b", "c", "d", "a"]);
        }
    }

    #[test]
    fn f11_a_missing_directory_is_an_error_at_the_start() {
        let dir = std::env::temp_dir().join(format!("tidemill-files-{}-nowhere", std::process::id()));
        let text = dir.display().to_string();
        let job = StreamingContext::builder("files", secs(1)).start(move |ssc| {
            ssc.text_file_stream(&dir).oks().print(1);
            Ok(())
        });
        let e = job.err().unwrap().to_string();
        assert!(e.contains(&text) && e.contains("text_file_stream"), "{e}");
    }
}
