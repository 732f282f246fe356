//! Whole programs with checkpoints in S3: killed and started again, and one that still runs when a newer one starts.

use std::net::TcpListener;

use super::{environment, new_prefix, server};
use crate::child::{Program, Signal, run};
use crate::resumed::{Kill, check_over_a_kill};

const KILLS: [Kill; 5] = [
    ("plan.before:2", (1, 2), (2, 2)),
    ("plan.written:4", (2, 2), (1, 1)),
    ("pieces.put:9", (1, 1), (1, 2)),
    ("manifest.before:1", (2, 1), (1, 2)),
    ("clean.before:1", (1, 2), (1, 1)),
];

#[test]
fn a_job_with_its_checkpoints_in_s3_continues_after_a_kill() {
    for kill in KILLS {
        check_over_a_kill(kill, &new_prefix("killed"), &environment(server()));
    }
}

/// There is no lock. The newer run takes the directory, and the older one notices this before it closes another batch.
#[test]
fn a_newer_run_takes_the_directory_and_the_older_one_ends() {
    let (dir, env) = (new_prefix("taken"), environment(server()));
    // The server sends nothing, so batches are empty.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let args = ["127.0.0.1", &port, "--interval", "50ms", "--checkpoint", &dir, "--checkpoint-interval", "100ms"];
    let start = || Program::start_in("stateful_network_wordcount", args, &env);
    let shown = |n: usize| move |out: &str, _: &str| out.matches("Time:").count() > n;
    let mut older = start();
    older.until("its first batches", shown(3));
    let mut newer = start();
    let older = older.end();
    assert_eq!(older.code, Some(1));
    assert!(older.err.contains("a newer run has this directory"), "{}", older.err);
    newer.until("its own batches", shown(3));
    newer.signal(Signal::TERM);
    let newer = newer.end();
    assert_eq!(newer.code, Some(0), "{}", newer.err);
    let time = |text: &str| text.lines().filter_map(|l| l.strip_prefix("Time: ")).map(String::from).collect::<Vec<_>>();
    let (before, after) = (time(&older.out), time(&newer.out));
    let again: Vec<_> = after.iter().filter(|t| before.contains(t)).collect();
    // The newer run repeats the batches after the last checkpoint first. The older run has printed none of the following ones.
    assert!(after.iter().zip(&again).all(|(a, b)| &a == b), "{before:?}\n{after:?}");
    let list = run_in_s3(&["checkpoint", "verify", &dir]);
    assert!(list.contains("all as they were written"), "{list}");
    assert!(run("tidemill", ["checkpoint", "list", "gs://b/p"]).err.contains("gs://"), "the error names an unknown scheme");
}

fn run_in_s3(args: &[&str]) -> String {
    let ended = Program::start_in("tidemill", args, &environment(server())).end();
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    ended.out
}
