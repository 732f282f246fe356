//! The output thread of a process: whole batches, t before t+1, within t in program order. Tries again what fails.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::context::{Delivery, OutputSpec};
use crate::error::{Error, Result};
use crate::plan::Tick;
use crate::time::BatchTime;

/// The first pause before an output is tried again; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a pause goes on at most after the job is over.
const LOOK: Duration = Duration::from_millis(20);

/// What one output has of one batch so far.
struct Arrived {
    plan: Arc<Tick>,
    parts: usize,
    rows: Vec<Box<dyn Any + Send>>,
    bytes: usize,
}

/// The thread's state.
pub(crate) struct Outputs {
    outputs: Vec<OutputSpec>,
    arrived: BTreeMap<(BatchTime, usize), Arrived>,
    /// The output that is next, and the batch, if that has begun.
    turn: (Option<BatchTime>, usize),
    tries: u32,
    waiting: Arc<AtomicUsize>,
    /// The job is over: what is not out is given up.
    over: Arc<AtomicBool>,
}

impl Outputs {
    pub fn new(tries: u32, waiting: Arc<AtomicUsize>, over: Arc<AtomicBool>) -> Self {
        Outputs { outputs: Vec::new(), arrived: BTreeMap::new(), turn: (None, 0), tries, waiting, over }
    }

    /// Works until the workers are gone. `out` is told each batch that every output is through, and what still waits.
    pub fn run(mut self, deliveries: Receiver<Delivery>, out: impl Fn(BatchTime, u64)) -> Result<()> {
        for delivery in deliveries {
            match delivery {
                Delivery::Built { outputs } if self.outputs.is_empty() => self.outputs = outputs,
                Delivery::Built { .. } => {}
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
                out(t, self.waiting.load(Ordering::Relaxed) as u64);
            }
        }
        Ok(())
    }

    /// Writes what is whole and whose turn it is. Returns a batch that every output is through.
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
            if self.over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if !a.rows.is_empty() && !write(&mut self.outputs[o], &mut a, self.tries, &self.over)? {
                return Ok(None);
            }
            self.waiting.fetch_sub(a.bytes, Ordering::Relaxed);
            self.turn = (Some(time), o + 1);
        }
    }
}

/// Writes one batch, and again after errors, with growing pauses. `false`: the job is over, and the batch is not out.
fn write(output: &mut OutputSpec, a: &mut Arrived, tries: u32, over: &AtomicBool) -> Result<bool> {
    let mut pause = FIRST_PAUSE;
    for tried in 1.. {
        // What an error says is the user's code, too.
        let attempt = || (output.write)(&a.plan, &mut a.rows).map_err(|e| e.to_string());
        let error = match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(e)) => e,
            Err(panic) => {
                return Err(Error::WorkerPanicked {
                    operator: output.name.clone(),
                    worker: 0,
                    batch: Some(a.plan.time),
                    message: crate::error::panic_text(&*panic),
                });
            }
        };
        if tried >= tries {
            return Err(Error::Output { output: output.name.clone(), time: a.plan.time, tries: tried, reason: error });
        }
        tracing::warn!(output = output.name, batch = a.plan.time.millis(), error, "the output failed and is tried again");
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
    use crate::plan::Plan;
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
        let write = Box::new(move |plan: &Plan, _: &mut [Box<dyn Any + Send>]| {
            if left > 0 {
                left -= 1;
                return Err("no".into());
            }
            log.lock().unwrap().push(format!("{name_}@{}", plan.time.millis()));
            Ok(())
        });
        OutputSpec { name: name.into(), parts, write }
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
        Outputs::new(3, Arc::default(), Arc::default()).run(rx, |t, _| outs.lock().unwrap().push(t.millis())).unwrap();
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
        let e =
            Outputs::new(2, Arc::default(), Arc::default()).run(rx, |_, _| panic!("it never was out")).unwrap_err().to_string();
        assert!(e.contains("save") && e.contains("7 ms") && e.contains("tried 2 times"), "{e}");
    }
}
