//! `to_kafka`, exactly once. Each shard and group of batches has one transaction, which also holds the shard's progress.
//!
//! The sink keeps rows, as records, until it knows whether their transaction was committed. After an error the next attempt
//! begins with a new producer, which aborts the old one's open transaction. Then the progress record shows whether the rows are
//! in the topic. One error is fatal: a newer run writes here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer};

use crate::api::dstream::DStream;
use crate::connector::kafka::producer::{Link, Outgoing};
use crate::connector::kafka::producer_record::ProducerRecord;
use crate::connector::kafka::progress::{ProgressTopic, key, value};
use crate::connector::kafka::reports::Receipt;
use crate::connector::kafka::sink::KafkaSink;
use crate::connector::kafka::topics::{Choice, FoundTopics};
use crate::connector::sink::{
    BatchId, CommitGroup, Committed, FatalError, Part, Sink, SinkBatch, SinkContext, TransactionalSink,
};
use crate::core::data::Exchange;
use crate::core::detached;
use crate::core::error::{BoxError, Error, Result};
use crate::core::fault::{Answer, FaultPoint, lost, point};
use crate::core::plan::{Progress, RunId};
use crate::engine::operator_id::OperatorId;

/// The longest time for a producer to get its id from the brokers. librdkafka retries by itself.
const INIT: Duration = Duration::from_secs(30);
/// How often such a producer looks whether the job is over.
const INIT_LOOK: Duration = Duration::from_millis(500);
/// At most this transaction timeout is demanded because of the batch interval.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits for brokers, until the job is over.
fn unless_over<R: Send + 'static>(context: &SinkContext, ask: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    let answer = detached::run("tm-kafka-ask", || context.is_stopped(), ask)?;
    answer.unwrap_or_else(|| Err(Error::config("the job is over")))
}

/// Records that are ready to send, contiguous in memory.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    records: Vec<Head>,
}

struct Head {
    topic: Arc<str>,
    key: Option<usize>,
    value: Option<usize>,
    headers: Option<OwnedHeaders>,
    partition: Option<i32>,
}

impl Kept {
    fn push(&mut self, topic: &Arc<str>, record: &mut ProducerRecord) {
        let (headers, partition, (key, value)) = (record.headers.take(), record.partition, record.parts());
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let (key, value) = (key.map(<[u8]>::len), value.map(<[u8]>::len));
        self.records.push(Head { topic: topic.clone(), key, value, headers, partition });
    }

    /// Drops the last records.
    fn truncate(&mut self, (bytes, records): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.records.truncate(records);
    }

    fn len(&self) -> (usize, usize) {
        (self.bytes.len(), self.records.len())
    }

    fn clear(&mut self) {
        self.truncate((0, 0));
        // One large batch must not keep its memory forever.
        self.bytes.shrink_to(1 << 20);
    }

    fn each(&self) -> impl Iterator<Item = Outgoing<'_>> {
        let (mut at, receipt) = (0, Receipt::default());
        let mut take = move |n: Option<usize>| {
            n.map(|n| {
                at += n;
                &self.bytes[at - n..at]
            })
        };
        self.records.iter().map(move |head| {
            let mut out = BaseRecord::with_opaque_to(&head.topic, receipt.clone());
            (out.key, out.payload) = (take(head.key), take(head.value));
            (out.headers, out.partition) = (head.headers.clone(), head.partition);
            out
        })
    }
}

/// One shard: its producer, its progress, and the records of the next commit.
struct Shard {
    number: u32,
    link: Option<Link>,
    progress: Option<Progress>,
    kept: Kept,
}

/// The state that all shards of a sink share.
struct Common {
    sink: KafkaSink,
    topic: ProgressTopic,
    /// `None` until the sink has begun.
    context: Option<SinkContext>,
}

impl Common {
    fn context(&self) -> Result<&SinkContext, FatalError> {
        self.context.as_ref().ok_or_else(|| FatalError("the sink has not begun".into()))
    }

    fn failed(&self, shard: u32, what: &str) -> String {
        let KafkaSink { topics, settings, .. } = &self.sink;
        format!("Kafka {topics} on {}, shard {shard}: {what}", settings.brokers)
    }

