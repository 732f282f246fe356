//! `tidemill dead-letters`: lists and shows dead letters of files or of a topic, and puts their records back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;

use super::checkpoint::table::Table;
use super::running_job::RunningJob;
use super::terminal;
use crate::core::clock::wall_ms;
use crate::core::correction::Correction;
use crate::core::data::BadRecord;
use crate::core::error::{BoxError, Error, Result};
use crate::core::letter::{self, Letter};
use crate::core::time::{BatchTime, counted};
use crate::replay::request::parse_time;

/// Reads the dead letters that `dead_letters(..)` of a program wrote: to files, or to a topic. A place with a `/`, or one that exists, is a folder, the prefix of
/// the program, or a file. Any other place is a topic.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Counts them by topic, verb and reason
    List(Place),
    /// Prints each as a line of JSON, as files of dead letters have it. Such lines can be edited and sent back
    Show(Place),
    /// Puts the records back into their topics, or into new files beside theirs: the job reads them as new ones
    Resend {
        #[command(flatten)]
        place: Place,
        /// Give them to the running job that listens here, each for the batch that it was in: windows and totals become right
        #[arg(long, value_name = "ADDR:PORT", value_parser = crate::http::address::parse)]
        as_correction: Option<SocketAddr>,
        /// File with the secret of the job, if it listens on another address than loopback [default: TIDEMILL_SECRET]
        #[arg(long, value_name = "FILE", requires = "as_correction")]
        secret_file: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Place {
    /// A folder, prefix or file; or a topic
    place: String,
    /// Only those whose reason has this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of this topic, path or address
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// Only those of this partition
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// Only those of this batch or later ones: milliseconds since the epoch, or 2026-11-21T17:08:55Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<BatchTime>,
    /// Only those of this batch or earlier ones
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<BatchTime>,
    /// Kafka brokers, HOST:PORT, several with commas between
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "LIST", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// A setting of librdkafka, such as security.protocol=SASL_PLAINTEXT; repeatable
    #[cfg(feature = "kafka")]
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::topic_command::pair)]
    set: Vec<(String, String)>,
}

impl Place {
    /// The dead letters that are asked for, in the order of their batches.
    fn letters(&self) -> Result<Vec<Letter>, BoxError> {
        let path = Path::new(&self.place);
        let files = self.place.contains('/') || path.exists();
        let mut letters = if files { of_files(path)? } else { self.of_topic()? };
        letters.retain(|letter| self.takes(letter));
        letters.sort_by(|a, b| (a.time, &a.origin, a.partition, a.offset).cmp(&(b.time, &b.origin, b.partition, b.offset)));
        Ok(letters)
    }

    fn takes(&self, letter: &BadRecord) -> bool {
        self.reason.as_ref().is_none_or(|text| letter.reason.contains(text.as_str()))
            && self.of.as_ref().is_none_or(|of| letter.origin == *of)
            && self.partition.is_none_or(|partition| letter.partition == partition)
            && self.from.is_none_or(|from| letter.time >= from)
            && self.to.is_none_or(|to| letter.time <= to)
    }

    #[cfg(feature = "kafka")]
    fn of_topic(&self) -> Result<Vec<Letter>, BoxError> {
        use std::sync::atomic::Ordering;
        let stopped = super::stop::stop_on_signals()?;
        let topics = crate::connector::kafka::topic_tools::Topics::new(&self.brokers, &self.set)?;
        let (letters, others) = topics.dead_letters(&self.place, || stopped.load(Ordering::Relaxed))?;
        if others > 0 {
            eprintln!(
                "{} of topic {} are no dead letters: they have no header __tidemill.errors.batch_time",
                counted(others, "record"),
                self.place
            );
        }
        Ok(letters)
    }

    #[cfg(not(feature = "kafka"))]
    fn of_topic(&self) -> Result<Vec<Letter>, BoxError> {
        Err(format!("{}: no such file, and this program was built without the feature `kafka`", self.place).into())
    }
}

/// The dead letters of a file, of all files below a folder, or of the folders with a prefix. Folders that a job has not completed are left out.
fn of_files(path: &Path) -> Result<Vec<Letter>> {
    let io = |path: &Path| {
        let place = path.display().to_string();
        move |e| Error::io(place, e)
    };
    let mut files = Vec::new();
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        below(path, &mut files).map_err(io(path))?;
    } else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!("{}-", path.file_name().unwrap_or_default().to_string_lossy());
        for entry in std::fs::read_dir(folder).map_err(io(folder))? {
            let entry = entry.map_err(io(folder))?.path();
            if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) && entry.is_dir() {
                below(&entry, &mut files).map_err(io(&entry))?;
            }
        }
    }
    let mut letters = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(io(&file))?;
        for (line, n) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
            let wrong = |why| {
                Error::config(format!(
                    "{}, line {n}: {why}; dead letters are the lines that dead_letters(..) writes",
                    file.display()
                ))
            };
            letters.push(letter::parse(line).map_err(wrong)?);
        }
    }
    Ok(letters)
}

