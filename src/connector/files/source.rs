//! `text_file_stream`: lines of the files that appear in a directory. The enumerator watches, the readers read.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::StreamingContext;
use crate::connector::files::content::{Content, is_damage};
use crate::connector::files::identity::{FileStamp, Found, Head, list, renamed};
use crate::connector::files::saved;
use crate::connector::files::watch::{DirectoryWatch, Scan};
use crate::connector::source::{
    Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange, Waker,
};
use crate::core::clock::{Clock, Time};
use crate::core::error::{Error, Result};
use crate::core::path::{explained, local};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{BadLine, LINES_A_CALL, Line, Raw, Splitter};
use crate::operator::Decoded;
use crate::operator::decode::decoded_lines;

/// The minimum time a file must stay unchanged. File times are only accurate to some milliseconds.
const SETTLED: Duration = Duration::from_millis(100);
/// And at most this time, however long the batch interval is: a graceful stop waits for young files.
const SETTLED_AT_MOST: Duration = Duration::from_secs(10);
/// How long the enumerator remembers a file that left the directory. Default of `remember`.
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

    /// How long the job remembers a file that left the directory. If it returns in this time, it is not read again. Default: one
    /// day. A file that stays in the directory is never forgotten, whatever its age: a job needs about 200 bytes for each.
    ///
    /// A job that ended before its first checkpoint does not know which files existed when it was first started. When it starts
    /// again, it reads those that changed less than this time ago, and warns of the others.
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
    /// - **New** means that the file did not exist when `start` or `run` was called, or has changed its size or time since.
    ///   Its modification time may be old. [`TextFileSource::existing`] covers files that exist at the start.
    /// - **The name does not identify a file.** A renamed file (`app.log` is now `app.log.1`) is not read again. A new file
    ///   under an old name is read. Files are distinguished by inode, time of creation, and the hash of their first 4 KiB. A hard
    ///   link to a file of the directory is skipped, with a warning. A copy is another file.
    /// - **Ready** means that the file has bytes, and that its size and modification time stay unchanged for a batch interval (at least
    ///   100 ms, at most 10 s). Preferably write a file elsewhere on the same file system and move it in. A file
    ///   that changes after it was planned is not read again: a warning names it. If it changes before it is read, the job
    ///   stops. If it is deleted before it is read, it becomes an error record (origin = path, no bytes) and a warning.
    /// - **Names** that begin with `.` or `_`, or end with `.tmp` or `._COPYING_`, are not read. Sub-directories are not read.
    ///   An entry that is not a plain file, or cannot be opened, is skipped, with one warning.
    /// - **Lines** end at LF, and a CR before it is not part of them. The last line needs no LF. A byte order mark at the
    ///   beginning is not part of the first line. Two kinds of lines are error records: lines that are not UTF-8, and lines over
    ///   [`max_line_bytes`](crate::api::builder::Builder::max_line_bytes) (only their beginning; the rest is skipped). Their
    ///   origin is the path, their offset the first byte.
    /// - **A gzip file** is unpacked, whatever its name. Its size is that on the disk; offsets of its lines count bytes of the
    ///   text. A file that is damaged, or is UTF-16, becomes an error record, after the lines before the damage.
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

    pub(super) fn text_files_at(&self, operator: &OperatorId, files: TextFileSource) -> Decoded<'s, String> {
        let config = &self.graph.config;
        let dir = local(&files.dir).unwrap_or_else(|e| {
            self.graph.report(operator, e);
            files.dir.clone()
        });
        if let Err(e) = config.apart(&dir, true) {
            self.graph.report(operator, e);
        }
        let settled = self.batch_interval().clamp(SETTLED, SETTLED_AT_MOST);
        let batch_bytes = config.batch_bytes.saturating_mul(config.peers()) as u64;
        let directory = Directory {
            files: TextFileSource { dir, ..files },
            settled,
            batch_bytes,
            line_limit: config.max_line_bytes,
            clock: config.clock.clone(),
        };
        decoded_lines(&self.read(operator, directory), operator)
    }
}

