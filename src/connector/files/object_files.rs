//! `save_as_object_files` and `object_file_stream`: rows of any type in files, and back.

use std::path::Path;

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::files::sink::TextFileSink;
use crate::connector::files::source::TextFileSource;
use crate::core::data::Exchange;
use crate::engine::operator_id::OperatorId;
use crate::format::Object;
use crate::format::object::object_text;
use crate::operator::Decoded;

impl<'s, T: Exchange> DStream<'s, T> {
    /// Writes each batch into its own directory, as [`save_as_text_files`](DStream::save_as_text_files) does, but so that
    /// [`StreamingContext::object_file_stream`] reads the same rows. Spark's `saveAsObjectFiles`.
    ///
    /// A line is a row: its encoded bytes in hexadecimal (docs/formats.md). Files and guarantees are those of `save_as_text_files`.
    ///
    /// # Errors
    /// Like `save_as_text_files`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-objects-{}", std::process::id()));
    /// let (queue, prefix) = (QueueSource::from_batches([vec![("a\nb".to_owned(), 0.5)]]), dir.join("rows"));
    /// StreamingContext::builder("save", millis(100)).without_checkpoint().run(move |ssc| {
    ///     ssc.queue_stream(&queue).save_as_object_files(&prefix, "");
    ///     Ok(())
    /// })?;
    /// let batch = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("read", millis(100)).without_checkpoint().start(move |ssc| {
    ///     ssc.object_file_stream::<(String, f64)>(&batch).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), [("a\nb".to_owned(), 0.5)]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "saveAsObjectFiles")]
    #[track_caller]
    pub fn save_as_object_files(&self, prefix: impl AsRef<Path>, suffix: impl AsRef<str>) {
        let sink = TextFileSink::new(prefix.as_ref()).suffix(suffix.as_ref());
        self.map(|row| object_text(&row)).save_at(&OperatorId::of("save_as_object_files"), &sink);
    }
}

impl<'s> StreamingContext<'s> {
    /// The rows of the files in a directory, those that are there and those that appear: the directory of one batch of
    /// [`save_as_object_files`](DStream::save_as_object_files), or one into which its parts are moved. Spark's `objectFile`, as a stream.
    ///
    /// Files, order and a graceful stop are as for [`text_file_stream`](StreamingContext::text_file_stream). A line that is no `T` is a bad
    /// record. Types are not checked: bytes of one may be valid for another. A row of more than half of
    /// [`max_line_bytes`](crate::api::builder::Builder::max_line_bytes) is a bad line, which is logged.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("read", secs(1)).run(|ssc| {
    ///     ssc.object_file_stream::<(String, i64)>("out/rows-1526239245000").reduce_by_key(|a, b| a + b).print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "objectFile")]
    #[track_caller]
    pub fn object_file_stream<T: Exchange>(&self, dir: impl AsRef<Path>) -> Decoded<'s, T> {
        let files = TextFileSource::new(dir.as_ref()).existing(true);
        self.text_files_at(&OperatorId::of("object_file_stream"), files).decode(Object::new())
    }
}
