//! Verbs of pairs: by key, joins, and states.

use tidemill::prelude::*;

use super::{Entry, Map, Pair, dropped, each, grouped, sums};

/// One row of each key.
fn firsts<'s>(s: &DStream<'s, Pair>) -> DStream<'s, Pair> {
    s.reduce_by_key(|a, _| a)
}

/// One row of each even key.
fn halves<'s>(s: &DStream<'s, Pair>) -> DStream<'s, Pair> {
    firsts(&s.filter(|(k, _)| k % 2 == 0))
}

/// The same by hand.
fn half(batch: &[Pair]) -> Map<u32, i64> {
    let mut firsts: Map<u32, i64> = Map::default();
    batch.iter().filter(|(k, _)| k % 2 == 0).for_each(|(k, n)| _ = firsts.entry(*k).or_insert(*n));
    firsts
}

pub const VERBS: &[Entry] = &[
    ("reduce_by_key", |s| dropped(s.reduce_by_key(|a, b| a + b)), |all| each(all, sums)),
    (
        "aggregate_by_key",
        |s| dropped(s.aggregate_by_key(0i64, |a, n| a.max(n), |a, b| a.max(b))),
        |all| {
            each(all, |b| {
                let mut most: Map<u32, i64> = Map::default();
                b.into_iter().for_each(|(k, n)| _ = most.entry(k).and_modify(|m| *m = n.max(*m)).or_insert(n));
                most
            });
        },
    ),
    ("group_by_key", |s| dropped(s.group_by_key()), |all| each(all, grouped)),
    (
        "join with one row a key",
        |s| dropped(s.join(&firsts(s))),
        |all| {
            each(all, |b| {
                let mut firsts: Map<u32, i64> = Map::default();
                b.iter().for_each(|(k, n)| _ = firsts.entry(*k).or_insert(*n));
                b.into_iter().map(|(k, n)| (k, (n, firsts[&k]))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "cogroup",
        |s| dropped(s.cogroup(&firsts(s))),
        |all| {
            each(all, |b| {
                let firsts: Map<u32, i64> = b.iter().copied().collect();
                let both = grouped(b).into_iter().map(|(k, ns)| (k, (ns, vec![firsts[&k]])));
                both.collect::<Vec<_>>()
            });
        },
    ),
    (
        "update_state_by_key",
        |s| dropped(s.update_state_by_key(|new: &[i64], sum| Some(new.iter().sum::<i64>() + sum.unwrap_or(0)))),
        |all| {
            let mut states: Map<u32, i64> = Map::default();
            each(all, |b| {
                grouped(b).into_iter().for_each(|(k, ns)| *states.entry(k).or_default() += ns.iter().sum::<i64>());
                states.iter().map(|(k, n)| (*k, *n)).collect::<Vec<_>>()
            });
        },
    ),
    (
        "map_with_state",
        |s| {
            let add = |_: BatchTime, k: &u32, n: Option<i64>, sum: &mut State<i64>| {
                let total = sum.get().unwrap_or(&0) + n.unwrap_or(0);
                sum.update(total);
                Some((*k, total))
            };
            dropped((*s.map_with_state(StateSpec::function(add))).clone());
        },
        |all| {
            let mut states: Map<u32, i64> = Map::default();
            each(all, |b| {
                let each = b.into_iter().map(|(k, n)| {
                    let sum = states.entry(k).or_default();
                    *sum += n;
                    (k, *sum)
                });
                each.collect::<Vec<_>>()
            });
        },
    ),
    ("keys", |s| dropped(s.keys()), |all| each(all, |b| b.into_iter().map(|(k, _)| k).collect::<Vec<_>>())),
    ("values", |s| dropped(s.values()), |all| each(all, |b| b.into_iter().map(|(_, n)| n).collect::<Vec<_>>())),
    (
        "map_values",
        |s| dropped(s.map_values(|n| n + 1)),
        |all| {
            each(all, |b| b.into_iter().map(|(k, n)| (k, n + 1)).collect::<Vec<_>>());
        },
    ),
    (
        "flat_map_values",
        |s| dropped(s.flat_map_values(|n| [n, -n])),
        |all| {
            each(all, |b| b.into_iter().flat_map(|(k, n)| [(k, n), (k, -n)]).collect::<Vec<_>>());
        },
    ),
    (
        "partition_by",
        |s| dropped(s.partition_by(8)),
        |all| {
            each(all, |b| {
                let mut parts: [Vec<Pair>; 8] = Default::default();
                b.into_iter().for_each(|row| parts[row.0 as usize % 8].push(row));
                parts
            });
        },
    ),
    (
        "combine_by_key",
        |s| dropped(s.combine_by_key(|n| (n, 1i64), |(sum, rows), n| (sum + n, rows + 1), |a, b| (a.0 + b.0, a.1 + b.1))),
        |all| {
            each(all, |b| {
                let mut means: Map<u32, (i64, i64)> = Map::default();
                for (k, n) in b {
                    let mean = means.entry(k).or_default();
                    *mean = (mean.0 + n, mean.1 + 1);
                }
                means
            });
        },
    ),
    (
        "left_outer_join with one row of half of the keys",
        |s| dropped(s.left_outer_join(&halves(s))),
        |all| {
            each(all, |b| {
                let firsts = half(&b);
                b.into_iter().map(|(k, n)| (k, (n, firsts.get(&k).copied()))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "full_outer_join with one row of half of the keys",
        |s| dropped(s.full_outer_join(&halves(s))),
        |all| {
            // Each key of the other side is on this side, too.
            each(all, |b| {
                let firsts = half(&b);
                b.into_iter().map(|(k, n)| (k, (Some(n), firsts.get(&k).copied()))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "subtract_by_key",
        |s| dropped(s.subtract_by_key(&halves(s))),
        |all| {
            each(all, |mut b| {
                let firsts = half(&b);
                b.retain(|(k, _)| !firsts.contains_key(k));
                b
            });
        },
    ),
];
