//! `broadcast_file`: the content of one file on every worker, read again when it changes.
//!
//! The file is a source, and a version of it is a split: the plan of a batch has the bytes. So every worker gets the same version in the
//! same batch, and a batch that runs again gets the version that it had, whatever the file is by then.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::api::context::StreamingContext;
use crate::api::view::View;
use crate::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::error::{BoxError, Error, Result};
use crate::core::path::{explained, local};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;
use crate::operator::{Broadcast, Patch};

/// The longest file, in bytes. A version is in the plan log, whose records have a limit.
const LONGEST: u64 = 16 << 20;

/// The content of the one key.
type Version = ((), Vec<u8>);

/// What the bytes of a version mean.
type Check = Arc<dyn Fn(&[u8]) -> Result<(), BoxError> + Send + Sync>;

impl<'s> StreamingContext<'s> {
    /// What `decode` makes of the content of a file, on every worker. The file is read at the start, and again when it changes.
    ///
    /// A new version counts from the next batch on, for all rows and on all workers. A batch that runs again after a failure sees the version that
    /// it saw before, because the plan log has it. After a restart the job continues with the last version, and reads a file that
    /// has changed meanwhile. A file does not keep a job running: it ends with its other sources.
    ///
    /// Process 0 looks at the file once a batch: its size, times and inode. Write a new version elsewhere on the same file system and move it
    /// in, so that no half of it is read. Constraints: at most 16 MiB. `decode` must be pure; it runs in process 0, and again on each
    /// worker. The file is a source: `--plans` must give its versions, and its number counts. State: the content, in checkpoints.
    ///
    /// # Errors
    /// If the file cannot be read or decoded at the start, the start fails. Later the previous version stays, and
    /// [`Statistics::trouble`](crate::metrics::Statistics::trouble) says why.
    ///
    /// ```
    /// use std::collections::BTreeSet;
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-broadcast-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let file = dir.join("domains");
    /// std::fs::write(&file, "a.example\nb.example\n").unwrap();
    /// let urls = QueueSource::from_batches([vec!["a.example", "c.example"]]);
    /// let kept = MemorySink::new();
    /// let out = kept.clone();
    /// StreamingContext::builder("allowed", millis(5)).without_checkpoint().run(move |ssc| {
    ///     let lines = |bytes: &[u8]| Ok(std::str::from_utf8(bytes)?.lines().map(str::to_owned).collect::<BTreeSet<_>>());
    ///     let allowed = ssc.broadcast_file(&file, lines);
    ///     ssc.queue_stream(&urls)
    ///         .flat_map_with_broadcast(&allowed, |url, allowed| allowed.contains(url).then(|| url.to_owned()))
    ///         .to_memory(&out);
    ///     Ok(())
    /// })?;
    /// assert_eq!(kept.rows(), ["a.example"]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn broadcast_file<B: 'static>(
        &self,
        path: impl AsRef<Path>,
        decode: impl Fn(&[u8]) -> Result<B, BoxError> + Send + Sync + 'static,
    ) -> Broadcast<'s, B> {
        let operator = OperatorId::of("broadcast_file");
        let decode = Arc::new(decode);
        let checked = decode.clone();
        let (versions, undecoded) = self.versions(&operator, path.as_ref(), move |bytes| checked(bytes).map(drop));
        versions.broadcast_as(operator, move |changes| -> Patch<B> {
            let newest = changes.iter().find(|(_, n)| *n > 0).map(|(((), bytes), _)| decode(bytes).map(Rc::new));
            let newest = newest.transpose().unwrap_or_else(|e| {
                undecoded(e);
                None
            });
            Rc::new(move |value| {
                if let Some(newest) = &newest {
                    *value = Some(newest.clone());
                }
            })
        })
    }
}

