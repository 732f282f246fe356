//! Questions to the views of a running job: answers are as of one batch, on any number of workers, while batches go on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::api::config::RuntimeArgs;

use super::*;
use crate::harness::{bag, batches, cases, eventually};
#[cfg(feature = "http")]
use crate::http_client::{get, json};
use crate::temp_dir::TempDir;

type Row = (u8, i64);

/// A job that sums by key and keeps all pairs, both queryable.
fn asked(workers: u16, history: u32) -> (JobHandle, QueueSource<Row>, ManualClock) {
    let (pairs, clock) = (QueueSource::<Row>::new(), ManualClock::at(5));
    let source = pairs.clone();
    let live = job(workers).start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.queue_stream(&source);
        rows.sum_by_key().queryable("sums").history(history);
        rows.accumulate().queryable("rows").history(history);
        rows.to_memory(&MemorySink::new());
        Ok(())
    });
    (live.unwrap(), pairs, clock)
}

/// Runs a batch, and waits until it is complete.
fn run(live: &JobHandle, clock: &ManualClock, batch: u64) {
    clock.set(10 * batch);
    eventually("the batch is completed", || live.statistics().batches == batch);
}

fn at(batch: u64) -> BatchTime {
    BatchTime::from_millis(10 * batch)
}

/// The sums after some batches, in the order of their JSON.
fn sums(batches: &[Vec<Row>]) -> Vec<Row> {
    let mut sums = BTreeMap::new();
    batches.iter().flatten().for_each(|(k, n)| *sums.entry(*k).or_insert(0) += n);
    sums.into_iter().filter(|(_, n)| *n != 0).collect()
}

#[test]
fn an_answer_is_the_view_as_of_its_batch() {
    cases(4, (batches((0..5u8, -3..100i64)), 0..4u32), |(given, history)| {
        for workers in [1, 2, 4] {
            let (live, pairs, clock) = asked(workers, history);
            for (n, rows) in given.iter().enumerate() {
                pairs.push(rows.clone());
                let newest = n as u64 + 1;
                run(&live, &clock, newest);
                let answer = live.query("sums").ask().unwrap();
                prop_assert_eq!(answer.time, at(newest));
                prop_assert_eq!(answer.rows_as::<Row>().unwrap(), sums(&given[..=n]), "at {} workers", workers);
                // Two views asked for one batch are of one batch. Earlier ones are there while they are held.
                for batch in newest.saturating_sub(u64::from(history)).max(1)..=newest {
                    let before = &given[..batch as usize];
                    let then = live.query("sums").at(at(batch)).ask().unwrap();
                    prop_assert_eq!((then.time, then.rows_as::<Row>().unwrap()), (at(batch), sums(before)));
                    let rows = live.query("rows").at(at(batch)).ask().unwrap();
                    prop_assert_eq!(bag(rows.rows_as::<Row>().unwrap()), bag(before.concat()));
                    prop_assert_eq!(rows.matched, before.concat().len() as u64);
                }
                for key in 0..5u8 {
                    let answer = live.query("sums").key(key).ask().unwrap();
                    let expected: Vec<Row> = sums(&given[..=n]).into_iter().filter(|(k, _)| *k == key).collect();
                    prop_assert_eq!(answer.rows_as::<Row>().unwrap(), expected);
                }
                let mut largest = sums(&given[..=n]);
                largest.sort_by_key(|(k, n)| (-n, *k));
                largest.truncate(2);
                prop_assert_eq!(live.query("sums").top(2).ask().unwrap().rows_as::<Row>().unwrap(), largest);
            }
            live.stop_now().unwrap();
        }
        Ok(())
    });
}

