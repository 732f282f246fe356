//! The output of `weblog` over a topic, compared byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Broker, Value};
use crate::golden;
use crate::model::{Batch, Counts, Input, block, counts, last, ranked};

const fn line(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// Common and Combined Log Format, equal counts, non-ASCII text, and more endpoints than are printed. Some lines are truncated or
/// not UTF-8.
const PARTITIONS: &[&[Value]] = &[
    &[
        line(r#"127.0.0.1 - - [01/Aug/1995:00:00:01 -0400] "GET /images/launch-logo.gif?x=1 HTTP/1.0" 200 1839"#),
        line(r#"10.0.0.7 - anna [01/Aug/1995:00:00:02 -0400] "GET / HTTP/1.1" 500 0 "-" "Mozilla/5.0 (X11) \"q\"""#),
        line(r#"10.0.0.7 - - [01/Aug/1995:00:00:03 -0400] "GET /cut"#),
        line("10.0.0.8 - - [01/Aug/1995:00:00:03 -0400] \"POST /caf\u{e9}/\u{65e5}\u{672c} HTTP/1.1\" 503 12"),
        line(r#"10.0.0.8 - - [01/Aug/1995:00:00:04 -0400] "GET / HTTP/1.1" OK 12"#),
        line(r#"10.0.0.9 - - [01/Aug/1995:00:00:05 -0400] "QUIT" 400 0"#),
        None,
        line(r#"10.0.0.9 - - [01/Aug/1995:00:00:06 -0400] "DELETE /a HTTP/1.1" 204 0"#),
    ],
    &[
        Some(b"10.0.0.1 - - [01/Aug/1995:00:00:02 -0400] \"GET /\xe9 HTTP/1.1\" 200 1"),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /a HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "HEAD /b HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /c HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /d HTTP/1.1" 599 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /e?f=g HTTP/1.1" 404 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "PUT /h HTTP/1.1" 499 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /i/j HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /k HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "GET /l HTTP/1.1" 200 1"#),
        line(r#"::1 - - [01/Aug/1995:00:00:02 -0400] "POST /l HTTP/1.1" 200 1"#),
    ],
    &[line(""), line(r#"::1 - - [01/Aug/1995:00:01:02 -0400] "GET /late HTTP/1.1" 200 1"#)],
];

/// The method, endpoint and status of a record.
fn read(record: &Value) -> Option<(&'static str, &'static str, u16)> {
    let line = std::str::from_utf8((*record)?).ok()?;
    let mut quoted = line.split('"').skip(1);
    let (request, status) = (quoted.next()?, quoted.next()?.strip_prefix(' ')?);
    let (method, uri) = request.split_once(' ')?;
    let path = &uri[..uri.find(['?', ' ']).unwrap_or(uri.len())];
    Some((method, path, status[..status.find(' ').unwrap_or(status.len())].parse().ok()?))
}

pub fn model(input: &Input, panes: usize) -> String {
    let mut page = String::new();
    let (mut methods, mut endpoints) = (Vec::<Counts>::new(), Vec::<Counts>::new());
    for (time, records) in input.records() {
        let hits: Vec<_> = records.iter().filter_map(read).collect();
        methods.push(counts(hits.iter().map(|(method, ..)| *method)));
        endpoints.push(counts(hits.iter().map(|(_, endpoint, _)| *endpoint)));
        for (name, all) in [("method", &methods), ("endpoint", &endpoints)] {
            for (when, n) in [("this batch", 1), ("rolling", panes)] {
                let row = |(what, n)| format!("{name} {when}:\tValue {what}\tCount {n}");
                page += &block(time, &ranked(&last(n, all)).into_iter().map(row).collect::<Vec<_>>(), 10);
            }
        }
        let errors = hits.iter().filter(|(.., status)| *status >= 500).count();
        page += &block(time, &[format!("Server errors this batch: {errors}")], 1);
    }
    page
}

#[test]
fn requests_are_counted_by_batch_and_by_window() {
    let input = Input {
        partitions: PARTITIONS,
        batches: &[
            Batch { time: "1995-08-01 04:00:05", ranges: Some(&[(0, 0, 7), (1, 0, 3)]) },
            Batch { time: "1995-08-01 04:00:10", ranges: Some(&[(0, 7, 7), (1, 3, 11), (2, 0, 1)]) },
            Batch { time: "1995-08-01 04:00:15", ranges: Some(&[(0, 7, 7)]) },
            Batch { time: "1995-08-01 04:00:20", ranges: None },
            Batch { time: "1995-08-01 04:00:25", ranges: None },
            Batch { time: "1995-08-01 04:00:30", ranges: Some(&[(2, 1, 2), (0, 7, 8)]) },
        ],
    };
    let broker = Broker::start();
    broker.topic("weblogs", input.partitions);
    let plans = input.plans_of("weblogs");
    let args = ["--brokers", &broker.address, "--window", "15s", "--plans", plans.path(), "--time-zone", "UTC"];
    golden::check("weblog", &model(&input, 3), |layout| layout.run("weblog", &args));
}

/// A request at a time of a day.
macro_rules! at {
    ($time:literal, $endpoint:literal) => {
        line(concat!("::1 - - [01/Aug/1995:", $time, " +0000] \"GET ", $endpoint, " HTTP/1.0\" 200 7"))
    };
}

/// Lines out of order, one that is late for its minute, and one whose time does not exist.
const LOG: &[&[Value]] = &[
    &[
        at!("00:00:01", "/a"),
        at!("00:00:59", "/b"),
        at!("00:01:03", "/a"),
        at!("00:00:58", "/a"),
        at!("00:02:00", "/a?x=1"),
        at!("00:59:59", "/c"),
        at!("01:00:20", "/d"),
        at!("02:00:00", "/a"),
    ],
    &[
        at!("00:00:30", "/b"),
        at!("00:01:10", "/b"),
        at!("00:00:05", "/late"),
        at!("00:61:00", "/never"),
        at!("01:00:15", "/a"),
        at!("02:00:10", "/a"),
    ],
];

/// The second of the day and the endpoint of a line.
fn timed(record: &Value) -> Option<(i64, &'static str)> {
    let (_, endpoint, _) = read(record)?;
    let time = std::str::from_utf8((*record)?).ok()?.split_once("1995:")?.1;
    let [hour, minute, second] = [0, 3, 6].map(|at| time[at..at + 2].parse::<i64>().unwrap());
    (minute < 60).then_some((3_600 * hour + 60 * minute + second, endpoint))
}

/// A window is printed when the largest time of each partition is ten seconds after its end.
fn by_event_time(input: &Input) -> String {
    let (mut page, mut rows, mut largest, mut now) = (String::new(), Vec::new(), BTreeMap::<i32, i64>::new(), i64::MIN);
    for batch in input.batches {
        for (p, from, until) in batch.ranges.unwrap_or_default() {
            for row in input.partitions[*p as usize][*from as usize..*until as usize].iter().filter_map(timed) {
                rows.push(row);
                largest.entry(*p).and_modify(|time| *time = row.0.max(*time)).or_insert(row.0);
            }
        }
        let before = now;
        now = largest.values().min().map_or(now, |time| now.max(time - 10));
        for (name, length) in [("minute", 60), ("hour", 3_600)] {
            let mut lines = Vec::new();
            let starts: BTreeSet<i64> = rows.iter().map(|(time, _)| time / length * length).collect();
            for start in starts.into_iter().filter(|start| (before + 1..=now).contains(&(start + length))) {
                let inside = rows.iter().filter(|(time, _)| time / length * length == start);
                let (hour, minute) = (start / 3_600, start % 3_600 / 60);
                let line = |(what, n)| format!("{name} of 1995-08-01T{hour:02}:{minute:02}:00Z:\tValue {what}\tCount {n}");
                lines.extend(ranked(&counts(inside.map(|(_, endpoint)| *endpoint))).into_iter().map(line));
            }
            page += &block(batch.time, &lines, 4);
        }
    }
    page
}

#[test]
fn requests_are_counted_by_the_time_of_their_lines() {
    let input = Input {
        partitions: LOG,
        batches: &[
            Batch { time: "2026-08-01 04:00:05", ranges: Some(&[(0, 0, 3), (1, 0, 1)]) },
            Batch { time: "2026-08-01 04:00:10", ranges: Some(&[(0, 3, 4), (1, 1, 2)]) },
            Batch { time: "2026-08-01 04:00:15", ranges: Some(&[(0, 4, 5)]) },
            Batch { time: "2026-08-01 04:00:20", ranges: None },
            Batch { time: "2026-08-01 04:00:25", ranges: Some(&[(1, 2, 4)]) },
            Batch { time: "2026-08-01 04:00:30", ranges: Some(&[(0, 5, 7), (1, 4, 5)]) },
            Batch { time: "2026-08-01 04:00:35", ranges: Some(&[(0, 7, 8), (1, 5, 6)]) },
        ],
    };
    let expected = by_event_time(&input);
    let late: Vec<&str> = expected.lines().filter(|line| line.contains("/late")).collect();
    assert_eq!(late, ["hour of 1995-08-01T00:00:00Z:\tValue /late\tCount 1"], "its minute was over, its hour was not");
    let broker = Broker::start();
    broker.topic("weblogs", input.partitions);
    let plans = input.plans_of("weblogs");
    let args = ["--brokers", &broker.address, "--event-time", "--rows", "4", "--plans", plans.path(), "--time-zone", "UTC"];
    golden::check("weblog_event_time", &expected, |layout| layout.run("weblog", &args));
}
