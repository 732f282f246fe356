//! [`Input`]: what a verb reads. What becomes rows in a simple way becomes rows in the operator of the verb that reads it.

use std::rc::Rc;

use tidemill::core::data::Data;
use tidemill::prelude::{BatchTime, DStream, Message};

use super::records::Decode;
use super::{Pairs, containers};
use crate::value::Value;

/// What a verb reads.
#[derive(Clone)]
pub enum Input<'s> {
    /// Rows.
    Rows(DStream<'s, Value>),
    /// Records of Kafka.
    Records(DStream<'s, Message>, Rc<Decode>),
    /// Pairs.
    Pairs(Pairs<'s>),
    /// Values with a number.
    Counts(DStream<'s, (Value, i64)>),
}

impl<'s> Input<'s> {
    /// What `f` makes of the rows of each container.
    pub fn through<B: Data>(&self, name: &str, mut f: impl FnMut(BatchTime, Vec<Value>) -> Vec<B> + 'static) -> DStream<'s, B> {
        match self {
            Input::Rows(rows) => containers(rows, name, f),
            Input::Records(messages, decode) => {
                let decode = decode.clone();
                containers(messages, name, move |batch, messages| f(batch, decode.values(batch, &messages)))
            }
            Input::Pairs(pairs) => containers(pairs, name, move |batch, pairs| {
                f(batch, pairs.into_iter().map(|(key, value)| Value::pair(key, value)).collect())
            }),
            Input::Counts(counts) => containers(counts, name, move |batch, counts| {
                f(batch, counts.into_iter().map(|(value, n)| Value::pair(value, Value::Int(n))).collect())
            }),
        }
    }
}
