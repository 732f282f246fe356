//! A process dies at each crash point, at each pass. Everything that was reported as durable exists, and the directory opens.

use std::process::{Command, Stdio};

use super::*;

/// The crash points of checkpoints.
const POINTS: [&str; 15] = [
    "lease.after",
    "genesis.before",
    "genesis.after",
    "plan.before",
    "plan.written",
    "plan.after",
    "pieces.put",
    "pieces.before",
    "pieces.after",
    "manifest.before",
    "manifest.after",
    "file.synced",
    "file.named",
    "clean.before",
    "clean.delete",
];

const SECONDS: u64 = 5;

/// Runs the job to second `SECONDS`, and prints to stdout what is durable.
fn run(dir: &Path) {
    let mut job = Job::start(dir).unwrap();
    job.plans = job.plans.with_segments_of(200);
    while job.now < SECONDS {
        job.step();
        println!("planned {}", job.now);
        if job.now > 1 {
            job.checkpoint().unwrap();
            println!("checkpoint {}", job.now);
            job.checkpoints.clean().unwrap();
        }
    }
}

/// The process that dies is this test with a directory. Without a directory it does nothing.
#[test]
fn the_job_that_is_killed() {
    match std::env::var_os("TIDEMILL_TEST_CRASH_DIR") {
        Some(dir) => run(Path::new(&dir)),
        None => run(&Place::new("not-killed")),
    }
}

/// The last number that was printed with `what`.
fn last(said: &str, what: &str) -> u64 {
    said.lines().rev().find_map(|l| l.rsplit_once(what)?.1.trim().parse().ok()).unwrap_or(0)
}

/// Runs the job until it dies at the point. Returns `false` if it reaches its end.
fn dies(dir: &Path, point: &str, n: u64) -> (bool, String) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::tests::crash::the_job_that_is_killed", "--nocapture", "--test-threads=1"])
        .env("TIDEMILL_TEST_CRASH_DIR", dir)
        .env("TIDEMILL_CRASH_AT", format!("{point}:{n}"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let killed = std::os::unix::process::ExitStatusExt::signal(&child.status) == Some(9);
    assert!(killed || child.status.success(), "{point}:{n}: {}\n{said}", child.status);
    (killed, said)
}

fn after_a_crash_at(point: &str) {
    let mut n = 0;
    loop {
        n += 1;
        let dir = Place::new("crash");
        let (killed, said) = dies(&dir, point, n);
        if !killed {
            break;
        }
        let (checkpoints, recovered) = open(&dir).unwrap_or_else(|e| panic!("{point}:{n}: {e}"));
        let now = check(&checkpoints, &recovered);
        let checkpoint = recovered.checkpoint.as_ref().map_or(0, |m| m.time.millis() / 1_000);
        assert!(now >= last(&said, "planned "), "{point}:{n}: {now}, and {said}");
        assert!(checkpoint >= last(&said, "checkpoint "), "{point}:{n}: {checkpoint}, and {said}");
        // A killed process leaves no incomplete append and no damage.
        assert_eq!(recovered.warnings, [""; 0], "{point}:{n}");
        drop(checkpoints);
        run(&dir);
        assert_eq!(Job::start(&dir).unwrap().now, SECONDS, "{point}:{n}");
        let found = Directory::open(&dir).unwrap().verify().unwrap();
        assert!(found.bad.is_empty() && found.notes.is_empty(), "{point}:{n}: {found:?}");
    }
    assert!(n > 1, "{point} was never passed");
}

#[test]
fn a_crash_while_a_run_begins() {
    POINTS[..3].iter().for_each(|p| after_a_crash_at(p));
}

#[test]
fn a1_a2_a3_a_crash_while_plans_are_written() {
    POINTS[3..6].iter().for_each(|p| after_a_crash_at(p));
}

#[test]
fn a9_a10_a_crash_while_a_checkpoint_is_written() {
    POINTS[6..11].iter().for_each(|p| after_a_crash_at(p));
}

#[test]
fn a11_a_crash_while_a_file_gets_its_name() {
    POINTS[11..13].iter().for_each(|p| after_a_crash_at(p));
}

#[test]
fn a12_a_crash_while_cleaning() {
    POINTS[13..].iter().for_each(|p| after_a_crash_at(p));
}

/// Two processes, not two handles: the lock belongs to the system, and ends with its process.
#[test]
fn a20_another_process_is_refused_until_it_dies() {
    let dir = Place::new("processes");
    let job = Job::start(&dir).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::tests::crash::the_job_that_is_killed", "--nocapture"])
        .env("TIDEMILL_TEST_CRASH_DIR", &*dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned() + &String::from_utf8_lossy(&child.stdout);
    assert!(
        !child.status.success() && said.contains("is in use by process") && said.contains(&std::process::id().to_string()),
        "{said}"
    );
    drop(job);
    assert!(dies(&dir, "plan.after", 2).0);
    assert_eq!(open(&dir).unwrap().1.generation, 3);
}