    /// Makes a producer for a shard. When this returns, earlier producers of the shard are shut out, and their open
    /// transactions are aborted.
    fn link(&self, shard: u32) -> Result<Link, BoxError> {
        let context = self.context()?;
        let SinkContext { job, sink, .. } = context;
        let (producer, reports) = self.sink.settings.transactional(&format!("{job}-{sink}-"), shard)?;
        if self.sink.topics.choice != Choice::Own {
            reports.name_topics();
        }
        let link = Link::new(&self.sink.settings, producer, reports);
        let end = Instant::now() + INIT;
        // A call that timed out is continued by the next one. Between two calls the job may end.
        while let Err(e) = link.producer.init_transactions(INIT_LOOK) {
            let waits = matches!(&e, KafkaError::Transaction(e) if e.is_retriable());
            if !waits || Instant::now() > end || context.is_stopped() {
                return Err(self.wrong(shard, &link, &e));
            }
        }
        Ok(link)
    }

    fn wrong(&self, shard: u32, link: &Link, error: &KafkaError) -> BoxError {
        self.judged(shard, link, error.rdkafka_error_code(), &link.reports.words(error))
    }

    /// An error, and whether to retry it.
    fn judged(&self, shard: u32, link: &Link, code: Option<RDKafkaErrorCode>, words: &str) -> BoxError {
        let fatal = link.producer.client().fatal_error().map(|(code, _)| code);
        let fenced =
            |c| matches!(c, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch);
        if code.is_some_and(fenced) || fatal.is_some_and(fenced) {
            let what = "shut out: another run of this job writes here now, or the transaction timed out; this one ends";
            return FatalError(self.failed(shard, what)).into();
        }
        let trouble = link.reports.trouble().map_or_else(String::new, |t| format!(" ({t})"));
        match code {
            Some(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
                let what = format!("exactly_once() needs brokers with transactions, and these have none: {words}{trouble}");
                FatalError(self.failed(shard, &what)).into()
            }
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => {
                let ms = self.sink.settings.transaction_timeout().as_millis();
                let what = format!("transaction.timeout.ms is {ms}, which is above the brokers' transaction.max.timeout.ms");
                FatalError(self.failed(shard, &what)).into()
            }
            _ => self.failed(shard, &format!("{words}{trouble}")).into(),
        }
    }

    /// Sends the rows of a shard and its progress in one transaction. After an error they may be committed or not.
    fn transact(&self, link: &Link, kept: &Kept, progress: &Progress) -> Result<(), BoxError> {
        let shard = progress.shard;
        let wrong = |e: KafkaError| self.wrong(shard, link, &e);
        link.reports.take_failed();
        point(FaultPoint::SinkBegin);
        link.producer.begin_transaction().map_err(wrong)?;
        for (i, record) in kept.each().enumerate() {
            link.put(record).map_err(wrong)?;
            if i % 1024 == 1023 {
                link.poll();
            }
        }
        let (key, value) = (key(&progress.job, &progress.sink, shard), value(progress));
        let record = BaseRecord::with_opaque_to(&self.topic.name, Receipt::default()).partition(0);
        link.put(record.key(key.as_bytes()).payload(&value)).map_err(wrong)?;
        link.wait().map_err(|e| self.judged(shard, link, None, &e))?;
        point(FaultPoint::SinkCommitBefore);
        if lost(Answer::Rows) {
            return Err(self.failed(shard, "a test drops the answer").into());
        }
        link.producer.commit_transaction(link.deadline).map_err(wrong)?;
        point(FaultPoint::SinkCommitAfter);
        if lost(Answer::Commit) {
            return Err(self.failed(shard, "a test drops the answer").into());
        }
        Ok(())
    }

    /// Whether a shard has committed this batch, according to its own progress record.
    fn has_committed(&self, found: &Progress, last: BatchId) -> Result<bool, FatalError> {
        let ours = self.context()?.run.generation;
        if found.generation > ours {
            let what = format!("generation {} of this job writes here now, and this is {ours}", found.generation);
            return Err(FatalError(self.failed(found.shard, &what)));
        }
        let BatchId { time, plan, .. } = last;
        if found.time == time && found.plan != plan {
            let what = format!("the progress says that {time} was written by the plan {:016x}, not by {plan:016x}", found.plan);
            return Err(FatalError(self.failed(found.shard, &what)));
        }
        Ok(found.time >= time)
    }
}

impl Shard {
    /// Whether it has something to commit: rows, or the progress that a checkpoint needs.
    fn is_dirty(&self, group: &CommitGroup) -> bool {
        let ahead = self.progress.as_ref().is_none_or(|p| p.time < group.last.time);
        (group.checkpoint || !self.kept.records.is_empty()) && ahead
    }

