//! What a job reads, in which batches, and the same again after a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tidemill::connector::kinesis::source::{InitialPosition, KinesisSource};
use tidemill::prelude::*;

use crate::harness::eventually;
use crate::server::{KEYS, Server};
use crate::temp_dir::TempDir;

/// The key, number and offset of a record, and the number of its shard.
pub type Row = (String, i64, i64, i32);

pub fn row(message: Message) -> Row {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let number = text(message.value().unwrap()).parse().unwrap();
    (text(message.key().unwrap()), number, message.offset(), message.partition())
}

pub fn start(dir: Option<&Path>, workers: u16, kinesis: KinesisSource) -> (JobHandle, MemorySink<Row>) {
    start_with(millis(25), 3, dir, workers, kinesis)
}

/// Starts a job that writes a checkpoint after this number of batches.
fn start_with(
    interval: Duration,
    batches: u32,
    dir: Option<&Path>,
    workers: u16,
    kinesis: KinesisSource,
) -> (JobHandle, MemorySink<Row>) {
    let builder = StreamingContext::builder("numbers", interval).workers(workers).checkpoint_interval(interval * batches);
    let builder = match dir {
        Some(dir) => builder.checkpoint(dir),
        None => builder.without_checkpoint(),
    };
    let rows = MemorySink::new();
    let out = rows.clone();
    let job = builder.start(move |ssc| {
        ssc.kinesis_stream(kinesis.clone()).map(row).to_memory(&out);
        Ok(())
    });
    (job.unwrap(), rows)
}

/// Waits for an event of a job that runs.
#[track_caller]
pub fn reaches(job: &JobHandle, what: &str, mut is: impl FnMut() -> bool) {
    eventually(what, || {
        let there = is();
        assert!(there || job.is_active(), "the job has ended before this: {what}: {:?}", job.statistics());
        there
    });
}

/// The numbers, sorted.
pub fn numbers(rows: &[Row]) -> Vec<i64> {
    let mut numbers: Vec<i64> = rows.iter().map(|(_, number, ..)| *number).collect();
    numbers.sort_unstable();
    numbers
}

/// Checks that the numbers of each key ascend: from batch to batch, and within a shard.
pub fn in_order<'r>(batches: impl IntoIterator<Item = &'r Vec<Row>>) {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for batch in batches {
        let mut rows: Vec<&Row> = batch.iter().collect();
        rows.sort_by_key(|(_, _, offset, shard)| (*shard, *offset));
        for (key, number, ..) in rows {
            let before = last.insert(key, *number);
            assert!(before < Some(*number), "{before:?} before {number} of key {key}");
        }
    }
}

/// The rows of each batch, in an order that does not depend on the workers.
pub fn batches(rows: &MemorySink<Row>) -> BTreeMap<BatchTime, Vec<Row>> {
    let sorted = |(time, mut rows): (BatchTime, Vec<Row>)| {
        rows.sort();
        (time, rows)
    };
    rows.batches().into_iter().map(sorted).collect()
}

/// Takes batches of a run over. One that ran before must have exactly the rows that it had.
pub fn take_over(all: &mut BTreeMap<BatchTime, Vec<Row>>, rows: &MemorySink<Row>) {
    for (time, rows) in batches(rows) {
        let before = all.insert(time, rows.clone());
        assert!(before.as_ref().is_none_or(|before| *before == rows), "batch of {time}: {before:?}, then {rows:?}");
    }
}

/// Waits until the batches of earlier runs, and those of this one, have as many rows as were put.
#[track_caller]
pub fn reads_all(job: &JobHandle, all: &BTreeMap<BatchTime, Vec<Row>>, rows: &MemorySink<Row>, put: i64) {
    reaches(job, "all are read", || {
        let mut both = all.clone();
        both.extend(batches(rows));
        both.values().map(Vec::len).sum::<usize>() as i64 == put
    });
}

#[test]
fn all_records_are_read_in_the_order_of_their_keys() {
    let server = Server::start();
    server.stream("numbers", 3);
    server.put_numbers("numbers", 0..2_500, 7);
    for workers in [1, 2, 4] {
        let (job, rows) = start(None, workers, server.source("numbers"));
        let before = 2_500 + i64::from(workers / 2) * 100;
        server.put_numbers("numbers", before..before + 100, 7);
        reaches(&job, "all are read", || rows.rows().len() as i64 == before + 100);
        let read = rows.rows();
        assert_eq!(numbers(&read), (0..before + 100).collect::<Vec<_>>(), "{workers} workers");
        in_order(batches(&rows).values());
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        read.iter().for_each(|(_, _, offset, shard)| offsets.entry(*shard).or_default().push(*offset));
        assert_eq!(offsets.len(), 3);
        offsets.values_mut().for_each(|of| of.sort_unstable());
        assert!(offsets.values().all(|of| of.iter().copied().eq(0..of.len() as i64)), "offsets count the records of a shard");
        job.stop_now().unwrap();
    }
}

