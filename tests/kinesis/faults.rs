//! Errors that a service answers, and records that it no longer has. Each test proves that the fault happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use base64::Engine;
use serde_json::Value;
use tidemill::connector::kinesis::source::KinesisSource;
use tidemill::prelude::*;

use crate::proxy::{self, Deal};
use crate::reading::{Row, batches, in_order, numbers, reaches, start};
use crate::server::{KEYS, Server, source};
use crate::temp_dir::TempDir;

/// A proxy that refuses every `nth` call of an operation. Returns its address, and how often it did.
fn refuses(server: &Server, operation: &'static str, nth: u64, error: &'static str) -> (String, Arc<AtomicU64>) {
    let (calls, refused) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let count = refused.clone();
    let address = proxy::start(&server.address, move |called, _| {
        if called == operation && calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(nth) {
            count.fetch_add(1, Ordering::Relaxed);
            return Deal::Refuse(error);
        }
        Deal::Pass
    });
    (address, refused)
}

#[test]
fn a_service_that_refuses_is_asked_again() {
    for (operation, nth, error) in [
        ("GetRecords", 3, "ProvisionedThroughputExceededException"),
        ("GetRecords", 4, "ExpiredIteratorException"),
        ("GetRecords", 3, "InternalFailure"),
        ("GetShardIterator", 2, "LimitExceededException"),
        ("ListShards", 2, "LimitExceededException"),
    ] {
        let server = Server::start();
        server.stream("numbers", 2);
        let (address, refused) = refuses(&server, operation, nth, error);
        let (job, rows) = start(None, 2, source(&address, "numbers"));
        for part in 0..3 {
            server.put_numbers("numbers", part * 100..part * 100 + 100, 13);
            reaches(&job, "all are read", || rows.rows().len() as i64 == part * 100 + 100);
        }
        reaches(&job, "it was refused more than once", || refused.load(Ordering::Relaxed) > 1);
        assert_eq!(numbers(&rows.rows()), (0..300).collect::<Vec<_>>(), "{operation} {error}");
        in_order(batches(&rows).values());
        job.stop_now().unwrap();
    }
}

#[test]
fn trouble_is_shown_while_it_lasts_and_denied_access_ends_the_job() {
    let server = Server::start();
    server.stream("numbers", 1);
    // 0: passes; 1: throttles; 2: denies.
    let state = Arc::new(AtomicU64::new(1));
    let now = state.clone();
    let address = proxy::start(&server.address, move |called, _| match (called, now.load(Ordering::Relaxed)) {
        ("GetRecords", 1) => Deal::Refuse("ProvisionedThroughputExceededException"),
        ("GetRecords", 2) => Deal::Refuse("AccessDeniedException"),
        _ => Deal::Pass,
    });
    let (job, rows) = start(None, 1, source(&address, "numbers"));
    let trouble = || job.statistics().trouble.join("\n");
    reaches(&job, "the trouble is shown", || trouble().contains("ProvisionedThroughputExceededException"));
    assert!(trouble().contains("shard shardId-000000000000 of stream numbers"), "{}", trouble());
    state.store(0, Ordering::Relaxed);
    server.put_numbers("numbers", 0..10, 13);
    reaches(&job, "the trouble has ended", || rows.rows().len() == 10 && trouble().is_empty());
    state.store(2, Ordering::Relaxed);
    let e = job.await_termination().unwrap_err().to_string();
    assert!(e.contains("AccessDeniedException") && e.contains("kinesis stream numbers") && !e.contains(KEYS.1), "{e}");
}

#[test]
fn the_lag_is_a_time() {
    let server = Server::start();
    server.stream("numbers", 1);
    server.put_numbers("numbers", 0..10, 13);
    let address = proxy::start(&server.address, |called, _| match called {
        "GetRecords" => Deal::Change(Box::new(|mut answer| {
            answer["MillisBehindLatest"] = 90_000.into();
            answer
        })),
        _ => Deal::Pass,
    });
    let (job, rows) = start(None, 1, source(&address, "numbers"));
    reaches(&job, "all are read", || rows.rows().len() == 10);
    reaches(&job, "the lag is known", || {
        let lag = job.statistics().last.and_then(|batch| batch.lag_time());
        lag.is_some_and(|lag| lag >= secs(89) && lag < secs(600))
    });
    job.stop_now().unwrap();
}

/// A proxy of a server whose records before a number are older than the retention period. `refuses`: it knows no sequence number of them.
fn trimmed(server: &Server, refuses: bool) -> (String, Arc<AtomicI64>) {
    let first = Arc::new(AtomicI64::new(0));
    let cutoff = first.clone();
    let address = proxy::start(&server.address, move |called, asked| {
        let first = cutoff.load(Ordering::Relaxed);
        if called == "GetShardIterator" && refuses && first > 0 && asked["ShardIteratorType"] == "AT_SEQUENCE_NUMBER" {
            return Deal::Refuse("ResourceNotFoundException");
        }
        if called != "GetRecords" {
            return Deal::Pass;
        }
        Deal::Change(Box::new(move |mut answer| {
            let number = |record: &Value| {
                let data = base64::engine::general_purpose::STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
                String::from_utf8(data).unwrap().parse::<i64>().unwrap()
            };
            answer["Records"].as_array_mut().unwrap().retain(|record| number(record) >= first);
            answer
        }))
    });
    (address, first)
}

