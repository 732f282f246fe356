//! The source operator: puts the rows of a reader into the dataflow, and drops the capability of a batch when it closes.
//!
//! It holds the capability of the open batch. Rows are emitted at once, so that verbs combine while the batch is open. Sealing ends
//! the batch at a record; closing lets the frontier pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::api::alignment::Alignment;
use crate::api::context::{CommandQueue, Graph, Outbox, SourceHalf, StreamingContext};
use crate::api::dstream::DStream;
use crate::connector::source::{Emit, MaxRate, ReaderContext, Sealed, Source, SourceReader, Waker};
use crate::core::correction::letters;
use crate::core::data::{Data, PartitionId, Rows};
use crate::core::error::{Error, Result};
use crate::core::fault::{FaultPoint, point};
use crate::core::origin::{Origins, OriginsWanted};
use crate::core::plan::{BatchSpan, Limits, Range, Split, SplitRange};
use crate::core::time::{BatchTime, Interval};
use crate::core::unplanned::Unplanned;
use crate::engine::flow::RowStream;
use crate::engine::meter::Meter;
use crate::engine::operator_id::OperatorId;
use crate::job::corrected_rows;
use crate::job::protocol::{Command, Event, SplitRead};
use crate::metrics::ReceiverInfo;

/// A batch that is to be sealed.
struct Job {
    span: BatchSpan,
    /// Ranges of this worker that are still to be read, with their split ids.
    given: VecDeque<(u32, SplitRange)>,
    live: bool,
    /// Whether the batch after it is for a correction.
    hold: bool,
    last: bool,
    limits: Limits,
}

/// One source on one worker.
struct Input<T> {
    reader: Box<dyn SourceReader<T>>,
    name: String,
    source: u32,
    worker: usize,
    peers: usize,
    interval: Interval,
    /// The splits of this worker.
    splits: BTreeMap<u32, Rc<Split>>,
    wants_origins: Rc<OriginsWanted>,
    /// The batch that is open; `None` before the first and after the last.
    open: Option<Capability<BatchTime>>,
    /// Whether the reader may read ahead: after all given batches, and until the last one.
    live: bool,
    /// Whether the open batch is for a correction.
    held: bool,
    /// Whether the last batch is sealed.
    ended: bool,
    /// Batches that are sealed and not closed.
    sealed: VecDeque<Capability<BatchTime>>,
    jobs: VecDeque<Job>,
    ranges: Vec<Range>,
    /// What each split gave to the open batch.
    read: BTreeMap<u32, SplitRead>,
    bytes: usize,
    cap_bytes: usize,
    max_rate: MaxRate,
    /// Where it says what it has read and no plan has: for a job with a directory, which keeps this if the program panics.
    unplanned: Option<Unplanned>,
    alignment: Rc<Alignment>,
    /// The splits that are paused. `None`: none has ever been.
    paused: Option<BTreeSet<u32>>,
    outbox: Outbox,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

impl<T: Data> Input<T> {
    fn new<S: Source<Item = T>>(
        graph: &Graph<'_>,
        number: u32,
        reader: Box<dyn SourceReader<T>>,
        source: &S,
        wants_origins: Rc<OriginsWanted>,
    ) -> Self {
        Input {
            reader,
            name: source.name(),
            source: number,
            worker: graph.flow.scope.index(),
            peers: graph.flow.scope.peers(),
            interval: graph.config.interval,
            splits: BTreeMap::new(),
            wants_origins,
            open: None,
            live: false,
            held: false,
            ended: false,
            sealed: VecDeque::new(),
            jobs: VecDeque::new(),
            ranges: Vec::new(),
            read: BTreeMap::new(),
            bytes: 0,
            cap_bytes: graph.config.batch_bytes,
            max_rate: source.max_rate(),
            unplanned: graph.config.runtime.checkpoint.is_some().then(|| graph.places.unplanned.clone()),
            alignment: graph.alignment.clone(),
            paused: None,
            outbox: graph.outbox.clone(),
            waiting: graph.outputs.waiting.clone(),
        }
    }

