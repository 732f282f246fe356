//! Accumulators against a sequential model: their values after each batch, at 1, 2 and 4 workers, and over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use tidemill::job::ManualClock;
use tidemill::metrics::{Accumulators, BatchInfo, StreamingListener};
use tidemill::prelude::*;

use crate::harness::{batches, cases, pairs};
use crate::temp_dir::TempDir;

type Pair = (u8, i64);
/// The values after a batch: sum, least, greatest, set, words of all rows, and the number of keys of each batch added up.
type Values = (i64, Option<i64>, Option<i64>, BTreeSet<u8>, i64, i64);

/// A monoid of a program: the length of all texts, in an own type.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Length(i64);

impl Monoid for Length {
    type Item = String;
    type Value = i64;

    fn add(&mut self, item: String) {
        self.0 += item.len() as i64;
    }

    fn merge(&mut self, other: Length) {
        self.0 += other.0;
    }

    fn value(&self) -> i64 {
        self.0
    }
}

/// What each batch should have, by its number.
fn model(batches: &[Vec<Pair>]) -> BTreeMap<u64, Values> {
    let (mut sum, mut all, mut keys, mut length, mut groups) = (0, Vec::new(), BTreeSet::new(), 0, 0);
    let mut after = |batch: &Vec<Pair>| {
        sum += batch.iter().map(|(_, n)| n).sum::<i64>();
        all.extend(batch.iter().map(|(_, n)| *n));
        keys.extend(batch.iter().map(|(k, _)| *k));
        length += batch.iter().map(|(_, n)| n.to_string().len() as i64).sum::<i64>();
        groups += batch.iter().map(|(k, _)| k).collect::<BTreeSet<_>>().len() as i64;
        (sum, all.iter().min().copied(), all.iter().max().copied(), keys.clone(), length, groups)
    };
    (1..).zip(batches.iter().map(&mut after)).collect()
}

type Seen = Arc<Mutex<BTreeMap<u64, Vec<Values>>>>;

/// A program that adds in several verbs, before and behind an exchange, and in a branch whose output comes after the one that reads.
fn program(ssc: &StreamingContext<'_>, batches: &[Vec<Pair>], seen: &Seen, fail_at: Option<u64>) {
    let sum = ssc.accumulator::<Sum>("sum");
    let (least, greatest) = (ssc.accumulator::<Min<i64>>("least"), ssc.accumulator::<Max<i64>>("greatest"));
    let (keys, length, groups) =
        (ssc.accumulator::<Set<u8>>("keys"), ssc.accumulator::<Length>("length"), ssc.accumulator::<Sum>("groups"));
    let (add, min, max, set, text, count) =
        (sum.clone(), least.clone(), greatest.clone(), keys.clone(), length.clone(), groups.clone());
    let rows = ssc.test_stream(batches.to_vec());
    let added = rows.map(move |(k, n)| {
        add.add(n);
        min.add(n);
        max.add(n);
        (k, n)
    });
    let seen = seen.clone();
    added.count().foreach_batch(move |batch| {
        let t = batch.time().millis();
        let now = (sum.value(), least.value(), greatest.value(), keys.value(), length.value(), groups.value());
        seen.lock().unwrap().entry(t).or_default().push(now);
        if fail_at == Some(t) { Err("pulled out".into()) } else { Ok(()) }
    });
    let kept = rows.filter(move |(k, n)| {
        set.add(*k);
        text.add(n.to_string());
        *n >= 0
    });
    kept.count().print(0);
    rows.reduce_by_key(|a, b| a + b)
        .map(move |pair| {
            count.add(1);
            pair
        })
        .count()
        .print(0);
}

#[test]
fn an_output_reads_what_all_verbs_of_its_batch_and_of_those_before_it_added() {
    cases(6, batches(pairs()), |given| {
        for workers in [1, 2, 4] {
            let (seen, given) = (Seen::default(), given.clone());
            let (log, rows) = (seen.clone(), given.clone());
            let job = StreamingContext::builder("adds", millis(1)).workers(workers).without_checkpoint();
            let build = move |ssc: &StreamingContext<'_>| {
                program(ssc, &rows, &log, None);
                Ok(())
            };
            let summary = job.start_on_clock(ManualClock::at(0), build).unwrap().await_termination().unwrap();
            let seen: BTreeMap<u64, Values> =
                seen.lock().unwrap().iter().map(|(t, calls)| (*t, calls[calls.len() - 1].clone())).collect();
            let expected = model(&given);
            prop_assert_eq!(&seen, &expected, "at {} workers", workers);
            let last = &expected[&(given.len() as u64)];
            let all = &summary.accumulators;
            prop_assert_eq!(
                (all.get::<i64>("sum"), all.get("least"), all.get("keys")),
                (Some(last.0), Some(last.1), Some(last.3.clone()))
            );
            prop_assert_eq!(all.get::<i64>("product"), None);
        }
        Ok(())
    });
}