/// The source: the files to read, and its limits.
struct Directory {
    files: TextFileSource,
    /// How long a file must stay unchanged before it is planned.
    settled: Duration,
    /// Soft limit on the bytes of one batch, over all workers.
    batch_bytes: u64,
    line_limit: usize,
    clock: Clock,
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
        let dir = &self.files.dir;
        let at_start = list(dir).map_err(|e| wrong(format!("the directory cannot be read: {}", explained(dir, e))))?;
        let watch = DirectoryWatch::new(self.files.clone(), self.settled, self.batch_bytes);
        let clock = Time::new(self.clock.clone());
        Ok(Box::new(FileEnumerator { watch, at_start: Some(at_start), ready: Vec::new(), trouble: None, clock }))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Line>>> {
        Ok(Box::new(FileReader { name: self.name(), line_limit: self.line_limit, open: None, waker: context.waker().clone() }))
    }
}

/// The planner's half.
struct FileEnumerator {
    watch: DirectoryWatch,
    /// The directory when the job was started, for the first scan. A file that appears later is new.
    at_start: Option<Vec<Found>>,
    /// The files that were ready when the drain began.
    ready: Vec<(String, FileStamp)>,
    trouble: Option<String>,
    clock: Time,
}

impl FileEnumerator {
    fn scan(&mut self) -> std::io::Result<Scan> {
        let dir = self.watch.files.dir.clone();
        let found = self.at_start.take().map_or_else(|| list(&dir), Ok)?;
        let heads = |name: &str, len| Head::read(&dir.join(name), len).map_err(|e| e.to_string());
        let scan = self.watch.scan(found, self.clock.now(), &heads);
        for warning in &scan.warnings {
            tracing::warn!(dir = %dir.display(), "{warning}");
        }
        Ok(scan)
    }
}

impl SplitEnumerator for FileEnumerator {
    /// Files that existed or were read earlier are not read again. Files that appeared meanwhile are read.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        saved::restore(&mut self.watch, snapshot, &read, self.clock.now()).map_err(|e| {
            let dir = self.watch.files.dir.display().to_string();
            Error::source(dir, format!("the list of files in the checkpoint cannot be read: {e}"))
        })
    }

    fn snapshot(&self) -> Vec<u8> {
        saved::snapshot(&self.watch)
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
        self.watch.begin_drain(self.clock.now())
    }

    fn has_pending(&mut self) -> bool {
        let (pending, changed) = self.watch.pending(self.clock.now());
        if !pending && !changed.is_empty() {
            let (dir, files) = (self.watch.files.dir.display(), changed.join(", "));
            tracing::warn!(%dir, files, "these files are not read: they changed while the stop of the job waited for them");
            self.watch.end_drain();
        }
        pending
    }
}

/// A range that is being read.
struct Open {
    range: SplitRange,
    path: Arc<str>,
    content: Content,
    splitter: Splitter,
    done: bool,
}

/// The worker's half.
struct FileReader {
    name: String,
    line_limit: usize,
    open: Option<Open>,
    waker: Waker,
}

impl FileReader {
    fn error(&self, reason: String) -> Error {
        Error::source(self.name.as_str(), reason)
    }

    /// Finds and opens the file of a range, also under a new name.
    ///
    /// # Errors
    /// Inside: it no longer exists, or is not text. Outside: an error that must end the job.
    fn open(&self, range: &SplitRange) -> Result<std::result::Result<Open, String>> {
        let Split::File { path, size, modified_ms } = &range.split else {
            return Err(self.error(format!("the given range of {} is not a range of a file", range.split.name())));
        };
        let planned = FileStamp { size: *size, modified_ms: *modified_ms };
        let version = |path: &Path| -> std::io::Result<(File, FileStamp)> {
            let file = File::open(path)?;
            let now = FileStamp::of(&file.metadata()?);
            Ok((file, now))
        };
        let opened = version(Path::new(&**path));
        // The planned version may have another name by now: a log was rotated.
        let found = match &opened {
            Ok((_, now)) if *now == planned => None,
            _ => renamed(Path::new(&**path), planned),
        };
        let (file, now) = match found.map(|path| version(&path)).filter(|found| found.is_ok()).unwrap_or(opened) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Err("the file was gone before it was read".into())),
            opened => opened.map_err(|e| self.error(format!("{path}: {e}")))?,
        };
        if planned != now {
            return Err(self.error(format!(
                "{path} changed between the plan of its batch and its reading: {} bytes, changed at {} ms; now {} bytes, {} ms. \
                 Write files elsewhere and move them in",
                planned.size, planned.modified_ms, now.size, now.modified_ms
            )));
        }
        match self.begin(range, path, file) {
            Ok(open) => Ok(Ok(open)),
            Err(e) if is_damage(&e) => Ok(Err(e.to_string())),
            Err(e) => Err(self.error(format!("{path}: {e}"))),
        }
    }

    fn begin(&self, range: &SplitRange, path: &Arc<str>, file: File) -> std::io::Result<Open> {
        let content = Content::open(file, range.from)?;
        let splitter = Splitter::new(self.line_limit).starting_at(content.at as u64);
        Ok(Open { range: range.clone(), path: path.clone(), content, splitter, done: false })
    }

    /// Reads on, until there are lines for one call or the range is complete.
    fn read_on(open: &mut Open, lines: &mut Vec<Line>) -> std::io::Result<()> {
        let Open { range, path, content, splitter, done } = open;
        let mut each = |raw: Raw<'_>| lines.push(raw.line(path, raw.at as i64));
        let mut chunk = [0; CHUNK];
        let (mut chunks, mut given) = (0, 0);
        // 1 MiB of long lines also ends a call.
        while given < LINES_A_CALL && chunks < 16 {
            let left = if content.packed { CHUNK } else { (range.until - content.at).clamp(0, CHUNK as i64) as usize };
            let n = match content.text.read(&mut chunk[..left]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                n => n?,
            };
            if n == 0 {
                if left > 0 && !content.packed {
                    let (at, until) = (content.at, range.until);
                    return Err(std::io::Error::other(format!("it ends at byte {at}, before the {until} of its plan")));
                }
                splitter.finish(&mut each);
                *done = true;
                return Ok(());
            }
            splitter.feed(&chunk[..n], &mut |raw| {
                given += 1;
                each(raw);
            });
            content.at += n as i64;
            chunks += 1;
        }
        Ok(())
    }
}

