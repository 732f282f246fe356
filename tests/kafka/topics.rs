//! Topics that are deleted while a job runs, and topics that were deleted and made again.

use tidemill::connector::source::SourceReader;
use tidemill::prelude::*;

use crate::child::{TempDir, run};
use crate::fixture::{PATIENCE, ReaderFixture, brokers, delete_topic, make_again, produce, split, topic};
use crate::recorder::{Recorder, builder, earliest, eventually};

/// librdkafka itself keeps requesting the deleted topic and reports no error.
#[test]
fn c8_a_deleted_topic_ends_the_job_and_is_named_in_the_error() {
    let t = topic("deleted", 1, &[]);
    produce(&t, 0, &["a"]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&t), 1);
    eventually("the record", || seen.records() == 1);
    delete_topic(&t);
    let text = job.await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    assert!(text.contains(&t) && text.contains("was deleted"), "{text}");
}

#[test]
fn c9_a_recreated_topic_ends_the_job() {
    let t = topic("again", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&t).fail_on_data_loss(false), 1);
    eventually("the records", || seen.records() == 3);
    delete_topic(&t);
    make_again(&t, 1);
    let text = job.await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    // The job may first notice that the topic has another id, or that its log is shorter.
    assert!(text.contains(&t) && text.contains("made again"), "{text}");
}

/// The old offsets exist in the new log too, but belong to other records.
#[test]
fn c9_c11_a_job_does_not_continue_in_a_recreated_topic() {
    for partitions in [2, 1] {
        let (t, dir) = (topic("meanwhile", 2, &[]), TempDir::new("meanwhile"));
        (0..2).for_each(|p| produce(&t, p, &["a", "b"]));
        let start = |seen: &Recorder| {
            let program = seen.slowly(earliest(&t).fail_on_data_loss(false), millis(0));
            builder(2).checkpoint(dir.path()).start(program).unwrap()
        };
        let seen = Recorder::default();
        let job = start(&seen);
        eventually("the records", || seen.records() == 4);
        job.stop_gracefully().unwrap();
        delete_topic(&t);
        make_again(&t, partitions);
        produce(&t, 0, &["x", "y", "z"]);
        let seen = Recorder::default();
        let text = start(&seen).await_termination().unwrap_err().to_string();
        assert!(text.contains(&t) && text.contains("made again") && text.contains("checkpoint directory"), "{text}");
        assert_eq!(seen.batches(), 0, "nothing was planned");
    }
}

/// `tidemill topic` with these arguments: its exit code, and what it wrote to stdout and stderr.
fn command(args: &[&str]) -> (Option<i32>, String, String) {
    let at = brokers();
    let end = run("tidemill", [&["topic"], args, &["--brokers", &at]].concat());
    (end.code, end.out, end.err)
}

/// What the command writes to stdout when it succeeds.
fn stdout_of(args: &[&str]) -> String {
    let (code, out, err) = command(args);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}: {out}");
    out
}

#[test]
fn topics_are_created_listed_and_read_by_the_command() {
    let name = format!("command-{}", std::process::id());
    let (code, _, err) = command(&["read", &name]);
    let remedy = format!("tidemill topic create {name} --brokers {}", brokers());
    assert!(code == Some(1) && err.contains(&format!("there is no topic {name}")) && err.contains(&remedy), "{err}");
    let made = stdout_of(&["create", &name, "--partitions", "2", "--config", "retention.ms=-1"]);
    assert_eq!(made, format!("topic {name} has 2 partitions\n"));
    let (code, _, err) = command(&["create", &name]);
    assert!(code == Some(1) && err.contains("is there already, with 2 partitions"), "{err}");
    assert_eq!(
        stdout_of(&["create", &format!("{name}-one"), "--partitions", "1"]),
        format!("topic {name}-one has 1 partition\n")
    );
    let (code, _, err) = command(&["create", &format!("{name}-one")]);
    assert!(code == Some(1) && err.contains("is there already, with 1 partition"), "{err}");
    let (code, _, err) = command(&["create", "no name"]);
    assert!(code == Some(1) && err.contains("no topic can be called"), "{err}");
    let words = ["gen", "words", "--count", "20", "--key", "word", "--topic", &name, "--brokers", &brokers()];
    assert_eq!(run("tidemill", words).code, Some(0));
    let line = stdout_of(&["list"]).lines().find(|l| l.starts_with(&name)).map(str::to_owned).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [&*name, "2", "20"]);
    let rows = stdout_of(&["read", &name, "--keys"]);
    assert_eq!(rows.lines().count(), 20);
    for row in rows.lines() {
        let (key, value) = row.split_once('\t').unwrap();
        assert_eq!(value, format!("{{\"word\": \"{key}\"}}"));
    }
    assert_eq!(stdout_of(&["read", &name, "--count", "3"]).lines().count(), 3);

    let headed = topic("headed", 1, &[]);
    let words = ["gen", "words", "--count", "2", "--header", "unit=words", "--header", "empty=", "--topic", &headed];
    assert_eq!(run("tidemill", words.into_iter().chain(["--brokers", &brokers()])).code, Some(0));
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&headed).include_headers());
    fixture.reader.assign(0, &split(&headed, 0), Some(0)).unwrap();
    for message in fixture.live(|rows| rows.len() == 2) {
        assert_eq!(message.headers().collect::<Vec<_>>(), [("unit", Some(&b"words"[..])), ("empty", Some(&b""[..]))]);
    }
}

#[test]
fn the_lag_of_a_job_is_shown_by_the_command() {
    let (t, dir) = (topic("lag", 1, &[]), TempDir::new("lag"));
    let group = format!("group-of-{t}");
    let (code, _, err) = command(&["lag", &group]);
    assert!(code == Some(1) && err.contains("has committed no offset"), "{err}");
    produce(&t, 0, &["a", "b", "c"]);
    let seen = Recorder::default();
    let program = seen.slowly(earliest(&t).group_id(&group), millis(0));
    let job = builder(1).checkpoint(dir.path()).start(program).unwrap();
    eventually("the records", || seen.records() == 3);
    job.stop_gracefully().unwrap();
    produce(&t, 0, &["d", "e"]);
    let shown = stdout_of(&["lag", &group]);
    assert!(shown.ends_with("2 records are not read yet\n"), "{shown}");
    let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, [&*t, "0", "3", "5", "2"]);
}
