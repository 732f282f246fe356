//! `save_as_text_files`: each batch as a directory of text files, complete when it contains `_SUCCESS`. bucket_sink.rs is the half for S3.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::api::dstream::{DStream, RowOrder};
use crate::connector::console::TextSink;
use crate::connector::files::claim::Claim;
use crate::connector::files::durable::{at, or_gone, parent, remove};
use crate::connector::files::sink_log::{FileStreamSinkLog, parts};
use crate::connector::files::target::Target;
use crate::connector::sink::{DEFAULT_SHARDS, Distribution, Part, Sink, SinkBatch};
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::core::fault::{FaultPoint, FileOperation, fails, point};
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::format::row_text::row_text;
use crate::replay::request::OutputTarget;

/// Where [`save_as_text_files_with`](DStream::save_as_text_files_with) writes, and how.
///
/// ```
/// use tidemill::prelude::*;
/// let words = TextFileSink::new("out/words").suffix("txt").skip_empty();
/// assert!(format!("{words:?}").contains("out/words"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it describes where to write"]
pub struct TextFileSink {
    prefix: PathBuf,
    suffix: String,
    skip_empty: bool,
    gzip: bool,
    metadata_log: bool,
    retention: Option<Duration>,
}

impl TextFileSink {
    /// Each batch has a directory `prefix-MILLISECONDS`. The prefix is a path, or `file:///PATH`; with the feature `object-store` also
    /// `s3://BUCKET/PREFIX`.
    pub fn new(prefix: impl Into<PathBuf>) -> Self {
        let (prefix, suffix) = (prefix.into(), String::new());
        TextFileSink { prefix, suffix, skip_empty: false, gzip: false, metadata_log: false, retention: None }
    }

    /// The directories end with `.suffix`. Default: empty, without a dot.
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// A batch without rows has no directory. Default: it has one with `_SUCCESS`, as in Spark. In a job of several processes
    /// the batch has a directory without `_SUCCESS` while it is written; the last process removes it.
    pub fn skip_empty(mut self) -> Self {
        self.skip_empty = true;
        self
    }

