//! To which topics a sink writes: to one of its own, and to those that records name. A topic is looked up before a record goes there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use crate::connector::kafka::client::{Metadata, START_DEADLINE, Settings, Topic, name_problem, no_topic};
use crate::connector::kafka::producer_record::ProducerRecord;
use crate::connector::sink::FatalError;
use crate::core::error::{BoxError, Error, Result};

/// What a sink without a topic of its own is called.
const BY_RECORD: &str = "by-record";
/// How many topics an error names.
const NAMED: usize = 5;

/// Which topics records may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Only that of the sink, where all records go.
    Own,
    /// These, and that of the sink.
    Listed(BTreeSet<String>),
    /// Any.
    Any,
    /// Whatever they name, they go to that of the sink: a replay writes elsewhere.
    Ignored,
}

/// The topics of a sink as a program describes them.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    /// The topic of records that name none.
    pub own: Option<String>,
    pub choice: Choice,
}

impl Topics {
    /// What the sink is called where its topic stands for it.
    pub fn name(&self) -> &str {
        self.own.as_deref().unwrap_or(BY_RECORD)
    }

    /// All that are known, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let listed = match &self.choice {
            Choice::Listed(listed) => Some(listed),
            _ => None,
        };
        let others = listed.into_iter().flatten().map(String::as_str).filter(|name| self.own.as_deref() != Some(*name));
        self.own.as_deref().into_iter().chain(others)
    }

    /// What is wrong with them, without asking a broker.
    pub fn problems(&self) -> Vec<String> {
        let mut found: Vec<String> = self.names().filter_map(name_problem).collect();
        if self.choice != Choice::Any && self.names().next().is_none() {
            found.push("Kafka: topics([]) lists no topic: name one, or leave the list out".into());
        }
        found
    }

    /// The topics as the brokers have them: the known ones, or all if records may name any. Waits for the brokers.
    ///
    /// # Errors
    /// A known topic is missing, or the brokers do not answer.
    pub fn find(&self, settings: &Settings) -> Result<Vec<Topic>> {
        let metadata = Metadata::new(&settings.connection())?;
        if self.choice == Choice::Any {
            return metadata.topics(START_DEADLINE);
        }
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in self.names() {
            match metadata.topic(name, START_DEADLINE)? {
                Some(topic) => found.push(topic),
                None => missing.push(no_topic(&settings.brokers, name)),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(Error::kafka(&*settings.brokers, missing.join("\n"))) }
    }
}

/// `topic counts`, or `topics orders, returns`.
impl Display for Topics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        match names[..] {
            [] => f.write_str("topics by record"),
            [name] => write!(f, "topic {name}"),
            _ if names.len() <= NAMED => write!(f, "topics {}", names.join(", ")),
            _ => write!(f, "topics {} and {} more", names[..NAMED].join(", "), names.len() - NAMED),
        }
    }
}

/// The topics that the brokers have, as far as the sink has asked for them.
pub(super) struct FoundTopics {
    settings: Settings,
    own: Option<Arc<str>>,
    choice: Choice,
    /// Their partitions.
    found: BTreeMap<Arc<str>, Vec<i32>>,
    /// Asks for topics that a record is the first to name.
    metadata: Option<Metadata>,
}

impl FoundTopics {
    /// None has been found yet.
    pub fn new(topics: &Topics, settings: &Settings) -> Self {
        let own = topics.own.as_deref().map(Into::into);
        FoundTopics { settings: settings.clone(), own, choice: topics.choice.clone(), found: BTreeMap::new(), metadata: None }
    }

    /// These are there, and no others.
    pub fn set(&mut self, found: Vec<Topic>) {
        self.found = found.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    }

