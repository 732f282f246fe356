//! How another dataflow of the same worker reads the arrangement of a view.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::operators::arrange::TraceAgent;
use serde_json::Value;

use super::DenseTrace;
use crate::engine::dictionary::Code;

/// The row of a code with a sum, and how often it is in the view.
pub(crate) type RowOf = Rc<dyn Fn(Code, i64) -> Option<(Value, u64)>>;

/// A view that can be read while the job runs: its trace, and what its codes mean.
#[derive(Clone)]
pub(crate) struct Tap {
    /// The reader of the operator that answers questions, which holds the last batches. Who reads the view for longer has a reader of its own.
    pub trace: Rc<RefCell<TraceAgent<DenseTrace>>>,
    pub row: RowOf,
}
