//! What a job logs to stderr by default: its start, its changes of state, and its end.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;

use clap::{Args, FromArgMatches};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::child::{Program, Signal, TempDir};

/// The default log level.
const USUAL: [(&str, &str); 1] = [("RUST_LOG", "")];

/// The lines that contain these words.
fn with<'a>(err: &'a str, words: &str) -> Vec<&'a str> {
    err.lines().filter(|l| l.contains(words)).collect()
}

/// A program that does not call `logging::init`.
#[test]
#[ignore = "the child of a_program_without_init_still_logs"]
fn runs_without_init() {
    for _ in 0..2 {
        let numbers = QueueSource::from_batches([vec![1, 2], vec![3]]);
        let job = StreamingContext::builder("plain", millis(5)).without_checkpoint();
        let job = if std::env::var_os("MUTE").is_some() { job.without_logging() } else { job };
        let build = move |ssc: &StreamingContext<'_>| {
            ssc.queue_stream(&numbers).count().to_memory(&MemorySink::new());
            Ok(())
        };
        job.run(build).unwrap();
    }
}

/// Runs a test of this file in a child process, and returns its stderr.
fn child(test: &str, env: &[(&str, &str)]) -> String {
    let test = format!("logs::{test}");
    let args = ["--exact", &test, "--ignored", "--nocapture", "--test-threads=1"];
    let end = Program::spawn(&test, Command::new(std::env::current_exe().unwrap()).args(args), env).end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    end.err
}

#[test]
fn a_program_without_init_still_logs() {
    let err = child("runs_without_init", &USUAL);
    let (starts, ends) = (with(&err, "job plain starts"), with(&err, "job plain has ended"));
    assert_eq!((starts.len(), ends.len()), (2, 2), "two jobs in one process: {err}");
    let due = "a batch every 5 ms; 1 worker in 1 process; reads queue; 1 output; checkpoint: none";
    assert!(starts[0].ends_with(due) && starts[0].contains(" INFO "), "{err}");
    assert!(ends[0].contains("2 batches, 3 records, 0 bad, 0 lost, in "), "{err}");
    assert!(!child("runs_without_init", &[("RUST_LOG", ""), ("MUTE", "1")]).contains("job plain"));
    assert!(!child("runs_without_init", &[("RUST_LOG", "warn")]).contains("job plain"));
}

/// A program that logs in a function of a verb, as JSON.
#[test]
#[ignore = "the child of a_line_of_the_program_says_where_it_is_from"]
fn logs_in_a_verb() {
    let numbers = QueueSource::from_batches([vec![1, 2], vec![3]]);
    let format = if std::env::var_os("TEXT").is_some() { "text" } else { "json" };
    let given = RuntimeArgs::augment_args(clap::Command::new("lines")).get_matches_from(["lines", "--log", format, "-w", "2"]);
    let args = RuntimeArgs::from_arg_matches(&given).unwrap();
    let job = StreamingContext::builder("lines", secs(1)).runtime(args).without_checkpoint();
    let build = move |ssc: &StreamingContext<'_>| {
        let seen = ssc.queue_stream(&numbers).map(|n| {
            tracing::info!(target: "sales", n, "a number");
            n
        });
        seen.to_memory(&MemorySink::new());
        tracing::info!(target: "sales", "the program is built");
        Ok(())
    };
    job.run(build).unwrap();
}

#[test]
fn a_line_of_the_program_says_where_it_is_from() {
    let err = child("logs_in_a_verb", &[("RUST_LOG", "warn,sales=info")]);
    let lines: Vec<serde_json::Value> = with(&err, "a number").iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.iter().map(|l| l["n"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3], "{err}");
    for line in &lines {
        assert!(line["operator"].as_str().unwrap().starts_with("map (logs.rs:"), "{line}");
        assert_eq!((&line["worker"], &line["target"]), (&0.into(), &"sales".into()), "the queue is read by worker 0: {line}");
    }
    let batches: Vec<u64> = lines.iter().map(|l| l["batch"].as_u64().unwrap()).collect();
    assert!(batches[0] == batches[1] && batches[1] < batches[2], "{batches:?}");
    // In text, a span of the operator is around the line.
    let err = child("logs_in_a_verb", &[("RUST_LOG", "warn,sales=info,tidemill::operator=debug"), ("TEXT", "1")]);
    let lines = with(&err, "a number");
    assert!(
        lines.len() == 3 && lines.iter().all(|l| l.contains("operator{operator=map (logs.rs:") && l.contains("worker=0")),
        "{err}"
    );
}

