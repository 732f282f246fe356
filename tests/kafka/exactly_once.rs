//! Exactly once. The tests kill the word count from Kafka to Kafka, at named points and at any time. They start it again on other
//! numbers of workers. The committed rows are those that one run would have written.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use tidemill::checkpoint::Directory;
use tidemill::prelude::*;

use crate::child::{Program, Signal, TempFile, addresses, hostfile};
use crate::fixture::{PATIENCE, answered, brokers, produce, producer, send, topic, transactional};
use crate::recorder::{Log, Off, log_of, read_log};

/// The totals of each word, in the order in which they were written.
type Totals = BTreeMap<String, Vec<i64>>;

/// Topics and a checkpoint directory of one test.
struct Count {
    input: String,
    output: String,
    dir: PathBuf,
    hosts: OnceCell<TempFile>,
}

impl Drop for Count {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn word(i: usize) -> String {
    format!(r#"{{"word":"w{}"}}"#, i * i % 23)
}

impl Count {
    fn new(name: &str) -> Count {
        let input = topic(&format!("{name}-in"), 3, &[]);
        let output = topic(&format!("{name}-out"), 2, &[]);
        let dir = std::env::temp_dir().join(format!("tidemill-once-{}-{name}", std::process::id()));
        Count { input, output, dir, hosts: OnceCell::new() }
    }

    fn start(&self, workers: u16, env: &[(&str, &str)]) -> Program {
        self.start_one(workers, env, &[])
    }

    /// Starts two processes with one worker each. The first one dies at `point`.
    fn start_two(&self, point: &str) -> [Program; 2] {
        let hosts = self.hosts.get_or_init(|| hostfile(&addresses(2)));
        let more = |p| ["-n", "2", "--hostfile", hosts.path(), "-p", p];
        [self.start_one(1, &[("TIDEMILL_CRASH_AT", point)], &more("0")), self.start_one(1, &[], &more("1"))]
    }

    fn start_one(&self, workers: u16, env: &[(&str, &str)], more: &[&str]) -> Program {
        let at = brokers();
        let (workers, dir) = (workers.to_string(), self.dir.display().to_string());
        let topics = ["--brokers", &at, "--in", &self.input, "--out", &self.output];
        let checkpoint = ["--checkpoint", &dir, "--checkpoint-interval", "1s", "--exactly-once"];
        let args = topics.into_iter().chain(checkpoint).chain(["--interval", "20ms", "-w", &workers]).chain(more.iter().copied());
        Program::start_in("kafka_wordcount", args, env)
    }

    /// The generation of the newest run that has begun.
    fn generation(&self) -> u32 {
        let leases = std::fs::read_dir(self.dir.join("leases")).into_iter().flatten().flatten();
        leases.filter_map(|lease| lease.file_name().to_str()?.parse().ok()).max().unwrap_or(0)
    }

    /// The number of planned batches, including overdue ones.
    fn batches(&self) -> usize {
        let plans = Directory::open(&self.dir).and_then(|d| d.plans()).unwrap_or_default();
        plans.iter().map(|record| 1 + record.run as usize).sum()
    }

    fn written(&self, isolation: &str) -> Totals {
        let mut totals = Totals::new();
        for (_, value) in read_log(&brokers(), &self.output, isolation).0.into_values().flatten() {
            let v: serde_json::Value = serde_json::from_str(&value).unwrap();
            totals.entry(v["word"].as_str().unwrap().into()).or_default().push(v["count"].as_i64().unwrap());
        }
        totals
    }

    /// The totals that a single run would write: those after each planned batch, computed from the plans and the input.
    fn planned(&self) -> Totals {
        let input: Log = log_of(&brokers(), &self.input).0;
        let (mut totals, mut counts) = (Totals::new(), BTreeMap::<String, i64>::new());
        for record in Directory::open(&self.dir).unwrap().plans().unwrap() {
            let mut changed = BTreeMap::<String, i64>::new();
            for r in &record.plan.ranges {
                let rows = input.get(&r.split.partition()).into_iter().flatten().filter(|(o, _)| (r.from..r.until).contains(o));
                for (_, value) in rows {
                    let v: serde_json::Value = serde_json::from_str(value).unwrap();
                    *changed.entry(v["word"].as_str().unwrap().into()).or_default() += 1;
                }
            }
            for (word, n) in changed {
                let total = counts.entry(word.clone()).or_default();
                *total += n;
                totals.entry(word).or_default().push(*total);
            }
        }
        totals
    }

