//! [`TextFileSource`]: which files a source reads, in which order, and what becomes of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the enumerator remembers a file that left the directory. Default of `remember`.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// A user's test of file names.
type Accept = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What [`text_file_stream_with`](crate::api::context::StreamingContext::text_file_stream_with) reads: a directory, and which of its files.
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
    pub(super) recursive: bool,
    pub(super) newest_first: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) header: bool,
    pub(super) max_files: Option<usize>,
    pub(super) metadata_log: bool,
    pub(super) clean_source: CleanSource,
}

/// What becomes of files that were read: [`TextFileSource::clean_source`], where an asserting example is. Spark's `cleanSource`.
///
/// ```
/// use tidemill::prelude::*;
/// let logs = TextFileSource::new("/data/in").clean_source(CleanSource::Archive("/data/archive".into()));
/// assert!(format!("{logs:?}").contains("Archive(\"/data/archive\")"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CleanSource {
    /// They stay.
    #[default]
    Off,
    /// They are deleted.
    Delete,
    /// They are moved into this directory, below which each keeps its absolute path: `/data/in/a` becomes `/archive/data/in/a`. It is on the same
    /// file system, and not inside the directory that is read. It is made when it is needed. Spark's `archive` with `sourceArchiveDir`.
    Archive(PathBuf),
}

