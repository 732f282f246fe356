//! Two processes that each have their own path of the checkpoint directory, as on two hosts. The paths must lead to the same
//! directory, and not to a copy.

use std::path::Path;
use std::process::Command;

use tidemill::checkpoint::Directory;

use crate::broker::{Broker, Value};
use crate::child::{Program, Signal, TempDir, TempFile, addresses, hostfile};

const WORD: [Value; 1] = [Some(br#"{"word":"tide"}"#)];

/// Starts a word count with one process per path.
fn start(broker: &Broker, paths: &[&str]) -> (Vec<Program>, TempFile) {
    let (hosts, n) = (hostfile(&addresses(paths.len())), paths.len().to_string());
    let topics = ["--brokers", &broker.address, "--in", "words", "--out", "counts"];
    let times = ["--interval", "50ms", "--checkpoint-interval", "100ms"];
    let process = |(p, path): (usize, &&str)| {
        let layout = ["-n", &n, "-p", &p.to_string(), "--hostfile", hosts.path(), "--checkpoint", path].map(String::from);
        Program::start("kafka_wordcount", topics.iter().chain(&times).map(ToString::to_string).chain(layout))
    };
    (paths.iter().enumerate().map(process).collect(), hosts)
}

/// Counts another word, and stops all processes gracefully.
fn counts(broker: &Broker, paths: &[&str], count: u32) {
    let (mut programs, _hosts) = start(broker, paths);
    broker.send("words", 0, &WORD);
    let record = format!(r#"{{"word":"tide","count":{count}}}"#);
    programs[0].until(&record, |_, _| broker.read("counts", 1)[0].last().is_some_and(|(_, last)| *last == record));
    programs[0].signal(Signal::TERM);
    for end in programs.into_iter().map(Program::end) {
        assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
    }
}

/// Both processes must end, and each must say why the second one cannot take part.
fn refused(broker: &Broker, paths: [&str; 2], why: &str) {
    let (programs, _hosts) = start(broker, &paths);
    for (p, end) in programs.into_iter().map(Program::end).enumerate() {
        let words = ["process 0 runs on host", why, paths[1], "all processes of a job need the same directory"];
        assert_eq!(end.code, Some(1), "{p}: {}", end.err);
        assert!(words.iter().all(|word| end.err.contains(word)), "{p}, {why}: {}", end.err);
    }
}

fn copy(from: &str, to: &str) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").args(["-r", from, to]).status().unwrap().success());
}

fn plans(dir: &str) -> usize {
    Directory::open(Path::new(dir)).unwrap().plans().unwrap().len()
}

#[test]
fn processes_that_do_not_share_their_directory_end_before_they_plan_a_batch() {
    let broker = Broker::start();
    broker.topic("words", &[&[]]);
    broker.topic("counts", &[&[]]);
    let dirs = ["shared", "shared-link", "not-shared"].map(TempDir::new);
    let [dir, link, other] = dirs.each_ref().map(TempDir::path);
    std::os::unix::fs::symlink(dir, link).unwrap();
    counts(&broker, &[dir, link], 1);

    let planned = plans(dir);
    broker.send("words", 0, &WORD);
    refused(&broker, [dir, other], "it cannot be opened");
    std::fs::create_dir(other).unwrap();
    refused(&broker, [dir, other], "it is not a checkpoint directory");
    copy(dir, other);
    refused(&broker, [dir, other], "it is a copy: the lease of generation");
    assert_eq!(plans(dir), planned, "the unread word is in no plan");
    // Another job continues in a copy, so both directories have a lease of the same generation.
    copy(dir, other);
    counts(&broker, &[other], 3);
    refused(&broker, [dir, other], "it is a copy: there it was taken by process");
    assert_eq!(plans(dir), planned);

    counts(&broker, &[link, dir], 4);
    assert!(plans(dir) > planned);
}