    fn commit(&mut self, common: &Common, last: BatchId) -> Result<(), BoxError> {
        let SinkContext { job, sink, run, shard_count, .. } = common.context()?;
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = common.link(self.number)?;
                self.progress = common.topic.read(common.context()?)?.remove(&self.number);
                if let Some(found) = &self.progress
                    && common.has_committed(found, last)?
                {
                    tracing::warn!(shard = self.number, batch = %last.time, "the commit that failed had been made");
                    self.link = Some(link);
                    self.kept.clear();
                    return Ok(());
                }
                link
            }
        };
        let progress = Progress {
            job: job.clone(),
            sink: sink.clone(),
            shard: self.number,
            shards: *shard_count,
            directory: run.directory,
            generation: last.run.generation,
            time: last.time,
            plan: last.plan,
        };
        // A failed producer is dropped: its own report about its transaction is not used.
        common.transact(&link, &self.kept, &progress)?;
        link.reports.clear();
        (self.link, self.progress) = (Some(link), Some(progress));
        self.kept.clear();
        Ok(())
    }
}

/// Writes the shards of one process; `F` fills a record for each row.
struct KafkaTransactions<F> {
    common: Common,
    topics: FoundTopics,
    fill: F,
    record: ProducerRecord,
    shards: Vec<Shard>,
}

impl<F> KafkaTransactions<F> {
    fn new(sink: KafkaSink, fill: F) -> Self {
        let topic = ProgressTopic::beside(sink.topics.name(), &sink.settings);
        let topics = FoundTopics::new(&sink.topics, &sink.settings);
        let common = Common { sink, topic, context: None };
        KafkaTransactions { common, topics, fill, record: ProducerRecord::default(), shards: Vec::new() }
    }

    /// Keeps the records of a part. After an error, some of them.
    fn keep<T>(&mut self, part: &Part<T>) -> Result<(), BoxError>
    where
        F: FnMut(&T, &mut ProducerRecord),
    {
        let shard = self.shards.iter_mut().find(|s| s.number == part.number);
        let shard = shard.ok_or_else(|| FatalError(format!("shard {} is not of this process", part.number)))?;
        for row in &part.rows {
            self.record.fill(&mut self.fill, row)?;
            shard.kept.push(self.topics.of(&self.record)?, &mut self.record);
        }
        Ok(())
    }

    /// Runs a step on each of these shards, all concurrently. If several fail and one error is fatal, returns the fatal one.
    fn each(
        &mut self,
        of: impl Fn(&Shard) -> bool,
        work: impl Fn(&Common, &mut Shard) -> Result<(), BoxError> + Sync,
    ) -> Result<(), BoxError> {
        let (common, work) = (&self.common, &work);
        let errors: Vec<BoxError> = std::thread::scope(|scope| {
            let shards = self.shards.iter_mut().filter(|shard| of(shard));
            let named = || std::thread::Builder::new().name("tm-kafka-txn".into());
            let threads: Vec<_> = shards.map(|shard| named().spawn_scoped(scope, move || work(common, shard))).collect();
            let done = threads.into_iter().map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(e) => Err(e.into()),
            });
            done.filter_map(std::result::Result::err).collect()
        });
        let heaviest = errors.iter().position(|e| e.is::<FatalError>()).unwrap_or(0);
        errors.into_iter().nth(heaviest).map_or(Ok(()), Err)
    }
}

impl<T, F> Sink<T> for KafkaTransactions<F>
where
    F: FnMut(&T, &mut ProducerRecord) + Send,
{
    fn write(&mut self, _: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        let before: Vec<_> = self.shards.iter().map(|s| s.kept.len()).collect();
        let kept = parts.iter().try_for_each(|part| self.keep(part));
        if kept.is_err() {
            self.shards.iter_mut().zip(before).for_each(|(s, before)| s.kept.truncate(before));
        }
        kept
    }

    fn shown(&mut self, rows: &[&T]) -> Option<Vec<String>> {
        Some(rows.iter().map(|row| self.record.shown(&mut self.fill, row)).collect())
    }
}

