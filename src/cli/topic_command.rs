//! `tidemill topic`: lists, creates and reads topics, and shows how far a consumer group has read.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use super::checkpoint::table::Table;
use super::stop::stop_on_signals;
use super::terminal::{grouped, line, listened};
use crate::connector::kafka::topic_tools::Topics;
use crate::core::error::{BoxError, Error, Result};
use crate::core::time::counted;

/// Lists, creates and reads topics of Kafka.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// Kafka brokers, HOST:PORT, several with commas between
    #[arg(long, value_name = "LIST", default_value = "127.0.0.1:9092", global = true)]
    brokers: String,
    /// A setting of librdkafka, such as security.protocol=SASL_PLAINTEXT; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair, global = true)]
    set: Vec<(String, String)>,
    /// A file with such settings, one a line: passwords in it are not seen by other users of this machine
    #[arg(long, value_name = "FILE", global = true)]
    settings: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Lists all topics, with their partitions and the number of offsets that they hold
    List,
    /// Creates a topic
    Create {
        /// Its name
        topic: String,
        /// Partitions
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// Copies of each partition [default: as the brokers are configured]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        replication: Option<i32>,
        /// A setting of the topic, such as retention.ms=86400000; repeatable
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = pair)]
        config: Vec<(String, String)>,
    },
    /// Writes the committed records of a topic to stdout, one a line, up to its end
    Read {
        /// Its name
        topic: String,
        /// Begin with records that arrive from now on, and go on until Ctrl-C
        #[arg(long)]
        follow: bool,
        /// End after N records
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Write each key and a tab before the value
        #[arg(long)]
        keys: bool,
    },
    /// Shows how far a consumer group has read; a job with a checkpoint directory commits as the group with its name
    Lag {
        /// The consumer group
        group: String,
    },
}

pub(super) fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.trim().into())),
        _ => Err("write KEY=VALUE".into()),
    }
}

/// The settings of a file. Empty lines, and lines that begin with `#`, are left out.
fn settings_of(path: &PathBuf) -> Result<Vec<(String, String)>, BoxError> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(place.to_string(), e))?;
    let lines = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    lines.map(|(l, n)| pair(l).map_err(|e| format!("{place}, line {n}: {e}").into())).collect()
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let mut set = args.settings.as_ref().map_or(Ok(Vec::new()), settings_of)?;
    set.extend(args.set.iter().cloned());
    let topics = Topics::new(&args.brokers, &set)?;
    match &args.what {
        What::List => list(&topics)?,
        What::Create { topic, partitions, replication, config } => {
            topics.create(topic, *partitions, *replication, config)?;
            line(&format!("topic {topic} has {}", counted(partitions.unsigned_abs().into(), "partition")))?;
        }
        What::Read { topic, follow, count, keys } => read(&topics, topic, *follow, *count, *keys)?,
        What::Lag { group } => lag(&topics, group)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(topics: &Topics) -> Result<(), BoxError> {
    let mut table = Table::new(&["topic", ">partitions", ">offsets"]);
    for topic in topics.list()? {
        table.row([topic.name, topic.partitions.to_string(), grouped(topic.offsets.unsigned_abs())]);
    }
    Ok(line(table.text().trim_end())?)
}

fn lag(topics: &Topics, group: &str) -> Result<(), BoxError> {
    let lags = topics.lag(group)?;
    if lags.is_empty() {
        let why = "a job commits offsets under its name if it has a checkpoint directory";
        return Err(format!("the consumer group {group} has committed no offset: {why}").into());
    }
    let mut table = Table::new(&["topic", ">partition", ">committed", ">end", ">lag"]);
    for lag in &lags {
        let numbers = [i64::from(lag.partition), lag.committed, lag.end, lag.lag()].map(|n| n.to_string());
        let [partition, committed, end, left] = numbers;
        table.row([lag.topic.clone(), partition, committed, end, left]);
    }
    let all: i64 = lags.iter().map(|lag| lag.lag()).sum();
    Ok(line(&format!("{}{} records are not read yet", table.text(), grouped(all.unsigned_abs())))?)
}

fn read(topics: &Topics, topic: &str, follow: bool, count: Option<u64>, keys: bool) -> Result<(), BoxError> {
    let stop = stop_on_signals()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut left = count.unwrap_or(u64::MAX);
    let give = |key: Option<&[u8]>, value: Option<&[u8]>| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        let mut row = Vec::new();
        if keys {
            row.extend_from_slice(key.unwrap_or(b"null"));
            row.push(b'\t');
        }
        row.extend_from_slice(value.unwrap_or(b"null"));
        row.push(b'\n');
        let written = out.write_all(&row).and_then(|()| if follow { out.flush() } else { Ok(()) });
        Ok(listened(written)? && left > 0)
    };
    topics.read(topic, !follow, follow, || stop.load(Ordering::Relaxed), give)?;
    listened(out.flush())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_pairs_and_a_file_has_one_a_line() {
        assert_eq!(pair("sasl.password=a=b").unwrap(), ("sasl.password".into(), "a=b".into()));
        assert!(pair("=x").is_err() && pair("x").is_err());
        let dir = crate::testing::temp_dir::TempDir::made("settings");
        let path = std::path::Path::new(dir.path()).join("kafka.conf");
        std::fs::write(&path, "# secrets\n\nsasl.password = canary\n").unwrap();
        assert_eq!(settings_of(&path).unwrap(), [("sasl.password".into(), "canary".into())]);
        std::fs::write(&path, "ok=1\ncanary\n").unwrap();
        let e = settings_of(&path).unwrap_err().to_string();
        assert!(e.contains("line 2") && !e.contains("canary"), "{e}");
    }
}