/// An error record in the place of a file, or of its rest.
fn unreadable(path: &Arc<str>, offset: i64, reason: String) -> Line {
    tracing::warn!(%path, "{reason}");
    Line::Bad(Box::new(BadLine { origin: path.clone(), offset, raw: Vec::new(), reason }))
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
                Ok(open) => open,
                Err(reason) => {
                    emit(split_id, vec![unreadable(range.split.name(), range.from, reason)], 0);
                    return Ok(true);
                }
            },
        };
        let mut lines = Vec::new();
        match Self::read_on(&mut open, &mut lines) {
            Ok(()) => {}
            Err(e) if is_damage(&e) => {
                lines.push(unreadable(&open.path, open.content.at, format!("the file is damaged from here on: {e}")));
                open.done = true;
            }
            Err(e) => return Err(self.error(format!("{}: {e}", open.path))),
        }
        let done = open.done;
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
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Instant;

    use super::*;
    use crate::connector::files::identity::FileVersion;
    use crate::connector::memory::MemorySink;
    use crate::core::time::{millis, secs};
    use crate::format::lines::LINE_LIMIT;
    use crate::job::ManualClock;
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

    fn reader() -> FileReader {
        FileReader { name: "files of d".into(), line_limit: LINE_LIMIT, open: None, waker: Arc::new(|| ()) }
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
        assert!(lines[..50_000].iter().all(|l| matches!(l, Line::Text(text, _) if text == "línea")));
        assert_eq!(lines[50_000], Line::Text("last".into(), 50_000 * 8));

        let path = put(&dir, "bad", [b"ok\n\xff\xfe\n", &[b'x'; 3 * LINE_LIMIT][..], b"\nend\n"].concat());
        let (lines, _) = read_all(&range(&path)).unwrap();
        let bad = |n: usize| match &lines[n] {
            Line::Bad(bad) => (&*bad.origin, bad.offset, bad.raw.len()),
            line => panic!("{line:?}"),
        };
        assert_eq!(lines.len(), 4);
        assert_eq!((bad(1), bad(2)), ((&*path, 3, 2), (&*path, 6, LINE_LIMIT)));
        assert_eq!(lines[3], Line::Text("end".into(), 6 + 3 * LINE_LIMIT as i64 + 1));

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
    fn f7_a_file_that_was_renamed_after_its_plan_is_read() {
        let dir = TempDir::made("files-rotated");
        let path = put(&dir, "app.log", "abc\n");
        let planned = range(&path);
        std::fs::rename(&path, dir.join("app.log.1")).unwrap();
        let read = |planned| read_all(planned).map(|(lines, _)| lines);
        assert_eq!(read(&planned).unwrap(), [Line::Text("abc".into(), 0)]);
        put(&dir, "app.log", "the next\n");
        assert_eq!(read(&planned).unwrap(), [Line::Text("abc".into(), 0)]);
        // Two files of this version: nothing tells which one was planned.
        let time = std::fs::metadata(dir.join("app.log.1")).unwrap().modified().unwrap();
        File::options().write(true).open(put(&dir, "other", "xyz\n")).unwrap().set_modified(time).unwrap();
        assert!(read(&planned).unwrap_err().to_string().contains("changed between the plan"));
    }

    #[test]
    fn f9_gzip_and_byte_order_marks_are_read_as_text() {
        let dir = TempDir::made("files-content");
        let packed = |text: &str| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap()
        };
        // Positions are those of other tests.
        let without_place = |line| if let Line::Text(text, _) = line { Line::Text(text, 0) } else { line };
        let read = |name: &str, bytes: Vec<u8>| read_all(&range(&put(&dir, name, bytes))).unwrap().0;
        let lines = |name: &str, bytes| read(name, bytes).into_iter().map(without_place).collect::<Vec<_>>();
        let texts = |texts: &[&str]| texts.iter().map(|t| Line::Text((*t).into(), 0)).collect::<Vec<_>>();
        assert_eq!(lines("bom", b"\xef\xbb\xbfa\r\nb".to_vec()), texts(&["a", "b"]));
        assert_eq!(lines("only-bom", b"\xef\xbb\xbf".to_vec()), texts(&[]));
        assert_eq!(lines("short", b"a".to_vec()), texts(&["a"]));
        let long = "tide\n".repeat(100_000);
        let members = [packed("\u{feff}one\ntwo\n"), packed(&long)].concat();
        let read = lines("two-members.log", members.clone());
        assert_eq!((read.len(), &read[..3]), (100_002, &texts(&["one", "two", "tide"])[..]));
        assert_eq!(lines("empty.gz", packed("")), texts(&[]));

        let bad = |lines: &[Line]| match lines.last() {
            Some(Line::Bad(bad)) => (bad.offset, bad.reason.clone()),
            line => panic!("{line:?}"),
        };
        let cut = lines("cut.gz", members[..members.len() - 20].to_vec());
        assert_eq!(cut[..3], texts(&["one", "two", "tide"]));
        let (offset, reason) = bad(&cut);
        assert!(offset > 11 && reason.contains("damaged from here on"), "{offset}: {reason}");
        let (offset, reason) = bad(&lines("utf-16", b"\xff\xfea\0\n\0".to_vec()));
        assert!(offset == 0 && reason.contains("UTF-16"), "{reason}");
        let part = SplitRange { from: 5, ..range(&put(&dir, "part.gz", packed("abc\n"))) };
        let (_, reason) = bad(&read_all(&part).unwrap().0);
        assert!(reason.contains("gzip") && reason.contains("from its beginning"), "{reason}");
    }

    #[test]
    fn f6_a_name_is_not_an_identity() {
        let dir = TempDir::made("files-identity");
        let version = |name: &str| -> FileVersion {
            let found = list(&dir).unwrap();
            *found.iter().find(|(n, _)| n == name).unwrap().1.as_ref().unwrap()
        };
        put(&dir, "a", "abc\n");
        let first = version("a");
        std::fs::rename(dir.join("a"), dir.join("a.1")).unwrap();
        put(&dir, "a", "abc\n");
        std::fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
        assert_eq!((version("a.1"), version("b")), (first, version("a")));
        assert_ne!(version("a").id, first.id);
        let head = Head::read(&dir.join("a"), Head::MAX).unwrap();
        File::options().append(true).open(dir.join("a")).unwrap().write_all(b"more\n").unwrap();
        assert_eq!(version("a").id, version("b").id, "an appended file is the same");
        assert_eq!(Head::read(&dir.join("a"), head.len).unwrap(), head);
        std::fs::write(dir.join("a"), "other\n").unwrap();
        assert_ne!(Head::read(&dir.join("a"), head.len).unwrap(), head, "and one that is written again is not");
    }

    /// Starts a job that watches a directory, on a clock that the test moves.
    fn watching(dir: &Path, clock: &ManualClock, checkpoint: &Path, seen: &MemorySink<String>) -> crate::job::JobHandle {
        let (watched, out) = (format!("file://{}", dir.display()), seen.clone());
        let builder = StreamingContext::builder("watching", secs(5)).checkpoint(checkpoint).checkpoint_interval(secs(5));
        let job = builder.start_on_clock(clock.clone(), move |ssc| {
            ssc.text_file_stream(&watched).oks().to_memory(&out);
            Ok(())
        });
        job.unwrap()
    }

    /// Nothing waits for the job: `start` has returned, so a file is new. Its time is of another century.
    #[test]
    fn f6_a_file_that_is_written_right_after_the_start_is_read_by_the_clock_of_the_job() {
        let (dir, states) = (TempDir::made("files-start"), TempDir::made("files-start-states"));
        put(&dir, "old", "old\n");
        let (clock, seen) = (ManualClock::at(1_000_000), MemorySink::new());
        let job = watching(&dir, &clock, &states, &seen);
        let path = put(&dir, "new", "new\n");
        File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH + secs(1)).unwrap();
        for ms in [1_005_000, 1_010_000] {
            clock.set(ms);
            until("the batch is written", || seen.batches().last().is_some_and(|(t, _)| t.millis() == ms));
        }
        job.stop_gracefully().unwrap();
        let batches: Vec<_> = seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect();
        assert_eq!(batches[..2], [(1_005_000, vec![]), (1_010_000, vec!["new".to_owned()])]);
    }

    #[test]
    fn f6_a_log_is_rotated_while_the_job_runs_and_while_it_is_stopped() {
        let (dir, states) = (TempDir::made("files-rotate"), TempDir::made("files-rotate-states"));
        let (clock, seen) = (ManualClock::at(1_000_000), MemorySink::new());
        let mut ms = 1_000_000;
        let mut batches = |n: u64| {
            for _ in 0..n {
                ms += 5_000;
                clock.set(ms);
                until("the batch is written", || seen.batches().last().is_some_and(|(t, _)| t.millis() == ms));
            }
        };
        let rotate = |text: &str| {
            for n in (1..4).rev() {
                let _ = std::fs::rename(dir.join(format!("app.log.{n}")), dir.join(format!("app.log.{}", n + 1)));
            }
            std::fs::rename(dir.join("app.log"), dir.join("app.log.1")).unwrap();
            std::fs::write(dir.join("app.log"), text).unwrap();
        };
        let job = watching(&dir, &clock, &states, &seen);
        put(&dir, "app.log", "first\n");
        batches(2);
        rotate("second\n");
        batches(3);
        job.stop_gracefully().unwrap();
        rotate("third\n");
        let job = watching(&dir, &clock, &states, &seen);
        batches(3);
        rotate("fourth\n");
        batches(3);
        job.stop_gracefully().unwrap();
        assert_eq!(seen.rows(), ["first", "second", "third", "fourth"]);
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
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        std::fs::write(dir.join(name), "x").unwrap();
        let found = list(&dir).unwrap();
        let sizes: Vec<_> = found.iter().map(|(name, v)| (name.as_str(), v.as_ref().map(|v| v.stamp.size).ok())).collect();
        let expected = [
            ("dangling", None),
            ("link", Some(1)),
            ("loop", None),
            ("pipe", None),
            ("plain", Some(1)),
            ("socket", None),
            ("sub", None),
            ("\u{fffd}", None),
        ];
        assert_eq!(sizes, expected);
        assert!(found[5].1.as_ref().unwrap_err().contains("not a plain file"));
        assert!(found[6].1.as_ref().unwrap_err().contains("sub-directories"));
        assert!(found[7].1.as_ref().unwrap_err().contains("not UTF-8"));
        let id = |at: usize| found[at].1.as_ref().unwrap().id;
        assert_eq!(id(1), id(4), "a link is the file that it names");
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
        let dir = TempDir::made("files-nowhere");
        std::os::unix::fs::symlink("none", dir.join("link")).unwrap();
        for (name, says) in [
            (format!("{}/none", dir.display()), "No such file"),
            (format!("file://{}/none", dir.display()), "No such file"),
            (format!("{}/*.log", dir.display()), "patterns are not expanded"),
            (format!("{}/link", dir.display()), "a link to none, which cannot be reached"),
            ("hdfs://name/in".into(), "hdfs://name/in is a URL"),
        ] {
            let given = name.clone();
            let job = StreamingContext::builder("files", secs(1)).start(move |ssc| {
                ssc.text_file_stream(&given).oks().print(1);
                Ok(())
            });
            let e = job.err().unwrap().to_string();
            let path = name.trim_start_matches("file://");
            assert!(e.contains(path) && e.contains("text_file_stream") && e.contains(says), "{name}: {e}");
        }
    }
}
