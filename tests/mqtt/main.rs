//! Tests with a real MQTT broker, which each test starts for itself.
//!
//! `cargo test --features testing,mqtt --test mqtt`, or `scripts/test`.

#[allow(dead_code, reason = "the test binary main uses the rest")]
#[path = "../harness.rs"]
mod harness;
mod server;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::eventually;
use server::Server;
use temp_dir::TempDir;
use tidemill::connector::message::Message;
use tidemill::connector::mqtt_receiver::MqttReceiver;
use tidemill::prelude::*;

/// The topic of a message, and the number in it.
type Row = (String, i64);

fn row(message: Message) -> Row {
    let number = std::str::from_utf8(message.value_opt().unwrap()).unwrap().parse().unwrap();
    (message.topic().to_owned(), number)
}

fn start(dir: Option<&Path>, workers: u16, mqtt: MqttReceiver) -> (JobHandle, MemorySink<Row>) {
    let builder = StreamingContext::builder("sensors", millis(10)).workers(workers).checkpoint_interval(millis(30));
    let builder = match dir {
        Some(dir) => builder.checkpoint(dir),
        None => builder.without_checkpoint(),
    };
    let rows = MemorySink::new();
    let out = rows.clone();
    let job = builder.start(move |ssc| {
        ssc.mqtt_receiver(mqtt.clone()).map(row).to_memory(&out);
        Ok(())
    });
    (job.unwrap(), rows)
}

fn sensors(server: &Server) -> MqttReceiver {
    MqttReceiver::new(server.address()).topic("sensors/+/heat")
}

/// The numbers of a topic, each where it came first; and how many came again.
fn numbers<'r>(rows: impl IntoIterator<Item = &'r Row>, topic: &str) -> (Vec<i64>, usize) {
    let (mut seen, mut again) = (BTreeSet::new(), 0);
    let mut first = Vec::new();
    for (_, n) in rows.into_iter().filter(|(of, _)| of == topic) {
        if seen.insert(*n) { first.push(*n) } else { again += 1 }
    }
    (first, again)
}

#[test]
fn nothing_that_was_published_is_lost_while_the_job_is_down() {
    for workers in [1, 2, 4] {
        let (server, dir) = (Server::start("mqtt-restarts"), TempDir::made("mqtt-restarts-job"));
        let (mut next, mut batches) = (0, BTreeMap::new());
        for graceful in [true, false, true] {
            let (job, rows) = start(Some(&dir), workers, sensors(&server));
            if next == 0 {
                // The broker keeps messages for a client from its first connection on.
                eventually("it listens", || {
                    server.publish("sensors/a/heat", -1..0);
                    !rows.rows().is_empty()
                });
            }
            server.publish("sensors/a/heat", next..next + 200);
            server.publish("sensors/b/heat", next..next + 1);
            server.publish("sensors/b/cold", next..next + 1);
            next += 200;
            eventually("some have arrived", || rows.rows().iter().any(|(_, n)| *n > next - 150));
            match graceful {
                true => job.stop_gracefully().map(drop).unwrap(),
                false => job.stop_now().map(drop).unwrap(),
            }
            batches.extend(rows.batches());
            server.publish("sensors/a/heat", next..next + 50);
            next += 50;
        }
        let (job, rows) = start(Some(&dir), workers, sensors(&server));
        eventually("all have arrived", || {
            let all = batches.values().flatten().chain(&rows.rows()).map(|(_, n)| *n).max();
            all == Some(next - 1)
        });
        job.stop_gracefully().unwrap();
        batches.extend(rows.batches());
        let rows: Vec<Row> = batches.into_values().flatten().collect();
        let (of_a, again) = numbers(&rows, "sensors/a/heat");
        assert_eq!(of_a, (-1..next).collect::<Vec<_>>(), "{workers} workers");
        // An end of the job acknowledges what is stored. Only the first message may have been published several times.
        let first = rows.iter().filter(|(_, n)| *n == -1).count();
        assert_eq!(again, first - 1, "at {workers} workers");
        assert_eq!(numbers(&rows, "sensors/b/heat").0, [0, 250, 500]);
        assert!(rows.iter().all(|(topic, _)| topic != "sensors/b/cold"));
    }
}

