//! `decode`, `values`, `pairs`: from bytes to records. Also [`Decoded`]: the good records, and the bad ones.

use std::any::Any;
use std::ops::Deref;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::api::context::Switch;
use crate::api::dstream::{DStream, lazy};
use crate::connector::message::Message;
use crate::core::data::{BadRecord, Data, Rows};
use crate::core::error::{BoxError, Error};
use crate::core::origin::{Origin, Origins, OriginsWanted, Records};
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, batched, map_containers, split_map};
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{BadLine, Positioned};
use crate::format::{Decode, Unavailable};
use crate::job::protocol::Event;
use crate::operator::kernel::bad_limit::{Bad, BadLimit, RowsRead};
use crate::operator::kernel::origins::{known, origins};

/// The result of a fallible verb: the records, and the bad records with their origin and the reason.
///
/// It is used as the stream of its records: every verb of [`DStream`] is a method. [`errors`](Decoded::errors) has the bad records.
/// Bad records are counted over all workers: [`Statistics::bad`](crate::metrics::Statistics::bad). If no output operation reads them, the
/// count is logged at most once in ten seconds, with the first of them.
///
/// ```
/// use tidemill::testing::check;
/// let lines = ["1", "x", "3"].map(str::to_owned).to_vec();
/// check([lines], |s| s.try_map(|l| Ok(l.parse::<i32>()?)).map(|n| 10 * n), [vec![10, 30]]);
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct Decoded<'s, T: 'static> {
    oks: DStream<'s, T>,
    errors: DStream<'s, BadRecord>,
}

impl<T> Clone for Decoded<'_, T> {
    fn clone(&self) -> Self {
        Decoded { oks: self.oks.clone(), errors: self.errors.clone() }
    }
}

/// The records.
impl<'s, T: 'static> Deref for Decoded<'s, T> {
    type Target = DStream<'s, T>;

    fn deref(&self) -> &DStream<'s, T> {
        &self.oks
    }
}

impl<'s, T: 'static> Decoded<'s, T> {
    /// The records and the errors that `each` makes from each container. Its arguments say whether the records need their origins, and are
    /// told the rows of each container.
    pub(crate) fn split_of<R: Data, F>(
        rows: &DStream<'s, R>,
        operator: &OperatorId,
        each: impl FnOnce(Rc<OriginsWanted>, RowsRead) -> F + 's,
    ) -> Self
    where
        F: FnMut(BatchTime, Rows<R>, &mut Emitter<'_, Rows<T>>, &mut Emitter<'_, Rows<BadRecord>>) + 'static,
    {
        let (stream, verb) = (rows.clone(), operator.clone());
        let wanted = OriginsWanted::below([rows.node.wants_origins.clone()]);
        let (asked, read) = (wanted.clone(), RowsRead::new(&rows.node.graph.config));
        let reads = read.clone();
        let built = Rc::new(lazy(move || split_map(stream.flow(), &verb, stream.inner_with_origins(), each(asked, reads))));
        let (oks, errors) = (built.clone(), built);
        let oks = rows.same_partitions(false, wanted, move |_| oks.0.clone());
        Decoded::new(oks, rows.narrow(move |_| errors.1.clone()), operator, read)
    }

    /// `read`: how many rows the verb has read.
    pub(crate) fn new(oks: DStream<'s, T>, errors: DStream<'s, BadRecord>, operator: &OperatorId, read: RowsRead) -> Self {
        let (oks, errors) = if read.is_limited() {
            let limit = BadLimit::new(&errors, operator, read);
            (limit.of(&oks), limit.of(&errors))
        } else {
            (oks, errors)
        };
        let (asked, taken) = (Switch::default(), Switch::default());
        let (runs, takes, stream, operator) = (asked.clone(), taken.clone(), errors.clone(), operator.clone());
        oks.node.graph.on_built(move || {
            let gathered = runs.get() && !takes.get() && stream.node.graph.gather_errors(&stream);
            if runs.get() || takes.get() {
                count(&stream, &operator, takes.get() || gathered);
            }
        });
        Decoded { oks: noting(&oks, asked), errors: noting(&errors, taken) }
    }

    /// The records, as a stream that does not borrow from this.
    pub fn oks(&self) -> DStream<'s, T> {
        self.oks.clone()
    }

    /// The bad records, as data. They are logged unless an output operation reads them.
    pub fn errors(&self) -> DStream<'s, BadRecord> {
        self.errors.clone()
    }

    /// Both streams, as [`Decoded::oks`] and [`Decoded::errors`] return them.
    pub fn split(&self) -> (DStream<'s, T>, DStream<'s, BadRecord>) {
        (self.oks.clone(), self.errors.clone())
    }
}

