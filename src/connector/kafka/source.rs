//! [`KafkaSource`]: the user's description of a Kafka source. It names the topics, where to begin, and how fast to read.
//!
//! The planner's half is [`KafkaEnumerator`](crate::connector::kafka::enumerator::KafkaEnumerator), the worker's
//! [`KafkaReader`](crate::connector::kafka::reader::KafkaReader).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::api::config::Config;
use crate::connector::kafka::client::{PROGRESS_PREFIX, Settings, Side, name_problem};
use crate::connector::kafka::group_offsets::CommitOffsets;
pub use crate::connector::kafka::start_from::StartFrom;
use crate::core::error::{Error, Result};

/// How records without a value are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tombstones {
    /// They stay in the stream. [`Message::value`](crate::connector::message::Message::value) is an error, so decoding makes a
    /// bad record.
    #[default]
    Error,
    /// They are left out.
    Skip,
}

/// The topics to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    pub(super) names: BTreeSet<String>,
    pub(super) pattern: Option<Regex>,
}

impl Topics {
    /// The pattern as librdkafka's `subscribe` takes it.
    pub(super) fn subscribed_pattern(&self) -> Option<String> {
        let whole = self.pattern.as_ref()?.as_str();
        whole.strip_prefix("^(?:").and_then(|p| p.strip_suffix(")$")).map(|pattern| format!("^({pattern})$"))
    }

    /// Whether the pattern selects this topic. Topics for bookkeeping are left out.
    pub(super) fn matches(&self, topic: &str) -> bool {
        let bookkeeping = topic.starts_with("__") || topic.starts_with(PROGRESS_PREFIX);
        !bookkeeping && self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(topic))
    }
}

/// As errors and logs call them: `topic words`, `topics clicks, views`, `topics that match ^(?:clicks-.*)$`.
impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = self.names.iter().cloned().collect();
        all.extend(self.pattern.as_ref().map(|pattern| format!("that match {pattern}")));
        let one = self.names.len() == 1 && self.pattern.is_none();
        write!(f, "{} {}", if one { "topic" } else { "topics" }, all.join(", "))
    }
}

/// A Kafka source: brokers, topics, where to begin. No broker is contacted before the job starts.
///
/// | knob | default |
/// |---|---|
/// | [`topic`](KafkaSource::topic), [`topics`](KafkaSource::topics), [`pattern`](KafkaSource::pattern) | at least one is needed |
/// | [`start`](KafkaSource::start) | [`StartFrom::Latest`] |
/// | [`group_id`](KafkaSource::group_id) | the job's name; the source never joins it |
/// | [`allow_own_output`](KafkaSource::allow_own_output) | a topic that the job also writes is an error |
/// | [`max_rate_per_partition`](KafkaSource::max_rate_per_partition), [`first_batch_cap`](KafkaSource::first_batch_cap) | no cap |
/// | [`commit_offsets`](KafkaSource::commit_offsets) | [`CommitOffsets::Automatic`] |
/// | [`tombstones`](KafkaSource::tombstones) | [`Tombstones::Error`] |
/// | [`include_headers`](KafkaSource::include_headers) | no headers |
/// | [`fail_on_data_loss`](KafkaSource::fail_on_data_loss) | records that aged out stop the job |
/// | [`discover_every`](KafkaSource::discover_every) | 5 seconds |
/// | [`set`](KafkaSource::set) | librdkafka's setting, read committed, short queues |
///
/// ```
/// use tidemill::connector::kafka::source::{KafkaSource, StartFrom};
/// let twitter = KafkaSource::brokers("127.0.0.1:9092").topic("twitter").start(StartFrom::earliest());
/// # let _ = twitter;
/// ```
#[derive(Clone)]
pub struct KafkaSource {
    pub(crate) settings: Settings,
    pub(super) topics: Topics,
    pub(crate) group: String,
    pub(super) start: StartFrom,
    pub(crate) tombstones: Tombstones,
    pub(crate) headers: bool,
    pub(super) stops_at_loss: bool,
    /// Whether earlier batches run again (`--replay`). If so, no record may be lost.
    pub(super) replayed: bool,
    pub(super) offsets: CommitOffsets,
    rate: Option<u64>,
    first_batch: Option<u64>,
    pub(super) every: Duration,
    /// Whether the job may write to a topic that it reads here.
    pub(super) own_output: bool,
    faults: Vec<String>,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, topics) = (&self.settings, &self.topics);
        f.debug_struct("Kafka").field("settings", settings).field("topics", topics).field("start", &self.start).finish()
    }
}

