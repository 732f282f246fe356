//! The functions of the command `tidemill topic`: lists topics, reads them, and shows how far a consumer group has read. The command is
//! for users without the tools of Kafka. Jobs use `client.rs`.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::connector::kafka::client::{
    Metadata, START_DEADLINE, Settings, Side, Topic, described_code, is_permanent, make_topic, name_problem, no_topic,
};
use crate::connector::kafka::reports::Context;
use crate::core::error::{Error, Result};
use crate::core::time::counted;

/// How long a read waits before it looks whether it is stopped.
const LOOK: Duration = Duration::from_millis(100);

/// The topics of some brokers.
pub(crate) struct Topics {
    settings: Settings,
    metadata: Metadata,
}

/// A topic, and the number of offsets that its partitions hold. Markers of transactions count, and compacted records do, too.
pub(crate) struct Listed {
    pub name: String,
    pub partitions: usize,
    pub offsets: i64,
}

/// How far a group has read one partition.
pub(crate) struct Lag {
    pub topic: String,
    pub partition: i32,
    /// The next offset that the group reads.
    pub committed: i64,
    /// The end of the partition, for a reader of committed records.
    pub end: i64,
}

impl Lag {
    pub fn lag(&self) -> i64 {
        (self.end - self.committed).max(0)
    }
}