/// The same stream. Sets the switch when an output asks for it.
fn noting<'s, T: 'static>(stream: &DStream<'s, T>, asked: Switch) -> DStream<'s, T> {
    stream.traced(true, move |s, _| {
        asked.set(true);
        s.inner()
    })
}

/// The bad records of a verb whose good rows are no stream: a record for each reason. They are counted as those of [`Decoded`].
/// `runs`: whether an output asks for the good rows.
pub(crate) fn bad_of<'s>(reasons: &DStream<'s, String>, operator: &OperatorId, runs: Switch) -> DStream<'s, BadRecord> {
    let verb = operator.clone();
    let errors = reasons.narrow(move |reasons| {
        let name = verb.clone();
        map_containers(reasons.flow(), &verb, reasons.inner(), move |time, rows: Rows<String>, emit: &mut Emitter<'_, _>| {
            let partition = rows.partition;
            let bad = |reason: String| {
                let (origin, raw, key, headers) = (String::new(), Vec::new(), None, Vec::new());
                BadRecord { origin, partition: 0, offset: -1, time, raw, key, headers, verb: name.to_string(), reason }
            };
            emit(Rows::new(partition, rows.take().into_iter().map(bad).collect()));
        })
    });
    let taken = Switch::default();
    let (takes, stream, operator) = (taken.clone(), errors.clone(), operator.clone());
    reasons.node.graph.on_built(move || {
        let gathered = runs.get() && !takes.get() && stream.node.graph.gather_errors(&stream);
        if runs.get() || takes.get() {
            count(&stream, &operator, takes.get() || gathered);
        }
    });
    noting(&errors, taken)
}

/// The number of bad records of this process that no output operation reads.
static UNTAKEN: AtomicUsize = AtomicUsize::new(0);

/// How many bad records no output operation has read, over all jobs of this process.
#[cfg(feature = "testing")]
pub fn untaken_errors() -> usize {
    UNTAKEN.load(Ordering::Relaxed)
}

/// Reports how many bad records each batch has. `taken`: whether an output operation reads them; if not, the planner logs them.
fn count(errors: &DStream<'_, BadRecord>, operator: &OperatorId, taken: bool) {
    let name = operator.to_string();
    let graph = &errors.node.graph;
    let outbox = graph.outbox.clone();
    let _ = batched(
        &graph.flow.silent_when_empty(),
        operator,
        errors.inner(),
        timely::dataflow::channels::pact::Pipeline,
        |pending, t, rows: Rows<BadRecord>| {
            let seen: &mut (usize, Option<BadRecord>) = pending.at(t);
            seen.0 += rows.rows.len();
            seen.1 = seen.1.take().or_else(|| rows.rows.first().cloned());
        },
        move |tick, (n, first), _: &mut Emitter<'_, Rows<()>>| {
            if let Some(first) = first {
                UNTAKEN.fetch_add(if taken { 0 } else { n }, Ordering::Relaxed);
                let (stream, records, first) = (name.clone(), n as u64, first.described());
                outbox.send(Event::BadRecords { stream, time: tick.time, records, first, taken });
            }
        },
    );
}

/// The bad record of the row at an index of a container, with what is known of its origin. Its bytes are those of the source's record,
/// or of the row if it is text.
pub(crate) fn bad_record<T: 'static>(
    rows: &Rows<T>,
    index: usize,
    time: BatchTime,
    verb: &OperatorId,
    reason: &dyn std::fmt::Display,
) -> BadRecord {
    let (row, known): (&dyn Any, _) = (&rows.rows[index], known(rows));
    let nowhere = Origin { name: "", partition: 0, offset: -1, raw: None };
    let Origin { name, partition, offset, raw } = known.as_ref().map_or(nowhere, |origins| origins.get(index));
    let text = || row.downcast_ref::<String>().map(|s| s.as_bytes()).or_else(|| row.downcast_ref::<Vec<u8>>().map(|v| &v[..]));
    let raw = raw.or_else(text).unwrap_or_default().to_vec();
    let key = known.as_ref().and_then(|origins| origins.key(index)).map(<[u8]>::to_vec);
    let headers = known.as_ref().map(|origins| origins.headers(index)).unwrap_or_default();
    let (verb, reason) = (verb.to_string(), reason.to_string());
    BadRecord { origin: name.into(), partition, offset, time, raw, key, headers, verb, reason }
}

