//! The output thread of a process: whole batches, t before t+1, within t in program order. Failed writes are retried.
//!
//! A batch is complete when every output has written it. If an output flushes later, the thread writes later batches meanwhile.
//! An exactly-once output commits groups of batches: those that were written within a moment, or while the last commit ran. A batch
//! of a checkpoint ends its group. *Invariant:* when it commits, an exactly-once output has the batches of the group and no later one.
//! So it gets a batch when the group takes it, after all other outputs have written the batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::api::config::{Config, RetryLimits};
use crate::connector::retry::{Failed, attempt, pause, retry};
use crate::connector::sink::SinkBatch;
use crate::core::error::Result;
use crate::core::fault::{FaultPoint, point};
use crate::core::plan::RunId;
use crate::core::time::BatchTime;
use crate::engine::output::{Delivery, OutputSpec};
use crate::engine::tick::Tick;
use crate::job::output_reports::OutputReports;
use crate::job::protocol::Event;
use crate::metrics::Accumulators;

/// At most this time, a group waits for more batches, if the batch interval is shorter than that.
const LINGER: Duration = Duration::from_millis(50);
/// A group begins its commit after this time at the latest, however many batches are there.
const LONGEST_GROUP: Duration = Duration::from_millis(200);
/// The most batches of a group, and about the most bytes.
const GROUP_BATCHES: usize = 8;
const GROUP_BYTES: usize = 8 << 20;

/// One batch of one output: how many workers have put their rows into its queue.
struct Pending {
    tick: Arc<Tick>,
    senders: usize,
    bytes: usize,
}

/// A batch that an output has written and that has not arrived.
struct Unflushed {
    output: usize,
    batch: SinkBatch,
    bytes: usize,
}

/// A batch that every output has written.
struct Written {
    batch: SinkBatch,
    /// Of the outputs that commit.
    bytes: usize,
    /// A checkpoint waits for it.
    checkpoint: bool,
    /// When the first output began to write it, and when the last one had written it.
    began: Instant,
    sent: Instant,
}

/// Batches that have arrived everywhere, and that are not all committed.
#[derive(Default)]
struct Group {
    began: Option<Instant>,
    batches: Vec<Written>,
}

/// The thread's state.
pub(crate) struct OutputThread {
    outputs: Vec<OutputSpec>,
    run: Option<RunId>,
    pending: BTreeMap<(BatchTime, usize), Pending>,
    /// The totals of the accumulators after the batches that are not written; `None` if the program has no accumulators.
    totals: Option<BTreeMap<BatchTime, Accumulators>>,
    /// The output that is next, and the batch, if that has begun.
    turn: (Option<Written>, usize),
    /// Batches that outputs have written and that have not arrived, in order.
    unflushed: VecDeque<Unflushed>,
    written: VecDeque<Written>,
    reports: OutputReports,
    /// Whether somebody may ask for rows that came out.
    shows: bool,
    /// When the last batch had arrived everywhere.
    flushed: Instant,
    /// Time spent writing, flushing and committing since the last report; overlaps count once.
    worked: Duration,
    group: Group,
    linger: Duration,
    process: usize,
    limits: RetryLimits,
    waiting: Arc<AtomicUsize>,
    /// The job has ended: batches that are not written are dropped.
    stop: Arc<AtomicBool>,
}

