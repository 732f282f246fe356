//! Disks that become full, broken, slow or absent while a job runs. Each fault is an error code of the system, injected where the
//! system would return it. Each test checks the messages of the program.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill::checkpoint::Directory;

use crate::broker::Broker;
use crate::child::{Ended, Program, Signal, TempDir, path, run};
use crate::golden::expected;
use crate::tweets::windowed_input;

/// Error codes of the system.
const NO_SPACE: &str = "28";
const BROKEN: &str = "5";

/// A job that counts words from a socket, which sends words all the time. It makes checkpoints as often as possible.
struct Job {
    dir: TempDir,
    port: u16,
    over: Arc<AtomicBool>,
}

impl Job {
    fn new(name: &str) -> Job {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, over) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        std::thread::spawn(move || {
            for mut guest in listener.incoming().map_while(Result::ok) {
                while !ends.load(Ordering::SeqCst) && guest.write_all(b"to be or not to be\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Job { dir: TempDir::new(name), port, over }
    }

    fn start(&self, fails: &[&str]) -> Program {
        let port = self.port.to_string();
        let args = ["127.0.0.1", &port, "--interval", "20ms", "--checkpoint", self.dir.path(), "--checkpoint-interval", "20ms"];
        let env: Vec<_> = fails.iter().map(|f| ("TIDEMILL_FAIL_AT", *f)).collect();
        Program::start_in("stateful_network_wordcount", args, &env)
    }

    /// The times of the valid checkpoints, newest first.
    fn checkpoints(&self) -> Vec<u64> {
        let all = Directory::open(Path::new(self.dir.path())).and_then(|d| d.checkpoints()).unwrap_or_default();
        all.into_iter().filter(|(_, m)| m.is_ok()).map(|(file, _)| file.time.millis()).collect()
    }

    /// Waits for a newer checkpoint.
    fn another_checkpoint(&self, program: &mut Program) {
        let before = self.checkpoints().first().copied();
        program.until("a newer checkpoint", |_, _| self.checkpoints().first().copied() > before);
    }

    /// Checks that the directory is valid, and that a job continues from it and makes another checkpoint.
    fn continues(&self) {
        let verified = run("tidemill", ["checkpoint", "verify", self.dir.path()]);
        assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
        let mut program = self.start(&[]);
        self.another_checkpoint(&mut program);
        stopped(program);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Stops the program gracefully. It must exit with 0.
fn stopped(program: Program) -> Ended {
    program.signal(Signal::TERM);
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    ended
}

/// The number of batches in the output.
fn batches(out: &str) -> usize {
    out.matches("Time: ").count()
}

/// A few checkpoints fail for this reason, and the job continues with the previous one. When the fault is over, checkpoints succeed
/// again.
fn survives(name: &str, fails: &str, failures: usize, says: &str) {
    let job = Job::new(name);
    let mut program = job.start(&[fails]);
    let failed = |err: &str| err.matches("the checkpoint failed; the previous one is still valid").count();
    program.until("checkpoints that fail", |_, err| failed(err) >= failures);
    let (before, err) = program.said();
    assert!(err.contains(says), "{fails}: {err}");
    job.another_checkpoint(&mut program);
    program.until("more batches", |out, _| batches(out) > batches(&before) + 5);
    let ended = stopped(program);
    assert_eq!(failed(&ended.err), failures, "{fails}: {}", ended.err);
    job.continues();
}

/// The job ends and says why. When the fault is over, the next run continues where it was.
fn ends(name: &str, fails: &str, says: &[&str]) -> Ended {
    let job = Job::new(name);
    let ended = job.start(&[fails]).end();
    assert_eq!(ended.code, Some(1), "{fails}: {}", ended.err);
    let last = ended.err.lines().last().unwrap_or_default();
    assert!(says.iter().all(|word| last.contains(word)), "{fails}: {}", ended.err);
    job.continues();
    ended
}

#[test]
fn b1_a_full_disk_fails_checkpoints_until_there_is_room() {
    let full = |at: &str, passes: &str| format!("{at}:{passes}:{NO_SPACE}");
    let says = "No space left on device (os error 28): make room on that disk";
    survives("full-pieces", &full("pieces.write", "3-5"), 3, says);
    survives("full-manifests", &full("manifests.write", "2-3"), 2, says);
    // If the fault stays, the job ends: otherwise its plan log would grow without bound.
    let for_ever = ends("full", &full("pieces.write", "2-9999"), &["No space left on device", "make room"]);
    assert_eq!(for_ever.err.matches("the checkpoint failed").count(), 4, "{}", for_ever.err);
    assert!(batches(&for_ever.out) > 5);
    // A batch without a durable plan must not close.
    ends("full-plans", &full("plans.append", "4-4"), &["plans/", "No space left on device", "make room"]);
}

#[test]
fn b3_a_failed_sync_is_not_reported_as_success() {
    let broken = |at: &str, passes: &str| format!("{at}:{passes}:{BROKEN}");
    let says = "cannot be synced: Input/output error (os error 5)";
    survives("broken-pieces", &broken("pieces.sync", "2-3"), 2, says);
    survives("broken-manifests", &broken("manifests.sync", "2-2"), 1, says);
    ends("broken-plans", &broken("plans.append.sync", "4-4"), &["plans/", says]);
}

#[test]
fn b11_a_disk_that_cannot_be_written_is_an_error_at_the_start() {
    for (error, says) in
        [("30", "Read-only file system (os error 30): mount it writable"), ("13", "Permission denied (os error 13)")]
    {
        let job = Job::new("read-only");
        let ended = job.start(&[&format!("probe:1-1:{error}")]).end();
        assert_eq!((ended.code, batches(&ended.out)), (Some(1), 0), "{}", ended.err);
        assert!(ended.err.contains("cannot be written") && ended.err.contains(says), "{}", ended.err);
        assert!(!Path::new(job.dir.path()).join("genesis").exists());
    }
}

#[test]
fn b12_a_directory_that_is_deleted_ends_the_job() {
    let job = Job::new("deleted");
    let mut program = job.start(&[]);
    job.another_checkpoint(&mut program);
    std::fs::remove_dir_all(job.dir.path()).unwrap();
    let ended = program.end();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let last = ended.err.lines().last().unwrap_or_default();
    assert!(last.contains("No such file or directory") || last.contains("somebody has cleared the directory"), "{}", ended.err);
}

/// Batches do not wait for a slow disk, and no checkpoint begins before the previous one is written.
#[test]
fn b13_b17_a_slow_disk_delays_checkpoints_and_no_batch() {
    let job = Job::new("slow");
    let pieces = || std::fs::read_dir(Path::new(job.dir.path()).join("pieces")).map_or(0, Iterator::count);
    // The sync takes longer than the test.
    let mut program = job.start(&["pieces.sync:1-1:900000ms"]);
    program.until("the first checkpoint with state begins", |_, _| pieces() > 0);
    // On a busy machine there may be an earlier checkpoint, of a batch without words. It has no file to sync.
    let (earlier, before) = (job.checkpoints(), batches(&program.said().0));
    program.until("batches while that checkpoint is written", |out, _| batches(out) >= before + 20);
    assert_eq!((job.checkpoints(), pieces()), (earlier, 1), "the checkpoint is not written yet, and no other has begun");
    program.signal(Signal::KILL);
    assert_eq!(program.end().code, None);
    // The sync takes a second. Then the checkpoint is written, and others follow.
    let mut program = job.start(&["pieces.sync:1-1:1000ms"]);
    job.another_checkpoint(&mut program);
    job.another_checkpoint(&mut program);
    stopped(program);
    job.continues();
}

#[test]
fn b16_without_file_descriptors_checkpoints_fail_with_a_remedy() {
    survives("no-files", "pieces.make:2-3:24", 2, "Too many open files (os error 24): raise the limit with ulimit -n");
}

/// The system limits file descriptors. Wherever the job reaches the limit, it ends, waits or works, and no file is damaged.
#[test]
fn b16_a_job_under_a_limit_of_file_descriptors_damages_nothing() {
    let (broker, input) = (Broker::start(), windowed_input());
    broker.topic("tweets-in", input.partitions);
    let (plans, whole) = (input.plans_of("tweets-in"), expected("tweets_windowed"));
    let mut refused = 0;
    for limit in [10, 13, 16, 18, 20, 23, 26, 34] {
        let dir = TempDir::new("limit");
        let given = ["--brokers", &broker.address, "--topic", "tweets-in", "--plans", plans.path(), "--time-zone", "UTC"];
        let args = [&given[..], &["--mode", "windowed", "--interval", "20s", "--checkpoint", dir.path()]].concat();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $0; exec \"$@\"", &limit.to_string()]).arg(path("tweets")).args(&args);
        // It may wait for ever: then it says why.
        let refuses = |err: &str| err.contains("Too many open files");
        let limited = Program::spawn("tweets under a limit", &mut command, &[]);
        let limited = limited.kill_when("it ends or says that files are missing", |_, err| refuses(err));
        refused += u32::from(refuses(&limited.err));
        let again = run("tweets", &args);
        let (out, then) = (&limited.out, &again.out);
        let told = format!(
            "{limit} files, {:?}:\n{out}\n{}\nagain, {:?}:\n{then}\n{}",
            limited.code, limited.err, again.code, again.err
        );
        assert_eq!(again.code, Some(0), "{told}");
        assert!(whole.starts_with(out) && whole.ends_with(then) && out.len() + then.len() >= whole.len(), "{told}");
        let verified = run("tidemill", ["checkpoint", "verify", dir.path()]);
        assert_eq!(verified.code, Some(0), "{}\n{told}", verified.err);
    }
    assert!(refused > 0, "no limit was low enough");
}