/// Lines of one split, by their positions.
struct LinesOf {
    split: Origins,
    offsets: Vec<i64>,
}

impl Records for LinesOf {
    fn origin(&self, index: usize) -> Origin<'_> {
        Origin { offset: self.offsets[index], ..self.split.get(0) }
    }
}

/// The lines that are text, and the others as bad records. Likewise for other rows with positions.
pub(crate) fn decoded_lines<'s, L: Positioned>(lines: &DStream<'s, L>, operator: &OperatorId) -> Decoded<'s, L::Out> {
    let verb = operator.clone();
    let each = |wanted: Rc<OriginsWanted>, read: RowsRead| {
        move |time, rows: Rows<L>, ok: &mut Emitter<'_, _>, err: &mut Emitter<'_, _>| {
            let (partition, all, split) = (rows.partition, rows.rows.len(), origins(&rows, &wanted));
            let mut offsets = Vec::new();
            let mut good = Vec::with_capacity(rows.rows.len());
            let mut bad = Bad::default();
            for (place, line) in rows.take().into_iter().enumerate() {
                match line.positioned() {
                    Ok((text, offset)) => {
                        good.push(text);
                        if split.is_some() {
                            offsets.push(offset);
                        }
                    }
                    Err(BadLine { origin, offset, raw, reason }) => {
                        let (origin, verb) = (origin.to_string(), verb.to_string());
                        let (key, headers) = (None, Vec::new());
                        let record = BadRecord { origin, partition: 0, offset, time, raw, key, headers, verb, reason };
                        bad.push(place, record);
                    }
                }
            }
            let origins = split.map(|split| Origins::of(Rc::new(LinesOf { split, offsets })));
            ok(Rows::new(partition, good).with_origins(origins));
            err(read.container(time, partition, all, bad));
        }
    };
    Decoded::split_of(lines, operator, each)
}

/// Adds the record of the bytes. A format that is [`Unavailable`] ends the job.
fn decoder<T, D: Decode>(
    stream: &DStream<'_, T>,
    operator: &OperatorId,
    format: D,
) -> impl Fn(&[u8], &mut Vec<D::Out>) -> Result<(), BoxError> + use<T, D> {
    let (fail, operator) = (stream.node.graph.fail.clone(), operator.to_string());
    move |bytes, out| match format.decode(bytes) {
        Ok(record) => {
            out.push(record);
            Ok(())
        }
        Err(e) if e.is::<Unavailable>() => {
            fail(Error::Format { operator: operator.clone(), reason: e.to_string() });
            // Unlike after a return, no worker in any process can complete the batch, which lacks the record.
            resume_unwind(Box::new("a format was not available"))
        }
        Err(e) => Err(e),
    }
}

impl<'s> DStream<'s, Message> {
    /// The message values in a format: one record for each message. A message that does not decode is a bad record, and so is
    /// one without a value, unless the source skips tombstones.
    ///
    /// ```no_run
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("totals", secs(1)).run(|ssc| {
    ///     let kafka = KafkaSource::brokers("127.0.0.1:9092").topic("sales");
    ///     let (sales, bad) = ssc.kafka_direct_stream(kafka).decode(Json::<(String, i64)>::new()).split();
    ///     sales.reduce_by_key(|a, b| a + b).print(10);
    ///     bad.count().print(1);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn decode<D: Decode>(&self, format: D) -> Decoded<'s, D::Out> {
        let operator = OperatorId::of("decode");
        let decode = decoder(self, &operator, format);
        self.try_each(&operator, move |m, out| decode(m.value()?, out))
    }

    /// The message values as UTF-8 text. Any other value is a bad record, and so is a message without one.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # use tidemill::connector::message::Message;
    /// let message = |offset, value: &'static [u8]| Message::new("words", 0, offset, None, None, Some(value));
    /// let queue = QueueSource::from_batches([vec![message(0, b"tide"), message(1, b"\xff")]]);
    /// let (words, bad) = (MemorySink::new(), MemorySink::new());
    /// let (good_out, bad_out) = (words.clone(), bad.clone());
    /// StreamingContext::builder("words", millis(5)).run(move |ssc| {
    ///     let values = ssc.queue_stream(&queue).values();
    ///     values.oks().to_memory(&good_out);
    ///     values.errors().to_memory(&bad_out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(words.rows(), ["tide"]);
    /// assert_eq!((bad.rows()[0].offset, &bad.rows()[0].raw[..]), (1, &b"\xff"[..]));
    /// ```
    #[track_caller]
    pub fn values(&self) -> Decoded<'s, String> {
        self.try_each(&OperatorId::of("values"), |m, out| {
            out.push(std::str::from_utf8(m.value()?)?.to_owned());
            Ok(())
        })
    }