impl KafkaSource {
    /// The source with the job's settings. The default group is the job's name.
    pub(super) fn of_job(mut self, job: &Config) -> Self {
        if self.group.is_empty() {
            self.group = job.name.clone();
        }
        self.replayed = job.replay.is_some();
        self
    }

    /// The group id for librdkafka, which needs one to assign partitions.
    pub(crate) fn group_or_ours(&self) -> &str {
        if self.group.is_empty() { "tidemill" } else { &self.group }
    }

    /// The source's name in errors and logs.
    pub(crate) fn name(&self) -> String {
        format!("kafka {}", self.topics)
    }

    /// A source on these brokers: `host:port`, several with commas between.
    pub fn brokers(brokers: impl Into<String>) -> Self {
        KafkaSource {
            settings: Settings::brokers(brokers),
            topics: Topics::default(),
            group: String::new(),
            start: StartFrom::default(),
            tombstones: Tombstones::default(),
            headers: false,
            stops_at_loss: true,
            replayed: false,
            offsets: CommitOffsets::default(),
            rate: None,
            first_batch: None,
            every: Duration::from_secs(5),
            own_output: false,
            faults: Vec::new(),
        }
    }

    /// A source from Spark's `kafkaParams`: `metadata.broker.list`, `bootstrap.servers`, `group.id`,
    /// `auto.offset.reset` (`smallest`, `earliest`, `largest`, `latest`), and librdkafka's settings.
    ///
    /// ```
    /// use tidemill::connector::kafka::source::KafkaSource;
    /// let k = KafkaSource::params([("metadata.broker.list", "127.0.0.1:9092"), ("auto.offset.reset", "smallest")]).topic("words");
    /// # k.check().unwrap();
    /// ```
    pub fn params<K: AsRef<str>, V: AsRef<str>>(params: impl IntoIterator<Item = (K, V)>) -> Self {
        params.into_iter().fold(KafkaSource::brokers(""), |kafka, (k, v)| kafka.set(k.as_ref(), v.as_ref()))
    }

