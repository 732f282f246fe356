//! The planner's half of a Kafka source: it finds the partitions, and where each begins.
//!
//! It resolves the start to offsets once, before the first batch. After that only plans decide which offsets are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use crate::connector::kafka::client::{Metadata, START_DEADLINE, Topic, no_topic};
use crate::connector::kafka::group_offsets::{CommitOffsets, Committer, GroupOffsets};
use crate::connector::kafka::source::{KafkaSource, StartFrom};
use crate::connector::kafka::topic_ids::{TopicIds, check_same, topic_ids};
use crate::connector::source::{SplitEnumerator, SplitOffset, SplitRange};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::plan::Split;
use crate::core::thread::spawn;

/// The job gives up on a topic that the brokers have not known for this many poll intervals, and at least for this time. Default:
/// half a minute, by the default of `discover_every`.
const GONE: (u32, Duration) = (6, Duration::from_secs(10));

/// The planner's half: resolves topics and offsets, and looks for new ones on its own thread.
pub struct KafkaEnumerator {
    kafka: KafkaSource,
    restored: Option<BTreeSet<Split>>,
    /// The ids of the topics that are read: those of the checkpoint, and those seen since.
    topic_ids: Arc<Mutex<TopicIds>>,
    news: Option<(Receiver<Result<SplitOffset>>, Sender<()>)>,
    offsets: Option<GroupOffsets>,
    committer: Option<Committer>,
}

impl KafkaEnumerator {
    /// # Errors
    /// The description is wrong. No broker is contacted yet.
    pub fn new(kafka: &KafkaSource) -> Result<Self> {
        kafka.check()?;
        let offsets = if let CommitOffsets::ByUser(offsets) = &kafka.offsets { Some(offsets.clone()) } else { None };
        Ok(KafkaEnumerator {
            kafka: kafka.clone(),
            restored: None,
            topic_ids: Arc::default(),
            news: None,
            offsets,
            committer: None,
        })
    }

    /// Commits the offsets of each batch if the job is `restartable` and the source does not set another choice.
    pub(super) fn of_restartable_job(mut self, restartable: bool) -> Self {
        if restartable && matches!(self.kafka.offsets, CommitOffsets::Automatic) {
            self.offsets = Some(GroupOffsets::new());
        }
        self
    }
}

/// The topics of a source as the brokers have them now. A named topic that does not exist is left out.
fn resolve(kafka: &KafkaSource, metadata: &Metadata) -> Result<Vec<Topic>> {
    let mut found = BTreeSet::new();
    if kafka.topics.pattern.is_some() {
        found.extend(metadata.topics(START_DEADLINE)?.into_iter().filter(|t| kafka.topics.matches(&t.name)));
    }
    for name in &kafka.topics.names {
        found.extend(metadata.topic(name, START_DEADLINE)?);
    }
    Ok(found.into_iter().collect())
}

fn start_of(
    kafka: &KafkaSource,
    metadata: &Metadata,
    topic: &Arc<str>,
    partition: i32,
    group: &BTreeMap<(Arc<str>, i32), i64>,
) -> Result<SplitOffset> {
    let (low, high) = metadata.bounds(topic, partition, START_DEADLINE)?;
    let from = match &kafka.start {
        StartFrom::Latest => high,
        StartFrom::Earliest => low,
        StartFrom::Group { or_earliest } => match group.get(&(topic.clone(), partition)) {
            Some(at) => kafka.in_log(&(topic.clone(), partition), *at, (low, high))?,
            None if *or_earliest => low,
            None => high,
        },
        StartFrom::Timestamp(ms) => metadata.at_time(topic, partition, *ms, START_DEADLINE)?.unwrap_or(high),
        StartFrom::Offsets(offsets) => match offsets.get(&(topic.to_string(), partition)) {
            None => high,
            Some(from) if (low..=high).contains(from) => *from,
            Some(from) => {
                let what = format!("topic {topic}, partition {partition}");
                return Err(metadata.fault(format!(
                    "{what}: from_offsets says {from}, the log holds {low} to {high}; say an offset in [{low}, {high}]"
                )));
            }
        },
    };
    Ok(SplitOffset { split: Split::Kafka { topic: topic.clone(), partition }, from })
}

/// The offsets that the group of the source has committed.
fn committed(kafka: &KafkaSource, topics: &[Topic]) -> Result<BTreeMap<(Arc<str>, i32), i64>> {
    let metadata = Metadata::of_group(&kafka.settings, kafka.group_or_ours())?;
    let mut asked = TopicPartitionList::new();
    each(topics).for_each(|(topic, partition)| _ = asked.add_partition(topic, partition));
    let found = metadata.consumer.committed_offsets(asked, START_DEADLINE);
    let found = found.map_err(|e| metadata.failed(&format!("the offsets of the group {} could not be read", kafka.group), &e))?;
    let at = |o| if let Offset::Offset(o) = o { Some(o) } else { None };
    Ok(found.elements().iter().filter_map(|e| Some(((e.topic().into(), e.partition()), at(e.offset())?))).collect())
}