impl<'s> StreamingContext<'s> {
    /// The newest version of a file, as a view with one row; and what ends the job if a worker cannot decode a version. `check` decodes it in
    /// process 0 before it counts.
    #[track_caller]
    pub(super) fn versions(
        &self,
        operator: &OperatorId,
        path: &Path,
        check: impl Fn(&[u8]) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> (View<'s, Version>, Box<dyn Fn(BoxError)>) {
        let path = local(path).unwrap_or_else(|e| {
            self.graph.report(operator, e);
            path.to_owned()
        });
        let (shown, fail) = (path.display().to_string(), self.graph.fail.clone());
        let newest = self.read(operator, Versions { path, check: Arc::new(check) }).latest_by_key();
        let undecoded = move |e: BoxError| {
            fail(Error::source(shown.as_str(), format!("a version that was decoded before cannot be decoded: {e}")));
        };
        (newest, Box::new(undecoded))
    }
}

/// The source: the versions of a file. A row is a version; there is one key.
struct Versions {
    path: PathBuf,
    check: Check,
}

impl Source for Versions {
    type Item = Version;

    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let (name, path, check) = (self.name(), self.path.clone(), self.check.clone());
        Ok(Box::new(Watch { name, path, check, seen: None, planned: None, next: None, trouble: None }))
    }

    fn reader(&self, _: &ReaderContext) -> Result<Box<dyn SourceReader<Version>>> {
        Ok(Box::new(Reader(self.name())))
    }
}

/// What tells that a file may have changed: inode, size, and the nanoseconds of its last changes.
type Stamp = (u64, u64, i128, i128);

/// The planner's half.
struct Watch {
    name: String,
    path: PathBuf,
    check: Check,
    /// The file when it was last read; `None` if it could not be read since.
    seen: Option<Stamp>,
    /// The hash of the last version that was planned.
    planned: Option<u64>,
    /// A version that is not planned.
    next: Option<Arc<[u8]>>,
    trouble: Option<String>,
}

impl Watch {
    /// Reads the file, if it has changed. A version that cannot be decoded is not planned.
    ///
    /// # Errors
    /// Why the previous version stays, in words.
    fn look(&mut self) -> Result<(), String> {
        let seen = self.seen.take();
        let unreadable = |e| format!("it cannot be read: {}", explained(&self.path, e));
        let meta = std::fs::metadata(&self.path).map_err(unreadable)?;
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let stamp = (meta.ino(), meta.len(), ns(meta.mtime(), meta.mtime_nsec()), ns(meta.ctime(), meta.ctime_nsec()));
        if seen == Some(stamp) {
            self.seen = seen;
            return self.trouble.clone().map_or(Ok(()), Err);
        }
        if meta.len() > LONGEST {
            return Err(format!("it has {} bytes; at most {LONGEST} are possible: keep what is larger in a view", meta.len()));
        }
        let bytes = std::fs::read(&self.path).map_err(unreadable)?;
        self.seen = Some(stamp);
        (self.check)(&bytes).map_err(|e| format!("it cannot be decoded: {e}"))?;
        if self.planned != Some(xxh3_64(&bytes)) {
            self.next = Some(bytes.into());
        }
        Ok(())
    }
}

impl SplitEnumerator for Watch {
    fn restore(&mut self, _: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        self.planned = snapshot.try_into().ok().map(u64::from_le_bytes);
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.planned.map_or_else(Vec::new, |hash| hash.to_le_bytes().to_vec())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        self.look().map_err(|e| Error::source(self.name.as_str(), e))?;
        Ok(Vec::new())
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        self.trouble = self.look().err();
        let Some(bytes) = self.next.take() else { return Ok(Vec::new()) };
        self.planned = Some(xxh3_64(&bytes));
        let (path, until) = (self.path.to_string_lossy().into(), bytes.len() as i64);
        Ok(vec![SplitRange { split: Split::Content { path, bytes }, from: 0, until }])
    }

    fn planned(&self) -> bool {
        true
    }

    fn health(&self) -> Result<(), String> {
        self.trouble.clone().map_or(Ok(()), Err)
    }

    /// A job ends with its other sources.
    fn bounded(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        true
    }
}

/// The worker's half.
struct Reader(String);

impl SourceReader<Version> for Reader {
    fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, Version>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _: &mut Emit<'_, Version>) -> Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Version>) -> Result<bool> {
        // A plan from a file names the path: the version is the one that is there now.
        let bytes = match &range.split {
            Split::Content { bytes, .. } => bytes.to_vec(),
            Split::File { path, .. } => std::fs::read(&**path).map_err(|e| Error::source(self.0.as_str(), e.to_string()))?,
            other => return Err(Error::source(self.0.as_str(), format!("the given range of {other} is not a version of it"))),
        };
        let size = bytes.len();
        emit(split_id, vec![((), bytes)], size);
        Ok(true)
    }
}
