//! What clients of Kafka in this process say of their connections, a few seconds apart. They say it only if somebody may read it.
//!
//! It is of the process and not of a job: a program with several jobs sees the clients of all of them.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::lock::lock;

/// One client, as it has told last, or the producers of one exactly-once sink together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    /// `consumer` or `producer`.
    pub kind: String,
    /// How many these are.
    pub count: u64,
    /// With what the transactional ids of the producers of its sink begin, if it is one of them.
    pub transactional_id_prefix: Option<String>,
    /// Records that wait in it, to be read or to be sent, and their bytes.
    pub records: u64,
    pub bytes: u64,
    /// Of its transaction: empty if it is not transactional.
    pub transactions: StateCounts,
    pub brokers: Vec<Broker>,
}

/// How a client, or several of one kind, are connected to one broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Broker {
    /// Its address.
    pub name: String,
    /// `UP`, or what it does instead.
    pub states: StateCounts,
    /// The time from a request to its answer since the time before: the average, and the 99th percentile. `None`: no answer came.
    pub rtt: Option<(Duration, Duration)>,
    /// Requests that wait to be sent, or for their answer.
    pub requests: u64,
    /// Requests that failed or timed out.
    pub errors: u64,
}

/// In which states clients, or what they have, are, and how many in each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StateCounts(BTreeMap<String, u64>);

impl StateCounts {
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only clients of Kafka have one"))]
    pub fn one(state: impl Into<String>) -> StateCounts {
        StateCounts([(state.into(), 1)].into())
    }

    pub fn each(&self) -> impl Iterator<Item = (&String, u64)> {
        self.0.iter().map(|(state, count)| (state, *count))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, other: &StateCounts) {
        other.each().for_each(|(state, count)| *self.0.entry(state.clone()).or_default() += count);
    }
}

