//! Each verb beside the plain Rust loop that does the same, on batches of 100,000 rows: what a batch costs over what it must cost.
//!
//! `scripts/bench verbs [--quick] [VERB]...` runs the named verbs (default: all). Prints a Markdown table: nanoseconds a row on one worker,
//! of the verb and of the loop, and their ratio. The cost of the source, which clones the rows, is in both. Rows are pairs of one of 5,000 keys and
//! a number. What a verb returns is dropped, so no output is measured.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidemill::job::ManualClock;
use tidemill::prelude::*;

#[path = "results.rs"]
#[allow(dead_code, reason = "benches/engine uses the rest")]
mod results;
#[path = "shared.rs"]
#[allow(dead_code, reason = "benches/engine uses the rest")]
mod shared;
use results::{head, middle, row, spread};
use shared::random;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 100_000;
const KEYS: u64 = 5_000;

type Pair = (u32, i64);
type Batches = Arc<[Vec<Pair>]>;
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Verb = for<'s> fn(&DStream<'s, Pair>);
/// Does what the verb does for one batch after the other.
type Loop = fn(&[Vec<Pair>]);

/// Runs the verbs of a stream, and drops its rows.
fn dropped<T: Data>(stream: DStream<'_, T>) {
    let _ = stream.inner();
}

/// Calls `f` with the rows of each batch, cloned as the source does.
fn each<R>(batches: &[Vec<Pair>], mut f: impl FnMut(Vec<Pair>) -> R) {
    batches.iter().for_each(|batch| _ = black_box(f(batch.clone())));
}

/// The values of each key of a batch.
fn grouped(batch: Vec<Pair>) -> Map<u32, Vec<i64>> {
    let mut groups: Map<u32, Vec<i64>> = Map::default();
    batch.into_iter().for_each(|(k, n)| groups.entry(k).or_default().push(n));
    groups
}

/// The sum of each key of a batch.
fn sums(batch: Vec<Pair>) -> Map<u32, i64> {
    let mut sums: Map<u32, i64> = Map::default();
    batch.into_iter().for_each(|(k, n)| *sums.entry(k).or_default() += n);
    sums
}

/// One row of each key.
fn firsts<'s>(s: &DStream<'s, Pair>) -> DStream<'s, Pair> {
    s.reduce_by_key(|a, _| a)
}

const VERBS: [(&str, Verb, Loop); 33] = [
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
                let set: HashSet<u32, foldhash::fast::RandomState> = b.into_iter().map(|(k, _)| k).collect();
                set
            });
        },
    ),
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
        "window of 4 batches",
        |s| dropped(s.window(secs(4), secs(1))),
        |all| {
            let mut window: VecDeque<Vec<Pair>> = VecDeque::new();
            each(all, |b| {
                window.push_back(b);
                if window.len() > 4 {
                    window.pop_front();
                }
                window.iter().flatten().copied().collect::<Vec<_>>()
            });
        },
    ),
    (
        "count_by_value_and_window, update",
        |s| dropped(s.map(|(k, _)| k).count_by_value_and_window(secs(4), secs(1)).update()),
        |all| {
            let (mut window, mut counts): (VecDeque<Map<u32, i64>>, Map<u32, i64>) = Default::default();
            each(all, |b| {
                let pane = sums(b.into_iter().map(|(k, _)| (k, 1)).collect());
                let left = (window.len() == 4).then(|| window.pop_front()).flatten().unwrap_or_default();
                left.iter().for_each(|(k, n)| *counts.entry(*k).or_default() -= n);
                pane.iter().for_each(|(k, n)| *counts.entry(*k).or_default() += n);
                let keys: HashSet<u32> = left.keys().chain(pane.keys()).copied().collect();
                window.push_back(pane);
                keys.into_iter().map(|k| (k, counts[&k])).collect::<Vec<_>>()
            });
        },
    ),
    (
        "reduce_by_key_and_window, update",
        |s| dropped(s.reduce_by_key_and_window(|a, b| a.max(b), secs(4), secs(1)).update()),
        |all| {
            let mut window: VecDeque<Map<u32, i64>> = VecDeque::new();
            each(all, |b| {
                let mut pane: Map<u32, i64> = Map::default();
                b.into_iter().for_each(|(k, n)| _ = pane.entry(k).and_modify(|m| *m = n.max(*m)).or_insert(n));
                window.push_back(pane);
                if window.len() > 4 {
                    window.pop_front();
                }
                let mut most: Map<u32, i64> = Map::default();
                window.iter().flatten().for_each(|(k, n)| _ = most.entry(*k).and_modify(|m| *m = (*m).max(*n)).or_insert(*n));
                most
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
];

/// How long a job of one worker takes over these batches, start included, in seconds.
fn job(batches: &Batches, verb: Verb) -> f64 {
    let (given, start) = (batches.clone(), Instant::now());
    let job = StreamingContext::builder("verbs", secs(1)).without_logging().without_checkpoint();
    let build = move |ssc: &StreamingContext<'_>| {
        let rows = ssc.test_stream(given.clone());
        verb(&rows);
        // A job needs an output; this one has no rows.
        rows.filter(|_| false).foreach_partition(|| Ok(()), |(), _, _, _| Ok(()));
        Ok(())
    };
    job.start_on_clock(ManualClock::at(0), build).and_then(JobHandle::await_termination).expect("the job of the benchmark");
    start.elapsed().as_secs_f64()
}

fn main() {
    // cargo passes --bench.
    let (options, asked): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|arg| arg != "--bench").partition(|arg| arg.starts_with('-'));
    let unknown = options.iter().find(|o| *o != "--quick").or(asked.iter().find(|a| VERBS.iter().all(|(name, ..)| name != a)));
    if let Some(unknown) = unknown {
        let names: Vec<&str> = VERBS.iter().map(|(name, ..)| *name).collect();
        eprintln!("verbs: no verb or option '{unknown}'; there are: --quick, {}", names.join(", "));
        std::process::exit(2);
    }
    let (runs, count) = if options.is_empty() { (5, 50) } else { (1, 5) };
    let mut seed = 1;
    let mut batch = || (0..ROWS).map(|_| ((random(&mut seed) % KEYS) as u32, (random(&mut seed) % 1_000) as i64)).collect();
    let batches: Batches = (0..count).map(|_| batch()).collect();
    head(&["verb", "ns a row", "the loop", "x the loop"]);
    for (name, verb, plain) in VERBS.iter().filter(|(name, ..)| asked.is_empty() || asked.iter().any(|a| a == name)) {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let start = Instant::now();
            plain(&batches);
            theirs.push(start.elapsed().as_secs_f64() * 1e9 / (count * ROWS) as f64);
            ours.push(job(&batches, *verb) * 1e9 / (count * ROWS) as f64);
            ratios.push(ours[ours.len() - 1] / theirs[theirs.len() - 1]);
        }
        [&mut ours, &mut theirs, &mut ratios].into_iter().for_each(|figures| figures.sort_by(f64::total_cmp));
        row([(*name).to_owned(), format!("{:.1}", middle(&ours)), format!("{:.1}", middle(&theirs)), spread(&ratios, 1)]);
    }
}