/// The parts in completed folders.
fn below(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let complete = folder.join("_SUCCESS").exists();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?.path();
        let part = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"));
        if entry.is_dir() {
            below(&entry, files)?;
        } else if complete && part {
            files.push(entry);
        }
    }
    Ok(())
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    match &args.what {
        What::List(place) => list(&place.letters()?)?,
        What::Show(place) => place.letters()?.iter().try_for_each(|l| terminal::line(&letter::line(l, l.generation)))?,
        What::Resend { place, as_correction: Some(address), secret_file } => {
            let letters: Vec<BadRecord> = place.letters()?.into_iter().map(|letter| letter.bad).collect();
            correct(&letters, &RunningJob::at(*address, secret_file.as_deref())?)?;
        }
        What::Resend { place, as_correction: None, .. } => resend(place)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(letters: &[Letter]) -> Result<(), BoxError> {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&BadRecord>> = BTreeMap::new();
    for letter in letters {
        groups.entry((&letter.origin, &letter.verb, &letter.reason)).or_default().push(letter);
    }
    let mut table = Table::new(&["> records", "first batch", "last batch", "from", "verb", "reason"]);
    for ((origin, verb, reason), group) in groups {
        let (first, last) = (group[0].time.millis(), group[group.len() - 1].time.millis());
        table.row([group.len().to_string(), first.to_string(), last.to_string(), origin.into(), verb.into(), reason.into()]);
    }
    eprintln!("{}", counted(letters.len() as u64, "dead letter"));
    table.text().lines().try_for_each(terminal::line)?;
    Ok(())
}

/// What the job answers to a correction.
#[derive(Deserialize)]
struct Answer {
    corrected: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    of: u64,
    batch: u64,
    records: u64,
    left: Vec<String>,
}

/// Gives the records to a running job, a batch at a time.
fn correct(letters: &[BadRecord], job: &RunningJob) -> Result<(), BoxError> {
    for correction in Correction::all(letters) {
        let body: String = correction.letters.iter().map(|bad| letter::line(bad, 0) + "\n").collect();
        let Answer { corrected } = job.post("/api/v1/corrections", "application/x-ndjson", &body)?;
        for One { of, batch, records, left } in corrected {
            let left = if left.is_empty() {
                String::new()
            } else {
                format!("; these windows have left it and stay: {}", left.join(", "))
            };
            terminal::line(&format!("batch {of}: {} read again in batch {batch}{left}", counted(records, "record")))?;
        }
    }
    Ok(())
}

/// Puts the records back where they are from.
fn resend(place: &Place) -> Result<(), BoxError> {
    let letters = place.letters()?;
    let mut places: BTreeMap<&str, Vec<&BadRecord>> = BTreeMap::new();
    letters.iter().for_each(|letter| places.entry(&letter.origin).or_default().push(letter));
    if let Some(unknown) = places.get("") {
        let many = counted(unknown.len() as u64, "dead letter");
        return Err(format!(
            "{many} do not say where they are from: --of NAME leaves them out, --as-correction ADDR does not need it"
        )
        .into());
    }
    for (origin, letters) in places {
        let many = counted(letters.len() as u64, "record");
        match Path::new(origin).parent().filter(|_| origin.contains('/')) {
            Some(folder) => {
                let file = put_beside(folder, &letters)?;
                terminal::line(&format!("{many} of {origin} written to {}", file.display()))?;
            }
            None => {
                place.put_back(origin, &letters)?;
                terminal::line(&format!("{many} sent to topic {origin}"))?;
            }
        }
    }
    Ok(())
}

impl Place {
    #[cfg(feature = "kafka")]
    fn put_back(&self, topic: &str, letters: &[&BadRecord]) -> Result<()> {
        let topics = crate::connector::kafka::topic_tools::Topics::new(&self.brokers, &self.set)?;
        topics.must_exist(topic)?;
        crate::connector::kafka::dead_letter_topic::put_back(&self.brokers, &self.set, topic, letters)?;
        Ok(())
    }

    #[cfg(not(feature = "kafka"))]
    fn put_back(&self, topic: &str, _: &[&BadRecord]) -> Result<()> {
        Err(Error::config(format!("{topic} is no path, and this program was built without the feature `kafka`")))
    }
}

/// Writes lines into a new file of this folder. It has its name when it is complete, so a job that watches the folder reads all of it.
fn put_beside(folder: &Path, letters: &[&BadRecord]) -> Result<PathBuf> {
    let name = format!("resent-{}.txt", wall_ms());
    let (file, hidden) = (folder.join(&name), folder.join(format!(".{name}")));
    let text: Vec<u8> = letters.iter().flat_map(|letter| letter.raw.iter().copied().chain([b'\n'])).collect();
    let failed = |e| Error::io(format!("the records could not be written to {}", file.display()), e);
    std::fs::write(&hidden, text).map_err(failed)?;
    std::fs::rename(&hidden, &file).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn place(args: &[&str]) -> Place {
        let line = ["dead-letters", "show"].iter().chain(args);
        match Command::try_parse_from(line).unwrap().args.what {
            What::Show(place) => place,
            _ => unreachable!("`show` was parsed"),
        }
    }

    fn letter(time: u64, origin: &str, partition: i32, raw: &str) -> BadRecord {
        BadRecord {
            origin: origin.into(),
            partition,
            offset: 1,
            time: BatchTime::from_millis(time),
            raw: raw.into(),
            key: None,
            headers: Vec::new(),
            verb: "decode (main.rs:7)".into(),
            reason: format!("bad {raw}"),
        }
    }

    /// Folders as `save_as_text_files_with` writes them. The one of 30 is not complete.
    fn written(dir: &Path, letters: &[BadRecord]) {
        for bad in letters {
            let folder = dir.join(format!("dead-{}", bad.time.millis()));
            std::fs::create_dir_all(&folder).unwrap();
            let part = folder.join(format!("part-{:05}", bad.partition));
            let before = std::fs::read_to_string(&part).unwrap_or_default();
            std::fs::write(part, before + &letter::line(bad, 0) + "\n").unwrap();
            if bad.time.millis() != 30 {
                std::fs::write(folder.join("_SUCCESS"), "").unwrap();
            }
        }
    }

    #[test]
    fn letters_of_a_folder_a_prefix_or_a_file_are_selected() {
        let dir = TempDir::made("dead-letters");
        let root = Path::new(dir.path());
        let all = [letter(10, "a", 1, "x"), letter(10, "b", 0, "y"), letter(20, "a", 0, "z"), letter(30, "a", 0, "w")];
        written(root, &all);
        let root = root.display().to_string();
        let raw = |args: &[&str]| {
            let letters = place(args).letters().unwrap();
            letters.iter().map(|bad| String::from_utf8(bad.raw.clone()).unwrap()).collect::<String>()
        };
        let prefix = format!("{root}/dead");
        assert_eq!((raw(&[&root]), raw(&[&prefix])), ("xyz".into(), "xyz".into()));
        assert_eq!(raw(&[&format!("{root}/dead-20")]), "z");
        assert_eq!(raw(&[&format!("{root}/dead-30/part-00000")]), "w", "a file that is named is read");
        assert_eq!(raw(&[&root, "--of", "a"]), "xz");
        assert_eq!(raw(&[&root, "--partition", "1"]), "x");
        assert_eq!(raw(&[&root, "--from", "20"]), "z");
        assert_eq!(raw(&[&root, "--to", "10", "--reason", "bad y"]), "y");
        std::fs::write(format!("{root}/dead-20/part-00009"), "no\n").unwrap();
        let why = place(&[&root]).letters().unwrap_err().to_string();
        assert!(why.contains("part-00009, line 1: this is not a line of JSON"), "{why}");
    }

    #[test]
    fn records_of_files_go_into_a_new_file_beside_theirs() {
        let (dir, input) = (TempDir::made("letters"), TempDir::made("input"));
        let origin = format!("{}/in.txt", input.path());
        written(Path::new(dir.path()), &[letter(10, &origin, 0, "x"), letter(20, &origin, 0, "y")]);
        resend(&place(&[dir.path()])).unwrap();
        let files: Vec<PathBuf> = std::fs::read_dir(input.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(std::fs::read_to_string(&files[0]).unwrap(), "x\ny\n");
        written(Path::new(dir.path()), &[letter(20, "", 0, "z")]);
        let why = resend(&place(&[dir.path()])).unwrap_err().to_string();
        assert!(why.starts_with("1 dead letter do not say") || why.contains("where they are from"), "{why}");
    }
}
