//! The planner's half of files: lists the directory once a batch, and plans the files that are ready.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::connector::files::cleaner::Cleaner;
use crate::connector::files::cut::{Cut, Cutter};
use crate::connector::files::identity::{FileStamp, Found};
use crate::connector::files::options::TextFileSource;
use crate::connector::files::place::Place;
use crate::connector::files::reader::FileReader;
use crate::connector::files::saved;
use crate::connector::files::watch::{DirectoryWatch, Scan};
use crate::connector::source::{ReaderContext, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::clock::{Clock, Time};
use crate::core::data::Data;
use crate::core::error::{Error, Result};
use crate::core::path::explained;
use crate::core::plan::Split;

/// The source: the files to read, and its limits.
pub(super) struct Directory<C> {
    pub files: TextFileSource,
    pub place: Arc<Place>,
    /// How long a file must stay unchanged before it is planned.
    pub settled: Duration,
    /// How long a batch waits for the listing of a bucket.
    pub patience: Duration,
    /// Soft limit on the bytes of one batch, over all workers.
    pub batch_bytes: u64,
    /// How bytes become rows.
    pub cut: C,
    pub clock: Clock,
}

impl<C: Cut> Source for Directory<C>
where
    <C::Cutter as Cutter>::Item: Data,
{
    type Item = <C::Cutter as Cutter>::Item;

    fn name(&self) -> String {
        format!("files of {}", self.files.dir.display())
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let wrong = |reason: String| Error::source(self.name(), reason);
        if self.files.dir.to_str().is_none() {
            return Err(wrong("the path is not UTF-8: plans could not hold it; read it through a link".into()));
        }
        let place = self.place.clone();
        let unreadable = |e| wrong(format!("the directory cannot be read: {}", explained(place.root(), e)));
        let at_start = Some(place.list().map_err(unreadable)?);
        let cleaner = Cleaner::new(&self.files.clean_source, place.root());
        cleanable(cleaner.as_ref(), &place).map_err(|reason| wrong(reason.to_owned()))?;
        let mut watch = DirectoryWatch::new(self.files.clone(), place.settled(self.settled), self.batch_bytes);
        watch.whole = place.is_whole();
        let (patience, clock) = (self.patience, Time::new(self.clock.clone()));
        Ok(Box::new(FileEnumerator { watch, place, patience, at_start, ready: Vec::new(), trouble: None, clock, cleaner }))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Self::Item>>> {
        Ok(Box::new(FileReader::new(self.name(), self.place.clone(), self.cut.clone(), context.waker().clone())))
    }
}

/// Checks that no output has written files that are to be cleaned. An output may begin after the job, so each listing asks again.
fn cleanable(cleaner: Option<&Cleaner>, place: &Place) -> Result<(), &'static str> {
    match cleaner {
        Some(_) if place.has_log() => Err("it has a _spark_metadata, which names its files: those of an output are not cleaned"),
        _ => Ok(()),
    }
}

/// The planner's half.
struct FileEnumerator {
    watch: DirectoryWatch,
    place: Arc<Place>,
    patience: Duration,
    /// The directory when the job was started, for the first scan. A file that appears later is new.
    at_start: Option<Vec<Found>>,
    /// Files that were ready when the job or its drain began.
    ready: Vec<(String, FileStamp)>,
    trouble: Option<String>,
    clock: Time,
    /// `None`: files stay.
    cleaner: Option<Cleaner>,
}

impl FileEnumerator {
    fn scan(&mut self) -> std::io::Result<Scan> {
        let found = self.at_start.take().map_or_else(|| self.place.list(), Ok)?;
        self.scan_of(found)
    }

    fn scan_of(&mut self, found: Vec<Found>) -> std::io::Result<Scan> {
        cleanable(self.cleaner.as_ref(), &self.place).map_err(std::io::Error::other)?;
        let heads = self.place.heads(&found);
        let scan = self.watch.scan(found, self.clock.now(), &*heads);
        for warning in &scan.warnings {
            tracing::warn!(dir = %self.place.root().display(), "{warning}");
        }
        Ok(scan)
    }
}

/// The file of a split: its name below the root, and its version. `None`: it is elsewhere.
fn planned(root: &Path, split: &Split) -> Option<(String, FileStamp)> {
    let Split::File { path, size, modified_ms } = split else { return None };
    let name = Path::new(&**path).strip_prefix(root).ok()?.to_str()?;
    Some((name.to_owned(), FileStamp { size: *size, modified_ms: *modified_ms }))
}

impl SplitEnumerator for FileEnumerator {
    /// Files that existed or were read earlier are not read again. Files that appeared meanwhile are read.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        let root = self.place.root();
        let restored = saved::restore(&mut self.watch, root, snapshot, &read, self.clock.now());
        let uncleaned = restored.map_err(|e| {
            let dir = self.watch.files.dir.display().to_string();
            Error::source(dir, format!("the list of files in the checkpoint cannot be read: {e}"))
        })?;
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.restore(uncleaned);
            // Their batches run again.
            read.iter().filter_map(|offset| planned(root, &offset.split)).for_each(|(name, stamp)| cleaner.planned(name, stamp));
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        saved::snapshot(&self.watch, self.cleaner.as_ref().map(Cleaner::waiting).unwrap_or_default())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        if !self.watch.started {
            self.watch.last_ms = self.clock.now();
        }
        let dir = self.watch.files.dir.display().to_string();
        // After a restart an object is ready at once.
        let scan = self.scan();
        let scan = scan.map_err(|e| Error::source(format!("files of {dir}"), format!("the directory cannot be read: {e}")))?;
        self.ready = scan.ready;
        self.cleaner.as_mut().map_or(Ok(()), Cleaner::start)?;
        Ok(Vec::new())
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let scan = match std::mem::take(&mut self.ready) {
            ready if ready.is_empty() => match self.place.list_soon(self.patience) {
                Some(found) => found.and_then(|found| self.scan_of(found)),
                // What trouble there is stays.
                None => return Ok(Vec::new()),
            },
            ready => Ok(Scan { ready, ..Scan::default() }),
        };
        self.trouble = scan.as_ref().err().map(|e| format!("the directory cannot be read: {e}"));
        let dir = self.place.root();
        let range = |(name, stamp): (String, FileStamp)| SplitRange {
            split: Split::File {
                path: dir.join(name).to_string_lossy().into(),
                size: stamp.size,
                modified_ms: stamp.modified_ms,
            },
            from: 0,
            until: stamp.size as i64,
        };
        let ready = scan.map_or_else(|_| Vec::new(), |scan| scan.ready);
        if let Some(cleaner) = &self.cleaner {
            ready.iter().for_each(|(name, stamp)| cleaner.planned(name.clone(), *stamp));
        }
        Ok(ready.into_iter().map(range).collect())
    }

    fn awaits_checkpoints(&self) -> bool {
        self.cleaner.is_some()
    }

    fn on_checkpointed(&mut self, ranges: &[SplitRange]) {
        let root = self.place.root();
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.clean(ranges.iter().filter_map(|range| planned(root, &range.split)));
        }
    }

    fn planned(&self) -> bool {
        true
    }

    fn health(&self) -> Result<(), String> {
        self.trouble.clone().map_or(Ok(()), Err)
    }

    fn begin_drain(&mut self) -> Duration {
        let ready = self.scan().map_or_else(|_| Vec::new(), |scan| scan.ready);
        self.ready.extend(ready);
        self.watch.begin_drain(self.clock.now())
    }

    fn has_pending(&mut self) -> bool {
        let (pending, changed) = self.watch.pending(self.clock.now());
        if !pending && !changed.is_empty() {
            let (dir, files) = (self.watch.files.dir.display(), changed.join(", "));
            tracing::warn!(%dir, files, "these files are not read: they changed while the stop of the job waited for them");
            self.watch.end_drain();
        }
        pending || !self.ready.is_empty()
    }
}
