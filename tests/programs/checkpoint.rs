//! `tidemill checkpoint`: its output about a directory, as text and as JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tidemill::checkpoint::{Checkpoints, Manifest, OperatorState, Origin, PlanRecord, Position, Settings, StateId, collect};
use tidemill::core::plan::{Plan, Range, Split};
use tidemill::prelude::BatchTime;

/// A directory with a checkpoint at each of seconds 1 to 3. It is removed on drop.
struct Made(PathBuf);

impl Made {
    fn new(name: &str) -> (Made, Checkpoints) {
        let dir = std::env::temp_dir().join(format!("tidemill-cli-checkpoint-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("words", Duration::from_secs(1))).unwrap();
        checkpoints.begin(Origin::default()).unwrap();
        let mut plans = checkpoints.plan_log().unwrap();
        let split = Split::Kafka { topic: "words".into(), partition: 3 };
        for s in 1..=3u64 {
            let (time, until) = (BatchTime::from_millis(1_000 * s), 10 * s as i64);
            let ranges = vec![Range { source: 0, split_id: 0, split: split.clone(), from: until - 10, until }];
            let plan = plans.append(&PlanRecord { plan: Plan { time, ranges, shown: true }, run: 0, fill: true }).unwrap();
            let mut chunks = checkpoints.chunks().unwrap().write(time, 0).unwrap();
            for group in 0..=s as u32 {
                chunks.put("sum_by_key#1", group, &[7; 1_000]).unwrap();
            }
            let id = StateId { name: "sum_by_key#1".into(), fingerprint: "(String, i64)".into() };
            let groups = collect([chunks.finish().unwrap()]).remove("sum_by_key#1").unwrap();
            let positions = vec![Position { source: 0, split_id: 0, split: split.clone(), next: until }];
            let operators = vec![OperatorState { id, groups }];
            let whole =
                Manifest { time, plan, positions, operators, split_ids: 1, workers: 1, processes: 1, ..Manifest::default() };
            checkpoints.publish(whole).unwrap();
        }
        (Made(dir), checkpoints)
    }

    fn run(&self, what: &str, more: &[&str]) -> Output {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(["checkpoint", what]).arg(&self.0).args(more).env_remove("RUST_LOG").output().unwrap()
    }

    /// The output of a command that must succeed.
    fn says(&self, what: &str, more: &[&str]) -> String {
        let out = self.run(what, more);
        assert!(out.status.success() && out.stderr.is_empty(), "{what}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, what: &str, more: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.says(what, &[more, &["--json"]].concat())).unwrap()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_directory_is_listed_inspected_and_compared_while_a_run_has_it() {
    let (dir, _run) = Made::new("look");
    let lines: Vec<String> = dir.says("list", &[]).lines().map(String::from).collect();
    assert!(lines[0].starts_with("job words, batch interval 1000 ms, max_parallelism 128, directory "), "{lines:?}");
    let cells = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(cells(&lines[2])[..7], ["3000", "1970-01-01T00:00:03.000Z", "1", "1", "4", "4.0", "KiB"]);
    assert_eq!(lines.len(), 5);
    let list = dir.json("list", &[]);
    assert_eq!((list["job"].as_str(), list["checkpoints"][2]["time"].as_u64()), (Some("words"), Some(1_000)));

    let text = dir.says("inspect", &[]);
    assert!(text.contains("checkpoint of 3000 ms") && text.contains("words/3") && text.contains("(String, i64)"), "{text}");
    let one = dir.json("inspect", &["--at", "1000"]);
    assert_eq!(
        (one["positions"][0]["next"].as_i64(), one["operators"][0]["key_groups"][1]["group"].as_u64()),
        (Some(10), Some(1))
    );

    let text = dir.says("diff", &["1000", "3000"]);
    assert!(text.contains("+20") && text.contains("0: words/3") && text.contains("sum_by_key#1"), "{text}");
    assert!(dir.says("diff", &["2000", "2000"]).contains("operator: no change"));
    assert_eq!(dir.json("diff", &["1000", "3000"])["positions"][0]["to"].as_i64(), Some(30));

    let out = dir.run("inspect", &["--at", "7"]);
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && err.contains("no checkpoint of 7") && err.contains("3000, 2000, 1000"), "{err}");
}

#[test]
fn a_bad_byte_is_reported_with_its_file() {
    let (dir, run) = Made::new("bad");
    assert!(dir.says("verify", &[]).contains("9 files, 3 plans, 9 pieces: all as they were written"));
    let file = "pieces/000000000002000-g00000001-w0000";
    let mut bytes = std::fs::read(dir.0.join(file)).unwrap();
    bytes[500] ^= 1;
    std::fs::write(dir.0.join(file), bytes).unwrap();
    let out = dir.run("verify", &[]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.code() == Some(1) && text.contains(file) && text.contains("2 bad"), "{text}");
    drop(run);
}

#[test]
fn pruning_waits_until_no_run_has_the_directory() {
    let (dir, run) = Made::new("prune");
    let out = dir.run("prune", &["--keep", "1"]);
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && err.contains("in use by process") && err.lines().count() == 1, "{err}");
    drop(run);
    assert!(dir.says("prune", &["--keep", "1"]).contains("deleted  manifests/000000000001000-g00000001"));
    assert_eq!(dir.json("list", &[])["checkpoints"].as_array().unwrap().len(), 1);
    assert!(dir.says("verify", &[]).contains("all as they were written"));
    assert_eq!(dir.run("prune", &["--keep", "0"]).status.code(), Some(2));
    let nowhere = Made(Path::new("/no/such/directory").into());
    assert!(String::from_utf8(nowhere.run("list", &[]).stderr).unwrap().contains("/no/such/directory"));
}