    /// Parts are packed: `part-00000.gz`. Spark's `GzipCodec`. [`StreamingContext::text_file_stream`] unpacks them. Default: they are text.
    ///
    /// [`StreamingContext::text_file_stream`]: crate::api::context::StreamingContext::text_file_stream
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-gzip-{}", std::process::id()));
    /// let (queue, prefix) = (QueueSource::from_batches([vec![1, 2]]), dir.join("n"));
    /// StreamingContext::builder("save", secs(1)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).save_as_text_files_with(TextFileSink::new(&prefix).gzip());
    ///     Ok(())
    /// }).unwrap();
    /// let batch = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    /// assert_eq!(std::fs::read(batch.join("part-00000.gz")).unwrap()[..2], [0x1f, 0x8b]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    #[doc(alias = "GzipCodec")]
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Beside the directories of batches, `_spark_metadata` names the files of all complete batches, so that Spark reads them as one table:
    /// `spark.read.text("out")` for the prefix `out/words`. [`FileStreamSinkLog`] is that log, and says what it costs. Default: there is none.
    ///
    /// A batch is in the log after its `_SUCCESS` is there, before the next batch is written. With a checkpoint directory it is there exactly
    /// once, whatever is killed. No other output may write below the same directory with a log. A replay writes none,
    /// and a bucket has none: a prefix in S3 is an error at the start.
    ///
    /// ```
    /// use tidemill::connector::files::sink_log::FileStreamSinkLog;
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-metadata-log-{}", std::process::id()));
    /// let (queue, prefix) = (QueueSource::from_batches([vec![1], vec![], vec![2, 3]]), dir.join("n"));
    /// StreamingContext::builder("save", secs(1)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).save_as_text_files_with(TextFileSink::new(&prefix).metadata_log().retention(days(30)));
    ///     Ok(())
    /// }).unwrap();
    /// let files = FileStreamSinkLog::files(&dir).unwrap().unwrap();
    /// let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    /// assert_eq!(texts, ["1\n", "2\n3\n"]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    pub fn metadata_log(mut self) -> Self {
        self.metadata_log = true;
        self
    }

    /// How long files stay in the [log](TextFileSink::metadata_log): [`FileStreamSinkLog::retention`]. Default: for ever.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = TextFileSink::new("out/words").metadata_log().retention(days(90));
    /// assert!(format!("{words:?}").contains("retention: Some(7776000s)"));
    /// ```
    pub fn retention(mut self, how_long: Duration) -> Self {
        self.retention = Some(how_long);
        self
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    /// Writes each batch into its own directory, `prefix-MILLISECONDS.suffix`, or `prefix-MILLISECONDS` for an empty
    /// suffix: `out/msg-1526239245000.log`. Spark's `saveAsTextFiles`.
    ///
    /// - **Files** are `part-00000` and so on. Each partition of the source (a Kafka partition, a file, a socket) has one. Each
    ///   of the 8 shards of a stream exchanged by key has one. An ordered stream (`count`, `sort_by`) has one in all.
    ///   [`DStream::coalesce`] and [`DStream::repartition`] choose another number. A part without rows has no file. A row is its text as `print` shows it, and LF: a string without quotes, any other
    ///   row as `{:?}` with its strings as they were written. A text that contains line ends gives several lines. Rows are in the order of the source; rows of shards are in the
    ///   order of their text.
    /// - **An empty batch** is a directory with only `_SUCCESS`. [`TextFileSink::skip_empty`] leaves it out.
    /// - **`_SUCCESS`** is written last and marks the batch complete. Parts are written as `.part-00000.tmp` and renamed, so a
    ///   part with its final name is complete.
    /// - **With a checkpoint directory** each batch is written exactly once. `_SUCCESS` records the plan that wrote it. After a
    ///   restart, a complete batch is kept; an interrupted one is written again. Everything is synced to the disk. **Without
    ///   one** `_SUCCESS` is empty and nothing is synced, so a power cut may damage a batch.
    /// - **Several processes** each write the parts of their own workers, so `prefix` must lie on a file system that they
    ///   share. Each writes a `.done-PROCESS-of-PROCESSES`, and the last one writes `_SUCCESS`. Without a shared file system
    ///   each has its own parts, and `_SUCCESS` is never written.
    /// - **In S3** (feature `object-store`) the prefix is `s3://BUCKET/PREFIX`, and a file is an object: `out/msg-1526239245000.log/part-00000`.
    ///   It is put as a whole, and has the same name whenever its batch runs. Keys, region and endpoint are those of the environment:
    ///   `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT` and others. A batch costs a listing, and a put for each part and for `_SUCCESS`.
    ///   A part is in memory as a whole.
    /// - **An existing directory**, from a run with other plans or none, is overwritten, with one warning. Its `_SUCCESS` is
    ///   removed first. A job of one process removes its parts too. In a job of several processes, parts that this batch does
    ///   not have stay.
    ///
    /// The first batch creates the parent directories.
    ///
    /// # Errors
    /// At the start: an invalid prefix or suffix, two outputs with the same prefix and suffix, or a bucket that cannot be listed. Later, an error names the path. The
    /// engine retries the same files, for the time of `--output-retry` (default: 30 seconds). Then the job stops. The failed batch may
    /// have parts, but no `_SUCCESS`. After a
    /// restart from a checkpoint directory it is written again.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-save-{}", std::process::id()));
    /// let prefix = dir.join("words").display().to_string();
    /// let queue = QueueSource::from_batches([vec!["to".to_owned(), "be".to_owned()]]);
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
    pub fn save_as_text_files(&self, prefix: impl AsRef<Path>, suffix: impl AsRef<str>)
    where
        T: Exchange + Debug,
    {
        let sink = TextFileSink::new(prefix.as_ref()).suffix(suffix.as_ref());
        self.save_at(&OperatorId::of("save_as_text_files"), &sink);
    }

    /// Like [`save_as_text_files`](DStream::save_as_text_files), with the options of a [`TextFileSink`].
    ///
    /// # Errors
    /// Like `save_as_text_files`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-skip-{}", std::process::id()));
    /// let (queue, prefix) = (QueueSource::from_batches([vec![1], vec![], vec![2]]), dir.join("n"));
    /// StreamingContext::builder("save", secs(1)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).save_as_text_files_with(TextFileSink::new(&prefix).skip_empty());
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);    // of three batches
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    #[track_caller]
    pub fn save_as_text_files_with(&self, sink: TextFileSink)
    where
        T: Exchange + Debug,
    {
        self.save_at(&OperatorId::of("save_as_text_files_with"), &sink);
    }

    pub(super) fn save_at(&self, operator: &OperatorId, sink: &TextFileSink)
    where
        T: Exchange + Debug,
    {
        let graph = &self.node.graph;
        let suffix = sink.suffix.as_str();
        let reported = |path: &Path| {
            Target::of(path).unwrap_or_else(|e| {
                graph.report(operator, e);
                Target::Disk(path.to_owned())
            })
        };
        let own = reported(&sink.prefix);
        if let Err(problem) = check_suffix(suffix) {
            graph.report(operator, problem);
        }
        if let Err(e) = graph.config.apart(&own.folder(), false) {
            graph.report(operator, e);
        }
        let unordered = self.node.orders.iter().map(|c| matches!(c, RowOrder::Unordered { .. })).collect();
        let place = sink.prefix.display().to_string();
        let (target, is_own) = match graph.config.output_target(&place) {
            OutputTarget::Own => (own, true),
            OutputTarget::Other(other) => (reported(other.as_ref()), false),
            target => {
                let text = TextSink::new(&graph.config, target, operator, &place);
                return self.sink_as_text(operator, text, |row| Ok(row_text(row)));
            }
        };
        graph.claim_target(operator, format!("the files under prefix {}, suffix \"{suffix}\"", target.place()));
        let r = &graph.config.runtime;
        let mut writer = TextFileWriter::new(target.prefix(), suffix, r.process, r.processes, unordered);
        (writer.skip_empty, writer.gzip) = (sink.skip_empty, sink.gzip);
        match target {
            Target::Disk(prefix) => {
                if is_own && sink.metadata_log {
                    let table = std::path::absolute(parent(&prefix)).unwrap_or_else(|_| parent(&prefix).into());
                    graph.claim_target(operator, format!("the log of the files in {}", table.display()));
                    let log = FileStreamSinkLog::new(table).of_process(r.process, r.processes);
                    writer.log = Some(sink.retention.into_iter().fold(log, FileStreamSinkLog::retention));
                }
                self.sink_rows(operator, writer, Distribution::Parts(DEFAULT_SHARDS));
            }
            #[cfg(feature = "object-store")]
            Target::Bucket(folder) => {
                // A replay writes no log anywhere.
                if is_own && sink.metadata_log {
                    let problem =
                        format!("metadata_log: no log is written into a bucket, and the prefix is {}; leave it out", folder.url);
                    graph.report(operator, problem);
                }
                let writer = super::bucket_sink::BucketWriter::new(folder, writer);
                graph.before_start(writer.check());
                self.sink_rows(operator, writer, Distribution::Parts(DEFAULT_SHARDS));
            }
        }
    }
}

