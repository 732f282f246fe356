//! Checks whether a Kafka source would read the output of its own job, which would loop without end.

use crate::api::context::Place;
use crate::connector::kafka::source::KafkaSource;

impl KafkaSource {
    /// Why the job must not write to this topic; `None`: the source does not read it.
    pub(super) fn reads_own(&self, topic: &Place) -> Option<String> {
        let Place { at, name } = topic;
        let common = addresses(at).any(|theirs| addresses(&self.settings.brokers).any(|ours| ours == theirs));
        (common && self.wants(name)).then(|| {
            format!(
                "it reads the topic {name}, to which the job writes, so records would go round without end; \
                 read other topics, or say allow_own_output(true)"
            )
        })
    }
}

/// The brokers of a list, each with its port.
fn addresses(brokers: &str) -> impl Iterator<Item = String> {
    let address = |broker: &str| {
        let broker = broker.trim().to_ascii_lowercase();
        if broker.contains(':') { broker } else { broker + ":9092" }
    };
    brokers.split(',').map(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_knows_what_of_the_jobs_own_output_it_would_read() {
        let place = |at: &str, name: &str| Place { at: at.into(), name: name.into() };
        let all = || KafkaSource::brokers("a:1, B").pattern(".*");
        for (at, name) in [("a:1", "out"), ("c:1,b:9092", "appears-later")] {
            let why = all().reads_own(&place(at, name)).unwrap();
            assert!(why.contains(&format!("the topic {name}")) && why.contains("allow_own_output(true)"), "{why}");
        }
        assert!(all().reads_own(&place("elsewhere:1", "out")).is_none(), "other brokers");
        let words = || KafkaSource::brokers("a:1").topic("words");
        assert!(words().reads_own(&place("a:1", "counts")).is_none());
        assert!(words().reads_own(&place("a:1", "words")).is_some());
        for bookkeeping in ["__consumer_offsets", "tidemill-progress-out"] {
            assert!(!all().wants(bookkeeping), "{bookkeeping}");
        }
    }
}
