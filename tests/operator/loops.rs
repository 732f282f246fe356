//! Loops of views: what a closure makes of the rows, round by round, against the same function on lists; their bound; their panics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::model::*;
use tidemill::Error;
use tidemill::core::time::millis;
use tidemill::job::ManualClock;
use tidemill::prelude::{DStream, LoopView, MemorySink, Rounds, StreamingContext};
use tidemill::testing::try_run;

type Pair = (u8, i64);
type Step = for<'i> fn(&LoopView<'i, Pair>) -> LoopView<'i, Pair>;
type Model = fn(Vec<Pair>) -> Vec<Pair>;

fn keyed(rows: Vec<Pair>, f: impl Fn(Vec<i64>) -> i64) -> Vec<Pair> {
    by_key(rows).into_iter().map(|(k, vs)| (k, f(vs))).collect()
}

/// Each verb inside a loop, and what it does to a list of rows.
const STEPS: [(&str, Step, Model); 15] = [
    ("map", |v| v.map(|(k, n)| (k, n / 2)), |rows| rows.into_iter().map(|(k, n)| (k, n / 2)).collect()),
    ("filter", |v| v.filter(|(_, n)| *n != 1), |rows| rows.into_iter().filter(|(_, n)| *n != 1).collect()),
    (
        "flat_map",
        |v| v.flat_map(|(k, n)| [(k, n), (k + 1, n - 1)]),
        |rows| rows.into_iter().flat_map(|(k, n)| [(k, n), (k + 1, n - 1)]).collect(),
    ),
    ("map_values", |v| v.map_values(|n| n - 1), |rows| rows.into_iter().map(|(k, n)| (k, n - 1)).collect()),
    ("union", |v| v.union(&v.map_values(|n| -n)), |rows| rows.into_iter().flat_map(|(k, n)| [(k, n), (k, -n)]).collect()),
    (
        "negate",
        // What is not 0, by taking away what is.
        |v| v.union(&v.filter(|(_, n)| *n == 0).negate()),
        |rows| rows.into_iter().filter(|(_, n)| *n != 0).collect(),
    ),
    ("times", |v| v.times(3), |rows| rows.into_iter().flat_map(|row| [row; 3]).collect()),
    (
        "join",
        |v| v.join(&v.filter(|(_, n)| *n > 0)).map(|(k, (n, m))| (k, (n + m) % 3)).distinct(),
        |rows| {
            let pairs = rows
                .iter()
                .flat_map(|(k, n)| rows.iter().filter(move |(l, m)| k == l && *m > 0).map(move |(_, m)| (*k, (n + m) % 3)));
            counts(pairs.collect()).into_iter().map(|(row, _)| row).collect()
        },
    ),
    (
        "join_keys",
        |v| v.join_keys(&v.filter(|(_, n)| *n > 0).map(|(k, _)| k)).threshold(|_, n| n % 4),
        |rows| {
            let copies = |k| rows.iter().filter(|(l, m)| *l == k && *m > 0).count() as i64;
            counts(rows.clone()).into_iter().flat_map(|((k, v), n)| vec![(k, v); (n * copies(k) % 4) as usize]).collect()
        },
    ),
    ("distinct", |v| v.distinct(), |rows| counts(rows).into_iter().map(|(row, _)| row).collect()),
    (
        "threshold",
        |v| v.threshold(|(k, _), n| n - i64::from(k % 2)),
        |rows| counts(rows).into_iter().flat_map(|((k, v), n)| vec![(k, v); (n - i64::from(k % 2)) as usize]).collect(),
    ),
    (
        "reduce_by_key",
        |v| v.reduce_by_key(|a, b| a * 2 + b),
        |rows| {
            keyed(rows, |mut vs| {
                vs.sort_unstable();
                vs.into_iter().reduce(|a, b| a * 2 + b).unwrap()
            })
        },
    ),
    ("min_by_key", |v| v.min_by_key(), |rows| keyed(rows, |vs| vs.into_iter().min().unwrap())),
    ("max_by_key", |v| v.max_by_key(), |rows| keyed(rows, |vs| vs.into_iter().max().unwrap())),
    (
        "sum_by_key",
        |v| v.flat_map(|(k, n)| [(k / 2, n), (k, 1)]).sum_by_key(),
        |rows| keyed(rows.into_iter().flat_map(|(k, n)| [(k / 2, n), (k, 1)]).collect(), |vs| vs.iter().sum()),
    ),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..few() })]

    #[test]
    fn a_loop_is_its_function_again_and_again(shape in shape(), rounds in 0u64..4, batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        for (name, step, model) in STEPS {
            let contents = each(windows(&batches, shape), |rows| (0..rounds).fold(rows, |rows, _| model(rows)));
            let checked = check_view(&batches, contents, move |s| s.over(length, slide).iterate_with(Rounds::Exactly(rounds), step));
            checked.map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
        }
    }
}

