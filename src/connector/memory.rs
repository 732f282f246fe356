//! `to_memory`: batches into a vector of the program that started the job.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;

/// Where `to_memory` puts batches: made outside the build closure, passed in, read at any time. Filled in process 0 only.
#[derive(Debug)]
pub struct MemorySink<T>(Arc<Mutex<Batches<T>>>);

type Batches<T> = Vec<(BatchTime, Vec<T>)>;

impl<T> Clone for MemorySink<T> {
    fn clone(&self) -> Self {
        MemorySink(self.0.clone())
    }
}

impl<T> Default for MemorySink<T> {
    fn default() -> Self {
        MemorySink(Arc::default())
    }
}

impl<T: Clone> MemorySink<T> {
    /// An empty memory.
    pub fn new() -> Self {
        MemorySink::default()
    }

    /// What came so far: every batch with its rows in order, empty ones too.
    pub fn batches(&self) -> Batches<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rows of all batches so far.
    pub fn rows(&self) -> Vec<T> {
        self.batches().into_iter().flat_map(|(_, rows)| rows).collect()
    }
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Keeps each batch in `memory`, rows in order: bags by encoded row.
    #[track_caller]
    pub fn to_memory(&self, memory: &MemorySink<T>) {
        let memory = memory.0.clone();
        self.attach_gathered(&OperatorId::of("to_memory"), "to_memory", move |plan, rows| {
            memory.lock().unwrap_or_else(PoisonError::into_inner).push((plan.time, rows.to_vec()));
            Ok(())
        });
    }
}
