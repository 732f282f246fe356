//! Exactly once to Kafka: one transaction a shard and group of batches, with the shard's progress in it.
//!
//! The rows of a shard are kept, as records, until it is known what became of their transaction. After any error the next
//! attempt begins with a new producer, which ends what the old one left open; then the progress record says whether the rows
//! are in the topic. Only one thing is final: to be shut out by a newer run.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer};

use crate::api::config::Config;
use crate::api::dstream::{DStream, RowOrder};
use crate::connector::kafka::client::{Receipt, lock};
use crate::connector::kafka::producer::{Link, Outgoing};
use crate::connector::kafka::progress::{ProgressTopic, key, value};
use crate::connector::kafka::sink::{KafkaSink, ProducerRecord};
use crate::connector::sink::Part;
use crate::core::data::Exchange;
use crate::core::error::{BoxError, Error, Result};
use crate::core::fault::{lost, point};
use crate::core::plan::{Progress, Stamp, Tick};
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::{Completion, Final, Life, Promise};
use crate::operator::kernel::deliver::Spread;

/// How long a producer may take to get its number: librdkafka asks again by itself.
const INIT: Duration = Duration::from_secs(30);

/// Records that are ready to be sent, one after the other in memory.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    records: Vec<Head>,
}

struct Head {
    key: Option<usize>,
    value: Option<usize>,
    headers: Option<OwnedHeaders>,
    partition: Option<i32>,
}

impl Kept {
    fn push(&mut self, record: &mut ProducerRecord) {
        let (key, value) = record.parts();
        let head = Head { key: key.map(<[u8]>::len), value: value.map(<[u8]>::len), headers: None, partition: record.partition };
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.records.push(Head { headers: record.headers.take(), ..head });
    }

    /// Takes the last ones away again.
    fn cut(&mut self, (bytes, records): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.records.truncate(records);
    }

    fn len(&self) -> (usize, usize) {
        (self.bytes.len(), self.records.len())
    }

    fn clear(&mut self) {
        self.cut((0, 0));
        // One large batch is no reason to keep its memory.
        self.bytes.shrink_to(1 << 20);
    }

    fn each<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = Outgoing<'a>> {
        let (mut at, receipt) = (0, Receipt::default());
        let mut take = move |n: Option<usize>| {
            n.map(|n| {
                at += n;
                &self.bytes[at - n..at]
            })
        };
        self.records.iter().map(move |head| {
            let mut out = BaseRecord::with_opaque_to(topic, receipt.clone());
            (out.key, out.payload) = (take(head.key), take(head.value));
            (out.headers, out.partition) = (head.headers.clone(), head.partition);
            out
        })
    }
}

/// One shard: its producer, how far it is, and what waits for the next commit.
struct Shard {
    number: u32,
    link: Option<Link>,
    progress: Option<Progress>,
    kept: Kept,
    /// The last batch whose rows are kept.
    last: Option<(BatchTime, Stamp)>,
    /// A checkpoint wants the progress of every shard, rows or not.
    due: bool,
}

/// What all shards of a sink have in common.
struct Sink {
    sink: KafkaSink,
    job: String,
    name: String,
    topic: ProgressTopic,
    life: Life,
    most: usize,
    over: Arc<AtomicBool>,
}

impl Sink {
    fn failed(&self, shard: u32, what: &str) -> String {
        let KafkaSink { topic, settings, .. } = &self.sink;
        format!("Kafka topic {topic} on {}, shard {shard}: {what}", settings.brokers)
    }

    /// A producer for a shard. When this returns, whoever had it before is shut out, and what they left open is aborted.
    fn link(&self, shard: u32) -> Result<Link, BoxError> {
        let id = format!("{}-{}-{shard}", self.job, self.name);
        let (producer, reports) = self.sink.settings.transactional(&id)?;
        let link = Link::new(&self.sink.settings, producer, reports);
        link.producer.init_transactions(INIT).map_err(|e| self.wrong(shard, &link, &e))?;
        Ok(link)
    }

    fn wrong(&self, shard: u32, link: &Link, error: &KafkaError) -> BoxError {
        self.judged(shard, link, error.rdkafka_error_code(), &link.reports.words(error))
    }

