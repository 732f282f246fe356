//! `to_kafka`, at least once: a batch has arrived when the brokers have acknowledged all its records. transactions.rs is the
//! exactly-once half, and topics.rs knows to which topics records go.
//!
//! The sink sends batches one after another without waiting for acknowledgements. After a failure a new producer sends the
//! failed batch and all later ones again. Readers may see records twice, but miss none.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Instant;

use crate::api::context::Place;
use crate::api::dstream::DStream;
use crate::connector::console::TextSink;
use crate::connector::kafka::client::{Settings, Side};
use crate::connector::kafka::producer::Link;
use crate::connector::kafka::producer_record::ProducerRecord;
use crate::connector::kafka::reports::Receipt;
use crate::connector::kafka::topics::{Choice, FoundTopics, Topics};
use crate::connector::retry::pause;
use crate::connector::sink::{DEFAULT_SHARDS, Distribution, Part, Sink, SinkBatch};
use crate::core::data::Exchange;
use crate::core::error::{BoxError, Error, Result};
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::replay::request::OutputTarget;

/// A topic to write to, or several: see [`topics`](KafkaSink::topics).
///
/// All replicas acknowledge records, and idempotence is on. So within one attempt no record is duplicated or reordered.
/// `linger.ms` is 0, because a batch is sent as a whole anyway.
///
/// ```
/// use tidemill::connector::kafka::sink::KafkaSink;
/// let counts = KafkaSink::new("127.0.0.1:9092", "counts").set("compression.type", "lz4").marks();
/// # counts.check().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct KafkaSink {
    pub(crate) settings: Settings,
    pub(super) topics: Topics,
    pub(crate) marks: bool,
    exactly_once: bool,
    pub(crate) shards: u32,
}

impl KafkaSink {
    /// Writes to `topic` on these brokers: `host:port`, several with commas between.
    pub fn new(brokers: impl AsRef<str>, topic: impl AsRef<str>) -> Self {
        KafkaSink::of(brokers.as_ref(), Topics { own: Some(topic.as_ref().to_string()), choice: Choice::Own })
    }

    /// Writes each record to the topic that it names by [`ProducerRecord::topic`]. A record that names none ends the job.
    ///
    /// Records may name any topic, unless [`topics`](KafkaSink::topics) lists them. The sink asks the brokers for a topic before the first
    /// record goes there. If it is missing, the batch fails, and is tried again for the time of `--output-retry`. So a topic that somebody
    /// creates meanwhile has the record, and the sink never creates one. What a job reads is not compared with topics that are not listed.
    ///
    /// Where a topic stands for the sink, as in the topic of its progress, this sink is called `by-record`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let by_kind = KafkaSink::by_record("127.0.0.1:9092");
    /// by_kind.check().unwrap();
    /// let e = by_kind.marks().check().unwrap_err().to_string();
    /// assert!(e.contains("topics([..])"), "{e}");
    /// ```
    pub fn by_record(brokers: impl AsRef<str>) -> Self {
        KafkaSink::of(brokers.as_ref(), Topics { own: None, choice: Choice::Any })
    }

    fn of(brokers: &str, topics: Topics) -> Self {
        KafkaSink { settings: Settings::brokers(brokers), topics, marks: false, exactly_once: false, shards: DEFAULT_SHARDS }
    }