/// Where each partition begins if no earlier run read it.
fn first_starts(kafka: &KafkaSource, metadata: &Metadata, topics: &[Topic]) -> Result<Vec<SplitOffset>> {
    if let StartFrom::Offsets(offsets) = &kafka.start {
        let known = |t: &str, p: i32| topics.iter().any(|topic| &*topic.name == t && topic.partitions.contains(&p));
        if let Some((topic, partition)) = offsets.keys().find(|(t, p)| !known(t, *p)) {
            let reason = format!("from_offsets names topic {topic}, partition {partition}, which is not there");
            return Err(metadata.fault(reason));
        }
    }
    let group = match &kafka.start {
        StartFrom::Group { .. } => committed(kafka, topics)?,
        _ => BTreeMap::new(),
    };
    each(topics).map(|(topic, partition)| start_of(kafka, metadata, topic, partition, &group)).collect()
}

/// Where partitions begin that the checkpoint does not have.
fn later_starts(metadata: &Metadata, topics: &[Topic], known: &BTreeSet<Split>) -> Result<Vec<SplitOffset>> {
    let mut left = known.clone();
    let mut starts = Vec::new();
    for (topic, partition) in each(topics) {
        let split = Split::Kafka { topic: topic.clone(), partition };
        if !left.remove(&split) {
            starts.push(SplitOffset { split, from: metadata.bounds(topic, partition, START_DEADLINE)?.0 });
        }
    }
    match left.first() {
        None => Ok(starts),
        Some(lost) => {
            let reason =
                format!("topic {}, partition {} is in the checkpoint and not there any more", lost.name(), lost.partition());
            Err(metadata.fault(reason))
        }
    }
}

/// Checks that the brokers have these partitions. The reader refuses splits that are not partitions.
///
/// # Errors
/// A topic or a partition does not exist, or the brokers do not answer.
pub(super) fn check(kafka: &KafkaSource, given: &[Split]) -> Result<()> {
    let wanted: BTreeSet<(&Arc<str>, i32)> = given
        .iter()
        .filter_map(|s| if let Split::Kafka { topic, partition } = s { Some((topic, *partition)) } else { None })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let metadata = Metadata::new(&kafka.settings)?;
    let mut known: BTreeMap<&Arc<str>, Topic> = BTreeMap::new();
    for (name, partition) in wanted {
        let wrong = |reason| Err(metadata.fault(reason));
        if !known.contains_key(name) {
            let Some(topic) = metadata.topic(name, START_DEADLINE)? else {
                return wrong(format!("a range of topic {name} is given, and {}", no_topic(&metadata.brokers, name)));
            };
            known.insert(name, topic);
        }
        let partitions = &known[name].partitions;
        if !partitions.contains(&partition) {
            let last = partitions.last().copied().unwrap_or_default();
            return wrong(format!(
                "a range of topic {name}, partition {partition} is given, and the topic's partitions are 0 to {last}"
            ));
        }
    }
    Ok(())
}

/// Adds topics to the known ones.
///
/// # Errors
/// A topic has another id than the known topic of the same name.
fn learn(known: &Mutex<TopicIds>, metadata: &Metadata, topics: &[Topic]) -> Result<(), String> {
    let now = topic_ids(metadata, topics.iter().map(|t| &*t.name));
    let mut known = lock(known);
    check_same(&known, &now)?;
    known.extend(now);
    Ok(())
}

fn each(topics: &[Topic]) -> impl Iterator<Item = (&Arc<str>, i32)> {
    topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (&t.name, *p)))
}

impl SplitEnumerator for KafkaEnumerator {
    /// `start` then gives only partitions that appeared meanwhile, from their first record. The source's own start is ignored.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        self.restored = Some(read.into_iter().map(|s| s.split).collect());
        if !snapshot.is_empty() {
            let known = postcard::from_bytes(snapshot);
            *lock(&self.topic_ids) =
                known.map_err(|e| Error::source(self.kafka.name(), format!("the checkpoint's topics: {e}")))?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        encoded(&*lock(&self.topic_ids))
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        let (kafka, metadata) = (&self.kafka, Metadata::new(&self.kafka.settings)?);
        let topics = resolve(kafka, &metadata)?;
        let missing: Vec<&str> =
            kafka.topics.names.iter().map(String::as_str).filter(|n| !topics.iter().any(|t| &*t.name == *n)).collect();
        if !missing.is_empty() {
            let all: Vec<String> = missing.into_iter().map(|name| no_topic(&metadata.brokers, name)).collect();
            return Err(metadata.fault(all.join("; ")));
        }
        if topics.is_empty() {
            tracing::warn!("Kafka at {}: no topic matches the pattern yet", metadata.brokers);
        }
        learn(&self.topic_ids, &metadata, &topics).map_err(|e| metadata.fault(e))?;
        let starts = match &self.restored {
            None => first_starts(kafka, &metadata, &topics),
            Some(known) => later_starts(&metadata, &topics, known),
        }?;
        let (known, gone, topic_ids) = (BTreeMap::new(), BTreeMap::new(), self.topic_ids.clone());
        let topic_watch = TopicWatch { kafka: kafka.clone(), metadata, topic_ids, known, gone };
        self.news = Some(topic_watch.spawn(&topics)?);
        if let Some(offsets) = self.offsets.take() {
            self.committer = Some(Committer::start(kafka, offsets)?);
        }
        Ok(starts)
    }

