//! `tidemill launch --checkpoint`: if a process ends for any reason, the job continues, and its counts are those of one run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::broker::{Broker, Value};
use crate::child::{PATIENCE, Program, Signal, TempFile, children, path, run, send};
use crate::page::json;

const ROUND: [Value; 3] = [Some(br#"{"word":"tide"}"#), Some(br#"{"word":"mill"}"#), Some(br#"{"word":"tide"}"#)];

/// A launched word count, its broker and its checkpoint directory.
struct Job {
    launch: Program,
    broker: Broker,
    folder: PathBuf,
    rounds: i64,
}

/// The last count of each word. Counts from before a crash may be repeated.
fn counts(broker: &Broker) -> BTreeMap<String, i64> {
    let count = |record: &str| serde_json::from_str::<serde_json::Value>(record).unwrap()["count"].as_i64().unwrap();
    broker.read("counts", 2).into_iter().flatten().map(|(word, record)| (word, count(&record))).collect()
}

fn launch(folder: &Path, broker: &Broker, processes: &str) -> Program {
    launch_with(folder, broker, processes, &[], &[])
}

fn launch_with(folder: &Path, broker: &Broker, processes: &str, more: &[&str], env: &[(&str, &str)]) -> Program {
    let (program, dir) = (path("kafka_wordcount"), folder.join("checkpoint"));
    let temporary = folder.join("temporary");
    std::fs::create_dir_all(&temporary).unwrap();
    let env = [env, &[("TMPDIR", temporary.to_str().unwrap())]].concat();
    let words = ["launch", "-n", processes, "-w", "2", "--restarts", "3", "--checkpoint", dir.to_str().unwrap(), "--"];
    let program = [program.to_str().unwrap(), "--brokers", &broker.address, "--in", "words", "--out", "counts"];
    let times = ["--interval", "50ms", "--checkpoint-interval", "100ms", "--heartbeat-timeout", "10s"];
    Program::start_in("tidemill", words.iter().chain(&program).chain(&times).chain(more), &env)
}

impl Job {
    fn start(name: &str) -> Job {
        Job::start_with(name, &[], &[])
    }

    fn start_with(name: &str, more: &[&str], env: &[(&str, &str)]) -> Job {
        let folder = std::env::temp_dir().join(format!("tidemill-supervise-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let broker = Broker::start();
        broker.topic("words", &[&[], &[]]);
        broker.topic("counts", &[&[], &[]]);
        Job { launch: launch_with(&folder, &broker, "2", more, env), broker, folder, rounds: 0 }
    }

    fn dir(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    /// The name of the newest checkpoint: its time and generation.
    fn newest(&self) -> Option<String> {
        let names = std::fs::read_dir(self.dir().join("manifests")).ok()?.flatten();
        names.map(|e| e.file_name().into_string().unwrap()).filter(|n| !n.ends_with(".tmp")).max()
    }

    /// Sends words, and waits until they are counted and there is a later checkpoint.
    fn round(&mut self) {
        self.broker.send("words", (self.rounds % 2) as i32, &ROUND);
        self.rounds += 1;
        let (begun, mut counted) = (Instant::now(), None);
        while counted.is_none() || self.newest() <= counted {
            if counted.is_none() && counts(&self.broker) == self.expected() {
                counted = Some(self.newest().unwrap_or_default());
            }
            assert!(begun.elapsed() < PATIENCE, "{:?}\n{}", counts(&self.broker), self.launch.said().1);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn expected(&self) -> BTreeMap<String, i64> {
        BTreeMap::from([("tide".into(), 2 * self.rounds), ("mill".into(), self.rounds)])
    }

    /// The processes, by index.
    fn processes(&self) -> Vec<u32> {
        let all = children(self.launch.id());
        let with = |p: usize| all.iter().find(|(_, line)| line.contains(&format!(" -p {p} "))).map(|c| c.0);
        (0..all.len()).map(|p| with(p).unwrap_or_else(|| panic!("{all:?}"))).collect()
    }

    /// The number of files in the temporary directory of the launcher.
    fn temporary(&self) -> usize {
        std::fs::read_dir(self.folder.join("temporary")).unwrap().count()
    }

    fn until_said(&mut self, words: &str) {
        self.launch.until(words, |_, err| err.contains(words));
    }

    /// Stops the job with a signal to the launcher. All words must be counted, and no process may remain.
    fn stop(self) -> String {
        let (processes, expected, dir) = (self.processes(), self.expected(), self.dir());
        let Job { launch, broker, folder, .. } = self;
        launch.signal(Signal::TERM);
        let end = launch.end();
        assert_eq!(end.code, Some(0), "{}", end.err);
        assert!(processes.iter().all(|p| !Path::new(&format!("/proc/{p}")).exists()));
        assert!(!folder.join("checkpoint.launch").exists(), "its socket is removed");
        assert_eq!(std::fs::read_dir(folder.join("temporary")).unwrap().count(), 0, "its temporary files are removed");
        let verified = run("tidemill", ["checkpoint", "verify", dir.to_str().unwrap()]);
        assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(counts(&broker), expected, "{}", end.err);
        end.err
    }
}

#[test]
fn d2_a_killed_process_causes_a_restart_and_loses_no_count() {
    for victim in [1, 0] {
        let mut job = Job::start(&format!("kill-{victim}"));
        job.round();
        let before = job.processes();
        send(before[victim], Signal::KILL);
        job.until_said("restart 1 of 3 in 1 s, from the checkpoint of");
        job.round();
        assert!(job.processes().iter().all(|p| !before.contains(p)), "all were started again");
        assert!(job.newest().unwrap().ends_with("-g00000002"), "{:?}", job.newest());
        let said = job.stop();
        assert!(said.contains(&format!("[launch] process {victim} ended: signal: 9")), "{said}");
    }
}

/// The address of the page that the job has had since it was started for the nth time.
fn page(job: &mut Job, nth: usize) -> String {
    let mut found = None;
    job.launch.until("the line about the page", |_, err| {
        let pages = err.lines().filter_map(|line| line.split_once("its page is at http://")?.1.split('/').next());
        found = pages.map(str::to_owned).nth(nth - 1);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn the_reason_of_a_restart_is_told_afterwards() {
    let mut job = Job::start_with("reasons", &["--listen", "127.0.0.1:0"], &[("RUST_LOG", "info")]);
    job.round();
    let first = page(&mut job, 1);
    assert_eq!(json(&first, "/api/v1/errors")["restarts"], serde_json::json!([]));
    let began = json(&first, "/api/v1/job")["now_ms"].as_u64();
    send(job.processes()[1], Signal::KILL);
    job.until_said("restart 1 of 3");
    job.round();
    let second = page(&mut job, 2);
    let restarts = json(&second, "/api/v1/errors")["restarts"].clone();
    assert_eq!(restarts.as_array().unwrap().len(), 1, "{restarts}");
    assert!(restarts[0]["why"].as_str().unwrap().contains("process 1 ended: signal: 9"), "{restarts}");
    assert!(restarts[0]["at_ms"].as_u64() >= began && began.is_some(), "{restarts}");
    let said = job.stop();
    assert!(said.contains("restart 1 of 3"), "{said}");
}

#[test]
fn a19_a_suspended_process_causes_a_restart_and_loses_no_count() {
    let mut job = Job::start("stop");
    job.round();
    let victim = job.processes()[1];
    send(victim, Signal::STOP);
    let state = || std::fs::read_to_string(format!("/proc/{victim}/stat")).unwrap_or_default();
    let begun = Instant::now();
    while !state().contains(") T ") {
        assert!(begun.elapsed() < PATIENCE, "{}", state());
    }
    job.until_said("restart 1 of 3 in 1 s, from the checkpoint of");
    job.round();
    let said = job.stop();
    assert!(said.contains("process 1 at 127.0.0.1:") && said.contains("was lost: it was silent for 10s"), "{said}");
    assert!(said.contains("[1] kafka_wordcount: cluster: this process was paused for"), "{said}");
}

const CANARY: &str = "hunter2-canary-of-the-cluster";

/// All bytes of all files below a directory.
fn files(dir: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.metadata().unwrap().is_dir() {
            true => files(&entry.path(), into),
            // Sockets and removed files have no bytes to read.
            false => into.extend(std::fs::read(entry.path()).ok().map(|bytes| (entry.path(), bytes))),
        }
    }
}

/// Whether the process at this address has a secret: the last byte of its challenge says so.
fn secured(address: &str) -> bool {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&[&b"tidemill\0\0\0\x03\0\0\0\x21"[..], &[0; 33]].concat()).unwrap();
    let mut knock = [0; 49];
    stream.read_exact(&mut knock).unwrap();
    knock[48] == 1
}

#[test]
fn d17_the_secret_is_in_no_log_file_or_command_line() {
    use std::os::unix::fs::PermissionsExt;
    let file = TempFile::new("secret", CANARY);
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).unwrap();
    // The secret comes from a file, or from the environment. Everything is logged.
    for (name, flags, env) in [
        ("canary-file", &["--secret-file", file.path()][..], &[("RUST_LOG", "trace")][..]),
        ("canary-env", &[], &[("RUST_LOG", "trace"), ("TIDEMILL_SECRET", CANARY)]),
    ] {
        let mut job = Job::start_with(name, flags, env);
        job.round();
        let (processes, mut found) = (job.processes(), Vec::new());
        let hosts = children(job.launch.id())[0].1.split("--hostfile ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let address = std::fs::read_to_string(&hosts).unwrap().lines().next().unwrap().to_owned();
        assert!(secured(&address), "the processes have the secret");
        for process in processes.iter().chain([&job.launch.id()]) {
            let read = |what| std::fs::read(format!("/proc/{process}/{what}")).unwrap();
            found.push((PathBuf::from(format!("the command line of {process}")), read("cmdline")));
            let known = read("environ").windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
            assert_eq!(known, flags.is_empty(), "only a secret that was given in the environment is in the environment");
        }
        // The messages about failures must not have it either.
        send(processes[1], Signal::KILL);
        job.until_said("restart 1 of 3");
        job.round();
        files(&job.folder, &mut found);
        assert!(found.iter().any(|(path, _)| path.to_str().unwrap().contains("manifests/")));
        let dir = job.dir();
        let looked = run("tidemill", ["checkpoint", "inspect", dir.to_str().unwrap()]);
        found.push(("the output of inspect".into(), looked.out.into()));
        found.push(("stdout".into(), job.launch.said().0.into()));
        let said = job.stop();
        assert!(said.contains("TRACE") || said.contains("DEBUG"), "everything is logged: {said:.400}");
        found.push(("stderr".into(), said.into()));
        for (what, bytes) in found {
            let at = bytes.windows(7).position(|w| w == b"hunter2");
            assert!(at.is_none(), "{} has it at byte {at:?}", what.display());
        }
    }
}

#[test]
fn b10_rescale_changes_the_numbers_of_a_running_job() {
    let mut job = Job::start("scale");
    job.round();
    let dir = job.dir();
    let dir = dir.to_str().unwrap();
    for (n, w) in [("3", "1"), ("1", "4")] {
        let end = run("tidemill", ["rescale", dir, "-n", n, "-w", w]);
        assert_eq!((end.code, end.out), (Some(0), format!("runs as -n {n} -w {w}\n")), "{}{}", end.err, job.launch.said().1);
        job.round();
        assert_eq!(job.processes().len().to_string(), n);
    }
    // A directory can have only one launcher.
    let other = run("tidemill", ["launch", "--checkpoint", dir, "--", "true"]);
    assert!(other.code == Some(1) && other.err.contains("another `tidemill launch`"), "{}", other.err);
    let said = job.stop();
    assert!(said.contains("[launch] rescale: the job continues with -n 3 -w 1") && !said.contains("restart"), "{said}");
    let nobody = run("tidemill", ["rescale", "/no/such/dir", "-n", "1", "-w", "1"]);
    assert!(
        nobody.code == Some(1) && nobody.err.contains("is `tidemill launch --checkpoint /no/such/dir` running?"),
        "{}",
        nobody.err
    );
}

/// Kills the launcher, and waits until it and its processes have ended with all of their threads. Until then they hold sockets and
/// locks.
fn kill_all(job: &mut Job, processes: &[u32]) {
    job.launch.signal(Signal::KILL);
    let begun = Instant::now();
    // A process that has ended but has not been waited for is a zombie. Its first thread may be one while others still run.
    let zombie = |p: &u32| std::fs::read_to_string(format!("/proc/{p}/stat")).map_or(true, |stat| stat.contains(") Z "));
    let threads = |p: &u32| std::fs::read_dir(format!("/proc/{p}/task")).map_or(0, Iterator::count);
    while !job.launch.has_ended() || !processes.iter().all(|p| zombie(p) && threads(p) <= 1) {
        assert!(begun.elapsed() < PATIENCE, "{processes:?} {:?}", job.launch.said());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All processes are killed at once, as when the machine fails. The next launcher continues where the job was.
#[test]
fn a15_all_processes_are_killed_at_once() {
    let mut job = Job::start("all");
    for processes in ["3", "1"] {
        job.round();
        let before = job.processes();
        job.broker.send("words", 0, &ROUND);
        job.rounds += 1;
        kill_all(&mut job, &before);
        let left = job.temporary();
        assert!(left >= 2, "the killed launcher has left its hostfile and its progress file: {left}");
        job.launch = launch(&job.folder, &job.broker, processes);
        job.round();
        assert_eq!(job.temporary(), 2, "the next launcher has removed them, and has its own");
        assert!(job.processes().iter().all(|p| !before.contains(p)));
    }
    job.stop();
}

#[test]
fn no_process_outlives_a_killed_launch() {
    let mut job = Job::start("orphan");
    job.round();
    let processes = job.processes();
    // A suspended process must end too.
    send(processes[1], Signal::STOP);
    kill_all(&mut job, &processes);
    // The files that it left do not block the next launcher.
    let dir = job.dir();
    let next = run("tidemill", ["launch", "--checkpoint", dir.to_str().unwrap(), "--", "sh", "-c", "echo $8"]);
    assert_eq!((next.code, next.out.lines().count()), (Some(0), 2), "{}", next.err);
    std::fs::remove_dir_all(&job.folder).unwrap();
}
