//! `dead_letters`: bad records go where a person finds them, with what is needed to read them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::api::port::Port;
use crate::connector::files::sink::TextFileSink;
#[cfg(feature = "kafka")]
use crate::connector::kafka::{producer_record::ProducerRecord, sink::KafkaSink};
use crate::connector::memory::MemorySink;
use crate::core::data::BadRecord;
use crate::core::letter::line;
use crate::engine::operator_id::OperatorId;
use crate::job::protocol::Command;

/// Where dead letters go: a topic, files, or memory. The sinks convert into it, so a program seldom names it.
///
/// ```
/// use tidemill::prelude::*;
/// let memory: DeadLetters = MemorySink::new().into();
/// let files: DeadLetters = TextFileSink::new("/data/dead/letters").skip_empty().into();
/// assert!(matches!((memory, files), (DeadLetters::Memory(_), DeadLetters::Files(_))));
/// ```
#[derive(Clone)]
pub enum DeadLetters {
    /// A record for each bad record: its value, its key and its headers as they were, and headers that say where it is from and why it is
    /// bad. The names are those of Kafka Streams (KIP-1034) where it has them:
    ///
    /// | header | |
    /// |---|---|
    /// | `__streams.errors.topic`, `.partition`, `.offset` | where it was read, as text; not there if that is not known |
    /// | `__streams.errors.message` | why it is bad |
    /// | `__tidemill.errors.batch_time` | the batch it was in, in milliseconds since 1970 |
    /// | `__tidemill.errors.verb` | the verb that found it, and the line that called the verb |
    /// | `__tidemill.errors.generation` | the run of the checkpoint directory that wrote it, from 1; not there without a directory |
    #[cfg(feature = "kafka")]
    Topic(KafkaSink),
    /// A line of JSON for each bad record: `topic`, `partition`, `offset`, `batch_time`, `verb`, `reason`, `key`, `value`, `headers`,
    /// and with a checkpoint directory `generation`: the run that wrote it. Bytes that are not UTF-8 are `{"hex": "..."}`.
    Files(TextFileSink),
    /// The bad records themselves.
    Memory(MemorySink<BadRecord>),
}

#[cfg(feature = "kafka")]
impl From<KafkaSink> for DeadLetters {
    fn from(sink: KafkaSink) -> Self {
        DeadLetters::Topic(sink)
    }
}

impl From<TextFileSink> for DeadLetters {
    fn from(sink: TextFileSink) -> Self {
        DeadLetters::Files(sink)
    }
}

impl From<MemorySink<BadRecord>> for DeadLetters {
    fn from(memory: MemorySink<BadRecord>) -> Self {
        DeadLetters::Memory(memory)
    }
}

impl<'s> DStream<'s, BadRecord> {
    /// Writes these bad records to a topic, to files or to memory: see [`DeadLetters`]. Each batch as the sink writes it: with
    /// `KafkaSink::exactly_once` exactly once, else at least once.
    ///
    /// # Errors
    /// Those of `to_kafka`, `save_as_text_files_with` and `to_memory`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let lines = QueueSource::from_batches([vec!["1", "x"]]);
    /// let dead = MemorySink::new();
    /// let out = dead.clone();
    /// StreamingContext::builder("letters", millis(5)).run(move |ssc| {
    ///     let numbers = ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?));
    ///     numbers.print(10);
    ///     numbers.errors().dead_letters(out.clone());
    ///     Ok(())
    /// })?;
    /// assert_eq!(dead.rows()[0].reason, "invalid digit found in string");
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn dead_letters(&self, to: impl Into<DeadLetters>) {
        let run = Run::default();
        self.node.graph.port(Box::new(run.clone()));
        match to.into() {
            #[cfg(feature = "kafka")]
            DeadLetters::Topic(sink) if !sink.has_own_topic() => {
                let what = "dead letters name no topic: give the sink one, by KafkaSink::new(brokers, topic)";
                self.node.graph.report(&OperatorId::of("dead_letters"), what);
            }
            #[cfg(feature = "kafka")]
            DeadLetters::Topic(sink) => self.to_kafka(sink, move |bad, record| fill(bad, run.generation(), record)),
            DeadLetters::Files(sink) => self.map(move |bad| line(&bad, run.generation())).save_as_text_files_with(sink),
            DeadLetters::Memory(memory) => self.to_memory(&memory),
        }
    }
}

