//! Who hears of batches: the history that a notebook shows, and the listeners of the program.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidemill::metrics::{BatchInfo, StreamingListener};

/// How many batches a notebook can show.
const KEPT: usize = 120;

/// Time in milliseconds, records, scheduling delay and processing time in milliseconds, and lag.
pub type Seen = (u64, u64, f64, f64, Option<u64>);
/// Whether a batch is complete, and the batch.
type Told = (bool, BatchInfo);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Hears of every batch. It is called on the planner's thread, which must not wait for the GIL: a thread of its own calls Python.
#[derive(Default)]
pub struct Ear {
    history: Mutex<VecDeque<Seen>>,
    tell: Mutex<Option<Sender<Told>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ear {
    /// The last batches, the oldest first.
    pub fn history(&self) -> Vec<Seen> {
        lock(&self.history).iter().copied().collect()
    }

    /// Calls a function of Python with each batch: whether it is complete, and what is known of it.
    pub fn listen(self: &Arc<Self>, function: Py<PyAny>) -> std::io::Result<()> {
        let (tell, told) = channel();
        *lock(&self.tell) = Some(tell);
        let thread = std::thread::Builder::new().name("tm-py-listener".into()).spawn(move || listen(&told, &function))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Waits until the listeners have heard of all batches. The caller must not have the GIL.
    pub fn close(&self) {
        drop(lock(&self.tell).take());
        let thread = lock(&self.thread).take();
        // A listener that ends the job must not wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }

    fn tell(&self, complete: bool, batch: &BatchInfo) {
        if let Some(tell) = &*lock(&self.tell) {
            let _ = tell.send((complete, batch.clone()));
        }
    }
}

impl StreamingListener for Ear {
    fn on_batch_planned(&self, batch: &BatchInfo) {
        self.tell(false, batch);
    }

    fn on_batch_completed(&self, batch: &BatchInfo) {
        {
            let mut history = lock(&self.history);
            if history.len() == KEPT {
                history.pop_front();
            }
            let (waited, took) = (millis(batch.scheduling_delay), millis(batch.processing_time));
            history.push_back((batch.time.millis(), batch.records, waited, took, batch.lag()));
        }
        self.tell(true, batch);
    }
}

fn listen(told: &Receiver<Told>, function: &Py<PyAny>) {
    for (complete, batch) in told {
        Python::attach(|py| {
            let called = info(py, &batch).and_then(|info| function.call1(py, (complete, info)));
            if let Err(e) = called {
                e.write_unraisable(py, Some(function.bind(py)));
            }
        });
    }
}

/// What is known of a batch, for Python's half.
fn info<'py>(py: Python<'py>, batch: &BatchInfo) -> PyResult<Bound<'py, PyDict>> {
    let inputs = batch.inputs.iter().map(|input| {
        let range = &input.range;
        (input.source, range.topic.to_string(), range.partition, range.from, range.until, input.records, input.lag)
    });
    let outputs = batch.outputs.iter().map(|output| (output.name.to_string(), output.tries, millis(output.time)));
    let info = PyDict::new(py);
    info.set_item("time", batch.time.millis())?;
    info.set_item("records", batch.records)?;
    info.set_item("bad", batch.bad)?;
    info.set_item("scheduling", millis(batch.scheduling_delay))?;
    info.set_item("processing", millis(batch.processing_time))?;
    info.set_item("lag", batch.lag())?;
    info.set_item("inputs", inputs.collect::<Vec<_>>())?;
    info.set_item("outputs", outputs.collect::<Vec<_>>())?;
    Ok(info)
}
