//! Ctrl-C and SIGTERM. The test signals a job in a child process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::harness::in_time;

/// How long the output of the child takes for one batch, in milliseconds.
const SLOW: &str = "TIDEMILL_TEST_SLOW_OUTPUT";
/// If set, the child waits after its job until its stdin is closed.
const STAYS: &str = "TIDEMILL_TEST_STAYS";

#[test]
#[ignore = "the child of the tests beside it: it runs until it is signalled"]
fn runs_until_signalled() {
    let slow = std::env::var(SLOW).unwrap().parse().unwrap();
    let queue = QueueSource::new();
    (1..=5).for_each(|n| queue.push(vec![n as i64]));
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&queue).foreach_batch(move |b| {
            println!("\nout {:?}", b.iter().collect::<Vec<_>>());
            std::thread::sleep(millis(slow));
            Ok(())
        });
        // The job handles signals before its workers build. An earlier, separate build checks the graph and is on no worker.
        if ssc.is_first() {
            println!("\nbuilt");
        }
        Ok(())
    };
    // With an interval of an hour, the first batch is not due: the queued rows go into the last batch.
    let job = StreamingContext::builder("signalled", if slow == 0 { mins(60) } else { millis(20) });
    println!("\nran {:?}", job.run(program).map(|s| s.records));
    if std::env::var_os(STAYS).is_some() {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    }
}

struct Signalled(Child, BufReader<ChildStdout>);

impl Signalled {
    fn start(slow: &str) -> Self {
        Signalled::start_with(slow, |_| ())
    }

    fn start_with(slow: &str, set: impl FnOnce(&mut Command)) -> Self {
        let child = format!("{}::runs_until_signalled", module_path!().split_once("::").unwrap().1);
        let args = ["--exact", &child, "--ignored", "--nocapture", "--test-threads=1"];
        let mut command = Command::new(std::env::current_exe().unwrap());
        set(&mut command);
        let mut child = command.args(args).env(SLOW, slow).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Signalled(child, out)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn until(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "it ended before it said {text}");
        }
    }

    fn rest(mut self) -> String {
        let mut text = String::new();
        self.1.read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success(), "{text}");
        text
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

#[test]
fn a14_a_signal_stops_gracefully() {
    for signal in [Signal::INT, Signal::TERM] {
        let text = in_time(move || {
            let mut child = Signalled::start("0");
            child.until("built");
            child.signal(signal);
            child.rest()
        });
        assert!(text.contains("out [1, 2, 3, 4, 5]") && text.contains("ran Ok(5)"), "{text}");
    }
}

/// After the first signal alone, the job would wait for five slow outputs. A signal soon after the first counts as the same
/// request, so the test sends signals until the job has ended.
#[test]
fn a14_a_second_signal_stops_at_once_and_is_an_error() {
    let text = in_time(|| {
        let mut child = Signalled::start("3000");
        child.until("out [1]");
        child.signal(Signal::INT);
        while !child.has_ended() {
            std::thread::sleep(millis(20));
            let _ = kill_process(Pid::from_child(&child.0), Signal::TERM);
        }
        child.rest()
    });
    assert!(text.contains("ran Err(ended at once by a second SIGTERM: ") && !text.contains("out [5]"), "{text}");
}

/// `timeout` signals its child, and then its whole group. Two different signals: the system merges equal ones.
#[test]
fn signals_close_together_are_one_request() {
    let text = in_time(|| {
        let mut child = Signalled::start("100");
        child.until("out [1]");
        child.signal(Signal::TERM);
        child.signal(Signal::INT);
        child.rest()
    });
    assert!(text.contains("5]") && text.contains("ran Ok(5)"), "{text}");
}

/// A launcher ends a process whose peer has failed, while the process is about to say why.
#[test]
fn a_signal_right_after_the_job_does_not_hide_how_it_ended() {
    let text = in_time(|| {
        let mut child = Signalled::start_with("0", |command| {
            command.env(STAYS, "").stdin(Stdio::piped()).stderr(Stdio::piped());
        });
        child.until("built");
        child.signal(Signal::INT);
        child.until("ran Ok(5)");
        child.signal(Signal::TERM);
        let mut log = BufReader::new(child.0.stderr.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("SIGTERM: the job has just ended")));
        drop(child.0.stdin.take());
        child.rest()
    });
    assert!(text.contains("test result: ok"), "{text}");
}
