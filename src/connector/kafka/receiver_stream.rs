//! `kafka_receiver_stream`: topics read as a member of a consumer group, with the log of a receiver.

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::kafka::group_receiver::GroupReceiver;
use crate::connector::kafka::source::KafkaSource;
use crate::connector::message::Message;
use crate::engine::operator_id::OperatorId;

impl<'s> StreamingContext<'s> {
    /// The messages of the topics, received as a member of the consumer group of the source. Spark's `KafkaUtils.createStream`.
    ///
    /// Use it where several jobs, or other consumers, share the partitions of a topic by their group. Otherwise
    /// [`kafka_direct_stream`](StreamingContext::kafka_direct_stream) is better: it reads on all workers, and its batches are ranges of
    /// offsets, so that exactly-once outputs have each record once.
    ///
    /// - **The group decides.** The stream begins where the group has committed. A partition that the group has not read begins as
    ///   [`start`](KafkaSource::start) says, `Latest` or `Earliest`. Partitions move between the members of the group while all run. The
    ///   default strategy is `cooperative-sticky`; all members of a group need a common one, so
    ///   `set("partition.assignment.strategy", ..)` may name others.
    /// - **With a checkpoint directory** records are in the log of the receiver, as in
    ///   [`receiver_stream`](StreamingContext::receiver_stream), before their offsets are committed. Nothing is lost by a crash, and a
    ///   restart runs the same batches again. Records that were logged and not committed when a process died come twice, once to this
    ///   job and once to the next member.
    /// - **Without one** offsets are committed after every output has written their batch. A crash repeats the batches since then.
    /// - **A graceful stop** commits everything, and leaves the group at once. A killed member keeps its partitions until
    ///   `session.timeout.ms` (45 s, unless set) is over.
    /// - **Offsets that the log no longer has** end the job, as [`fail_on_data_loss`](KafkaSource::fail_on_data_loss) says. With `false`
    ///   the stream goes on at the first record that is there, and a warning says how many are lost.
    /// - **One worker receives.** The union of several such streams of one group receives on several workers.
    ///
    /// `spark.streaming.receiver.maxRate` limits a batch. [`max_rate_per_partition`](KafkaSource::max_rate_per_partition),
    /// [`first_batch_cap`](KafkaSource::first_batch_cap), [`commit_offsets`](KafkaSource::commit_offsets), and starts by offset or time are
    /// for the direct stream: they are errors here. [`pattern`](KafkaSource::pattern) is an extended regular expression of POSIX here.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("words", secs(1)).checkpoint("/data/words").run(|ssc| {
    ///     let kafka = KafkaSource::brokers("127.0.0.1:9092").topic("words").group_id("word-count").start(StartFrom::earliest());
    ///     let words = ssc.kafka_receiver_stream(kafka).values().oks();
    ///     words.count_by_value().print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// What only a direct stream can do is an error at the start:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let started = StreamingContext::builder("words", secs(1)).start(|ssc| {
    ///     let kafka = KafkaSource::brokers("127.0.0.1:9").topic("words").max_rate_per_partition(1_000);
    ///     ssc.kafka_receiver_stream(kafka).count().print(1);
    ///     Ok(())
    /// });
    /// let e = started.err().unwrap().to_string();
    /// assert!(e.contains("max_rate_per_partition") && e.contains("spark.streaming.receiver.maxRate"), "{e}");
    /// ```
    #[doc(alias = "createStream")]
    #[doc(alias = "KafkaUtils")]
    #[track_caller]
    pub fn kafka_receiver_stream(&self, kafka: KafkaSource) -> DStream<'s, Message> {
        let operator = OperatorId::of("kafka_receiver_stream");
        let kafka = kafka.of_job(&self.graph.config);
        if let Err(e) = kafka.check_member() {
            self.graph.report(&operator, e);
        }
        if !kafka.own_output {
            let source = kafka.clone();
            self.graph.refuses_own(&operator, Box::new(move |place| source.reads_own(place)));
        }
        let config = &self.graph.config;
        let logged = config.runtime.checkpoint.is_some() && config.receiver_log;
        self.receive(&operator, GroupReceiver::new(kafka, logged))
    }
}
