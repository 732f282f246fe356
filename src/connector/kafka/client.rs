//! What the Kafka source and sink share: settings, librdkafka's reports without secrets, and metadata.
//!
//! A setting has librdkafka's own name and is passed on unchanged. A setting that the engine owns is refused, with the reason.
//! Values never appear in an error, a log line or a `Debug`, because any of them may be a password.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseProducer;
use rdkafka::types::{RDKafkaConfRes, RDKafkaRespErr};

use crate::connector::kafka::reports::{ADVERTISED, Context, Reports};
use crate::core::error::{Error, Result};
use crate::metrics::clients;

/// How long a start waits for an unresponsive broker.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(10);

/// This is longer than a restart takes. The next run aborts a transaction that a crash left open. Without a next run, the
/// brokers abort it after this time. Until then `read_committed` readers wait in front of it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(300);

/// How many milliseconds are between two statistics of a client, if the job has readers.
const STATISTICS: &str = "5000";

/// The longest name that Kafka allows for a topic.
pub(crate) const LONGEST_NAME: usize = 249;

/// How the topics begin in which exactly-once sinks keep their progress.
pub(crate) const PROGRESS_PREFIX: &str = "tidemill-progress-";

/// The brokers' addresses and the user's settings.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) brokers: String,
    set: BTreeMap<String, String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("brokers", &self.brokers).field("set", &self.set.keys()).finish()
    }
}

/// Which side a setting is for. The engine owns some on one side only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    /// A source that is a member of a consumer group.
    Member,
    Sink,
}

/// Settings the engine owns on both sides, and why.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the brokers are given to the builder"),
    ("metadata.broker.list", "the brokers are given to the builder"),
    ("statistics.interval.ms", "with --listen, the metrics have the statistics of each 5 seconds"),
    ("log.queue", "librdkafka's log goes to tracing"),
    ("enabled_events", "tidemill serves librdkafka's events"),
    ("transactional.id", "a transaction belongs to an exactly-once sink, which names it by job, sink and shard"),
    ("key.deserializer", "messages are bytes: decode them with a verb"),
    ("value.deserializer", "messages are bytes: decode them with a verb"),
    ("key.serializer", "records are bytes: the sink's closure writes them"),
    ("value.serializer", "records are bytes: the sink's closure writes them"),
];

