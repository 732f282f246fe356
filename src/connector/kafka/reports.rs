//! The reports of a librdkafka client: trouble with its connection, and failed deliveries. No text contains the value of a
//! secret setting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::{Broker, Statistics};

use crate::connector::kafka::client::described_code;
use crate::core::lock::lock;
use crate::metrics::clients::{self, Client, Listed, StateCounts};

/// A record that was not delivered.
#[derive(Debug)]
struct FailedDelivery {
    text: String,
    /// librdkafka dropped it because another record had failed.
    purged: bool,
}

/// A client's reports: errors of the client as a whole, and failed deliveries.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    secrets: Vec<String>,
    trouble: Mutex<Option<String>>,
    /// A permanent error, although librdkafka keeps trying.
    pub(crate) hopeless: OnceLock<String>,
    failed: Mutex<Option<FailedDelivery>>,
    /// Whether a failed delivery says to which topic.
    names_topics: AtomicBool,
    /// What it says of its connections.
    listed: Listed,
    /// With what the transactional ids of its sink begin, if it is transactional.
    transactional_id_prefix: OnceLock<String>,
}

impl Reports {
    /// Empty reports. These values never appear in a text.
    pub(super) fn without(secrets: Vec<String>) -> Self {
        Reports { secrets, ..Reports::default() }
    }

    /// The client is a producer of a sink whose transactional ids begin so. It is known before the client is asked for reports.
    pub(super) fn of_transactions(&self, prefix: &str) {
        let _ = self.transactional_id_prefix.set(prefix.to_owned());
    }

    /// The client is a producer for several topics.
    pub(super) fn name_topics(&self) {
        self.names_topics.store(true, Ordering::Relaxed);
    }

    /// The current trouble with the connection.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    pub(crate) fn set_trouble(&self, text: &str) {
        *lock(&self.trouble) = Some(self.redact(text));
    }

    pub(crate) fn clear(&self) {
        lock(&self.trouble).take();
    }

    /// The first delivery that failed since the last call. A purged record is a consequence, so any other failure takes
    /// precedence.
    pub(crate) fn take_failed(&self) -> Option<String> {
        lock(&self.failed).take().map(|failed| failed.text)
    }

    pub(super) fn record_failure(&self, text: String, purged: bool) {
        let mut failed = lock(&self.failed);
        if failed.as_ref().is_none_or(|first| first.purged && !purged) {
            *failed = Some(FailedDelivery { text, purged });
        }
    }

    /// The text of an error, without the values of settings.
    pub(crate) fn words(&self, error: &KafkaError) -> String {
        match error {
            KafkaError::ClientConfig(_, _, key, _) => format!("setting {key}: librdkafka does not accept it"),
            KafkaError::ClientCreation(text) => self.redact(text),
            other => self.redact(&other.rdkafka_error_code().map_or_else(|| other.to_string(), described_code)),
        }
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.trim().to_string(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// The broker's setting that clients must be able to reach.
pub(super) const ADVERTISED: &str = "advertised.listeners";

/// librdkafka's reason for an error, with what it means where that is not clear.
pub(super) fn explained(reason: &str) -> String {
    advertised(reason).unwrap_or_else(|| certificate(reason))
}

/// A broker tells its clients which address to use from then on: its advertised listener. librdkafka reports
/// `HOST:PORT/ID: reason` for such an address, and `HOST:PORT/bootstrap: reason` for one of the program.
fn advertised(reason: &str) -> Option<String> {
    let (address, why) = reason.split_once(": ")?;
    let (address, id) = address.rsplit_once('/')?;
    let learned = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    // librdkafka appends the elapsed time and the number of reports.
    let why = why.split(" (after ").next().unwrap_or_default();
    let listener = format!("broker {id} names itself {address} (its {ADVERTISED})");
    if !learned {
        None
    } else if why.starts_with("Failed to resolve") {
        Some(format!("{why}; {listener}, which this machine does not know: make the name known here, or change {ADVERTISED}"))
    } else if why.starts_with("Connect to ") || why.starts_with("Connection setup timed out") {
        Some(format!("{address}: {why}; {listener}: it is down, or that address leads elsewhere from this machine"))
    } else {
        None
    }
}

/// librdkafka blames the issuer of a certificate, regardless of the fault that OpenSSL found.
fn certificate(reason: &str) -> String {
    match reason.split_once("certificate could not be verified") {
        Some((before, _)) => format!(
            "{before}certificate could not be verified: it has expired, or names another host, or no certificate in \
             ssl.ca.location has signed it; openssl s_client -connect HOST:PORT says which"
        ),
        None => reason.to_string(),
    }
}

/// Logs a line of librdkafka. Its reports about connections and brokers have level debug, because the job itself logs once that a source
/// or an output is unreachable, and once that it is reachable again.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level as i32 {
        _ if is_said_elsewhere(facility, message) => tracing::debug!(target: "librdkafka", "{facility}: {message}"),
        0..=3 => tracing::error!(target: "librdkafka", "{facility}: {message}"),
        4 => tracing::warn!(target: "librdkafka", "{facility}: {message}"),
        _ => tracing::debug!(target: "librdkafka", "{facility}: {message}"),
    }
}

