//! The rows that output operations get, on any number of workers: whole batches, in order of time. Outputs get a batch in the
//! order of the program.

use std::process::Command;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidemill::api::config::RuntimeArgs;
use tidemill::prelude::*;

use crate::harness::{bag, batches, cases};

/// Runs test batches through a program with outputs, as the harness runs a verb.
fn run<T, F>(workers: u16, given: Vec<Vec<T>>, program: F)
where
    T: Data + Send + Sync,
    F: for<'s> Fn(&DStream<'s, T>) + Send + Sync + 'static,
{
    let build = move |ssc: &StreamingContext<'_>| {
        program(&ssc.test_stream(given.clone()));
        Ok(())
    };
    let job = StreamingContext::builder("outputs", millis(1)).workers(workers);
    job.start_on_clock(tidemill::job::ManualClock::at(0), build).unwrap().await_termination().unwrap();
}

#[test]
fn outputs_take_turns() {
    cases(12, batches(0..20i64), |given| {
        for workers in [1, 2, 4] {
            let log = Arc::new(Mutex::new(Vec::new()));
            let into = log.clone();
            run(workers, given.clone(), move |s| {
                for (name, stream) in [("all", s.clone()), ("once", s.distinct()), ("count", s.count())] {
                    let log = into.clone();
                    stream.foreach_batch(move |b| {
                        log.lock().unwrap().push((b.time().millis(), name, b.iter().copied().collect::<Vec<i64>>()));
                        Ok(())
                    });
                }
            });
            let mut expected = Vec::new();
            for (t, rows) in (1u64..).zip(&given) {
                let mut once = rows.clone();
                once.sort_unstable();
                once.dedup();
                expected.push((t, "all", rows.clone()));
                expected.push((t, "once", bag(once)));
                expected.push((t, "count", vec![rows.len() as i64]));
            }
            prop_assert_eq!(&*log.lock().unwrap(), &expected, "at {} workers", workers);
        }
        Ok(())
    });
}

/// The arguments of `foreach_partition`: time, part, rows.
type Parts<T> = Vec<(u64, u32, Vec<T>)>;

fn parts_of<T, U, F>(workers: u16, given: Vec<Vec<T>>, verb: F) -> (Parts<U>, usize)
where
    T: Data + Send + Sync,
    U: Exchange,
    F: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Send + Sync + 'static,
{
    let (log, made) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (into, makes) = (log.clone(), made.clone());
    run(workers, given, move |s| {
        let (into, makes) = (into.clone(), makes.clone());
        let init = move || {
            *makes.lock().unwrap() += 1;
            Ok(())
        };
        verb(s).foreach_partition(init, move |(), time, part, rows| {
            into.lock().unwrap().push((time.millis(), part, rows.to_vec()));
            Ok(())
        });
    });
    let (log, made) = (log.lock().unwrap().clone(), *made.lock().unwrap());
    (log, made)
}

/// Parts are source partitions: the same at any number of workers, in order, and not empty. `init` is called once per part.
#[test]
fn parts_of_a_source() {
    cases(12, batches(0..50i64), |given| {
        let mut expected = Vec::new();
        for (t, rows) in (1u64..).zip(&given) {
            let cut = |l: usize| rows.len() * l / 4;
            let part = |l: usize| (t, l as u32, rows[cut(l)..cut(l + 1)].to_vec());
            expected.extend((0..4).map(part).filter(|(.., rows)| !rows.is_empty()));
        }
        let mut partitions: Vec<u32> = expected.iter().map(|p| p.1).collect();
        partitions.sort_unstable();
        partitions.dedup();
        for workers in [1, 2, 4] {
            let (parts, made) = parts_of(workers, given.clone(), |s| s.map(|n: i64| n));
            prop_assert_eq!(&parts, &expected, "at {} workers", workers);
            prop_assert_eq!(made, partitions.len());
        }
        Ok(())
    });
}