#[test]
fn a_broker_that_comes_back_is_found() {
    let (mut server, dir) = (Server::start("mqtt-broker"), TempDir::made("mqtt-broker-job"));
    let (job, rows) = start(Some(&dir), 2, sensors(&server));
    eventually("it listens", || {
        server.publish("sensors/a/heat", 0..1);
        !rows.rows().is_empty()
    });
    for part in [1, 101, 201] {
        server.publish("sensors/a/heat", part..part + 50);
        server.end();
        server.run();
        server.publish("sensors/a/heat", part + 50..part + 100);
    }
    eventually("all have arrived", || numbers(&rows.rows(), "sensors/a/heat").0.len() == 301);
    job.stop_gracefully().unwrap();
    assert_eq!(numbers(&rows.rows(), "sensors/a/heat").0, (0..301).collect::<Vec<_>>());
}

/// The broker waits for acknowledgements, and the job for the output.
#[test]
fn a_slow_job_loses_nothing() {
    let (server, dir, held) = (Server::start("mqtt-slow"), TempDir::made("mqtt-slow-job"), Arc::new(AtomicBool::new(false)));
    let (source, holds, seen) = (sensors(&server), held.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let out = seen.clone();
    let job = StreamingContext::builder("slow", millis(10)).checkpoint(&*dir).start(move |ssc| {
        let (holds, out) = (holds.clone(), out.clone());
        ssc.mqtt_receiver(source.clone()).map(|m| (m.topic().to_owned(), m.value_opt().unwrap().len() as i64)).foreach_batch(
            move |batch| {
                while holds.load(Ordering::Relaxed) && !batch.is_empty() {
                    std::thread::yield_now();
                }
                out.lock().unwrap().extend(batch.iter().cloned());
                Ok(())
            },
        );
        Ok(())
    });
    let job = job.unwrap();
    let arrived = || numbers(&*seen.lock().unwrap(), "sensors/a/heat").0;
    eventually("it listens", || {
        server.publish_all("sensors/a/heat", vec![vec![7]]);
        !arrived().is_empty()
    });
    held.store(true, Ordering::Relaxed);
    let mut lengths = vec![1];
    // Twelve megabytes: more than may wait for the job.
    for n in 0..48 {
        lengths.push(250_000 + n);
        server.publish_all("sensors/a/heat", vec![vec![7; 250_000 + n as usize]]);
    }
    held.store(false, Ordering::Relaxed);
    eventually("all have arrived", || arrived().len() == lengths.len());
    job.stop_gracefully().unwrap();
    assert_eq!(arrived(), lengths);
}

#[test]
fn a_message_that_is_too_long_is_left_out() {
    let server = Server::start("mqtt-long");
    let (job, rows) = start(None, 1, sensors(&server).max_message(1_000));
    eventually("it listens", || {
        server.publish("sensors/a/heat", 0..1);
        !rows.rows().is_empty()
    });
    server.publish_all("sensors/a/heat", vec![vec![b'7'; 1_001], b"1".to_vec()]);
    eventually("the next one has arrived", || rows.rows().iter().any(|(_, n)| *n == 1));
    job.stop_gracefully().unwrap();
    assert_eq!(numbers(&rows.rows(), "sensors/a/heat").0, [0, 1]);
}

#[test]
fn a_broker_that_asks_for_a_password_gets_it() {
    let server = Server::with_password("mqtt-password", "mill", "hunter2");
    let (wrong, nothing) = start(None, 1, sensors(&server).client_id("wrong").credentials("mill", "hunter3"));
    let (job, rows) = start(None, 1, sensors(&server).client_id("right").credentials("mill", "hunter2"));
    eventually("a message has arrived", || {
        server.publish("sensors/a/heat", 0..1);
        !rows.rows().is_empty()
    });
    job.stop_gracefully().unwrap();
    wrong.stop_gracefully().unwrap();
    assert_eq!(nothing.rows(), []);
}
