//! The worker's half of files: reads planned files whole, and cuts them into rows. object_fetch.rs reads objects of a bucket for it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::connector::files::content::{Content, is_damage};
use crate::connector::files::cut::{Cut, Cutter};
use crate::connector::files::identity::{FileStamp, renamed};
#[cfg(feature = "object-store")]
use crate::connector::files::object_fetch::{self, Fetch};
use crate::connector::files::place::Place;
use crate::connector::source::{Emit, Sealed, SourceReader, SplitRange, Waker};
use crate::core::error::{Error, Result};
use crate::core::plan::Split;
use crate::format::lines::{BadLine, LINES_A_CALL};

/// Bytes per read.
pub(super) const CHUNK: usize = 64 << 10;
/// 1 MiB of long lines also ends a call.
pub(super) const CHUNKS_A_CALL: usize = 16;

/// A range that is being read.
struct Open<C> {
    range: SplitRange,
    path: Arc<str>,
    content: Content,
    cutter: C,
    done: bool,
}

/// The worker's half.
pub(super) struct FileReader<C: Cut> {
    name: String,
    #[cfg_attr(not(feature = "object-store"), allow(dead_code, reason = "only objects of a bucket need it"))]
    place: Arc<Place>,
    cut: C,
    open: Option<Open<C::Cutter>>,
    #[cfg(feature = "object-store")]
    fetch: Option<Fetch<C::Cutter>>,
    waker: Waker,
}

impl<C: Cut> FileReader<C> {
    pub fn new(name: String, place: Arc<Place>, cut: C, waker: Waker) -> Self {
        FileReader {
            name,
            place,
            cut,
            open: None,
            #[cfg(feature = "object-store")]
            fetch: None,
            waker,
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::source(self.name.as_str(), reason)
    }

    /// The path of a range, and the version of the file.
    fn planned<'r>(&self, range: &'r SplitRange) -> Result<(&'r Arc<str>, FileStamp)> {
        match &range.split {
            Split::File { path, size, modified_ms } => Ok((path, FileStamp { size: *size, modified_ms: *modified_ms })),
            other => Err(self.error(format!("the given range of {} is not a range of a file", other.name()))),
        }
    }

    /// Finds and opens the file of a range, also under a new name.
    ///
    /// # Errors
    /// Inside: it no longer exists, or is not text. Outside: an error that must end the job.
    fn open(&self, range: &SplitRange) -> Result<std::result::Result<Open<C::Cutter>, String>> {
        let (path, planned) = self.planned(range)?;
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
            return Err(self.error(changed(path, planned, now) + ". Write files elsewhere and move them in"));
        }
        match self.begin(range, path, file) {
            Ok(open) => Ok(Ok(open)),
            Err(e) if is_damage(&e) => Ok(Err(e.to_string())),
            Err(e) => Err(self.error(format!("{path}: {e}"))),
        }
    }

    fn begin(&self, range: &SplitRange, path: &Arc<str>, file: File) -> std::io::Result<Open<C::Cutter>> {
        let content = Content::open(file, range.from, self.cut.is_text())?;
        let cutter = self.cut.begin(path, content.at as u64, range.from == 0);
        Ok(Open { range: range.clone(), path: path.clone(), content, cutter, done: false })
    }

    /// Gives the rows of an object, as far as it has been fetched.
    #[cfg(feature = "object-store")]
    fn read_object(
        &mut self,
        split_id: u32,
        range: &SplitRange,
        emit: &mut Emit<'_, <C::Cutter as Cutter>::Item>,
    ) -> Result<bool> {
        let mut fetch = match self.fetch.take().filter(|fetch| fetch.range == *range) {
            Some(fetch) => fetch,
            None => {
                let (path, planned) = self.planned(range)?;
                let begun = object_fetch::begin(&self.place, range, path, planned, self.cut.is_text(), self.waker.clone());
                begun.map_err(|reason| self.error(reason))?
            }
        };
        let mut rows = Vec::new();
        let done = fetch.rows(&self.cut, &mut rows).map_err(|reason| self.error(reason))?;
        if !done {
            self.fetch = Some(fetch);
        }
        let bytes = rows.iter().map(C::Cutter::bytes).sum();
        emit(split_id, rows, bytes);
        Ok(done)
    }

    /// Reads on, until there are rows for one call or the range is complete.
    fn read_on(open: &mut Open<C::Cutter>, rows: &mut Vec<<C::Cutter as Cutter>::Item>) -> std::io::Result<()> {
        let Open { range, content, cutter, done, .. } = open;
        let mut chunk = [0; CHUNK];
        let mut chunks = 0;
        while rows.len() < LINES_A_CALL && chunks < CHUNKS_A_CALL {
            let n = content.read(range.until, &mut chunk)?;
            if n == 0 {
                cutter.finish(rows);
                *done = true;
                return Ok(());
            }
            cutter.feed(&chunk[..n], rows);
            chunks += 1;
        }
        Ok(())
    }
}

/// The error of a file that is not the one of its plan.
pub(super) fn changed(path: &str, planned: FileStamp, now: FileStamp) -> String {
    format!(
        "{path} changed between the plan of its batch and its reading: {} bytes, changed at {} ms; now {} bytes, {} ms",
        planned.size, planned.modified_ms, now.size, now.modified_ms
    )
}

/// An error record in the place of a file, or of its rest.
pub(super) fn unreadable<C: Cutter>(path: &Arc<str>, offset: i64, reason: String) -> C::Item {
    tracing::warn!(%path, "{reason}");
    C::bad(BadLine { origin: path.clone(), offset, raw: Vec::new(), reason })
}

impl<C: Cut> SourceReader<<C::Cutter as Cutter>::Item> for FileReader<C> {
    fn assign(&mut self, _split_id: u32, _split: &Split, _from: Option<i64>) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _emit: &mut Emit<'_, <C::Cutter as Cutter>::Item>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _emit: &mut Emit<'_, <C::Cutter as Cutter>::Item>) -> Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(
        &mut self,
        split_id: u32,
        range: &SplitRange,
        emit: &mut Emit<'_, <C::Cutter as Cutter>::Item>,
    ) -> Result<bool> {
        #[cfg(feature = "object-store")]
        if let Place::Bucket(_) = &*self.place {
            return self.read_object(split_id, range, emit);
        }
        let mut open = match self.open.take().filter(|o| o.range == *range) {
            Some(open) => open,
            None => match self.open(range)? {
                Ok(open) => open,
                Err(reason) => {
                    emit(split_id, vec![unreadable::<C::Cutter>(range.split.name(), range.from, reason)], 0);
                    return Ok(true);
                }
            },
        };
        let mut rows = Vec::new();
        match Self::read_on(&mut open, &mut rows) {
            Ok(()) => {}
            Err(e) if is_damage(&e) => {
                rows.push(unreadable::<C::Cutter>(&open.path, open.content.at, format!("the file is damaged from here on: {e}")));
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
        let bytes = rows.iter().map(C::Cutter::bytes).sum();
        emit(split_id, rows, bytes);
        Ok(done)
    }
}
