//! Reads the beginning and the end of a partition's log, and its offset at a time. Retries while a partition has no leader.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::connector::kafka::client::Metadata;
use crate::core::error::Result;

impl Metadata {
    /// The bounds `[low, high)` of a partition's log, for a reader of committed records. Blocks until a broker answers.
    pub(crate) fn bounds(&self, topic: &str, partition: i32, deadline: Duration) -> Result<(i64, i64)> {
        let answer = settled(deadline, || self.consumer.fetch_watermarks(topic, partition, deadline));
        answer.map_err(|e| self.failed(&format!("the offsets of topic {topic}, partition {partition} could not be asked"), &e))
    }

    /// The first offset at or after a time; `None`: no such offset exists yet. Blocks until a broker answers.
    pub(crate) fn at_time(&self, topic: &str, partition: i32, ms: i64, deadline: Duration) -> Result<Option<i64>> {
        let what = || format!("the offset of topic {topic}, partition {partition} at {ms} ms could not be asked");
        let mut asked = rdkafka::TopicPartitionList::new();
        let set = asked.add_partition_offset(topic, partition, rdkafka::Offset::Offset(ms));
        let ask = || {
            let answer = self.consumer.offsets_for_times(asked.clone(), deadline)?;
            answer.elements().first().map_or(Ok(()), |e| e.error())?;
            Ok(answer)
        };
        let answer = set.and_then(|()| settled(deadline, ask)).map_err(|e| self.failed(&what(), &e))?;
        match answer.elements().first().map(|e| e.offset()) {
            Some(rdkafka::Offset::Offset(offset)) => Ok(Some(offset)),
            _ => Ok(None),
        }
    }
}

/// Retries while a partition has no leader: its topic was just created, or its broker just started.
fn settled<T>(deadline: Duration, ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    let end = Instant::now() + deadline;
    loop {
        match ask().map_err(|e| (e.rdkafka_error_code(), e)) {
            Err((Some(LeaderNotAvailable | NotLeaderForPartition), _)) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer.map_err(|(_, e)| e),
        }
    }
}