impl Topics {
    /// No broker is contacted yet.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn new(brokers: &str, set: &[(String, String)]) -> Result<Self> {
        let mut settings = Settings::brokers(brokers);
        set.iter().for_each(|(key, value)| settings.set(key, value));
        let metadata = Metadata::new(&settings)?;
        Ok(Topics { settings, metadata })
    }

    /// All topics but Kafka's own, by name.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut topics = self.metadata.topics(START_DEADLINE)?;
        topics.sort();
        let listed = |topic: &Topic| {
            let held = |p: &i32| self.metadata.bounds(&topic.name, *p, START_DEADLINE).map(|(low, high)| high - low);
            let offsets = topic.partitions.iter().map(held).sum::<Result<i64>>()?;
            Ok(Listed { name: topic.name.to_string(), partitions: topic.partitions.len(), offsets })
        };
        topics.iter().map(listed).collect()
    }

    /// Creates a topic. `replication` of `None`: the brokers' default.
    ///
    /// # Errors
    /// The name cannot be one of a topic, or the topic is there; the brokers do not answer, or refuse.
    pub fn create(&self, name: &str, partitions: i32, replication: Option<i32>, config: &[(String, String)]) -> Result<()> {
        if let Some(problem) = name_problem(name) {
            return Err(Error::config(problem));
        }
        if let Some(topic) = self.metadata.topic(name, START_DEADLINE)? {
            let what = format!("topic {name} is there already, with {}", counted(topic.partitions.len() as u64, "partition"));
            return Err(self.fault(what));
        }
        self.make(name, partitions, replication, config)
    }

    /// Creates a topic with one copy of each partition, unless it exists.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_missing(&self, name: &str, partitions: i32) -> Result<()> {
        if let Some(problem) = name_problem(name) {
            return Err(Error::config(problem));
        }
        match self.metadata.topic(name, START_DEADLINE)? {
            Some(_) => Ok(()),
            None => self.make(name, partitions, Some(1), &[]),
        }
    }

    fn fault(&self, reason: impl ToString) -> Error {
        Error::kafka(&*self.metadata.brokers, reason)
    }

    fn make(&self, name: &str, partitions: i32, replication: Option<i32>, config: &[(String, String)]) -> Result<()> {
        let (admin, _): (AdminClient<Context>, _) = self.settings.connection().client(Side::Sink, None)?;
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(replication.unwrap_or(-1)));
        let new = config.iter().fold(new, |new, (key, value)| new.set(key, value));
        let failed = |why: String| self.fault(format!("topic {name} could not be made: {why}"));
        match make_topic(&admin, &new).map_err(|e| self.metadata.failed(&format!("topic {name} could not be made"), &e))? {
            Some(code) => Err(failed(described_code(code))),
            None => Ok(()),
        }
    }

    /// Gives the committed records of a topic to `give`, each as key and value, in the order of their offsets in each partition. Ends
    /// when `give` returns `false`; at the end of the topic, except with `follow`; or when `stopped` is true.
    ///
    /// # Errors
    /// There is no such topic, or it cannot be read. Also the error of `give`.
    pub fn read(
        &self,
        name: &str,
        from_start: bool,
        follow: bool,
        stopped: impl Fn() -> bool,
        mut give: impl FnMut(Option<&[u8]>, Option<&[u8]>) -> Result<bool>,
    ) -> Result<()> {
        self.read_messages(name, from_start, follow, stopped, |m| give(m.key(), m.payload()))
    }

    /// Whether a topic is there.
    ///
    /// # Errors
    /// It is not, or the brokers do not answer.
    pub fn must_exist(&self, name: &str) -> Result<()> {
        let topic = self.metadata.topic(name, START_DEADLINE)?;
        topic.map(|_| ()).ok_or_else(|| self.fault(no_topic(&self.metadata.brokers, name)))
    }

    /// Like [`read`](Topics::read), with all of each record.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_messages(
        &self,
        name: &str,
        from_start: bool,
        follow: bool,
        stopped: impl Fn() -> bool,
        mut give: impl FnMut(&BorrowedMessage<'_>) -> Result<bool>,
    ) -> Result<()> {
        let topic = self.metadata.topic(name, START_DEADLINE)?;
        let topic = topic.ok_or_else(|| self.fault(no_topic(&self.metadata.brokers, name)))?;
        let consumer = self.settings.log_reader(true)?;
        let failed = |e: &KafkaError| self.metadata.failed(&format!("topic {name} could not be read"), e);
        let start = if from_start { Offset::Beginning } else { Offset::End };
        let mut all = TopicPartitionList::new();
        for partition in &topic.partitions {
            all.add_partition_offset(name, *partition, start).map_err(|e| failed(&e))?;
        }
        consumer.assign(&all).map_err(|e| failed(&e))?;
        let mut ended = std::collections::BTreeSet::new();
        // A silent broker is not the end of a topic. It may report one error, and then nothing.
        let (mut answered, mut trouble) = (Instant::now(), None);
        while !stopped() && (follow || ended.len() < topic.partitions.len()) {
            match consumer.poll(LOOK) {
                Some(Ok(m)) => {
                    if !give(&m)? {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => _ = ended.insert(partition),
                Some(Err(e)) if e.rdkafka_error_code().is_some_and(is_permanent) => return Err(failed(&e)),
                other => {
                    if let Some(Err(e)) = other {
                        trouble = Some(e);
                    }
                    if !follow && answered.elapsed() > START_DEADLINE {
                        let silent = || self.fault(format!("topic {name} could not be read to its end"));
                        return Err(trouble.map_or_else(silent, |e| failed(&e)));
                    }
                    continue;
                }
            }
            (answered, trouble) = (Instant::now(), None);
        }
        Ok(())
    }

    /// How far a consumer group has read each partition for which it has committed an offset.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn lag(&self, group: &str) -> Result<Vec<Lag>> {
        let (consumer, _): (BaseConsumer<Context>, _) = self.settings.client(Side::Source, Some(group))?;
        let topics = self.metadata.topics(START_DEADLINE)?;
        let mut all = TopicPartitionList::new();
        topics.iter().for_each(|t| t.partitions.iter().for_each(|p| _ = all.add_partition(&t.name, *p)));
        let failed = |e| self.metadata.failed(&format!("the offsets of the consumer group {group} could not be asked"), &e);
        let committed = consumer.committed_offsets(all, START_DEADLINE).map_err(failed)?;
        let mut lags = Vec::new();
        for c in committed.elements() {
            if let Offset::Offset(committed) = c.offset() {
                let (_, end) = self.metadata.bounds(c.topic(), c.partition(), START_DEADLINE)?;
                lags.push(Lag { topic: c.topic().into(), partition: c.partition(), committed, end });
            }
        }
        lags.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(lags)
    }
}
