//! Sources and outputs of files in S3: killed jobs write each line once, and objects that appear are read.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use tidemill::prelude::*;

use super::{environment, given, new_prefix, run, said, server};

const LINES: [&[&str]; 4] = [&["to be", "or not"], &["to"], &["be that", "is", "the question"], &["whether"]];

/// Writes a folder of objects for each batch.
fn put(below: &Path) {
    let batches = LINES.map(|batch| batch.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>());
    let (queue, prefix) = (QueueSource::from_batches(batches), below.join("x"));
    let job = StreamingContext::builder("put", millis(20)).without_checkpoint().run(move |ssc| {
        ssc.queue_stream(&queue).save_as_text_files_with(TextFileSink::new(&prefix).skip_empty().gzip());
        Ok(())
    });
    job.unwrap();
}

/// Copies all lines, an object in a batch, with checkpoints in S3.
fn copy(dir: &Path) {
    let (from, to) = (dir.join("in"), dir.join("out/lines"));
    let builder = StreamingContext::builder("copy", millis(100)).checkpoint(dir.join("states"));
    let job = builder.checkpoint_interval(millis(300)).start(move |ssc| {
        let files = TextFileSource::new(&from).existing(true).recursive(true).max_files(1);
        ssc.text_file_stream_with(files).oks().save_as_text_files(&to, "txt");
        Ok(())
    });
    job.unwrap().stop_gracefully().unwrap();
}

/// The lines of all objects below.
fn lines(below: &Path) -> Vec<String> {
    let seen = MemorySink::new();
    let (out, files) = (seen.clone(), TextFileSource::new(below).existing(true).recursive(true));
    let job = StreamingContext::builder("lines", millis(100)).without_checkpoint().start(move |ssc| {
        ssc.text_file_stream_with(files.clone()).oks().to_memory(&out);
        Ok(())
    });
    job.unwrap().stop_gracefully().unwrap();
    let mut lines = seen.rows();
    lines.sort();
    lines
}

fn all() -> Vec<String> {
    let mut all: Vec<String> = LINES.concat().into_iter().map(str::to_owned).collect();
    all.sort();
    all
}

/// Objects that are put while the job runs. Those that were there are not read.
fn live(dir: &Path) {
    put(&dir.join("live/before"));
    let (seen, files) = (MemorySink::new(), TextFileSource::new(dir.join("live")).recursive(true));
    let out = seen.clone();
    let job = StreamingContext::builder("live", millis(100)).without_checkpoint().start(move |ssc| {
        ssc.text_file_stream_with(files.clone()).oks().to_memory(&out);
        Ok(())
    });
    let job = job.unwrap();
    put(&dir.join("live/during"));
    let due = Instant::now() + Duration::from_secs(300);
    while seen.rows().len() < all().len() {
        assert!(Instant::now() < due, "only {:?} came", seen.rows());
        std::thread::sleep(millis(10));
    }
    job.stop_gracefully().unwrap();
    let mut lines = seen.rows();
    lines.sort();
    assert_eq!(lines, all());
}

/// Objects that match patterns, in folders of which some do not match.
fn patterns(dir: &Path) {
    ["2025-12", "2026-01", "2026-02"].iter().for_each(|month| put(&dir.join(month)));
    let twice = [all(), all()].concat();
    for (pattern, mut expected) in [
        ("2026-*/x-*/part-*.gz", twice.clone()),
        ("2026-??/x-*", twice.clone()),
        ("202[^5]-*", twice),
        ("2026-0{1,9}/x-*/*", all()),
        ("2025-*/x-*/*.log", Vec::new()),
        ("2027-*", Vec::new()),
    ] {
        expected.sort();
        assert_eq!(lines(&dir.join(pattern)), expected, "{pattern}");
    }
}

/// Runs in the child process that has the environment. Without a directory there is nothing to do.
#[test]
fn runs_files_in_s3() {
    let Some(dir) = given() else { return };
    tidemill::logging::init();
    match std::env::var("TIDEMILL_TEST_DO").as_deref() {
        Ok("put") => put(&dir.join("in")),
        Ok("copy") => copy(&dir),
        Ok("check") => assert_eq!(lines(&dir.join("out")), all()),
        Ok("patterns") => patterns(&dir),
        _ => live(&dir),
    }
}

fn doing(what: &str, dir: &str, more: &[(&str, &str)]) -> Output {
    run("s3::files::runs_files_in_s3", dir, &[&environment(server()), more, &[("TIDEMILL_TEST_DO", what)]].concat())
}

#[track_caller]
fn fine(output: &Output) {
    assert!(output.status.success() && said(output).contains("1 passed"), "{}", said(output));
}

#[test]
fn a_killed_job_writes_each_line_from_s3_to_s3_once() {
    for at in ["save.begin:2", "save.parts:2", "save.after:3", "plan.after:2", "manifest.before:1"] {
        let dir = new_prefix("files");
        fine(&doing("put", &dir, &[]));
        let killed = doing("copy", &dir, &[("TIDEMILL_CRASH_AT", at)]);
        let signal = std::os::unix::process::ExitStatusExt::signal(&killed.status);
        assert_eq!(signal, Some(9), "{at}: the process should have died there: {}", said(&killed));
        fine(&doing("copy", &dir, &[]));
        fine(&doing("check", &dir, &[]));
    }
}

#[test]
fn objects_that_appear_are_read_and_those_that_were_there_are_not() {
    fine(&doing("live", &new_prefix("files-live"), &[]));
}

#[test]
fn a_pattern_reads_the_objects_that_match_it() {
    fine(&doing("patterns", &new_prefix("files-patterns"), &[]));
}

#[test]
fn a_bucket_that_is_missing_ends_a_job_before_it_begins() {
    for what in ["put", "copy"] {
        let said = said(&doing(what, "s3://no-such-bucket/x", &[]));
        assert!(said.contains("NoSuchBucket: ") && said.contains("create the bucket"), "{what}: {said}");
    }
}