    /// Records may name one of these topics by [`ProducerRecord::topic`], or the sink's own. Those that name none go to the sink's own.
    /// Another name ends the job. Several calls add up.
    ///
    /// All topics are looked up before the job touches data. With [`exactly_once`](KafkaSink::exactly_once), one transaction has the records
    /// of a shard for all of them, so that readers of several topics see each batch whole. [`marks`](KafkaSink::marks) go to each partition of
    /// each topic. A replay that writes elsewhere writes the records of all topics there.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let sink = KafkaSink::new("127.0.0.1:9092", "others").topics(["orders", "returns"]);
    /// sink.check().unwrap();
    /// let e = sink.topics(["no spaces"]).check().unwrap_err().to_string();
    /// assert!(e.contains("no topic can be called \"no spaces\""), "{e}");
    /// ```
    pub fn topics<S: AsRef<str>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        let mut listed = match self.topics.choice {
            Choice::Listed(listed) => listed,
            _ => Default::default(),
        };
        listed.extend(topics.into_iter().map(|topic| topic.as_ref().to_owned()));
        self.topics.choice = Choice::Listed(listed);
        self
    }

    /// Sets any setting of librdkafka by its own name. A setting that the engine owns is an error at the start, with the
    /// reason.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.set(key, value);
        self
    }

    /// Writes `{"batch": t}` (t in milliseconds) to each partition, after all rows of each batch are delivered. A reader that
    /// saw the mark of t in a partition has seen every row of t in that partition.
    pub fn marks(mut self) -> Self {
        self.marks = true;
        self
    }

    /// Consumers with `isolation.level=read_committed` see each row exactly once, regardless of which processes die and how
    /// often. Other consumers see the rows of aborted transactions too. Needs a checkpoint directory, replayable sources, and
    /// brokers with transactions.
    ///
    /// Rows are written in [shards](KafkaSink::shards), by key or source partition. Each shard has its own producer, with the
    /// transactional id `JOB-TOPIC-SHARD`. A transaction has the rows of one or a few batches, and a record of the shard's
    /// progress. That record goes to the compacted topic `tidemill-progress-TOPIC`, which is created if it is missing. Rows of
    /// one key keep their order. Two jobs must not have the same name on the same brokers: the later one shuts the earlier one
    /// out.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-once-{}", std::process::id()));
    /// let job = |dir: Option<std::path::PathBuf>| {
    ///     let job = StreamingContext::builder("counts", secs(1));
    ///     let job = match dir { Some(dir) => job.checkpoint(dir), None => job };
    ///     job.start(|ssc| {
    ///         let words = ssc.kafka_direct_stream(KafkaSource::brokers("127.0.0.1:1").topic("words")).values().oks();
    ///         let sink = KafkaSink::new("127.0.0.1:1", "counts").exactly_once();
    ///         words.count_by_value().to_kafka(sink, |(word, n), record| _ = record.key(word).json(n));
    ///         Ok(())
    ///     })
    /// };
    /// let e = job(None).err().unwrap().to_string();
    /// assert!(e.contains("--checkpoint DIR"), "{e}");
    /// ```
    pub fn exactly_once(mut self) -> Self {
        self.exactly_once = true;
        self
    }

    /// The number of shards in which an exactly-once sink writes, 1 to `max_parallelism`; default: 8. The number is fixed when the checkpoint
    /// directory is made, so that it means the same on any number of workers.
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards;
        self
    }

    /// Whether there is a topic for records that name none.
    pub(crate) fn has_own_topic(&self) -> bool {
        self.topics.own.is_some()
    }

    /// Checks the whole description, without contacting a broker.
    ///
    /// # Errors
    /// All problems, one a line, without the values of settings.
    pub fn check(&self) -> Result<()> {
        let mut found = self.settings.problems(Side::Sink);
        found.extend(self.topics.problems());
        if self.marks && self.topics.choice == Choice::Any {
            found.push("Kafka: marks() go to each partition of the topics, so the sink must know them: add topics([..])".into());
        }
        let most = KeyGroups::MOST.into();
        if !(1..=most).contains(&self.shards) {
            found.push(format!("Kafka: shards({}): there can be 1 to {most}, and no more than key groups", self.shards));
        }
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }
}

/// Writes batches to topics; `F` fills a record for each row.
pub struct KafkaOutput<F> {
    sink: KafkaSink,
    fill: F,
    topics: FoundTopics,
    link: Option<Link>,
    /// Batches whose rows have not all been acknowledged.
    in_flight: VecDeque<InFlight>,
    record: ProducerRecord,
}

struct InFlight {
    time: BatchTime,
    receipt: Receipt,
    since: Instant,
}

impl<F> KafkaOutput<F> {
    /// Looks up the topics, and waits for the brokers. A missing topic is an error here, not at the first batch.
    ///
    /// # Errors
    /// The description is wrong, the brokers do not answer within 10 seconds, or a topic does not exist.
    pub fn open(sink: &KafkaSink, fill: F) -> Result<Self> {
        let mut output = KafkaOutput::new(sink, fill)?;
        output.connect()?;
        Ok(output)
    }