/// A program that has its own subscriber, which says when a span ends.
#[test]
#[ignore = "the child of a_batch_is_a_span"]
fn has_spans_of_batches() {
    let ends = tracing_subscriber::fmt::format::FmtSpan::CLOSE;
    let own = tracing_subscriber::fmt().with_env_filter("tidemill::batch=debug").with_span_events(ends).with_ansi(false);
    own.with_writer(std::io::stderr).init();
    let numbers = QueueSource::from_batches([vec![1, 2], vec![3]]);
    let build = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
        Ok(())
    };
    StreamingContext::builder("spans", millis(10)).without_checkpoint().run(build).unwrap();
}

#[test]
fn a_batch_is_a_span() {
    let err = child("has_spans_of_batches", &[]);
    let spans = with(&err, "close");
    assert_eq!(spans.len(), 2, "{err}");
    for (span, figures) in spans.iter().zip(["records=2}", "records=1}"]) {
        assert!(
            span.contains(" DEBUG batch{batch=") && span.contains(figures) && span.contains("tidemill::batch: close"),
            "{span}"
        );
    }
}

#[test]
fn a_job_logs_its_start_and_its_end() {
    let (dir, input) = (TempDir::new("logs-states"), TempDir::new("logs-input"));
    std::fs::create_dir_all(input.path()).unwrap();
    let args = ["--dir", input.path(), "--interval", "100ms", "--window", "200ms", "--checkpoint", dir.path(), "-w", "2"];
    for begins in ["new in", "continued from"] {
        let mut job = Program::start_in("weblog", args, &USUAL);
        job.until("a block", |out, _| out.contains("Time: "));
        job.signal(Signal::TERM);
        let end = job.end();
        assert_eq!(end.code, Some(0), "{}", end.err);
        let said = format!("checkpoint: {begins} ");
        let start = with(&end.err, "a batch every 100 ms; 2 workers in 1 process; reads files of ");
        assert!(start.len() == 1 && start[0].contains(&said), "{said}: {}", end.err);
        assert!(end.err.lines().last().is_some_and(|l| l.contains("has ended: ")), "{}", end.err);
    }
}

/// Runs `weblog` until it has printed a block, stops it, and returns its stderr.
fn weblog(more: &[&str], env: &[(&str, &str)]) -> String {
    let (input, states) = (TempDir::new("logs-weblog"), TempDir::new("logs-weblog-states"));
    std::fs::create_dir_all(input.path()).unwrap();
    let args = ["--dir", input.path(), "--interval", "50ms", "--window", "100ms", "--checkpoint", states.path()];
    let mut job = Program::start_in("weblog", args.iter().chain(more), env);
    job.until("a block", |out, _| out.contains("Time: "));
    job.signal(Signal::TERM);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    end.err
}

#[test]
fn a_quiet_job_logs_nothing_but_warnings_and_errors() {
    assert!(weblog(&[], &USUAL).contains("job weblog starts: "));
    assert_eq!(weblog(&["--quiet"], &USUAL), "");
    // Stderr of a child is not a terminal, so there is no live line either.
    assert_eq!(weblog(&["--quiet", "--status"], &USUAL), "");
    let unknown = weblog(&["--quiet"], &[("RUST_LOG", ""), ("TZ", "Nowhere/Land")]);
    assert!(unknown.lines().count() == 1 && unknown.contains(" WARN "), "{unknown}");
}

#[test]
fn log_lines_are_json_for_programs() {
    let err = weblog(&["--log", "json"], &USUAL);
    let lines: Vec<serde_json::Value> = err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert!(texts[0].starts_with("job weblog starts: ") && texts.last().unwrap().starts_with("job weblog has ended: "), "{err}");
    for line in &lines {
        assert!(line["time"].as_str().unwrap().ends_with("+05:45"), "times are in the zone of these tests: {line}");
        assert_eq!(
            (line["level"].as_str(), line["target"].as_str().map(|t| t.starts_with("tidemill::"))),
            (Some("INFO"), Some(true))
        );
    }
}

/// The program runs under `script` of util-linux, which provides a terminal. `script` starts a shell. `exec` puts the program in its
/// place, so that the signal goes to the program: not every shell does that by itself.
#[test]
fn a_status_line_is_drawn_on_a_terminal_and_removed_at_the_end() {
    let input = TempDir::new("logs-status");
    std::fs::create_dir_all(input.path()).unwrap();
    let weblog = crate::child::path("weblog");
    let command = format!("exec {} --dir {} --interval 50ms --window 100ms --status", weblog.display(), input.path());
    let mut job =
        Program::spawn("script", Command::new("script").args(["-qec", &command, "/dev/null"]).env("SHELL", "/bin/sh"), &USUAL);
    job.until("the line is drawn", |out, _| out.contains("\r\x1b[2Kbatch of 20") && out.contains(" records/s  in all 0  bad 0"));
    let children = crate::child::children(job.id());
    children.iter().for_each(|(process, _)| crate::child::send(*process, Signal::TERM));
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.out);
    let last = end.out.rsplit("\x1b[2K").next().unwrap();
    assert!(last.contains("job weblog has ended: ") || last.trim().is_empty(), "the line is removed: {last:?}");
}

