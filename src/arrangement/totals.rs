//! Totals by key: how many values each key of a view has, and their sum. A change costs the same, however many values there are.

use crate::api::context::Graph;
use crate::api::view::Changes;
use crate::core::data::{FastMap, Key};
use crate::core::time::BatchTime;
use crate::engine::flow::{batched, by_batch, route};
use crate::engine::operator_id::OperatorId;

/// The number of values, and their sum. A product of two 64 bit numbers fits into 128 bits, and so do sums of as many as there are rows.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub count: i64,
    pub sum: i128,
}

impl Total {
    fn plus(self, other: Total) -> Total {
        Total { count: self.count + other.count, sum: self.sum + other.sum }
    }
}

/// What `row` makes of the total of each key that has values, at the owner of the key.
pub(crate) fn totals<'s, K: Key, U: Key>(
    graph: &Graph<'s>,
    operator: &OperatorId,
    pairs: Changes<'s, (K, i64)>,
    row: impl Fn(&K, BatchTime, Total) -> Option<U> + 'static,
) -> Changes<'s, (K, U)> {
    let mut all: FastMap<K, Total> = FastMap::default();
    let groups = graph.key_groups();
    let by_key = route(move |((k, _), ..): &((K, i64), BatchTime, i64)| groups.of(k));
    batched(
        &graph.flow.silent_when_empty(),
        operator,
        pairs,
        by_key,
        by_batch,
        move |tick, changes: Vec<((K, i64), i64)>, emit| {
            let mut changed: FastMap<K, Total> = FastMap::default();
            for ((k, v), n) in changes {
                let total = changed.entry(k).or_default();
                *total = total.plus(Total { count: n, sum: i128::from(v) * i128::from(n) });
            }
            let mut rows = Vec::with_capacity(2 * changed.len());
            for (k, change) in changed {
                let before = all.remove(&k).unwrap_or_default();
                let now = before.plus(change);
                let of = |total: Total| if total.count > 0 { row(&k, tick.time, total) } else { None };
                let (old, new) = (of(before), of(now));
                if old != new {
                    rows.extend(old.map(|u| ((k.clone(), u), tick.time, -1)));
                    rows.extend(new.map(|u| ((k.clone(), u), tick.time, 1)));
                }
                if now != Total::default() {
                    all.insert(k, now);
                }
            }
            emit(rows);
        },
    )
}
