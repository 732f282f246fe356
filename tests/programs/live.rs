//! Computations that are added to a job of several processes from outside, and run again after it was killed.

use serde_json::Value as Json;

use crate::broker::{Broker, Value};
use crate::child::{Ended, Program, Signal, TempDir, addresses, hostfile, run};
use crate::page::{address, json};

const WORDS: &[Value] =
    &[Some(br#"{"word":"tide"}"#), Some(br#"{"word":"mill"}"#), Some(br#"{"word":"tide"}"#), Some(br#"{"word":"time"}"#)];

/// Runs a command that must succeed; what it printed.
fn said(args: &[&str]) -> String {
    let Ended { code, out, err } = run("tidemill", args);
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    out
}

#[test]
fn what_is_added_to_two_processes_is_whole_and_outlives_a_kill_if_it_is_kept() {
    let (broker, dir, hosts) = (Broker::start(), TempDir::new("added"), hostfile(&addresses(2)));
    broker.topic("words", &[WORDS, &WORDS.repeat(3)]);
    broker.topic("counts", &[&[]]);
    let file = crate::child::TempFile::new("add", "# more than one\nmany = counts | filter _2 > 4 | count\n");
    let start = || {
        let programs: Vec<Program> = (0..2)
            .map(|process: usize| {
                let process = process.to_string();
                let layout = ["-n", "2", "-p", &process, "-w", "2", "--hostfile", hosts.path(), "--checkpoint", dir.path()];
                let job = ["--brokers", &broker.address, "--in", "words", "--out", "counts", "--interval", "50ms"];
                let more = ["--listen", "127.0.0.1:0", "--add", file.path()];
                let args = job.iter().chain(&layout).chain(&more);
                Program::start_in("kafka_wordcount", args, &[("RUST_LOG", "info")])
            })
            .collect();
        programs
    };
    let mut programs = start();
    let page = address(&mut programs[0]);
    // With all outputs done the counts are whole; they do not change afterwards.
    programs[0].until("all records", |_, _| json(&page, "/api/v1/job")["records"] == 16);
    assert_eq!(said(&["add", &page, "counts | top 2", "--keep"]), "counts.top\n");
    assert_eq!(said(&["add", &page, "counts | sum _2", "--name", "sum"]), "sum\n");
    assert_eq!(said(&["query", &page, "counts.top"]), "mill\t4\ntide\t8\n");
    assert_eq!((said(&["query", &page, "sum"]), said(&["query", &page, "many"])), ("16\n".into(), "1\n".into()));
    let all = "many = counts | filter _2 > 4 | count\ncounts.top = counts | top 2\nsum = counts | sum _2\n";
    assert_eq!(said(&["added", &page]), all);
    let listed = json(&page, "/api/v1/added");
    assert_eq!(listed["added"][1]["kept"], Json::Bool(true), "{listed}");
    // Its time is that of an operator.
    programs[0].until("the operator", |_, _| {
        json(&page, "/api/v1/operators")["operators"].to_string().contains("\"added computations\"")
    });
    for (args, why) in [
        (["add", "count | top 2"], "character 1: no view \"count\"; there are: counts, many, counts.top, sum"),
        (["add", "counts | tpo 2"], "counts | tpo 2: character 10, \"tpo\": there is no such verb"),
        (["add", "sum = counts"], "another view is called \"sum\" already"),
        (["add", "counts | window 75ms"], "window 75ms: 75 ms is not a multiple of the batch interval, 50 ms"),
        (["remove", "counts"], "the program has the view \"counts\""),
        (["remove", "nothing"], "no computation was added as \"nothing\"; there are: many, counts.top, sum"),
    ] {
        let refused = run("tidemill", [args[0], &page, args[1]]);
        assert!(refused.code == Some(1) && refused.err.contains(why), "{args:?}: {}", refused.err);
    }
    // `print` follows the result; a signal ends that and not the computation. A shell without job control starts what ignores SIGINT.
    let mut follower = Program::start("tidemill", ["add", &page, "p = counts | filter _1 = \"time\" | print"]);
    follower.until("the row", |out, _| out.contains("time\t4\n"));
    follower.signal(Signal::TERM);
    assert_eq!(follower.end().code, None, "the signal");
    assert_eq!(said(&["query", &page, "p"]), "time\t4\n");
    said(&["remove", &page, "p"]);
    said(&["remove", &page, "sum"]);
    assert!(run("tidemill", ["query", &page, "sum"]).err.contains("there are: counts, many, counts.top"));
    for program in programs.drain(..) {
        program.signal(Signal::KILL);
        program.end();
    }
    let mut programs = start();
    let page = address(&mut programs[0]);
    programs[0].until("the job runs", |_, _| json(&page, "/api/v1/views")["views"].as_array().is_some_and(|v| v.len() == 3));
    assert_eq!(said(&["added", &page]), "counts.top = counts | top 2\nmany = counts | filter _2 > 4 | count\n");
    programs[0].until("the counts are there again", |_, _| said(&["query", &page, "counts.top"]) == "mill\t4\ntide\t8\n");
    said(&["remove", &page, "counts.top"]);
    for mut program in programs {
        program.signal(Signal::TERM);
        program.until("it stops", |_, _| true);
        assert_eq!(program.end().code, Some(0));
    }
    let files: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert!(files.iter().all(|name| !name.starts_with("added-")), "{files:?}");
}