fn check_suffix(suffix: &str) -> Result<(), String> {
    if suffix.contains('/') {
        return Err(format!("suffix \"{suffix}\": it ends a directory's name, such as log, and must not contain '/'"));
    }
    Ok(())
}

/// Writes the batches of one output in one process.
pub(crate) struct TextFileWriter {
    prefix: PathBuf,
    pub suffix: String,
    pub process: u16,
    pub processes: u16,
    /// Whether a batch without rows has no directory.
    pub skip_empty: bool,
    /// Whether parts are packed.
    pub gzip: bool,
    /// The log beside the directories of the batches.
    pub log: Option<FileStreamSinkLog>,
    /// For each branch of a union: whether its rows are unordered.
    unordered: Vec<bool>,
    claim: Option<Claim>,
    /// The last batch that was written, or the one being written.
    begun: Option<BatchTime>,
    warned: bool,
}

impl TextFileWriter {
    pub fn new(prefix: &Path, suffix: &str, process: u16, processes: u16, unordered: Vec<bool>) -> Self {
        let (prefix, suffix) = (prefix.into(), suffix.into());
        TextFileWriter {
            prefix,
            suffix,
            process,
            processes,
            skip_empty: false,
            gzip: false,
            log: None,
            unordered,
            claim: None,
            begun: None,
            warned: false,
        }
    }