proptest! {
    #![proptest_config(few())]

    /// The pairs that follow from the pairs in a window, and no more of those that followed from what left.
    #[test]
    fn closure(shape in shape(), batches in batches((0u8..5, 0u8..5))) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let closed = each(windows(&batches, shape), |rows| {
            let mut all = BTreeSet::from_iter(rows);
            loop {
                let more: Vec<_> = all.iter().flat_map(|(a, b)| all.iter().filter(move |(c, _)| b == c).map(|(_, d)| (*a, *d))).collect();
                let before = all.len();
                all.extend(more);
                if all.len() == before {
                    return all.into_iter().collect();
                }
            }
        });
        check_view(&batches, closed, move |s| {
            s.over(length, slide).iterate(|pairs| {
                let back = pairs.map(|(a, b)| (b, a));
                back.join(pairs).map(|(_, (a, c))| (a, c)).union(pairs).distinct()
            })
        })?;
    }

    /// A view with another schedule enters: the result changes at the times of both.
    #[test]
    fn enter(a in shape(), b in shape(), batches in batches((0u8..6, 0u8..6))) {
        let [(l, s), (m, u)] = [a, b].map(|(length, slide)| (millis(length as u64), millis(slide as u64)));
        let contents = two_windows(&batches, a, b).into_iter().map(|(t, begins, pairs)| {
            let mut met: BTreeSet<u8> = begins.iter().map(|(a, _)| *a).collect();
            while let Some((_, to)) = pairs.iter().find(|(from, to)| met.contains(from) && !met.contains(to)) {
                met.insert(*to);
            }
            (t, met.into_iter().map(|n| (n, ())).collect())
        });
        check_view(&batches, contents.collect(), move |d| {
            let pairs = d.over(m, u);
            d.over(l, s).map(|(a, _)| (a, ())).iterate(move |met| {
                met.enter(&pairs).join(met).map(|(_, (to, ()))| (to, ())).union(met).distinct()
            })
        })?;
    }
}

/// A number is halved until it is 0: 100 needs seven rounds.
fn halved(rounds: Rounds) -> impl for<'s> Fn(&DStream<'s, u64>) -> DStream<'s, u64> + Clone + Send + Sync + 'static {
    fn same<F: for<'s> Fn(&DStream<'s, u64>) -> DStream<'s, u64>>(f: F) -> F {
        f
    }
    same(move |s| s.over(millis(1), millis(1)).iterate_with(rounds, |v| v.map(|n| n / 2)).complete())
}

#[test]
fn a_loop_may_have_as_many_rounds_as_its_bound() {
    let batches = [vec![1, 2], vec![100], vec![], vec![127, 3]];
    tidemill::testing::check(batches, halved(Rounds::AtMost(7)), [vec![0, 0], vec![0], vec![], vec![0, 0]]);
}

