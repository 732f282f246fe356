//! The progress of an exactly-once sink's shards: records in a compacted topic, written in the transactions of the rows.
//!
//! The topic is `tidemill-progress-TOPIC`, one partition, on the brokers of TOPIC. docs/formats.md describes the record, and the
//! name beside a long TOPIC.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::connector::kafka::client::{
    LONGEST_NAME, PROGRESS_PREFIX, START_DEADLINE, Settings, Side, described_code, is_permanent, make_topic,
};
use crate::connector::kafka::reports::Context;
use crate::connector::sink::SinkContext;
use crate::core::error::{Error, Result};
use crate::core::plan::Progress;
use crate::core::time::BatchTime;

/// How long other producers' open transactions on the progress topic may hide our records.
const OTHERS: Duration = Duration::from_secs(90);
/// The number of characters of a long topic that the name of its progress topic repeats.
const LONGEST_HEAD: usize = 200;

/// A progress record in the topic: JSON, so that any client can read it.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    job: &'a str,
    sink: &'a str,
    shard: u32,
    shards: u32,
    directory: &'a str,
    generation: u64,
    time: u64,
    plan: &'a str,
}

/// The key of a shard's records. The newest record of a key counts.
pub(super) fn key(job: &str, sink: &str, shard: u32) -> String {
    format!("{job}/{sink}/{shard}")
}

pub(super) fn value(p: &Progress) -> Vec<u8> {
    let (directory, plan) = (format!("{:032x}", p.directory), format!("{:016x}", p.plan));
    let Progress { job, sink, shard, shards, generation, .. } = p;
    let record = Record {
        job,
        sink,
        shard: *shard,
        shards: *shards,
        directory: &directory,
        generation: *generation,
        time: p.time.millis(),
        plan: &plan,
    };
    serde_json::to_vec(&record).expect("numbers and text are JSON")
}

fn read_value(bytes: &[u8]) -> Option<Progress> {
    let r: Record<'_> = serde_json::from_slice(bytes).ok()?;
    Some(Progress {
        job: r.job.into(),
        sink: r.sink.into(),
        shard: r.shard,
        shards: r.shards,
        directory: u128::from_str_radix(r.directory, 16).ok()?,
        generation: r.generation,
        time: BatchTime::from_millis(r.time),
        plan: u64::from_str_radix(r.plan, 16).ok()?,
    })
}

/// The name of the progress topic of a topic. A name that would be too long for a topic is cut, and ends with a hash of the whole.
fn name_beside(topic: &str) -> String {
    let whole = format!("{PROGRESS_PREFIX}{topic}");
    if whole.len() <= LONGEST_NAME {
        return whole;
    }
    let head: String = topic.chars().take(LONGEST_HEAD).collect();
    format!("{PROGRESS_PREFIX}{head}-{:016x}", xxh3_64(topic.as_bytes()))
}

/// The progress topic of a topic.
#[derive(Clone)]
pub(super) struct ProgressTopic {
    settings: Settings,
    pub name: String,
}

