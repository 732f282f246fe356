//! Replays batches of a running exactly-once job. The job is not disturbed, and its topic does not change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidemill::checkpoint::{Directory, PlanRecord};

use crate::child::{Ended, Program, Signal, path};
use crate::fixture::{brokers, log_end, produce, topic};
use crate::recorder::read_log;

struct Job {
    input: String,
    output: String,
    dir: PathBuf,
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Key and value of committed records.
fn rows(topic: &str) -> Vec<(String, String)> {
    let all = read_log(&brokers(), topic, "read_committed").0.into_values().flatten();
    let row = |value: String| {
        let word = serde_json::from_str::<serde_json::Value>(&value).unwrap()["word"].as_str().unwrap().to_owned();
        (word, value)
    };
    all.map(|(_, value)| row(value)).collect()
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

impl Job {
    fn new() -> Job {
        let dir = std::env::temp_dir().join(format!("tidemill-replay-{}", std::process::id()));
        Job { input: topic("replay-in", 2, &[]), output: topic("replay-out", 2, &[]), dir }
    }

    fn args(&self) -> Vec<String> {
        let at = brokers();
        let args = ["--brokers", &at, "--in", &self.input, "--out", &self.output, "--interval", "20ms", "--exactly-once"];
        args.map(String::from).into()
    }

    fn start(&self) -> Program {
        let dir = self.dir.display().to_string();
        let more = ["--checkpoint", &dir, "--checkpoint-interval", "100ms", "--keep-checkpoints", "10000", "-w", "2"];
        Program::start("kafka_wordcount", self.args().into_iter().chain(more.map(String::from)))
    }

    /// Sends words, waits until the job has written all their counts, and returns the new rows.
    fn round(&self, job: &mut Program, words: &[&str]) -> Vec<(String, String)> {
        let before = rows(&self.output);
        let wanted: BTreeMap<&str, usize> = words.iter().fold(BTreeMap::new(), |mut n, w| {
            *n.entry(*w).or_default() += 1;
            n
        });
        for (i, word) in words.iter().enumerate() {
            produce(&self.input, i as i32 % 2, &[&format!(r#"{{"word":"{word}"}}"#)]);
        }
        let total = |rows: &[(String, String)], word: &str| {
            let last = rows.iter().filter(|(w, _)| w == word).map(|(_, v)| serde_json::from_str::<serde_json::Value>(v).unwrap());
            last.filter_map(|v| v["count"].as_u64()).max().unwrap_or(0) as usize
        };
        job.until("the counts of this round", |_, _| {
            let now = rows(&self.output);
            wanted.iter().all(|(word, n)| total(&now, word) == total(&before, word) + n)
        });
        rows(&self.output).into_iter().filter(|row| !before.contains(row)).collect()
    }

    fn plans(&self) -> Vec<PlanRecord> {
        Directory::open(&self.dir).unwrap().plans().unwrap()
    }

    fn replay(&self, from: u64, to: u64, more: &[&str]) -> Ended {
        let (dir, from, to) = (self.dir.display().to_string(), from.to_string(), to.to_string());
        let program = path("kafka_wordcount").display().to_string();
        let words = [&["replay", &dir, "--from", &from, "--to", &to], more, &["--", &program]].concat();
        Program::start("tidemill", words.into_iter().map(String::from).chain(self.args())).end()
    }
}

/// The times of batches that read records.
fn full(plans: &[PlanRecord]) -> Vec<u64> {
    let full = plans.iter().filter(|p| p.plan.ranges.iter().any(|r| r.from < r.until));
    full.map(|p| p.plan.time.millis()).collect()
}

#[test]
fn a_replay_of_an_exactly_once_job_neither_writes_nor_fences() {
    let job = Job::new();
    let mut running = job.start();
    job.round(&mut running, &["tide", "mill", "tide", "pond"]);
    let first = full(&job.plans());
    running.until("a checkpoint of the first round", |_, _| {
        let checkpoints = Directory::open(&job.dir).unwrap().checkpoints().unwrap();
        checkpoints.iter().any(|(file, _)| file.time.millis() >= first[first.len() - 1])
    });
    let added = job.round(&mut running, &["tide", "wheel", "mill", "tide"]);
    let all = full(&job.plans());
    let (from, to) = (all[first.len()], *all.last().unwrap());
    assert!(from > first[first.len() - 1], "{first:?} {all:?}");
    let ends = || (0..2).map(|p| log_end(&job.output, p)).collect::<Vec<i64>>();
    let before = ends();

    let shown = job.replay(from, to, &["-w", "2"]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{}", shown.out);
    assert!(shown.out.contains(&format!(" -> topic {}\n", job.output)), "{}", shown.out);
    let lines = shown.out.lines().filter_map(|l| l.split_once('\t')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    assert_eq!(sorted(lines), sorted(added.clone()), "the same rows, with the totals of those batches");

    let again = topic("replay-again", 2, &[]);
    let into = format!("{}={again}", job.output);
    let written = job.replay(from, to, &["--into", &into]);
    assert_eq!((written.code, written.out.as_str(), written.err.as_str()), (Some(0), "", ""));
    assert_eq!(sorted(rows(&again)), sorted(added));

    let verified = job.replay(from, to, &["--verify"]);
    assert_eq!((verified.code, verified.err.as_str()), (Some(0), ""), "{}", verified.out);
    assert!(verified.out.starts_with("verified: "), "{}", verified.out);

    assert_eq!(ends(), before, "the replay wrote no record and no transaction marker");
    let last = job.round(&mut running, &["mill"]);
    assert_eq!(last, [("mill".to_owned(), r#"{"word":"mill","count":3}"#.to_owned())], "the replay has not fenced the job");
    running.signal(Signal::TERM);
    let end = running.end();
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
}