/// Settings the engine owns at a source, and why.
const OWNED_SOURCE: &[(&str, &str)] = &[
    ("zookeeper.connect", "Kafka's clients talk to brokers"),
    ("enable.auto.commit", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("auto.commit.enable", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("auto.commit.interval.ms", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("enable.auto.offset.store", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("offset.store.method", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("offset.store.path", "positions are in tidemill's plans, which decide what belongs to a batch"),
    ("isolation.level", "a batch holds committed records only, so that the same range gives the same records again"),
    ("enable.partition.eof", "the end of a partition tells when a given range is complete"),
    ("partition.assignment.strategy", "tidemill assigns partitions to workers; there is no group membership"),
    ("group.instance.id", "tidemill assigns partitions to workers; there is no group membership"),
    ("group.protocol", "tidemill assigns partitions to workers; there is no group membership"),
    ("group.remote.assignor", "tidemill assigns partitions to workers; there is no group membership"),
    ("fetch.queue.backoff.ms", "it is kept at a few milliseconds: more makes a full queue sleep"),
    ("consume.callback.max.messages", "messages are taken in batches, not by callback"),
];

/// Of the settings that the engine owns at a source, those that a member of a consumer group may set.
const FREE_FOR_MEMBERS: &[&str] = &["partition.assignment.strategy", "group.instance.id", "isolation.level"];

/// Settings the engine owns at a sink, and why.
const OWNED_SINK: &[(&str, &str)] = &[
    ("delivery.report.only.error", "a batch is out when every record of it is reported delivered"),
    ("dr_cb", "a batch is out when every record of it is reported delivered"),
    ("dr_msg_cb", "a batch is out when every record of it is reported delivered"),
];

/// Settings of every source. Users cannot change them.
const SOURCE_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    ("auto.offset.reset", "error"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Settings of every member of a consumer group. Where there is no committed offset, the member itself says where to begin.
const MEMBER_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    ("auto.offset.reset", "error"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Further defaults of a member of a consumer group.
const MEMBER_DEFAULT: &[(&str, &str)] =
    &[("partition.assignment.strategy", "cooperative-sticky"), ("isolation.level", "read_committed")];

/// Defaults of a source. A short queue stays in warm memory. A short wait soon reports the end of a partition, and given ranges
/// wait for that end.
const SOURCE_DEFAULT: &[(&str, &str)] = &[
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.wait.max.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
];

/// Defaults of a sink. Measured on a local broker, 5,000 records every 100 ms: a batch takes 5.4 ms with idempotence, 5.3 ms
/// without. A linger of 1 ms makes it 5.9 ms, of 5 ms 12 ms. The partitioner is Java's. librdkafka's own sends an empty key to
/// any partition, and other keys to other partitions than every other client does.
const SINK_DEFAULT: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("linger.ms", "0"),
    ("queue.buffering.max.messages", "2000000"),
    ("queue.buffering.max.kbytes", "1048576"),
    ("batch.num.messages", "50000"),
    ("message.timeout.ms", "30000"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.nagle.disable", "true"),
];

impl Settings {
    pub(crate) fn brokers(brokers: impl Into<String>) -> Self {
        Settings { brokers: brokers.into(), set: BTreeMap::new() }
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.set.insert(key.trim().to_string(), value.to_string());
    }

    /// Every problem of the settings, by name.
    pub(crate) fn problems(&self, side: Side) -> Vec<String> {
        let mut found = Vec::new();
        if self.brokers.trim().is_empty() {
            found.push("Kafka: no brokers are given".to_string());
        }
        found.extend(self.set.iter().filter_map(|(key, value)| problem(side, key, value)));
        found
    }

    /// # Errors
    /// Every problem of the settings, one a line.
    pub(crate) fn check(&self, side: Side) -> Result<()> {
        let problems = self.problems(side);
        if problems.is_empty() { Ok(()) } else { Err(Error::config(problems.join("\n"))) }
    }

    fn config(&self, side: Side, group: Option<&str>) -> ClientConfig {
        let mut config = ClientConfig::new();
        let (default, more, fixed) = match side {
            Side::Source => (SOURCE_DEFAULT, &[][..], SOURCE_FIXED),
            Side::Member => (SOURCE_DEFAULT, MEMBER_DEFAULT, MEMBER_FIXED),
            Side::Sink => (SINK_DEFAULT, &[][..], &[][..]),
        };
        default.iter().chain(more).for_each(|(k, v)| _ = config.set(*k, *v));
        self.set.iter().for_each(|(k, v)| _ = config.set(k, v));
        fixed.iter().for_each(|(k, v)| _ = config.set(*k, *v));
        config.set("bootstrap.servers", &self.brokers);
        group.map(|g| config.set("group.id", g));
        if clients::wanted() {
            config.set("statistics.interval.ms", STATISTICS);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// A client and its reports. `group` is for consumers that read: librdkafka requires a group, but no client joins it.
    ///
    /// # Errors
    /// The settings contradict each other: librdkafka's text, without values.
    pub(crate) fn client<C>(&self, side: Side, group: Option<&str>) -> Result<(C, Arc<Reports>)>
    where
        C: FromClientConfigAndContext<Context>,
    {
        self.check(side)?;
        self.create(&self.config(side, group))
    }

    /// A member of a consumer group, which calls `context` when its partitions change. `extra` are settings that the user has not made.
    ///
    /// # Errors
    /// As [`Settings::client`].
    pub(super) fn member<C: ConsumerContext>(
        &self,
        group: &str,
        extra: &[(&str, String)],
        context: impl FnOnce(Context) -> C,
    ) -> Result<(BaseConsumer<C>, Arc<Reports>)> {
        self.check(Side::Member)?;
        let mut config = self.config(Side::Member, Some(group));
        extra.iter().filter(|(key, _)| !self.set.contains_key(*key)).for_each(|(key, value)| _ = config.set(*key, value));
        let reports = Arc::new(Reports::without(self.secrets()));
        let made = config.create_with_context(context(Context(reports.clone())));
        let client = made.map_err(|e| Error::config(format!("Kafka at {}: {}", self.brokers, reports.words(&e))))?;
        Ok((client, reports))
    }

    fn create<C: FromClientConfigAndContext<Context>>(&self, config: &ClientConfig) -> Result<(C, Arc<Reports>)> {
        let reports = Arc::new(Reports::without(self.secrets()));
        let made = config.create_with_context(Context(reports.clone()));
        let client = made.map_err(|e| Error::config(format!("Kafka at {}: {}", self.brokers, reports.words(&e))))?;
        Ok((client, reports))
    }

    /// The producer of a shard of a sink, all of whose transactional ids begin so.
    ///
    /// # Errors
    /// As [`Settings::client`].
    pub(crate) fn transactional(&self, prefix: &str, shard: u32) -> Result<(BaseProducer<Context>, Arc<Reports>)> {
        self.check(Side::Sink)?;
        let mut config = self.config(Side::Sink, None);
        config.set("transactional.id", format!("{prefix}{shard}"));
        config.set("transaction.timeout.ms", self.transaction_timeout().as_millis().to_string());
        let (producer, reports) = self.create(&config)?;
        reports.of_transactions(prefix);
        Ok((producer, reports))
    }

    /// The time after which the brokers abort an open transaction.
    pub(crate) fn transaction_timeout(&self) -> Duration {
        let set = self.set.get("transaction.timeout.ms").and_then(|ms| ms.parse().ok());
        set.map_or(TRANSACTION_TIMEOUT, Duration::from_millis)
    }

    /// A consumer of assigned partitions that reads committed or all records. It reports the ends of partitions.
    ///
    /// # Errors
    /// As [`Settings::client`].
    pub(crate) fn log_reader(&self, committed: bool) -> Result<BaseConsumer<Context>> {
        let mut config = self.connection().config(Side::Source, Some("tidemill"));
        config.set("isolation.level", if committed { "read_committed" } else { "read_uncommitted" });
        Ok(self.create(&config)?.0)
    }

    /// The settings that reach the brokers, without those of producers.
    pub(crate) fn connection(&self) -> Settings {
        let shared = |k: &str| {
            ["security.", "sasl.", "ssl.", "enable.ssl.", "socket.", "broker.", "client."].iter().any(|p| k.starts_with(p))
        };
        let set = self.set.iter().filter(|(k, _)| shared(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        Settings { brokers: self.brokers.clone(), set }
    }

    /// The deadline for every record of a batch to be delivered or have failed: librdkafka's own deadline, and a margin.
    pub(crate) fn delivery_deadline(&self) -> Duration {
        let set = ["message.timeout.ms", "delivery.timeout.ms"].iter().find_map(|k| self.set.get(*k)?.parse().ok());
        Duration::from_millis(set.filter(|ms| *ms > 0).unwrap_or(30_000)) + Duration::from_secs(5)
    }

    // Any value may be a secret. Hiding very short values ("true", "10") would only garble the text.
    fn secrets(&self) -> Vec<String> {
        let secret = |k: &str| ["password", "secret", "token", "jaas", "pem", "config"].iter().any(|w| k.contains(w));
        let mut all: Vec<String> =
            self.set.iter().filter(|(k, v)| !v.is_empty() && (secret(k) || v.len() > 5)).map(|(_, v)| v.clone()).collect();
        all.sort_by_key(|v| std::cmp::Reverse(v.len()));
        all
    }
}

/// The problem of one setting, without its value.
fn problem(side: Side, key: &str, value: &str) -> Option<String> {
    let owned = match side {
        Side::Source | Side::Member => OWNED_SOURCE,
        Side::Sink => OWNED_SINK,
    };
    let free = side == Side::Member && FREE_FOR_MEMBERS.contains(&key);
    if let Some((_, why)) = OWNED.iter().chain(owned).find(|(k, _)| *k == key && !free) {
        return Some(format!("Kafka setting {key} cannot be set: {why}"));
    }
    if !cfg!(feature = "ssl") && needs_ssl(key, value) {
        return Some(format!("Kafka setting {key}: this program was built without TLS; build tidemill with the feature `ssl`"));
    }
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    // librdkafka's own text repeats the value, so only its verdict is used.
    match alone.create_native_config().err()? {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            Some(format!("Kafka setting {key}: librdkafka has no such setting"))
        }
        KafkaError::ClientConfig(..) => Some(format!("Kafka setting {key}: librdkafka does not accept this value")),
        _ => Some(format!("Kafka setting {}: not a setting", key.escape_debug())),
    }
}

fn needs_ssl(key: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match key {
        "security.protocol" => value.contains("ssl"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("scram") || value.starts_with("oauth"),
        _ => key.starts_with("ssl.") || key.starts_with("enable.ssl.") || key.starts_with("sasl.oauthbearer."),
    }
}

/// A topic as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<i32>,
}

/// A client for topics and offsets, not for records. Every call blocks until a broker answers, so a worker must not call it.
pub(crate) struct Metadata {
    pub(crate) brokers: String,
    pub(crate) consumer: BaseConsumer<Context>,
    reports: Arc<Reports>,
}

impl Metadata {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let (consumer, reports) = settings.client(Side::Source, None)?;
        Ok(Metadata { brokers: settings.brokers.clone(), consumer, reports })
    }

    /// A client that may also ask for the offsets of a group. It does not join the group.
    pub(crate) fn of_group(settings: &Settings, group: &str) -> Result<Self> {
        let (consumer, reports) = settings.client(Side::Source, Some(group))?;
        Ok(Metadata { brokers: settings.brokers.clone(), consumer, reports })
    }

    /// The error of a source that cannot continue after the answer of these brokers.
    pub(crate) fn fault(&self, reason: impl ToString) -> Error {
        Error::source(format!("Kafka at {}", self.brokers), reason)
    }

    pub(crate) fn failed(&self, what: &str, error: &KafkaError) -> Error {
        // Polling delivers librdkafka's own reason: an unresolvable name, a refused connection.
        for _ in 0..8 {
            let _ = self.consumer.poll(Duration::from_millis(20));
        }
        // librdkafka appends the elapsed time and the number of reports.
        let why = |t: String| format!(" ({})", t.split(" (after ").next().unwrap_or_default());
        let why = self.reports.trouble().map_or_else(String::new, why);
        let reason = if why.contains(ADVERTISED) {
            // A broker answered, and named an address that does not.
            format!("{what}{why}")
        } else if is_unanswered(error) {
            format!(
                "{what}, no broker answers{why}; check the address and the security settings, and that a broker listens there"
            )
        } else {
            format!("{what}: {}{why}", self.reports.words(error))
        };
        Error::kafka(&*self.brokers, reason)
    }

    /// The topic; `None` if the brokers do not know it.
    pub(crate) fn topic(&self, name: &str, deadline: Duration) -> Result<Option<Topic>> {
        let end = Instant::now() + deadline;
        loop {
            match self.topic_now(name, deadline) {
                // A topic created a moment ago has no leader yet.
                Ok(Some(topic)) if topic.partitions.is_empty() && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => return other,
            }
        }
    }

    fn topic_now(&self, name: &str, deadline: Duration) -> Result<Option<Topic>> {
        let answer = self.consumer.fetch_metadata(Some(name), deadline);
        let answer = answer.map_err(|e| self.failed(&format!("topic {name} could not be looked up"), &e))?;
        let Some(topic) = answer.topics().iter().find(|t| t.name() == name) else { return Ok(None) };
        match topic.error() {
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => Ok(Some(described(topic))),
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
            Some(error) => {
                let error = KafkaError::MetadataFetch(error.into());
                Err(self.failed(&format!("topic {name} could not be looked up"), &error))
            }
        }
    }

    /// All readable topics, without Kafka's own.
    pub(crate) fn topics(&self, deadline: Duration) -> Result<Vec<Topic>> {
        let answer = self.consumer.fetch_metadata(None, deadline);
        let answer = answer.map_err(|e| self.failed("topics could not be listed", &e))?;
        Ok(answer.topics().iter().filter(|t| t.error().is_none() && !t.name().starts_with("__")).map(described).collect())
    }
}

/// Creates a topic. Returns the brokers' reason for a refusal; an existing topic is not a refusal.
pub(crate) fn make_topic<C: ClientContext>(
    admin: &AdminClient<C>,
    new: &NewTopic<'_>,
) -> Result<Option<RDKafkaErrorCode>, KafkaError> {
    let options = AdminOptions::new().operation_timeout(Some(START_DEADLINE)).request_timeout(Some(START_DEADLINE));
    let made = wait(admin.create_topics([new], &options))?.into_iter().next();
    let refused = made.and_then(Result::err).map(|(_, code)| code);
    Ok(refused.filter(|code| *code != RDKafkaErrorCode::TopicAlreadyExists))
}

/// Blocks on a future. The admin client completes it from its own thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Whether the error says that no broker answered.
fn is_unanswered(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve))
}

/// What to say of a topic that these brokers do not have.
pub(crate) fn no_topic(brokers: &str, name: &str) -> String {
    format!("there is no topic {name}; create it first, for example by: tidemill topic create {name} --brokers {brokers}")
}

/// Whether a record cannot be read, however often a reader asks.
pub(crate) fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{BadCompression, BadMessage, InvalidMessage, NotImplemented};
    matches!(code, BadMessage | InvalidMessage | BadCompression | NotImplemented)
}

/// Whether the client may not read here, or has failed for good.
pub(crate) fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, Fatal, GroupAuthorizationFailed, TopicAuthorizationFailed};
    matches!(code, TopicAuthorizationFailed | GroupAuthorizationFailed | ClusterAuthorizationFailed | Fatal)
}

/// Whether a reader that meets this error gets no further, however often it asks.
pub(crate) fn is_permanent(code: RDKafkaErrorCode) -> bool {
    is_unreadable(code) || is_denied(code) || code == RDKafkaErrorCode::MessageSizeTooLarge
}

/// What is wrong with the name of a topic, if no topic can have it.
pub(crate) fn name_problem(topic: &str) -> Option<String> {
    if topic.trim().is_empty() {
        return Some("Kafka: a topic's name is empty".into());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.len() <= LONGEST_NAME && topic.chars().all(allowed) && !matches!(topic, "." | "..") {
        return None;
    }
    Some(format!(
        "Kafka: no topic can be called {topic:?}: a name has at most {LONGEST_NAME} characters, which are letters, digits, '.', '_' and '-'"
    ))
}

/// The plain text repeats itself: "BrokerTransportFailure (Local: Broker transport failure)".
pub(crate) fn described_code(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    text.split_once(" (").and_then(|(_, said)| said.strip_suffix(')')).map_or(text.clone(), str::to_string)
}

fn described(topic: &rdkafka::metadata::MetadataTopic) -> Topic {
    let mut partitions: Vec<i32> = topic.partitions().iter().map(|p| p.id()).collect();
    partitions.sort_unstable();
    Topic { name: topic.name().into(), partitions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::reports::explained;

    const CANARY: &str = "hunter2-canary-secret";

    fn with(pairs: &[(&str, &str)]) -> Settings {
        let mut s = Settings::brokers("127.0.0.1:1");
        pairs.iter().for_each(|(k, v)| s.set(k, v));
        s
    }

    #[test]
    fn a_purged_record_does_not_hide_why_it_was_purged() {
        let reports = Reports::default();
        reports.record_failure("purged".into(), true);
        reports.record_failure("too large".into(), false);
        reports.record_failure("purged again".into(), true);
        reports.record_failure("unknown topic".into(), false);
        assert_eq!(reports.take_failed().as_deref(), Some("too large"));
        reports.record_failure("purged".into(), true);
        assert_eq!(reports.take_failed().as_deref(), Some("purged"), "if it is all there is");
    }

    #[test]
    fn g5_what_the_engine_owns_is_refused_by_name_with_a_reason() {
        for (key, why) in OWNED.iter().chain(OWNED_SOURCE) {
            let text = with(&[(key, "1")]).check(Side::Source).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains(why), "{text}");
        }
        assert!(with(&[("isolation.level", "read_committed")]).check(Side::Sink).is_ok(), "a sink does not own it");
        assert!(with(&[("transactional.id", "x")]).check(Side::Sink).is_err());
    }

    #[test]
    fn settings_that_librdkafka_knows_are_passed_on() {
        let s = with(&[("fetch.wait.max.ms", "3"), ("client.id", "me"), ("sasl.mechanism", "PLAIN")]);
        s.check(Side::Source).unwrap();
        let config = s.config(Side::Source, Some("g"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("3"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("5"), "always");
        assert_eq!(config.get("group.id"), Some("g"));
    }

    #[test]
    fn g3_all_problems_are_listed_at_once_and_without_values() {
        let s = with(&[("no.such.thing", CANARY), ("fetch.wait.max.ms", CANARY), ("enable.auto.commit", CANARY)]);
        let text = s.check(Side::Source).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("no.such.thing: librdkafka has no such setting"), "{text}");
        assert!(!text.contains(CANARY), "{text}");
        let text = Settings::brokers(" ").check(Side::Sink).unwrap_err().to_string();
        assert_eq!(text, "Kafka: no brokers are given");
    }

    #[test]
    fn no_secret_leaves_by_debug_errors_or_reports() {
        let s = with(&[("sasl.password", "pw"), ("sasl.username", CANARY), ("bad\0key", CANARY)]);
        assert!(!format!("{s:?}").contains("canary"));
        assert!(!s.check(Side::Source).unwrap_err().to_string().contains("canary"));
        let reports = Reports::without(s.secrets());
        reports.set_trouble(&format!("login as {CANARY} with pw failed"));
        assert_eq!(reports.trouble().unwrap(), "login as *** with *** failed");
        let created = KafkaError::ClientCreation(format!("`x` = {CANARY}"));
        assert!(!reports.words(&created).contains(CANARY));
        let set = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            CANARY.to_string(),
            "sasl.password".to_string(),
            CANARY.to_string(),
        );
        assert!(!reports.words(&set).contains(CANARY));
    }

    #[test]
    fn c20_a_certificate_that_is_refused_has_more_than_one_reason() {
        let theirs =
            "ssl://h:1: certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is";
        let ours = explained(theirs);
        assert!(
            ours.starts_with("ssl://h:1: certificate verify failed: broker certificate could not be verified: it has expired")
        );
        assert!(ours.contains("another host") && ours.contains("ssl.ca.location") && !ours.contains("verify that"), "{ours}");
        assert_eq!(explained("refused"), "refused");
    }

    #[cfg(not(feature = "ssl"))]
    #[test]
    fn g6_tls_without_the_feature_says_what_to_build() {
        for (key, value) in [("security.protocol", "SASL_SSL"), ("ssl.ca.location", "/x"), ("sasl.mechanisms", "SCRAM-SHA-256")] {
            let text = with(&[(key, value)]).check(Side::Source).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("feature `ssl`"), "{text}");
        }
    }

    #[cfg(feature = "ssl")]
    #[test]
    fn tls_with_the_feature_goes_through_and_says_what_is_wrong_without_values() {
        let s = with(&[("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "SCRAM-SHA-256"), ("sasl.username", "me")]);
        s.check(Side::Source).unwrap();
        let s = with(&[("security.protocol", "SSL"), ("ssl.ca.pem", CANARY)]);
        let text = s.client::<BaseConsumer<Context>>(Side::Source, Some("g")).err().unwrap().to_string();
        assert!(text.contains("ssl.ca.pem") && !text.contains(CANARY), "{text}");
    }

    #[test]
    fn an_unreachable_broker_is_named() {
        let metadata = Metadata::new(&Settings::brokers("127.0.0.1:1")).unwrap();
        let text = metadata.topic("words", Duration::from_secs(3)).unwrap_err().to_string();
        assert!(text.contains("127.0.0.1:1") && text.contains("words") && !text.contains(" (after "), "{text}");
        assert!(text.contains("Connection refused") && text.ends_with("and that a broker listens there"), "{text}");
    }
}