/// Runs a job until it has read a number, and ends it at once.
fn until(dir: &TempDir, kinesis: KinesisSource, number: i64) -> (Vec<Row>, u64) {
    let (job, rows) = start(Some(dir), 1, kinesis);
    reaches(&job, "it is read", || rows.rows().iter().any(|(_, n, ..)| *n == number));
    let lost = lost(&job, &rows);
    job.stop_gracefully().unwrap();
    (rows.rows(), lost)
}

/// How many records are lost. A batch is completed, and its losses count, after its rows are written.
fn lost(job: &JobHandle, rows: &MemorySink<Row>) -> u64 {
    reaches(job, "the batch is completed", || job.statistics().records as usize >= rows.rows().len());
    job.statistics().lost
}

#[test]
fn records_that_aged_out_while_the_job_was_down_stop_it_or_are_counted() {
    for refuses in [false, true] {
        let (server, dir) = (Server::start(), TempDir::made("kinesis-trimmed"));
        server.stream("numbers", 1);
        let (address, first) = trimmed(&server, refuses);
        server.put_numbers("numbers", 0..100, 13);
        until(&dir, source(&address, "numbers"), 99);
        server.put_numbers("numbers", 100..200, 13);
        first.store(150, Ordering::Relaxed);
        let (job, _) = start(Some(&dir), 1, source(&address, "numbers"));
        let e = job.await_termination().unwrap_err().to_string();
        assert!(e.contains("aged out") && e.contains("fail_on_data_loss(false)") && e.contains("sequence number"), "{e}");
        if refuses {
            first.store(0, Ordering::Relaxed);
            continue;
        }
        let (rows, lost) = until(&dir, source(&address, "numbers").fail_on_data_loss(false), 199);
        assert_eq!((numbers(&rows), lost), ((150..200).collect(), 1), "a gap counts as one record");
        // What follows is not lost again.
        server.put_numbers("numbers", 200..210, 13);
        let (rows, lost) = until(&dir, source(&address, "numbers"), 209);
        assert_eq!((numbers(&rows), lost), ((200..210).collect(), 0));
    }
}

#[test]
fn a_batch_that_runs_again_has_what_is_left_of_it_or_stops_the_job() {
    let (server, dir) = (Server::start(), TempDir::made("kinesis-trimmed-batch"));
    server.stream("numbers", 1);
    let (address, first) = trimmed(&server, false);
    server.put_numbers("numbers", 0..60, 13);
    let start = |kinesis: KinesisSource| {
        let rows = MemorySink::new();
        let out = rows.clone();
        // Without another checkpoint all batches run again.
        let builder = StreamingContext::builder("numbers", millis(25)).checkpoint(&*dir).checkpoint_interval(hours(1));
        let job = builder.start(move |ssc| {
            ssc.kinesis_stream(kinesis.clone()).map(crate::reading::row).to_memory(&out);
            Ok(())
        });
        (job.unwrap(), rows)
    };
    let (job, rows) = start(source(&address, "numbers"));
    reaches(&job, "the first are read", || rows.rows().len() == 60);
    server.put_numbers("numbers", 60..100, 13);
    reaches(&job, "all are read", || rows.rows().len() == 100);
    job.stop_now().unwrap();
    first.store(40, Ordering::Relaxed);
    let (job, _) = start(source(&address, "numbers"));
    let e = job.await_termination().unwrap_err().to_string();
    assert!(e.contains("aged out") && e.contains("fail_on_data_loss(false)"), "{e}");
    for losses in [40, 0] {
        // The second time the loss is in the plan log.
        let (job, rows) = start(source(&address, "numbers").fail_on_data_loss(false));
        reaches(&job, "the rest is read", || rows.rows().len() == 60);
        assert_eq!(numbers(&rows.rows()), (40..100).collect::<Vec<_>>());
        assert_eq!(lost(&job, &rows), losses);
        assert!(rows.rows().iter().all(|(_, n, offset, _)| n == offset), "a record keeps its offset");
        job.stop_now().unwrap();
    }
}

#[test]
fn a_stream_that_is_deleted_ends_the_job() {
    let server = Server::start();
    server.stream("numbers", 1);
    server.put_numbers("numbers", 0..10, 13);
    let (job, rows) = start(None, 1, server.source("numbers"));
    reaches(&job, "all are read", || rows.rows().len() == 10);
    server.delete("numbers");
    let e = job.await_termination().unwrap_err().to_string();
    assert!(e.contains("kinesis stream numbers") && e.contains("ResourceNotFoundException"), "{e}");
}