impl TextFileSource {
    /// Reads the files that appear in this directory after the job has started. With the feature `object-store` it may be `s3://BUCKET/PREFIX`.
    ///
    /// The path may be a pattern, in S3 too. It means the files that match it and those in directories that match it, also what appears later:
    /// `/data/logs/2026-*`, `/data/{orders,returns}/[0-9]*`, `s3://BUCKET/logs/2026-*/part-*.gz`. `*`, `?`, `[a-c]`, `[^a]` and `{a,b}` are as in
    /// Hadoop, and `\` makes the next character a plain one. The part before the first pattern must exist on a disk. A directory there whose
    /// name is exactly this path is that directory. The name of a bucket cannot be a pattern.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        TextFileSource {
            dir: dir.into(),
            existing: false,
            remember: REMEMBER,
            accept: Arc::new(|_| true),
            recursive: false,
            newest_first: false,
            max_age: None,
            header: false,
            max_files: None,
            metadata_log: false,
            clean_source: CleanSource::Off,
        }
    }

    /// Whether to also read the files in sub-directories, at any depth. Default: `false`. Sub-directories whose name begins with `.` or
    /// `_`, and links to directories, are left out.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-recursive-{}", std::process::id()));
    /// std::fs::create_dir_all(dir.join("2026/11")).unwrap();
    /// std::fs::write(dir.join("2026/11/a.csv"), "name,n\ntide,3\n").unwrap();
    /// let (seen, files) = (MemorySink::new(), TextFileSource::new(&dir).existing(true).recursive(true).header(true));
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("tree", millis(100)).without_checkpoint().start(move |ssc| {
    ///     ssc.text_file_stream_with(files.clone()).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), ["tide,3"]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "recursiveFileLookup")]
    pub fn recursive(mut self, read: bool) -> Self {
        self.recursive = read;
        self
    }

    /// Whether files with a newer modification time are read first. Default: `false`. It matters while more files are ready than fit into
    /// a batch. Old files may then wait as long as new ones appear.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let recent = TextFileSource::new("/data/in").existing(true).newest_first(true).max_age(hours(24));
    /// assert!(format!("{recent:?}").contains("newest_first: true"));
    /// ```
    #[doc(alias = "latestFirst")]
    pub fn newest_first(mut self, newest: bool) -> Self {
        self.newest_first = newest;
        self
    }

    /// Files whose modification time is older than this when the job first sees them are not read, unless they change. Default: any age.
    /// Spark's remember window, `spark.streaming.fileStream.minRememberDuration`, which is a minute there.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let recent = TextFileSource::new("/data/in").existing(true).max_age(mins(1));
    /// assert!(format!("{recent:?}").contains("60s"));
    /// ```
    #[doc(alias = "minRememberDuration")]
    #[doc(alias = "maxFileAge")]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Whether the first line of each file is a header, which is left out. Default: `false`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let tables = TextFileSource::new("/data/csv").header(true);
    /// assert!(format!("{tables:?}").contains("header: true"));
    /// ```
    pub fn header(mut self, is: bool) -> Self {
        self.header = is;
        self
    }

    /// At most this many files in a batch. Default: as many as [`batch_bytes`](crate::api::builder::Builder::batch_bytes) allows. 0 counts as 1.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let files = TextFileSource::new("/data/in").existing(true).max_files(1);
    /// assert!(format!("{files:?}").contains("max_files: Some(1)"));
    /// ```
    #[doc(alias = "maxFilesPerTrigger")]
    pub fn max_files(mut self, files: usize) -> Self {
        self.max_files = Some(files.max(1));
        self
    }

    /// Whether a directory with a `_spark_metadata`, such as that of an output of Spark or of
    /// [`TextFileSink::metadata_log`](crate::prelude::TextFileSink::metadata_log), is read as its readers do: only the files that this log names.
    /// Default: `false`. A pattern does not look for logs, nor does a prefix of a bucket.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let table = TextFileSource::new("/data/table").existing(true).metadata_log(true);
    /// assert!(format!("{table:?}").contains("metadata_log: true"));
    /// ```
    pub fn metadata_log(mut self, reads: bool) -> Self {
        self.metadata_log = reads;
        self
    }

    /// What becomes of files that were read. Default: they stay. Spark's `cleanSource`.
    ///
    /// - **With a checkpoint directory** a file stays until no restart reads it again: its batch is before all checkpoints that are kept. By default
    ///   two are kept, so it goes when the second checkpoint after its batch is made, and what the last batches have read goes in the next run.
    ///   A replay of its batch is then not possible any more.
    /// - **Without one** a file goes when every output has written its batch.
    /// - A file that changed after it was read stays, with a warning, and so does one that cannot be deleted or moved. The job goes on, and
    ///   the next run tries again.
    /// - Files of a directory should be read by one source only: another one would miss some. Files with other names, and files that are
    ///   not read, stay.
    ///
    /// # Errors
    /// At the start: an archive that is inside the directory, or on another file system; a directory whose files a `_spark_metadata` names;
    /// a prefix of a bucket, whose objects a lifecycle rule of the bucket deletes.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-clean-source-{}", std::process::id()));
    /// std::fs::create_dir_all(dir.join("in")).unwrap();
    /// std::fs::write(dir.join("in/a.log"), "to be\n").unwrap();
    /// let archive = CleanSource::Archive(dir.join("read"));
    /// let (seen, files) = (MemorySink::new(), TextFileSource::new(dir.join("in")).existing(true).clean_source(archive));
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("clean", millis(100)).without_checkpoint().start(move |ssc| {
    ///     ssc.text_file_stream_with(files.clone()).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), ["to be"]);
    /// let moved = dir.join("read").join(dir.strip_prefix("/").unwrap()).join("in/a.log");
    /// assert!(moved.exists() && !dir.join("in/a.log").exists());
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "cleanSource")]
    #[doc(alias = "sourceArchiveDir")]
    pub fn clean_source(mut self, how: CleanSource) -> Self {
        self.clean_source = how;
        self
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
    /// [`text_file_stream`](crate::api::context::StreamingContext::text_file_stream). With [`recursive`](TextFileSource::recursive), and with a pattern, the name
    /// is the path below the directory, as in `2026/11/a.log`.
    pub fn accept(mut self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.accept = Arc::new(test);
        self
    }
}

impl fmt::Debug for TextFileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextFileSource { dir, existing, remember, accept: _, recursive, newest_first, max_age, header, .. } = self;
        let TextFileSource { max_files, metadata_log, clean_source, .. } = self;
        f.debug_struct("TextFileSource")
            .field("dir", dir)
            .field("existing", existing)
            .field("remember", remember)
            .field("recursive", recursive)
            .field("newest_first", newest_first)
            .field("max_age", max_age)
            .field("header", header)
            .field("max_files", max_files)
            .field("metadata_log", metadata_log)
            .field("clean_source", clean_source)
            .finish_non_exhaustive()
    }
}
