//! `tidemill replay`: the program of a job runs earlier batches again. The files of the job do not change.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tidemill::checkpoint::{Checkpoints, Directory, Settings};

use crate::broker::Broker;
use crate::child::{Ended, Program, TempDir, path, run};
use crate::golden::{Layout, expected, same};
use crate::tweets::windowed_input;

/// A job of `tweets` that has ended, over the input of its golden file. It has a batch every 20 seconds, and a checkpoint at every
/// second batch.
struct Job {
    broker: Broker,
    dir: TempDir,
}

const INTERVAL_MS: u64 = 20_000;

impl Job {
    fn new(more: &[&str]) -> Job {
        let job = Job { broker: Broker::start(), dir: TempDir::new("replayed") };
        let input = windowed_input();
        job.broker.topic("tweets-in", input.partitions);
        let plans = input.plans_of("tweets-in");
        let states = ["--checkpoint", job.dir.path(), "--checkpoint-interval", "40s", "--plans", plans.path()];
        let args = job.args(&job.broker);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(states).chain(more.iter().copied()).collect();
        let out = Layout { processes: 1, workers: 2 }.run("tweets", &args);
        same("the job itself", &expected("tweets_windowed"), &out);
        job
    }

    fn args(&self, broker: &Broker) -> Vec<String> {
        let place = ["--brokers", &broker.address, "--topic", "tweets-in", "--time-zone", "UTC"];
        [&place[..], &["--mode", "windowed", "--interval", "20s"]].concat().into_iter().map(String::from).collect()
    }

    /// The batch times of the job.
    fn times(&self) -> Vec<u64> {
        let plans = Directory::open(Path::new(self.dir.path())).unwrap().plans().unwrap();
        let times = plans.iter().flat_map(|p| (0..=u64::from(p.run)).map(|i| p.plan.time.millis() + i * INTERVAL_MS));
        times.collect()
    }

    fn replay_of(&self, broker: &Broker, from: u64, to: u64, more: &[&str]) -> Ended {
        let (from, to, tweets) = (from.to_string(), to.to_string(), path("tweets"));
        let head = ["replay", self.dir.path(), "--from", &from, "--to", &to];
        let words = [&head[..], more, &["--", tweets.to_str().unwrap()]].concat();
        run("tidemill", words.into_iter().map(String::from).chain(self.args(broker)))
    }

    fn replay(&self, from: u64, to: u64, more: &[&str]) -> Ended {
        self.replay_of(&self.broker, from, to, more)
    }
}

/// Checks that the program succeeded, and warned only of bad records.
#[track_caller]
fn well(said: &Ended) {
    let known = said.err.lines().all(|l| l.contains("bad records that no stream takes"));
    assert!(said.code == Some(0) && known, "{}{}", said.out, said.err);
}

/// Every file under a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => _ = found.insert(path.clone(), std::fs::read(&path).unwrap()),
        }
    }
    found
}

/// The blocks of the golden file with these times.
fn blocks(from: u64, to: u64) -> String {
    let rule = format!("{}\nTime: ", "-".repeat(43));
    let all = expected("tweets_windowed");
    let wanted = |block: &&str| {
        let time: jiff::civil::DateTime = block[..19].parse().unwrap();
        let ms = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond() as u64;
        (from..=to).contains(&ms)
    };
    all.split(rule.as_str()).skip(1).filter(wanted).map(|block| format!("{rule}{block}")).collect()
}

