//! A server that is busy, loses answers, or ignores conditions. Also: secrets are never shown.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::checkpoint::{Checkpoints, Directory, Manifest, OperatorState, Origin, PlanRecord, Settings, StateId, collect};
use tidemill::core::plan::Plan;
use tidemill::prelude::BatchTime;

use super::proxy::{self, Deal};
use super::{SECRET, environment, given, new_prefix, run, said, server};

const SECONDS: u64 = 3;
/// The size of the state of a key group. A file with three of them is uploaded in parts.
const STATE: usize = 3 << 20;

/// Writes a directory with a checkpoint at each of seconds 1 to 3, without an engine.
fn write(dir: &Path) -> tidemill::Result<()> {
    let (checkpoints, recovered) = Checkpoints::open(dir, Settings::new("job", Duration::from_secs(1)))?;
    if recovered.genesis.is_none() {
        checkpoints.begin(Origin::default())?;
    }
    let mut plans = checkpoints.plan_log()?;
    let from = recovered.planned.millis() / 1_000 + 1;
    for s in from..=SECONDS {
        let time = BatchTime::from_millis(1_000 * s);
        let plan = plans.append(&PlanRecord { plan: Plan { time, ..Plan::default() }, run: 0, fill: true })?;
        let mut chunks = checkpoints.chunks()?.write(time, 0)?;
        for group in 0..3 {
            chunks.put("sum#1", group, &vec![(s as u8) + group as u8; STATE])?;
        }
        let groups = collect([chunks.finish()?]).remove("sum#1").unwrap_or_default();
        let id = StateId { name: "sum#1".into(), fingerprint: "u64".into() };
        checkpoints.publish(Manifest { time, plan, operators: vec![OperatorState { id, groups }], ..Manifest::default() })?;
        checkpoints.clean()?;
    }
    Ok(())
}

/// Checks that the directory of `write` is complete and valid.
fn check(dir: &Path) {
    let found = Directory::open(dir).unwrap().verify().unwrap();
    assert!(found.bad.is_empty() && found.foreign.is_empty(), "{found:?}");
    let (checkpoints, recovered) = Checkpoints::open(dir, Settings::new("job", Duration::from_secs(1))).unwrap();
    let newest = recovered.checkpoint.expect("a checkpoint");
    assert_eq!((newest.time.millis(), recovered.planned.millis(), recovered.warnings.len()), (3_000, 3_000, 0));
    for (group, chunks) in &newest.operators[0].groups {
        let read = checkpoints.chunks().unwrap().read("sum#1", *group, &chunks[0]).unwrap();
        assert!(read.len() == STATE && read.iter().all(|b| *b == 3 + *group as u8));
    }
}

/// Runs in the child process that has the environment. Without a directory there is nothing to do.
#[test]
fn runs_against_s3() {
    let Some(dir) = given() else { return };
    tidemill::logging::init();
    match std::env::var("TIDEMILL_TEST_DO").as_deref() {
        Ok("check") => check(&dir),
        _ => write(&dir).unwrap_or_else(|e| panic!("said: {e}")),
    }
}

fn doing(what: &str, dir: &str, address: &str, more: &[(&str, &str)]) -> Output {
    run("s3::faults::runs_against_s3", dir, &[&environment(address), more, &[("TIDEMILL_TEST_DO", what)]].concat())
}

#[track_caller]
fn fine(output: &Output) {
    assert!(output.status.success() && said(output).contains("1 passed"), "{}", said(output));
}

#[test]
fn a_lost_answer_is_checked_and_a_busy_server_is_asked_again() {
    let dir = new_prefix("lost");
    // Loses the first answer to each PUT. The second answer says that the name is taken.
    let (seen, lost, busy) = (Mutex::new(BTreeSet::new()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (loses, refuses) = (lost.clone(), busy.clone());
    let slow = "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>";
    let proxy = proxy::start(server(), move |request| {
        let new = seen.lock().unwrap().insert(format!("{} {}", request.method, request.path));
        if new && request.method == "PUT" {
            loses.fetch_add(1, Ordering::SeqCst);
            return Deal::Lose;
        }
        if new && request.method == "GET" {
            refuses.fetch_add(1, Ordering::SeqCst);
            return Deal::Say(503, slow);
        }
        Deal::Pass
    });
    fine(&doing("write", &dir, &proxy, &[]));
    let (lost, busy) = (lost.load(Ordering::SeqCst), busy.load(Ordering::SeqCst));
    assert!(lost > 10 && busy > 5, "{lost} answers were lost, and the server was busy {busy} times");
    fine(&doing("check", &dir, server(), &[]));
}

#[test]
fn a_process_that_is_killed_during_an_upload_leaves_no_partial_file() {
    for at in ["pieces.put:2", "pieces.before:1", "file.synced:5", "file.named:5", "manifest.before:2", "clean.delete:2"] {
        let dir = new_prefix("half");
        let killed = doing("write", &dir, server(), &[("TIDEMILL_CRASH_AT", at)]);
        let signal = std::os::unix::process::ExitStatusExt::signal(&killed.status);
        assert_eq!(signal, Some(9), "{at}: the process should have died there: {}", said(&killed));
        fine(&doing("write", &dir, server(), &[]));
        fine(&doing("check", &dir, server(), &[]));
    }
}

#[test]
fn a_server_that_ignores_conditions_is_refused() {
    let proxy = proxy::start(server(), |request| if request.method == "PUT" { Deal::Say(200, "") } else { Deal::Pass });
    let e = said(&doing("write", &new_prefix("careless"), &proxy, &[]));
    assert!(e.contains("said: checkpoint: s3://bucket/careless") && e.contains("If-None-Match"), "{e}");
}

/// Neither errors nor a complete log show them. A server repeats the signed text in its answer to a wrong key. This server refuses
/// tokens, and says so.
#[test]
fn keys_and_tokens_are_never_shown() {
    let wrong = [("AWS_SECRET_ACCESS_KEY", "another-secret"), ("RUST_LOG", "debug")];
    let e = said(&doing("write", &new_prefix("wrong"), server(), &wrong));
    assert!(e.contains("said: checkpoint: s3://bucket/wrong") && e.contains("SignatureDoesNotMatch"), "{e}");
    assert!(e.contains("AWS_SECRET_ACCESS_KEY") && !e.contains("another-secret"), "{e}");
    let token = [("AWS_SESSION_TOKEN", "a-token-that-nobody-sees"), ("RUST_LOG", "debug")];
    let e = said(&doing("write", &new_prefix("token"), server(), &token));
    assert!(e.contains("said: checkpoint: s3://bucket/token") && !e.contains("a-token-that"), "{e}");
    let nobody = said(&doing("write", &new_prefix("nobody"), server(), &[("AWS_ACCESS_KEY_ID", "nobody")]));
    assert!(nobody.contains("InvalidAccessKeyId") || nobody.contains("AccessDenied"), "{nobody}");
    let bucket = said(&doing("write", "s3://no-such-bucket/x", server(), &[]));
    assert!(bucket.contains("NoSuchBucket: ") && bucket.contains("create the bucket"), "{bucket}");
    let all = doing("write", &new_prefix("told"), server(), &[("RUST_LOG", "trace")]);
    fine(&all);
    let log = said(&all);
    assert!(log.contains("TRACE") && !log.contains(SECRET), "the secret is in the log");
}