    /// The last run reads everything and stops gracefully. The committed rows must be those of a single run.
    fn finish(&self, workers: u16) {
        let mut last = self.start(workers, &[]);
        let mut known = BTreeMap::new();
        for (_, value) in log_of(&brokers(), &self.input).0.into_values().flatten() {
            *known.entry(value).or_insert(0i64) += 1;
        }
        let known: Vec<i64> = known.into_values().collect();
        let all: i64 = known.iter().sum();
        last.until("all words are counted", |_, _| {
            self.written("read_committed").values().filter_map(|t| t.last()).sum::<i64>() == all
        });
        last.signal(Signal::TERM);
        let end = last.end();
        assert_eq!(end.code, Some(0), "{}", end.err);
        let written = self.written("read_committed");
        for (word, totals) in &written {
            assert!(totals.is_sorted_by(|a, b| a < b), "{word}: {totals:?}");
        }
        assert_eq!(written, self.planned(), "a row is lost, repeated, or in another batch");
        let planned = Directory::open(&self.dir).unwrap().plans().unwrap();
        let last = planned.last().unwrap().plan.ranges.iter().map(|r| (r.split.partition(), r.until)).collect();
        assert_eq!(self.committed_offsets(), last, "the committed offsets, for lag tools, are the ends of the last ranges");
    }

    /// The committed offsets of the consumer group.
    fn committed_offsets(&self) -> BTreeMap<i32, i64> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers()).set("group.id", "kafka-wordcount");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut asked = TopicPartitionList::new();
        (0..3).for_each(|p| _ = asked.add_partition(&self.input, p));
        let found = answered("the committed offsets", || consumer.committed_offsets(asked.clone(), PATIENCE));
        let offset = |o| if let Offset::Offset(o) = o { o } else { -1 };
        found.elements().iter().map(|e| (e.partition(), offset(e.offset()))).collect()
    }
}

/// Sends words until `stop`. Some are in transactions, and some of these transactions are aborted.
fn feed(input: &str, stop: &AtomicBool) {
    let (plain, t) = (producer(&[]), transactional(input));
    for i in (0..).step_by(10).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let words: Vec<String> = (i..i + 10).map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match i / 10 % 5 {
            n @ (0 | 1) => {
                t.begin_transaction().unwrap();
                send(&t, input, (i / 10 % 3) as i32, &words);
                if n == 0 { t.commit_transaction(PATIENCE) } else { t.abort_transaction(PATIENCE) }.unwrap();
            }
            _ => send(&plain, input, (i / 10 % 3) as i32, &words),
        }
        std::thread::sleep(millis(8));
    }
}

/// Random numbers below 1.
fn random() -> impl FnMut(u64) -> u64 {
    let mut seed = std::process::id() as u64;
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

/// How a run dies.
#[derive(Debug)]
enum Death {
    At(&'static str),
    /// Killed after it has planned this many batches. 0: as soon as the run has begun.
    After(usize),
}

/// Starts one run after another, and each dies. Meanwhile words are sent.
fn die(count: &Count, deaths: &[(u16, Death)]) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let (input, stop) = (&count.input, &stop);
        s.spawn(move || feed(input, stop));
        let _off = Off(stop);
        for (workers, how) in deaths {
            match how {
                Death::At(point) => {
                    let end = count.start(*workers, &[("TIDEMILL_CRASH_AT", point)]).end();
                    assert_eq!(end.code, None, "{point}: the run should have died there\n{}", end.err);
                }
                Death::After(batches) => {
                    let (last, planned) = (count.generation(), count.batches());
                    let begun = || count.generation() > last && count.batches() >= planned + batches;
                    let end = count.start(*workers, &[]).kill_when("it has planned batches", |_, _| begun());
                    assert_eq!(end.code, None, "{}", end.err);
                }
            }
        }
    });
}

