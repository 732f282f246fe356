//! A slow output under a fast topic: the waiting rows are bounded, and none is lost. The job runs in a child process, so that its
//! memory can be measured.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, producer, topic};
use crate::recorder::{earliest, eventually};

/// The topic of the child.
const TOPIC: &str = "TIDEMILL_TEST_SLOW_TOPIC";
const MIB: u64 = 1 << 20;
/// The limit of bytes that may wait at the output.
const BOUND: u64 = 2 * MIB;
/// Each record has 1 KiB: 320 MiB in all.
const RECORDS: u64 = 320 * 1024;

/// Resident memory of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "the child of the test beside it: it measures its own memory"]
fn reads_slowly() {
    let topic = std::env::var(TOPIC).unwrap();
    let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (s, c) = (sum.clone(), count.clone());
    let before = resident();
    let builder = StreamingContext::builder("slow", millis(20)).workers(2).batch_bytes(BOUND as usize);
    let job = builder
        .start(move |ssc| {
            let (s, c) = (s.clone(), c.clone());
            ssc.kafka_direct_stream(earliest(&topic)).foreach_batch(move |batch| {
                for m in batch.iter() {
                    let n: u64 = std::str::from_utf8(&m.raw()[..10]).unwrap().parse().unwrap();
                    s.fetch_add(n, Ordering::Relaxed);
                    c.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(batch.len() as u64 * 20));
                Ok(())
            });
            Ok(())
        })
        .unwrap();
    let (mut most, mut waiting, mut in_flight) = (0, 0, 0);
    eventually("all records", || {
        most = most.max(resident());
        let now = job.statistics();
        (waiting, in_flight) = (waiting.max(now.waiting_bytes), in_flight.max(now.in_flight));
        count.load(Ordering::Relaxed) == RECORDS
    });
    job.stop_gracefully().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), RECORDS * (RECORDS - 1) / 2, "each record once");
    let (grew, waiting) = ((most - before) / MIB, waiting / MIB);
    println!("\ngrew by {grew} MiB; {waiting} MiB and {in_flight} batches waited at the output");
    // One read returns 4,096 rows per partition, so a batch has 2 x 4 MiB. The first batch reaches the limit. By then two more may
    // be in flight.
    assert!((BOUND / MIB..=26).contains(&waiting) && in_flight <= 4, "{waiting} MiB, {in_flight} batches");
    // The rest: 2 x 20 MiB in partition buffers, 2 x 5 MiB in librdkafka, the open batch, and the program.
    assert!(grew < 160, "{grew} MiB");
}

#[test]
fn e7_a_slow_output_under_a_fast_topic() {
    let topic = topic("slow", 2, &[]);
    let p = producer(&[]);
    let pad = "x".repeat(1_014);
    for n in 0..RECORDS {
        let value = format!("{n:010}{pad}");
        while p.send(BaseRecord::<[u8], str>::to(&topic).payload(&value).partition(n as i32 % 2)).is_err() {
            p.poll(millis(10));
        }
    }
    p.flush(PATIENCE).unwrap();
    let args = ["--exact", "slow_output::reads_slowly", "--ignored", "--nocapture", "--test-threads=1"];
    let out = Command::new(std::env::current_exe().unwrap()).args(args).env(TOPIC, &topic).output().unwrap();
    println!("{}", String::from_utf8_lossy(&out.stdout));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