#[test]
fn the_latest_are_those_that_arrive_after_the_start() {
    let server = Server::start();
    server.stream("numbers", 2);
    server.put_numbers("numbers", 0..100, 7);
    // The time of a record has milliseconds.
    std::thread::sleep(millis(5));
    let dir = TempDir::made("kinesis-latest");
    let latest = || server.source("numbers").initial_position(InitialPosition::latest());
    let (job, rows) = start(Some(&dir), 2, latest());
    reaches(&job, "a batch without rows", || job.statistics().batches > 2);
    job.stop_now().unwrap();
    assert_eq!(rows.rows(), []);
    // A restart before the first record begins at the same time.
    server.put_numbers("numbers", 100..200, 7);
    let (job, rows) = start(Some(&dir), 2, latest());
    reaches(&job, "all are read", || rows.rows().len() == 100);
    job.stop_gracefully().unwrap();
    assert_eq!(numbers(&rows.rows()), (100..200).collect::<Vec<_>>());
}

#[test]
fn a_time_is_a_beginning() {
    let server = Server::start();
    server.stream("numbers", 1);
    server.put_numbers("numbers", 0..10, 7);
    std::thread::sleep(millis(5));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    server.put_numbers("numbers", 10..20, 7);
    let (job, rows) = start(None, 1, server.source("numbers").initial_position(InitialPosition::at_timestamp(now)));
    reaches(&job, "all are read", || rows.rows().len() == 10);
    job.stop_now().unwrap();
    assert_eq!(numbers(&rows.rows()), (10..20).collect::<Vec<_>>());
}

#[test]
fn batches_run_again_with_the_same_records_after_a_restart() {
    for workers in [1, 2, 4] {
        let (server, dir) = (Server::start(), TempDir::made("kinesis-restart"));
        server.stream("numbers", 3);
        let (mut all, mut put) = (BTreeMap::new(), 0);
        for graceful in [false, true, false, false, true] {
            let (job, rows) = start(Some(&dir), workers, server.source("numbers"));
            for _ in 0..4 {
                server.put_numbers("numbers", put..put + 150, 11);
                put += 150;
                reaches(&job, "some are read", || rows.rows().iter().any(|(_, n, ..)| *n >= put - 150));
            }
            match graceful {
                true => job.stop_gracefully().map(drop).unwrap(),
                false => job.stop_now().map(drop).unwrap(),
            }
            take_over(&mut all, &rows);
        }
        let (job, rows) = start(Some(&dir), workers, server.source("numbers"));
        reads_all(&job, &all, &rows, put);
        job.stop_gracefully().unwrap();
        take_over(&mut all, &rows);
        in_order(all.values());
        let read: Vec<Row> = all.into_values().flatten().collect();
        assert_eq!(numbers(&read), (0..put).collect::<Vec<_>>(), "{workers} workers");
    }
}

/// A call of a reader gives a few thousand rows, and an answer of the service has at most 10,000. All records are there at the start, so one
/// answer gives more than a call; no checkpoint covers them, so their batches run again.
#[test]
fn a_batch_of_many_calls_runs_again_with_the_same_records() {
    let (server, dir) = (Server::start(), TempDir::made("kinesis-large"));
    server.stream("numbers", 1);
    server.put_numbers("numbers", 0..25_000, 7);
    let mut all = BTreeMap::new();
    let start = || start_with(millis(700), 10_000, Some(&dir), 1, server.source("numbers"));
    let (job, rows) = start();
    reaches(&job, "a large batch", || rows.rows().len() == 25_000);
    job.stop_now().unwrap();
    take_over(&mut all, &rows);
    let largest = all.values().map(Vec::len).max().unwrap();
    assert!(largest > 4_096, "one call gives all of {largest} rows");
    let (job, rows) = start();
    server.put_numbers("numbers", 25_000..25_001, 7);
    reaches(&job, "what comes later", || rows.rows().iter().any(|(_, number, ..)| *number == 25_000));
    job.stop_now().unwrap();
    assert!(batches(&rows).values().any(|rows| rows.len() == largest), "the large batch ran again");
    take_over(&mut all, &rows);
    let read: Vec<Row> = all.into_values().flatten().collect();
    assert_eq!(numbers(&read), (0..=25_000).collect::<Vec<_>>());
}

#[test]
fn a_start_says_what_is_wrong_and_no_secret() {
    let server = Server::start();
    let failed = |kinesis: KinesisSource| {
        let job = StreamingContext::builder("numbers", millis(50)).without_checkpoint().run(move |ssc| {
            ssc.kinesis_stream(kinesis.clone()).count().print(1);
            Ok(())
        });
        let e = job.unwrap_err().to_string();
        assert!(!e.contains(KEYS.1), "{e}");
        e
    };
    let e = failed(server.source("nowhere"));
    assert!(e.contains("kinesis stream nowhere") && e.contains("ResourceNotFoundException"), "{e}");
}