#[test]
fn a6_a7_a_job_that_dies_around_its_commits_loses_nothing_and_writes_nothing_twice() {
    let count = Count::new("points");
    // The first transactions have rows, because no checkpoint is due before them.
    (0..3)
        .for_each(|p| produce(&count.input, p, &(0..23).map(word).collect::<Vec<_>>().iter().map(|w| &**w).collect::<Vec<_>>()));
    let points = [
        (1, Death::At("sink.commit.before:3")),
        (2, Death::At("sink.commit.after:3")),
        (3, Death::At("sink.begin:30")),
        (1, Death::At("sink.commit.before:35")),
        (2, Death::At("manifest.before:2")),
        (4, Death::At("sink.commit.after:40")),
    ];
    die(&count, &points);
    count.finish(2);
    let (all, committed) = (count.written("read_uncommitted"), count.written("read_committed"));
    let len = |t: &Totals| t.values().map(Vec::len).sum::<usize>();
    assert!(len(&all) > len(&committed), "a kill interrupted a transaction, so the topic has aborted rows");
}

#[test]
fn a4_a_job_that_is_killed_at_any_time_writes_everything_once() {
    let (count, mut random) = (Count::new("random"), random());
    let deaths: Vec<_> = (0..8).map(|_| (1 + random(3) as u16, Death::After(random(100) as usize))).collect();
    println!("{deaths:?}");
    die(&count, &deaths);
    count.finish(2);
}

/// A signal at any moment stops the job gracefully, with a checkpoint of every planned batch.
#[test]
#[ignore = "nightly: thirty runs of a second each"]
fn a14_a_signal_at_any_moment_stops_gracefully() {
    let (count, mut random, stop) = (Count::new("stops"), random(), AtomicBool::new(false));
    std::thread::scope(|s| {
        let (input, stop) = (&count.input, &stop);
        s.spawn(move || feed(input, stop));
        let _off = Off(stop);
        for life in 0..30 {
            let (last, planned) = (count.generation(), count.batches());
            let signal = if random(2) == 0 { Signal::INT } else { Signal::TERM };
            let mut job = count.start(1 + random(3) as u16, &[]);
            // Every third run gets the signal while it starts, the others after some planned batches.
            let starts = life % 3 == 0;
            if starts {
                std::thread::sleep(Duration::from_millis(random(300)));
            } else {
                let batches = random(70) as usize;
                job.until("it has planned batches", |_, _| count.generation() > last && count.batches() >= planned + batches);
            }
            job.signal(signal);
            let end = job.end();
            if starts && end.code.is_none() {
                assert_eq!(
                    count.generation(),
                    last,
                    "the signal came before the job handled signals, so the run must not have begun: {}",
                    end.err
                );
                continue;
            }
            assert_eq!((end.code, end.err.as_str()), (Some(0), ""), "{signal:?}");
            let directory = Directory::open(&count.dir).unwrap();
            let planned = directory.plans().unwrap().pop().unwrap().end(20);
            assert_eq!(directory.checkpoints().unwrap()[0].0.time, planned, "{signal:?}");
        }
    });
    count.finish(2);
}