/// Whether a line repeats what an error or a report of the job says, or describes a retry that librdkafka makes anyway.
fn is_said_elsewhere(facility: &str, message: &str) -> bool {
    let connection = matches!(facility, "FAIL" | "ERROR" | "METADATA" | "REQTMOUT");
    // Normal at the first transaction on a new broker.
    let loading = facility == "GETPID" && message.contains("load in progress");
    connection || loading
}

/// Forwards librdkafka's errors to [`Reports`], and its log lines to tracing.
pub(crate) struct Context(pub(super) Arc<Reports>);

/// What a record carries until it is delivered or has failed. When the sink is its only owner, every record of a batch has.
pub(crate) type Receipt = Arc<()>;

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.listed(statistics);
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log_line(level, fac, &self.0.redact(message));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{}: {}", self.0.words(&error), self.0.redact(reason));
        let text = if reason.trim().is_empty() { self.0.words(&error) } else { explained(reason) };
        // A retried answer over the size limit will be as large again.
        if text.contains("increase receive.message.max.bytes") {
            let _ = self.0.hopeless.set(self.0.redact(&text));
        }
        // "all brokers are down" is less useful than the broker's previous error.
        let vague = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !vague || self.0.trouble().is_none() {
            self.0.set_trouble(&text);
        }
    }
}

impl ConsumerContext for Context {}

impl Context {
    /// The client says how it is.
    pub(super) fn listed(&self, statistics: Statistics) {
        let transactional_id_prefix = self.0.transactional_id_prefix.get().cloned();
        self.0.listed.tell(Client { transactional_id_prefix, ..client(statistics) });
    }
}

/// What is kept of librdkafka's statistics.
fn client(s: Statistics) -> Client {
    let partitions = || s.topics.values().flat_map(|topic| topic.partitions.values());
    let fetched = partitions().map(|p| whole(p.fetchq_cnt)).sum::<u64>();
    let records = s.msg_cnt + fetched;
    let bytes = s.msg_size + partitions().map(|p| p.fetchq_size).sum::<u64>();
    // A client knows a broker by its first address, too, and has entries for coordinators.
    let known = |broker: &&Broker| broker.source != "logical" && !broker.nodename.is_empty() && broker.nodename != ":0";
    let micros = |n: i64| Duration::from_micros(whole(n));
    let mut brokers: Vec<clients::Broker> = Vec::new();
    for broker in s.brokers.values().filter(known) {
        let rtt = broker.rtt.as_ref().filter(|rtt| rtt.avg > 0).map(|rtt| (micros(rtt.avg), micros(rtt.p99)));
        let requests = whole(broker.outbuf_cnt) + whole(broker.waitresp_cnt);
        let errors = broker.txerrs + broker.rxerrs + broker.req_timeouts;
        let (name, states) = (broker.nodename.clone(), StateCounts::one(&broker.state));
        let entry = clients::Broker { name, states, rtt, requests, errors };
        match brokers.iter_mut().find(|other| other.name == entry.name) {
            Some(other) => {
                other.add(&entry);
                if broker.nodeid >= 0 {
                    other.states = entry.states;
                }
            }
            None => brokers.push(entry),
        }
    }
    brokers.sort_by(|a, b| a.name.cmp(&b.name));
    let transaction = s.eos.map(|eos| eos.txn_state).filter(|state| !state.is_empty() && state != "Init");
    let transactions = transaction.map_or_else(StateCounts::default, StateCounts::one);
    Client { kind: s.client_type, count: 1, transactional_id_prefix: None, records, bytes, transactions, brokers }
}

/// A number that is not negative where it is known.
fn whole(n: i64) -> u64 {
    n.try_into().unwrap_or(0)
}

impl ProducerContext for Context {
    type DeliveryOpaque = Receipt;

