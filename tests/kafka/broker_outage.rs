//! The broker is killed while a job runs, as when a machine fails. Then it is started again with its data.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer};
use tidemill::prelude::*;

use crate::broker::Broker;
use crate::fixture::{PATIENCE, producer, topic_at};
use crate::recorder::{Off, Recorder, eventually, log_of};

#[test]
fn c2_a_broker_that_is_killed_and_restarted_loses_no_record() {
    let broker = Broker::start("0", &[]);
    let at = &*broker.address;
    let topic = topic_at(at, "away", 2, &[]);
    let seen = Recorder::default();
    let job = seen.start(KafkaSource::brokers(at).topic(&topic).start(StartFrom::earliest()), 2);
    // The producer is idempotent, so a record that it sends twice is in the log once.
    let p = producer(&[("bootstrap.servers", at), ("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "500")]);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let value = n.to_string();
                match p.send(BaseRecord::<[u8], str>::to(&topic).payload(&value).partition(n % 2)) {
                    Ok(()) => n += 1,
                    Err((e, _)) => assert_eq!(e.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{e}"),
                }
                p.poll(millis(2));
            }
            p.flush(PATIENCE).unwrap();
            n as usize
        });
        let off = Off(&stop);
        eventually("some batches", || seen.filled() > 5);
        assert_eq!(job.statistics().trouble, [""; 0]);

        broker.script("kill");
        assert_eq!(TcpStream::connect(at).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        eventually("trouble", || job.statistics().trouble.iter().any(|t| t.contains(at)));
        // Batches that were already sealed may have records. At most 20 batches are in flight.
        seen.only_empty(20);
        assert!(seen.only_empty(20), "batches continue, and are empty");
        let trouble = job.statistics().trouble;
        assert!(trouble.iter().all(|t| t.contains(at)) && !trouble.is_empty(), "{trouble:?}");
        let before = seen.records();

        assert_eq!(broker.script("again"), at, "the same address");
        eventually("records again", || seen.records() > before);
        eventually("no trouble", || job.statistics().trouble.is_empty());
        drop(off);
        sender.join().unwrap()
    });
    eventually("all records", || seen.records() == sent);
    job.stop_gracefully().unwrap();
    let log = seen.checked();
    assert_eq!(log, log_of(at, &topic).0);
    let mut values: Vec<usize> = log.values().flatten().map(|(_, value)| value.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..sent).collect::<Vec<_>>());
}

/// A job that is stopped while the broker is away ends with the records that it has read.
#[test]
fn a_job_can_be_stopped_while_the_broker_is_away() {
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("t", 2, 1).unwrap();
    let at = mock.bootstrap_servers();
    let p = producer(&[("bootstrap.servers", &at)]);
    (0..10).for_each(|n| p.send(BaseRecord::<[u8], str>::to("t").payload("v").partition(n % 2)).map_err(|(e, _)| e).unwrap());
    p.flush(PATIENCE).unwrap();
    for workers in [1, 4] {
        let seen = Recorder::default();
        let job = seen.start(KafkaSource::brokers(&at).topic("t").start(StartFrom::earliest()), workers);
        eventually("the records", || seen.records() == 10);
        mock.broker_down(-1).unwrap();
        eventually("trouble", || !job.statistics().trouble.is_empty());
        let begun = std::time::Instant::now();
        job.stop_gracefully().unwrap();
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        mock.broker_up(-1).unwrap();
    }
}