#[test]
fn an_unknown_time_zone_of_the_machine_is_a_warning_and_an_offset_is_a_zone() {
    let err = weblog(&[], &[("RUST_LOG", "warn"), ("TZ", "Nowhere/Land")]);
    let due = "TZ=Nowhere/Land is not a known time zone: times are in UTC; set TZ or --time-zone to a name such as Europe/Paris";
    assert!(with(&err, due).len() == 1 && err.contains("+00:00"), "{err}");
    assert_eq!(weblog(&["--time-zone", "-05:00"], &[("RUST_LOG", "warn"), ("TZ", "Nowhere/Land")]), "");
    let err = weblog(&["--time-zone", "+02:00"], &USUAL);
    assert!(err.lines().all(|line| line.contains("+02:00 ")), "log lines are in the zone of the job: {err}");
}

/// Three bad lines in each of at least ten batches. The job logs one line at once, and one with the rest at the end.
#[test]
fn bad_records_are_logged_now_and_then_with_their_total() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut program = Program::start("network_wordcount", ["127.0.0.1", &port, "--interval", "20ms", "-w", "2"]);
    let (mut stream, _) = listener.accept().unwrap();
    for n in 0..10 {
        stream.write_all(b"\xff\n\xff\n\xff\n").unwrap();
        stream.write_all(format!("word{n}\n").as_bytes()).unwrap();
        program.until("the line is counted", |out, _| out.contains(&format!("word{n}")));
    }
    program.signal(Signal::TERM);
    let end = program.end();
    let lines = with(&end.err, "bad records that no stream takes");
    assert!((2..4).contains(&lines.len()) && end.err.lines().count() == lines.len(), "{}", end.err);
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    assert!(first.contains(&format!("the first: 127.0.0.1:{port}/0 offset ")), "{}", end.err);
    assert!(last.contains(", 30 in all; "), "{}", end.err);
}

/// A job whose first batch is written at least 19 seconds after its time.
#[test]
#[ignore = "the child of a_job_logs_when_it_falls_behind_and_when_it_has_caught_up"]
fn falls_behind() {
    let (queue, clock, rows) = (QueueSource::new(), ManualClock::at(10_000), MemorySink::new());
    let (feed, hand, out) = (queue.clone(), clock.clone(), rows.clone());
    let build = move |ssc: &StreamingContext<'_>| {
        let (numbers, hand) = (ssc.queue_stream(&queue), hand.clone());
        let mut slow = true;
        numbers.foreach_batch(move |_| {
            if std::mem::take(&mut slow) {
                hand.set(30_000);
            }
            Ok(())
        });
        numbers.to_memory(&out);
        Ok(())
    };
    let job = StreamingContext::builder("slow", secs(1)).start_on_clock(clock.clone(), build).unwrap();
    for (n, due) in [(1, 11_000), (2, 40_000)] {
        feed.push(vec![n]);
        clock.set(due);
        while rows.rows().len() < n {
            assert!(!job.await_termination_or_timeout(millis(1)).unwrap());
        }
    }
    job.stop_gracefully().unwrap();
}

#[test]
fn a_job_logs_when_it_falls_behind_and_when_it_has_caught_up() {
    let err = child("falls_behind", &USUAL);
    let (behind, caught) = (with(&err, "the job falls behind"), with(&err, "the job has caught up"));
    assert!(behind.len() == 1 && behind[0].contains(" WARN "), "{err}");
    // The clock may already have advanced.
    assert!([19, 29].iter().any(|s| behind[0].contains(&format!(" was written {s} s after its time"))), "{err}");
    assert!(caught.len() == 1 && caught[0].contains(" INFO "), "{err}");
}

#[test]
fn an_outage_of_a_source_is_logged_once_when_it_begins_and_ends() {
    let input = TempDir::new("logs-away");
    std::fs::create_dir_all(input.path()).unwrap();
    let elsewhere = TempDir::new("logs-elsewhere");
    let args = ["--dir", input.path(), "--interval", "50ms", "--window", "100ms"];
    let mut job = Program::start_in("weblog", args, &USUAL);
    job.until("a block", |out, _| out.contains("Time: "));
    std::fs::rename(input.path(), elsewhere.path()).unwrap();
    job.until("it is away", |_, err| err.contains("the directory cannot be read"));
    std::fs::rename(elsewhere.path(), input.path()).unwrap();
    job.until("it is back", |_, err| err.contains(": over after "));
    job.signal(Signal::TERM);
    let end = job.end();
    let about = with(&end.err, "the directory cannot be read");
    assert!(about.len() == 2 && end.code == Some(0), "{}", end.err);
    assert!(about[0].contains(" WARN ") && about[0].ends_with("; the job continues without it"), "{}", end.err);
    assert!(about[1].contains(" INFO ") && about[1].contains(input.path()), "{}", end.err);
}
