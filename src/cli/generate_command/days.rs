//! Files by day: the lines of each day of the records' own times are a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::generate::date;
use super::output::Output;
use super::records::Record;
use crate::core::error::{BoxError, Error};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The files of a directory, each with the records of a day in UTC: `2017-01-11.json`.
///
/// A file has this name when it is whole. A record of an earlier day than the one before begins another file: `2017-01-11-2.json`.
pub(super) struct Days {
    dir: PathBuf,
    ending: &'static str,
    open: Option<Day>,
    /// How many files each day has.
    files: BTreeMap<u64, u32>,
}

/// The file that is written.
struct Day {
    /// Since the epoch.
    number: u64,
    path: PathBuf,
    unfinished: PathBuf,
    out: BufWriter<File>,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |e| Error::io(path, e)
}

impl Days {
    /// # Errors
    /// The directory cannot be made.
    pub fn new(dir: &Path, ending: &'static str) -> Result<Self, BoxError> {
        let dir = crate::core::path::local(dir)?;
        std::fs::create_dir_all(&dir).map_err(failed(&dir))?;
        Ok(Days { dir, ending, open: None, files: BTreeMap::new() })
    }

    /// Completes the file that is open, and begins one of this day.
    fn begin(&mut self, number: u64) -> Result<(), BoxError> {
        self.complete()?;
        let files = self.files.entry(number).or_default();
        *files += 1;
        let day = date(number * DAY_MS, "%Y-%m-%d");
        let name = match *files {
            1 => format!("{day}.{}", self.ending),
            n => format!("{day}-{n}.{}", self.ending),
        };
        // Programs that read the directory leave names out that begin with a dot.
        let (path, unfinished) = (self.dir.join(&name), self.dir.join(format!(".{name}")));
        if path.exists() {
            return Err(format!("{} is there: remove it, or name another directory by --by-day", path.display()).into());
        }
        let file = File::create(&unfinished).map_err(failed(&unfinished))?;
        self.open = Some(Day { number, path, unfinished, out: BufWriter::with_capacity(1 << 16, file) });
        Ok(())
    }

    fn complete(&mut self) -> Result<(), BoxError> {
        let Some(mut day) = self.open.take() else { return Ok(()) };
        day.out.flush().map_err(failed(&day.unfinished))?;
        Ok(std::fs::rename(&day.unfinished, &day.path).map_err(failed(&day.path))?)
    }
}

impl Output for Days {
    fn send(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        let number = record.time.map(|ms| ms / DAY_MS);
        // A line without a time stays with the line before it.
        match (number, self.open.as_ref().map(|day| day.number)) {
            (Some(number), open) if open != Some(number) => self.begin(number)?,
            (None, None) => {
                return Err("the first line has no time, so it is of no day: --time FIELD says where times are".into());
            }
            _ => {}
        }
        record.bytes.push(b'\n');
        let day = self.open.as_mut().expect("a file is open");
        day.out.write_all(&record.bytes).map_err(failed(&day.unfinished))?;
        Ok(true)
    }

    fn pause(&mut self) -> Result<bool, BoxError> {
        Ok(true)
    }

    fn finish(mut self: Box<Self>, sent: u64) -> Result<u64, BoxError> {
        self.complete()?;
        Ok(sent)
    }

    fn place(&self) -> String {
        format!(" in {}", self.dir.display())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::generate::BEGIN_MS;
    use super::*;
    use crate::testing::temp_dir::TempDir;

    fn record(text: &str, time: Option<u64>) -> Record {
        Record { bytes: text.as_bytes().to_vec(), time }
    }

    /// The files of a directory with their contents.
    fn files(dir: &TempDir) -> Vec<(String, String)> {
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().to_str().unwrap().to_owned();
        let read = |name: String| (name.clone(), std::fs::read_to_string(Path::new(dir.path()).join(name)).unwrap());
        let mut all: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(name).map(read).collect();
        all.sort();
        all
    }

    #[test]
    fn each_day_is_a_file_that_is_named_when_it_is_whole() {
        let dir = TempDir::made("days");
        let mut days = Box::new(Days::new(Path::new(dir.path()), "log").unwrap());
        for (text, time) in [("a", 0), ("b", 1), ("c", DAY_MS), ("d", 2 * DAY_MS), ("late", DAY_MS)] {
            assert!(days.send(&mut record(text, Some(BEGIN_MS + time))).unwrap());
        }
        assert!(days.send(&mut record("timeless", None)).unwrap());
        let names: Vec<String> = files(&dir).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [".2017-01-12-2.log", "2017-01-11.log", "2017-01-12.log", "2017-01-13.log"]);
        assert_eq!(days.finish(6).unwrap(), 6);
        let expected = [
            ("2017-01-11.log", "a\nb\n"),
            ("2017-01-12-2.log", "late\ntimeless\n"),
            ("2017-01-12.log", "c\n"),
            ("2017-01-13.log", "d\n"),
        ];
        assert_eq!(files(&dir), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_that_is_there_is_not_replaced_and_a_first_line_needs_a_time() {
        let dir = TempDir::made("days-again");
        let days = || Days::new(Path::new(dir.path()), "txt").unwrap();
        let e = days().send(&mut record("x", None)).unwrap_err().to_string();
        assert!(e.contains("--time FIELD"), "{e}");
        std::fs::write(Path::new(dir.path()).join("2017-01-11.txt"), "kept").unwrap();
        let e = days().send(&mut record("x", Some(BEGIN_MS))).unwrap_err().to_string();
        assert!(e.contains("2017-01-11.txt is there"), "{e}");
        assert_eq!(files(&dir), [("2017-01-11.txt".to_owned(), "kept".to_owned())]);
        assert!(Days::new(Path::new("s3://bucket/x"), "json").is_err());
    }
}