    pub fn warn(&mut self, dir: &Path) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(dir = %dir.display(), "the directory holds a batch of another run, which is overwritten; later directories are not named");
        }
    }

    /// The text of each file, by its number.
    pub fn files<T: Debug + 'static>(&self, parts: &[Part<T>]) -> Vec<(u32, Vec<String>)> {
        // Parts with the same number are one file.
        let mut files: BTreeMap<u32, Vec<&T>> = BTreeMap::new();
        for part in parts.iter().filter(|p| !p.rows.is_empty()) {
            files.entry(part.number).or_default().extend(&part.rows);
        }
        let text = |(number, rows): (u32, Vec<&T>)| {
            let mut rows: Vec<String> = rows.into_iter().map(row_text).collect();
            let side = if self.unordered.len() == 1 { 0 } else { (number >> 16) as usize };
            if self.unordered.get(side) == Some(&true) {
                rows.sort_unstable();
            }
            (number, rows)
        };
        files.into_iter().map(text).collect()
    }

    pub fn dir(&self, time: BatchTime) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(format!("-{}", time.millis()));
        if !self.suffix.is_empty() {
            name.push(format!(".{}", self.suffix));
        }
        name.into()
    }

    pub fn done(&self, process: u16) -> String {
        format!(".done-{process}-of-{}", self.processes)
    }

    /// Removes the files that mark the batch complete; in a job of one process, its parts too. Returns whether any existed.
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
            any |= remove(&path)?;
        }
        Ok(any)
    }

    /// Removes the directory of a batch that all processes have written, if it holds no rows and these have no directory. Returns
    /// whether it did. Two processes may do this at the same time.
    pub fn removed(&self, dir: &Path) -> Result<bool, BoxError> {
        if !self.skip_empty {
            return Ok(false);
        }
        let mut notes = Vec::new();
        for entry in or_gone(dir, std::fs::read_dir(dir))?.into_iter().flatten() {
            let Some(entry) = or_gone(dir, entry)? else { continue };
            if !entry.file_name().to_str().is_some_and(|name| name.starts_with(".done-")) {
                return Ok(false);
            }
            notes.push(entry.path());
        }
        for note in notes {
            remove(&note)?;
        }
        or_gone(dir, std::fs::remove_dir(dir)).map(|_| true)
    }

    /// Adds a batch that is complete to the log.
    pub fn add_to_log(&mut self, dir: &Path, parts: &BTreeSet<String>, durable: bool) -> Result<(), BoxError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let name = dir.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| format!("{}: the name is not UTF-8, and the log of files could not hold it", dir.display()))?;
        log.durable = durable;
        log.add(name, parts)
    }

    /// Writes `_SUCCESS`, if the batch is complete.
    fn succeed(&mut self, dir: &Path) -> Result<(), BoxError> {
        if self.processes > 1 {
            let mine = dir.join(self.done(self.process));
            at(&mine, File::create(&mine))?;
            if !(0..self.processes).all(|p| dir.join(self.done(p)).exists()) || self.removed(dir)? {
                return Ok(());
            }
        }
        let success = dir.join("_SUCCESS");
        at(&success, File::create(&success))?;
        match self.log.is_some() {
            true => self.add_to_log(dir, &parts(dir)?, false),
            false => Ok(()),
        }
    }
}

impl<T: Debug + 'static> Sink<T> for TextFileWriter {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        if self.claim.is_none() {
            let (prefix, suffix) = (self.prefix.display(), &self.suffix);
            self.claim = Some(Claim::new(format!("saves under prefix {prefix}, suffix \"{suffix}\","))?);
        }
        // A directory that exists is of an earlier run, which planned this batch with rows. Of several processes, each must tell the
        // others that it is done: only the last one knows that no process has rows.
        if self.skip_empty && self.processes == 1 && parts.iter().all(|p| p.rows.is_empty()) && !self.dir(batch.time()).exists() {
            return Ok(());
        }
        if let Some(id) = batch.id() {
            return self.write_once(id, parts);
        }
        let (time, dir) = (batch.time(), self.dir(batch.time()));
        at(&dir, std::fs::create_dir_all(&dir))?;
        let other = self.clear(&dir)?;
        let again = self.begun.replace(time) == Some(time);
        if other && !again {
            self.warn(&dir);
        }
        for (number, rows) in self.files(parts) {
            self.write_part(&dir, number, &rows, false)?;
        }
        self.succeed(&dir)
    }
}

/// Whether this is the name of a part, complete or not.
pub(super) fn is_part(name: &str) -> bool {
    let name = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")).unwrap_or(name);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.strip_prefix("part-").is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()))
}

impl TextFileWriter {
    pub fn part_name(&self, number: u32) -> String {
        format!("part-{number:05}{}", if self.gzip { ".gz" } else { "" })
    }

