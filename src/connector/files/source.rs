//! `text_file_stream`: lines of the files that appear in a directory. `enumerator` watches, and each worker's `reader` reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::api::context::StreamingContext;
use crate::connector::files::cut::{Cut, Cutter, LineCut};
use crate::connector::files::enumerator::Directory;
pub use crate::connector::files::options::{CleanSource, TextFileSource};
use crate::connector::files::place::Place;
use crate::core::path::local;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::Positioned;
use crate::operator::Decoded;
use crate::operator::decode::decoded_lines;

/// The minimum time a file must stay unchanged. File times are only accurate to some milliseconds.
const SETTLED: Duration = Duration::from_millis(100);
/// And at most this time, however long the batch interval is: a graceful stop waits for young files.
const SETTLED_AT_MOST: Duration = Duration::from_secs(10);
/// The longest time that a batch waits for the listing of a bucket. It gets a late one with the next batch.
const PATIENCE_AT_MOST: Duration = Duration::from_secs(1);

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
    /// - **Names** that begin with `.` or `_`, or end with `.tmp` or `._COPYING_`, are not read. Sub-directories are not read, unless
    ///   [`TextFileSource::recursive`] says so. A path with `*`, `?`, `[` or `{` is a [pattern](TextFileSource::new) of directories and files.
    ///   An entry that is not a plain file, or cannot be opened, is skipped, with one warning.
    /// - **Lines** end at LF, and a CR before it is not part of them. The last line needs no LF. A byte order mark at the
    ///   beginning is not part of the first line. Two kinds of lines are error records: lines that are not UTF-8, and lines over
    ///   [`max_line_bytes`](crate::api::builder::Builder::max_line_bytes) (only their beginning; the rest is skipped). Their
    ///   origin is the path, their offset the first byte.
    /// - **A gzip file**, and one of Zstandard (feature `zstd`, on with `kafka`), is unpacked, whatever its name. Its size is that on the disk; offsets of its lines count bytes of the
    ///   text. A file that is damaged, or is UTF-16, becomes an error record, after the lines before the damage.
    /// - **In S3** (feature `object-store`) the directory is `s3://BUCKET/PREFIX`, and its files are the objects `PREFIX/name`. An object is known
    ///   by its name and its ETag, which checkpoints have: one that is put again with the same content is not read again, and one with
    ///   another content is a new one. It is there as a whole, so it is ready at once. Process 0 lists the prefix once a batch, in the
    ///   background, and reads a thousand names a request. Keys, region and endpoint are those of the environment: `AWS_ACCESS_KEY_ID`,
    ///   `AWS_REGION`, `AWS_ENDPOINT` and others. Of a pattern, such as `s3://BUCKET/logs/2026-*/part-*.gz`, only folders that match are listed.
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
        let cut = LineCut::new(self.graph.config.max_line_bytes, files.header);
        self.files_at(operator, files, cut)
    }

    /// The rows that `cut` makes of files.
    pub(super) fn files_at<C: Cut>(
        &self,
        operator: &OperatorId,
        files: TextFileSource,
        cut: C,
    ) -> Decoded<'s, <<C::Cutter as Cutter>::Item as Positioned>::Out>
    where
        <C::Cutter as Cutter>::Item: Positioned,
    {
        let config = &self.graph.config;
        let place = Place::of(&files.dir, files.recursive).unwrap_or_else(|e| {
            self.graph.report(operator, e);
            Place::plain(&files.dir)
        });
        let place = place.by_log(files.metadata_log);
        if let Err(e) = config.apart(place.root(), true) {
            self.graph.report(operator, e);
        }
        let clean_source = place.cleaning(&files.clean_source).unwrap_or_else(|e| {
            self.graph.report(operator, e);
            CleanSource::Off
        });
        if let CleanSource::Archive(archive) = &clean_source
            && let Err(e) = config.apart(archive, false)
        {
            self.graph.report(operator, e);
        }
        // How the path is written in names of sources and in errors.
        let dir = local(&files.dir).unwrap_or_else(|_| files.dir.clone());
        let settled = self.batch_interval().clamp(SETTLED, SETTLED_AT_MOST);
        let patience = (self.batch_interval() / 10).min(PATIENCE_AT_MOST);
        let batch_bytes = config.batch_bytes.saturating_mul(config.peers()) as u64;
        let directory = Directory {
            files: TextFileSource { dir, clean_source, ..files },
            place: Arc::new(place),
            settled,
            patience,
            batch_bytes,
            cut,
            clock: config.clock.clone(),
        };
        decoded_lines(&self.read(operator, directory), operator)
    }
}
