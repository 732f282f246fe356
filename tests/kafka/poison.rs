//! `--find-poison` over a real Kafka: after a job of two processes has panicked on a record, one process finds it, with or without a plan.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tidemill::checkpoint::Directory;
use tidemill::prelude::*;

use crate::child::{TempDir, addresses, hostfile};
use crate::fixture::{brokers, produce, topic};

/// What a child is told: the topic, the directory, its number and the file of hosts, whether the program panics when the batch has its plan,
/// and the batch in which it looks for poison, 0 for records without a plan.
const TOPIC: &str = "TIDEMILL_TEST_POISON_TOPIC";
const DIR: &str = "TIDEMILL_TEST_POISON_DIR";
const PROCESS: &str = "TIDEMILL_TEST_POISON_PROCESS";
const HOSTS: &str = "TIDEMILL_TEST_POISON_HOSTS";
const LATE: &str = "TIDEMILL_TEST_POISON_LATE";
const FIND: &str = "TIDEMILL_TEST_POISON_FIND";

/// The record on which the program panics.
const POISON: &str = "poison";

#[test]
#[ignore = "a child of the test below"]
fn the_process_that_panics() {
    let Ok(topic) = std::env::var(TOPIC) else { return };
    let text = |name| std::env::var(name).ok();
    let (late, process, hostfile) =
        (text(LATE).is_some(), text(PROCESS).map(|n| n.parse().unwrap()), text(HOSTS).map(Into::into));
    let find = text(FIND).map(|ms| ms.parse::<u64>().unwrap());
    let batch = find.filter(|ms| *ms > 0).map(BatchTime::from_millis);
    let runtime = RuntimeArgs {
        checkpoint: text(DIR).map(Into::into),
        workers: 2,
        processes: if process.is_some() { 2 } else { 1 },
        process: process.unwrap_or(0),
        hostfile,
        find_poison: find.is_some(),
        replay_from: batch,
        replay_to: batch,
        ..RuntimeArgs::default()
    };
    let job = StreamingContext::builder("poisoned", millis(50)).runtime(runtime).checkpoint_interval(millis(100));
    let job = job.run(move |ssc| {
        let source = KafkaSource::brokers(brokers()).topic(&topic).start(StartFrom::earliest());
        let texts = ssc.kafka_direct_stream(source).map(|m: Message| String::from_utf8_lossy(m.raw()).into_owned());
        let texts =
            texts.map(move |text: String| if text == POISON && !late { panic!("this is {text}") } else { (text.len(), text) });
        let count = |new: &[String], n: Option<usize>| {
            assert!(!new.iter().any(|text| text == POISON), "this is {POISON}");
            Some(n.unwrap_or(0) + new.len())
        };
        texts.update_state_by_key(count).to_memory(&MemorySink::new());
        Ok(())
    });
    if let Err(e) = job {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

/// Starts this test binary as a child, with these variables.
fn child(topic: &str, dir: &Path, late: bool, more: &[(&str, &str)]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "poison::the_process_that_panics", "--ignored", "--nocapture"]);
    child.env(TOPIC, topic).env(DIR, dir).envs(late.then_some((LATE, "yes"))).envs(more.iter().copied());
    child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether a child has succeeded, and what it wrote to stdout and stderr.
fn ended(child: Child) -> (bool, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_poisoned_record_of_kafka_is_found_after_a_job_of_two_processes() {
    for late in [false, true] {
        let (topic, dir, hosts) = (topic("poisoned", 3, &[]), TempDir::new("kafka-poison"), hostfile(&addresses(2)));
        let values: Vec<String> = (0..300).map(|n| format!("value {n}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        produce(&topic, 0, &values);
        produce(&topic, 1, &[&values[..137], &[POISON], &values[137..]].concat());
        produce(&topic, 2, &values[..20]);
        let process = |n| child(&topic, &dir, late, &[(PROCESS, n), (HOSTS, hosts.path())]);
        let said: Vec<_> = ["0", "1"].map(process).into_iter().map(ended).collect();
        assert!(said.iter().all(|(ok, ..)| !ok) && said.iter().any(|(.., err)| err.contains("this is poison")), "{said:?}");

        let directory = Directory::open(&dir).unwrap();
        assert!(directory.verify().unwrap().foreign.is_empty());
        let of_poison = |plan: &&tidemill::checkpoint::PlanRecord| {
            plan.plan.ranges.iter().any(|r| r.split.partition() == 1 && (r.from..r.until).contains(&137))
        };
        let planned = directory.plans().unwrap().iter().find(of_poison).map(|record| record.plan.time.millis());
        assert_eq!(planned.is_some(), late, "{said:?}");
        let find = planned.unwrap_or(0).to_string();
        let (ok, out, err) = ended(child(&topic, &dir, late, &[(FIND, &find)]));
        let found = out.lines().find(|line| line.contains("poison in the batch of")).unwrap_or_else(|| panic!("{out}{err}"));
        assert!(ok && found.contains(&format!("topic {topic}, partition 1, offset 137: worker ")), "{found}");
        assert!(found.ends_with("this is poison; alone it does so too"), "{found}");
    }
}