    fn command(&mut self, command: Command) -> Result<()> {
        self.alignment.command(self.source, &command);
        match command {
            Command::Assign { source, split_id, split, from }
                if source == self.source && split_id as usize % self.peers == self.worker =>
            {
                if !matches!(split, Split::Correction { .. }) {
                    self.reader.assign(split_id, &split, from)?;
                }
                self.splits.insert(split_id, Rc::new(split));
            }
            Command::Restore { run, .. } => self.reader.begin(run)?,
            Command::Open { time, live, mut limits } => {
                if let Some(open) = &mut self.open {
                    open.downgrade(&time);
                }
                self.live = live;
                let limits = limits.remove(&self.source).unwrap_or_default().capped(self.max_rate.first_batch);
                self.reader.limit(limits.capped(quota(self.max_rate.per_second, time, self.interval)));
            }
            Command::Seal { span, ranges, live, hold, last, mut limits } => {
                let mine = |r: &Range| r.source == self.source && r.split_id as usize % self.peers == self.worker;
                let given = ranges.iter().filter(|r| mine(r)).map(|r| (r.split_id, r.split_range())).collect();
                if let Some(unplanned) = &self.unplanned {
                    unplanned.read(span.first, ranges.into_iter().filter(mine));
                }
                let limits = limits.remove(&self.source).unwrap_or_default();
                self.jobs.push_back(Job { span, given, live, hold, last, limits });
            }
            Command::Committed(ranges) => {
                let mine = |r: &&Range| r.source == self.source && r.split_id as usize % self.peers == self.worker;
                ranges.iter().filter(mine).for_each(|r| self.reader.on_committed(r.split_id, &r.split_range()));
            }
            Command::Live => self.live = true,
            Command::Close { record, .. } => {
                point(FaultPoint::Close);
                if let Some(unplanned) = &self.unplanned {
                    unplanned.planned(record.plan.time);
                }
                drop(self.sealed.pop_front());
            }
            Command::End => self.open = None,
            _ => {}
        }
        Ok(())
    }

    /// Does the next step. Returns `true` if more can be done immediately.
    fn work(&mut self, emit: &mut dyn FnMut(&Capability<BatchTime>, Rows<T>)) -> Result<bool> {
        let Some(open) = self.open.clone() else { return Ok(false) };
        let (mut given, mut bytes) = (false, 0);
        let read = &mut self.read;
        let splits = self.wants_origins.get().then_some(&self.splits);
        let mut give = |split_id, rows: Vec<T>, size| {
            given |= !rows.is_empty();
            let split = read.entry(split_id).or_default();
            split.records += rows.len() as u64;
            split.bytes += size as u64;
            bytes += size;
            let split = splits.and_then(|splits| splits.get(&split_id));
            let origins = split.map(|split| Origins::of(split.clone()));
            emit(&open, Rows::new(PartitionId { branch: 0, index: split_id }, rows).with_origins(origins));
        };
        let mut again = false;
        let mut finished = false;
        if let Some(job) = self.jobs.front_mut() {
            finished = read_given(&mut *self.reader, &mut job.given, self.source, &mut self.ranges, &mut give)?;
        } else if self.live && !self.held && !self.ended && self.bytes < self.cap_bytes {
            if let Some(ahead) = self.alignment.changed(self.source, &mut self.paused) {
                self.reader.pause(ahead);
            }
            again = self.reader.read(&mut give)?;
            point(FaultPoint::Read);
        }
        let mut sealed = Sealed::default();
        if finished && self.jobs[0].live && !self.ended {
            sealed = if self.jobs[0].last { self.reader.seal_last(&mut give)? } else { self.reader.seal(&mut give)? };
        }
        if let Some(unplanned) = self.unplanned.as_ref().filter(|_| given && self.jobs.is_empty()) {
            let ranges = self.reader.read_so_far().into_iter().map(|(split_id, at)| self.range(split_id, at));
            unplanned.read(*open.time(), ranges.collect::<Result<Vec<_>>>()?);
        }
        again |= given && !finished && (self.paused.is_some() || !self.jobs.is_empty());
        self.bytes += bytes;
        if finished {
            self.seal(sealed)?;
            again = true;
        }
        Ok(again)
    }

    /// A position of a reader as plans have it.
    fn range(&self, split_id: u32, at: std::ops::Range<i64>) -> Result<Range> {
        let Some(split) = self.splits.get(&split_id) else {
            let reason =
                format!("its reader tells of split id {split_id}, which was not assigned to it; use the id that `assign` gave");
            return Err(Error::source(self.name.as_str(), reason));
        };
        let mut split = (**split).clone();
        if let Split::Shard { span, .. } = &mut split
            && let Some(now) = self.reader.span(split_id, &at)
        {
            *span = now;
        }
        Ok(Range::new(self.source, split_id, SplitRange { split, from: at.start, until: at.end }))
    }