    /// Each partition of each topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, i32)> {
        self.found.iter().flat_map(|(name, partitions)| partitions.iter().map(move |partition| (&**name, *partition)))
    }

    /// The topic of a record. May wait for the brokers, if the record is the first to name a topic.
    ///
    /// # Errors
    /// A [`FatalError`] if no other try can have another result: the record names no topic, or one that the sink does not have. Any other
    /// error if the topic is missing, or the brokers do not answer.
    pub fn of(&mut self, record: &ProducerRecord) -> Result<&Arc<str>, BoxError> {
        let named = if self.choice == Choice::Ignored { None } else { record.topic_set() };
        let Some(name) = named else {
            let nameless =
                || FatalError("a record names no topic, and the sink has none of its own: set one by topic(..)".into());
            return self.own.as_ref().ok_or_else(|| nameless().into());
        };
        if !self.found.contains_key(name) {
            self.look_up(name)?;
        }
        Ok(self.found.get_key_value(name).expect("it was found").0)
    }

    fn look_up(&mut self, name: &str) -> Result<(), BoxError> {
        let refused = match self.choice {
            Choice::Any => name_problem(name),
            _ => Some(format!("Kafka: a record names the topic {name:?}, which is not one of the sink: add it by topics([..])")),
        };
        if let Some(refused) = refused {
            return Err(FatalError(refused).into());
        }
        let metadata = match self.metadata.take() {
            Some(metadata) => metadata,
            None => Metadata::new(&self.settings.connection())?,
        };
        let topic = self.metadata.insert(metadata).topic(name, START_DEADLINE)?;
        let topic = topic.ok_or_else(|| Error::kafka(&*self.settings.brokers, no_topic(&self.settings.brokers, name)))?;
        self.found.insert(topic.name, topic.partitions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::embedded_broker::EmbeddedBroker;

    fn listed(own: Option<&str>, names: &[&str]) -> Topics {
        Topics { own: own.map(str::to_owned), choice: Choice::Listed(names.iter().map(|name| (*name).to_owned()).collect()) }
    }

    fn record(topic: Option<&str>) -> ProducerRecord {
        let mut record = ProducerRecord::default();
        topic.iter().for_each(|topic| _ = record.topic(topic));
        record
    }

    #[test]
    fn topics_are_named_once_and_checked_without_a_broker() {
        let topics = listed(Some("b"), &["a", "b", "c"]);
        assert_eq!((topics.names().collect::<Vec<_>>(), topics.to_string().as_str()), (vec!["b", "a", "c"], "topics b, a, c"));
        assert_eq!(topics.name(), "b");
        let many = listed(None, &["a", "b", "c", "d", "e", "f", "g"]);
        assert_eq!((many.name(), many.to_string().as_str()), ("by-record", "topics a, b, c, d, e and 2 more"));
        let any = Topics { own: None, choice: Choice::Any };
        assert_eq!((any.to_string().as_str(), any.problems()), ("topics by record", Vec::new()));
        assert!(listed(None, &[]).problems()[0].contains("lists no topic"));
        assert_eq!(listed(Some("a b"), &["c", "d/e"]).problems().len(), 2);
    }

    #[test]
    fn a_record_goes_to_the_topic_that_it_names_if_the_sink_has_it() {
        let broker = EmbeddedBroker::start().unwrap();
        ["own", "orders", "later"].iter().for_each(|topic| broker.create_topic(topic, 2).unwrap());
        let settings = Settings::brokers(broker.address());
        let found = |topics: &Topics| {
            let mut found = FoundTopics::new(topics, &settings);
            found.set(topics.find(&settings).unwrap());
            found
        };
        let mut sink = found(&listed(Some("own"), &["orders"]));
        assert_eq!(sink.partitions().collect::<Vec<_>>(), [("orders", 0), ("orders", 1), ("own", 0), ("own", 1)]);
        let of = |sink: &mut FoundTopics, topic| sink.of(&record(topic)).map(|topic| topic.to_string());
        for (named, topic) in [(None, "own"), (Some("own"), "own"), (Some("orders"), "orders")] {
            assert_eq!(of(&mut sink, named).unwrap(), topic);
        }
        let e = of(&mut sink, Some("later")).unwrap_err();
        assert!(e.is::<FatalError>() && e.to_string().contains("\"later\"") && e.to_string().contains("topics([..])"), "{e}");

        let mut sink = found(&Topics { own: None, choice: Choice::Any });
        assert_eq!(of(&mut sink, Some("later")).unwrap(), "later");
        for (named, word) in [(None, "names no topic"), (Some("a b"), "no topic can be called")] {
            let e = of(&mut sink, named).unwrap_err();
            assert!(e.is::<FatalError>() && e.to_string().contains(word), "{e}");
        }
        let mut sink = found(&Topics { own: Some("own".into()), choice: Choice::Ignored });
        assert_eq!(of(&mut sink, Some("orders")).unwrap(), "own");
    }

    #[test]
    fn a_topic_that_is_made_later_is_found_by_the_record_that_names_it() {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("first", 1).unwrap();
        let settings = Settings::brokers(broker.address());
        let topics = Topics { own: None, choice: Choice::Any };
        let mut sink = FoundTopics::new(&topics, &settings);
        sink.set(topics.find(&settings).unwrap());
        assert_eq!(sink.partitions().collect::<Vec<_>>(), [("first", 0)]);
        broker.create_topic("second", 3).unwrap();
        assert_eq!(&**sink.of(&record(Some("second"))).unwrap(), "second");
        assert_eq!(sink.partitions().filter(|(topic, _)| *topic == "second").count(), 3);
    }

    #[test]
    fn every_missing_topic_is_named_with_what_creates_it() {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("there", 1).unwrap();
        let settings = Settings::brokers(broker.address());
        let e = listed(Some("there"), &["orders", "returns"]).find(&settings).unwrap_err().to_string();
        assert!(["orders", "returns"].iter().all(|name| e.contains(&format!("tidemill topic create {name} "))), "{e}");
        assert!(!e.contains("create there"), "{e}");
        let mut any = FoundTopics::new(&Topics { own: None, choice: Choice::Any }, &settings);
        let e = any.of(&record(Some("orders"))).unwrap_err();
        assert!(
            !e.is::<FatalError>() && e.to_string().contains("there is no topic orders"),
            "it may be made while the batch is tried again: {e}"
        );
    }
}
