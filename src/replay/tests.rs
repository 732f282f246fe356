//! Which batches can be replayed, and the errors of those that cannot.

use std::path::Path;
use std::time::Duration;

use super::history::History;
use crate::checkpoint::tests::{Job, Place, at, open, plan, positions, settings};
use crate::checkpoint::{Directory, Origin, Settings};
use crate::core::plan::{Range, Split};
use crate::core::time::BatchTime;

/// Ten seconds of batches with a checkpoint for each. Keeps `keep` checkpoints, and the plans of the last six seconds.
fn ten(dir: &Path, keep: usize) -> Directory {
    let settings = Settings { keep, keep_plans: Duration::from_secs(6), ..settings() };
    let mut job = Job::start_with(dir, settings).unwrap();
    job.plans = job.plans.with_segments_of(100);
    for _ in 0..10 {
        job.step();
        job.checkpoint().unwrap();
    }
    job.checkpoints.clean().unwrap();
    Directory::open(dir).unwrap()
}

/// The checkpoint in seconds, and each plan with whether it is shown.
fn found(history: &History) -> (Option<u64>, Vec<(u64, bool)>) {
    let seconds = |t: BatchTime| t.millis() / 1_000;
    let plans = history.plans.iter().map(|p| (seconds(p.plan.time), p.plan.shown)).collect();
    (history.checkpoint.as_ref().map(|m| seconds(m.time)), plans)
}

#[test]
fn a_replay_begins_at_the_newest_checkpoint_before_its_batches() {
    let dir = Place::new("again");
    let directory = ten(&dir, 5);
    let again = |from, to| directory.history(at(from), at(to), false).unwrap();
    assert_eq!(found(&again(10, 10)), (Some(9), vec![(10, true)]));
    assert_eq!(found(&again(7, 8)), (Some(6), vec![(7, true), (8, true)]));
    assert_eq!(again(7, 8).positions, positions(6));

    // A damaged checkpoint is skipped: the batches after the previous one are computed, but not shown.
    let file = dir.files("manifests").into_iter().find(|f| f.contains("000000000009000")).unwrap();
    let mut bytes = std::fs::read(dir.path(&file)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(dir.path(&file), bytes).unwrap();
    assert_eq!(found(&again(10, 10)), (Some(8), vec![(9, false), (10, true)]));
}

#[test]
fn a_deleted_batch_is_an_error_that_lists_the_existing_checkpoints() {
    let dir = Place::new("gone");
    let directory = ten(&dir, 2);
    let refused = |from, to, recompute| directory.history(at(from), at(to), recompute).unwrap_err().to_string();
    for from in [1, 5, 9] {
        let e = refused(from, 10, false);
        assert!(e.contains("no usable checkpoint is from before"), "{e}");
        assert!(e.contains("10000, 9000") && e.contains("--keep-checkpoints N") && e.contains("--keep-plans"), "{e}");
    }
    assert!(refused(10, 10, true).contains("the plans of its first batches have been deleted"));
    assert!(refused(10, 11, false).contains("the last planned batch is"));
}

#[test]
fn records_that_cannot_be_read_again_are_refused_before_the_replay_runs() {
    let dir = Place::new("received");
    let (checkpoints, _) = open(&dir).unwrap();
    checkpoints.begin(Origin::default()).unwrap();
    let mut plans = checkpoints.plan_log().unwrap();
    let split = Split::Received { from: "example.org:9999".into() };
    let mut record = plan(1);
    record.plan.ranges = vec![Range { source: 0, split_id: 0, split, from: 0, until: 12 }];
    plans.append(&record).unwrap();
    let e = Directory::open(&dir).unwrap().history(at(1), at(1), false).unwrap_err().to_string();
    assert!(e.contains("12 records received from example.org:9999"), "{e}");
}
