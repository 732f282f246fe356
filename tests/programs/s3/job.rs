//! Whole programs whose states are in S3: killed and started again, and one that is still there when a newer one starts.

use std::net::TcpListener;

use super::{environment, new_prefix, server};
use crate::child::{Program, Signal, run};
use crate::resumed::{Kill, over_a_kill};

const KILLS: [Kill; 5] = [
    ("plan.before:2", (1, 2), (2, 2)),
    ("plan.written:4", (2, 2), (1, 1)),
    ("pieces.put:9", (1, 1), (1, 2)),
    ("manifest.before:1", (2, 1), (1, 2)),
    ("clean.before:1", (1, 2), (1, 1)),
];

#[test]
fn a_job_with_its_states_in_s3_goes_on_after_a_kill() {
    for kill in KILLS {
        over_a_kill(kill, &new_prefix("killed"), &environment(server()));
    }
}

/// There is no lock: the newer run has the directory, and the older one learns of it before it closes another batch.
#[test]
fn a_newer_run_takes_the_directory_and_the_older_one_ends() {
    let (dir, env) = (new_prefix("taken"), environment(server()));
    // Who connects hears nothing, and batches are empty.
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
    newer.until("batches of its own", shown(3));
    newer.signal(Signal::TERM);
    let newer = newer.end();
    assert_eq!(newer.code, Some(0), "{}", newer.err);
    let time = |text: &str| text.lines().filter_map(|l| l.strip_prefix("Time: ")).map(String::from).collect::<Vec<_>>();
    let (before, after) = (time(&older.out), time(&newer.out));
    let again: Vec<_> = after.iter().filter(|t| before.contains(t)).collect();
    // Those behind the last checkpoint run again; what came after them, the older one has not shown.
    assert!(after.iter().zip(&again).all(|(a, b)| &a == b), "{before:?}\n{after:?}");
    let list = run_in_s3(&["checkpoint", "verify", &dir]);
    assert!(list.contains("all as they were written"), "{list}");
    assert!(run("tidemill", ["checkpoint", "list", "gs://b/p"]).err.contains("gs://"), "another scheme is refused by name");
}

fn run_in_s3(args: &[&str]) -> String {
    let ended = Program::start_in("tidemill", args, &environment(server())).end();
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    ended.out
}