#[test]
fn a_replay_prints_any_batches_again_and_changes_no_file() {
    let job = Job::new(&["--keep-checkpoints", "100"]);
    let times = job.times();
    let dir = Path::new(job.dir.path());
    let settings = Settings::new("tweets", Duration::from_millis(INTERVAL_MS));
    // Meanwhile another run has the lease of the directory.
    let name = Directory::open(dir).unwrap().genesis().job.clone();
    let _running = Checkpoints::open(dir, Settings { job: name, ..settings }).unwrap();
    let before = files(dir);
    assert!(before.keys().filter(|p| p.to_str().unwrap().contains("manifests/")).count() >= 2, "{:?}", before.keys());
    let last = times.len() - 1;
    for (i, (first, end, workers)) in
        [(0, last, "1"), (last / 2, last / 2, "3"), (last / 2, last, "2"), (1, 2, "2")].into_iter().enumerate()
    {
        let (from, to) = (times[first], times[end]);
        let said = job.replay(from, to, &["-w", workers]);
        well(&said);
        same(&format!("replay {i}, of {from} to {to}"), &blocks(from, to), &said.out);
    }
    assert!(files(dir) == before, "the directory is as it was");
}

#[test]
fn verify_recomputes_views_and_reports_differences() {
    let job = Job::new(&["--keep-checkpoints", "100"]);
    let times = job.times();
    let (from, to) = (times[times.len() / 2], times[times.len() - 1]);
    let said = job.replay(from, to, &["--verify"]);
    well(&said);
    let rows = said.out.strip_prefix("verified: ").and_then(|s| s.split(' ').next()).unwrap().parse::<u32>().unwrap();
    assert!(rows > 5 && said.out.lines().count() == 1 && said.out.contains(" are the same when recomputed"), "{}", said.out);

    // Another topic with the same offsets but a different early record. The checkpoint does not belong to this input.
    let other = Broker::start();
    let input = windowed_input();
    let mut partitions: Vec<Vec<_>> = input.partitions.iter().map(|p| p.to_vec()).collect();
    partitions[0][0] = Some(br#"{"id":1,"text":"another","user":{"screen_name":"nobody"}}"#);
    other.topic("tweets-in", &partitions.iter().map(Vec::as_slice).collect::<Vec<_>>());
    // The checkpoint is of the batch with that record, and the windows of later batches contain the record.
    let said = job.replay_of(&other, times[2], times[3], &["--verify"]);
    assert!(said.code == Some(1) && said.out.is_empty(), "{}{}", said.out, said.err);
    assert!(said.err.contains("not the same: output print") && said.err.contains("recomputed"), "{}", said.err);
}

#[test]
fn a_replay_of_removed_plans_or_checkpoints_is_refused() {
    let job = Job::new(&["--keep-plans", "1s"]);
    let times = job.times();
    let refused = |from: u64, to: u64, more: &[&str]| {
        let said = job.replay(from, to, more);
        assert!(said.code == Some(1) && said.out.is_empty(), "{}{}", said.out, said.err);
        said.err
    };
    let last = *times.last().unwrap();
    let err = refused(last, last + INTERVAL_MS, &[]);
    assert!(err.contains("the last planned batch is") && err.contains(&last.to_string()), "{err}");
    let err = refused(times[0], last, &["--verify"]);
    assert!(err.contains("no checkpoint is from before") && err.contains("nothing to compare with"), "{err}");
    let err = refused(last + INTERVAL_MS, last, &[]);
    assert!(err.contains("the last batch is before the first"), "{err}");
    let err = refused(last + 10 * INTERVAL_MS, last + 11 * INTERVAL_MS, &[]);
    assert!(err.contains("no later batch can be replayed"), "{err}");
    let said = run(
        "tidemill",
        [
            "replay",
            "/no/such/dir",
            "--from",
            "1",
            "--to",
            "2",
            "--",
            path("tweets").to_str().unwrap(),
            "--brokers",
            "127.0.0.1:1",
        ],
    );
    assert!(said.code == Some(1) && said.err.contains("/no/such/dir"), "{}", said.err);
    // The directory belongs to another job.
    let other = Program::start(
        "network_wordcount",
        ["127.0.0.1", "1", "--interval", "20s", "--checkpoint", job.dir.path(), "--replay-from", "1", "--replay-to", "2"],
    )
    .end();
    assert!(other.code == Some(1) && other.err.contains("is of the job"), "{}", other.err);
}
