//! The verbs of the Kafka source: `kafka_direct_stream`, and `kafka_ranges` for given ranges.

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::kafka::enumerator::{self, KafkaEnumerator};
use crate::connector::kafka::reader::KafkaReader;
use crate::connector::kafka::source::KafkaSource;
use crate::connector::message::Message;
use crate::connector::source::{MaxRate, ReaderContext, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::error::{Error, Result};
use crate::core::plan::{OffsetRange, Split};
use crate::engine::operator_id::OperatorId;

impl<'s> StreamingContext<'s> {
    /// The messages of the topics. Each batch knows its offset ranges. Spark's `KafkaUtils.createDirectStream`.
    ///
    /// One worker reads each partition. Workers without a partition receive rows only after the first verb that exchanges. Rows
    /// of a partition stay in offset order. Ranges are replayable, so exactly-once outputs accept them.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    /// # let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    /// # mock.create_topic("words", 1, 1).unwrap();
    /// # let brokers = mock.bootstrap_servers();
    /// # let producer: BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    /// # for word in ["to", "be", "or"] {
    /// #     producer.send(BaseRecord::<(), str>::to("words").partition(0).payload(word)).map_err(|(e, _)| e).unwrap();
    /// # }
    /// # producer.flush(secs(10)).unwrap();
    /// // The topic words, on `brokers`, has the records to, be, or.
    /// let words = MemorySink::new();
    /// let out = words.clone();
    /// let job = StreamingContext::builder("words", millis(20)).start(move |ssc| {
    ///     let kafka = KafkaSource::brokers(&brokers).topic("words").start(StartFrom::earliest());
    ///     ssc.kafka_direct_stream(kafka).values().oks().to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// while words.rows().len() < 3 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully().unwrap();
    /// assert_eq!(words.rows(), ["to", "be", "or"]);
    /// ```
    #[doc(alias = "createDirectStream")]
    #[track_caller]
    pub fn kafka_direct_stream(&self, kafka: KafkaSource) -> DStream<'s, Message> {
        let site = OperatorId::of("kafka_direct_stream");
        let kafka = kafka.of_job(&self.graph.config);
        if let Err(e) = kafka.check() {
            self.graph.report(&site, e);
        }
        if !kafka.own_output {
            let source = kafka.clone();
            self.graph.refuses_own(&site, Box::new(move |place| source.reads_own(place)));
        }
        let config = &self.graph.config;
        let per_second = kafka.rate_per_partition().or(config.max_rate_per_partition);
        let max_rate = MaxRate { per_second, first_batch: kafka.first_batch_records() };
        let restartable = config.runtime.checkpoint.is_some();
        self.read(&site, DirectStream { kafka, max_rate, restartable })
    }

    /// The messages of given ranges, all in the first batch. A job with only such sources ends when their outputs are written.
    /// Spark's `KafkaUtils.createRDD`.
    ///
    /// A partition that does not exist ends the job with an error, and so does an offset outside the log.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    /// # let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    /// # mock.create_topic("words", 1, 1).unwrap();
    /// # let brokers = mock.bootstrap_servers();
    /// # let producer: BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    /// # for word in ["to", "be", "or"] {
    /// #     producer.send(BaseRecord::<(), str>::to("words").partition(0).payload(word)).map_err(|(e, _)| e).unwrap();
    /// # }
    /// # producer.flush(secs(10)).unwrap();
    /// // The topic words, on `brokers`, has the records to, be, or.
    /// let words = MemorySink::new();
    /// let out = words.clone();
    /// StreamingContext::builder("ranges", millis(20)).run(move |ssc| {
    ///     let ranges = [OffsetRange::new("words", 0, 1, 3)];
    ///     ssc.kafka_ranges(KafkaSource::brokers(&brokers), &ranges).values().oks().to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(words.rows(), ["be", "or"]);
    /// ```
    #[doc(alias = "createRDD")]
    #[doc(alias = "create_rdd")]
    #[track_caller]
    pub fn kafka_ranges(&self, kafka: KafkaSource, ranges: &[OffsetRange]) -> DStream<'s, Message> {
        let site = OperatorId::of("kafka_ranges");
        let mut kafka = kafka.of_job(&self.graph.config);
        for r in ranges {
            kafka = kafka.topic(&*r.topic);
            if r.from < 0 || r.until < r.from {
                self.graph
                    .report(&site, format!("{}/{}: the range [{}, {}) runs backwards", r.topic, r.partition, r.from, r.until));
            }
        }
        if let Err(e) = kafka.check() {
            self.graph.report(&site, e);
        }
        self.read(&site, GivenRanges { kafka, ranges: ranges.iter().map(split_range).collect() })
    }
}

