//! A member of a consumer group: which partitions it has, what of them is safe, and where each begins.
//!
//! librdkafka calls [`Membership`] inside `poll` and while a consumer is dropped, when the group gives partitions or takes them. A taken
//! partition is committed first, as far as it is safe, so that its next member begins there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::connector::kafka::client::START_DEADLINE;
use crate::connector::kafka::reports::Context;
use crate::connector::kafka::source::{KafkaSource, StartFrom};
use crate::core::error::Error;
use crate::core::lock::lock;

/// A partition of a topic.
pub(super) type Partition = (Arc<str>, i32);

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<Partition, i64>;

/// What a member knows of its partitions.
#[derive(Default)]
struct State {
    /// The partitions of this member. For each, the next offset that nobody needs to read again; `None`: not known.
    safe: BTreeMap<Partition, Option<i64>>,
    /// What the group has.
    committed: Offsets,
    /// Partitions that were taken since the last question.
    taken: Vec<Partition>,
    /// Why the job must end.
    failure: Option<Error>,
    /// Whether the last commit failed, and a warning said so.
    warned: bool,
}

/// Follows the partitions of one member.
pub(super) struct Membership {
    reports: Context,
    kafka: KafkaSource,
    state: Mutex<State>,
}

impl Membership {
    pub fn new(reports: Context, kafka: KafkaSource) -> Self {
        Membership { reports, kafka, state: Mutex::default() }
    }

    /// Notes offsets that are safe, of partitions that this member still has.
    pub fn safe(&self, offsets: Offsets) {
        let mut state = lock(&self.state);
        for (partition, offset) in offsets {
            if let Some(safe) = state.safe.get_mut(&partition) {
                *safe = Some(safe.map_or(offset, |known| known.max(offset)));
            }
        }
    }

    /// The partitions that were taken since the last call.
    pub fn take_taken(&self) -> Vec<Partition> {
        std::mem::take(&mut lock(&self.state).taken)
    }

    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.state).failure.take()
    }

    /// Commits what is safe and not committed yet.
    pub fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let all: Vec<Partition> = lock(&self.state).safe.keys().cloned().collect();
        self.commit_of(consumer, &all, mode);
    }

    fn commit_of(&self, consumer: &BaseConsumer<Self>, partitions: &[Partition], mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        {
            let state = lock(&self.state);
            for partition in partitions {
                if let Some(Some(safe)) = state.safe.get(partition)
                    && state.committed.get(partition) != Some(safe)
                {
                    let _ = list.add_partition_offset(&partition.0, partition.1, Offset::Offset(*safe));
                }
            }
        }
        if list.count() == 0 {
            return;
        }
        match (consumer.commit(&list, mode), mode) {
            // The answer comes to `commit_callback`.
            (Ok(()), CommitMode::Async) => {}
            (result, _) => self.answered(result, &list),
        }
    }

    fn answered(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        let mut state = lock(&self.state);
        match result {
            Ok(()) => {
                state.warned = false;
                for e in list.elements() {
                    if let Offset::Offset(offset) = e.offset() {
                        state.committed.insert((e.topic().into(), e.partition()), offset);
                    }
                }
            }
            Err(e) if !std::mem::replace(&mut state.warned, true) => {
                let (group, reason) = (&self.kafka.group, self.reports.0.words(&e));
                tracing::warn!(%group, %reason, "offsets could not be committed: records since the last commit may come twice");
            }
            Err(_) => {}
        }
    }

    /// Says where each given partition begins: where the group is, or where the source starts if the group has not been there.
    fn begin(&self, consumer: &BaseConsumer<Self>, given: &mut TopicPartitionList) {
        let known = consumer.committed_offsets(given.clone(), START_DEADLINE);
        let known = known.unwrap_or_else(|e| {
            // librdkafka asks again, and reports an offset that is not there.
            tracing::debug!("the offsets of the group could not be read: {}", self.reports.0.words(&e));
            given.clone()
        });
        let mut state = lock(&self.state);
        for e in known.elements() {
            let partition: Partition = (e.topic().into(), e.partition());
            let committed = if let Offset::Offset(offset) = e.offset() { Some(offset) } else { None };
            let from = match consumer.fetch_watermarks(e.topic(), e.partition(), START_DEADLINE) {
                Ok(bounds) => self.start(&partition, committed, bounds).unwrap_or_else(|e| {
                    state.failure.get_or_insert(e);
                    None
                }),
                Err(_) => committed,
            };
            let offset = from.map_or(Offset::Stored, Offset::Offset);
            let _ = given.set_partition_offset(e.topic(), e.partition(), offset);
            if let Some(committed) = committed {
                state.committed.insert(partition.clone(), committed);
            }
            // A start that the group does not know is committed soon, so that a later member begins there and not at a later end.
            state.safe.insert(partition, from);
        }
    }

    /// Where a partition begins whose log has these bounds.
    ///
    /// # Errors
    /// The log no longer has the committed offset, and that must end the job.
    fn start(&self, partition: &Partition, committed: Option<i64>, (low, high): (i64, i64)) -> Result<Option<i64>, Error> {
        match committed {
            None if self.kafka.start == StartFrom::Earliest => Ok(Some(low)),
            None => Ok(Some(high)),
            Some(at) => self.kafka.in_log(partition, at, (low, high)).map(Some),
        }
    }

    /// Commits what is safe of partitions that the group takes, and forgets them.
    fn give_up(&self, consumer: &BaseConsumer<Self>, taken: &TopicPartitionList) {
        let taken: Vec<Partition> = taken.elements().iter().map(|e| (e.topic().into(), e.partition())).collect();
        self.commit_of(consumer, &taken, CommitMode::Sync);
        let mut state = lock(&self.state);
        for partition in taken {
            state.safe.remove(&partition);
            state.committed.remove(&partition);
            state.taken.push(partition);
        }
    }
}

impl ClientContext for Membership {
    fn stats(&self, statistics: Statistics) {
        self.reports.listed(statistics);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reports.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.error(error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let given = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        match given {
            true => self.begin(consumer, list),
            false => self.give_up(consumer, list),
        }
        let names: Vec<String> = list.elements().iter().map(|e| format!("{}/{}", e.topic(), e.partition())).collect();
        let (group, partitions) = (&self.kafka.group, names.join(", "));
        if !names.is_empty() {
            tracing::info!(%group, %partitions, "the group {} partitions", if given { "has given" } else { "has taken" });
        }
        let done = match (cooperative, given) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.incremental_unassign(list),
            (false, true) => consumer.assign(list),
            (false, false) => consumer.unassign(),
        };
        if let Err(e) = done {
            self.reports.0.set_trouble(&self.reports.0.words(&e));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.answered(result, offsets);
    }
}
