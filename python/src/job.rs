//! A job that runs, as Python's half sees it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{Args, FromArgMatches};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidemill::job::JobHandle;
use tidemill::prelude::{RuntimeArgs, StreamingContext};

use crate::build::build;
use crate::call::Failure;
use crate::listener::Ear;
use crate::program::Program;

pyo3::create_exception!(tidemill, JobError, PyRuntimeError, "Why a job could not start, or how it failed.");

/// A job that runs. When it is dropped, it ends at once.
#[pyclass]
pub struct Job {
    handle: Mutex<Option<JobHandle>>,
    failure: Failure,
    ear: Arc<Ear>,
}

/// Settings of a job.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Settings {
    name: String,
    interval_ms: u64,
    arguments: Vec<String>,
    workers: Option<u16>,
    checkpoint: Option<String>,
    checkpoint_ms: Option<u64>,
    conf: Vec<(String, String)>,
    tries_outputs: bool,
    listen: Option<String>,
    listener: Option<Py<PyAny>>,
}

/// Starts a job of a program. The program is empty afterwards.
///
/// # Errors
/// A setting or a verb that cannot be, as a `JobError`.
#[pyfunction]
pub fn start(py: Python<'_>, program: &Program, settings: Settings) -> PyResult<Job> {
    let (description, failure) = (Arc::new(program.take()), Failure::default());
    let failures = failure.clone();
    let launched = !settings.arguments.is_empty();
    let arguments = runtime(&settings.arguments)?;
    let listen = settings.listen.map(|address| address.parse()).transpose();
    let listen = listen.map_err(|e| JobError::new_err(format!("the page: {e}")))?;
    let ear = Arc::new(Ear::default());
    if let Some(listener) = settings.listener {
        ear.listen(listener)?;
    }
    let heard = ear.clone();
    let started = py.detach(move || {
        let mut job = StreamingContext::builder(settings.name, Duration::from_millis(settings.interval_ms));
        let kept = arguments.checkpoint.is_some();
        job = job.runtime(arguments);
        if let Some(workers) = settings.workers {
            job = job.workers(workers);
        }
        if !launched {
            // Python has handlers of its own; its half stops the job.
            job = job.without_signals();
        }
        job = match settings.checkpoint {
            Some(dir) => job.checkpoint(dir),
            None if kept => job,
            None => job.without_checkpoint(),
        };
        if let Some(every) = settings.checkpoint_ms {
            job = job.checkpoint_interval(Duration::from_millis(every));
        }
        if !settings.tries_outputs {
            job = job.output_retry(Duration::ZERO);
        }
        for (name, value) in settings.conf {
            job = job.conf(name, value);
        }
        if let Some(address) = listen {
            job = job.listen(address);
        }
        job = job.streaming_listener(heard);
        job.start(move |ssc| build(ssc, &description, &failures))
    });
    match started {
        Ok(handle) => Ok(Job { handle: Mutex::new(Some(handle)), failure, ear }),
        Err(e) => {
            py.detach(|| ear.close());
            Err(failed(py, &failure, &e.to_string()))
        }
    }
}

/// The runtime options of a command line, as programs in Rust have them.
fn runtime(arguments: &[String]) -> PyResult<RuntimeArgs> {
    let command =
        RuntimeArgs::augment_args(clap::Command::new("python -m tidemill").no_binary_name(true).disable_help_flag(true));
    let parsed = command.try_get_matches_from(arguments).and_then(|found| RuntimeArgs::from_arg_matches(&found));
    parsed.map_err(|e| JobError::new_err(e.to_string()))
}

/// The exception of a failed job. What a function of the program raised is its cause.
fn failed(py: Python<'_>, failure: &Failure, text: &str) -> PyErr {
    match failure.take() {
        Some((cause, told)) => {
            let error = JobError::new_err(told);
            error.set_cause(py, Some(cause));
            error
        }
        None => JobError::new_err(text.to_owned()),
    }
}

#[pymethods]
impl Job {
    /// Waits for the end of the job, at most `ms` milliseconds. Returns whether it has ended.
    fn wait(&self, py: Python<'_>, ms: u64) -> PyResult<bool> {
        let ended = py.detach(|| {
            let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner());
            let ended = handle.as_ref().map(|job| job.await_termination_or_timeout(Duration::from_millis(ms)));
            ended.unwrap_or(Ok(true)).map_err(|e| e.to_string())
        });
        ended.map_err(|text| failed(py, &self.failure, &text))
    }

    /// Asks the job to end, and does not wait.
    fn stop(&self, py: Python<'_>, gracefully: bool) {
        py.detach(|| {
            let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(job) = handle.as_ref() {
                if gracefully { job.stopper().stop_gracefully() } else { job.stopper().stop_now() }
            }
        });
    }

    /// Ends the job at once, and waits for its threads.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner()).take();
            drop(handle);
            self.ear.close();
        });
    }

    /// Forgets the job: in a child of a fork, which has none of its threads.
    fn forget(&self) {
        // Another thread may have had the lock at the fork.
        if let Ok(mut handle) = self.handle.try_lock() {
            std::mem::forget(handle.take());
        }
    }

    /// Calls a function with each batch from now on: whether it is complete, and what is known of it.
    fn listen(&self, function: Py<PyAny>) -> PyResult<()> {
        Ok(self.ear.listen(function)?)
    }

    /// Batches and records until now.
    fn statistics(&self) -> (u64, u64) {
        let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner());
        let now = handle.as_ref().map(JobHandle::statistics);
        now.map_or((0, 0), |now| (now.batches, now.records))
    }

    /// The job at this moment, for a notebook.
    fn progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let now = py.detach(|| {
            let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner());
            handle.as_ref().map(JobHandle::statistics).unwrap_or_default()
        });
        let progress = PyDict::new(py);
        progress.set_item("batches", now.batches)?;
        progress.set_item("records", now.records)?;
        progress.set_item("bad", now.bad)?;
        progress.set_item("lag", now.lag)?;
        progress.set_item("trouble", now.trouble)?;
        progress.set_item("checkpoints", now.checkpoints.made)?;
        progress.set_item("history", self.ear.history())?;
        Ok(progress)
    }

    /// Where the page of the job is: `127.0.0.1:4040`, or `None`.
    fn address(&self) -> Option<String> {
        let handle = self.handle.lock().unwrap_or_else(|e| e.into_inner());
        handle.as_ref().and_then(JobHandle::address).map(|address| address.to_string())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // The threads of the job may wait for the GIL.
        Python::attach(|py| self.close(py));
    }
}