/// Jobs that fail at a batch and start again on another number of workers. A batch that runs again adds once.
#[test]
fn values_are_those_of_one_run_after_any_failure() {
    let stops = vec((1u16..4, 1u64..10), 1..4);
    cases(6, (vec(vec(pairs(), 0..6), 5..10), stops, 1u64..4), |(given, stops, every)| {
        let (dir, seen, expected) = (TempDir::new("accumulators"), Seen::default(), model(&given));
        let run = |workers, fail_at| {
            let (log, rows) = (seen.clone(), given.clone());
            let job = StreamingContext::builder("adds", millis(1)).workers(workers).checkpoint(&*dir);
            let job = job.checkpoint_interval(millis(every)).output_tries(1);
            let build = move |ssc: &StreamingContext<'_>| {
                program(ssc, &rows, &log, fail_at);
                Ok(())
            };
            job.start_on_clock(ManualClock::at(0), build).and_then(JobHandle::await_termination)
        };
        for (workers, fail_at) in stops {
            if let Err(e) = run(workers, Some(fail_at)) {
                prop_assert!(e.to_string().contains("pulled out"), "{}", e);
            }
        }
        run(2, None).unwrap();
        for (t, calls) in &*seen.lock().unwrap() {
            prop_assert!(calls.iter().all(|now| now == &expected[t]), "batch {}: {:?}", t, calls);
        }
        prop_assert!(seen.lock().unwrap().keys().eq(expected.keys()), "every batch was written");
        Ok(())
    });
}

#[test]
#[should_panic(expected = "\"sum\" is of type i64, and it was read as i32")]
fn a_value_is_read_as_the_type_it_is() {
    let job = StreamingContext::builder("typed", millis(1)).without_checkpoint();
    let build = |ssc: &StreamingContext<'_>| {
        let sum = ssc.accumulator::<Sum>("sum");
        ssc.test_stream(vec![vec![1, 2]]).map(move |n: i64| sum.add(n)).count().print(0);
        Ok(())
    };
    job.run(build).unwrap().accumulators.get::<i32>("sum");
}

#[derive(Default)]
struct Log(Mutex<Vec<Accumulators>>);

impl StreamingListener for Log {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.0.lock().unwrap().push(batch.accumulators.clone());
    }
}

#[test]
fn a_listener_gets_the_values_of_each_batch() {
    let (queue, log) = (QueueSource::new(), Arc::new(Log::default()));
    let (numbers, clock) = (queue.clone(), ManualClock::at(5));
    let job = StreamingContext::builder("heard", millis(10)).workers(2).without_checkpoint();
    let job = job.start_on_clock(clock.clone(), move |ssc| {
        let longest = ssc.accumulator::<Max<i64>>("longest");
        ssc.queue_stream(&numbers)
            .map(move |n: i64| {
                longest.add(n);
                n
            })
            .print(0);
        Ok(())
    });
    let job = job.unwrap();
    job.add_streaming_listener(log.clone());
    for (tick, rows, heard) in [(10, vec![3, 7], 1), (20, vec![5], 2), (30, vec![8], 3)] {
        queue.push(rows);
        clock.set(tick);
        crate::harness::eventually("the batch is complete", || log.0.lock().unwrap().len() == heard);
    }
    let longest: Vec<Option<i64>> = log.0.lock().unwrap().iter().map(|all| all.get("longest").unwrap()).collect();
    assert_eq!(longest, [Some(7), Some(7), Some(8)]);
    let now = job.statistics();
    assert_eq!(now.accumulators, now.last.unwrap().accumulators);
    assert_eq!(now.accumulators.iter().map(|a| (&*a.name, &*a.text)).collect::<Vec<_>>(), [("longest", "Some(8)")]);
    job.stop_now().unwrap();
}

/// The error of a job of a few rows.
fn error(program: impl for<'s> Fn(&StreamingContext<'s>, &DStream<'s, Pair>) + Send + Sync + 'static) -> String {
    let job = StreamingContext::builder("wrong", millis(1)).without_checkpoint();
    let job = job.run(move |ssc| {
        program(ssc, &ssc.test_stream(vec![vec![(1, 2)]]));
        Ok(())
    });
    job.unwrap_err().to_string()
}

#[test]
fn a_wrong_use_is_an_error_that_names_the_accumulator() {
    let of_a_view = error(|ssc, rows| {
        let seen = ssc.accumulator::<Sum>("seen");
        rows.accumulate().filter(move |(_, n)| (seen.add(1), *n > 0).1).complete().print(0);
    });
    assert!(of_a_view.contains("\"seen\"") && of_a_view.contains("functions of a View must be pure"), "{of_a_view}");
    let in_an_output = error(|ssc, rows| {
        let seen = ssc.accumulator::<Sum>("seen");
        rows.foreach_batch(move |_| {
            seen.add(1);
            Ok(())
        });
    });
    assert!(in_an_output.contains("\"seen\"") && in_an_output.contains("outputs can only read it"), "{in_an_output}");
    let too_early = error(|ssc, rows| {
        let seen = ssc.accumulator::<Sum>("seen");
        rows.map(move |_| seen.value()).print(0);
    });
    assert!(too_early.contains("read the accumulator \"seen\" in the function of an output"), "{too_early}");
    let twice = error(|ssc, rows| {
        let (_, _) = (ssc.accumulator::<Sum>("seen"), ssc.accumulator::<Sum>("seen"));
        rows.print(0);
    });
    assert!(twice.contains("\"seen\" is taken"), "{twice}");
    let too_large = error(|ssc, rows| {
        let sum = ssc.accumulator::<Sum>("sum");
        rows.map(move |_| [i64::MAX, 1, -1, 1].map(|n| sum.add(n)).len()).count().print(0);
    });
    assert!(too_large.contains("does not fit into 64 bits"), "{too_large}");
}