    fn seal(&mut self, sealed: Sealed) -> Result<()> {
        point(FaultPoint::Seal);
        for (split_id, at) in sealed.ranges {
            let range = self.range(split_id, at)?;
            self.ranges.push(range);
        }
        let lost = self.reader.data_loss().into_iter().map(|(split_id, at)| self.range(split_id, at)).collect::<Result<_>>()?;
        let mut read = std::mem::take(&mut self.read);
        self.alignment.sealed(self.splits.keys(), &read, &sealed.lag);
        for (split_id, lag) in sealed.lag {
            let split = read.entry(split_id).or_default();
            split.lag = Some(lag);
        }
        for (split_id, oldest) in sealed.oldest {
            let split = read.entry(split_id).or_default();
            split.oldest = Some(oldest).filter(|_| split.lag != Some(0));
        }
        let job = self.jobs.pop_front().expect("a job that is finished");
        if let Some(unplanned) = &self.unplanned {
            unplanned.read(job.span.first, self.ranges.iter().cloned());
        }
        let open = self.open.as_mut().expect("a batch is open");
        self.sealed.push_back(open.clone());
        let next = self.interval.after(job.span.end(self.interval.millis()));
        // After the last batch nothing is read, because the records would not be in a plan and would be lost.
        (self.held, self.ended) = (job.hold, self.ended | job.last);
        open.downgrade(&next);
        self.bytes = 0;
        self.reader.limit(job.limits.capped(quota(self.max_rate.per_second, next, self.interval)));
        for event in self.reader.receiver_events() {
            let (source, name, worker) = (self.source, self.name.clone(), self.worker);
            self.outbox.send(Event::Receiver { info: ReceiverInfo { source, name, worker, event } });
        }
        self.outbox.send(Event::Sealed {
            worker: self.worker,
            source: self.source,
            time: job.span.first,
            ranges: std::mem::take(&mut self.ranges),
            lost,
            read,
            trouble: self.reader.health().err(),
            waiting: self.waiting.load(std::sync::atomic::Ordering::Relaxed) as u64,
        });
        Ok(())
    }
}

/// How many records a rate allows the batch that closes at `t`. Over any second they add up to the rate.
pub(super) fn quota(per_second: Option<u64>, t: BatchTime, interval: Interval) -> Option<u64> {
    let until = |ms: u64, rate: u64| rate as u128 * ms as u128 / 1_000;
    per_second.map(|rate| (until(t.millis(), rate) - until(t.millis().saturating_sub(interval.millis()), rate)) as u64)
}

/// Reads given ranges as far as possible without waiting. `true`: all are complete.
fn read_given<T: 'static>(
    reader: &mut dyn SourceReader<T>,
    given: &mut VecDeque<(u32, SplitRange)>,
    source: u32,
    done: &mut Vec<Range>,
    emit: &mut Emit<'_, T>,
) -> Result<bool> {
    while let Some((split_id, range)) = given.front() {
        if matches!(range.split, Split::Correction { .. }) {
            let letters = letters(&range.split).map_err(Error::bug)?;
            let bytes = letters.iter().map(|letter| letter.raw.len()).sum();
            let rows = corrected_rows::rows(&letters).ok_or_else(|| Error::bug("a source that does not take records back"))?;
            emit(*split_id, rows, bytes);
        } else if !reader.read_range(*split_id, range, emit)? {
            return Ok(false);
        }
        done.extend(given.pop_front().map(|(split_id, range)| Range::new(source, split_id, range)));
    }
    Ok(true)
}