/// The answer to a commit is lost. The progress record of the shard shows whether the commit was made. No row is lost or repeated.
#[test]
fn a8_c25_after_a_lost_answer_the_progress_record_decides() {
    for (lost, says) in [("sink.commit:4", "the commit that failed had been made"), ("sink.rows:4", "a test drops the answer")] {
        let count = Count::new(&format!("lost-{}", lost.len()));
        (0..3).for_each(|p| produce(&count.input, p, &[r#"{"word":"a"}"#, r#"{"word":"b"}"#, r#"{"word":"c"}"#]));
        let mut job = count.start(2, &[("TIDEMILL_LOSE_AT", lost)]);
        let words = [r#"{"word":"a"}"#, r#"{"word":"b"}"#, r#"{"word":"c"}"#];
        job.until(says, |_, err| {
            produce(&count.input, 0, &words);
            err.contains(says)
        });
        job.signal(Signal::TERM);
        let end = job.end();
        assert_eq!(end.code, Some(0), "the job continues: {}", end.err);
        count.finish(1);
    }
}

/// The second process waits for a transaction of the first process. The first process is dead, so the second one ends with an error.
#[test]
fn a5_a_process_that_dies_before_it_begins_ends_the_others() {
    let count = Count::new("two");
    let words: Vec<String> = (0..23).map(word).collect();
    produce(&count.input, 0, &words.iter().map(String::as_str).collect::<Vec<_>>());
    for point in ["sink.commit.before:2", "sink.open:1"] {
        let [first, second] = count.start_two(point);
        assert_eq!(first.end().code, None, "{point}");
        let end = second.end();
        assert_eq!(end.code, Some(1), "{}", end.err);
    }
    count.finish(1);
}

#[test]
fn c34_brokers_without_transactions_are_an_error_at_the_start() {
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    mock.create_topic("tidemill-progress-t", 1, 1).unwrap();
    mock.apiversion(rdkafka::types::RDKafkaApiKey::InitProducerId, None, None).unwrap();
    let at = mock.bootstrap_servers();
    let sink = KafkaSink::new(at, "t").exactly_once();
    let rows = move |ssc: &StreamingContext<'_>| {
        ssc.test_stream(vec![vec![1]]).to_kafka(sink.clone(), |n, record| _ = record.json(n));
    };
    let e = wrong(rows, true);
    assert!(e.contains("needs brokers with transactions"), "{e}");
}

/// Other producers with the same ids fence those of the shards. The job ends, says why, and never takes the shards back.
#[test]
fn a20_c23_a_fenced_run_ends() {
    let count = Count::new("fenced");
    let mut first = count.start(1, &[]);
    produce(&count.input, 0, &[r#"{"word":"a"}"#]);
    first.until("the first count", |_, _| !count.written("read_committed").is_empty());
    let name = format!("kafka-wordcount-{}-", count.output);
    let _others: Vec<_> = (0..8).map(|shard| transactional(&format!("{name}{shard}"))).collect();
    produce(&count.input, 0, &[r#"{"word":"a"}"#]);
    let end = first.end();
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("shut out") && end.err.contains(&count.output), "{}", end.err);
    assert_eq!(count.written("read_committed")["a"], [1], "nothing was written after that");
    count.finish(2);
}

/// A job is suspended for half a minute. A second run is refused, with the pid of the first. When the first continues, no other run
/// has written.
#[test]
#[ignore = "nightly: the job is suspended for 30 s"]
fn a19_a_suspended_run_is_not_replaced() {
    let count = Count::new("still");
    let mut first = count.start(2, &[]);
    produce(&count.input, 0, &[r#"{"word":"a"}"#]);
    first.until("the first count", |_, _| !count.written("read_committed").is_empty());
    first.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", first.id());
    first.until("it is suspended", |_, _| std::fs::read_to_string(&stat).unwrap().contains(") T "));
    produce(&count.input, 1, &[r#"{"word":"a"}"#]);
    let other = refused(&count);
    assert!(other.contains("in use") && other.contains(&first.id().to_string()), "{other}");
    std::thread::sleep(secs(30));
    assert_eq!(count.written("read_committed")["a"], [1], "the second run wrote nothing");
    first.signal(Signal::CONT);
    first.until("the second count", |_, _| count.written("read_committed")["a"] == [1, 2]);
    first.signal(Signal::TERM);
    let end = first.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    count.finish(1);
}

/// Four workers leave transactions open. A run with one worker aborts them all before the brokers' timeout.
#[test]
fn c30_fewer_workers_abort_the_open_transactions_of_more() {
    let count = Count::new("open");
    (0..3)
        .for_each(|p| produce(&count.input, p, &(0..23).map(word).collect::<Vec<_>>().iter().map(|w| &**w).collect::<Vec<_>>()));
    let readable = |isolation| read_log(&brokers(), &count.output, isolation).1;
    let hidden = || (0..2).any(|p| readable("read_committed")[&p] < readable("read_uncommitted")[&p]);
    // An open transaction hides rows only if it has some, so several points are tried.
    let open = (2..20).any(|n| {
        let end = count.start(4, &[("TIDEMILL_CRASH_AT", &format!("sink.commit.before:{n}"))]).end();
        assert_eq!(end.code, None, "the run should have died there\n{}", end.err);
        produce(&count.input, 0, &[&word(n), &word(n + 1)]);
        hidden()
    });
    assert!(open, "a transaction is open");
    let mut job = count.start(1, &[]);
    job.until("all rows can be read", |_, _| !count.written("read_committed").is_empty() && !hidden());
    drop(job);
    count.finish(1);
}

fn refused(count: &Count) -> String {
    let end = count.start(1, &[]).end();
    assert_eq!(end.code, Some(1), "{}", end.err);
    end.err
}

/// If the progress of the sinks does not fit the directory, the job plans no batch and writes no row.
#[test]
fn progress_that_does_not_fit_the_plans_refuses_to_start() {
    let count = Count::new("refused");
    produce(&count.input, 0, &[r#"{"word":"a"}"#, r#"{"word":"b"}"#]);
    let mut first = count.start(1, &[]);
    first.until("the first count", |_, _| count.written("read_committed").len() == 2);
    let copy = count.dir.with_extension("copy");
    std::fs::rename(&count.dir, &copy).unwrap();
    first.signal(Signal::KILL);
    first.end();

    let other = refused(&count);
    assert!(other.contains("was written by the checkpoint directory"), "{other}");

    let _ = std::fs::remove_dir_all(&count.dir);
    std::fs::rename(&copy, &count.dir).unwrap();
    let progress = format!("tidemill-progress-{}", count.output);
    let record = |time: u64, plan: &str| {
        let id = Directory::open(&count.dir).unwrap().genesis().id;
        let key = format!("kafka-wordcount/{}/0", count.output);
        let value = format!(
            r#"{{"job":"kafka-wordcount","sink":"{}","shard":0,"shards":8,"directory":"{id}","generation":1,"time":{time},"plan":"{plan}"}}"#,
            count.output
        );
        let p = producer(&[]);
        p.send(rdkafka::producer::BaseRecord::to(&progress).key(&key).payload(&value)).map_err(|(e, _)| e).unwrap();
        p.flush(PATIENCE).unwrap();
    };
    let last = Directory::open(&count.dir).unwrap().plans().unwrap().pop().unwrap();
    record(last.plan.time.millis(), "00000000000000ff");
    let plan = refused(&count);
    assert!(plan.contains("by the plan 00000000000000ff") && plan.contains(&format!("{:016x}", last.checksum())), "{plan}");
    record(last.plan.time.millis() + 20_000, "00000000000000ff");
    let ahead = refused(&count);
    assert!(ahead.contains("for which there is no plan"), "{ahead}");
    assert_eq!(count.written("read_committed").len(), 2, "nothing was written");
}

static WRONG: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn wrong(build: impl for<'s> Fn(&StreamingContext<'s>) + Send + Sync + 'static, dir: bool) -> String {
    let path = std::env::temp_dir().join(format!(
        "tidemill-once-{}-wrong-{}",
        std::process::id(),
        WRONG.fetch_add(1, Ordering::Relaxed)
    ));
    let job = StreamingContext::builder("wrong", secs(1)).output_tries(1);
    let job = if dir { job.checkpoint(&path) } else { job };
    let end = job.run(move |ssc| {
        build(ssc);
        Ok(())
    });
    let _ = std::fs::remove_dir_all(&path);
    end.unwrap_err().to_string()
}

#[test]
fn c26_g4_missing_conditions_of_exactly_once_are_errors_with_a_remedy() {
    let sink = || KafkaSink::new(brokers(), "nowhere").exactly_once();
    let rows = |ssc: &StreamingContext<'_>, sink| {
        ssc.test_stream(vec![vec![1]]).to_kafka(sink, |n, record| _ = record.json(n));
    };
    let e = wrong(move |ssc| rows(ssc, sink()), false);
    assert!(e.contains("needs a checkpoint directory") && e.contains("--checkpoint DIR"), "{e}");
    let queue = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&QueueSource::from_batches([vec![1]])).to_kafka(sink(), |n, record| _ = record.json(n));
    };
    let e = wrong(queue, true);
    assert!(e.contains("after the source queue") && e.contains("without exactly once"), "{e}");
    let e = wrong(move |ssc| rows(ssc, sink().marks()), true);
    assert!(e.contains("leave marks() out"), "{e}");
    let e = wrong(move |ssc| rows(ssc, sink().set("transaction.timeout.ms", "2000")), true);
    assert!(e.contains("transaction.timeout.ms is 2000") && e.contains("three batches"), "{e}");
    let e = wrong(move |ssc| rows(ssc, sink().shards(129)), true);
    assert!(e.contains("shards(129)"), "{e}");
    let e = wrong(move |ssc| rows(ssc, sink()), true);
    assert!(e.contains("there is no topic nowhere"), "{e}");
    let t = topic("timeout", 1, &[]);
    let long = KafkaSink::new(brokers(), &t).exactly_once().set("transaction.timeout.ms", "9000000");
    let e = wrong(move |ssc| rows(ssc, long.clone()), true);
    assert!(e.contains("transaction.max.timeout.ms"), "{e}");
}
