//! The programs that are members of a consumer group: `receiver_kafka_wordcount` and `kafka_to_files`. Given batches count the records that the
//! member has received.

use std::path::Path;

use serde_json::json;

use crate::broker::{Broker, Value};
use crate::child::TempDir;
use crate::golden::{self, LAYOUTS, Layout};
use crate::model::{Batch, Input, block, by_text, counts};

const fn text(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// One partition, so that the order of the records is known.
const LINES: &[&[Value]] = &[&[
    text("the tide comes in"),
    Some(b"not \xff text"),
    text(""),
    text("the  tide"),
    None,
    text("goes out and comes in"),
    text("\u{fc}ber na\u{ef}ve"),
]];

const BATCHES: &[Batch] = &[
    Batch { time: "2016-09-25 11:34:31", ranges: Some(&[(0, 0, 3)]) },
    Batch { time: "2016-09-25 11:34:32", ranges: Some(&[(0, 3, 6)]) },
    Batch { time: "2016-09-25 11:34:33", ranges: None },
    Batch { time: "2016-09-25 11:34:34", ranges: Some(&[(0, 6, 7)]) },
];

/// The text of a record.
fn read(record: &Value) -> Option<&'static str> {
    std::str::from_utf8((*record)?).ok()
}

/// The name of the receiver in plans.
fn receiver(topic: &str, group: &str) -> String {
    format!("receiver kafka topic {topic}, group {group}")
}

#[test]
fn receiver_kafka_wordcount_prints_lines_and_words_with_a_log_and_without_one() {
    let input = Input { partitions: LINES, batches: BATCHES };
    let mut expected = String::new();
    for (time, records) in input.records() {
        let lines: Vec<&str> = records.iter().filter_map(read).collect();
        expected += &block(time, &lines.iter().map(ToString::to_string).collect::<Vec<_>>(), 10);
        expected += &block(time, &by_text(&counts(lines.into_iter().flat_map(|line| line.split(' ')))), 10);
    }
    let output = |layout: Layout, checkpoint: Option<&TempDir>| {
        // A broker of its own: another run of the group would go on behind its records.
        let broker = Broker::start();
        broker.topic("lines", input.partitions);
        let name = receiver("lines", "spark-streaming-consumer");
        // Without a log the records of a receiver are read once.
        let plans = input.plans(|_| if checkpoint.is_some() { json!({ "split": name }) } else { json!({ "received": name }) });
        let mut args =
            vec![broker.address.as_str(), "lines", "--lines", "--earliest", "--plans", plans.path(), "--time-zone", "UTC"];
        args.extend(checkpoint.iter().flat_map(|dir| ["--checkpoint", dir.path()]));
        layout.run("receiver_kafka_wordcount", &args)
    };
    golden::check("receiver_kafka_wordcount", &expected, |layout| output(layout, None));
    let dir = TempDir::new("receiver-wordcount");
    golden::same("receiver_kafka_wordcount with a log", &expected, &output(LAYOUTS[1], Some(&dir)));
}

/// Keyed and unkeyed messages. The first context saves the first half, and the second one counts the words of the others.
const SAVED: [(Value, Value); 4] = [
    (None, text("message1")),
    (text("key1"), text("message2 message2")),
    (text("\u{e9}"), text("\"quoted\" back\\slash")),
    (None, Some(b"\xff")),
];
const COUNTED: [(Value, Value); 4] =
    [(text("key1"), text("messge message message")), (None, text("abc")), (None, text("abc message")), (text("key2"), text(""))];

const OF_EACH: &[Batch] = &[
    Batch { time: "2018-05-13 19:20:45", ranges: Some(&[(0, 0, 3)]) },
    Batch { time: "2018-05-13 19:20:50", ranges: Some(&[(0, 3, 4)]) },
    Batch { time: "2018-05-13 19:20:55", ranges: Some(&[]) },
];

/// What a context writes: the text of each batch by the name of its directory, with its files in order.
fn saved(dir: &Path, name: &str) -> String {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut batches: Vec<_> = entries.filter(|path| named(path).starts_with(name)).collect();
    batches.sort();
    let mut page = String::new();
    for batch in batches {
        assert!(batch.join("_SUCCESS").exists(), "{} is not complete", batch.display());
        let parts = std::fs::read_dir(&batch).unwrap().map(|entry| entry.unwrap().path());
        let mut lines: Vec<String> = Vec::new();
        for part in parts.filter(|path| named(path).starts_with("part-")) {
            lines.extend(std::fs::read_to_string(part).unwrap().lines().map(str::to_owned));
        }
        // Counts are in shards, by the hash of the word.
        lines.sort();
        page += &format!("{}\n{}", named(&batch), lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    page
}

/// The same from the records.
fn expected() -> String {
    let mut page = String::new();
    for (name, records) in [("pairs", SAVED), ("words", COUNTED)] {
        for batch in OF_EACH {
            let time: jiff::Timestamp = format!("{}Z", batch.time).parse().unwrap();
            let ranges = batch.ranges.unwrap_or_default().iter();
            let inside: Vec<_> = ranges.flat_map(|(_, from, until)| &records[*from as usize..*until as usize]).collect();
            let mut lines: Vec<String> = match name {
                "pairs" => inside.iter().filter_map(|(key, value)| Some(pair(read(key), read(value)?))).collect(),
                _ => by_text(&counts(inside.iter().filter_map(|(_, value)| read(value)).flat_map(|value| value.split(' ')))),
            };
            lines.sort();
            page += &format!("{name}-{}.log\n", time.as_millisecond());
            lines.iter().for_each(|line| page += &format!("{line}\n"));
        }
    }
    page
}

/// A pair as it is printed.
fn pair(key: Option<&str>, value: &str) -> String {
    let key = key.map_or("None".to_owned(), |key| format!("Some(\"{key}\")"));
    format!("({key}, \"{value}\")")
}

#[test]
fn kafka_to_files_saves_pairs_and_a_second_context_goes_on_with_words() {
    let layouts = &LAYOUTS[..2];
    golden::check_at(layouts, "kafka_to_files", &expected(), |layout| {
        let (broker, dir) = (Broker::start(), TempDir::new("kafka-to-files"));
        broker.topic("mytopic", &[&[]]);
        broker.send_pairs("mytopic", 0, &SAVED);
        let plans = Input { partitions: &[], batches: OF_EACH }.plans(|_| json!({ "received": receiver("mytopic", "sparkit") }));
        let args = [broker.address.as_str(), "mytopic", dir.path(), "--earliest", "--plans", plans.path()];
        let (mut programs, _hosts) = layout.start_with("kafka_to_files", &args, &[], &[]);
        let last = dir.join("pairs-1526239255000.log/_SUCCESS");
        programs[0].until("the first context has saved its batches", |_, _| last.exists());
        broker.send_pairs("mytopic", 0, &COUNTED);
        let ended = programs.remove(0).end();
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
        saved(&dir, "pairs") + &saved(&dir, "words")
    });
}
