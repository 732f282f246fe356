//! `binary_records_stream`: records of a fixed length from the files that appear in a directory.

use std::path::Path;

use crate::api::context::StreamingContext;
use crate::connector::files::cut::RecordCut;
use crate::connector::files::source::TextFileSource;
use crate::engine::operator_id::OperatorId;
use crate::operator::Decoded;

/// The longest record, in bytes.
const LONGEST: usize = 64 << 20;

impl<'s> StreamingContext<'s> {
    /// The records of the files that appear in a directory while the job runs; each record has `length` bytes. Spark's
    /// `binaryRecordsStream`.
    ///
    /// Files are found and read as by [`text_file_stream`](StreamingContext::text_file_stream), but not unpacked. If a file ends inside a
    /// record, its last bytes are a bad record, with their offset. `length` is 1 byte to 64 MiB.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("readings", secs(1)).run(|ssc| {
    ///     ssc.binary_records_stream("/data/readings", 2).map(|r| u16::from_be_bytes([r[0], r[1]])).count_by_value().print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "binaryRecordsStream")]
    #[track_caller]
    pub fn binary_records_stream(&self, dir: impl AsRef<Path>, length: usize) -> Decoded<'s, Vec<u8>> {
        self.records_at(&OperatorId::of("binary_records_stream"), TextFileSource::new(dir.as_ref()), length)
    }

    /// Like [`binary_records_stream`](StreamingContext::binary_records_stream), with the options of a [`TextFileSource`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-binary-{}", std::process::id()));
    /// std::fs::create_dir_all(&dir).unwrap();
    /// std::fs::write(dir.join("readings"), [0, 1, 0, 2, 7]).unwrap();
    /// let (seen, bad) = (MemorySink::new(), MemorySink::new());
    /// let (out, wrong, files) = (seen.clone(), bad.clone(), TextFileSource::new(&dir).existing(true));
    /// let job = StreamingContext::builder("binary", millis(100)).without_checkpoint().start(move |ssc| {
    ///     let records = ssc.binary_records_stream_with(files.clone(), 2);
    ///     records.map(|r| u16::from_be_bytes([r[0], r[1]])).to_memory(&out);
    ///     records.errors().map(|bad| (bad.offset, bad.raw)).to_memory(&wrong);
    ///     Ok(())
    /// })?;
    /// job.stop_gracefully()?;
    /// assert_eq!((seen.rows(), bad.rows()), (vec![1, 2], vec![(4, vec![7])]));
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn binary_records_stream_with(&self, files: TextFileSource, length: usize) -> Decoded<'s, Vec<u8>> {
        self.records_at(&OperatorId::of("binary_records_stream_with"), files, length)
    }

    fn records_at(&self, operator: &OperatorId, files: TextFileSource, length: usize) -> Decoded<'s, Vec<u8>> {
        if length == 0 || length > LONGEST {
            self.graph.report(operator, format!("a record of {length} bytes: say a length from 1 to {LONGEST}"));
        }
        if files.header {
            self.graph.report(operator, "header(true) is for lines: records have no header");
        }
        self.files_at(operator, files, RecordCut { length: length.max(1) })
    }
}
