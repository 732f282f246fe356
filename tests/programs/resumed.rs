//! A job is killed at a named point and started again on other layouts. Its runs together write the same bytes as one run.

use crate::broker::Broker;
use crate::child::{Program, TempDir, TempFile};
use crate::golden::{Layout, expected, same};
use crate::tweets::windowed_input;

/// A crash point with its pass, and the processes and workers before and after.
pub type Kill = (&'static str, (usize, usize), (usize, usize));

/// Crash points of `core/fault.rs` that a run reaches at least this many times, and the layouts before and after.
const KILLS: [Kill; 9] = [
    ("genesis.after:1", (1, 1), (1, 4)),
    ("plan.before:1", (1, 2), (2, 2)),
    ("plan.written:4", (1, 4), (1, 1)),
    ("plan.after:5", (2, 2), (1, 3)),
    ("pieces.put:9", (1, 2), (1, 1)),
    ("pieces.after:1", (1, 1), (2, 1)),
    ("manifest.before:1", (2, 2), (1, 2)),
    ("manifest.after:1", (1, 1), (1, 4)),
    ("clean.before:1", (1, 4), (1, 1)),
];

struct Job {
    broker: Broker,
    plans: TempFile,
}

impl Job {
    fn new() -> Job {
        let (broker, input) = (Broker::start(), windowed_input());
        broker.topic("tweets-in", input.partitions);
        let plans = input.plans_of("tweets-in");
        Job { broker, plans }
    }

    fn args<'a>(&'a self, dir: &'a str) -> Vec<&'a str> {
        let given =
            ["--brokers", &self.broker.address, "--topic", "tweets-in", "--plans", self.plans.path(), "--time-zone", "UTC"];
        let states = ["--mode", "windowed", "--interval", "20s", "--checkpoint", dir, "--checkpoint-interval", "40s"];
        [given, states].concat()
    }
}

/// Six kills in a row: while a planned batch runs again, before the first batch, at the next checkpoint, and twice at a restore. The
/// last start has lost nothing.
#[test]
fn a13_a_recovery_that_is_killed_again_and_again() {
    let (job, dir) = (Job::new(), TempDir::new("again"));
    let (args, whole) = (job.args(dir.path()), expected("tweets_windowed"));
    let mut printed = 0;
    let kills = ["plan.after:4", "replay.before:1", "lease.after:1", "manifest.after:1", "restore.before:1", "restore.before:2"];
    for (workers, at) in [1, 3, 2, 4, 1, 2].into_iter().zip(kills) {
        let (programs, _hosts) = Layout { processes: 1, workers }.start_with("tweets", &args, &[], &[("TIDEMILL_CRASH_AT", at)]);
        let killed = programs.into_iter().next().unwrap().end();
        assert_eq!(killed.code, None, "{at}: the run should have died there: {}{}", killed.out, killed.err);
        assert!(whole.contains(&killed.out), "{at}: {}", killed.out);
        printed = printed.max(whole.find(&killed.out).unwrap() + killed.out.len());
    }
    let again = Layout { processes: 2, workers: 1 }.run("tweets", &args);
    let rest = whole.len().saturating_sub(again.len());
    assert!(rest <= printed, "the runs before the last should have printed {rest} bytes, but printed {printed}");
    same("the end of tweets_windowed, after a recovery that was killed six times", &whole[rest..], &again);
}

#[test]
fn a3_b10_windows_of_tweets_survive_a_kill() {
    for kill in KILLS {
        check_over_a_kill(kill, TempDir::new("resumed").path(), &[]);
    }
}

/// Runs a job with its checkpoints in `dir` three times, with environment variables. The first run is killed.
pub fn check_over_a_kill((at, (processes, workers), then): Kill, dir: &str, env: &[(&str, &str)]) {
    let job = Job::new();
    let (args, whole) = (job.args(dir), expected("tweets_windowed"));
    let (programs, _hosts) = Layout { processes, workers }.start_with("tweets", &args, env, &[("TIDEMILL_CRASH_AT", at)]);
    let mut ended = programs.into_iter().map(Program::end);
    let killed = ended.next().unwrap();
    assert_eq!(killed.code, None, "{at}: the run should have died there: {}{}", killed.out, killed.err);
    assert!(ended.all(|other| other.code == Some(1)), "{at}: its peers");
    let again = Layout { processes: then.0, workers: then.1 }.run_in("tweets", &args, env);
    // Batches after the last checkpoint are printed again with the same rows.
    assert!(whole.starts_with(&killed.out), "{at}: {}", killed.out);
    let rest = whole.len().saturating_sub(again.len());
    assert!(rest <= killed.out.len(), "{at}: the killed run should have printed {rest} bytes:\n{}", killed.out);
    same(&format!("the end of tweets_windowed, after a kill at {at}"), &whole[rest..], &again);
    let nothing = Layout { processes: 1, workers: 1 }.run_in("tweets", &args, env);
    assert_eq!(nothing, "", "{at}: the earlier runs have printed all batches");
}