    /// Writes the content of a part.
    pub fn write_rows(&self, to: &mut impl Write, rows: &[String]) -> std::io::Result<()> {
        match self.gzip {
            true => {
                let mut packed = GzEncoder::new(to, Compression::default());
                lines(&mut packed, rows).and_then(|()| packed.finish()).map(drop)
            }
            false => lines(to, rows),
        }
    }

    /// Writes a part and returns its name. `durable`: syncs it to the disk.
    pub fn write_part(&self, dir: &Path, number: u32, rows: &[String], durable: bool) -> Result<String, BoxError> {
        let name = self.part_name(number);
        let (hidden, part) = (dir.join(format!(".{name}.tmp")), dir.join(&name));
        let mut file = BufWriter::new(at(&hidden, File::create(&hidden))?);
        at(&hidden, self.write_rows(&mut file, rows))?;
        at(&hidden, fails(&hidden, FileOperation::Save).and_then(|()| file.flush()))?;
        point(FaultPoint::SavePart);
        if durable {
            at(&hidden, file.get_ref().sync_all())?;
        }
        at(&part, std::fs::rename(&hidden, &part))?;
        Ok(name)
    }
}

fn lines(to: &mut impl Write, rows: &[String]) -> std::io::Result<()> {
    rows.iter().try_for_each(|row| to.write_all(row.as_bytes()).and_then(|()| to.write_all(b"\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::context::StreamingContext;
    use crate::connector::sink::BatchId;
    use crate::core::plan::RunId;
    use crate::core::time::millis;
    use crate::job::ManualClock;
    use crate::testing::temp_dir::TempDir;

    type Files = BTreeMap<String, String>;

    /// Every file below a directory, with its text.
    fn files_below(top: &Path) -> Files {
        let mut files = Files::new();
        let mut dirs = vec![top.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.strip_prefix(top).unwrap().display().to_string();
                    files.insert(name, std::fs::read_to_string(path).unwrap());
                }
            }
        }
        files
    }

    fn files<const N: usize>(files: [(&str, &str); N]) -> Files {
        files.map(|(name, text)| (name.into(), text.into())).into()
    }

    /// The files that a verb writes into a directory for given batches, one batch a millisecond.
    fn saved<V>(test: &str, workers: u16, batches: &[&[&str]], verb: V) -> Files
    where
        V: for<'s> Fn(&DStream<'s, String>, &Path) + Send + Sync + 'static,
    {
        let dir = TempDir::made(&format!("save-{test}-{workers}"));
        let below = dir.to_path_buf();
        let batches: Vec<Vec<String>> = batches.iter().map(|b| b.iter().map(|r| r.to_string()).collect()).collect();
        let job = StreamingContext::builder("save", millis(1)).workers(workers).start_on_clock(ManualClock::at(0), move |ssc| {
            verb(&ssc.test_stream(batches.clone()), &below);
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        files_below(&dir)
    }

    #[test]
    fn each_partition_has_a_part_and_an_empty_batch_has_none() {
        for workers in [1, 2, 4] {
            let seen = saved("partitions", workers, &[&["a", "b b", "c", "d", "e"], &[], &["f"]], |s, dir| {
                s.save_as_text_files(dir.join("deep/er/msg"), "log")
            });
            let expected = files([
                ("deep/er/msg-1.log/part-00000", "a\n"),
                ("deep/er/msg-1.log/part-00001", "b b\n"),
                ("deep/er/msg-1.log/part-00002", "c\n"),
                ("deep/er/msg-1.log/part-00003", "d\ne\n"),
                ("deep/er/msg-1.log/_SUCCESS", ""),
                ("deep/er/msg-2.log/_SUCCESS", ""),
                ("deep/er/msg-3.log/part-00003", "f\n"),
                ("deep/er/msg-3.log/_SUCCESS", ""),
            ]);
            assert_eq!(seen, expected, "at {workers} workers");
        }
    }

    #[test]
    fn an_ordered_stream_has_one_part() {
        for workers in [1, 2, 4] {
            let seen = saved("sequence", workers, &[&["b", "a"], &[]], |s, dir| {
                s.sort_by(|r| r.clone()).save_as_text_files(dir.join("sorted"), "");
                s.count().map(|n| (n, "rows".to_owned())).save_as_text_files(dir.join("n"), "");
            });
            let expected = files([
                ("sorted-1/part-00000", "a\nb\n"),
                ("sorted-1/_SUCCESS", ""),
                ("sorted-2/_SUCCESS", ""),
                ("n-1/part-00000", "(2, \"rows\")\n"),
                ("n-1/_SUCCESS", ""),
                ("n-2/part-00000", "(0, \"rows\")\n"),
                ("n-2/_SUCCESS", ""),
            ]);
            assert_eq!(seen, expected, "at {workers} workers");
        }
    }

    #[test]
    fn each_shard_of_an_exchanged_stream_is_a_part_in_the_order_of_its_text() {
        let save = |workers| {
            saved("shards", workers, &[&["to", "be", "or", "not", "to", "be", "a", "zebra"], &["x"]], |s, dir| {
                s.count_by_value().save_as_text_files(dir.join("c"), "");
                s.union(&s.map(|r| (r, 1i64)).reduce_by_key(|a, b| a + b).map(|(w, n)| format!("{w} {n}")))
                    .save_as_text_files(dir.join("u"), "");
            })
        };
        let seen = save(1);
        assert_eq!(save(2), seen);
        assert_eq!(save(4), seen);
        let of = |prefix: &str| -> Vec<&String> {
            seen.iter().filter(|(n, _)| n.starts_with(prefix) && n.contains("/part-")).map(|(_, text)| text).collect()
        };
        let parts = of("c-1/");
        assert!(parts.len() > 1 && parts.len() <= DEFAULT_SHARDS as usize, "{parts:?}");
        let mut rows: Vec<&str> = parts.iter().flat_map(|p| p.lines()).collect();
        assert!(parts.iter().all(|p| p.lines().is_sorted()), "{parts:?}");
        rows.sort_unstable();
        let all = ["(\"a\", 1)", "(\"be\", 2)", "(\"not\", 1)", "(\"or\", 1)", "(\"to\", 2)", "(\"zebra\", 1)"];
        assert_eq!(rows, all);
        assert_eq!(of("c-2/"), ["(\"x\", 1)\n"]);
        assert_eq!(seen["u-1/part-00000"], "to\nbe\n", "the left side's split_ids come first");
        assert!(of("u-1/").iter().skip(4).all(|p| p.lines().is_sorted()));
        assert_eq!(of("u-2/"), ["x\n", "x 1\n"]);
    }

    /// With a checkpoint and without one; a directory of an earlier run is replaced all the same.
    #[test]
    fn f13_empty_batches_are_skipped_on_request() {
        for checkpoint in [false, true] {
            let dir = TempDir::made("save-skip");
            let url = format!("file://{}/out/n", dir.display());
            std::fs::create_dir_all(dir.join("out/n-2")).unwrap();
            std::fs::write(dir.join("out/n-2/part-00000"), "old").unwrap();
            let builder = StreamingContext::builder("save", millis(1));
            let builder = if checkpoint { builder.checkpoint(dir.join("states")) } else { builder };
            let job = builder.start_on_clock(ManualClock::at(0), move |ssc| {
                let rows = ssc.test_stream(vec![vec![1], vec![], vec![], vec![2]]);
                rows.save_as_text_files_with(TextFileSink::new(&url).skip_empty());
                Ok(())
            });
            job.unwrap().await_termination().unwrap();
            let saved = files_below(&dir.join("out"));
            let rows = |batch: &str| -> Vec<&str> {
                let files = saved.iter().filter(|(name, _)| name.starts_with(batch) && !name.ends_with("_SUCCESS"));
                files.map(|(_, text)| text.as_str()).collect()
            };
            let done: Vec<&str> = saved.keys().filter_map(|name| name.strip_suffix("/_SUCCESS")).collect();
            assert_eq!(done, ["n-1", "n-2", "n-4"], "with a checkpoint: {checkpoint}");
            assert_eq!((rows("n-1"), rows("n-2"), rows("n-4")), (vec!["1\n"], vec![], vec!["2\n"]));
        }
    }

    /// Files have the text that `print` shows.
    #[test]
    fn words_of_any_script_are_saved_as_they_were_written() {
        let words = ["नमस्ते", "สวัสดี", "👩\u{200d}👧", "\"q\" it's", "a\tb"];
        let seen = saved("scripts", 1, &[&words], |s, dir| {
            s.map(|w: String| (w, 1)).save_as_text_files(dir.join("pairs"), "");
            s.save_as_text_files(dir.join("words"), "");
        });
        let text =
            |prefix: &str| seen.iter().filter(|(n, _)| n.starts_with(prefix)).map(|(_, text)| text.as_str()).collect::<String>();
        assert_eq!(text("words"), words.map(|w| format!("{w}\n")).concat());
        assert_eq!(text("pairs"), words.map(|w| format!("(\"{w}\", 1)\n")).concat());
    }

    fn sink(dir: &Path, process: u16, processes: u16, bag: bool) -> TextFileWriter {
        let prefix = dir.join(format!("p{}", if process > 0 { "/../p" } else { "" }));
        TextFileWriter::new(&prefix, "", process, processes, vec![bag])
    }

    fn batch(ms: u64) -> SinkBatch {
        SinkBatch::new(BatchTime::from_millis(ms))
    }

    fn part(number: u32, rows: &[&'static str]) -> Part<&'static str> {
        Part { number, rows: rows.to_vec() }
    }

    #[test]
    fn a_retried_batch_has_the_same_files() {
        let dir = TempDir::made("save-again");
        let mut sink = sink(&dir, 0, 1, true);
        let t = &batch(7);
        let parts = || vec![part(0, &["b", "a"]), part(2, &[]), part(100_001, &["c"])];
        let obstacle = dir.join("p-7/part-100001");
        std::fs::create_dir_all(obstacle.join("x")).unwrap();
        // A directory blocks the path. It can be neither removed as a file nor replaced.
        let e = sink.write(t, &parts()).unwrap_err().to_string();
        assert!(e.contains(&obstacle.display().to_string()), "{e}");
        assert!(!dir.join("p-7/_SUCCESS").exists());
        std::fs::remove_dir_all(&obstacle).unwrap();
        let whole = files([("p-7/part-00000", "a\nb\n"), ("p-7/part-100001", "c\n"), ("p-7/_SUCCESS", "")]);
        for _ in 0..2 {
            sink.write(t, &parts()).unwrap();
            assert_eq!(files_below(&dir), whole);
        }
        assert!(!sink.warned, "it overwrote only its own files");
    }

    #[test]
    fn the_batch_of_another_run_is_replaced_with_a_warning() {
        let dir = TempDir::made("save-other");
        let t = &batch(7);
        sink(&dir, 0, 1, false).write(t, &[part(0, &["old"]), part(9, &["old"])]).unwrap();
        std::fs::write(dir.join("p-7/notes"), "mine").unwrap();
        let mut again = sink(&dir, 0, 1, false);
        again.write(t, &[part(1, &["b", "a"])]).unwrap();
        assert!(again.warned);
        assert_eq!(files_below(&dir), files([("p-7/part-00001", "b\na\n"), ("p-7/notes", "mine"), ("p-7/_SUCCESS", "")]));
    }

    #[test]
    fn the_last_process_writes_success() {
        let dir = TempDir::made("save-processes");
        std::fs::create_dir(dir.join("p")).unwrap();
        let (mut first, mut second) = (sink(&dir, 0, 2, false), sink(&dir, 1, 2, false));
        let t = &batch(7);
        first.write(t, &[part(0, &["a"])]).unwrap();
        let begun = [("p-7/.done-0-of-2", ""), ("p-7/part-00000", "a\n")];
        assert_eq!(files_below(&dir), files(begun));
        second.write(t, &[part(1, &["b"])]).unwrap();
        let mut whole = files(begun);
        whole.extend(files([("p-7/.done-1-of-2", ""), ("p-7/part-00001", "b\n"), ("p-7/_SUCCESS", "")]));
        assert_eq!(files_below(&dir), whole);
    }

    /// In each order, and at the same time, without a checkpoint and with one.
    #[test]
    fn f13_the_last_process_removes_the_directory_of_an_empty_batch() {
        let dir = TempDir::made("save-skip-processes");
        std::fs::create_dir(dir.join("p")).unwrap();
        let skipping = |process| TextFileWriter { skip_empty: true, ..sink(&dir, process, 2, false) };
        let with_id = |ms, generation| {
            let (time, run) = (BatchTime::from_millis(ms), RunId { directory: 1, generation });
            SinkBatch::with_id(BatchId { time, run, plan: 5 })
        };
        let (mut first, mut second) = (skipping(0), skipping(1));
        let rows: [&[Part<_>]; 3] = [&[], &[part(0, &[])], &[part(0, &["a"])]];
        for t in [batch(7), with_id(8, 1)] {
            for (a, b) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (2, 1)] {
                first.write(&t, rows[a]).unwrap();
                assert!(!files_below(&dir).keys().any(|name| name.ends_with("_SUCCESS")), "the second may have rows");
                second.write(&t, rows[b]).unwrap();
                let files = files_below(&dir);
                let complete = files.keys().any(|name| name.ends_with("_SUCCESS")) && files.values().any(|text| text == "a\n");
                let there = dir.join(format!("p-{}", t.time().millis())).exists();
                assert_eq!((complete, there), (a.max(b) == 2, a.max(b) == 2), "{a} {b}: {files:?}");
                let _ = std::fs::remove_dir_all(dir.join(format!("p-{}", t.time().millis())));
            }
        }
        // A process died before the batch was complete: the next run, of other processes, removes what is left.
        first.write(&with_id(9, 1), rows[0]).unwrap();
        assert!(dir.join("p-9/.done-0-of-2").exists());
        drop((first, second));
        for process in 0..3 {
            let mut again = TextFileWriter { skip_empty: true, ..sink(&dir, process, 3, false) };
            again.write(&with_id(9, 2), rows[1]).unwrap();
        }
        assert!(!dir.join("p-9").exists());
        // Files of others stay, in a directory that is then complete.
        std::fs::create_dir(dir.join("p-10")).unwrap();
        std::fs::write(dir.join("p-10/notes"), "mine").unwrap();
        let (mut first, mut second) = (skipping(0), skipping(1));
        first.write(&batch(10), rows[0]).unwrap();
        second.write(&batch(10), rows[0]).unwrap();
        assert!(dir.join("p-10/notes").exists() && dir.join("p-10/_SUCCESS").exists());
        std::thread::scope(|s| {
            for mut process in [first, second] {
                s.spawn(move || {
                    (100..400).for_each(|ms| process.write(&batch(ms), &[part(0, &[])]).unwrap());
                    (400..500).for_each(|ms| process.write(&with_id(ms, 1), &[part(0, &[])]).unwrap());
                });
            }
        });
        assert_eq!(std::fs::read_dir(&*dir).unwrap().count(), 2, "only p and p-10");
    }

    #[test]
    fn two_outputs_must_not_have_one_prefix() {
        let dir = TempDir::made("save-claims");
        let (mut one, mut two) = (sink(&dir, 0, 1, false), sink(&dir, 0, 1, false));
        let t = &batch(7);
        one.write(t, &[part(0, &["a"])]).unwrap();
        let e = two.write(t, &[part(0, &["b"])]).unwrap_err().to_string();
        assert!(e.contains("another output"), "{e}");
        drop(one);
        two.write(t, &[part(0, &["b"])]).unwrap();
    }

    #[test]
    fn an_invalid_prefix_or_suffix_is_an_error_at_the_start() {
        let dir = TempDir::made("save-wrong");
        std::fs::write(dir.join("file"), "").unwrap();
        let below = dir.to_path_buf();
        let job = StreamingContext::builder("save", millis(1)).start(move |ssc| {
            let rows = ssc.test_stream(vec![vec![1]]);
            rows.save_as_text_files(below.join("file/x/out"), "");
            rows.save_as_text_files("", "a/b");
            rows.save_as_text_files("hdfs://name/out", "");
            rows.save_as_text_files_with(TextFileSink::new("s3://bucket/out/words").metadata_log());
            Ok(())
        });
        let e = job.err().unwrap().to_string();
        let in_s3 = match cfg!(feature = "object-store") {
            true => "metadata_log: no log is written into a bucket, and the prefix is s3://bucket/out/words; leave it out",
            false => "--features object-store",
        };
        for names in ["file is not a directory", "prefix is empty", "suffix \"a/b\"", "prefix hdfs://name/out is a URL", in_s3] {
            assert!(e.contains(names), "{names}: {e}");
        }
    }

    #[test]
    fn parts_are_recognised_by_their_names() {
        assert!(["part-00000", "part-123456", ".part-00001.tmp", "part-00000.gz", ".part-00002.gz.tmp"].into_iter().all(is_part));
        assert!(!["part-1", "part-0000x", "part-00000.zip", "_SUCCESS", "x.part-00000"].into_iter().any(is_part));
    }
}