impl<'s> StreamingContext<'s> {
    /// The rows of a source of your own. Every source of tidemill attaches this way. Flink's `fromSource`.
    ///
    /// The [`connector::source`](crate::connector::source) page draws which calls a source gets, and when.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidemill::connector::source::*;
    /// use tidemill::prelude::*;
    ///
    /// /// The numbers 0 to 99, ten a batch.
    /// struct Hundred;
    ///
    /// impl Source for Hundred {
    ///     type Item = i64;
    ///     fn name(&self) -> String {
    ///         "a hundred numbers".into()
    ///     }
    ///     fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
    ///         Ok(Box::new(Plans { next: 0 }))
    ///     }
    ///     fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
    ///         Ok(Box::new(Numbers))
    ///     }
    /// }
    ///
    /// struct Plans {
    ///     next: i64,
    /// }
    ///
    /// impl SplitEnumerator for Plans {
    ///     fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
    ///         self.next = read.first().map_or(0, |split| split.from);
    ///         Ok(())
    ///     }
    ///     fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
    ///         Ok(Vec::new())
    ///     }
    ///     fn plan(&mut self) -> tidemill::Result<Vec<SplitRange>> {
    ///         let from = self.next;
    ///         self.next += 10;
    ///         Ok(vec![SplitRange { split: Split::custom("numbers", 0), from, until: from + 10 }])
    ///     }
    ///     fn planned(&self) -> bool {
    ///         true
    ///     }
    ///     fn bounded(&self) -> bool {
    ///         true
    ///     }
    ///     fn finished(&self) -> bool {
    ///         self.next >= 100
    ///     }
    /// }
    ///
    /// struct Numbers;
    ///
    /// impl SourceReader<i64> for Numbers {
    ///     fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> tidemill::Result<()> {
    ///         Ok(())
    ///     }
    ///     fn read(&mut self, _: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
    ///         Ok(false)
    ///     }
    ///     fn seal(&mut self, _: &mut Emit<'_, i64>) -> tidemill::Result<Sealed> {
    ///         Ok(Sealed::default())
    ///     }
    ///     fn read_range(&mut self, id: u32, range: &SplitRange, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
    ///         emit(id, (range.from..range.until).collect(), 80);
    ///         Ok(true)
    ///     }
    /// }
    ///
    /// let sums = MemorySink::new();
    /// let out = sums.clone();
    /// StreamingContext::builder("hundred", millis(5)).run(move |ssc| {
    ///     ssc.from_source(Hundred).reduce(|a, b| a + b).to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(sums.rows(), (0..10).map(|batch| 45 + 100 * batch).collect::<Vec<i64>>());
    /// ```
    #[doc(alias = "fromSource")]
    #[track_caller]
    pub fn from_source<S: Source + 'static>(&self, source: S) -> DStream<'s, S::Item> {
        self.read(&OperatorId::of("from_source"), source)
    }

    /// As [`from_source`](StreamingContext::from_source), by the verb of another source.
    pub(crate) fn read<S: Source + 'static>(&self, operator: &OperatorId, source: S) -> DStream<'s, S::Item> {
        let graph = &self.graph;
        let name = source.name();
        graph.register_operator::<S::Item>(operator, &name);
        // The planner takes those of the rehearsal.
        let made = (graph.dry && graph.on_worker_0()).then(|| source.enumerator()).transpose();
        let enumerator = made.unwrap_or_else(|e| {
            graph.report(operator, e);
            None
        });
        let number =
            graph.source(SourceHalf { name, enumerator, read: false, takes_records: corrected_rows::takes_records::<S::Item>() });
        let (own, operator) = (graph.clone(), operator.clone());
        let rows = move |wanted| {
            own.reads(number);
            source_operator(&own, &operator, number, &source, wanted)
        };
        DStream::of_source(graph, rows, number)
    }
}

