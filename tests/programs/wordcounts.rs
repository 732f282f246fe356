//! The word counts over Kafka, compared byte for byte: the one that prints offsets, and the one from Kafka to Kafka.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::broker::{Broker, Value};
use crate::golden::{self, LAYOUTS, Layout};
use crate::model::{Batch, Counts, Input, block, by_text, counts};

const fn line(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// The text of a record, if it is UTF-8.
fn text(record: &Value) -> Option<&'static str> {
    std::str::from_utf8((*record)?).ok()
}

#[test]
fn direct_kafka_wordcount_prints_words_and_offsets() {
    const INPUT: Input = Input {
        partitions: &[
            &[line("the tide comes in"), line(""), Some(b"not \xff text"), line("the  tide"), line("goes out"), line("\t")],
            &[line("\u{fc}ber na\u{ef}ve"), None, line("a b c d e f g h"), line("\"quoted\" back\\slash"), line("out")],
            &[line("later")],
        ],
        batches: &[
            Batch { time: "2000-02-29 23:59:58", ranges: Some(&[(1, 0, 2), (0, 0, 4)]) },
            Batch { time: "2000-03-01 00:00:00", ranges: Some(&[(0, 4, 4), (1, 2, 2)]) },
            Batch { time: "2000-03-01 00:00:02", ranges: None },
            Batch { time: "2000-03-01 00:00:04", ranges: Some(&[(0, 4, 6), (1, 2, 5), (2, 0, 1)]) },
        ],
    };
    let mut page = String::new();
    for (batch, (time, records)) in INPUT.batches.iter().zip(INPUT.records()) {
        page += &block(time, &by_text(&counts(records.iter().filter_map(text).flat_map(|l| l.split(' ')))), 10);
        // Partitions in the order in which the plans first name them.
        let mut ranges = batch.ranges.unwrap_or_default().to_vec();
        ranges.sort_by_key(|(p, ..)| [1, 0, 2].iter().position(|split_id| split_id == p));
        ranges.iter().for_each(|(p, from, until)| writeln!(page, "lines {p} {from} {until}").unwrap());
    }
    let broker = Broker::start();
    broker.topic("lines", INPUT.partitions);
    let plans = INPUT.plans_of("lines");
    let args = [&broker.address, "lines", "--plans", plans.path(), "--time-zone", "UTC"];
    golden::check("direct_kafka_wordcount", &page, |layout| layout.run("direct_kafka_wordcount", &args));
}

/// The records of a topic, key and value, by partition.
type Topic = Vec<Vec<(String, String)>>;

fn page(topic: &Topic) -> String {
    let mut page = String::new();
    for (number, records) in topic.iter().enumerate() {
        writeln!(page, "partition {number}").unwrap();
        records.iter().for_each(|(key, value)| writeln!(page, "{key:?}\t{value}").unwrap());
    }
    page
}

/// Sorts the records by key. Records of the same key keep their order.
fn by_key(mut topic: Topic) -> Topic {
    topic.iter_mut().for_each(|records| records.sort_by(|a, b| a.0.cmp(&b.0)));
    topic
}

/// The expected records of each word, with the batch of each record.
fn running_counts(input: &Input) -> BTreeMap<String, Vec<(usize, String)>> {
    let (mut sums, mut written) = (Counts::new(), BTreeMap::<String, Vec<_>>::new());
    for (batch, (_, records)) in input.records().enumerate() {
        let json = |record: &Value| serde_json::from_slice::<serde_json::Value>((*record)?).ok();
        let words = records.iter().filter_map(json).filter_map(|json| Some(json["word"].as_str()?.to_owned()));
        for (word, n) in counts(words) {
            let sum = sums.entry(word.clone()).or_default();
            *sum += n;
            let record = format!("{{\"word\":{},\"count\":{sum}}}", json!(word));
            written.entry(word).or_default().push((batch, record));
        }
    }
    written
}

/// Checks that no record is missing, that each word is in one partition with its records in order, and that batches are in order.
/// The model has no hash function. So it does not know the partition of a word, or which word is first in a batch.
fn agrees(topic: &Topic, input: &Input) {
    let mut expected = running_counts(input);
    for records in topic {
        let mut before = 0;
        let mut left: BTreeMap<String, std::vec::IntoIter<_>> = BTreeMap::new();
        for (word, record) in records {
            let all = left.entry(word.clone()).or_insert_with(|| expected.remove(word).unwrap_or_default().into_iter());
            let (batch, expected) = all.next().unwrap_or_else(|| panic!("{record} is not expected: {records:?}"));
            assert!(*record == expected && batch >= before, "{record} where {expected} is next: {records:?}");
            before = batch;
        }
        assert!(left.into_values().all(|rest| rest.len() == 0), "records are missing: {records:?}");
    }
    assert!(expected.is_empty(), "records are missing: {expected:?}");
}

