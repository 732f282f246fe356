//! `rate`, and the forms of `queue_stream`.

use std::collections::BTreeMap;

use tidemill::prelude::*;

use crate::harness::eventually;
use crate::temp_dir::TempDir;

#[test]
fn numbers_go_on_through_restarts_as_the_same_batches() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("rate");
        let mut batches = BTreeMap::new();
        for graceful in [false, true, false, true] {
            let rows = MemorySink::new();
            let out = rows.clone();
            let job = StreamingContext::builder("rate", millis(10)).workers(workers).checkpoint_interval(millis(30));
            let job = job.checkpoint(&*dir).start(move |ssc| {
                ssc.rate(50_000).to_memory(&out);
                Ok(())
            });
            let job = job.unwrap();
            eventually("some batches", || rows.batches().iter().filter(|(_, rows)| !rows.is_empty()).count() > 5);
            match graceful {
                true => job.stop_gracefully().map(drop).unwrap(),
                false => job.stop_now().map(drop).unwrap(),
            }
            for (time, rows) in rows.batches() {
                assert_eq!(batches.entry(time).or_insert_with(|| rows.clone()), &rows, "{time}");
            }
        }
        let all: Vec<(i64, i64)> = batches.into_values().flatten().collect();
        let first = all[0].0;
        let expected = (0..all.len() as i64).map(|n| (first + n / 50, n));
        assert!(all.iter().copied().eq(expected), "{workers} workers: {:?}", &all[..10]);
    }
}

#[test]
fn another_rate_needs_an_empty_directory() {
    let dir = TempDir::made("rate-changed");
    let start = |per_second: u64| {
        let rows = MemorySink::new();
        let out = rows.clone();
        let job = StreamingContext::builder("rate", millis(10)).checkpoint(&*dir).start(move |ssc| {
            ssc.rate(per_second).map(|(_, n)| n).to_memory(&out);
            Ok(())
        });
        job.map(|job| (job, rows))
    };
    let (job, rows) = start(1_000).unwrap();
    eventually("rows", || !rows.rows().is_empty());
    job.stop_gracefully().unwrap();
    let e = start(2_000).and_then(|(job, _)| job.await_termination()).unwrap_err().to_string();
    assert!(e.contains("rate 2000") || e.contains("rate 1000"), "{e}");
    let e = start(0).map(drop).unwrap_err().to_string();
    assert!(e.contains("0 rows a second"), "{e}");
}

#[test]
fn a_queue_gives_one_batch_or_all_or_its_default() {
    for workers in [1, 2, 4] {
        let rows = MemorySink::new();
        let (queue, out) = (QueueSource::new().one_at_a_time(false).default_batch(vec![-1]), rows.clone());
        (0..5).for_each(|n| queue.push(vec![10 * n, 10 * n + 1]));
        let feed = queue.clone();
        let job = StreamingContext::builder("queue", millis(10)).workers(workers).without_checkpoint().start(move |ssc| {
            ssc.queue_stream(&queue).to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        eventually("the default comes", || rows.batches().len() >= 3);
        (5..8).for_each(|n| feed.push(vec![10 * n]));
        eventually("more", || rows.rows().contains(&70));
        job.stop_gracefully().unwrap();
        // A batch time that became due while the job was late has no batch of the queue, and no default.
        let batches: Vec<Vec<i32>> = rows.batches().into_iter().map(|(_, rows)| rows).filter(|rows| !rows.is_empty()).collect();
        assert_eq!(batches[0], [0, 1, 10, 11, 20, 21, 30, 31, 40, 41]);
        assert_eq!(batches[1], [-1]);
        let fed: Vec<i32> = batches[1..].iter().flatten().copied().filter(|n| *n > 0).collect();
        assert_eq!(fed, [50, 60, 70]);
    }
}