    /// An error, and whether it is to be tried again.
    fn judged(&self, shard: u32, link: &Link, code: Option<RDKafkaErrorCode>, words: &str) -> BoxError {
        let fatal = link.producer.client().fatal_error().map(|(code, _)| code);
        let fenced =
            |c| matches!(c, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch);
        if code.is_some_and(fenced) || fatal.is_some_and(fenced) {
            let what = "shut out: another run of this job writes here now, or the transaction timed out; this one ends";
            return Final(self.failed(shard, what)).into();
        }
        let trouble = link.reports.trouble().map_or_else(String::new, |t| format!(" ({t})"));
        match code {
            Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
                let what = format!("exactly_once() needs brokers with transactions, and these have none: {words}{trouble}");
                Final(self.failed(shard, &what)).into()
            }
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => {
                let ms = self.sink.settings.transaction_timeout().as_millis();
                let what = format!("transaction.timeout.ms is {ms}, which is above the brokers' transaction.max.timeout.ms");
                Final(self.failed(shard, &what)).into()
            }
            _ => self.failed(shard, &format!("{words}{trouble}")).into(),
        }
    }

    /// Sends the rows of a shard and its progress in one transaction. On an error nobody knows whether they are out.
    fn transact(&self, link: &Link, kept: &Kept, progress: &Progress) -> Result<(), BoxError> {
        let shard = progress.shard;
        let wrong = |e: KafkaError| self.wrong(shard, link, &e);
        link.reports.take_failed();
        point("sink.begin");
        link.producer.begin_transaction().map_err(wrong)?;
        for (i, record) in kept.each(&self.sink.topic).enumerate() {
            link.put(record).map_err(wrong)?;
            if i % 1024 == 1023 {
                link.serve();
            }
        }
        let (key, value) = (key(&self.job, &self.name, shard), value(progress));
        let record = BaseRecord::with_opaque_to(&self.topic.name, Receipt::default()).partition(0);
        link.put(record.key(key.as_bytes()).payload(&value)).map_err(wrong)?;
        link.settle().map_err(|e| self.judged(shard, link, None, &e))?;
        point("sink.commit.before");
        if lost("sink.rows") {
            return Err(self.failed(shard, "a test says that nobody answers").into());
        }
        link.producer.commit_transaction(link.deadline).map_err(wrong)?;
        point("sink.commit.after");
        if lost("sink.commit") {
            return Err(self.failed(shard, "a test says that nobody answers").into());
        }
        Ok(())
    }

    /// Whether a shard is through this batch, by what its own record says.
    fn through(&self, found: &Progress, last: (BatchTime, Stamp)) -> Result<bool, Final> {
        let (time, stamp) = last;
        if found.generation > self.life.generation {
            let what =
                format!("generation {} of this job writes here now, and this is {}", found.generation, self.life.generation);
            return Err(Final(self.failed(found.shard, &what)));
        }
        if found.time == time && found.plan != stamp.plan {
            let what =
                format!("the progress says that {time} was written by the plan {:016x}, not by {:016x}", found.plan, stamp.plan);
            return Err(Final(self.failed(found.shard, &what)));
        }
        Ok(found.time >= time)
    }
}

impl Shard {
    fn dirty(&self) -> bool {
        let ahead = |(time, _): (BatchTime, Stamp)| self.progress.as_ref().is_none_or(|p| p.time < time);
        (self.due || !self.kept.records.is_empty()) && self.last.is_some_and(ahead)
    }

    fn commit(&mut self, sink: &Sink) -> Result<(), BoxError> {
        let Some(last) = self.last else { return Ok(()) };
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = sink.link(self.number)?;
                self.progress = sink.topic.read(&sink.job, &sink.name, &sink.over)?.remove(&self.number);
                if let Some(found) = &self.progress
                    && sink.through(found, last)?
                {
                    tracing::warn!(shard = self.number, batch = last.0.millis(), "the commit that failed had been made");
                    self.link = Some(link);
                    self.done();
                    return Ok(());
                }
                link
            }
        };
        let (time, stamp) = last;
        let progress = Progress {
            job: sink.job.clone(),
            sink: sink.name.clone(),
            shard: self.number,
            shards: sink.sink.shards,
            directory: sink.life.directory,
            generation: stamp.generation,
            time,
            plan: stamp.plan,
        };
        // A producer that failed is dropped: what it says of its transaction is not asked.
        sink.transact(&link, &self.kept, &progress)?;
        link.reports.clear();
        (self.link, self.progress) = (Some(link), Some(progress));
        self.done();
        Ok(())
    }

    fn done(&mut self) {
        self.kept.clear();
        self.due = false;
    }
}