impl StreamingContext<'_> {
    /// Writes the bad records of every fallible verb of the program that no output operation reads, as
    /// [`dead_letters`](DStream::dead_letters) does. They are one stream: in program order of the verbs, batch by batch. Without it they are
    /// counted and logged.
    ///
    /// Constraints: at most once in a program, anywhere in it.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (lines, dead) = (QueueSource::from_batches([vec!["1", "x", "-2"]]), MemorySink::new());
    /// let out = dead.clone();
    /// StreamingContext::builder("all letters", millis(5)).run(move |ssc| {
    ///     ssc.dead_letters(out.clone());
    ///     let numbers = ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?));
    ///     numbers.try_map(|n| u32::try_from(*n).map_err(|_| "negative".into())).print(10);
    ///     Ok(())
    /// })?;
    /// let reasons: Vec<String> = dead.rows().into_iter().map(|bad| bad.reason).collect();
    /// assert_eq!(reasons, ["invalid digit found in string", "negative"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn dead_letters(&self, to: impl Into<DeadLetters>) {
        let (graph, to) = (self.graph.clone(), to.into());
        if !graph.gathers_errors() {
            let operator = OperatorId::of("dead_letters");
            graph.report(
                &operator,
                "it takes all error streams that no output reads: call it once, and give other streams an output each",
            );
        }
        let built = self.graph.clone();
        // Only when all verbs and outputs are there it is known which streams are left, and only then they are gathered.
        self.graph.on_built(move || {
            let own = built.clone();
            built.on_built(move || {
                if let Some(all) = own.take_errors().into_iter().reduce(|all, more| all.union(&more)) {
                    all.dead_letters(to);
                }
            });
        });
    }
}

/// The run of the checkpoint directory, as the first command of the job tells it. It is not a part of bad records: they are the same when
/// a batch runs again.
#[derive(Clone, Default)]
struct Run(Arc<AtomicU64>);

impl Run {
    /// Its number, or 0 in a job without a checkpoint directory and in a replay.
    fn generation(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Port for Run {
    fn command(&self, command: &Command) {
        if let Command::Restore { run, .. } = command {
            self.0.store(run.generation, Ordering::Relaxed);
        }
    }
}

/// The record of a dead letter.
#[cfg(feature = "kafka")]
fn fill(bad: &BadRecord, generation: u64, record: &mut ProducerRecord) {
    record.value(&bad.raw);
    bad.key.iter().for_each(|key| _ = record.key(key));
    bad.headers.iter().for_each(|(name, value)| _ = record.header(name, value));
    if !bad.origin.is_empty() {
        record.header("__streams.errors.topic", &bad.origin).header("__streams.errors.partition", bad.partition.to_string());
    }
    if bad.offset >= 0 {
        record.header("__streams.errors.offset", bad.offset.to_string());
    }
    record.header("__streams.errors.message", &bad.reason);
    record.header("__tidemill.errors.batch_time", bad.time.millis().to_string()).header("__tidemill.errors.verb", &bad.verb);
    if generation > 0 {
        record.header("__tidemill.errors.generation", generation.to_string());
    }
}

#[cfg(feature = "kafka")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::letter::tests::bad;

    #[test]
    fn a_record_has_its_own_headers_and_those_of_kafka_streams() {
        use rdkafka::message::Headers;
        let headers = |bad: &BadRecord, generation| {
            let mut record = ProducerRecord::default();
            fill(bad, generation, &mut record);
            assert_eq!(record.parts(), (bad.key.as_deref(), Some(&bad.raw[..])));
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            record.headers.unwrap().iter().map(|h| (h.key.to_owned(), text(h.value))).collect::<Vec<_>>()
        };
        let why = [
            ("__streams.errors.message", "no \"JSON\""),
            ("__tidemill.errors.batch_time", "1000"),
            ("__tidemill.errors.verb", "decode (main.rs:7)"),
        ];
        let place = [("__streams.errors.topic", "words"), ("__streams.errors.partition", "3"), ("__streams.errors.offset", "41")];
        let all = [&[("unit", "words")][..], &place, &why].concat();
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        assert_eq!(headers(&bad(), 0), owned(&all));
        let run = [("__tidemill.errors.generation", "12")];
        assert_eq!(headers(&bad(), 12), owned(&[&all[..], &run].concat()));
        let unknown = BadRecord { origin: String::new(), offset: -1, key: None, headers: Vec::new(), ..bad() };
        assert_eq!(headers(&unknown, 0), owned(&why));
    }
}