    /// Like [`KafkaOutput::open`], but the first batch connects.
    ///
    /// # Errors
    /// The description is wrong.
    pub fn new(sink: &KafkaSink, fill: F) -> Result<Self> {
        sink.check()?;
        let (topics, in_flight) = (FoundTopics::new(&sink.topics, &sink.settings), VecDeque::new());
        Ok(KafkaOutput { sink: sink.clone(), fill, topics, link: None, in_flight, record: ProducerRecord::default() })
    }

    fn connect(&mut self) -> Result<()> {
        let settings = &self.sink.settings;
        self.topics.set(self.sink.topics.find(settings)?);
        let (producer, reports) = settings.client(Side::Sink, None)?;
        if self.sink.topics.choice != Choice::Own {
            reports.name_topics();
        }
        self.link = Some(Link::new(settings, producer, reports));
        Ok(())
    }

    fn failed(&self, what: &str) -> String {
        let mut text = format!("Kafka {} on {}: {what}", self.sink.topics, self.sink.settings.brokers);
        if let Some(trouble) = self.link.as_ref().and_then(|l| l.reports.trouble()) {
            let _ = write!(text, " ({trouble})");
        }
        text
    }

    fn rows<T>(&mut self, time: BatchTime, parts: &[Part<T>]) -> Result<(), BoxError>
    where
        F: FnMut(&T, &mut ProducerRecord),
    {
        if self.link.is_none() {
            self.connect()?;
        }
        let link = self.link.as_ref().expect("made just now");
        let receipt = Receipt::default();
        for (i, row) in parts.iter().flat_map(|p| &p.rows).enumerate() {
            self.record.fill(&mut self.fill, row)?;
            let topic = self.topics.of(&self.record)?;
            let sent = link.put(self.record.outgoing(topic, &receipt));
            sent.map_err(|e| self.failed(&link.reports.words(&e)))?;
            if i % 1024 == 1023 {
                link.poll();
            }
        }
        self.in_flight.push_back(InFlight { time, receipt, since: Instant::now() });
        Ok(())
    }

    fn marks(&mut self, time: BatchTime) -> Result<(), BoxError> {
        let Some(link) = &self.link else { return Ok(()) };
        for (topic, partition) in self.topics.partitions() {
            self.record.clear();
            self.record.json(&serde_json::json!({ "batch": time.millis() })).partition(partition);
            let sent = link.put(self.record.outgoing(topic, &Receipt::default()));
            sent.map_err(|e| self.failed(&link.reports.words(&e)))?;
        }
        self.wait()
    }

    /// Waits until every row has arrived.
    fn wait(&mut self) -> Result<(), BoxError> {
        let Some(link) = &self.link else { return Ok(()) };
        link.wait().map_err(|e| self.failed(&e))?;
        self.in_flight.clear();
        Ok(())
    }

    /// Sends the rows of a batch. Marks are sent after the rows have arrived.
    fn send<T>(&mut self, time: BatchTime, parts: &[Part<T>]) -> Result<(), BoxError>
    where
        F: FnMut(&T, &mut ProducerRecord),
    {
        if parts.iter().all(|p| p.rows.is_empty()) && !self.sink.marks {
            return Ok(());
        }
        let mut sent = self.rows(time, parts);
        if sent.is_ok() && self.sink.marks {
            sent = self.wait().and_then(|()| self.marks(time));
        }
        self.reset_if_failed(sent)
    }

    /// Whether all rows up to this batch have arrived.
    fn poll(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        let Some(link) = &self.link else { return Ok(true) };
        link.poll();
        if let Some(what) = link.reports.take_failed() {
            return Err(self.failed(&what).into());
        }
        // A batch may overtake another one that goes to another partition.
        while self.in_flight.front_mut().is_some_and(|b| Receipt::get_mut(&mut b.receipt).is_some()) {
            self.in_flight.pop_front();
            link.reports.clear();
        }
        match self.in_flight.front() {
            Some(b) if b.since.elapsed() > link.deadline => {
                Err(self.failed(&format!("the rows are not acknowledged after {:?}", link.deadline)).into())
            }
            b => Ok(b.is_none_or(|b| b.time > time)),
        }
    }