    /// Also reads this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.names.insert(topic.into());
        self
    }

    /// Also reads these topics.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topics(["clicks", "views"]);
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn topics<S: Into<String>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        self.topics.names.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Also reads every topic whose whole name matches, and those that appear later. Kafka's own topics (`__...`) are left out,
    /// and so are those where exactly-once sinks keep their progress (`tidemill-progress-...`). A pattern that matches a topic
    /// to which the job writes is an error at the start; see [`allow_own_output`](KafkaSource::allow_own_output).
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").pattern("clicks-.*");
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn pattern(mut self, pattern: &str) -> Self {
        match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) => self.topics.pattern = Some(regex),
            Err(e) => self.faults.push(format!("Kafka topic pattern {pattern:?}: {e}")),
        }
        self
    }

    /// The consumer group. Default: the job's name. The source never joins it, because tidemill itself assigns partitions to
    /// workers.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").group_id("word-count-2");
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn group_id(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Which offsets go to the consumer group, for tools that show a lag. A job never reads them: it continues from its
    /// checkpoint.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").commit_offsets(CommitOffsets::Off);
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "enable.auto.commit")]
    pub fn commit_offsets(mut self, which: CommitOffsets) -> Self {
        self.offsets = which;
        self
    }

    /// Where to begin if no checkpoint exists. Default: [`StartFrom::Latest`]. Partitions that appear later begin at their
    /// first record.
    pub fn start(mut self, start: StartFrom) -> Self {
        self.start = start;
        self
    }

    /// Sets any setting of librdkafka by its name. A setting that the engine owns is refused at the start, with the reason.
    ///
    /// `auto.offset.reset`, `group.id`, `bootstrap.servers` and `metadata.broker.list` act like the methods of this type.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").set("fetch.min.bytes", "100000");
    /// words.check()?;
    /// let refused = words.set("enable.auto.offset.store", "true").check().unwrap_err();
    /// assert!(refused.to_string().contains("enable.auto.offset.store"));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn set(mut self, key: &str, value: &str) -> Self {
        match key.trim() {
            "bootstrap.servers" | "metadata.broker.list" => self.settings.brokers = value.to_string(),
            "group.id" => self.group = value.to_string(),
            "auto.offset.reset" => match value {
                "smallest" | "earliest" | "beginning" => self.start = StartFrom::Earliest,
                "largest" | "latest" | "end" => self.start = StartFrom::Latest,
                _ => self.faults.push(
                    "Kafka setting auto.offset.reset: only smallest, earliest, largest and latest; \
                     an offset that is gone stops the job, or is counted: see fail_on_data_loss"
                        .to_string(),
                ),
            },
            key => self.settings.set(key, value),
        }
        self
    }

    /// Whether the job may write to a topic that this source reads, on the same brokers. Default: `false`, and such a job is an
    /// error at the start: each record that it writes would come back as input, without end. With `true` the program must end
    /// the loop itself, for example by writing fewer records than it reads.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let job = |allow: bool| {
    ///     StreamingContext::builder("tasks", secs(1)).start(move |ssc| {
    ///         let tasks = KafkaSource::brokers("127.0.0.1:9").topic("tasks").allow_own_output(allow);
    ///         let failed = ssc.kafka_direct_stream(tasks).values().oks().filter(|task| task.starts_with("retry "));
    ///         failed.to_kafka(KafkaSink::new("127.0.0.1:9", "tasks"), |task, record| _ = record.value(&task[6..]));
    ///         Ok(())
    ///     })
    /// };
    /// let e = job(false).err().unwrap().to_string();
    /// assert!(e.contains("reads the topic tasks") && e.contains("allow_own_output(true)"), "{e}");
    /// job(true)?.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn allow_own_output(mut self, allow: bool) -> Self {
        self.own_output = allow;
        self
    }

    /// At most this many records a second from each partition. Default: no limit.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").max_rate_per_partition(10_000);
    /// assert_eq!(words.rate_per_partition(), Some(10_000));
    /// ```
    pub fn max_rate_per_partition(mut self, records_per_second: u64) -> Self {
        self.rate = Some(records_per_second);
        self
    }

    /// At most this many records from each partition in the first batch, which may find a long log. Default: no limit.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").first_batch_cap(100_000);
    /// assert_eq!(words.first_batch_records(), Some(100_000));
    /// ```
    pub fn first_batch_cap(mut self, records: u64) -> Self {
        self.first_batch = Some(records);
        self
    }

    /// How records without a value are treated. Default: [`Tombstones::Error`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("accounts").tombstones(Tombstones::Skip);
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn tombstones(mut self, tombstones: Tombstones) -> Self {
        self.tombstones = tombstones;
        self
    }

    /// Also reads the headers of records, like Spark's `includeHeaders`. Default: no headers. Parsing them takes a quarter of
    /// the reading time, even for records without headers.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").topic("words").include_headers();
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn include_headers(mut self) -> Self {
        self.headers = true;
        self
    }

    /// Whether the job stops when records aged out before it read them, as after a long downtime. Default: `true`. With `false`
    /// it continues at the first remaining record. The lost offsets are in the log and in
    /// [`Statistics::lost`](crate::metrics::Statistics::lost). With a checkpoint directory they are in the plan log too, so
    /// that the batch is the same when it runs again. A topic that was deleted and made again, or truncated at its end, always
    /// stops the job.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let clicks = KafkaSource::brokers("127.0.0.1:9092").topic("clicks").fail_on_data_loss(false);
    /// # clicks.check().unwrap();
    /// ```
    #[doc(alias = "failOnDataLoss")]
    pub fn fail_on_data_loss(mut self, stop: bool) -> Self {
        self.stops_at_loss = stop;
        self
    }

    /// The interval between polls of the brokers for new partitions and topics. Default: 5 seconds.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = KafkaSource::brokers("127.0.0.1:9092").pattern("clicks-.*").discover_every(secs(1));
    /// words.check()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn discover_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Checks the description, without contacting a broker.
    ///
    /// # Errors
    /// All problems, one a line, without the values of settings.
    pub fn check(&self) -> Result<()> {
        let found = self.problems(Side::Source);
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }

    /// Checks the description of a source that is a member of a consumer group.
    ///
    /// # Errors
    /// As [`KafkaSource::check`].
    pub(super) fn check_member(&self) -> Result<()> {
        let mut found = self.problems(Side::Member);
        let direct = "kafka_receiver_stream reads where its group is";
        if !matches!(self.start, StartFrom::Latest | StartFrom::Earliest) {
            found.push(format!("Kafka: {direct}; start with StartFrom::latest() or earliest(), or use kafka_direct_stream"));
        }
        if self.rate.is_some() || self.first_batch.is_some() {
            let limits = "max_rate_per_partition and first_batch_cap are for kafka_direct_stream";
            found.push(format!("Kafka: {limits}; set spark.streaming.receiver.maxRate for kafka_receiver_stream"));
        }
        if !matches!(self.offsets, CommitOffsets::Automatic) {
            found.push("Kafka: commit_offsets is for kafka_direct_stream; kafka_receiver_stream commits what is stored".into());
        }
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }

    fn problems(&self, side: Side) -> Vec<String> {
        let mut found = self.faults.clone();
        found.extend(self.settings.problems(side));
        if self.topics.names.is_empty() && self.topics.pattern.is_none() {
            found.push("Kafka: no topic is given; use topic, topics or pattern".to_string());
        }
        found.extend(self.topics.names.iter().filter_map(|t| name_problem(t)));
        found.extend(self.start.problem());
        for (name, zero) in [("max_rate_per_partition", self.rate), ("first_batch_cap", self.first_batch)] {
            if zero == Some(0) {
                found.push(format!("Kafka: {name} is 0, nothing would ever be read"));
            }
        }
        if self.every.is_zero() {
            found.push("Kafka: discover_every is 0".to_string());
        }
        if let StartFrom::Offsets(offsets) = &self.start {
            for ((topic, partition), offset) in offsets {
                if !self.wants(topic) {
                    found.push(format!("Kafka: from_offsets names topic {topic}, which this source does not read"));
                }
                if *offset < 0 || *partition < 0 {
                    found.push(format!(
                        "Kafka: from_offsets says {offset} for topic {topic}, partition {partition}: both begin at 0"
                    ));
                }
            }
        }
        found
    }

    /// The offset from which to read, if the group has committed `at`, and the log has these bounds.
    ///
    /// # Errors
    /// The log does not have it, and that must end the job.
    pub(super) fn in_log(&self, (topic, partition): &(Arc<str>, i32), at: i64, (low, high): (i64, i64)) -> Result<i64> {
        if (low..=high).contains(&at) {
            return Ok(at);
        }
        let group = &self.group;
        let what =
            format!("topic {topic}, partition {partition}: the group {group} is at {at}, and the log holds {low} to {high}");
        if self.stops_at_loss || at > high {
            let remedy = "set the offsets of the group with Kafka's kafka-consumer-groups --reset-offsets";
            let or = if at > high { "" } else { ", or allow the loss with fail_on_data_loss(false)" };
            return Err(Error::source(format!("Kafka at {}", self.settings.brokers), format!("{what}: {remedy}{or}")));
        }
        tracing::warn!(lost = low - at, "{what}: the records between are lost");
        Ok(low)
    }

    /// Whether the source reads this topic, now or when it appears.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.topics.names.contains(topic) || self.topics.matches(topic)
    }

    /// The maximum number of records a second and partition, if a limit is set.
    pub fn rate_per_partition(&self) -> Option<u64> {
        self.rate
    }

    /// The maximum number of records a partition in the first batch, if a limit is set.
    pub fn first_batch_records(&self) -> Option<u64> {
        self.first_batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_in_another_unit_than_milliseconds_is_refused_with_the_factor() {
        let said = |at: i64| problems(KafkaSource::brokers("a:1").topic("t").start(StartFrom::from_timestamp(at)));
        assert!(said(1_764_331_200).contains("seconds; multiply it by 1,000"));
        assert!(said(1_764_331_200_000_000).contains("microseconds; divide it by 1,000"));
        assert!(said(1_764_331_200_000_000_000).contains("nanoseconds; divide it by 1,000,000"));
        assert!(said(-1).contains("earliest()"));
        for fine in [0, 1_000, 1_764_331_200_000] {
            KafkaSource::brokers("a:1").topic("t").start(StartFrom::from_timestamp(fine)).check().unwrap();
        }
    }

    #[test]
    fn a_name_that_no_topic_can_have_is_refused() {
        for name in ["a b", "wörter", "..", &"t".repeat(250)] {
            assert!(problems(KafkaSource::brokers("a:1").topic(name)).contains("no topic can be called"), "{name}");
        }
        KafkaSource::brokers("a:1").topic("t".repeat(249)).check().unwrap();
    }

    #[test]
    fn a_source_is_called_by_its_topics() {
        let source = || KafkaSource::brokers("h:1");
        assert_eq!(source().topic("words").name(), "kafka topic words");
        assert_eq!(source().topics(["views", "clicks"]).name(), "kafka topics clicks, views");
        assert_eq!(source().pattern("c.*").topic("words").name(), "kafka topics words, that match ^(?:c.*)$");
    }

    fn problems(kafka: KafkaSource) -> String {
        kafka.check().unwrap_err().to_string()
    }

    #[test]
    fn sparks_names_are_understood() {
        let k = KafkaSource::params([("metadata.broker.list", "a:1"), ("auto.offset.reset", "smallest"), ("group.id", "g")])
            .topic("t");
        k.check().unwrap();
        assert_eq!((&*k.settings.brokers, &*k.group, &k.start), ("a:1", "g", &StartFrom::Earliest));
        let k = KafkaSource::params([("bootstrap.servers", "b:1"), ("auto.offset.reset", "largest")]).topic("t");
        assert_eq!((&*k.settings.brokers, &k.start), ("b:1", &StartFrom::Latest));
        let text = problems(KafkaSource::params([("auto.offset.reset", "none"), ("enable.auto.commit", "true")]).topic("t"));
        assert!(
            text.contains("auto.offset.reset") && text.contains("enable.auto.commit") && text.contains("no brokers"),
            "{text}"
        );
    }

    #[test]
    fn g4_a_description_that_cannot_work_is_refused_before_anybody_is_asked() {
        let k = || KafkaSource::brokers("a:1");
        assert!(problems(k()).contains("no topic"));
        assert!(problems(k().topics(Vec::<String>::new())).contains("no topic"));
        assert!(problems(k().topic("")).contains("name is empty"));
        assert!(problems(k().pattern("(")).contains("pattern"));
        assert!(problems(k().topic("t").max_rate_per_partition(0)).contains("max_rate_per_partition"));
        let text = problems(k().topic("t").start(StartFrom::from_offsets([("u", 0, 1), ("t", 0, -2)])));
        assert!(text.contains("topic u") && text.contains("says -2"), "{text}");
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let k = KafkaSource::brokers("a:1").pattern("tw|news.*");
        assert!(k.wants("tw") && k.wants("news-2") && !k.wants("twitter"));
    }
}
