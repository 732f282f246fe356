//! [`Description`]: the program as Python described it, verb by verb. Every worker builds its own dataflow of it.
//!
//! Python runs the program once in each process, so a lambda is one object that all workers share. A description only grows, and it is complete when
//! the job starts.

mod arguments;
mod kinesis;
mod verb;

use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub use arguments::Arguments;
pub use kinesis::Kinesis;
pub use verb::{Kafka, Verb};

use crate::call::Site;

/// A verb of the program, and the streams that it reads.
pub struct Node {
    /// The verb, with its arguments.
    pub verb: Verb,
    /// The nodes that it reads.
    pub inputs: Vec<usize>,
    /// Where the program calls it.
    pub site: Site,
    /// What its functions are, for the fingerprint: processes of a job must have the same ones.
    pub mark: String,
}

/// The verbs of a program, each after those that it reads.
#[derive(Default)]
pub struct Description {
    /// The verbs.
    pub nodes: Vec<Node>,
}

impl Description {
    /// How many verbs read each node, of those that lead to an output.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if uses[i] > 0 || node.verb.is_output() {
                node.inputs.iter().for_each(|input| uses[*input] += 1);
            }
        }
        uses
    }
}

/// The description of a program that Python describes.
#[pyclass]
#[derive(Default)]
pub struct Program(Mutex<Description>);

impl Program {
    /// The description, when the job starts. The program is empty then.
    pub fn take(&self) -> Description {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

#[pymethods]
impl Program {
    #[new]
    fn new() -> Self {
        Program::default()
    }

    /// Adds a verb, and returns its number. `place`: the verb and the line of the program that calls it. `mark`: what its functions are.
    fn add(
        &self,
        verb: &str,
        inputs: Vec<usize>,
        place: String,
        mark: String,
        arguments: &Bound<'_, PyTuple>,
    ) -> PyResult<usize> {
        let site = Site::new(place);
        let verb = Verb::parse(verb, &Arguments(arguments.clone()), &site)?;
        let mut description = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if inputs.iter().any(|input| *input >= description.nodes.len()) {
            return Err(PyValueError::new_err("a stream of another StreamingContext, or of one that has started"));
        }
        description.nodes.push(Node { verb, inputs, site, mark });
        Ok(description.nodes.len() - 1)
    }

    /// How many outputs there are.
    fn outputs(&self) -> usize {
        let description = self.0.lock().unwrap_or_else(|e| e.into_inner());
        description.nodes.iter().filter(|node| node.verb.is_output()).count()
    }
}