/// Writes the shards of one process; `F` fills a record for each row.
struct KafkaShards<F> {
    sink: Sink,
    fill: F,
    record: ProducerRecord,
    shards: Vec<Shard>,
}

impl<F> KafkaShards<F> {
    fn new(sink: KafkaSink, name: String, config: &Config, most: usize, fill: F) -> Self {
        let r = &config.runtime;
        let here = |s: &u32| *s as usize % config.peers() / r.workers as usize == r.process as usize;
        let shard = |number| Shard { number, link: None, progress: None, kept: Kept::default(), last: None, due: false };
        let shards = (0..sink.shards).filter(here).map(shard).collect();
        let topic = ProgressTopic::beside(&sink.topic, &sink.settings);
        let (job, life) = (config.name.clone(), Life { directory: 0, generation: 0 });
        let sink = Sink { sink, job, name, topic, life, most, over: Arc::default() };
        KafkaShards { sink, fill, record: ProducerRecord::default(), shards }
    }

    /// Does something with each of these shards, all at a time, and returns the error that weighs most.
    fn each(
        &mut self,
        of: impl Fn(&Shard) -> bool,
        work: impl Fn(&Sink, &mut Shard) -> Result<(), BoxError> + Sync,
    ) -> Result<(), BoxError> {
        let (sink, work) = (&self.sink, &work);
        let errors: Vec<BoxError> = std::thread::scope(|scope| {
            let shards = self.shards.iter_mut().filter(|shard| of(shard));
            let threads: Vec<_> = shards.map(|shard| scope.spawn(move || work(sink, shard))).collect();
            threads.into_iter().filter_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)).err()).collect()
        });
        let last = errors.iter().position(|e| e.is::<Final>()).unwrap_or(0);
        errors.into_iter().nth(last).map_or(Ok(()), Err)
    }

    fn write<T>(&mut self, tick: &Tick, parts: &[Part<T>]) -> Result<(), BoxError>
    where
        F: FnMut(&T, &mut ProducerRecord),
    {
        let marks: Vec<_> = self.shards.iter().map(|s| s.kept.len()).collect();
        for part in parts {
            let shard = self.shards.iter_mut().find(|s| s.number == part.number);
            let shard = shard.ok_or_else(|| Final(format!("shard {} is not of this process", part.number)))?;
            if shard.progress.as_ref().is_some_and(|p| tick.time <= p.time) {
                // It is in the topic since before the restart.
                continue;
            }
            for row in &part.rows {
                if let Err(e) = self.record.fill(&mut self.fill, row) {
                    self.shards.iter_mut().zip(marks).for_each(|(s, mark)| s.kept.cut(mark));
                    return Err(e);
                }
                shard.kept.push(&mut self.record);
            }
        }
        Ok(())
    }

    /// The topics are there, and the brokers have transactions.
    fn open(&mut self, life: Life, over: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
        (self.sink.life, self.sink.over) = (life, over.clone());
        point("sink.open");
        self.sink.sink.find()?;
        self.sink.topic.make()?;
        let link = |sink: &Sink, shard: &mut Shard| {
            shard.link = Some(sink.link(shard.number)?);
            Ok(())
        };
        self.each(|_| true, link).map_err(|e| Error::config(e.to_string()))?;
        let mut found = self.sink.topic.read(&self.sink.job, &self.sink.name, &self.sink.over)?;
        // Also of shards that there are no more.
        if let Some(p) = found.values().find(|p| p.shards != self.sink.sink.shards) {
            let (was, is) = (p.shards, self.sink.sink.shards);
            let what =
                format!("there were {was} shards, and the program says {is}: say shards({was}), or give the job another name");
            return Err(Error::config(self.sink.failed(p.shard, &what)));
        }
        self.shards.iter_mut().for_each(|shard| shard.progress = found.remove(&shard.number));
        Ok(self.shards.iter().filter_map(|s| s.progress.clone()).collect())
    }
}

/// Shared by what writes and what commits: both are called on the output thread.
struct Shared<F>(Arc<Mutex<KafkaShards<F>>>);