#[cfg(feature = "http")]
#[test]
fn all_rows_of_several_views_are_as_of_one_batch() {
    for workers in [1, 2, 4] {
        let (pairs, clock) = (QueueSource::<Row>::new(), ManualClock::at(5));
        let source = pairs.clone();
        let here: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        let live = job(workers).listen(here).start_on_clock(clock.clone(), move |ssc| {
            let rows = ssc.queue_stream(&source);
            rows.sum_by_key().queryable("sums").history(2);
            rows.accumulate().queryable("rows").history(2);
            rows.to_memory(&MemorySink::new());
            Ok(())
        });
        let live = live.unwrap();
        let address = live.address().unwrap();
        let given: Vec<Vec<Row>> = vec![(0..200).map(|n| (n as u8, n)).collect(), vec![(7, 5), (7, 5)], vec![(9, -9)]];
        for (n, rows) in given.iter().enumerate() {
            pairs.push(rows.clone());
            run(&live, &clock, n as u64 + 1);
        }
        for (query, batch) in [("", 3), ("&at=20", 2), ("&at=10", 1)] {
            let answer = json(address, &format!("/api/v1/rows?view=sums&view=rows{query}"));
            let rows = |view: &str| bag(serde_json::from_value::<Vec<Row>>(answer["views"][view].clone()).unwrap());
            assert_eq!(answer["time"], 10 * batch);
            let before = &given[..batch as usize];
            assert_eq!(
                (rows("sums"), rows("rows")),
                (bag(sums(before)), bag(before.concat())),
                "{workers} workers, batch {batch}"
            );
        }
        let why = |path: &str| get(address, path);
        assert_eq!(why("/api/v1/rows?view=sums&view=s"), (404, "no view is queryable as \"s\"; there are: sums, rows\n".into()));
        let (status, what) = why("/api/v1/rows?view=sums&at=70");
        assert_eq!((status, what.as_str()), (409, "the batch of 70 is not closed yet: the newest is 30\n"));
        assert_eq!(why("/api/v1/rows").0, 400);
        live.stop_now().unwrap();
    }
}

/// The program calls one view queryable, and names three.
fn named(builder: Builder) -> (JobHandle, QueueSource<Row>, ManualClock) {
    let (pairs, clock) = (QueueSource::<Row>::new(), ManualClock::at(5));
    let source = pairs.clone();
    let live = builder.start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.queue_stream(&source);
        let all = rows.accumulate().named("all rows");
        rows.map(|(k, n)| (k, 2 * n)).sum_by_key().named("doubled").queryable("doubled").history(1);
        rows.sum_by_key().named("sums").update().to_memory(&MemorySink::new());
        all.count().update().to_memory(&MemorySink::new());
        Ok(())
    });
    (live.unwrap(), pairs, clock)
}

#[test]
fn every_named_view_answers_if_the_job_is_asked_to() {
    for workers in [1, 4] {
        let (live, pairs, clock) = named(job(workers).queryable());
        for batch in 1..=2 {
            pairs.push(vec![(1, 5), (2, 1)]);
            run(&live, &clock, batch);
        }
        let asked = |view: &str| live.query(view).ask().unwrap().rows_as::<Row>().unwrap();
        assert_eq!((asked("sums"), asked("doubled")), (vec![(1, 10), (2, 2)], vec![(1, 20), (2, 4)]), "{workers} workers");
        let before = live.query("doubled").at(at(1)).ask().unwrap();
        assert_eq!(before.rows_as::<Row>().unwrap(), [(1, 10), (2, 2)], "the history is that of the program");
        let why = live.query("all rows").ask().unwrap_err().to_string();
        assert!(why.ends_with("there are: doubled, sums"), "{why}");
        live.stop_now().unwrap();
        let (live, pairs, clock) = named(job(workers));
        pairs.push(vec![(1, 5)]);
        run(&live, &clock, 1);
        let why = live.query("sums").ask().unwrap_err().to_string();
        assert!(why.ends_with("there are: doubled"), "{why}");
        live.stop_now().unwrap();
    }
}

