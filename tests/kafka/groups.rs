//! Streams of a consumer group: where they begin, what they commit, and how members share partitions. Kafka's own tool and other
//! consumers see the offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tidemill::connector::message::Message;
use tidemill::prelude::*;

use crate::child::{Ended, Program, Signal, TempDir, path};
use crate::fixture::{brokers, delete_before, produce, topic};
use crate::offsets::committed;
use crate::recorder::{Recorder, builder, eventually, log_of};

/// How often each record came.
type Seen = BTreeMap<(i32, i64), usize>;

/// A job that is a member of a group.
#[derive(Clone, Default)]
struct Reading {
    seen: Arc<Mutex<Vec<(i32, i64)>>>,
    /// Batches wait while this is set.
    held: Arc<AtomicBool>,
}

impl Reading {
    fn start(&self, kafka: KafkaSource, dir: Option<&TempDir>) -> JobHandle {
        let builder = builder(2).checkpoint_interval(millis(100));
        let builder = match dir {
            Some(dir) => builder.checkpoint(dir.path()),
            None => builder.without_checkpoint(),
        };
        let Reading { seen, held } = self.clone();
        let job = builder.start(move |ssc| {
            let (seen, held) = (seen.clone(), held.clone());
            ssc.kafka_receiver_stream(kafka.clone()).foreach_batch(move |batch| {
                while held.load(Ordering::SeqCst) && !batch.is_empty() {
                    std::thread::sleep(millis(5));
                }
                seen.lock().unwrap().extend(batch.iter().map(|m: &Message| (m.partition(), m.offset())));
                Ok(())
            });
            Ok(())
        });
        job.unwrap()
    }

    fn records(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.seen.lock().unwrap().iter().map(|(partition, _)| *partition).collect()
    }

    fn add_to(&self, all: &mut Seen) {
        self.seen.lock().unwrap().iter().for_each(|at| *all.entry(*at).or_default() += 1);
    }
}

fn member(topic: &str) -> KafkaSource {
    let kafka = KafkaSource::brokers(brokers()).topic(topic).group_id(topic).start(StartFrom::earliest());
    kafka.discover_every(millis(200)).set("session.timeout.ms", "6000")
}

fn once(records: impl IntoIterator<Item = (i32, i64)>) -> Seen {
    records.into_iter().map(|at| (at, 1)).collect()
}

/// All records of a topic, each once.
fn all_of(topic: &str) -> Seen {
    once(log_of(&brokers(), topic).0.into_iter().flat_map(|(p, rows)| rows.into_iter().map(move |(offset, _)| (p, offset))))
}