/// `UP`, or `1 INIT, 3 UP`.
impl Display for StateCounts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let [state] = self.0.keys().collect::<Vec<_>>().as_slice() {
            return f.write_str(state);
        }
        for (n, (state, count)) in self.each().enumerate() {
            write!(f, "{}{count} {state}", if n > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Client {
    /// Another producer of its sink.
    fn add(&mut self, other: &Client) {
        self.count += other.count;
        self.records += other.records;
        self.bytes += other.bytes;
        self.transactions.add(&other.transactions);
        for broker in &other.brokers {
            match self.brokers.iter_mut().find(|own| own.name == broker.name) {
                Some(own) => {
                    own.add(broker);
                    own.states.add(&broker.states);
                }
                None => self.brokers.push(broker.clone()),
            }
        }
        self.brokers.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

impl Broker {
    /// What another connection to the broker says: the longest times, and the sums. Not its state.
    pub fn add(&mut self, other: &Broker) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.rtt = match (self.rtt, other.rtt) {
            (Some((average, p99)), Some(other)) => Some((average.max(other.0), p99.max(other.1))),
            (one, other) => one.or(other),
        };
    }
}

/// The clients of a process.
#[derive(Default)]
struct All {
    clients: BTreeMap<u64, Client>,
    /// The errors of clients that are gone, by kind and broker: counters do not go back.
    gone: BTreeMap<(String, String), u64>,
}

static ALL: Mutex<All> = Mutex::new(All { clients: BTreeMap::new(), gone: BTreeMap::new() });
static WANTED: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicU64 = AtomicU64::new(0);
/// How often something has changed.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// From now on somebody may read it.
pub(crate) fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Whether clients are to tell how they are.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only clients of Kafka ask"))]
pub(crate) fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// The place of one client among the others, which it leaves when this is dropped.
#[derive(Debug)]
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only clients of Kafka are listed"))]
pub(crate) struct Listed(u64);

impl Default for Listed {
    fn default() -> Self {
        Listed(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only clients of Kafka are listed"))]
impl Listed {
    /// How the client is now.
    pub fn tell(&self, client: Client) {
        lock(&ALL).clients.insert(self.0, client);
        CHANGES.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut all = lock(&ALL);
        let Some(client) = all.clients.remove(&self.0) else { return };
        CHANGES.fetch_add(1, Ordering::Release);
        for broker in client.brokers.into_iter().filter(|broker| broker.errors > 0) {
            *all.gone.entry((client.kind.clone(), broker.name)).or_default() += broker.errors;
        }
    }
}

/// How often a client has told something or left, in this process.
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// All clients, the oldest first.
pub(crate) fn now() -> Vec<Client> {
    lock(&ALL).clients.values().cloned().collect()
}

/// All clients, the oldest first. The producers of an exactly-once sink are one: each of its shards has one.
pub(crate) fn by_sink() -> Vec<Client> {
    let mut found: Vec<Client> = Vec::new();
    for client in lock(&ALL).clients.values() {
        let prefix = &client.transactional_id_prefix;
        match found.iter_mut().find(|other| prefix.is_some() && other.transactional_id_prefix == *prefix) {
            Some(other) => other.add(client),
            None => found.push(client.clone()),
        }
    }
    found
}

/// What the clients of each kind say together, by kind and broker.
pub(crate) fn brokers() -> BTreeMap<(String, String), Broker> {
    let all = lock(&ALL);
    let mut sums: BTreeMap<(String, String), Broker> = BTreeMap::new();
    for (broker, errors) in &all.gone {
        sums.insert(broker.clone(), Broker { errors: *errors, ..Broker::default() });
    }
    for client in all.clients.values() {
        for broker in &client.brokers {
            sums.entry((client.kind.clone(), broker.name.clone())).or_default().add(broker);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_kind_are_one_and_their_errors_stay() {
        let rtt = |ms| Some((Duration::from_millis(ms), Duration::from_millis(2 * ms)));
        let client = |rtt, errors| {
            let broker = Broker { name: "test:9".into(), states: StateCounts::one("UP"), rtt, requests: 2, errors };
            Client { kind: "tester".into(), count: 1, brokers: vec![broker], ..Client::default() }
        };
        let (one, two) = (Listed::default(), Listed::default());
        let before = changes();
        one.tell(client(rtt(5), 1));
        assert!(changes() > before);
        two.tell(client(None, 3));
        two.tell(client(rtt(3), 4));
        let sum = || brokers().remove(&("tester".to_owned(), "test:9".to_owned())).unwrap();
        assert_eq!((sum().rtt, sum().requests, sum().errors), (rtt(5), 4, 5));
        let before = changes();
        drop(one);
        assert!(changes() > before);
        assert_eq!((sum().rtt, sum().requests, sum().errors), (rtt(3), 2, 5));
        drop(two);
        assert_eq!((sum().rtt, sum().errors), (None, 5));
        assert!(now().iter().all(|client| client.kind != "tester"));
    }

    #[test]
    fn producers_of_one_sink_are_one_row() {
        let listed = [(); 5].map(|()| Listed::default());
        let producer = |prefix: Option<&str>, transaction: &str, brokers: &[(&str, &str)]| Client {
            kind: "sink tester".into(),
            count: 1,
            transactional_id_prefix: prefix.map(str::to_owned),
            records: 3,
            bytes: 10,
            transactions: StateCounts::one(transaction),
            brokers: brokers
                .iter()
                .map(|(name, state)| Broker {
                    name: (*name).into(),
                    states: StateCounts::one(*state),
                    requests: 1,
                    ..Broker::default()
                })
                .collect(),
        };
        listed[0].tell(producer(Some("job-a-"), "Ready", &[("b:9", "UP")]));
        listed[1].tell(producer(Some("job-b-"), "Ready", &[("b:9", "UP")]));
        listed[2].tell(producer(Some("job-a-"), "Ready", &[("a:9", "UP"), ("b:9", "INIT")]));
        listed[3].tell(producer(None, "Ready", &[]));
        listed[4].tell(producer(Some("job-a-"), "InTransaction", &[("b:9", "UP")]));
        let rows: Vec<Client> = by_sink().into_iter().filter(|client| client.kind == "sink tester").collect();
        let said = |row: &Client| {
            let brokers: Vec<_> = row.brokers.iter().map(|b| (b.name.clone(), b.states.to_string(), b.requests)).collect();
            (row.count, row.records, row.bytes, row.transactions.to_string(), brokers)
        };
        let broker = |name: &str, states: &str, requests| (name.to_owned(), states.to_owned(), requests);
        assert_eq!(
            rows.iter().map(said).collect::<Vec<_>>(),
            [
                (3, 9, 30, "1 InTransaction, 2 Ready".into(), vec![broker("a:9", "UP", 1), broker("b:9", "1 INIT, 2 UP", 3)]),
                (1, 3, 10, "Ready".into(), vec![broker("b:9", "UP", 1)]),
                (1, 3, 10, "Ready".into(), vec![]),
            ]
        );
    }
}