impl ProgressTopic {
    pub fn beside(topic: &str, settings: &Settings) -> Self {
        ProgressTopic { settings: settings.clone(), name: name_beside(topic) }
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), described_code);
        self.wrong(format!("{what}: {why}"))
    }

    fn wrong(&self, what: String) -> Error {
        Error::Kafka { brokers: self.settings.brokers.clone(), reason: format!("topic {}: {what}", self.name) }
    }

    /// Creates the topic if it does not exist.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse to create it.
    pub fn make(&self) -> Result<()> {
        let (admin, _): (AdminClient<Context>, _) = self.settings.connection().client(Side::Sink, None)?;
        let known = admin.inner().fetch_metadata(Some(&self.name), START_DEADLINE);
        let known = known.map_err(|e| self.failed("could not be looked up", &e))?;
        if known.topics().iter().any(|t| t.name() == self.name && t.error().is_none() && !t.partitions().is_empty()) {
            return Ok(());
        }
        let new = NewTopic::new(&self.name, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            // A start reads the last segment and the compacted rest.
            .set("segment.bytes", "16777216")
            .set("min.cleanable.dirty.ratio", "0.1");
        match make_topic(&admin, &new).map_err(|e| self.failed("could not be made", &e))? {
            Some(code) => {
                Err(self.wrong(format!("could not be made: {}; make it, compacted, with one partition", described_code(code))))
            }
            None => Ok(()),
        }
    }

    /// The newest committed progress of each shard of a sink. Call it only after earlier producers of the shards are shut out.
    ///
    /// # Errors
    /// The brokers do not answer; a record is not a progress record; an open transaction hides the records behind it.
    pub fn read(&self, context: &SinkContext) -> Result<BTreeMap<u32, Progress>> {
        let committed = self.settings.log_reader(true)?;
        self.wait_for_others(&committed, context)?;
        let mut from = TopicPartitionList::new();
        let begin = from.add_partition_offset(&self.name, 0, Offset::Beginning).and_then(|()| committed.assign(&from));
        begin.map_err(|e| self.failed("could not be read", &e))?;
        let (mut found, mut trouble, end) = (BTreeMap::new(), None, Instant::now() + OTHERS);
        let (prefix, ours) = (format!("{}/{}/", context.job, context.sink), |shard: &str| shard.parse::<u32>().ok());
        loop {
            match committed.poll(Duration::from_millis(100)) {
                // All relevant records were readable before this read began.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(is_permanent) => {
                    return Err(self.failed("could not be read", &e));
                }
                Some(Err(e)) => trouble = Some(e),
                None => {}
                Some(Ok(m)) => {
                    let of = m.key().and_then(|k| std::str::from_utf8(k).ok()?.strip_prefix(&prefix).and_then(ours));
                    let Some(shard) = of else { continue };
                    let read = m.payload().and_then(read_value);
                    let p = read.ok_or_else(|| {
                        self.wrong(format!("the record at offset {} is not a progress record of tidemill", m.offset()))
                    })?;
                    found.insert(shard, p);
                }
            }
            if context.is_stopped() {
                return Err(self.wrong("the job is over".into()));
            }
            if Instant::now() > end {
                let unknown = || self.wrong("could not be read to its end".into());
                return Err(trouble.map_or_else(unknown, |e| self.failed("could not be read to its end", &e)));
            }
        }
    }

    /// Waits for open transactions. A reader of committed records sees nothing behind the first one, not even our own records.
    fn wait_for_others(&self, committed: &BaseConsumer<Context>, context: &SinkContext) -> Result<()> {
        let all = self.settings.log_reader(false)?;
        let bounds = |c: &BaseConsumer<Context>| c.fetch_watermarks(&self.name, 0, START_DEADLINE);
        let began = Instant::now();
        // A topic created a moment ago has no leader yet.
        let (_, end) = loop {
            match bounds(&all) {
                Ok(bounds) => break bounds,
                Err(e) if began.elapsed() > START_DEADLINE => return Err(self.failed("its end could not be looked up", &e)),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let mut warned = false;
        loop {
            match bounds(committed) {
                Ok((_, readable)) if readable >= end => return Ok(()),
                Ok((_, readable)) if began.elapsed() > OTHERS => {
                    let what =
                        format!("there is an open transaction at offset {readable}, of another program or of an earlier run");
                    return Err(self
                        .wrong(format!("{what}: it hides the records behind it; end that program, or wait until it times out")));
                }
                Ok(_) if began.elapsed() > Duration::from_secs(5) && !std::mem::replace(&mut warned, true) => {
                    tracing::warn!("topic {}: waiting for another producer to end its open transaction", self.name);
                }
                Err(e) if began.elapsed() > OTHERS => return Err(self.failed("its end could not be looked up", &e)),
                _ => {}
            }
            // Another process of this job may have died before it ended the open transactions of its shards.
            if context.is_stopped() {
                return Err(self.wrong("the job is over".into()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_topic_has_a_progress_topic_too_and_a_short_one_keeps_its_name() {
        for len in [1, 231] {
            let topic = "t".repeat(len);
            assert_eq!(name_beside(&topic), format!("tidemill-progress-{topic}"));
        }
        let (one, other) = ("t".repeat(232), "t".repeat(248) + "u");
        for topic in [&one, &other] {
            let name = name_beside(topic);
            assert!(name.len() <= LONGEST_NAME && name.starts_with("tidemill-progress-ttt"), "{name}");
        }
        assert_ne!(name_beside(&one), name_beside(&other));
        // A restart must find the topic: docs/formats.md.
        assert_eq!(name_beside(&one), format!("tidemill-progress-{}-de952ee26a7e12c8", "t".repeat(200)));
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let p = Progress {
            job: "j".into(),
            sink: "out#2".into(),
            shard: 3,
            shards: 8,
            directory: 7 << 100,
            generation: 9,
            time: BatchTime::from_millis(1_700_000_000_100),
            plan: u64::MAX - 1,
        };
        let bytes = value(&p);
        let text = r#"{"job":"j","sink":"out#2","shard":3,"shards":8,"directory":"00000070000000000000000000000000","generation":9,"time":1700000000100,"plan":"fffffffffffffffe"}"#;
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), text, "docs/formats.md");
        assert_eq!(read_value(&bytes).unwrap(), p);
        assert!(read_value(b"{}").is_none());
    }
}