impl<T, F> TransactionalSink<T> for KafkaTransactions<F>
where
    F: FnMut(&T, &mut ProducerRecord) + Send,
{
    fn name(&self) -> String {
        self.common.sink.topics.name().to_owned()
    }

    fn shards(&self) -> u32 {
        self.common.sink.shards
    }

    /// Finds the topics, creates the progress topic, and gets a producer for each shard, which shuts earlier runs out.
    fn begin(&mut self, context: &SinkContext) -> Result<Vec<Committed>, BoxError> {
        self.common.context = Some(context.clone());
        let shard = |number: &u32| Shard { number: *number, link: None, progress: None, kept: Kept::default() };
        self.shards = context.shards.iter().map(shard).collect();
        point(FaultPoint::SinkOpen);
        let (sink, topic) = (self.common.sink.clone(), self.common.topic.clone());
        let find = move || {
            let found = sink.topics.find(&sink.settings)?;
            topic.make().map(|()| found)
        };
        self.topics.set(unless_over(context, find)?);
        let link = |common: &Common, shard: &mut Shard| {
            shard.link = Some(common.link(shard.number)?);
            Ok(())
        };
        self.each(|_| true, link).map_err(|e| Error::config(e.to_string()))?;
        let (topic, of) = (self.common.topic.clone(), context.clone());
        let mut found = unless_over(context, move || topic.read(&of))?;
        // Shards that this program no longer has count too.
        if let Some(p) = found.values().find(|p| p.shards != context.shard_count) {
            let (was, is) = (p.shards, context.shard_count);
            let what =
                format!("there were {was} shards, and the program says {is}: say shards({was}), or give the job another name");
            return Err(Error::config(self.common.failed(p.shard, &what)).into());
        }
        self.shards.iter_mut().for_each(|shard| shard.progress = found.remove(&shard.number));
        let committed = |p: &Progress| {
            let run = RunId { directory: p.directory, generation: p.generation };
            Committed { shard: p.shard, batch: BatchId { time: p.time, run, plan: p.plan } }
        };
        Ok(self.shards.iter().filter_map(|s| s.progress.as_ref()).map(committed).collect())
    }

    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError> {
        self.shards.iter_mut().filter(|shard| !shard.is_dirty(group)).for_each(|shard| shard.kept.clear());
        self.each(|shard| shard.is_dirty(group), |common, shard| shard.commit(common, group.last))
    }
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// `to_kafka` for an exactly-once sink.
    pub(super) fn to_kafka_exactly_once(
        &self,
        site: &OperatorId,
        sink: KafkaSink,
        fill: impl FnMut(&T, &mut ProducerRecord) + Send + 'static,
    ) {
        let graph = &self.node.graph;
        if sink.marks {
            let what = "marks() and exactly_once(): what a reader sees of a transaction is whole already; leave marks() out";
            graph.report(site, what);
        }
        let (timeout, interval) = (sink.settings.transaction_timeout(), graph.config.interval.millis());
        // A transaction is open while a group of batches is sent, which takes no longer in a job with a long batch interval.
        let least = Duration::from_millis(3 * interval).min(LONGEST).max(sink.settings.delivery_deadline());
        if timeout < least {
            let what = format!("transaction.timeout.ms is {}", timeout.as_millis());
            let least = least.as_millis();
            graph.report(
                site,
                format!(
                    "{what}, and must be at least {least}: as long as three batches (30 s at most), and as the delivery of one"
                ),
            );
        }
        self.sink_in_transactions(site, "exactly_once()", KafkaTransactions::new(sink, fill));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_as_they_were_filled() {
        let mut kept = Kept::default();
        let (mut record, own) = (ProducerRecord::default(), Arc::<str>::from("t"));
        for (k, v) in [(Some("a"), Some("1")), (None, Some("")), (Some(""), None)] {
            record.clear();
            k.map(|k| record.key(k));
            v.map(|v| record.value(v));
            kept.push(&own, &mut record);
        }
        let two = kept.len();
        record.clear();
        record.key("x").partition(4).header("h", "y");
        kept.push(&"other".into(), &mut record);
        let all = |kept: &Kept| -> Vec<_> {
            let bytes = |b: Option<&[u8]>| b.map(<[u8]>::to_vec);
            kept.each().map(|r| (r.topic.to_owned(), bytes(r.key), bytes(r.payload), r.partition, r.headers.is_some())).collect()
        };
        let some = |s: &str| Some(s.as_bytes().to_vec());
        let mut expected = vec![
            ("t".to_owned(), some("a"), some("1"), None, false),
            ("t".to_owned(), None, some(""), None, false),
            ("t".to_owned(), some(""), None, None, false),
            ("other".to_owned(), some("x"), None, Some(4), true),
        ];
        assert_eq!(all(&kept), expected);
        assert_eq!(all(&kept), expected, "twice the same: a transaction may be tried again");
        kept.truncate(two);
        expected.pop();
        assert_eq!(all(&kept), expected);
    }
}
