//! `binary_files_stream`: each file that appears in a directory, whole.

use std::path::Path;
use std::sync::Arc;

use crate::api::context::StreamingContext;
use crate::connector::files::cut::{Cut, Cutter};
use crate::connector::files::source::TextFileSource;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{BadLine, Positioned};
use crate::operator::Decoded;

/// The longest file, in bytes: a worker has all of it in memory.
const LONGEST: usize = 256 << 20;

impl<'s> StreamingContext<'s> {
    /// The files that appear in a directory while the job runs: a row is the path of a file and all of its bytes. Spark's `binaryFiles`, as
    /// a stream: for formats that can only be read whole, such as Parquet.
    ///
    /// Files are found as by [`text_file_stream`](StreamingContext::text_file_stream), but not unpacked. A file of more than 256 MiB is a bad record.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("pictures", secs(1)).run(|ssc| {
    ///     ssc.binary_files_stream("/data/pictures").map(|(path, bytes)| (path, bytes.len())).print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "binaryFiles")]
    #[track_caller]
    pub fn binary_files_stream(&self, dir: impl AsRef<Path>) -> Decoded<'s, (String, Vec<u8>)> {
        self.whole_files_at(&OperatorId::of("binary_files_stream"), TextFileSource::new(dir.as_ref()))
    }

    /// Like [`binary_files_stream`](StreamingContext::binary_files_stream), with the options of a [`TextFileSource`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-whole-{}", std::process::id()));
    /// std::fs::create_dir_all(&dir).unwrap();
    /// std::fs::write(dir.join("picture"), [7, 0, 9]).unwrap();
    /// let seen = MemorySink::new();
    /// let (out, files) = (seen.clone(), TextFileSource::new(&dir).existing(true));
    /// let job = StreamingContext::builder("whole", millis(100)).without_checkpoint().start(move |ssc| {
    ///     ssc.binary_files_stream_with(files.clone()).map(|(_, bytes)| bytes).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), [[7, 0, 9]]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn binary_files_stream_with(&self, files: TextFileSource) -> Decoded<'s, (String, Vec<u8>)> {
        self.whole_files_at(&OperatorId::of("binary_files_stream_with"), files)
    }

    fn whole_files_at(&self, operator: &OperatorId, files: TextFileSource) -> Decoded<'s, (String, Vec<u8>)> {
        if files.header {
            self.graph.report(operator, "header(true) is for lines: a whole file has no header");
        }
        self.files_at(operator, files, FileCut { limit: LONGEST })
    }
}

/// A file is one row.
#[derive(Clone)]
struct FileCut {
    /// The longest file, in bytes.
    limit: usize,
}

/// The path and the bytes of a file, or what stands in its place.
type WholeFile = Result<(String, Vec<u8>), Box<BadLine>>;

impl Positioned for WholeFile {
    type Out = (String, Vec<u8>);

    fn positioned(self) -> Result<((String, Vec<u8>), i64), BadLine> {
        self.map(|file| (file, 0)).map_err(|bad| *bad)
    }
}

impl Cut for FileCut {
    type Cutter = FileCutter;

    fn is_text(&self) -> bool {
        false
    }

    fn begin(&self, path: &Arc<str>, _: u64, whole: bool) -> FileCutter {
        FileCutter { path: path.clone(), limit: self.limit, whole, bytes: Vec::new(), length: 0 }
    }
}

/// Takes the bytes of one file.
struct FileCutter {
    path: Arc<str>,
    limit: usize,
    /// Whether it is read from its beginning. A plan that is given may begin elsewhere.
    whole: bool,
    bytes: Vec<u8>,
    /// The bytes that it has so far. Behind the limit they are not kept.
    length: usize,
}

impl Cutter for FileCutter {
    type Item = WholeFile;

    fn feed(&mut self, bytes: &[u8], _: &mut Vec<WholeFile>) {
        self.length += bytes.len();
        match self.length <= self.limit {
            true => self.bytes.extend_from_slice(bytes),
            false => self.bytes = Vec::new(),
        }
    }

    fn finish(&mut self, out: &mut Vec<WholeFile>) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.whole && self.length <= self.limit {
            return out.push(Ok((self.path.to_string(), bytes)));
        }
        let reason = match self.whole {
            true => format!("the file has {} bytes; at most {} are possible: write smaller files", self.length, self.limit),
            false => "the given range is a part of the file, which is read whole".to_owned(),
        };
        out.push(Err(Box::new(BadLine { origin: self.path.clone(), offset: 0, raw: Vec::new(), reason })));
    }

    fn bad(bad: BadLine) -> WholeFile {
        Err(Box::new(bad))
    }

    fn bytes(item: &WholeFile) -> usize {
        size_of::<WholeFile>()
            + item.as_ref().map_or_else(|bad| bad.raw.len() + bad.reason.len(), |(path, bytes)| path.len() + bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], limit: usize, whole: bool) -> Vec<WholeFile> {
        let (mut cutter, mut out) = (FileCut { limit }.begin(&"f".into(), 0, whole), Vec::new());
        bytes.chunks(2).for_each(|chunk| cutter.feed(chunk, &mut out));
        cutter.finish(&mut out);
        out
    }

    #[test]
    fn a_file_is_one_row_up_to_the_limit() {
        assert_eq!(cut(b"abcde", 5, true), [Ok(("f".to_owned(), b"abcde".to_vec()))]);
        assert_eq!(cut(b"", 5, true), [Ok(("f".to_owned(), Vec::new()))]);
        let reason = |rows: Vec<WholeFile>| rows.into_iter().next().unwrap().unwrap_err().reason;
        assert_eq!(reason(cut(b"abcdef", 5, true)), "the file has 6 bytes; at most 5 are possible: write smaller files");
        assert!(reason(cut(b"abc", 5, false)).contains("a part of the file"));
    }
}
