//! Where records come from: a generator, or the lines of a file.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::super::generate::{BEGIN_MS, Generate, Nexmark, Spoiled, Tweets, Weblogs, Words};
use super::arguments::{Args, DEFAULT_RATE, Kind};
use super::record_time::RecordTime;
use crate::core::error::{BoxError, Error};

/// A record, without a line end.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub bytes: Vec<u8>,
    /// When it happened, in milliseconds since the epoch, if that is known.
    pub time: Option<u64>,
}

/// The source of the records.
pub(super) enum Records {
    Made { generator: Box<dyn Generate>, made: u64, rate: f64 },
    Lines(Lines),
}

/// The lines of a file.
pub(super) struct Lines {
    lines: Box<dyn BufRead>,
    path: PathBuf,
    time: Option<RecordTime>,
    /// How many lines had no time.
    timeless: u64,
    /// How many bytes of the file were read, and how many it has, if that is known.
    read: Rc<Cell<u64>>,
    size: Option<u64>,
}

impl Records {
    pub fn new(args: &Args) -> Result<Self, BoxError> {
        if let Some(path) = &args.file {
            return Ok(Records::Lines(Lines::of(path, args.needed_time()?)?));
        }
        let (seed, bad) = (args.seed, args.bad);
        let generator: Box<dyn Generate> = match args.kind {
            Kind::Tweets => Box::new(Spoiled::new(Tweets::new(seed), bad, seed)),
            Kind::Weblogs => Box::new(Spoiled::new(Weblogs::new(seed), bad, seed)),
            Kind::Nexmark => Box::new(Spoiled::new(Nexmark::new(seed), bad, seed)),
            Kind::Words => {
                let words = args.line.map_or_else(|| Words::json(seed), |n| Words::lines(seed, n.into()));
                Box::new(Spoiled::new(words, bad, seed))
            }
        };
        // The times in the records depend on the rate, not on the clock.
        Ok(Records::Made { generator, made: 0, rate: args.rate.unwrap_or(DEFAULT_RATE) })
    }

    /// The next record; false at the end.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        record.bytes.clear();
        match self {
            Records::Made { generator, made, rate } => {
                let time = BEGIN_MS + (*made as f64 * 1_000.0 / *rate) as u64;
                generator.write(time, &mut record.bytes);
                record.time = Some(time);
                *made += 1;
                Ok(true)
            }
            Records::Lines(lines) => lines.next(record),
        }
    }

    /// How many records had no time, although one was needed.
    pub fn timeless(&self) -> u64 {
        match self {
            Records::Made { .. } => 0,
            Records::Lines(lines) => lines.timeless,
        }
    }

    /// Which share of them was read, if that is known.
    pub fn done(&self) -> Option<f64> {
        match self {
            Records::Made { .. } => None,
            Records::Lines(lines) => lines.size.map(|size| lines.read.get() as f64 / size as f64),
        }
    }
}

impl Lines {
    /// The lines of a file or of stdin, which may be compressed by gzip. `time`: where a line has its time, if that is needed.
    fn of(path: &Path, time: Option<RecordTime>) -> Result<Self, BoxError> {
        let wrong = |e| Error::io(path.display().to_string(), e);
        let (file, size): (Box<dyn Read>, _) = match path == Path::new("-") {
            true => (Box::new(std::io::stdin()), None),
            false => {
                let file = std::fs::File::open(path).map_err(wrong)?;
                let size = file.metadata().map_or(0, |meta| meta.len());
                (Box::new(file), (size > 0).then_some(size))
            }
        };
        let read = Rc::<Cell<u64>>::default();
        let counted = Counted { inner: file, read: read.clone() };
        let lines = unpacked(counted).map_err(wrong)?;
        Ok(Lines { lines, path: path.to_owned(), time, timeless: 0, read, size })
    }

    fn next(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        let read = self.lines.read_until(b'\n', &mut record.bytes);
        if read.map_err(|e| Error::io(self.path.display().to_string(), e))? == 0 {
            return Ok(false);
        }
        while matches!(record.bytes.last(), Some(b'\n' | b'\r')) {
            record.bytes.pop();
        }
        record.time = self.time.as_ref().and_then(|time| time.read(&record.bytes));
        if self.time.is_some() && record.time.is_none() {
            self.timeless += 1;
        }
        Ok(true)
    }
}

/// The content of a file that may be compressed by gzip.
fn unpacked(file: impl Read + 'static) -> std::io::Result<Box<dyn BufRead>> {
    /// The first bytes of every gzip file.
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut lines = BufReader::with_capacity(1 << 16, file);
    if lines.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(lines))));
    }
    Ok(Box::new(lines))
}

/// Counts the bytes that are read.
struct Counted {
    inner: Box<dyn Read>,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// These lines, whose times are in the field `at`.
    pub(in super::super) fn lines(text: &'static str) -> Records {
        let time = RecordTime::of(Kind::Words, Some("at"));
        let (lines, read) = (Box::new(text.as_bytes()), Rc::default());
        Records::Lines(Lines { lines, path: "lines".into(), time, timeless: 0, read, size: None })
    }

    #[test]
    fn a_line_without_a_time_is_counted() {
        let mut records = lines("{\"at\": 1484154535}\r\nnone\n{\"at\": 1484154536}");
        let (mut record, mut times) = (Record::default(), Vec::new());
        while records.next(&mut record).unwrap() {
            times.push((String::from_utf8(record.bytes.clone()).unwrap(), record.time));
        }
        let expected =
            [("{\"at\": 1484154535}", Some(BEGIN_MS)), ("none", None), ("{\"at\": 1484154536}", Some(BEGIN_MS + 1_000))];
        assert_eq!(times, expected.map(|(text, time)| (text.to_owned(), time)));
        assert_eq!((records.timeless(), records.done()), (1, None));
    }

    #[test]
    fn the_share_of_a_file_that_was_read_is_known() {
        let dir = crate::testing::temp_dir::TempDir::made("gen-lines");
        let path = Path::new(dir.path()).join("lines");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let mut records = Records::Lines(Lines::of(&path, None).unwrap());
        let mut record = Record::default();
        while records.next(&mut record).unwrap() {}
        assert_eq!((records.done(), records.timeless()), (Some(1.0), 0));
    }
}
