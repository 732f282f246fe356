//! `--plans FILE`: batches from a file, instead of plans of the planner. Each line is one JSON object, with ascending times:
//! `{"time": 1000, "ranges": [{"source": 0, "topic": "words", "partition": 0, "from": 0, "until": 10}]}`.
//! A range with `path` instead of `topic` is bytes of a file. With `received` it counts records of a socket, a queue or a receiver, with
//! `stream` those of a shard of Kinesis, and with `split` it belongs to a custom source.

use std::path::Path;

use serde::Deserialize;

use crate::core::error::{Error, Result};
use crate::core::plan::{Plan, Range, ShardSpan, Split};
use crate::core::time::{BatchTime, Interval};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    time: u64,
    #[serde(default)]
    ranges: Vec<Given>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    source: u32,
    topic: Option<String>,
    #[serde(default)]
    partition: i32,
    path: Option<String>,
    received: Option<String>,
    split: Option<String>,
    stream: Option<String>,
    #[serde(default)]
    shard: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    through: String,
    from: i64,
    until: i64,
}

impl Given {
    /// The part of a source that the range belongs to.
    fn split(&self) -> Result<Split, String> {
        match (&self.topic, &self.path, &self.received, &self.split, &self.stream) {
            (Some(topic), None, None, None, None) => Ok(Split::Kafka { topic: topic.as_str().into(), partition: self.partition }),
            (None, Some(path), None, None, None) => file(path).map_err(|e| format!("{path}: {e}")),
            (None, None, Some(from), None, None) => Ok(Split::Received { from: from.as_str().into() }),
            (None, None, None, Some(name), None) => Ok(Split::custom(name, self.partition)),
            (None, None, None, None, Some(stream)) => self.of_shard(stream),
            _ => Err("a range has exactly one of topic, path, received, split and stream".into()),
        }
    }

    fn of_shard(&self, stream: &str) -> Result<Split, String> {
        if self.shard.is_empty() {
            return Err(format!("a range of stream {stream} needs the name of a shard, such as shardId-000000000000"));
        }
        let through = match (self.from < self.until, self.through.is_empty()) {
            (true, true) => {
                return Err(format!("a range of {} needs through, the sequence number of its last record", self.shard));
            }
            (true, false) => &self.through,
            (false, _) => &self.after,
        };
        let (after, through) = (self.after.as_str().into(), through.as_str().into());
        let span = ShardSpan { from: self.from, after, until: self.until, through, ended: false };
        Ok(Split::Shard { stream: stream.into(), shard: self.shard.as_str().into(), span })
    }
}

/// Reads a file of plans.
///
/// # Errors
/// A line is not a plan, or a range runs backwards. Or a time is not a multiple of the batch interval, or not after the previous one.
/// The error names the file and the line.
pub(crate) fn read(path: &Path, interval: Interval) -> Result<Vec<Plan>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(format!("--plans {}", path.display()), e))?;
    parse(&text, path, interval)
}

/// Parses the text of the file `path`.
pub(super) fn parse(text: &str, path: &Path, interval: Interval) -> Result<Vec<Plan>> {
    let mut plans: Vec<Plan> = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let wrong = |what: String| Error::config(format!("--plans {}, line {}: {what}", path.display(), n + 1));
        let line: Line = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        if line.time == 0 || !line.time.is_multiple_of(interval.millis()) {
            return Err(wrong(format!(
                "time {} is not a positive multiple of the batch interval, {} ms",
                line.time,
                interval.millis()
            )));
        }
        if plans.last().is_some_and(|p| p.time.millis() >= line.time) {
            return Err(wrong(format!("time {} is not after the previous one", line.time)));
        }
        let mut ranges = Vec::new();
        for r in line.ranges {
            if r.from < 0 || r.until < r.from {
                return Err(wrong(format!("range [{}, {}) runs backwards", r.from, r.until)));
            }
            let split = r.split().map_err(wrong)?;
            ranges.push(Range { source: r.source, split_id: 0, split, from: r.from, until: r.until });
        }
        plans.push(Plan { time: BatchTime::from_millis(line.time), ranges, shown: true });
    }
    if plans.is_empty() {
        return Err(Error::config(format!("--plans {}: the file contains no plan", path.display())));
    }
    Ok(plans)
}

/// The split of a file, with its current size and time.
fn file(path: &str) -> std::io::Result<Split> {
    let meta = std::fs::metadata(path)?;
    let modified = meta.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Ok(Split::File { path: path.into(), size: meta.len(), modified_ms: modified })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    fn reading(name: &str, text: &str) -> Result<Vec<Plan>> {
        let dir = TempDir::made("plans");
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, Interval::new(std::time::Duration::from_secs(1)).unwrap())
    }

    #[test]
    fn a_range_of_a_shard_has_the_sequence_numbers_around_it() {
        let range = |rest: &str| format!("{{\"source\":0,\"stream\":\"s\",\"shard\":\"shardId-0\",{rest}}}");
        let ranges = [
            range("\"from\":0,\"until\":3,\"through\":\"49\""),
            range("\"from\":3,\"until\":4,\"after\":\"49\",\"through\":\"51\""),
            range("\"from\":4,\"until\":4,\"after\":\"51\""),
        ];
        let plans = reading("shards", &format!("{{\"time\":1000,\"ranges\":[{}]}}\n", ranges.join(","))).unwrap();
        let spans = plans[0].ranges.iter().map(|range| match &range.split {
            Split::Shard { stream, shard, span } => {
                assert_eq!((&**stream, &**shard, span.from, span.until), ("s", "shardId-0", range.from, range.until));
                (span.from, span.after.to_string(), span.until, span.through.to_string(), span.ended)
            }
            other => panic!("{other}"),
        });
        let span = |from, after: &str, until, through: &str| (from, after.to_string(), until, through.to_string(), false);
        assert_eq!(spans.collect::<Vec<_>>(), [span(0, "", 3, "49"), span(3, "49", 4, "51"), span(4, "51", 4, "51")]);
    }

    #[test]
    fn plans_are_read_and_faults_named_by_line() {
        let good = "{\"time\":1000,\"ranges\":[{\"topic\":\"w\",\"partition\":2,\"from\":0,\"until\":9}]}\n\n{\"time\":3000}\n";
        let plans = reading("good", good).unwrap();
        assert_eq!(plans.iter().map(|p| p.time.millis()).collect::<Vec<_>>(), [1000, 3000]);
        assert_eq!(plans[0].ranges[0].split, Split::Kafka { topic: "w".into(), partition: 2 });
        for (name, text, names) in [
            ("grid", "{\"time\":1500}", "line 1: time 1500"),
            ("order", "{\"time\":1000}\n{\"time\":1000}", "line 2"),
            ("json", "{\"time\":1000}\nx", "line 2"),
            ("back", "{\"time\":1000,\"ranges\":[{\"topic\":\"w\",\"from\":3,\"until\":1}]}", "[3, 1)"),
            ("shard", "{\"time\":1000,\"ranges\":[{\"stream\":\"s\",\"from\":0,\"until\":1}]}", "name of a shard"),
            (
                "number",
                "{\"time\":1000,\"ranges\":[{\"stream\":\"s\",\"shard\":\"shardId-0\",\"from\":0,\"until\":1}]}",
                "line 1: a range of shardId-0 needs through",
            ),
            ("which", "{\"time\":1000,\"ranges\":[{\"from\":3,\"until\":4}]}", "exactly one"),
            ("none", "\n", "contains no plan"),
        ] {
            let e = reading(name, text).unwrap_err().to_string();
            assert!(e.contains(names), "{name}: {e}");
        }
    }
}
