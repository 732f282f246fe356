//! The verb of the Kinesis source: `kinesis_stream`.

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::kinesis::enumerator::KinesisEnumerator;
use crate::connector::kinesis::reader::KinesisReader;
use crate::connector::kinesis::source::{BETWEEN_READS, KinesisSource};
use crate::connector::message::Message;
use crate::connector::source::{MaxRate, ReaderContext, Source, SourceReader, SplitEnumerator};
use crate::core::error::Result;
use crate::engine::operator_id::OperatorId;

impl<'s> StreamingContext<'s> {
    /// The records of a Kinesis stream. Each batch knows its ranges. Spark's `KinesisUtils.createStream`, without its receiver, and without a
    /// table of DynamoDB. Feature `kinesis`.
    ///
    /// The value of a [`Message`] is the data of a record, its key is the partition key, and its time is when the record arrived. Its topic is
    /// the stream, its partition the number of the shard, and its offset counts the records of the shard that this job has read. So
    /// [`values`](DStream::values), decoders and dead letters are those of Kafka.
    ///
    /// - **Order.** One worker reads each shard, and rows of a shard stay in its order. After a split or a merge the new shards are read when
    ///   the old ones were read to their ends, so the records of a partition key stay in order, too.
    /// - **Ranges** are replayable: the plan of a batch has the sequence numbers between which it is, so exactly-once outputs accept them.
    /// - **Packed records** of the Kinesis Producer Library are unpacked. A batch has all of a packed record, or none.
    /// - **Lag** is known only in time: [`InputInfo`](crate::metrics::InputInfo) and the page show for how long the oldest record waits.
    /// - **Errors.** A service that is away or that is asked too often is trouble, which the log and the page show. It is asked again after
    ///   250 ms, then after twice the time, up to 10 s. Missing permission ends the job. Records that are older than the retention period
    ///   end it, too: see [`fail_on_data_loss`](KinesisSource::fail_on_data_loss).
    /// - **Batch intervals** under 250 ms make batches without records: a shard is read at most four times a second.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("wordcount", secs(2)).checkpoint("/data/wordcount").run(|ssc| {
    ///     let words = KinesisSource::stream("words").region_name("us-east-1").initial_position(InitialPosition::trim_horizon());
    ///     let lines = ssc.kinesis_stream(words).values().oks();
    ///     lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()).count_by_value().print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A description that is wrong is an error at the start:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let started = StreamingContext::builder("wordcount", secs(2)).start(|ssc| {
    ///     ssc.kinesis_stream(KinesisSource::stream("words").endpoint_url("127.0.0.1:4567")).count().print(1);
    ///     Ok(())
    /// });
    /// let e = started.err().unwrap().to_string();
    /// assert!(e.contains("endpoint_url begins with neither http:// nor https://"), "{e}");
    /// ```
    #[doc(alias = "KinesisUtils")]
    #[doc(alias = "KinesisInputDStream")]
    #[track_caller]
    pub fn kinesis_stream(&self, kinesis: KinesisSource) -> DStream<'s, Message> {
        let operator = OperatorId::of("kinesis_stream");
        let config = &self.graph.config;
        let kinesis = kinesis.of_job(config);
        if config.interval.duration() < BETWEEN_READS && self.graph.dry && self.graph.on_worker_0() && config.warns {
            tracing::warn!(
                "the batch interval is {:?}, and shards of Kinesis are read at most every {BETWEEN_READS:?}: most batches have no records",
                config.interval.duration()
            );
        }
        let per_second = kinesis.rate_per_shard().or(config.max_rate_per_partition);
        let max_rate = MaxRate { per_second, first_batch: kinesis.first_batch_records() };
        self.read(&operator, KinesisStream { kinesis, max_rate })
    }
}

/// The stream, from the source's start on.
struct KinesisStream {
    kinesis: KinesisSource,
    max_rate: MaxRate,
}

impl Source for KinesisStream {
    type Item = Message;

    fn name(&self) -> String {
        self.kinesis.name()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(KinesisEnumerator::new(&self.kinesis)?))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Message>>> {
        self.kinesis.check()?;
        Ok(Box::new(KinesisReader::new(&self.kinesis, context)))
    }

    fn max_rate(&self) -> MaxRate {
        self.max_rate
    }
}
