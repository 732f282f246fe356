//! More records arrive than the job can process: back-pressure limits batches, memory stays flat, and the job catches up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, Producer};
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, producer, topic};
use crate::recorder::{earliest, eventually};

/// The capacity of the output in records per second: it sleeps for each record.
const CAPACITY: u64 = 10_000;
/// The number of records. They are in the topic before the job begins. The output needs six seconds for them.
const RECORDS: u64 = 60_000;
const INTERVAL: Duration = Duration::from_millis(100);
/// The records that the output can write per batch interval.
const FITS: u64 = CAPACITY / 10;

/// Each batch, and when it was completed.
#[derive(Default)]
struct Log(Mutex<Vec<(BatchInfo, Instant)>>);

impl StreamingListener for Log {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.0.lock().unwrap().push((batch.clone(), Instant::now()));
    }
}

/// Three quarters of the records are in partition 0.
fn backlog(topic: &str) {
    let p = producer(&[]);
    for n in 0..RECORDS {
        let (value, partition) = (format!("{n:010}"), i32::from(n % 4 == 0));
        while p.send(BaseRecord::<[u8], str>::to(topic).payload(&value).partition(partition)).is_err() {
            p.poll(millis(10));
        }
    }
    p.flush(PATIENCE).unwrap();
}

#[test]
fn e1_e2_e7_batches_shrink_to_the_capacity_of_the_output_and_the_job_catches_up() {
    let topic = topic("overload", 2, &[]);
    backlog(&topic);
    let (sum, log) = (Arc::new(AtomicU64::new(0)), Arc::new(Log::default()));
    let s = sum.clone();
    let builder = StreamingContext::builder("overload", INTERVAL).workers(2).conf("spark.streaming.backpressure.enabled", "true");
    let builder = builder.conf("spark.streaming.backpressure.initialRate", "20000");
    let job = builder.start(move |ssc| {
        let s = s.clone();
        ssc.kafka_direct_stream(earliest(&topic)).foreach_batch(move |batch| {
            let numbers = batch.iter().map(|m| std::str::from_utf8(m.raw()).unwrap().parse::<u64>().unwrap());
            s.fetch_add(numbers.sum(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(batch.len() as u64) / CAPACITY as u32);
            Ok(())
        });
        Ok(())
    });
    let job = job.unwrap();
    job.add_streaming_listener(log.clone());
    let (mut lag, mut most_waiting) = (0, 0);
    eventually("all records", || {
        let now = job.statistics();
        (lag, most_waiting) = (lag.max(now.lag.unwrap_or(0)), most_waiting.max(now.in_flight));
        now.records == RECORDS && now.lag == Some(0)
    });
    let rate = job.statistics().rate.unwrap();
    job.stop_gracefully().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), RECORDS * (RECORDS - 1) / 2, "each record once");
    assert!(lag > RECORDS / 2, "the job must be overloaded, but at most {lag} records were unread after a batch");
    let batches = log.0.lock().unwrap();
    let full: Vec<&BatchInfo> = batches.iter().map(|(b, _)| b).filter(|b| b.records > 0).collect();
    let sizes: Vec<u64> = full.iter().map(|b| b.records).collect();
    println!("rate {rate}/s at the end, lag {lag} at most, {most_waiting} batches in flight at most, {sizes:?}");
    // The initial rate allows twice the capacity for the first batches. After that the estimate limits them. On a busy machine,
    // which wakes the output late, the estimate may be lower, but not higher.
    let settled = &sizes[sizes.len() / 3..];
    assert!(settled.iter().all(|n| *n <= FITS + FITS / 4), "{sizes:?}");
    let middle = full[full.len() / 2];
    let of = |partition| middle.ranges().find(|r| r.partition == partition).map(|r| r.until - r.from).unwrap();
    let (hot, cold) = (of(0), of(1));
    assert!(
        hot > 2 * cold && cold > 0,
        "partitions share the limit in proportion to their records: {hot} and {cold} of {}",
        middle.records
    );
}

#[test]
fn e3_the_first_batch_after_a_long_downtime_is_no_larger_than_others() {
    let topic = topic("downtime", 2, &[]);
    backlog(&topic);
    // A record has about 60 bytes, so one call with 4,096 rows exceeds the bound.
    let (log, seen) = (Arc::new(Log::default()), Arc::new(AtomicU64::new(0)));
    let (s, bytes) = (seen.clone(), 64 << 10);
    let job = StreamingContext::builder("downtime", millis(300)).batch_bytes(bytes).start(move |ssc| {
        let s = s.clone();
        ssc.kafka_direct_stream(earliest(&topic)).count().foreach_batch(move |n| {
            s.fetch_add(n.iter().sum::<i64>() as u64, Ordering::Relaxed);
            Ok(())
        });
        Ok(())
    });
    let job = job.unwrap();
    job.add_streaming_listener(log.clone());
    eventually("all records", || seen.load(Ordering::Relaxed) == RECORDS);
    assert_eq!(job.statistics().rate, None, "back-pressure is off, but the bound in bytes still holds");
    job.stop_gracefully().unwrap();
    let sizes: Vec<u64> = log.0.lock().unwrap().iter().map(|(b, _)| b.records).filter(|n| *n > 0).collect();
    println!("{sizes:?}");
    let first = sizes[0];
    assert!(first < RECORDS / 3, "the first batch must be bounded, but it took {first} of {RECORDS} records: {sizes:?}");
}
