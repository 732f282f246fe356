//! The output thread of a process: whole batches, t before t+1, within t in program order. Tries again what fails.
//!
//! A batch is out when every output is through it. Where rows are sent somewhere, that means arrived; the next batches are sent
//! meanwhile. Where an output is exactly once it means committed, for groups of batches: as many as arrive within a moment or
//! while the last commit ran. A batch of a checkpoint ends its group.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::connector::retry::{Failed, again, attempt, pause};
use crate::core::error::Result;
use crate::core::plan::{Report, Tick};
use crate::core::time::BatchTime;
use crate::engine::output::{Completion, Delivery, OutputSpec};

/// Where batches are shorter than this, a group waits so long for more of them.
const LINGER: Duration = Duration::from_millis(50);
/// No group takes longer to begin its commit, however many batches are there.
const LONGEST_GROUP: Duration = Duration::from_millis(200);
/// No group holds more batches, nor many more bytes.
const GROUP_BATCHES: usize = 8;
const GROUP_BYTES: usize = 8 << 20;

/// What one output has of one batch so far.
struct Arrived {
    plan: Arc<Tick>,
    parts: usize,
    rows: Vec<Box<dyn Any + Send>>,
    bytes: usize,
}

/// A batch that every output has written.
struct Written {
    time: BatchTime,
    /// Of the outputs that commit.
    bytes: usize,
    /// A checkpoint waits for it.
    due: bool,
    /// When the first output began with it, and when the last had written it.
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
pub(crate) struct Outputs {
    outputs: Vec<OutputSpec>,
    arrived: BTreeMap<(BatchTime, usize), Arrived>,
    /// The output that is next, and the batch, if that has begun.
    turn: (Option<Written>, usize),
    /// What outputs have sent that is not known to have arrived, in order.
    sent: VecDeque<(usize, Arrived)>,
    written: VecDeque<Written>,
    /// When the last batch had arrived everywhere.
    settled: Instant,
    /// How long batches were written, under way one after the other, and committed, since that was last said.
    worked: Duration,
    group: Group,
    linger: Duration,
    process: usize,
    tries: u32,
    waiting: Arc<AtomicUsize>,
    /// The job is over: what is not out is given up.
    over: Arc<AtomicBool>,
}

impl Outputs {
    pub fn new(config: &Config, waiting: Arc<AtomicUsize>, over: Arc<AtomicBool>) -> Self {
        let linger = if config.interval.duration() < LINGER { LINGER } else { Duration::ZERO };
        let (process, tries) = (config.runtime.process.into(), config.output_tries);
        let (outputs, arrived, turn) = (Vec::new(), BTreeMap::new(), (None, 0));
        let (sent, written, group) = (VecDeque::new(), VecDeque::new(), Group::default());
        let (settled, worked) = (Instant::now(), Duration::ZERO);
        Outputs { outputs, arrived, turn, sent, written, settled, worked, group, linger, process, tries, waiting, over }
    }

