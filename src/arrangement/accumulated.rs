//! Accumulators by key: what a function makes of the values that enter and leave. A change costs the same, however many values a key has.

use crate::api::context::Graph;
use crate::api::view::Changes;
use crate::core::data::{FastMap, Key};
use crate::core::time::BatchTime;
use crate::engine::flow::{batched, by_batch, route};
use crate::engine::operator_id::OperatorId;

/// What `result` makes of the accumulator of each key that has values, at the owner of the key. `fold` adds copies of a value to an
/// accumulator, or takes them away.
pub(crate) fn accumulated<'s, K: Key, V: Key, A: Clone + 'static, U: Key>(
    graph: &Graph<'s>,
    operator: &OperatorId,
    pairs: Changes<'s, (K, V)>,
    init: A,
    fold: impl Fn(&mut A, V, i64) + 'static,
    result: impl Fn(&K, &A) -> U + 'static,
) -> Changes<'s, (K, U)> {
    // With the number of values.
    let mut all: FastMap<K, (i64, A)> = FastMap::default();
    let groups = graph.key_groups();
    let by_key = route(move |((k, _), ..): &((K, V), BatchTime, i64)| groups.of(k));
    batched(&graph.flow.silent_when_empty(), operator, pairs, by_key, by_batch, move |tick, changes: Vec<((K, V), i64)>, emit| {
        let mut changed: FastMap<K, Vec<(V, i64)>> = FastMap::default();
        for ((k, v), n) in changes {
            changed.entry(k).or_default().push((v, n));
        }
        let mut rows = Vec::with_capacity(2 * changed.len());
        for (k, values) in changed {
            let (mut count, mut accumulator) = all.remove(&k).unwrap_or_else(|| (0, init.clone()));
            let of = |count: i64, accumulator: &A| (count > 0).then(|| result(&k, accumulator));
            let old = of(count, &accumulator);
            for (v, n) in values {
                count += n;
                fold(&mut accumulator, v, n);
            }
            let new = of(count, &accumulator);
            if old != new {
                rows.extend(old.map(|u| ((k.clone(), u), tick.time, -1)));
                rows.extend(new.map(|u| ((k.clone(), u), tick.time, 1)));
            }
            if count != 0 {
                all.insert(k, (count, accumulator));
            }
        }
        emit(rows);
    })
}
