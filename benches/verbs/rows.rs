//! Verbs of one row or one partition, and those of whole batches.

use tidemill::prelude::*;

use super::shared::random;
use super::{Entry, Keys, Pair, dropped, each, sums};

pub const VERBS: &[Entry] = &[
    ("the source alone", |s| dropped(s.clone()), |all| each(all, |b| b)),
    (
        "map",
        |s| dropped(s.map(|(k, n)| (k, n + 1))),
        |all| {
            each(all, |b| b.into_iter().map(|(k, n)| (k, n + 1)).collect::<Vec<_>>());
        },
    ),
    (
        "filter",
        |s| dropped(s.filter(|(_, n)| n % 2 == 0)),
        |all| {
            each(all, |mut b| {
                b.retain(|(_, n)| n % 2 == 0);
                b
            });
        },
    ),
    (
        "flat_map",
        |s| dropped(s.flat_map(|(k, n)| [(k, n), (k, -n)])),
        |all| {
            each(all, |b| b.into_iter().flat_map(|(k, n)| [(k, n), (k, -n)]).collect::<Vec<_>>());
        },
    ),
    (
        "map_partitions",
        |s| dropped(s.map_partitions(|rows| vec![rows.len()])),
        |all| {
            each(all, |b| b.len());
        },
    ),
    ("union", |s| dropped(s.union(s)), |all| each(all, |b| [b.clone(), b])),
    ("count", |s| dropped(s.count()), |all| each(all, |b| b.len())),
    (
        "reduce",
        |s| dropped(s.map(|(_, n)| n).reduce(|a, b| a.max(b))),
        |all| {
            each(all, |b| b.into_iter().map(|(_, n)| n).max());
        },
    ),
    (
        "count_by_value",
        |s| dropped(s.map(|(k, _)| k).count_by_value()),
        |all| {
            each(all, |b| sums(b.into_iter().map(|(k, _)| (k, 1)).collect()));
        },
    ),
    (
        "distinct",
        |s| dropped(s.map(|(k, _)| k).distinct()),
        |all| {
            each(all, |b| {
                let set: Keys = b.into_iter().map(|(k, _)| k).collect();
                set
            });
        },
    ),
    (
        "sort_by",
        |s| dropped(s.sort_by(|(_, n)| *n)),
        |all| {
            each(all, |mut b| {
                b.sort_by_key(|(_, n)| *n);
                b
            });
        },
    ),
    ("take 10", |s| dropped(s.take(10)), |all| each(all, |b| b[..10].to_vec())),
    (
        "top_by 10",
        |s| dropped(s.top_by(10, |(_, n)| *n)),
        |all| {
            each(all, |mut b| {
                b.select_nth_unstable_by_key(10, |(_, n)| std::cmp::Reverse(*n));
                b.truncate(10);
                b.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
                b
            });
        },
    ),
    (
        "transform",
        |s| dropped(s.transform(|b| b.filter(|(_, n)| n % 2 == 0))),
        |all| {
            each(all, |mut b| {
                b.retain(|(_, n)| n % 2 == 0);
                b
            });
        },
    ),
    (
        "zip_with_index",
        |s| dropped(s.zip_with_index()),
        |all| {
            each(all, |b| b.into_iter().zip(0u64..).collect::<Vec<_>>());
        },
    ),
    (
        "repartition",
        |s| dropped(s.repartition(8)),
        |all| {
            each(all, |b| {
                let mut parts: [Vec<Pair>; 8] = Default::default();
                b.into_iter().enumerate().for_each(|(i, row)| parts[i % 8].push(row));
                parts
            });
        },
    ),
    (
        "try_map",
        |s| dropped(s.try_map(|(k, n)| Ok((*k, n + 1))).oks()),
        |all| {
            each(all, |b| b.into_iter().map(|(k, n)| Ok((k, n + 1))).collect::<Result<Vec<_>, BoxError>>());
        },
    ),
    ("glom", |s| dropped(s.glom()), |all| each(all, |b| vec![b])),
    (
        "sample a tenth",
        |s| dropped(s.sample(0.1, 7)),
        |all| {
            let mut seed = 7;
            each(all, |mut b| {
                b.retain(|_| random(&mut seed).is_multiple_of(10));
                b
            });
        },
    ),
    ("coalesce", |s| dropped(s.coalesce(1)), |all| each(all, |b| b)),
    (
        "count_approx_distinct",
        |s| dropped(s.map(|(k, _)| k).count_approx_distinct(0.05)),
        |all| {
            // The exact number: no loop by hand would have a sketch.
            each(all, |b| b.into_iter().map(|(k, _)| k).collect::<Keys>().len());
        },
    ),
    (
        "count_by",
        |s| dropped(s.count_by::<u32>(|(k, _), out| out.push(k))),
        |all| {
            each(all, |b| sums(b.into_iter().map(|(k, _)| (k, 1)).collect()));
        },
    ),
    (
        "transform_with",
        |s| dropped(s.transform_with(s, |a, b| [a.len() + b.len()])),
        |all| {
            each(all, |b| b.clone().len() + b.len());
        },
    ),
];