    /// Works until the workers are gone. `post` is told each batch that every output is through, and what still waits.
    pub fn run(mut self, deliveries: Receiver<Delivery>, post: impl Fn(Report)) -> Result<()> {
        loop {
            let next = match self.until() {
                None => deliveries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => deliveries.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(delivery) => self.take(delivery, &post)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.settle(&post)?;
                    if self.group.began.is_some_and(|began| began.elapsed() >= self.linger) {
                        self.commit(&post)?;
                    }
                }
                // Whoever ends a job in order has waited for the last commit.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take(&mut self, delivery: Delivery, post: &impl Fn(Report)) -> Result<()> {
        match delivery {
            Delivery::Built { outputs } if self.outputs.is_empty() => self.outputs = outputs,
            Delivery::Built { .. } => {}
            Delivery::Begin(life) => {
                let mut progress = Vec::new();
                for output in &mut self.outputs {
                    if let Completion::Committed(promise) = &mut output.out {
                        progress.extend(promise.begin(life, &self.over)?);
                    }
                }
                post(Report::Ready { progress });
            }
            Delivery::Part { output, plan, rows, bytes } => {
                let a = self.arrived.entry((plan.time, output)).or_insert_with(|| Arrived {
                    plan,
                    parts: 0,
                    rows: Vec::new(),
                    bytes: 0,
                });
                a.parts += 1;
                a.rows.extend(rows);
                a.bytes += bytes;
            }
        }
        while let Some(batch) = self.step()? {
            self.written.push_back(batch);
            self.settle(post)?;
        }
        Ok(())
    }

    /// When something is to be done though nothing comes.
    fn until(&self) -> Option<Instant> {
        let look = self.written.front().map(|w| Instant::now() + pause(w.sent));
        let commit = self.group.began.map(|began| began + self.linger);
        look.into_iter().chain(commit).min()
    }

    /// Writes what is whole and whose turn it is. Returns a batch that every output has written.
    fn step(&mut self) -> Result<Option<Written>> {
        loop {
            let Some(o) = (self.turn.1..self.outputs.len()).find(|o| self.outputs[*o].parts > 0) else {
                self.turn.1 = 0;
                return Ok(self.turn.0.take());
            };
            // Each output gets every batch in order, so the first it has is the next.
            let time = match &self.turn.0 {
                Some(written) => written.time,
                None => match self.arrived.keys().find(|(_, output)| *output == o) {
                    Some((t, _)) => *t,
                    None => return Ok(None),
                },
            };
            let whole = |a: &Arrived| a.parts >= self.outputs[o].parts;
            if !self.arrived.get(&(time, o)).is_some_and(whole) {
                return Ok(None);
            }
            let a = self.arrived.remove(&(time, o)).expect("just looked at");
            if self.over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (due, bytes, began) = (a.plan.cut.is_some(), a.bytes, Instant::now());
            if !self.write(o, a)? {
                return Ok(None);
            }
            self.worked += began.elapsed();
            let written = self.turn.0.get_or_insert(Written { time, bytes: 0, due: false, began, sent: began });
            (written.due, written.sent) = (written.due | due, Instant::now());
            match self.outputs[o].out {
                Completion::Written => _ = self.waiting.fetch_sub(bytes, Ordering::Relaxed),
                Completion::Delivered(_) => {}
                Completion::Committed(_) => written.bytes += bytes,
            }
            self.turn.1 = o + 1;
        }
    }

    /// Writes one batch of one output. `false`: the job is over, and the batch is not out.
    fn write(&mut self, o: usize, mut a: Arrived) -> Result<bool> {
        let time = a.plan.time;
        crate::core::fault::point("output");
        let OutputSpec { name, write, out, .. } = &mut self.outputs[o];
        let mut work = || attempt(name, time, || if a.rows.is_empty() { Ok(()) } else { write(&a.plan, &mut a.rows) });
        if let Completion::Delivered(_) = out {
            let failed = work()?.err();
            self.sent.push_back((o, a));
            return failed.map_or(Ok(true), |failed| self.resend(o, failed));
        }
        let done = again(name, self.tries, &self.over, work)?;
        if let (Completion::Committed(promise), true) = (out, done) {
            // It keeps the rows until they are committed.
            promise.through(&a.plan);
        }
        Ok(done)
    }

    /// Writes again, in order, what an output has sent, after something of it failed; and waits until it has arrived. `false`:
    /// the job is over.
    fn resend(&mut self, o: usize, failed: Failed) -> Result<bool> {
        let OutputSpec { name, write, out, .. } = &mut self.outputs[o];
        let Completion::Delivered(receipts) = out else { return Ok(true) };
        let mut sent: Vec<_> = self.sent.iter_mut().filter(|(of, _)| *of == o).map(|(_, a)| a).collect();
        let mut failed = Some(failed);
        again(name, self.tries, &self.over, || {
            if let Some(failed) = failed.take() {
                return Ok(Err(failed));
            }
            for a in sent.iter_mut().filter(|a| !a.rows.is_empty()) {
                if let Err(failed) = attempt(name, a.plan.time, || write(&a.plan, &mut a.rows))? {
                    return Ok(Err(failed));
                }
            }
            let began = Instant::now();
            for time in sent.iter().map(|a| a.plan.time) {
                let arrived = || loop {
                    if receipts.arrived(time)? {
                        return Ok(());
                    }
                    std::thread::sleep(pause(began));
                };
                if let Err(failed) = attempt(name, time, arrived)? {
                    return Ok(Err(failed));
                }
            }
            Ok(Ok(()))
        })
    }

    /// Moves on what has arrived: to the next commit, which is at once where no output commits.
    fn settle(&mut self, post: &impl Fn(Report)) -> Result<()> {
        // What a resend gave up is in nobody's hands any more: it has not arrived.
        while let Some(time) = self.written.front().map(|w| w.time).filter(|_| !self.over.load(Ordering::Relaxed)) {
            while let Some((o, bytes)) = self.sent.front().filter(|(_, a)| a.plan.time == time).map(|(o, a)| (*o, a.bytes)) {
                let OutputSpec { name, out, .. } = &mut self.outputs[o];
                let Completion::Delivered(receipts) = out else { unreachable!("only these send") };
                match attempt(name, time, || receipts.arrived(time))? {
                    Ok(true) => {
                        self.sent.pop_front();
                        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                    }
                    Ok(false) => return Ok(()),
                    Err(failed) => {
                        if !self.resend(o, failed)? {
                            return Ok(());
                        }
                    }
                }
            }
            let Some(batch) = self.written.pop_front() else { return Ok(()) };
            // What several batches wait for at once is counted once.
            self.worked += batch.sent.max(self.settled).elapsed();
            self.settled = Instant::now();
            self.join(batch, post)?;
        }
        Ok(())
    }

    /// Adds a batch to the group of the next commit.
    fn join(&mut self, batch: Written, post: &impl Fn(Report)) -> Result<()> {
        let began = *self.group.began.get_or_insert_with(Instant::now);
        self.group.batches.push(batch);
        let batches = &self.group.batches;
        let promises = self.outputs.iter().filter_map(|o| o.out.promise());
        let most = promises.map(|p| p.most()).min().unwrap_or(1).min(GROUP_BATCHES);
        let full = batches.len() >= most || bytes(batches) >= GROUP_BYTES;
        if full || batches.iter().any(|b| b.due) || began.elapsed() > LONGEST_GROUP {
            self.commit(post)?;
        }
        Ok(())
    }

    /// Makes the batches of the group definite, which is then empty.
    fn commit(&mut self, post: &impl Fn(Report)) -> Result<()> {
        let Group { batches, .. } = std::mem::take(&mut self.group);
        let Some(last) = batches.last().map(|b| b.time) else { return Ok(()) };
        let began = Instant::now();
        for OutputSpec { name, out, .. } in &mut self.outputs {
            let Completion::Committed(promise) = out else { continue };
            let commit = || attempt(name, last, || promise.commit());
            if self.over.load(Ordering::Relaxed) || !again(name, self.tries, &self.over, commit)? {
                return Ok(());
            }
        }
        let bytes = bytes(&batches);
        let waiting = self.waiting.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        let (process, waiting) = (self.process, waiting as u64);
        self.worked += began.elapsed();
        for Written { time, began, .. } in batches {
            post(Report::Out { process, time, waiting, ago: began.elapsed(), worked: std::mem::take(&mut self.worked) });
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
    use crate::core::error::BoxError;
    use crate::core::plan::{Cut, Plan, Progress};
    use crate::engine::output::{Final, Life, Promise, Receipts};
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    fn part(output: usize, ms: u64) -> Delivery {
        let plan = Plan { time: BatchTime::from_millis(ms), ranges: Vec::new(), shown: true };
        let plan = Arc::new(Tick { plan, ..Tick::default() });
        Delivery::Part { output, plan, rows: Some(Box::new(())), bytes: 0 }
    }

    fn spec(name: &str, parts: usize, log: &Arc<Mutex<Vec<String>>>, fails: u32) -> OutputSpec {
        let (log, name_) = (log.clone(), name.to_string());
        let mut left = fails;
        let write = Box::new(move |plan: &Tick, _: &mut [Box<dyn Any + Send>]| {
            if left > 0 {
                left -= 1;
                return Err("no".into());
            }
            log.lock().unwrap().push(format!("{name_}@{}", plan.time.millis()));
            Ok(())
        });
        OutputSpec { name: name.into(), parts, write, out: Completion::Written }
    }

    fn outputs(interval_ms: u64, tries: u32) -> Outputs {
        let mut config = Config::new("j".into(), Duration::from_millis(interval_ms)).unwrap();
        config.output_tries = tries;
        Outputs::new(&config, Arc::default(), Arc::default())
    }

    fn out(report: &Report) -> Option<u64> {
        if let Report::Out { time, .. } = report { Some(time.millis()) } else { None }
    }

    /// Writes down what is asked of it; fails the first commits.
    struct Promised(Arc<Mutex<Vec<String>>>, u32, Option<&'static str>);

    impl Promised {
        fn say(&self, what: impl Into<String>) {
            self.0.lock().unwrap().push(what.into());
        }
    }

    impl Promise for Promised {
        fn sink(&self) -> (String, u32) {
            ("p".into(), 1)
        }

        fn most(&self) -> usize {
            3
        }

        fn begin(&mut self, life: Life, _: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
            self.say(format!("begin {}", life.generation));
            Ok(Vec::new())
        }

        fn through(&mut self, tick: &Tick) {
            self.say(format!("through {}", tick.time.millis()));
        }

        fn commit(&mut self) -> Result<(), BoxError> {
            self.say("commit");
            match (self.1.checked_sub(1), self.2) {
                (Some(left), last) => {
                    self.1 = left;
                    Err(last.map_or_else(|| "away".into(), |l| Final(l.into()).into()))
                }
                _ => Ok(()),
            }
        }
    }

    /// What is said of batches 1 to n, the checkpoint's marked, to an exactly-once output whose first commits fail.
    fn promised(n: u64, cut: u64, fails: u32, last: Option<&'static str>) -> (Vec<String>, Result<()>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tx, rx) = channel();
        let promise: Box<dyn Promise> = Box::new(Promised(log.clone(), fails, last));
        let spec = OutputSpec { out: Completion::Committed(promise), ..spec("a", 1, &log, 0) };
        tx.send(Delivery::Built { outputs: vec![spec] }).unwrap();
        tx.send(Delivery::Begin(Life { directory: 1, generation: 7 })).unwrap();
        for t in 1..=n {
            let Delivery::Part { output, plan, rows, bytes } = part(0, t) else { unreachable!() };
            let cut = (t == cut).then_some(Cut::Changed);
            let plan = Arc::new(Tick { cut, ..(*plan).clone() });
            tx.send(Delivery::Part { output, plan, rows, bytes }).unwrap();
        }
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
        let log = std::mem::take(&mut *log.lock().unwrap());
        (log, end)
    }

    #[test]
    fn an_exactly_once_output_is_out_when_its_group_is_committed() {
        let (log, end) = promised(5, 4, 1, None);
        end.unwrap();
        let batch = |t: u64| [format!("a@{t}"), format!("through {t}")];
        let mut expected = vec!["begin 7".to_string()];
        expected.extend((1..=3).flat_map(batch));
        expected.extend(["commit", "commit", "out 1", "out 2", "out 3"].map(String::from));
        expected.extend(batch(4));
        expected.extend(["commit", "out 4"].map(String::from));
        expected.extend(batch(5));
        expected.extend(["commit", "out 5"].map(String::from));
        assert_eq!(log, expected, "three are the most, a checkpoint ends a group, and so does waiting");
    }

    #[test]
    fn a_final_error_is_not_tried_again() {
        let (log, end) = promised(1, 1, 1, Some("fenced"));
        let e = end.unwrap_err().to_string();
        assert!(e.contains("fenced") && e.contains("tried 1 times"), "{e}");
        assert_eq!(log.iter().filter(|l| *l == "commit").count(), 1);
    }

    /// Says what has arrived as a script has it: `None` fails.
    struct Scripted(VecDeque<Option<u64>>, Option<u64>);

    impl Receipts for Scripted {
        fn arrived(&mut self, time: BatchTime) -> Result<bool, BoxError> {
            if let Some(next) = self.0.pop_front() {
                self.1 = next;
            }
            Ok(self.1.ok_or("lost")? >= time.millis())
        }
    }

    /// What is written, and what is out, of three batches whose rows arrive as the script says at each look.
    fn delivered(script: &[Option<u64>], tries: u32) -> (Vec<String>, Result<()>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tx, rx) = channel();
        let sends = Completion::Delivered(Box::new(Scripted(script.iter().copied().collect(), None)));
        let specs = vec![OutputSpec { out: sends, ..spec("a", 1, &log, 0) }, spec("b", 1, &log, 0)];
        tx.send(Delivery::Built { outputs: specs }).unwrap();
        (1..=3).for_each(|t| (0..2).for_each(|o| tx.send(part(o, t)).unwrap()));
        let (said, sender) = (log.clone(), Mutex::new(Some(tx)));
        let end = outputs(100, tries).run(rx, move |report| {
            let Some(t) = out(&report) else { return };
            said.lock().unwrap().push(format!("out {t}"));
            if t == 3 {
                sender.lock().unwrap().take();
            }
        });
        let log = std::mem::take(&mut *log.lock().unwrap());
        (log, end)
    }

    #[test]
    fn batches_are_sent_while_others_are_on_their_way() {
        let (log, end) = delivered(&[Some(0), Some(0), Some(1), Some(1), Some(2), Some(3)], 2);
        end.unwrap();
        assert_eq!(log, ["a@1", "b@1", "a@2", "b@2", "a@3", "b@3", "out 1", "out 2", "out 3"]);
    }

    #[test]
    fn what_has_not_arrived_is_sent_again_in_order() {
        let (log, end) = delivered(&[Some(0), Some(0), Some(1), None, Some(3)], 2);
        end.unwrap();
        let again = ["a@1", "b@1", "a@2", "b@2", "a@3", "b@3", "out 1", "a@2", "a@3", "out 2", "out 3"];
        assert_eq!(log, again, "the first is out, the others go again, and only to where they are missing");
        let (log, end) = delivered(&[Some(0), None, None], 2);
        let e = end.unwrap_err().to_string();
        assert!(e.contains('a') && e.contains("1 ms") && e.contains("lost") && e.contains("tried 2 times"), "{e}");
        assert_eq!(log, ["a@1", "b@1", "a@2", "b@2", "a@1", "a@2"]);
    }

    #[test]
    fn batches_leave_in_order_and_outputs_in_program_order() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tx, rx) = channel();
        tx.send(Delivery::Built { outputs: vec![spec("a", 2, &log, 0), spec("b", 0, &log, 0), spec("c", 1, &log, 1)] }).unwrap();
        for (o, t) in [(2, 1), (0, 1), (0, 2), (2, 2), (0, 2), (0, 1), (2, 3)] {
            tx.send(part(o, t)).unwrap();
        }
        drop(tx);
        let outs = Mutex::new(Vec::new());
        outputs(100, 3).run(rx, |report| outs.lock().unwrap().extend(out(&report))).unwrap();
        assert_eq!(*log.lock().unwrap(), ["a@1", "c@1", "a@2", "c@2"]);
        assert_eq!(*outs.lock().unwrap(), [1, 2], "batch 3 is not whole");
    }

    #[test]
    fn an_output_that_keeps_failing_stops_the_job_by_name() {
        let log = Arc::default();
        let (tx, rx) = channel();
        tx.send(Delivery::Built { outputs: vec![spec("save", 1, &log, 9)] }).unwrap();
        tx.send(part(0, 7)).unwrap();
        drop(tx);
        let e = outputs(100, 2).run(rx, |_| panic!("it never was out")).unwrap_err().to_string();
        assert!(e.contains("save") && e.contains("7 ms") && e.contains("tried 2 times"), "{e}");
    }
}