    /// Keys and values as UTF-8 text; the key is `None` for a message without one.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # use tidemill::connector::message::Message;
    /// let message = |key: Option<&'static [u8]>| Message::new("words", 0, 0, None, key, Some(b"tide"));
    /// let queue = QueueSource::from_batches([vec![message(Some(b"k")), message(None)]]);
    /// let pairs = MemorySink::new();
    /// let out = pairs.clone();
    /// StreamingContext::builder("pairs", millis(5)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).pairs().oks().to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(pairs.rows(), [(Some("k".to_owned()), "tide".to_owned()), (None, "tide".to_owned())]);
    /// ```
    #[track_caller]
    pub fn pairs(&self) -> Decoded<'s, (Option<String>, String)> {
        self.try_each(&OperatorId::of("pairs"), |m, out| {
            let key = m.key().map(std::str::from_utf8).transpose()?.map(str::to_owned);
            out.push((key, std::str::from_utf8(m.value()?)?.to_owned()));
            Ok(())
        })
    }
}

impl<'s> DStream<'s, String> {
    /// Lines in a format: one record for each line, as of JSON files. A line that does not decode is a bad record.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![r#"["tide", 3]"#.to_owned(), "tide".to_owned()]]);
    /// let (pairs, bad) = (MemorySink::new(), MemorySink::new());
    /// let (good_out, bad_out) = (pairs.clone(), bad.clone());
    /// StreamingContext::builder("lines", millis(5)).run(move |ssc| {
    ///     let lines = ssc.queue_stream(&queue).decode(Json::<(String, i64)>::new());
    ///     lines.oks().to_memory(&good_out);
    ///     lines.errors().to_memory(&bad_out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(pairs.rows(), [("tide".to_owned(), 3)]);
    /// assert_eq!(bad.rows()[0].raw, b"tide");
    /// ```
    #[track_caller]
    pub fn decode<D: Decode>(&self, format: D) -> Decoded<'s, D::Out> {
        let operator = OperatorId::of("decode");
        let decode = decoder(self, &operator, format);
        self.try_each(&operator, move |line, out| decode(line.as_bytes(), out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::context::StreamingContext;
    use crate::connector::memory::MemorySink;
    use crate::connector::queue::QueueSource;
    use crate::core::time::millis;

    /// The bad records that a job counts, and whether an output takes them. What its outputs read is up to `program`.
    fn counted(program: impl for<'s> Fn(&Decoded<'s, i64>) + Send + Sync + 'static) -> Vec<(u64, bool)> {
        let queue = QueueSource::from_batches([["1", "x"], ["2", "y"]].map(|lines| lines.map(str::to_owned).to_vec()));
        let job = StreamingContext::builder("logged", millis(1)).workers(2).start(move |ssc| {
            let lines = ssc.queue_stream(&queue);
            program(&lines.try_map(|l| Ok(l.parse::<i64>()?)));
            lines.to_memory(&MemorySink::new());
            Ok(())
        });
        let job = job.unwrap();
        let metrics = job.metrics.clone();
        job.await_termination().unwrap();
        let bad = metrics.now().history.totals.bad;
        assert_eq!(metrics.snapshot().bad, bad.values().map(|bad| bad.records).sum::<u64>());
        bad.values().map(|bad| (bad.records, bad.taken)).collect()
    }

    #[test]
    fn bad_records_are_counted_and_logged_unless_an_output_reads_them() {
        assert_eq!(counted(|parsed| parsed.oks().to_memory(&MemorySink::new())), [(2, false)]);
        let unused = |parsed: &Decoded<'_, i64>| {
            let (oks, errors) = parsed.split();
            let _unread = errors.map(|bad| bad.raw);
            oks.to_memory(&MemorySink::new());
        };
        assert_eq!(counted(unused), [(2, false)]);
        let used = |parsed: &Decoded<'_, i64>| {
            let (oks, errors) = parsed.split();
            oks.union(&errors.map(|bad| bad.offset)).to_memory(&MemorySink::new());
        };
        assert_eq!(counted(used), [(2, true)]);
        assert_eq!(counted(|parsed| drop(parsed.split())), [], "without an output the verb does not run");
    }
}
