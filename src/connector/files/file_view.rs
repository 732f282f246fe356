//! `file_view`: the rows of one file as a view, which changes with the file.

use std::path::Path;
use std::sync::Arc;

use crate::api::context::StreamingContext;
use crate::api::view::View;
use crate::core::data::Key;
use crate::core::error::{BoxError, Result};
use crate::engine::operator_id::OperatorId;

impl<'s> StreamingContext<'s> {
    /// A view of the rows that `decode` makes of the content of a file. When the file changes, rows leave the view and others enter it: so the
    /// results of joins and counts are corrected. [`StreamingContext::broadcast_file`] leaves results as they are, and costs less.
    ///
    /// When the file is read, which version a batch sees, and the constraints are those of `broadcast_file`: at most 16 MiB, moved into place,
    /// and a source whose number counts. `decode` must be pure: it runs in process 0, and again on one worker when a version enters
    /// and when it leaves. A change costs both versions, and what follows costs the rows that differ. State: the content, in checkpoints.
    ///
    /// # Errors
    /// As `broadcast_file`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-file-view-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let file = dir.join("prices");
    /// std::fs::write(&file, "tea 3\ncake 5\n").unwrap();
    /// let orders = QueueSource::from_batches([vec!["tea".to_owned(), "tea".to_owned()]]);
    /// let kept = MemorySink::new();
    /// let out = kept.clone();
    /// StreamingContext::builder("bill", millis(5)).without_checkpoint().run(move |ssc| {
    ///     let line = |line: &str| line.split_once(' ').map(|(item, price)| (item.to_owned(), price.to_owned()));
    ///     let prices = ssc.file_view(&file, move |bytes| Ok(std::str::from_utf8(bytes)?.lines().filter_map(line).collect()));
    ///     ssc.queue_stream(&orders).count_by_value().sum_by_key().join(&prices).complete().to_memory(&out);
    ///     Ok(())
    /// })?;
    /// assert_eq!(kept.rows(), [("tea".to_owned(), (2, "3".to_owned()))]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn file_view<T: Key>(
        &self,
        path: impl AsRef<Path>,
        decode: impl Fn(&[u8]) -> Result<Vec<T>, BoxError> + Send + Sync + 'static,
    ) -> View<'s, T> {
        let operator = OperatorId::of("file_view");
        let decode = Arc::new(decode);
        let checked = decode.clone();
        let (versions, undecoded) = self.versions(&operator, path.as_ref(), move |bytes| checked(bytes).map(drop));
        versions.flat_map(move |((), bytes): ((), Vec<u8>)| {
            decode(&bytes).unwrap_or_else(|e| {
                undecoded(e);
                Vec::new()
            })
        })
    }
}