fn source_operator<'s, S: Source>(
    graph: &Rc<Graph<'s>>,
    operator: &OperatorId,
    number: u32,
    source: &S,
    wants_origins: Rc<OriginsWanted>,
) -> RowStream<'s, S::Item> {
    let scope = graph.flow.scope;
    let mut builder = OperatorBuilder::new(operator.to_string(), scope);
    let (out, stream) = builder.new_output::<Rows<S::Item>>();
    let mut out = OutputBuilder::<_, NoopBuilder<Rows<S::Item>>>::from(out);
    let address = builder.operator_info().address;
    let queue = CommandQueue::new(scope, address.clone());
    if graph.dry {
        builder.build(|_caps| |_: &[_]| {});
        return stream;
    }
    let wake = scope.worker().sync_activator_for(address.to_vec());
    let waker: Waker = Arc::new(move || {
        // An operator that has ended needs no waking.
        let _ = wake.activate();
    });
    let (here, process) = ((scope.index(), scope.peers()), graph.config.runtime.process.into());
    let context = ReaderContext::new(waker, here, process, number, graph.places.clone());
    let reader = match source.reader(&context) {
        Ok(reader) => reader,
        Err(e) => {
            graph.report(operator, e);
            builder.build(|_caps| |_: &[_]| {});
            return stream;
        }
    };
    graph.port(Box::new(queue.clone()));
    graph.alignment.wakes(queue.activator.clone());
    let mut input = Some(Input::new(graph, number, reader, source, wants_origins));
    let meter = Meter::new(operator, scope, builder.index(), &[]);
    let fail = graph.fail.clone();
    builder.build(move |mut caps| {
        input.as_mut().expect("it was just made").open = caps.pop();
        move |_| {
            let Some(state) = &mut input else { return };
            let mut turn = meter.turn();
            state.open.iter().for_each(|open| turn.enter(*open.time()));
            let mut out = out.activate();
            let mut step = || -> Result<bool> {
                while let Some(command) = queue.commands.borrow_mut().pop_front() {
                    state.command(command)?;
                }
                state.work(&mut |cap, mut rows| {
                    if !rows.rows.is_empty() {
                        // A command may have opened another batch.
                        turn.enter(*cap.time());
                        turn.gave(0, rows.rows.len());
                        out.session_with_builder(cap).give_container(&mut rows);
                    }
                })
            };
            match step() {
                Ok(true) => queue.activator.activate(),
                Ok(false) => {}
                Err(e) => fail(e),
            }
            if state.open.is_none() && state.sealed.is_empty() {
                input = None;
            }
        }
    });
    stream
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::source::{SplitEnumerator, SplitOffset};

    #[test]
    fn a_rate_is_kept_over_a_second_however_short_the_batches() {
        let interval = Interval::new(std::time::Duration::from_millis(5)).unwrap();
        let of = |t| quota(Some(30), BatchTime::from_millis(t), interval).unwrap();
        assert_eq!((1..=200).map(|i| of(i * 5)).sum::<u64>(), 30);
        assert_eq!((1..=200).map(|i| of(i * 5)).max(), Some(1));
        assert_eq!(quota(None, BatchTime::from_millis(5), interval), None);
    }

    /// A source that always has a row.
    struct Endless;

    impl Source for Endless {
        type Item = i64;

        fn name(&self) -> String {
            "endless".into()
        }

        fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
            Ok(Box::new(Endless))
        }

        fn reader(&self, _: &ReaderContext) -> Result<Box<dyn SourceReader<i64>>> {
            Ok(Box::new(EndlessReader { split_id: None, from: 0, next: 0 }))
        }
    }

    impl SplitEnumerator for Endless {
        fn restore(&mut self, _: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
            Ok(())
        }

        fn start(&mut self) -> Result<Vec<SplitOffset>> {
            Ok(vec![SplitOffset { split: Split::custom("endless", 0), from: 0 }])
        }
    }

    struct EndlessReader {
        split_id: Option<u32>,
        from: i64,
        next: i64,
    }

    impl SourceReader<i64> for EndlessReader {
        fn assign(&mut self, split_id: u32, _: &Split, _: Option<i64>) -> Result<()> {
            self.split_id = Some(split_id);
            Ok(())
        }

        fn read(&mut self, emit: &mut Emit<'_, i64>) -> Result<bool> {
            let Some(split_id) = self.split_id else { return Ok(false) };
            emit(split_id, vec![self.next], 8);
            self.next += 1;
            Ok(true)
        }

        fn seal(&mut self, _: &mut Emit<'_, i64>) -> Result<Sealed> {
            let from = std::mem::replace(&mut self.from, self.next);
            Ok(Sealed { ranges: self.split_id.map(|id| (id, from..self.next)).into_iter().collect(), ..Sealed::default() })
        }

        fn read_range(&mut self, _: u32, _: &SplitRange, _: &mut Emit<'_, i64>) -> Result<bool> {
            Ok(true)
        }
    }

    #[test]
    fn nothing_is_read_after_the_last_batch() {
        let seen = crate::connector::memory::MemorySink::new();
        let out = seen.clone();
        let job = StreamingContext::builder("endless", std::time::Duration::from_millis(1)).start(move |ssc| {
            ssc.from_source(Endless).to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        while seen.rows().is_empty() {
            std::thread::yield_now();
        }
        let summary = job.stop_gracefully().unwrap();
        let (rows, records) = (seen.rows(), summary.records);
        assert!(rows == (0..records as i64).collect::<Vec<_>>(), "{} rows of {records} records", rows.len());
    }
}