    /// Writes a batch and waits until all its rows have arrived. For tests and tools; the engine does not wait.
    ///
    /// # Errors
    /// A row cannot be a record, the brokers do not answer, or they refuse a record.
    pub fn write_and_wait<T>(&mut self, time: BatchTime, parts: &[Part<T>]) -> Result<(), BoxError>
    where
        F: FnMut(&T, &mut ProducerRecord) + Send,
    {
        let batch = SinkBatch::new(time);
        self.write(&batch, parts)?;
        let began = Instant::now();
        while !Sink::<T>::flush(self, time)? {
            std::thread::sleep(pause(began));
        }
        Ok(())
    }

    /// Begins with a new producer after a failure, because the next attempt must not count records that are still in transit.
    fn reset_if_failed<R>(&mut self, done: Result<R, BoxError>) -> Result<R, BoxError> {
        if done.is_err() {
            self.link = None;
            self.in_flight.clear();
        }
        done
    }
}

impl<T, F> Sink<T> for KafkaOutput<F>
where
    F: FnMut(&T, &mut ProducerRecord) + Send,
{
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        self.send(batch.time(), parts)
    }

    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        let arrived = self.poll(time);
        self.reset_if_failed(arrived)
    }

    fn shown(&mut self, rows: &[&T]) -> Option<Vec<String>> {
        Some(rows.iter().map(|row| self.record.shown(&mut self.fill, row)).collect())
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    /// Writes every row of each batch to a topic, from the process that holds the row. `fill` makes the record of a row. It
    /// receives an empty record each time; a record without a value is a tombstone. With [`KafkaSink::topics`] it also chooses the topic of
    /// the record.
    ///
    /// Batches are written in order. Within a batch, rows are ordered by process and part, and each part keeps the stream's
    /// order. The topics must exist when the job starts.
    ///
    /// At least once by default: a batch counts as written when the brokers have acknowledged all its records. After a failure
    /// or a restart, the topic may contain records twice. Their bytes are the same if `fill` depends on the row alone. With
    /// [`KafkaSink::exactly_once`], readers of committed records see each row once.
    ///
    /// # Errors
    /// At the start: the settings are wrong, the brokers do not answer within 10 seconds, or a topic is missing.
    ///
    /// Later, two faults fail a batch. A row that cannot be JSON, or names a topic that the sink does not have, stops the job at once.
    /// If a record is not acknowledged within `message.timeout.ms` (default: 30 seconds), a new producer sends that batch and the
    /// batches behind it again, whole, and `fill` runs again for each of their rows. After the time of `--output-retry` (default: 30 seconds)
    /// the job stops. Records that were sent stay in the topic. With `exactly_once`, `fill` runs once for each row and attempt of `write`, but not again for a retried
    /// commit. The transaction of a failed batch is aborted.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("counts", secs(5)).run(|ssc| {
    ///     let words = ssc.kafka_direct_stream(KafkaSource::brokers("127.0.0.1:9092").topic("words")).values().oks();
    ///     let sink = KafkaSink::new("127.0.0.1:9092", "counts");
    ///     words.count_by_value().to_kafka(sink, |(word, n), record| {
    ///         record.key(word).json(n).header("unit", "words");
    ///     });
    ///     Ok(())
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn to_kafka(&self, mut sink: KafkaSink, mut fill: impl FnMut(&T, &mut ProducerRecord) + Send + 'static)
    where
        T: Exchange,
    {
        let site = OperatorId::of("to_kafka");
        let graph = &self.node.graph;
        match graph.config.output_target(sink.topics.name()) {
            OutputTarget::Own => {
                let place = |topic: &str| Place { at: sink.settings.brokers.clone(), name: topic.to_owned() };
                sink.topics.names().for_each(|topic| graph.writes_to(&site, place(topic)));
            }
            OutputTarget::Other(topic) => {
                (sink.topics, sink.exactly_once) = (Topics { own: Some(topic), choice: Choice::Ignored }, false);
            }
            target => {
                let text = TextSink::new(&graph.config, target, &site, &sink.topics.to_string());
                let mut record = ProducerRecord::default();
                let line = move |row: &T| {
                    record.fill(&mut fill, row)?;
                    Ok(record.line())
                };
                return self.sink_as_text(&site, text, line);
            }
        }
        if sink.exactly_once {
            return match sink.check() {
                Ok(()) => self.to_kafka_exactly_once(&site, sink, fill),
                Err(e) => graph.report(&site, e),
            };
        }
        match KafkaOutput::new(&sink, fill) {
            Ok(output) => {
                graph.before_start(move || sink.topics.find(&sink.settings).map(drop));
                self.sink_rows(&site, output, Distribution::Local);
            }
            Err(e) => graph.report(&site, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_cannot_work_is_refused() {
        let text = KafkaSink::new("", " ").set("dr_msg_cb", "x").set("nope", "canary").check().unwrap_err().to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn brokers_that_are_away_are_named() {
        let sink = KafkaSink::new("127.0.0.1:1", "out").set("message.timeout.ms", "300");
        let mut out = KafkaOutput::new(&sink, |row: &String, rec: &mut ProducerRecord| _ = rec.value(row)).unwrap();
        out.link = Some(link_to_nowhere(&sink));
        let parts = [Part { number: 0, rows: vec![String::from("x")] }];
        let text = out.write_and_wait(BatchTime::from_millis(1000), &parts).unwrap_err().to_string();
        assert!(text.contains("topic out") && text.contains("127.0.0.1:1"), "{text}");
        assert!(out.link.is_none());
    }

    #[test]
    fn equal_keys_go_to_one_partition_an_empty_one_too() {
        use crate::connector::kafka::client::{Metadata, START_DEADLINE};
        use crate::connector::kafka::embedded_broker::EmbeddedBroker;
        let broker = EmbeddedBroker::start().unwrap();
        let metadata = Metadata::new(&Settings::brokers(broker.address())).unwrap();
        // Like Kafka's Java clients: murmur2, without the sign, modulo 5.
        for (key, partition) in [("21", 0), ("", 1)] {
            let topic = format!("keys-{partition}");
            broker.create_topic(&topic, 5).unwrap();
            let sink = KafkaSink::new(broker.address(), &topic);
            for _ in 0..3 {
                let mut out = KafkaOutput::open(&sink, |row: &i32, rec: &mut ProducerRecord| _ = rec.key(key).json(row)).unwrap();
                out.write_and_wait(BatchTime::from_millis(1000), &[Part { number: 0, rows: vec![1, 2, 3] }]).unwrap();
            }
            let held: Vec<i64> = (0..5).map(|p| metadata.bounds(&topic, p, START_DEADLINE).unwrap().1).collect();
            let all = (0..5).map(|p| if p == partition { 9 } else { 0 }).collect::<Vec<i64>>();
            assert_eq!(held, all, "{key:?}");
        }
    }

    #[test]
    fn rows_are_in_the_topics_that_their_records_name_and_marks_in_all() {
        use crate::connector::kafka::client::{Metadata, START_DEADLINE};
        use crate::connector::kafka::embedded_broker::EmbeddedBroker;
        let broker = EmbeddedBroker::start().unwrap();
        ["own", "even"].iter().for_each(|topic| broker.create_topic(topic, 2).unwrap());
        let sink = KafkaSink::new(broker.address(), "own").topics(["even"]).marks();
        let fill = |row: &i32, record: &mut ProducerRecord| {
            record.json(row).partition(1);
            if row % 2 == 0 {
                record.topic("even");
            }
        };
        let mut out = KafkaOutput::open(&sink, fill).unwrap();
        let rows = vec![1, 2, 3, 4, 5];
        out.write_and_wait(BatchTime::from_millis(1000), &[Part { number: 0, rows }]).unwrap();
        let metadata = Metadata::new(&Settings::brokers(broker.address())).unwrap();
        let held = |topic| [0, 1].map(|p| metadata.bounds(topic, p, START_DEADLINE).unwrap().1);
        assert_eq!((held("own"), held("even")), ([1, 4], [1, 3]), "with a mark in each partition");
        assert_eq!(out.record.shown(&mut out.fill, &2), "even\t2");
    }

    fn link_to_nowhere(sink: &KafkaSink) -> Link {
        let (producer, reports) = sink.settings.client(Side::Sink, None).unwrap();
        Link::new(&sink.settings, producer, reports)
    }
}