    fn check(&mut self, given: &[Split]) -> Result<()> {
        check(&self.kafka, given)
    }

    fn on_committed(&mut self, ranges: &[SplitRange]) {
        let Some(committer) = self.committer.as_ref().filter(|_| !matches!(self.kafka.offsets, CommitOffsets::ByUser(_))) else {
            return;
        };
        committer.offsets.commit(&ranges.iter().map(Into::into).collect::<Vec<_>>());
    }

    fn discover(&mut self) -> Result<Vec<SplitOffset>> {
        let Some((news, _)) = &self.news else { return Ok(Vec::new()) };
        let mut starts = Vec::new();
        loop {
            match news.try_recv() {
                Ok(start) => starts.push(start?),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(starts),
            }
        }
    }
}

/// Polls the brokers for new topics and partitions. An unresponsive broker is polled again at the next poll.
struct TopicWatch {
    kafka: KafkaSource,
    metadata: Metadata,
    topic_ids: Arc<Mutex<TopicIds>>,
    known: BTreeMap<Arc<str>, BTreeSet<i32>>,
    gone: BTreeMap<Arc<str>, Instant>,
}

impl TopicWatch {
    fn spawn(mut self, topics: &[Topic]) -> Result<(Receiver<Result<SplitOffset>>, Sender<()>)> {
        self.known = topics.iter().map(|t| (t.name.clone(), t.partitions.iter().copied().collect())).collect();
        let (say, news) = channel();
        let (stop, stopped) = channel::<()>();
        let run = move || {
            // The thread is not joined, because it may be waiting for a broker.
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(self.kafka.every) {
                match self.poll() {
                    Ok(starts) => starts.into_iter().for_each(|s| _ = say.send(Ok(s))),
                    Err(PollError::Transient(e)) => tracing::debug!("polling for new partitions: {e}"),
                    Err(PollError::Fatal(e)) => {
                        let _ = say.send(Err(e));
                        return;
                    }
                }
            }
        };
        spawn("tm-kafka-topic", run)?;
        Ok((news, stop))
    }

    fn poll(&mut self) -> Result<Vec<SplitOffset>, PollError> {
        let topics = resolve(&self.kafka, &self.metadata)?;
        learn(&self.topic_ids, &self.metadata, &topics).map_err(|e| PollError::Fatal(self.metadata.fault(e)))?;
        self.lost(&topics)?;
        let mut starts = Vec::new();
        for (topic, partition) in each(&topics) {
            if self.known.get(topic).is_some_and(|known| known.contains(&partition)) {
                continue;
            }
            // It appeared after the start, so it is read from its first record.
            let (from, _) = self.metadata.bounds(topic, partition, START_DEADLINE)?;
            starts.push(SplitOffset { split: Split::Kafka { topic: topic.clone(), partition }, from });
            self.known.entry(topic.clone()).or_default().insert(partition);
        }
        Ok(starts)
    }

    /// librdkafka keeps polling for a deleted topic and reports nothing. Only metadata shows the deletion.
    fn lost(&mut self, topics: &[Topic]) -> Result<(), PollError> {
        for (name, partitions) in &self.known {
            let now = topics.iter().find(|t| t.name == *name).map_or(&[][..], |t| &t.partitions);
            if partitions.iter().all(|p| now.contains(p)) {
                self.gone.remove(name);
            } else if self.gone.entry(name.clone()).or_insert_with(Instant::now).elapsed()
                >= (self.kafka.every * GONE.0).max(GONE.1)
            {
                let reason = format!("topic {name} was deleted, or has fewer partitions than it had");
                return Err(PollError::Fatal(self.metadata.fault(reason)));
            }
        }
        Ok(())
    }
}

enum PollError {
    Transient(Error),
    Fatal(Error),
}

impl From<Error> for PollError {
    fn from(e: Error) -> Self {
        PollError::Transient(e)
    }
}