    fn delivery(&self, result: &DeliveryResult<'_>, _: Receipt) {
        let Err((error, record)) = result else { return };
        use RDKafkaErrorCode::{InvalidMessageSize, MessageSizeTooLarge, PurgeInflight, PurgeQueue};
        let code = error.rdkafka_error_code();
        let text = match code {
            Some(MessageSizeTooLarge | InvalidMessageSize) => {
                let bytes = record.key_len() + record.payload_len();
                format!("a record of {bytes} bytes is too large: raise max.message.bytes of the topic, or leave it out")
            }
            _ => self.0.words(error),
        };
        let text = if self.0.names_topics.load(Ordering::Relaxed) { format!("topic {}: {text}", record.topic()) } else { text };
        // When one record fails, librdkafka purges those behind it, and may report these first.
        self.0.record_failure(text, matches!(code, Some(PurgeQueue | PurgeInflight)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_from_a_broker_is_distinguished_from_one_of_the_program() {
        let name = "kafka.internal:9092/1: Failed to resolve 'kafka.internal:9092': Name or service not known (after 3ms in state CONNECT)";
        let text = explained(name);
        assert!(text.contains("broker 1 names itself kafka.internal:9092") && text.contains("advertised.listeners"), "{text}");
        assert!(text.contains("Name or service not known") && !text.contains("after"), "librdkafka's reason stays: {text}");
        let refused = explained("10.0.0.7:9092/2: Connect to ipv4#10.0.0.7:9092 failed: Connection refused");
        assert!(refused.contains("broker 2 names itself 10.0.0.7:9092") && refused.contains("it is down, or"), "{refused}");
        for ours in [
            "typo:9092/bootstrap: Failed to resolve 'typo:9092': Name or service not known",
            "127.0.0.1:9092/1: Disconnected (after 200ms in state UP)",
            "no address here",
        ] {
            assert_eq!(explained(ours), ours);
        }
    }

    #[test]
    fn statistics_of_a_client_are_few_figures_and_a_broker_is_one() {
        use rdkafka::statistics::{ExactlyOnceSemantics, Partition, Topic, Window};
        let broker = |source: &str, nodeid, name: &str, state: &str, rtt| Broker {
            source: source.into(),
            nodeid,
            nodename: name.into(),
            state: state.into(),
            rtt: Some(Window { avg: rtt, p99: 3 * rtt, ..Window::default() }),
            waitresp_cnt: 1,
            outbuf_cnt: -1,
            req_timeouts: 2,
            ..Broker::default()
        };
        let brokers = [
            broker("configured", -1, "a:9092", "INIT", 0),
            broker("learned", 1, "a:9092", "UP", 1_500),
            broker("logical", -1, "a:9092", "UP", 9_999),
            broker("internal", -1, ":0", "INIT", 0),
        ];
        let partition = Partition { fetchq_cnt: 5, fetchq_size: 50, ..Partition::default() };
        let topic = Topic { partitions: [(0, partition.clone()), (1, partition)].into(), ..Topic::default() };
        let found = client(Statistics {
            client_type: "producer".into(),
            msg_cnt: 1,
            msg_size: 7,
            brokers: brokers.into_iter().zip(0..).map(|(broker, n)| (n.to_string(), broker)).collect(),
            topics: [("words".to_owned(), topic)].into(),
            eos: Some(ExactlyOnceSemantics { txn_state: "InTransaction".into(), ..Default::default() }),
            ..Statistics::default()
        });
        let rtt = Some((Duration::from_micros(1_500), Duration::from_micros(4_500)));
        let expected = clients::Broker { name: "a:9092".into(), states: StateCounts::one("UP"), rtt, requests: 2, errors: 4 };
        assert_eq!(found.brokers, [expected]);
        assert_eq!((found.records, found.bytes, found.transactions), (11, 107, StateCounts::one("InTransaction")));
    }

    #[test]
    fn lines_about_connections_and_loading_coordinators_are_for_debugging() {
        for (facility, message) in [
            ("FAIL", "[thrd:127.0.0.1:29092/1]: 127.0.0.1:29092/1: Connect to ipv4#127.0.0.1:29092 failed"),
            ("GETPID", "Failed to acquire transactional PID from broker: Broker: Coordinator load in progress: retrying"),
        ] {
            assert!(is_said_elsewhere(facility, message), "{facility}");
        }
        assert!(!is_said_elsewhere("CONFWARN", "a setting has no effect"));
        assert!(!is_said_elsewhere("GETPID", "Failed to acquire transactional PID: authorization failed"));
    }
}