#[test]
fn kafka_wordcount_writes_each_count_that_changed() {
    const INPUT: Input = Input {
        partitions: &[
            &[
                line(r#"{"word":"tide"}"#),
                line(r#"{"word":"mill"}"#),
                line(r#"{"word":"tide","when":3}"#),
                line("{\"word\": \"caf\u{e9} \u{2615}\"}"),
                line(r#"{"word":7}"#),
                line(r#"{"word":"tide"}"#),
                line(r#"{"word":"caf\u00e9 \u2615"}"#),
                line(r#"{"word":"mill"}"#),
            ],
            &[
                line("word"),
                None,
                Some(b"{\"word\":\"\xff\"}"),
                line(r#"{"word":""}"#),
                line(r#"{"word":"\"q\"\n"}"#),
                line("{}"),
            ],
            &[line(r#"{"word":"a"}"#), line(r#"{"word":"b"}"#), line(r#"{"word":"a"}"#), line(r#"{"word":"c"}"#)],
        ],
        batches: &[
            Batch { time: "2024-01-01 00:00:00.100", ranges: Some(&[(0, 0, 5), (1, 0, 3)]) },
            Batch { time: "2024-01-01 00:00:00.200", ranges: Some(&[]) },
            Batch { time: "2024-01-01 00:00:00.300", ranges: Some(&[(2, 0, 2), (0, 5, 5), (1, 3, 5)]) },
            Batch { time: "2024-01-01 00:00:00.700", ranges: Some(&[(0, 5, 7), (2, 2, 4), (1, 5, 6)]) },
            Batch { time: "2024-01-01 00:00:00.800", ranges: Some(&[(0, 7, 8)]) },
        ],
    };
    let broker = Broker::start();
    broker.topic("words", INPUT.partitions);
    let plans = INPUT.plans_of("words");
    let mut number = 0;
    let mut output = |layout: Layout, owned: &[&str]| {
        number += 1;
        let to = format!("counts-{number}");
        broker.topic(&to, &[&[], &[], &[]]);
        let given = ["--brokers", &broker.address, "--in", "words", "--out", &to, "--plans", plans.path()];
        let out = layout.run("kafka_wordcount", &[&given, owned].concat());
        assert_eq!(out, "");
        broker.read(&to, 3)
    };
    let owned = output(LAYOUTS[1], &["--owned"]);
    agrees(&owned, &INPUT);
    let (one_process, processes) = LAYOUTS.split_at(2);
    golden::check_at(one_process, "kafka_wordcount", &page(&owned), |layout| page(&output(layout, &[])));
    // Each process writes its own keys at its own time. With two processes, only the order of records of the same key is defined.
    for layout in processes {
        let found = page(&by_key(output(*layout, &[])));
        golden::same("kafka_wordcount of two processes, by key", &page(&by_key(owned.clone())), &found);
    }
}

#[test]
fn kafka_wordcount_writes_how_its_window_changes() {
    const A: Value = line(r#"{"word":"a"}"#);
    const B: Value = line(r#"{"word":"b"}"#);
    const INPUT: Input = Input {
        partitions: &[&[A, A, B], &[B]],
        batches: &[
            Batch { time: "2024-01-01 00:00:00.100", ranges: Some(&[(0, 0, 1)]) },
            Batch { time: "2024-01-01 00:00:00.200", ranges: Some(&[(0, 1, 3), (1, 0, 0)]) },
            // The batches before this one are empty, so the window becomes empty.
            Batch { time: "2024-01-01 00:00:00.800", ranges: Some(&[(1, 0, 1)]) },
        ],
    };
    let broker = Broker::start();
    broker.topic("words", INPUT.partitions);
    let plans = INPUT.plans_of("words");
    let count = |count: i64, diff: Option<i64>| diff.map_or(json!({"count": count}), |d| json!({"count": count, "diff": d}));
    let changes = |all: &[(i64, i64)]| all.iter().map(|(n, diff)| count(*n, Some(*diff))).collect::<Vec<_>>();
    let updates = |all: &[i64]| all.iter().map(|n| count(*n, None)).collect::<Vec<_>>();
    // The window at .200 has "a" twice and "b" once, at .400 each once, at .600 nothing, and at .800 "b" again.
    let expected = [
        ("changes", [changes(&[(2, 1), (2, -1), (1, 1), (1, -1)]), changes(&[(1, 1), (1, -1), (1, 1)])]),
        ("update", [updates(&[2, 1]), updates(&[1, 1])]),
    ];
    for (i, layout) in LAYOUTS.into_iter().enumerate() {
        for (mode, words) in &expected {
            let to = format!("{mode}-{i}");
            broker.topic(&to, &[&[], &[]]);
            let topics = ["--brokers", &broker.address, "--in", "words", "--out", &to, "--plans", plans.path()];
            let window = ["--interval", "100ms", "--window", "300ms", "--slide", "200ms", "--mode", mode];
            layout.run("kafka_wordcount", &[&topics[..], &window].concat());
            let written: Vec<_> = broker.read(&to, 2).into_iter().flatten().collect();
            for (word, expected) in ["a", "b"].into_iter().zip(words) {
                let of_word = written.iter().filter(|(key, _)| key == word);
                let found: Vec<serde_json::Value> = of_word.map(|(_, row)| serde_json::from_str(row).unwrap()).collect();
                let mut expected = expected.clone();
                expected.iter_mut().for_each(|row| row["word"] = word.into());
                assert_eq!(found, expected, "{mode} of {word} on {layout:?}");
            }
        }
    }
}

#[test]
fn kafka_wordcount_writes_each_window_of_event_time_once_and_totals_beside_it() {
    const INPUT: Input = Input {
        partitions: &[
            &[
                line(r#"{"word":"a","at":10}"#),
                line(r#"{"word":"a","at":160}"#),
                line(r#"{"word":"b","at":-10}"#),
                line(r#"{"word":"a"}"#),
                line(r#"{"word":"a","at":500}"#),
            ],
            &[line(r#"{"word":"b","at":140}"#), line(r#"{"word":"a","at":90}"#), line(r#"{"word":"b","at":300}"#)],
        ],
        batches: &[
            Batch { time: "2024-01-01 00:00:00.100", ranges: Some(&[(0, 0, 1), (1, 0, 1)]) },
            // The watermark is 120 after this batch: the smaller one of 160 and 140, less 20.
            Batch { time: "2024-01-01 00:00:00.200", ranges: Some(&[(0, 1, 2)]) },
            // The record of -10 is late. That of 90 is late for its first window.
            Batch { time: "2024-01-01 00:00:00.300", ranges: Some(&[(0, 2, 4), (1, 1, 2)]) },
            Batch { time: "2024-01-01 00:00:00.400", ranges: Some(&[(0, 4, 5), (1, 2, 3)]) },
        ],
    };
    let broker = Broker::start();
    broker.topic("words", INPUT.partitions);
    let plans = INPUT.plans_of("words");
    for (i, layout) in LAYOUTS.into_iter().enumerate() {
        let [windows, totals] = ["windows", "totals"].map(|name| format!("{name}-{i}"));
        [&windows, &totals].into_iter().for_each(|topic| broker.topic(topic, &[&[], &[]]));
        let topics =
            ["--brokers", &broker.address, "--in", "words", "--out", &windows, "--totals", &totals, "--plans", plans.path()];
        let shape = ["--event-time", "--window", "100ms", "--slide", "50ms", "--delay", "20ms"];
        layout.run("kafka_wordcount", &[&topics[..], &shape].concat());
        let written = |topic: &str, fields: [&str; 2]| {
            let rows = broker.read(topic, 2).into_iter().flatten();
            let row = |(word, row): (String, String)| {
                let row: serde_json::Value = serde_json::from_str(&row).unwrap();
                (word, fields.map(|field| row[field].as_i64().unwrap_or(-1)))
            };
            let mut rows: Vec<_> = rows.map(row).collect();
            rows.sort();
            rows
        };
        let own = |rows: &[(&str, [i64; 2])]| rows.iter().map(|(word, row)| (word.to_string(), *row)).collect::<Vec<_>>();
        let closed = [("a", [-50, 1]), ("a", [0, 1]), ("a", [50, 1]), ("a", [100, 1]), ("a", [150, 1])];
        let closed = [&closed[..], &[("b", [50, 1]), ("b", [100, 1])]].concat();
        assert_eq!(written(&windows, ["start", "count"]), own(&closed), "{layout:?}");
        let all =
            [("a", [1, -1]), ("a", [2, -1]), ("a", [4, -1]), ("a", [5, -1]), ("b", [1, -1]), ("b", [2, -1]), ("b", [3, -1])];
        assert_eq!(written(&totals, ["count", "diff"]), own(&all), "{layout:?}");
    }
}
