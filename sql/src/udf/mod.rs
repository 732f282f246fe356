//! Functions of a program that queries call by name: Spark's user-defined functions.

mod aggregate;
mod arguments;
mod registration;
mod scalar;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use aggregate::{Bytes, Folds, UserAggregate};
pub use registration::UdfRegistration;

/// A function that a session knows.
#[derive(Clone)]
pub(crate) enum Function {
    Scalar(ScalarUDF),
    Aggregate(AggregateUDF),
}
