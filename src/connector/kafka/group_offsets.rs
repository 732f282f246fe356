//! Commits offsets to the consumer group, for tools that show a lag. Recovery never reads them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::connector::kafka::client::Side;
use crate::connector::kafka::reports::Context;
use crate::connector::kafka::source::KafkaSource;
use crate::core::error::Result;
use crate::core::fault::{FaultPoint, point};
use crate::core::lock::lock;
use crate::core::plan::OffsetRange;
use crate::core::thread::spawn;

/// The interval between commits of new offsets.
const EVERY: Duration = Duration::from_millis(200);
/// How long the end of a job waits for the last commit.
const LAST: Duration = Duration::from_secs(2);

/// Which offsets are committed to the consumer group, where tools that show a lag read them.
#[derive(Clone, Debug, Default)]
pub enum CommitOffsets {
    /// The end of each batch, shortly after every output has written it, if the job has a checkpoint directory.
    #[default]
    Automatic,
    /// None.
    Off,
    /// The offsets that the program passes to the handle.
    ByUser(GroupOffsets),
}

/// Takes offsets that a program wants committed; see [`KafkaSource::commit_offsets`].
///
/// ```
/// use tidemill::prelude::*;
/// let offsets = GroupOffsets::new();
/// let kafka = KafkaSource::brokers("127.0.0.1:9092").topic("words").commit_offsets(CommitOffsets::ByUser(offsets.clone()));
/// // in an output: stream.foreach_batch(move |batch| { ..; offsets.commit(batch.offset_ranges()); Ok(()) })
/// offsets.commit(&[OffsetRange::new("words", 0, 0, 200)]);
/// assert_eq!(offsets.waiting(), [OffsetRange::new("words", 0, 200, 200)]);
/// # drop(kafka);
/// ```
#[derive(Clone, Debug, Default)]
pub struct GroupOffsets(Arc<Mutex<Next>>);

/// The next offset of each partition.
type Next = BTreeMap<(Arc<str>, i32), i64>;

impl GroupOffsets {
    /// A handle for one source.
    pub fn new() -> Self {
        GroupOffsets::default()
    }

    /// Commits the `until` of each range soon. Spark's `commitAsync`.
    #[doc(alias = "commitAsync")]
    pub fn commit(&self, ranges: &[OffsetRange]) {
        lock(&self.0).extend(ranges.iter().map(|r| ((r.topic.clone(), r.partition), r.until)));
    }

    /// The offsets that are not committed yet, as empty ranges.
    pub fn waiting(&self) -> Vec<OffsetRange> {
        lock(&self.0).iter().map(|((topic, p), at)| OffsetRange::new(topic, *p, *at, *at)).collect()
    }

    fn take(&self) -> Option<TopicPartitionList> {
        let all = std::mem::take(&mut *lock(&self.0));
        let mut list = TopicPartitionList::new();
        for ((topic, partition), at) in &all {
            list.add_partition_offset(topic, *partition, Offset::Offset(*at)).ok()?;
        }
        (!all.is_empty()).then_some(list)
    }
}

/// The thread that commits. Dropping it commits the waiting offsets, if the brokers answer within two seconds.
pub(super) struct Committer {
    pub offsets: GroupOffsets,
    stop: Option<Sender<()>>,
    done: Receiver<()>,
}

impl Committer {
    /// # Errors
    /// The settings are wrong, or the thread cannot start.
    pub fn start(kafka: &KafkaSource, offsets: GroupOffsets) -> Result<Self> {
        let (consumer, reports): (BaseConsumer<Context>, _) = kafka.settings.client(Side::Source, Some(kafka.group_or_ours()))?;
        let ((stop, stopped), (tell, done)) = (channel::<()>(), channel());
        let mine = offsets.clone();
        let run = move || {
            let mut warned = false;
            loop {
                let last = stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
                if let Some(list) = mine.take() {
                    point(FaultPoint::Offsets);
                    match consumer.commit(&list, CommitMode::Sync) {
                        Ok(()) => warned = false,
                        Err(e) if !std::mem::replace(&mut warned, true) => {
                            tracing::warn!("offsets could not be committed to the consumer group: {}", reports.words(&e));
                        }
                        Err(_) => {}
                    }
                }
                if last {
                    let _ = tell.send(());
                    return;
                }
            }
        };
        spawn("tm-kafka-offs", run)?;
        Ok(Committer { offsets, stop: Some(stop), done })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop = None;
        // The thread is not joined, because it may be waiting for an unreachable broker.
        let _ = self.done.recv_timeout(LAST);
    }
}
