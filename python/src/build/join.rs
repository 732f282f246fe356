//! Joins of two streams of pairs, batch by batch.

use super::{Build, Stream};
use crate::program::Node;
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a join.
    pub(super) fn joined(&mut self, node: &Node, kind: &str) -> Stream<'s> {
        let left = self.pairs(node.inputs[0], &node.site, false);
        let right = self.pairs(node.inputs[1], &node.site, false);
        let some = |value: Option<Value>| value.unwrap_or(Value::None);
        self.of_pairs(match kind {
            "join" => left.join(&right).map(|(key, (a, b))| (key, Value::pair(a, b))),
            "leftOuterJoin" => left.left_outer_join(&right).map(move |(key, (a, b))| (key, Value::pair(a, some(b)))),
            "rightOuterJoin" => left.right_outer_join(&right).map(move |(key, (a, b))| (key, Value::pair(some(a), b))),
            "fullOuterJoin" => left.full_outer_join(&right).map(move |(key, (a, b))| (key, Value::pair(some(a), some(b)))),
            _ => left.cogroup(&right).map(|(key, (a, b))| (key, Value::pair(Value::List(a), Value::List(b)))),
        })
    }
}
