//! The output thread of a process: whole batches, t before t+1, within t in program order. Tries again what fails.
//!
//! A batch is out when every output is through it. Where an output is exactly once that means committed, for groups of batches:
//! as many as arrive within a moment or while the last commit ran. A batch of a checkpoint ends its group.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{BoxError, Error, Result, panic_text};
use crate::output::{Delivery, Final, OutputSpec};
use crate::plan::{Report, Tick};
use crate::time::BatchTime;

/// The first pause before an output is tried again; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a pause goes on at most after the job is over.
const LOOK: Duration = Duration::from_millis(20);

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

/// Batches that every output has written, and that are not all committed.
#[derive(Default)]
struct Group {
    began: Option<Instant>,
    /// With the moment at which each was begun.
    times: Vec<(BatchTime, Instant)>,
    bytes: usize,
    /// A checkpoint waits for it.
    due: bool,
}

/// The thread's state.
pub(crate) struct Outputs {
    outputs: Vec<OutputSpec>,
    arrived: BTreeMap<(BatchTime, usize), Arrived>,
    /// The output that is next, and the batch, if that has begun.
    turn: (Option<BatchTime>, usize),
    /// When that batch was begun.
    began: Instant,
    /// How long batches were written and committed since that was last said.
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
        let (turn, group) = ((None, 0), Group::default());
        let linger = if Duration::from_millis(config.interval.millis()) < LINGER { LINGER } else { Duration::ZERO };
        let (process, tries) = (config.runtime.process.into(), config.output_tries);
        let (began, worked) = (Instant::now(), Duration::ZERO);
        Outputs {
            outputs: Vec::new(),
            arrived: BTreeMap::new(),
            turn,
            began,
            worked,
            group,
            linger,
            process,
            tries,
            waiting,
            over,
        }
    }

    /// Works until the workers are gone. `post` is told each batch that every output is through, and what still waits.
    pub fn run(mut self, deliveries: Receiver<Delivery>, post: impl Fn(Report)) -> Result<()> {
        loop {
            let next = match self.group.began {
                None => deliveries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(began) => deliveries.recv_timeout((began + self.linger).saturating_duration_since(Instant::now())),
            };
            match next {
                Ok(delivery) => self.take(delivery, &post)?,
                Err(RecvTimeoutError::Timeout) => self.commit(&post)?,
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
                for promise in self.outputs.iter_mut().filter_map(|o| o.promise.as_mut()) {
                    progress.extend(promise.begin(life, &self.over)?);
                }
                post(Report::Ready { process: self.process, progress });
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
        while let Some(t) = self.step()? {
            self.group.times.push((t, self.began));
            let began = *self.group.began.get_or_insert_with(Instant::now);
            let promises = || self.outputs.iter().filter_map(|o| o.promise.as_ref());
            let most = promises().map(|p| p.most()).min().unwrap_or(1).min(GROUP_BATCHES);
            let full = self.group.times.len() >= most || self.group.bytes >= GROUP_BYTES;
            if full || self.group.due || began.elapsed() > LONGEST_GROUP {
                self.commit(post)?;
            }
        }
        Ok(())
    }

    /// Writes what is whole and whose turn it is. Returns a batch that every output has written.
    fn step(&mut self) -> Result<Option<BatchTime>> {
        loop {
            let Some(o) = (self.turn.1..self.outputs.len()).find(|o| self.outputs[*o].parts > 0) else {
                self.turn.1 = 0;
                match self.turn.0.take() {
                    Some(t) => return Ok(Some(t)),
                    None => return Ok(None),
                }
            };
            // Each output gets every batch in order, so the first it has is the next.
            let time = match self.turn.0 {
                Some(t) => t,
                None => match self.arrived.keys().find(|(_, output)| *output == o) {
                    Some((t, _)) => *t,
                    None => return Ok(None),
                },
            };
            let whole = |a: &Arrived| a.parts >= self.outputs[o].parts;
            if !self.arrived.get(&(time, o)).is_some_and(whole) {
                return Ok(None);
            }
            let mut a = self.arrived.remove(&(time, o)).expect("just looked at");
            if self.turn.0.is_none() {
                self.began = Instant::now();
            }
            if self.over.load(Ordering::Relaxed) || !self.write(o, &mut a)? {
                return Ok(None);
            }
            match &mut self.outputs[o].promise {
                // Its rows are kept until they are committed.
                Some(promise) => {
                    promise.through(&a.plan);
                    self.group.bytes += a.bytes;
                }
                None => _ = self.waiting.fetch_sub(a.bytes, Ordering::Relaxed),
            }
            self.group.due |= a.plan.cut.is_some();
            self.turn = (Some(time), o + 1);
        }
    }

    /// Writes one batch of one output. `false`: the job is over, and the batch is not out.
    fn write(&mut self, o: usize, a: &mut Arrived) -> Result<bool> {
        if a.rows.is_empty() {
            return Ok(true);
        }
        let OutputSpec { name, write, .. } = &mut self.outputs[o];
        let began = Instant::now();
        let done = again(name, a.plan.time, self.tries, &self.over, || write(&a.plan, &mut a.rows));
        self.worked += began.elapsed();
        done
    }

    /// Makes the batches of the group definite, which is then empty.
    fn commit(&mut self, post: &impl Fn(Report)) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        let Some((last, _)) = group.times.last() else { return Ok(()) };
        let began = Instant::now();
        for OutputSpec { name, promise, .. } in &mut self.outputs {
            let Some(promise) = promise else { continue };
            if self.over.load(Ordering::Relaxed) || !again(name, *last, self.tries, &self.over, || promise.commit())? {
                return Ok(());
            }
        }
        let waiting = self.waiting.fetch_sub(group.bytes, Ordering::Relaxed) - group.bytes;
        let (process, waiting) = (self.process, waiting as u64);
        self.worked += began.elapsed();
        for (time, began) in group.times {
            post(Report::Out { process, time, waiting, ago: began.elapsed(), worked: std::mem::take(&mut self.worked) });
        }
        Ok(())
    }
}

/// Does what an output does of a batch, and again after errors, with growing pauses. `false`: the job is over, and it is not
/// done.
fn again(
    output: &str,
    time: BatchTime,
    tries: u32,
    over: &AtomicBool,
    mut work: impl FnMut() -> Result<(), BoxError>,
) -> Result<bool> {
    let mut pause = FIRST_PAUSE;
    for tried in 1.. {
        // What an error says is the user's code, too.
        let attempt = || work().map_err(|e| (e.to_string(), e.is::<Final>()));
        let (error, last) = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(e)) => e,
            Err(panic) => {
                let (operator, message) = (output.into(), panic_text(&*panic));
                return Err(Error::WorkerPanicked { operator, worker: 0, batch: Some(time), message });
            }
        };
        if last || tried >= tries {
            return Err(Error::Output { output: output.into(), time, tries: tried, reason: error });
        }
        tracing::warn!(output, batch = time.millis(), error, "the output failed and is tried again");
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if over.load(Ordering::Relaxed) {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        pause = (pause * 4).min(LONGEST_PAUSE);
    }
    unreachable!("the loop ends by returning")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Life, Promise};
    use crate::plan::{Cut, Plan, Progress};
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
        OutputSpec { name: name.into(), parts, write, promise: None }
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
        let spec = OutputSpec { promise: Some(promise), ..spec("a", 1, &log, 0) };
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
