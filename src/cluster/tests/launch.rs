//! The launcher, with shell scripts as programs. After `sh -c script` come the arguments of the launcher: `$0` = -n, `$1` = N,
//! `$3` = the index, `$5` = the workers, `$7` = the hostfile.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGTERM;

use super::super::launch::Launch;
use super::super::rescale::{Control, Request, rescale};
use super::has;
use crate::checkpoint::{Checkpoints, Manifest, Origin, Settings};
use crate::core::error::Result;
use crate::core::time::BatchTime;
use crate::testing::temp_dir::TempDir;

const LONG: Duration = Duration::from_secs(300);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn until(&self, part: &str) {
        let end = Instant::now() + LONG;
        while !self.text().contains(part) {
            assert!(Instant::now() < end, "{:?} lacks {part:?}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Run {
    out: Lines,
    err: Lines,
    signals: Sender<Request>,
    thread: JoinHandle<Result<i32>>,
}

impl Run {
    fn of(launch: Launch) -> Run {
        let (out, err) = (Lines::default(), Lines::default());
        let (signals, received) = channel();
        let (to_out, to_err) = (out.clone(), err.clone());
        let thread = thread::spawn(move || launch.supervise(to_out, to_err, &received));
        Run { out, err, signals, thread }
    }

    fn script(script: &str, n: usize) -> Run {
        Run::of(shell(script, n))
    }

    fn code(self) -> (i32, String, String) {
        let code = self.thread.join().unwrap().unwrap();
        (code, self.out.text(), self.err.text())
    }
}

fn shell(script: &str, n: usize) -> Launch {
    Launch { prefix: true, ..Launch::new("sh", vec!["-c".into(), script.into()], n, 3) }
}

#[test]
fn lines_are_whole_and_name_their_process() {
    let script = r#"for i in $(seq 200); do printf 'part '; echo "line $i of $3, $0 $1 $2 $3 $4 $5 $6"; done; echo trouble >&2; printf 'no end'"#;
    let (code, out, err) = Run::script(script, 2).code();
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), 402);
    for p in [0, 1] {
        has(&out, &[&format!("[{p}] part line 200 of {p}, -n 2 -p {p} -w 3 --hostfile\n"), &format!("[{p}] no end\n")]);
        has(&err, &[&format!("[{p}] trouble\n")]);
    }
    assert!(
        out.lines().all(|l| l.starts_with("[0] part line") || l.starts_with("[1] part line") || l.ends_with("] no end")),
        "{out}"
    );
}

#[test]
fn without_a_prefix_stdout_is_as_it_was_written() {
    let script = r#"printf 'one\n\n  two\r\n\t%s' $3; echo trouble >&2"#;
    let (code, out, err) = Run::of(Launch { prefix: false, ..shell(script, 1) }).code();
    assert_eq!((code, out.as_str(), err.as_str()), (0, "one\n\n  two\r\n\t0", "[0] trouble\n"));
}

/// The stdout of a launcher whose reader has closed the pipe.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn processes_end_when_nobody_reads_stdout() {
    // `yes` ends by SIGPIPE, which is not a failure then.
    let (_signals, received) = channel();
    let err = Lines::default();
    let code = shell("exec yes", 2).supervise(Gone, err.clone(), &received).unwrap();
    assert_eq!((code, err.text().as_str()), (0, ""));
}

#[test]
fn the_hostfile_has_an_address_for_each_process_and_is_removed() {
    let (code, out, _) =
        Run::script(r#"echo "$7 $(wc -l < "$7") $(sort -u "$7" | grep -c 127.0.0.1:) $(tr '\n' , < "$7")""#, 3).code();
    assert_eq!(code, 0);
    let words: Vec<&str> = out.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words[2..4], ["3", "3"]);
    // Another test of this process may have reused the name.
    let there = std::fs::read_to_string(words[1]).unwrap_or_default();
    assert_ne!(there.replace('\n', ","), words[4]);
}