/// The parts of an unordered stream are eight shards of key groups, with rows by their encoding. An ordered stream is one part.
#[test]
fn parts_of_unordered_and_of_ordered_rows() {
    cases(12, batches(0..50i64), |given| {
        let mut expected = Vec::new();
        for (t, rows) in (1u64..).zip(&given) {
            let mut once = rows.clone();
            once.sort_unstable();
            once.dedup();
            let shard =
                |s| bag(once.iter().copied().filter(|n| tidemill::core::key_groups::KeyGroups::default().of(n) * 8 / 128 == s));
            expected.extend((0..8).map(|s| (t, s as u32, shard(s))).filter(|(.., rows)| !rows.is_empty()));
        }
        let whole: Parts<i64> = (1u64..).zip(&given).map(|(t, rows)| (t, 0, vec![rows.len() as i64])).collect();
        for workers in [1, 2, 4] {
            prop_assert_eq!(&parts_of(workers, given.clone(), |s| s.distinct()).0, &expected, "at {} workers", workers);
            prop_assert_eq!(&parts_of(workers, given.clone(), |s| s.count()).0, &whole, "at {} workers", workers);
        }
        Ok(())
    });
}

/// The batches of two streams come together, each in its order, also if they are empty.
#[test]
fn two_streams_take_turns_together() {
    cases(12, batches(0..50u8), |given| {
        for workers in [1, 2, 4] {
            let log = Arc::new(Mutex::new(Vec::new()));
            let into = log.clone();
            run(workers, given.clone(), move |s| {
                let log = into.clone();
                s.filter(|n| n % 2 == 0).foreach_batch_with(&s.distinct(), move |even, once| {
                    assert_eq!((even.time(), even.offset_ranges()), (once.time(), once.offset_ranges()));
                    let rows = |batch: &tidemill::operator::Batch<u8>| batch.iter().copied().collect::<Vec<_>>();
                    log.lock().unwrap().push((even.time().millis(), rows(even), rows(once)));
                    Ok(())
                });
            });
            let both = |(t, rows): (u64, &Vec<u8>)| {
                let even = rows.iter().copied().filter(|n| n % 2 == 0).collect::<Vec<_>>();
                let once: std::collections::BTreeSet<u8> = rows.iter().copied().collect();
                (t, even, once.into_iter().collect())
            };
            let expected: Vec<_> = (1u64..).zip(&given).map(both).collect();
            prop_assert_eq!(&*log.lock().unwrap(), &expected, "at {} workers", workers);
        }
        Ok(())
    });
}

/// The function runs at the times of both streams. It fails at each first try, and gets the same batches again.
#[test]
fn two_streams_of_other_times_and_a_function_that_fails() {
    cases(6, batches(0..50i64), |given| {
        for workers in [1, 2, 4] {
            let log = Arc::new(Mutex::new(Vec::new()));
            let into = log.clone();
            run(workers, given.clone(), move |s| {
                let (log, mut tries) = (into.clone(), 0);
                let (twos, threes) = (s.window(millis(2), millis(2)), s.window(millis(3), millis(3)));
                twos.foreach_batch_with(&threes, move |two, three| {
                    tries += 1;
                    let sides = [two, three].map(|batch| batch.iter().copied().collect::<Vec<i64>>());
                    log.lock().unwrap().push((two.time().millis(), sides));
                    if tries == 1 { Err("the database is away".into()) } else { Ok(()) }
                });
            });
            let of = |t: usize, n: usize| if t.is_multiple_of(n) { given[t - n..t].concat() } else { vec![] };
            let times = (1..=given.len()).filter(|t| t.is_multiple_of(2) || t.is_multiple_of(3));
            let mut expected: Vec<_> = times.map(|t| (t as u64, [of(t, 2), of(t, 3)])).collect();
            expected.extend(expected.first().cloned());
            expected.sort_by_key(|(t, _)| *t);
            prop_assert_eq!(&*log.lock().unwrap(), &expected, "at {} workers", workers);
        }
        Ok(())
    });
}