/// The lag that Kafka's own tool shows for each partition of a group.
fn lag_by_kafkas_tool(group: &str) -> BTreeMap<i32, i64> {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache")).expect("HOME, where scripts/kafka keeps its jars");
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| home());
    let jars: PathBuf = [&cache, "tidemill", "kafka-4.1.1", "*"].iter().collect();
    let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let mut java = Command::new("java");
    java.arg("-cp").arg(jars).args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", tool, "--bootstrap-server", &brokers()]);
    let out = java.args(["--describe", "--group", group]).output().expect("java, as scripts/kafka needs it");
    let text = String::from_utf8(out.stdout).unwrap();
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.first() == Some(&group)).then(|| Some((words.get(2)?.parse().ok()?, words.get(5)?.parse().ok()?)))?
    };
    let found: BTreeMap<i32, i64> = text.lines().filter_map(line).collect();
    assert!(!found.is_empty(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    found
}

fn offsets(all: &[(i32, i64)]) -> BTreeMap<i32, i64> {
    all.iter().copied().collect()
}

#[test]
fn without_a_log_offsets_are_committed_after_the_outputs_and_a_graceful_stop_commits_all() {
    let t = topic("group-plain", 2, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    let reading = Reading::default();
    let job = reading.start(member(&t), None);
    eventually("the first records", || reading.records() == 3);
    eventually("their commit", || committed(&t, &t) == offsets(&[(0, 3), (1, 0)]));
    reading.held.store(true, Ordering::SeqCst);
    produce(&t, 1, &["d", "e"]);
    eventually("the batch is at its output", || job.statistics().in_flight > 0 && job.statistics().records == 3);
    assert_eq!(committed(&t, &t), offsets(&[(0, 3), (1, 0)]), "nobody has written these");
    reading.held.store(false, Ordering::SeqCst);
    eventually("the records", || reading.records() == 5);
    produce(&t, 0, &["f"]);
    job.stop_gracefully().unwrap();
    let mut all = Seen::new();
    reading.add_to(&mut all);
    assert_eq!(committed(&t, &t), offsets(&[(0, all.keys().filter(|(p, _)| *p == 0).count() as i64), (1, 2)]));
    // The next job of the group goes on there.
    let again = Reading::default();
    let job = again.start(member(&t), None);
    produce(&t, 1, &["g"]);
    eventually("what is new", || reading.records() + again.records() == 7);
    job.stop_gracefully().unwrap();
    again.add_to(&mut all);
    assert_eq!(all, all_of(&t));
    assert_eq!(lag_by_kafkas_tool(&t), offsets(&[(0, 0), (1, 0)]));
}

#[test]
fn two_jobs_share_a_topic_and_each_record_comes_once_while_partitions_move() {
    let t = topic("group-shared", 4, &[]);
    let dirs = [TempDir::new("group-a"), TempDir::new("group-b")];
    let readings = [Reading::default(), Reading::default()];
    let mut sent = 0;
    let mut send = |rounds: usize| {
        for _ in 0..rounds {
            (0..4).for_each(|p| produce(&t, p, &["x", "y", "z"]));
            sent += 12;
        }
        sent
    };
    let all = |readings: &[Reading]| readings.iter().map(Reading::records).sum::<usize>();
    let first = readings[0].start(member(&t), Some(&dirs[0]));
    let sent_now = send(5);
    eventually("one job reads all", || readings[0].records() == sent_now);
    // The second one gets half of the partitions while records arrive.
    let second = readings[1].start(member(&t), Some(&dirs[1]));
    eventually("partitions move", || {
        send(1);
        readings[1].partitions().len() == 2
    });
    let sent_now = send(5);
    eventually("both read", || all(&readings) == sent_now);
    // And gives them back.
    second.stop_gracefully().unwrap();
    let sent_now = send(5);
    eventually("one job reads the rest", || all(&readings) >= sent_now);
    first.stop_gracefully().unwrap();
    let mut seen = Seen::new();
    readings.iter().for_each(|r| r.add_to(&mut seen));
    // What the second job logged while it stopped is in its next run.
    let rest = Reading::default();
    let job = rest.start(member(&t), Some(&dirs[1]));
    eventually("everything is read", || {
        let mut now = seen.clone();
        rest.add_to(&mut now);
        now == all_of(&t)
    });
    job.stop_gracefully().unwrap();
    assert!(lag_by_kafkas_tool(&t).values().all(|lag| *lag == 0));
}

/// The records that a run of `examples/kafka_receiver.rs` printed.
fn printed(out: &str, all: &mut Seen) {
    for line in out.lines() {
        let record = || {
            let (partition, rest) = line.split_once('@')?;
            Some((partition.parse().ok()?, rest.split_once(' ')?.0.parse().ok()?))
        };
        if let Some(at) = record() {
            *all.entry(at).or_default() += 1;
        }
    }
}

#[test]
fn e4_a_killed_member_loses_nothing_and_another_one_takes_over() {
    let t = topic("group-killed", 2, &[]);
    let dir = TempDir::new("group-killed");
    let program = path("examples/kafka_receiver");
    assert!(program.exists(), "{} does not exist: cargo build --example kafka_receiver", program.display());
    let start = |env: &[(&str, &str)]| {
        let mut command = Command::new(&program);
        Program::spawn("kafka_receiver", command.args([&brokers(), &t, &t]).arg(dir.path()), env)
    };
    let (mut seen, mut sent) = (Seen::new(), 0);
    for point in ["received.before:2", "received.written:3", "received.after:3", "plan.after:4", "output:2"] {
        let mut run = start(&[("TIDEMILL_CRASH_AT", point)]);
        while !run.has_ended() {
            (0..2).for_each(|p| produce(&t, p, &[&sent.to_string()]));
            sent += 1;
        }
        let Ended { code, out, err } = run.end();
        assert_eq!(code, None, "{point}: the run should have died there\n{out}{err}");
        printed(&out, &mut seen);
    }
    let last = start(&[]);
    let other = Reading::default();
    eventually("the killed member is back", || {
        let mut now = seen.clone();
        printed(&last.said().0, &mut now);
        now.len() == all_of(&t).len()
    });
    // It is killed again, and a job in another place takes its partitions over.
    last.signal(Signal::KILL);
    let Ended { out, .. } = last.end();
    printed(&out, &mut seen);
    let job = other.start(member(&t), None);
    (0..2).for_each(|p| produce(&t, p, &["last"]));
    eventually("the other member reads on", || {
        let mut now = seen.clone();
        other.add_to(&mut now);
        now.len() == all_of(&t).len()
    });
    job.stop_gracefully().unwrap();
    other.add_to(&mut seen);
    assert_eq!(seen.keys().collect::<Vec<_>>(), all_of(&t).keys().collect::<Vec<_>>());
}

#[test]
fn offsets_that_aged_out_end_the_job_or_are_skipped() {
    let t = topic("group-lost", 1, &[]);
    produce(&t, 0, &["a", "b", "c", "d"]);
    let reading = Reading::default();
    let job = reading.start(member(&t), None);
    eventually("the records", || reading.records() == 4);
    job.stop_gracefully().unwrap();
    produce(&t, 0, &["e", "f", "g"]);
    delete_before(&t, 0, 6);
    let e = Reading::default().start(member(&t), None).await_termination().unwrap_err().to_string();
    assert!(e.contains("is at 4, and the log holds 6 to 7") && e.contains("fail_on_data_loss(false)"), "{e}");
    let reading = Reading::default();
    let job = reading.start(member(&t).fail_on_data_loss(false), None);
    eventually("the record that is left", || reading.records() == 1);
    job.stop_gracefully().unwrap();
    assert_eq!(committed(&t, &t), offsets(&[(0, 7)]));
}

#[test]
fn a_direct_stream_starts_where_the_group_is() {
    let t = topic("group-start", 2, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    produce(&t, 1, &["d"]);
    let reading = Reading::default();
    let job = reading.start(member(&t), None);
    eventually("the records", || reading.records() == 4);
    job.stop_gracefully().unwrap();
    produce(&t, 0, &["e"]);
    let direct = |start: StartFrom, group: &str| {
        let seen = Recorder::default();
        let kafka = KafkaSource::brokers(brokers()).topic(&t).group_id(group).start(start);
        let job = builder(2).without_checkpoint().start(seen.slowly(kafka, millis(0))).unwrap();
        eventually("some batches", || seen.batches() > 3);
        (seen, job)
    };
    let (seen, job) = direct(StartFrom::from_group(), &t);
    eventually("what is behind the group's offsets", || seen.records() == 1);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), BTreeMap::from([(0, vec![(3, "e".to_owned())])]));
    for (start, records) in [(StartFrom::from_group(), 0), (StartFrom::from_group_or_earliest(), 5)] {
        let (seen, job) = direct(start, &format!("{t}-unknown"));
        eventually("all records", || seen.records() == records);
        job.stop_gracefully().unwrap();
        assert_eq!(seen.records(), records);
    }
    delete_before(&t, 0, 4);
    let kafka = KafkaSource::brokers(brokers()).topic(&t).group_id(&t).start(StartFrom::from_group());
    let started = builder(1).start(Recorder::default().slowly(kafka, millis(0)));
    let e = started.and_then(JobHandle::await_termination).unwrap_err().to_string();
    assert!(e.contains("is at 3, and the log holds 4 to 4"), "{e}");
}