impl OutputThread {
    pub fn new(config: &Config, waiting: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Self {
        OutputThread {
            outputs: Vec::new(),
            run: None,
            pending: BTreeMap::new(),
            totals: None,
            turn: (None, 0),
            unflushed: VecDeque::new(),
            written: VecDeque::new(),
            reports: OutputReports::default(),
            shows: config.runtime.listen.is_some(),
            flushed: Instant::now(),
            worked: Duration::ZERO,
            group: Group::default(),
            linger: if config.interval.duration() < LINGER { LINGER } else { Duration::ZERO },
            process: config.runtime.process.into(),
            limits: config.retry_limits(),
            waiting,
            stop,
        }
    }

    /// Works until the workers have ended. `post` gets each batch that every output has completed, and the bytes that wait.
    pub fn run(mut self, deliveries: Receiver<Delivery>, post: impl Fn(Event)) -> Result<()> {
        loop {
            let next = match self.next_deadline() {
                None => deliveries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => deliveries.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(delivery) => self.receive(delivery, &post)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.flush(&post)?;
                    if self.group.began.is_some_and(|began| began.elapsed() >= self.linger) {
                        self.commit(&post)?;
                    }
                }
                // A job that ends in order has waited for the last commit.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn receive(&mut self, delivery: Delivery, post: &impl Fn(Event)) -> Result<()> {
        match delivery {
            // Each worker has built the same: the first one's are used.
            Delivery::Built { outputs, accumulates } if self.outputs.is_empty() => {
                // A process that writes nothing needs no totals.
                let writes = outputs.iter().any(|output| output.senders > 0);
                self.totals = (accumulates && writes).then(BTreeMap::new);
                self.outputs = outputs;
            }
            Delivery::Built { .. } => {}
            Delivery::Accumulated { time, accumulators } => {
                self.totals.as_mut().and_then(|totals| totals.insert(time, accumulators));
            }
            Delivery::Begin(run) => {
                self.run = Some(run);
                let mut progress = Vec::new();
                for output in self.outputs.iter_mut().filter(|o| o.transactional.is_some()) {
                    match output.task.begin(run, &self.stop) {
                        // The job is over: the sink gave up because it was told so.
                        Err(_) if self.stop.load(Ordering::Relaxed) => return Ok(()),
                        found => progress.extend(found?),
                    }
                }
                post(Event::SinksReady { progress });
            }
            Delivery::Rows { output, tick, bytes } => {
                let key = (tick.time, output);
                let p = self.pending.entry(key).or_insert_with(|| Pending { tick, senders: 0, bytes: 0 });
                p.senders += 1;
                p.bytes += bytes;
            }
        }
        while let Some(batch) = self.step()? {
            self.written.push_back(batch);
            self.flush(post)?;
        }
        Ok(())
    }

    /// When there is something to do without a delivery.
    fn next_deadline(&self) -> Option<Instant> {
        let poll = self.written.front().map(|w| Instant::now() + pause(w.sent));
        let commit = self.group.began.map(|began| began + self.linger);
        poll.into_iter().chain(commit).min()
    }

    /// Writes complete batches in order. Returns a batch that every output has written.
    fn step(&mut self) -> Result<Option<Written>> {
        loop {
            let Some(o) = (self.turn.1..self.outputs.len()).find(|o| self.outputs[*o].senders > 0) else {
                self.turn.1 = 0;
                let written = self.turn.0.take();
                if let (Some(written), Some(totals)) = (&written, &mut self.totals) {
                    totals.remove(&written.batch.time());
                }
                return Ok(written);
            };
            // Each output gets every batch in order, so the first it has is the next.
            let time = match &self.turn.0 {
                Some(written) => written.batch.time(),
                None => match self.pending.keys().find(|(_, output)| *output == o) {
                    Some((t, _)) => *t,
                    None => return Ok(None),
                },
            };
            let whole = |p: &Pending| p.senders >= self.outputs[o].senders;
            let accumulators = match &self.totals {
                None => Some(Accumulators::default()),
                Some(totals) => totals.get(&time).cloned(),
            };
            let Some(accumulators) = accumulators else { return Ok(None) };
            if !self.pending.get(&(time, o)).is_some_and(whole) || self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let Pending { tick, bytes, .. } = self.pending.remove(&(time, o)).expect("found above");
            let (checkpoint, began) = (tick.snapshot.is_some(), Instant::now());
            let batch = SinkBatch { tick, run: self.run, accumulators };
            self.reports.begin(time, o, bytes);
            if self.outputs[o].transactional.is_none() && !self.write(o, &batch, bytes)? {
                return Ok(None);
            }
            self.worked += began.elapsed();
            let new = || Written { batch, bytes: 0, checkpoint: false, began, sent: began };
            let written = self.turn.0.get_or_insert_with(new);
            (written.checkpoint, written.sent) = (written.checkpoint | checkpoint, Instant::now());
            if self.outputs[o].transactional.is_some() {
                written.bytes += bytes;
            }
            self.turn.1 = o + 1;
        }
    }

    /// Writes one batch of one exactly-once output. `false`: the job is over, and the batch is not written.
    fn write_transactional(&mut self, o: usize, batch: &SinkBatch) -> Result<bool> {
        let time = batch.time();
        point(FaultPoint::Output);
        let OutputSpec { name, task, .. } = &mut self.outputs[o];
        let tries = retry(name, self.limits, &self.stop, || attempt(name, time, || task.write(batch)))?;
        if let Some(tries) = tries {
            self.reports.counted(time, o, task.row_count(time));
            // The sink has what it needs until the commit.
            if self.shows {
                self.reports.shows(time, o, task.first_rows(time));
            }
            task.release(time);
            self.reports.tried(time, o, tries);
            self.reports.written(time, o);
        }
        Ok(tries.is_some())
    }

    /// Writes one batch of another output. `false`: the job is over, and the batch is not written.
    fn write(&mut self, o: usize, batch: &SinkBatch, bytes: usize) -> Result<bool> {
        let time = batch.time();
        point(FaultPoint::Output);
        let OutputSpec { name, task, .. } = &mut self.outputs[o];
        let done = attempt(name, time, || {
            task.write(batch)?;
            task.flush(time)
        })?;
        self.reports.counted(time, o, task.row_count(time));
        if self.shows {
            self.reports.shows(time, o, task.first_rows(time));
        }
        if let Ok(true) = done
            && !self.unflushed.iter().any(|u| u.output == o)
        {
            task.release(time);
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.reports.done(time, o);
            return Ok(true);
        }
        self.unflushed.push_back(Unflushed { output: o, batch: batch.clone(), bytes });
        done.map_or_else(|failed| self.rewrite(o, failed), |_| Ok(true))
    }

    /// Writes again, in order, all batches of an output that have not arrived, after one failed; and waits until they have
    /// arrived. `false`: the job is over.
    fn rewrite(&mut self, o: usize, failed: Failed) -> Result<bool> {
        let OutputSpec { name, task, .. } = &mut self.outputs[o];
        let batches: Vec<SinkBatch> = self.unflushed.iter().filter(|u| u.output == o).map(|u| u.batch.clone()).collect();
        let mut failed = Some(failed);
        let tries = retry(name, self.limits, &self.stop, || {
            if let Some(failed) = failed.take() {
                return Ok(Err(failed));
            }
            for batch in &batches {
                if let Err(failed) = attempt(name, batch.time(), || task.write(batch))? {
                    return Ok(Err(failed));
                }
            }
            let began = Instant::now();
            for time in batches.iter().map(SinkBatch::time) {
                let arrived = || loop {
                    if task.flush(time)? {
                        return Ok(());
                    }
                    std::thread::sleep(pause(began));
                };
                if let Err(failed) = attempt(name, time, arrived)? {
                    return Ok(Err(failed));
                }
            }
            Ok(Ok(()))
        })?;
        if let Some(tries) = tries {
            self.unflushed.retain(|u| {
                if u.output == o {
                    task.release(u.batch.time());
                    self.waiting.fetch_sub(u.bytes, Ordering::Relaxed);
                    self.reports.tried(u.batch.time(), o, tries);
                    self.reports.done(u.batch.time(), o);
                }
                u.output != o
            });
        }
        Ok(tries.is_some())
    }

    /// Passes on the batches that have arrived everywhere to the next commit. It follows at once if no output commits.
    fn flush(&mut self, post: &impl Fn(Event)) -> Result<()> {
        // A batch that a rewrite gave up has not arrived.
        while let Some(time) = self.written.front().map(|w| w.batch.time()).filter(|_| !self.stop.load(Ordering::Relaxed)) {
            while let Some((o, bytes)) = self.unflushed.front().filter(|u| u.batch.time() == time).map(|u| (u.output, u.bytes)) {
                let OutputSpec { name, task, .. } = &mut self.outputs[o];
                match attempt(name, time, || task.flush(time))? {
                    Ok(true) => {
                        task.release(time);
                        self.unflushed.pop_front();
                        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                        self.reports.done(time, o);
                    }
                    Ok(false) => return Ok(()),
                    Err(failed) => {
                        if !self.rewrite(o, failed)? {
                            return Ok(());
                        }
                    }
                }
            }
            let Some(batch) = self.written.pop_front() else { return Ok(()) };
            // What several batches wait for at once is counted once.
            self.worked += batch.sent.max(self.flushed).elapsed();
            self.flushed = Instant::now();
            self.join(batch, post)?;
        }
        Ok(())
    }

    /// Adds a batch to the group of the next commit.
    fn join(&mut self, batch: Written, post: &impl Fn(Event)) -> Result<()> {
        let began = Instant::now();
        for o in 0..self.outputs.len() {
            let OutputSpec { senders, transactional, .. } = &self.outputs[o];
            if *senders > 0 && transactional.is_some() && !self.write_transactional(o, &batch.batch)? {
                return Ok(());
            }
        }
        self.worked += began.elapsed();
        let began = *self.group.began.get_or_insert_with(Instant::now);
        self.group.batches.push(batch);
        let batches = &self.group.batches;
        let limits = self.outputs.iter().filter_map(|o| Some(o.transactional.as_ref()?.max_batches));
        let most = limits.min().unwrap_or(1).min(GROUP_BATCHES);
        let full = batches.len() >= most || bytes(batches) >= GROUP_BYTES;
        if full || batches.iter().any(|b| b.checkpoint) || began.elapsed() > LONGEST_GROUP {
            self.commit(post)?;
        }
        Ok(())
    }

    /// Commits the batches of the group, which is then empty.
    fn commit(&mut self, post: &impl Fn(Event)) -> Result<()> {
        let Group { batches, .. } = std::mem::take(&mut self.group);
        let Some(last) = batches.last().map(|b| &b.batch) else { return Ok(()) };
        let (began, checkpoint) = (Instant::now(), batches.iter().any(|b| b.checkpoint));
        for (o, OutputSpec { name, task, transactional, .. }) in self.outputs.iter_mut().enumerate() {
            if transactional.is_none() {
                continue;
            }
            let commit = || attempt(name, last.time(), || task.commit(last, checkpoint));
            let stopped = self.stop.load(Ordering::Relaxed);
            let tries = if stopped { None } else { retry(name, self.limits, &self.stop, commit)? };
            let Some(tries) = tries else { return Ok(()) };
            for time in batches.iter().map(|b| b.batch.time()) {
                self.reports.tried(time, o, tries);
                self.reports.done(time, o);
            }
        }
        let bytes = bytes(&batches);
        let waiting = self.waiting.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let (process, waiting) = (self.process, waiting as u64);
        self.worked += began.elapsed();
        for Written { batch, began, .. } in batches {
            let worked = std::mem::take(&mut self.worked);
            let (time, outputs) = (batch.time(), self.reports.take(batch.time()));
            post(Event::Written { process, time, waiting, ago: began.elapsed(), worked, outputs });
        }
        Ok(())
    }
}

/// What batches hold at outputs that commit.
fn bytes(batches: &[Written]) -> usize {
    batches.iter().map(|b| b.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::sink::FatalError;
    use crate::core::error::BoxError;
    use crate::core::plan::{Plan, Progress};
    use crate::engine::output::{OutputTask, TransactionalSpec};
    use crate::engine::tick::SnapshotScope;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    type Log = Arc<Mutex<Vec<String>>>;

    fn rows(output: usize, ms: u64, snapshot: Option<SnapshotScope>) -> Delivery {
        let plan = Plan { time: BatchTime::from_millis(ms), ranges: Vec::new(), shown: true };
        Delivery::Rows { output, tick: Arc::new(Tick { plan, snapshot, ..Tick::default() }), bytes: 0 }
    }

    /// Writes down what is asked of it.
    #[derive(Default)]
    struct Logged {
        name: &'static str,
        log: Log,
        /// How many of the first writes fail, and how many of the first commits.
        failing_writes: u32,
        failing_commits: u32,
        fatal: Option<&'static str>,
        /// What has arrived at each flush: `None` fails. The last one stays.
        arrived: VecDeque<Option<u64>>,
        latest: Option<Option<u64>>,
    }

    impl Logged {
        fn say(&self, what: impl Into<String>) {
            self.log.lock().unwrap().push(what.into());
        }

        fn spec(self, senders: usize) -> OutputSpec {
            OutputSpec { name: self.name.into(), senders, task: Box::new(self), transactional: None }
        }
    }

    impl OutputTask for Logged {
        fn write(&mut self, batch: &SinkBatch) -> Result<(), BoxError> {
            if self.failing_writes > 0 {
                self.failing_writes -= 1;
                return Err("no".into());
            }
            self.say(format!("{}@{}", self.name, batch.time().millis()));
            Ok(())
        }

        fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
            if let Some(next) = self.arrived.pop_front() {
                self.latest = Some(next);
            }
            match self.latest {
                None => Ok(true),
                Some(latest) => Ok(latest.ok_or("lost")? >= time.millis()),
            }
        }

        fn row_count(&self, time: BatchTime) -> u64 {
            time.millis() * 10
        }

        fn release(&mut self, time: BatchTime) {
            self.say(format!("release {}@{}", self.name, time.millis()));
        }

        fn begin(&mut self, run: RunId, _: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
            self.say(format!("begin {}", run.generation));
            Ok(Vec::new())
        }

        fn commit(&mut self, last: &SinkBatch, checkpoint: bool) -> Result<(), BoxError> {
            self.say(format!("commit {}{}", last.time().millis(), if checkpoint { " checkpoint" } else { "" }));
            match (self.failing_commits.checked_sub(1), self.fatal) {
                (Some(left), fatal) => {
                    self.failing_commits = left;
                    Err(fatal.map_or_else(|| "away".into(), |f| FatalError(f.into()).into()))
                }
                _ => Ok(()),
            }
        }
    }

    fn spec(name: &'static str, senders: usize, log: &Log, failing_writes: u32) -> OutputSpec {
        Logged { name, log: log.clone(), failing_writes, ..Logged::default() }.spec(senders)
    }

    /// The log without what is released.
    fn asked(log: &Log) -> Vec<String> {
        std::mem::take(&mut *log.lock().unwrap()).into_iter().filter(|l| !l.starts_with("release")).collect()
    }

    fn outputs(interval_ms: u64, tries: u32) -> OutputThread {
        let mut config = Config::new("j".into(), Duration::from_millis(interval_ms)).unwrap();
        config.output_tries = Some(tries);
        OutputThread::new(&config, Arc::default(), Arc::default())
    }

    fn out(report: &Event) -> Option<u64> {
        if let Event::Written { time, .. } = report { Some(time.millis()) } else { None }
    }

    /// What is said of batches 1 to n, the checkpoint's marked, to an exactly-once output whose first commits fail.
    fn committed(n: u64, snapshot: u64, failing_commits: u32, fatal: Option<&'static str>) -> (Vec<String>, Result<()>) {
        let log = Log::default();
        let (tx, rx) = channel();
        let spec = Logged { name: "a", log: log.clone(), failing_commits, fatal, ..Logged::default() }.spec(1);
        let transactional = Some(TransactionalSpec { sink: "a".into(), shards: 1, max_batches: 3 });
        tx.send(Delivery::Built { accumulates: false, outputs: vec![OutputSpec { transactional, ..spec }] }).unwrap();
        tx.send(Delivery::Begin(RunId { directory: 1, generation: 7 })).unwrap();
        (1..=n).for_each(|t| tx.send(rows(0, t, (t == snapshot).then_some(SnapshotScope::Changed))).unwrap());
        let said = log.clone();
        // The thread ends when it has nothing more to commit.
        let sender = Mutex::new(Some(tx));
        let end = outputs(1, 2).run(rx, move |report| {
            let Some(t) = out(&report) else { return };
            said.lock().unwrap().push(format!("out {t}"));
            if t == n {
                sender.lock().unwrap().take();
            }
        });
        (asked(&log), end)
    }

    #[test]
    fn an_exactly_once_output_is_out_when_its_group_is_committed() {
        let (log, end) = committed(5, 4, 1, None);
        end.unwrap();
        let expected = [
            "begin 7",
            "a@1",
            "a@2",
            "a@3",
            "commit 3",
            "commit 3",
            "out 1",
            "out 2",
            "out 3",
            "a@4",
            "commit 4 checkpoint",
            "out 4",
            "a@5",
            "commit 5",
            "out 5",
        ];
        assert_eq!(log, expected, "three are the most, a checkpoint ends a group, and so does waiting");
    }

    /// A later batch waits at another output: its rows are not there, or have not arrived.
    #[test]
    fn a_commit_has_no_rows_of_a_later_batch() {
        for late in [None, Some(1)] {
            let log = Log::default();
            let (tx, rx) = channel();
            let once = spec("a", 1, &log, 0);
            let transactional = Some(TransactionalSpec { sink: "a".into(), shards: 1, max_batches: 8 });
            let plain = Logged { name: "b", log: log.clone(), latest: late.map(Some), ..Logged::default() };
            let outputs_of = vec![OutputSpec { transactional, ..once }, plain.spec(1)];
            tx.send(Delivery::Built { accumulates: false, outputs: outputs_of }).unwrap();
            tx.send(Delivery::Begin(RunId { directory: 1, generation: 7 })).unwrap();
            [(0, 1), (1, 1), (0, 2)].into_iter().for_each(|(o, t)| tx.send(rows(o, t, None)).unwrap());
            if late.is_some() {
                tx.send(rows(1, 2, None)).unwrap();
            }
            let sender = Mutex::new(Some(tx));
            outputs(1, 2)
                .run(rx, |report| {
                    if out(&report) == Some(1) {
                        sender.lock().unwrap().take();
                    }
                    let Event::Written { outputs, .. } = report else { return };
                    let commits: Vec<bool> = outputs.iter().map(|report| !report.commit_time.is_zero()).collect();
                    assert_eq!(commits, [true, false], "only the first output commits");
                    assert!(outputs.iter().all(|report| report.commit_time <= report.time && report.first_rows.is_empty()));
                    assert_eq!(outputs.iter().map(|report| report.rows).collect::<Vec<_>>(), [10, 10], "of the first batch");
                })
                .unwrap();
            let before: Vec<String> = asked(&log).into_iter().take_while(|l| !l.starts_with("commit")).collect();
            assert!(before.contains(&"a@1".into()) && !before.contains(&"a@2".into()), "{late:?}: {before:?}");
        }
    }

    #[test]
    fn a_final_error_is_not_tried_again() {
        let (log, end) = committed(1, 1, 1, Some("fenced"));
        let e = end.unwrap_err().to_string();
        assert!(e.contains("fenced") && e.contains("tried 1 times"), "{e}");
        assert_eq!(log.iter().filter(|l| l.starts_with("commit")).count(), 1);
    }

    /// What is written and complete of three batches whose rows arrive as the script says at each flush.
    fn delivered(script: &[Option<u64>], tries: u32) -> (Vec<String>, Result<()>) {
        let log = Log::default();
        let (tx, rx) = channel();
        let arrived = script.iter().copied().collect();
        let first = Logged { name: "a", log: log.clone(), arrived, ..Logged::default() };
        tx.send(Delivery::Built { accumulates: false, outputs: vec![first.spec(1), spec("b", 1, &log, 0)] }).unwrap();
        (1..=3).for_each(|t| (0..2).for_each(|o| tx.send(rows(o, t, None)).unwrap()));
        let (said, sender) = (log.clone(), Mutex::new(Some(tx)));
        let end = outputs(100, tries).run(rx, move |report| {
            let Some(t) = out(&report) else { return };
            said.lock().unwrap().push(format!("out {t}"));
            if t == 3 {
                sender.lock().unwrap().take();
            }
        });
        (asked(&log), end)
    }

    #[test]
    fn batches_are_sent_while_others_are_on_their_way() {
        let (log, end) = delivered(&[Some(0), Some(0), Some(0), Some(0), Some(0), Some(1), Some(1), Some(2), Some(3)], 2);
        end.unwrap();
        assert_eq!(log, ["a@1", "b@1", "a@2", "b@2", "a@3", "b@3", "out 1", "out 2", "out 3"]);
    }

    #[test]
    fn unacknowledged_batches_are_sent_again_in_order() {
        let (log, end) = delivered(&[Some(0), Some(0), Some(0), Some(0), Some(0), Some(1), None, Some(3)], 2);
        end.unwrap();
        let again = ["a@1", "b@1", "a@2", "b@2", "a@3", "b@3", "out 1", "a@2", "a@3", "out 2", "out 3"];
        assert_eq!(log, again, "the first is out, the others go again, and only to where they are missing");
        let (log, end) = delivered(&[Some(0), Some(0), Some(0), None, None], 2);
        let e = end.unwrap_err().to_string();
        assert!(e.contains('a') && e.contains(".001: ") && e.contains("lost") && e.contains("tried 2 times"), "{e}");
        assert_eq!(log, ["a@1", "b@1", "a@2", "b@2", "a@1", "a@2"]);
    }

    #[test]
    fn batches_leave_in_order_and_outputs_in_program_order() {
        let log = Log::default();
        let (tx, rx) = channel();
        tx.send(Delivery::Built {
            accumulates: false,
            outputs: vec![spec("a", 2, &log, 0), spec("b", 0, &log, 0), spec("c", 1, &log, 1)],
        })
        .unwrap();
        for (o, t) in [(2, 1), (0, 1), (0, 2), (2, 2), (0, 2), (0, 1), (2, 3)] {
            tx.send(rows(o, t, None)).unwrap();
        }
        drop(tx);
        let outs = Mutex::new(Vec::new());
        outputs(100, 3).run(rx, |report| outs.lock().unwrap().extend(out(&report))).unwrap();
        assert_eq!(asked(&log), ["a@1", "c@1", "a@2", "c@2"]);
        assert_eq!(*outs.lock().unwrap(), [1, 2], "batch 3 is not whole");
    }

    #[test]
    fn an_output_that_keeps_failing_stops_the_job_by_name() {
        let log = Log::default();
        let (tx, rx) = channel();
        tx.send(Delivery::Built { accumulates: false, outputs: vec![spec("save", 1, &log, 9)] }).unwrap();
        tx.send(rows(0, 7, None)).unwrap();
        drop(tx);
        let e = outputs(100, 2).run(rx, |_| panic!("it never was out")).unwrap_err().to_string();
        assert!(e.contains("save") && e.contains(".007: ") && e.contains("tried 2 times"), "{e}");
    }
}