impl<F: Send> Promise for Shared<F> {
    fn sink(&self) -> (String, u32) {
        let s = &lock(&self.0).sink;
        (s.name.clone(), s.sink.shards)
    }

    fn most(&self) -> usize {
        lock(&self.0).sink.most
    }

    fn begin(&mut self, life: Life, over: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
        lock(&self.0).open(life, over)
    }

    fn through(&mut self, tick: &Tick) {
        let Some(stamp) = tick.stamp else { return };
        for shard in &mut lock(&self.0).shards {
            shard.last = Some((tick.time, stamp));
            shard.due |= tick.cut.is_some();
        }
    }

    fn commit(&mut self) -> Result<(), BoxError> {
        let mut all = lock(&self.0);
        all.shards.iter_mut().filter(|shard| !shard.dirty()).for_each(Shard::done);
        all.each(Shard::dirty, |sink, shard| shard.commit(sink))
    }
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// `to_kafka` for a sink that is exactly once.
    pub(super) fn to_kafka_once(
        &self,
        site: &OperatorId,
        sink: KafkaSink,
        fill: impl FnMut(&T, &mut ProducerRecord) + Send + 'static,
    ) {
        let graph = &self.node.graph;
        let mut problems = Vec::new();
        if graph.config.runtime.checkpoint.is_none() {
            problems.push("exactly_once() needs a checkpoint directory: say --checkpoint DIR or checkpoint(dir)".to_string());
        }
        if let Some(source) = graph.first_non_replayable(&self.node.meta.lineage) {
            let what = format!("exactly_once() behind the source {source}, whose records nobody can send again after a crash");
            problems.push(format!("{what}: leave it out (at least once), or write them to Kafka first"));
        }
        if sink.marks {
            problems.push(
                "marks() and exactly_once(): what a reader sees of a transaction is whole already; leave marks() out".into(),
            );
        }
        let (timeout, interval) = (sink.settings.transaction_timeout(), graph.config.interval.millis());
        let least = Duration::from_millis(3 * interval).max(sink.settings.delivery_deadline());
        if timeout < least {
            let what = format!("transaction.timeout.ms is {}", timeout.as_millis());
            problems.push(format!("{what}, and must be at least {}: three batches, and the delivery of one", least.as_millis()));
        }
        problems.into_iter().for_each(|p| graph.report(site, p));
        // Rows of a key without a key group may be in any shard: batch after batch keeps them in order.
        let grouped = self.node.orders.iter().all(|c| *c != RowOrder::Unordered { grouped: false });
        let most = if grouped { usize::MAX } else { 1 };
        let (spread, name) = (Spread::All(sink.shards.into()), graph.sink_name(&sink.topic));
        let shards = Arc::new(Mutex::new(KafkaShards::new(sink, name, &graph.config, most, fill)));
        let out = Completion::Committed(Box::new(Shared(shards.clone())));
        self.attach_spread(site, "to_kafka", spread, out, move |tick, parts| lock(&shards).write(tick, parts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_as_they_were_filled() {
        let mut kept = Kept::default();
        let mut record = ProducerRecord::default();
        for (k, v) in [(Some("a"), Some("1")), (None, Some("")), (Some(""), None)] {
            record.clear();
            k.map(|k| record.key(k));
            v.map(|v| record.value(v));
            kept.push(&mut record);
        }
        let two = kept.len();
        record.clear();
        record.key("x").partition(4).header("h", "y");
        kept.push(&mut record);
        let all = |kept: &Kept| -> Vec<_> {
            let bytes = |b: Option<&[u8]>| b.map(<[u8]>::to_vec);
            kept.each("t").map(|r| (bytes(r.key), bytes(r.payload), r.partition, r.headers.is_some())).collect()
        };
        let some = |s: &str| Some(s.as_bytes().to_vec());
        let mut expected = vec![
            (some("a"), some("1"), None, false),
            (None, some(""), None, false),
            (some(""), None, None, false),
            (some("x"), None, Some(4), true),
        ];
        assert_eq!(all(&kept), expected);
        assert_eq!(all(&kept), expected, "twice the same: a transaction may be tried again");
        kept.cut(two);
        expected.pop();
        assert_eq!(all(&kept), expected);
    }
}