#[test]
fn a_loop_that_does_not_converge_names_the_view_the_batch_and_a_row() {
    for workers in [1, 2, 4] {
        let memory = MemorySink::new();
        let out = memory.clone();
        let job = StreamingContext::builder("loops", millis(1)).workers(workers);
        let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
            halved(Rounds::AtMost(6))(&ssc.test_stream(vec![vec![1, 2], vec![100], vec![3]])).to_memory(&out);
            Ok(())
        });
        let e = crate::harness::in_time(move || job.unwrap().await_termination()).unwrap_err();
        let Error::TooManyRounds { operator, rounds, row, time } = &e else { panic!("{e}") };
        assert!(operator.contains("iterate#1") && operator.contains("iterate (loops.rs:"), "{operator}");
        assert_eq!((*rounds, time.millis()), (6, 2));
        assert!(["0", "1"].contains(&&**row), "from 1 to 0 in the seventh round: {row}");
        assert!(memory.batches().iter().all(|(t, _)| t.millis() < 2), "nothing of the batch is written");
        assert!(e.to_string().contains("iterate_with(Rounds::AtMost(n), ..)"), "{e}");
    }
}

/// Each panic is in the third round of the second batch: 9, 8 and 7 are taken away from 10.
#[test]
fn a_panic_names_the_verb_the_round_and_the_batch() {
    fn seven(n: i64) -> i64 {
        if n == 7 { panic!("seven") } else { n }
    }
    let steps: [(&str, Step); 5] = [
        ("map", |v| v.map(|(k, n)| (k, seven(n - 1).max(0)))),
        ("filter", |v| v.map(|(k, n)| (k, (n - 1).max(0))).filter(|(_, n)| seven(*n) >= 0)),
        ("flat_map", |v| v.flat_map(|(k, n)| Some((k, seven(n - 1).max(0))))),
        ("reduce_by_key", |v| v.map(|(k, n)| (k, (n - 1).max(0))).flat_map(|row| [row; 2]).reduce_by_key(|a, b| seven(a).max(b))),
        ("threshold", |v| v.map(|(k, n)| (k, (n - 1).max(0))).threshold(|(_, n), copies| seven(*n).min(0) + copies)),
    ];
    for (verb, step) in steps {
        for workers in [1, 2, 4] {
            let end = crate::harness::in_time(move || {
                try_run(workers, millis(1), vec![vec![(1, 2)], vec![(2, 10), (3, 2)]], move |s| {
                    s.accumulate().iterate(step).complete()
                })
            });
            let Err(Error::WorkerPanicked { operator, batch, message, .. }) = &end else { panic!("{verb}: {end:?}") };
            assert!(operator.starts_with(&format!("{verb} (loops.rs:")) && operator.ends_with(", round 2"), "{verb}: {operator}");
            assert_eq!((batch.unwrap().millis(), &**message), (2, "seven"), "{verb}");
        }
    }
}

#[test]
fn a_sum_inside_a_loop_that_does_not_fit_names_its_key() {
    let end = try_run(2, millis(1), vec![vec![(7u8, i64::MAX / 2)]], |s| {
        s.accumulate().iterate(|v| v.times(4).sum_by_key()).complete()
    });
    let Err(Error::WorkerPanicked { operator, message, .. }) = &end else { panic!("{end:?}") };
    assert!(operator.starts_with("sum_by_key (loops.rs:") && operator.ends_with(", round 0"), "{operator}");
    assert_eq!(message, "the sum of 7 does not fit into 64 bits");
}

#[test]
fn a_loop_without_output_is_not_built() {
    for read in [false, true] {
        let (runs, memory) = (Arc::new(AtomicUsize::new(0)), MemorySink::new());
        let (counted, out) = (runs.clone(), memory.clone());
        let job = StreamingContext::builder("loops", millis(1)).workers(2).start_on_clock(ManualClock::at(0), move |ssc| {
            let rows = ssc.test_stream(vec![vec![8u8]]).accumulate();
            let counted = counted.clone();
            let halved = rows.iterate(move |v| {
                counted.fetch_add(1, Ordering::Relaxed);
                v.map(|n| n / 2)
            });
            if read { halved.complete() } else { rows.complete() }.to_memory(&out);
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        assert_eq!(memory.rows(), [if read { 0 } else { 8 }]);
        // The rehearsal and two workers.
        assert_eq!(runs.load(Ordering::Relaxed), if read { 6 } else { 3 });
    }
}