/// The topics, from the source's start on.
struct DirectStream {
    kafka: KafkaSource,
    max_rate: MaxRate,
    /// Whether the job has a checkpoint directory.
    restartable: bool,
}

impl Source for DirectStream {
    type Item = Message;

    fn name(&self) -> String {
        self.kafka.name()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(KafkaEnumerator::new(&self.kafka)?.of_restartable_job(self.restartable)))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Message>>> {
        Ok(Box::new(KafkaReader::new(&self.kafka, context)?))
    }

    fn max_rate(&self) -> MaxRate {
        self.max_rate
    }
}

/// Exactly these ranges.
struct GivenRanges {
    kafka: KafkaSource,
    ranges: Vec<SplitRange>,
}

impl Source for GivenRanges {
    type Item = Message;

    fn name(&self) -> String {
        self.kafka.name()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(RangesEnumerator { kafka: self.kafka.clone(), ranges: self.ranges.clone(), planned: false }))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Message>>> {
        Ok(Box::new(KafkaReader::new(&self.kafka, context)?.only_ranges()))
    }
}

fn split_range(r: &OffsetRange) -> SplitRange {
    SplitRange { split: Split::Kafka { topic: r.topic.clone(), partition: r.partition }, from: r.from, until: r.until }
}

/// Plans one batch of given ranges.
struct RangesEnumerator {
    kafka: KafkaSource,
    ranges: Vec<SplitRange>,
    planned: bool,
}

impl SplitEnumerator for RangesEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
        self.planned = !read.is_empty();
        Ok(())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        let mut splits: Vec<Split> = self.ranges.iter().map(|p| p.split.clone()).collect();
        splits.sort();
        if let Some(twice) = splits.windows(2).find(|w| w[0] == w[1]) {
            let (topic, partition) = (twice[0].name(), twice[0].partition());
            return Err(Error::config(format!("kafka_ranges: {topic}/{partition} is given twice; put its ranges into one")));
        }
        self.check(&splits)?;
        Ok(Vec::new())
    }

    fn check(&mut self, given: &[Split]) -> Result<()> {
        enumerator::check(&self.kafka, given)
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let first = !std::mem::replace(&mut self.planned, true);
        Ok(if first { self.ranges.clone() } else { Vec::new() })
    }

    fn planned(&self) -> bool {
        true
    }

    fn bounded(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        self.planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::embedded_broker::EmbeddedBroker;

    #[test]
    fn a_given_range_of_what_is_not_there_ends_the_job() {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("words", 2).unwrap();
        let address = broker.address().to_owned();
        let run = |topic: &str, partition| {
            let range = OffsetRange { topic: topic.into(), partition, from: 0, until: 1 };
            let kafka = KafkaSource::brokers(&address);
            let job = StreamingContext::builder("given", crate::core::time::millis(10));
            job.run(move |ssc| {
                ssc.kafka_ranges(kafka.clone(), std::slice::from_ref(&range)).count().print(1);
                Ok(())
            })
        };
        for (topic, partition, why) in [("wrods", 0, "no topic wrods; create it"), ("words", 2, "partitions are 0 to 1")] {
            let e = run(topic, partition).unwrap_err().to_string();
            assert!(e.contains(&address) && e.contains(why), "{e}");
        }
    }
}