#[test]
fn the_first_failure_ends_all_processes_and_gives_the_exit_code() {
    let (code, _, err) = Run::script(r#"[ $3 = 1 ] && exit 75; sleep 600"#, 3).code();
    assert_eq!(code, 75);
    has(&err, &["[launch] process 1 ended: exit status: 75"]);
}

#[test]
fn a18_a_killed_process_gives_the_exit_code_even_if_another_fails_first() {
    // Process 0 fails because of process 1, and ends before it.
    let script = r#"if [ $3 = 0 ]; then until rm "$7.deaf" 2>/dev/null; do sleep 0.02; done; exit 1; fi
        trap '' TERM; touch "$7.deaf"; sleep 0.3; kill -KILL $$"#;
    let (code, _, err) = Run::script(script, 2).code();
    assert_eq!(code, 137, "{err}");
    has(&err, &["process 0 ended: exit status: 1", "process 1 ended: signal: 9", "as the system does when memory is short"]);
}

#[test]
fn a_process_that_ignores_the_signal_is_killed() {
    // Process 1 fails once process 0 ignores SIGTERM.
    let script = r#"if [ $3 = 1 ]; then until rm "$7.deaf" 2>/dev/null; do sleep 0.02; done; exit 3; fi
        trap '' TERM; touch "$7.deaf"; while :; do sleep 0.1; done"#;
    let run = Run::of(Launch { kill_after: Duration::from_millis(300), ..shell(script, 2) });
    let (code, _, err) = run.code();
    assert_eq!(code, 3);
    has(&err, &["killed"]);
}

#[test]
fn the_first_signal_is_passed_on_and_the_second_kills() {
    let run = Run::script(r#"trap 'echo got; exit 0' TERM; echo up; while :; do sleep 0.05; done"#, 2);
    run.out.until("[0] up");
    run.out.until("[1] up");
    // Not SIGINT: a shell that was started with it ignored, as behind `&`, cannot trap it.
    run.signals.send(Request::Signal(SIGTERM)).unwrap();
    let (code, out, _) = run.code();
    assert_eq!(code, 0);
    has(&out, &["[0] got", "[1] got"]);

    let run = Run::script(r#"trap 'echo deaf' TERM; echo up; while :; do sleep 0.05; done"#, 2);
    run.out.until("[0] up");
    run.out.until("[1] up");
    run.signals.send(Request::Signal(SIGTERM)).unwrap();
    run.out.until("[0] deaf");
    run.out.until("[1] deaf");
    // A signal at once would belong to the first request. The launch may end before the last one.
    while !run.err.text().contains("a second signal, SIGTERM: the processes are killed") {
        let _ = run.signals.send(Request::Signal(SIGTERM));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(run.code().0, 128 + 9);
}

#[test]
fn processes_that_still_run_after_the_first_end_are_ended() {
    let run = Run::of(Launch { grace: Duration::from_millis(200), ..shell(r#"[ $3 = 0 ] && exit 0; sleep 600"#, 2) });
    let (code, _, err) = run.code();
    assert_eq!(code, 128 + 15);
    has(&err, &["process 0 ended 200ms ago"]);
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let error = Launch::new("/no/such/program", Vec::new(), 2, 1).run(Vec::new(), Vec::new()).unwrap_err().to_string();
    has(&error, &["cannot start /no/such/program"]);
    let error = Launch::new("true", Vec::new(), 0, 1).run(Vec::new(), Vec::new()).unwrap_err().to_string();
    has(&error, &["-n 0", "at least one process"]);
}

/// A launcher that restarts failed jobs, and its checkpoint directory.
fn again(name: &str, script: &str) -> (Launch, TempDir) {
    let dir = TempDir::new(&format!("again-{name}"));
    let launch =
        Launch { checkpoint: Some(dir.to_path_buf()), restarts: 2, pause: Duration::from_millis(20), ..shell(script, 2) };
    (launch, dir)
}

#[test]
fn a17_a_job_that_fails_at_every_start_is_given_up_with_the_reason() {
    let (launch, _dir) = again("give-up", r#"[ $3 = 1 ] && exit 3; sleep 600"#);
    let (code, _, err) = Run::of(launch).code();
    assert_eq!(code, 3);
    let lines: Vec<&str> = err.lines().filter(|l| !l.contains("process 0")).collect();
    let ended = "process 1 ended: exit status: 3";
    let restart = |n, ms| format!("[launch] restart {n} of 2 in {ms} ms, there is no checkpoint yet: {ended}");
    let last = format!(
        "[launch] gave up after 2 restarts without a new batch; the last failure: {ended}; mend the program and start it again: it continues from its checkpoint"
    );
    let own = format!("[launch] {ended}");
    assert_eq!(lines, [&own, &restart(1, 20), &own, &restart(2, 40), &own, &last], "{err}");
}

#[test]
fn a_program_with_wrong_arguments_is_not_started_again() {
    let (launch, _dir) = again("usage", r#"[ $3 = 1 ] && exit 2; sleep 600"#);
    let (code, _, err) = Run::of(launch).code();
    assert!(code == 2 && err.contains("not started again: process 1 ended: exit status: 2"), "{err}");
}

/// Only a batch that is committed for the first time resets the count: not a checkpoint, and not a replayed batch.
#[test]
fn a17_a_newly_committed_batch_resets_the_count_of_restarts() {
    // Process 1 reports the batch time that the test has written, as a job does, and fails when the test asks for it.
    let script = r#"[ $3 = 1 ] || sleep 600; echo up; until rm "$9.fail" 2>/dev/null; do sleep 0.02; done
        if [ -e "$9.said" ]; then cat "$9.said" > "$TIDEMILL_PROGRESS"; fi; exit 3"#;
    let (launch, dir) = again("count", script);
    let (fail, said) = (dir.with_extension("fail"), dir.with_extension("said"));
    let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("words", Duration::from_secs(1))).unwrap();
    checkpoints.begin(Origin::default()).unwrap();
    let run = Run::of(launch);
    let mut failures = 0;
    for (restart, committed, checkpoint) in [
        (1, None, None),
        (2, None, None),
        (1, Some(1_000), None),
        (2, Some(1_000), Some(2_000)),
        (1, Some(1_500), None),
        (2, Some(500), None),
    ] {
        let end = Instant::now() + LONG;
        while run.out.text().matches("[1] up").count() <= failures {
            assert!(Instant::now() < end, "{}", run.err.text());
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(time) = checkpoint {
            let manifest = Manifest { time: BatchTime::from_millis(time), ..Manifest::default() };
            checkpoints.publish(manifest).unwrap();
        }
        if let Some(time) = committed {
            std::fs::write(&said, u64::to_be_bytes(time)).unwrap();
        }
        std::fs::write(&fail, "").unwrap();
        failures += 1;
        let expected = format!("restart {restart} of 2");
        while run.err.text().matches("[launch] restart").count() < failures {
            assert!(Instant::now() < end, "{}", run.err.text());
            thread::sleep(Duration::from_millis(5));
        }
        has(run.err.text().lines().rfind(|l| l.contains("restart")).unwrap(), &[&expected]);
    }
    std::fs::write(&fail, "").unwrap();
    let (code, _, err) = run.code();
    assert_eq!(code, 3);
    let [checkpoint, committed] = [2_000, 1_500].map(BatchTime::from_millis);
    let last = format!("gave up after 2 restarts without a new batch since the one of {committed}");
    has(&err, &[&format!("from the checkpoint of {checkpoint}"), &last]);
    std::fs::remove_file(said).unwrap();
}

#[test]
fn a_signal_during_the_pause_ends_the_launch() {
    let (launch, _dir) = again("asked", "exit 3");
    let run = Run::of(Launch { pause: LONG, ..launch });
    run.err.until("restart 1 of 2");
    run.signals.send(Request::Signal(SIGTERM)).unwrap();
    let (code, _, err) = run.code();
    assert!(code == 3 && err.contains("asked to end: the job is not started again"), "{err}");
}

/// A second request replaces the first during a pause: both callers get an answer.
#[test]
fn a_replaced_request_gets_an_answer() {
    // It fails when it is asked to end. With four processes it ends at once.
    let (launch, dir) = again(
        "others",
        r#"[ $1 = 4 ] && { printf 0 > "$TIDEMILL_PROGRESS"; exit 0; }; trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"#,
    );
    let run = Run::of(Launch { pause: LONG, ..launch });
    let control = Control::open(&dir, run.signals.clone()).unwrap();
    let ask = |processes| {
        let dir = dir.to_path_buf();
        thread::spawn(move || rescale(&dir, processes, 1))
    };
    run.out.until("[0] up");
    run.out.until("[1] up");
    let first = ask(3);
    run.err.until("restart 1 of 2");
    let second = ask(4).join().unwrap().unwrap();
    has(&second, &["runs as -n 4 -w 1"]);
    has(&first.join().unwrap().unwrap_err().to_string(), &["replaced by a later request"]);
    let (code, _, err) = run.code();
    assert_eq!(code, 0, "{err}");
    drop(control);
}

/// The caller is told when the job runs, not when its processes have been started, and is told why it does not run.
#[test]
fn a_rescale_is_answered_when_the_job_runs_or_has_failed() {
    let script = r#"[ $1 = 3 ] && exit 5; trap 'exit 0' TERM; echo "up $1"
        [ $1 = 2 ] && while [ ! -e "$9.go" ]; do sleep 0.05; done
        printf 0 > "$TIDEMILL_PROGRESS"; while :; do sleep 0.05; done"#;
    let (launch, dir) = again("answers", script);
    let run = Run::of(Launch { processes: 1, pause: LONG, ..launch });
    let control = Control::open(&dir, run.signals.clone()).unwrap();
    run.out.until("[0] up 1");
    let wanted = dir.to_path_buf();
    let two = thread::spawn(move || rescale(&wanted, 2, 1));
    // A request to end reaches both only after they have said what they do then.
    run.out.until("[0] up 2");
    run.out.until("[1] up 2");
    assert!(!two.is_finished(), "its processes have started, and the job does not run yet");
    std::fs::write(dir.with_extension("go"), "").unwrap();
    assert_eq!(two.join().unwrap().unwrap(), "runs as -n 2 -w 1");
    let failed = rescale(&dir, 3, 1).unwrap_err().to_string();
    has(&failed, &["not rescaled", "ended: exit status: 5", "before the job ran as -n 3 -w 1"]);
    run.err.until("restart 1 of 2");
    run.signals.send(Request::Signal(SIGTERM)).unwrap();
    assert_eq!(run.code().0, 5);
    drop(control);
    std::fs::remove_file(dir.with_extension("go")).unwrap();
}

#[test]
fn more_workers_than_the_directory_allows_are_refused_while_the_job_goes_on() {
    let script = r#"trap 'exit 0' TERM; echo up; printf 0 > "$TIDEMILL_PROGRESS"; while :; do sleep 0.05; done"#;
    let (launch, dir) = again("most", script);
    let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("words", Duration::from_secs(1))).unwrap();
    checkpoints.begin(Origin::default()).unwrap();
    drop(checkpoints);
    let run = Run::of(Launch { processes: 1, pause: LONG, ..launch });
    let control = Control::open(&dir, run.signals.clone()).unwrap();
    run.out.until("[0] up");
    let refused = rescale(&dir, 3, 43).unwrap_err().to_string();
    has(&refused, &["129 workers are more than max_parallelism 128"]);
    assert_eq!(rescale(&dir, 1, 128).unwrap(), "runs as -n 1 -w 128");
    run.signals.send(Request::Signal(SIGTERM)).unwrap();
    assert_eq!(run.code().0, 0);
    drop(control);
}

#[test]
fn a_stopped_process_without_peers_is_killed() {
    let (launch, _dir) = again("stopped", r#"[ -e "$9.was" ] && exit 0; touch "$9.was"; kill -STOP $$; exit 0"#);
    let was = launch.checkpoint.as_ref().unwrap().with_extension("was");
    let _ = std::fs::remove_file(&was);
    let (code, _, err) = Run::of(Launch { processes: 1, stopped_for: Duration::from_millis(200), ..launch }).code();
    assert_eq!(code, 0, "{err}");
    has(&err, &["process 0 has been stopped for 200ms: it is killed", "process 0 ended: signal: 9", "restart 1 of 2"]);
    std::fs::remove_file(was).unwrap();
}
