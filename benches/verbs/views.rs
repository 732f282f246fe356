//! Views, what leaves them, and the joins of a stream with one.

use std::collections::BTreeMap;

use super::{Entry, Keys, Map, Pair, dropped, each, sums};

/// The totals of some keys that leave in each batch, with -1, and those that enter, with 1.
fn changed_totals(batches: &[Vec<Pair>], of: impl Fn(u32) -> bool) {
    let mut totals: Map<u32, i64> = Map::default();
    each(batches, |b| {
        let mut changes = Vec::new();
        for (k, n) in sums(b).into_iter().filter(|(k, _)| of(*k)) {
            let before = totals.get(&k).copied();
            let total = totals.entry(k).or_default();
            *total += n;
            if before != Some(*total) {
                changes.extend(before.map(|before| (k, before, -1)));
                changes.push((k, *total, 1));
            }
        }
        changes
    });
}

pub const VERBS: &[Entry] = &[
    (
        "sum_by_key, update",
        |s| dropped(s.sum_by_key().update()),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                let changed = sums(b).into_iter().map(|(k, n)| {
                    let total = totals.entry(k).or_default();
                    *total += n;
                    (k, *total)
                });
                changed.collect::<Vec<_>>()
            });
        },
    ),
    (
        "latest_by_key, update",
        |s| dropped(s.latest_by_key().update()),
        |all| {
            let mut latest: Map<u32, i64> = Map::default();
            each(all, |b| {
                let batch: Map<u32, i64> = b.into_iter().collect();
                latest.extend(batch.iter().map(|(k, n)| (*k, *n)));
                batch.into_iter().collect::<Vec<_>>()
            });
        },
    ),
    (
        "join_view",
        |s| dropped(s.join_view(&s.sum_by_key())),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                b.iter().for_each(|(k, n)| *totals.entry(*k).or_default() += n);
                b.into_iter().map(|(k, n)| (k, (n, totals[&k]))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "join_broadcast",
        |s| dropped(s.join_broadcast(&s.sum_by_key().broadcast())),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                b.iter().for_each(|(k, n)| *totals.entry(*k).or_default() += n);
                b.into_iter().map(|(k, n)| (k, (n, totals[&k]))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "view: map, changes",
        |s| dropped(s.sum_by_key().map(|(k, n)| (k, n / 2)).changes()),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                let changed = sums(b).into_iter().flat_map(|(k, n)| {
                    let total = totals.entry(k).or_default();
                    let before = std::mem::replace(total, *total + n);
                    [(k, before / 2, -1), (k, *total / 2, 1)]
                });
                changed.collect::<Vec<_>>()
            });
        },
    ),
    (
        "view: top_by 10, complete",
        |s| dropped(s.sum_by_key().top_by(10, |(_, n)| *n).complete()),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                b.iter().for_each(|(k, n)| *totals.entry(*k).or_default() += n);
                let mut all: Vec<Pair> = totals.iter().map(|(k, n)| (*k, *n)).collect();
                all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
                all.truncate(10);
                all
            });
        },
    ),
    (
        "view: reduce_by_key, changes",
        |s| dropped(s.sum_by_key().map(|(k, n)| (k % 100, n)).reduce_by_key(i64::max).changes()),
        |all| {
            let (mut totals, mut most): (Map<u32, i64>, Map<u32, BTreeMap<i64, i64>>) = Default::default();
            each(all, |b| {
                for (k, n) in sums(b) {
                    let total = totals.entry(k).or_default();
                    let (before, of_group) = (std::mem::replace(total, *total + n), most.entry(k % 100).or_default());
                    of_group.entry(before).and_modify(|copies| *copies -= 1);
                    of_group.retain(|_, copies| *copies > 0);
                    *of_group.entry(*total).or_default() += 1;
                }
                most.iter().map(|(k, of_group)| (*k, of_group.last_key_value().map(|(n, _)| *n))).collect::<Vec<_>>()
            });
        },
    ),
    (
        "fold_by_key, update",
        |s| dropped(s.fold_by_key(0i64, |sum, n: i64| sum + n).update()),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                let mut changed = Keys::default();
                for (k, n) in b {
                    *totals.entry(k).or_default() += n;
                    changed.insert(k);
                }
                changed.into_iter().map(|k| (k, totals[&k])).collect::<Vec<_>>()
            });
        },
    ),
    (
        "view: distinct, changes",
        |s| dropped(s.map(|(k, _)| k).accumulate().distinct().changes()),
        |all| {
            let mut seen = Keys::default();
            each(all, |b| b.into_iter().map(|(k, _)| k).filter(|k| seen.insert(*k)).collect::<Vec<_>>());
        },
    ),
    (
        "view: count, complete",
        |s| dropped(s.map(|(k, _)| k).accumulate().count().complete()),
        |all| {
            let mut rows = 0;
            each(all, |b| {
                rows += b.len();
                rows
            });
        },
    ),
    (
        "view: join, changes",
        |s| {
            let totals = s.sum_by_key();
            dropped(totals.join(&s.latest_by_key()).changes());
        },
        |all| {
            let (mut totals, mut latest): (Map<u32, i64>, Map<u32, i64>) = Default::default();
            each(all, |b| {
                let mut before: Map<u32, Option<(i64, i64)>> = Map::default();
                for (k, n) in b {
                    before.entry(k).or_insert_with(|| Some((*totals.get(&k)?, latest[&k])));
                    *totals.entry(k).or_default() += n;
                    latest.insert(k, n);
                }
                let changed = before.into_iter().flat_map(|(k, old)| {
                    let new = (totals[&k], latest[&k]);
                    [old.map(|old| (k, old, -1)), Some((k, new, 1))]
                });
                changed.flatten().collect::<Vec<_>>()
            });
        },
    ),
    (
        "view: semi_join, changes",
        |s| {
            let totals = s.sum_by_key();
            dropped(totals.semi_join(&totals.filter(|(k, _)| k % 2 == 0)).changes());
        },
        |all| changed_totals(all, |k| k % 2 == 0),
    ),
    (
        "view: anti_join, changes",
        |s| {
            let totals = s.sum_by_key();
            dropped(totals.anti_join(&totals.filter(|(k, _)| k % 2 == 0)).changes());
        },
        |all| changed_totals(all, |k| k % 2 == 1),
    ),
    (
        "view: sort_by, complete",
        |s| dropped(s.sum_by_key().sort_by(|(_, n)| *n).complete()),
        |all| {
            let mut totals: Map<u32, i64> = Map::default();
            each(all, |b| {
                b.iter().for_each(|(k, n)| *totals.entry(*k).or_default() += n);
                let mut rows: Vec<Pair> = totals.iter().map(|(k, n)| (*k, *n)).collect();
                rows.sort_by_key(|(_, n)| *n);
                rows
            });
        },
    ),
];