/// Rows of a key are in one of eight parts, with those of the other stream. `init` is called once per part.
#[test]
fn parts_of_two_streams_by_key() {
    type Sides = (Vec<(u8, i64)>, Vec<(u8, bool)>);
    cases(12, batches((0..40u8, 0..9i64)), |given| {
        let shard = |key: u8| (tidemill::core::key_groups::KeyGroups::default().of(&key) * 8 / 128) as u32;
        let mut expected: Vec<(u64, u32, Sides)> = Vec::new();
        for (t, rows) in (1u64..).zip(&given) {
            for part in 0..8 {
                let mut here: Vec<_> = rows.iter().copied().filter(|(k, _)| shard(*k) == part).collect();
                // It keeps the order of the values of a key.
                here.sort_by_key(|(k, _)| *k);
                let few: Vec<_> = here.iter().copied().filter(|(_, n)| *n < 5).collect();
                let odd: Vec<_> = here.iter().filter(|(_, n)| n % 2 == 1).map(|(k, n)| (*k, *n > 4)).collect();
                if !few.is_empty() || !odd.is_empty() {
                    expected.push((t, part, (few, odd)));
                }
            }
        }
        let parts: std::collections::BTreeSet<u32> = expected.iter().map(|part| part.1).collect();
        for workers in [1, 2, 4] {
            let (log, made) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
            let (into, makes) = (log.clone(), made.clone());
            run(workers, given.clone(), move |s| {
                let (into, makes) = (into.clone(), makes.clone());
                let init = move || {
                    *makes.lock().unwrap() += 1;
                    Ok(())
                };
                let few = s.filter(|(_, n)| *n < 5);
                let odd = s.filter(|(_, n)| n % 2 == 1).map_values(|n: i64| n > 4);
                few.foreach_partition_with(&odd, init, move |(), time, part, few, odd| {
                    into.lock().unwrap().push((time.millis(), part, (few.to_vec(), odd.to_vec())));
                    Ok(())
                });
            });
            prop_assert_eq!(&*log.lock().unwrap(), &expected, "at {} workers", workers);
            prop_assert_eq!(*made.lock().unwrap(), parts.len());
        }
        Ok(())
    });
}

/// The number of workers for `prints_here`, which the test `print` starts as a child process.
const WORKERS: &str = "TIDEMILL_TEST_PRINT_WORKERS";

fn printed_batches() -> Vec<Vec<i64>> {
    vec![(0..500).map(|n| n * n % 83).collect(), vec![], vec![5, 4], (0..3).collect()]
}

#[test]
#[ignore = "the child of `print`: it writes to stdout"]
fn prints_here() {
    let workers = std::env::var(WORKERS).unwrap().parse().unwrap();
    let utc = jiff::tz::TimeZone::UTC;
    let args = RuntimeArgs { workers, time_zone: Some(utc), ..RuntimeArgs::default() };
    let build = |ssc: &StreamingContext<'_>| {
        let s = ssc.test_stream(printed_batches());
        s.print(3);
        s.distinct().print(3);
        s.count().map(|n| format!("{n} rows")).union(&s.map(|n| n.to_string())).print(2);
        s.count_by_value().sort_by(|(n, _)| -n).print(usize::MAX);
        Ok(())
    };
    let job = StreamingContext::builder("prints", millis(1_000)).runtime(args);
    job.start_on_clock(tidemill::job::ManualClock::at(0), build).unwrap().await_termination().unwrap();
}

/// Each worker keeps only the rows that `print` may show. The printed bytes are the same at any number of workers.
#[test]
fn print() {
    let rule = "-------------------------------------------";
    let mut expected = String::new();
    for (t, rows) in printed_batches().into_iter().enumerate() {
        let mut block = |rows: Vec<String>, n: usize| {
            let more = if rows.len() > n { "...\n" } else { "" };
            let lines: String = rows.iter().take(n).map(|r| format!("{r}\n")).collect();
            expected += &format!("{rule}\nTime: 1970-01-01 00:00:0{}\n{rule}\n{lines}{more}\n", t + 1);
        };
        let text = |rows: &[i64]| rows.iter().map(i64::to_string).collect::<Vec<_>>();
        let mut once = rows.clone();
        once.sort_unstable();
        once.dedup();
        let mut by_text = text(&once);
        by_text.sort_unstable();
        block(text(&rows), 3);
        block(by_text, 3);
        block([vec![format!("{} rows", rows.len())], text(&rows)].concat(), 2);
        let count = |n: &i64| format!("({n}, {})", rows.iter().filter(|r| *r == n).count());
        block(once.iter().rev().map(count).collect(), usize::MAX);
    }
    for workers in ["1", "2", "4"] {
        let me = std::env::current_exe().unwrap();
        let child = format!("{}::prints_here", module_path!().split_once("::").unwrap().1);
        let args = ["--exact", &child, "--ignored", "--nocapture", "--test-threads=1"];
        let out = Command::new(me).args(args).env(WORKERS, workers).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let from = text.find(rule).unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&out.stderr)));
        let blocks = &text[from..];
        assert!(blocks.starts_with(&expected), "at {workers} workers:\n{blocks}\nexpected:\n{expected}");
        assert!(blocks[expected.len()..].starts_with("test ") || blocks[expected.len()..].starts_with("ok"), "{blocks}");
    }
}
