//! Exactly once into Kafka: a job that is killed again and again, while shards are split.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill::checkpoint::Directory;
use tidemill::prelude::*;

use crate::harness::{PATIENCE, eventually};
use crate::server::{Server, source};
use crate::temp_dir::TempDir;

/// What a child process is told: the address, the topic, the directory and the workers.
const JOB: &str = "TIDEMILL_TEST_KINESIS_JOB";

fn brokers() -> String {
    std::env::var("TIDEMILL_KAFKA").expect("TIDEMILL_KAFKA is the address of a real Kafka: scripts/kafka starts one")
}

/// The job of a child process, which never ends by itself.
fn job(told: &str) {
    let [address, topic, dir, workers] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let (kinesis, topic) = (source(address, "numbers"), topic.to_owned());
    let builder = StreamingContext::builder("kinesis-once", millis(25)).workers(workers.parse().unwrap());
    let job = builder.checkpoint(dir).checkpoint_interval(millis(200)).run(move |ssc| {
        let sink = KafkaSink::new(brokers(), &topic).exactly_once().shards(2);
        ssc.kinesis_stream(kinesis.clone()).values().oks().to_kafka(sink, |number, record| _ = record.value(number));
        Ok(())
    });
    panic!("the job has ended: {job:?}");
}

/// A job in a process of its own, which ends with it.
struct Job(Child);

impl Job {
    fn start(told: &str) -> Job {
        let this = std::env::current_exe().unwrap();
        let command = ["--exact", "once::a_killed_job_writes_each_record_once"];
        Job(Command::new(this).args(command).env(JOB, told).spawn().unwrap())
    }

    fn still_runs(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "the job has ended by itself");
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn planned(dir: &Path) -> usize {
    Directory::open(dir).and_then(|directory| directory.plans()).map_or(0, |plans| plans.len())
}

/// The committed numbers of a topic with one partition.
fn committed(topic: &str) -> Vec<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("group.id", "numbers").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (mut numbers, due) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < due, "the log of {topic} has no end");
        match consumer.poll(millis(100)) {
            Some(Ok(m)) => numbers.push(std::str::from_utf8(m.payload().unwrap()).unwrap().parse().unwrap()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return numbers,
            Some(Err(e)) => panic!("{e}"),
            None => {}
        }
    }
}

fn make(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let new = [NewTopic::new(topic, 1, TopicReplication::Fixed(1))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.create_topics(&new, &options)).unwrap().into_iter().for_each(|made| _ = made.unwrap());
}

#[test]
fn a_killed_job_writes_each_record_once() {
    if let Ok(told) = std::env::var(JOB) {
        return job(&told);
    }
    let (server, dir) = (Server::start(), TempDir::made("kinesis-once"));
    let topic = format!("kinesis-once-{}", std::process::id());
    make(&topic);
    server.stream("numbers", 2);
    let mut put = 0;
    let mut numbers = |server: &Server| {
        server.put_numbers("numbers", put..put + 40, 13);
        put += 40;
        put
    };
    for round in 0..8 {
        let before = planned(&dir);
        let mut job = Job::start(&format!("{} {topic} {} {}", server.address, dir.display(), [1, 2, 4][round % 3]));
        // Between a few and many batches later, while records arrive.
        eventually("it has planned batches", || {
            numbers(&server);
            job.still_runs();
            planned(&dir) > before + [2, 9, 4, 17][round % 4]
        });
        if round % 3 == 1 {
            server.split("numbers", &server.open("numbers")[0]);
            numbers(&server);
        }
    }
    let all = numbers(&server);
    let mut job = Job::start(&format!("{} {topic} {} 2", server.address, dir.display()));
    eventually("all are written", || {
        job.still_runs();
        committed(&topic).len() as i64 >= all
    });
    drop(job);
    let mut written = committed(&topic);
    written.sort_unstable();
    assert_eq!(written, (0..all).collect::<Vec<_>>());
}