/// A view that only `--queryable` reads is in the checkpoints of the job. Without it the view has no operator any more.
#[test]
fn a_job_without_queryable_names_the_views_that_it_would_drop() {
    let (dir, pairs) = (TempDir::new("not-queryable"), QueueSource::<Row>::new());
    let start = |queryable: bool, drop_state: bool| {
        let args = RuntimeArgs { queryable, drop_state, workers: 2, ..RuntimeArgs::default() };
        let (source, read) = (pairs.clone(), MemorySink::<i64>::new());
        let out = read.clone();
        let live = StreamingContext::builder("asked", millis(10)).runtime(args).checkpoint(dir.path()).start(move |ssc| {
            let rows = ssc.queue_stream(&source);
            let _read_by_nobody = rows.sum_by_key().named("sums");
            rows.accumulate().named("all rows").count().update().to_memory(&out);
            Ok(())
        });
        live.map(|live| (live, read))
    };
    let counted = |(live, read): (JobHandle, MemorySink<i64>), expected: i64| {
        pairs.push(vec![(1, 5), (2, 1)]);
        eventually("the rows are counted", || read.rows().last() == Some(&expected));
        live
    };
    let live = counted(start(true, false).unwrap(), 2);
    assert_eq!(live.query("sums").ask().unwrap().rows_as::<Row>().unwrap(), [(1, 5), (2, 1)]);
    live.stop_gracefully().unwrap();
    let refused = start(false, false).and_then(|(live, ..)| live.await_termination()).unwrap_err().to_string();
    let says = "run with --queryable again, which reads \"sums\", or give verbs that stayed their old names";
    assert!(refused.contains(says) && refused.contains("--drop-state"), "{refused}");
    assert!(refused.contains("\"sums\" (sum_by_key ") && !refused.contains("all rows"), "{refused}");
    let live = counted(start(true, false).unwrap(), 4);
    assert_eq!(live.query("sums").ask().unwrap().rows_as::<Row>().unwrap(), [(1, 10), (2, 2)], "nothing was lost");
    live.stop_gracefully().unwrap();
    counted(start(false, true).unwrap(), 6).stop_gracefully().unwrap();
    counted(start(false, false).unwrap(), 8).stop_gracefully().unwrap();
    let live = counted(start(true, false).unwrap(), 10);
    assert_eq!(live.query("sums").ask().unwrap().rows_as::<Row>().unwrap(), [(1, 5), (2, 1)], "it began empty");
    live.stop_gracefully().unwrap();
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let (live, pairs, clock) = asked(2, 1);
    let why = |query: tidemill::job::Query<'_>| query.ask().unwrap_err().to_string();
    for batch in 1..=9 {
        pairs.push(vec![(1, 1)]);
        run(&live, &clock, batch);
    }
    assert_eq!(why(live.query("sum")), "view sum: no view is queryable as \"sum\"; there are: sums, rows");
    assert_eq!(why(live.query("sums").at(at(10))), "view sums: the batch of 100 is not closed yet: the newest is 90");
    let gone = why(live.query("sums").at(at(1)));
    assert!(gone.starts_with("view sums: the batch of 10 is not held any more: the first that is held is "), "{gone}");
    assert_eq!(why(live.query("sums").limit(0)), "view sums: 0 rows: an answer has 1 to 10000");
    assert_eq!(live.query("sums").at(at(8)).ask().unwrap().rows_as::<Row>().unwrap(), [(1, 8)]);
    live.stop_now().unwrap();
}

#[test]
fn two_views_of_one_name_and_strange_names_are_refused_at_start() {
    let error = job(1).start(|ssc| {
        let rows = ssc.test_stream([vec![1]]);
        rows.accumulate().queryable("all rows");
        rows.accumulate().queryable("rows");
        rows.accumulate().queryable("rows");
        rows.to_memory(&MemorySink::new());
        Ok(())
    });
    let error = error.err().unwrap().to_string();
    assert!(error.contains("\"all rows\" cannot be asked for: use letters, digits, '-', '_' and '.'"), "{error}");
    assert!(error.contains("another view is called \"rows\" already"), "{error}");
}

/// Many ask at once while batches go on: each answer is a view of one batch, and batches are not held up.
#[test]
fn answers_are_of_one_batch_while_others_run() {
    let (live, pairs, clock) = asked(4, 0);
    pairs.push(vec![(0, 1), (1, 1), (2, 1), (3, 1)]);
    run(&live, &clock, 1);
    std::thread::scope(|s| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    for _ in 0..50 {
                        let answer = live.query("sums").ask().unwrap();
                        let rows = answer.rows_as::<Row>().unwrap();
                        let batch = answer.time.millis() as i64 / 10;
                        assert_eq!(rows, [0u8, 1, 2, 3].map(|k| (k, batch)), "every batch adds 1 to each key");
                    }
                })
            })
            .collect();
        let mut batch = 1;
        while !askers.iter().all(|asker| asker.is_finished()) {
            batch += 1;
            pairs.push(vec![(0, 1), (1, 1), (2, 1), (3, 1)]);
            run(&live, &clock, batch);
        }
    });
    live.stop_now().unwrap();
}

/// A question that looks at rows for longer than several batches is answered: its batch stays held until then.
#[test]
fn a_long_question_is_answered_while_batches_go_on() {
    let (live, pairs, clock) = asked(2, 0);
    pairs.push((0..60_000).map(|n| (n as u8, n)).collect());
    run(&live, &clock, 1);
    std::thread::scope(|s| {
        let asker = s.spawn(|| live.query("rows").top(1).ask());
        let mut batch = 1;
        while !asker.is_finished() {
            batch += 1;
            pairs.push(vec![(0, -1)]);
            run(&live, &clock, batch);
        }
        let answer = asker.join().unwrap().unwrap();
        assert_eq!(answer.rows_as::<Row>().unwrap(), [((59_999 % 256) as u8, 59_999)]);
    });
    live.stop_now().unwrap();
}
