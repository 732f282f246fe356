//! The output of `weblog` over files of real logs, packed and not, compared byte for byte. tests/data/weblogs says where they are from.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::broker::Value;
use crate::child::{TempDir, TempFile};
use crate::golden;
use crate::model::{Batch, Input, block, counts};
use crate::weblog::model;

/// The files in the order of their times. Those of 1995 are packed.
const FILES: [&str; 4] = ["calgary_1995.clf", "nasa_jul95.clf", "apache_2015_1.log", "apache_2015_2.log"];

/// The files as a program reads them.
struct Logs {
    dir: TempDir,
    paths: Vec<String>,
    /// The lines of each file.
    lines: &'static [&'static [Value]],
}

impl Logs {
    fn new(name: &str) -> Logs {
        let dir = TempDir::made(name);
        let (mut paths, mut lines) = (Vec::new(), Vec::new());
        for file in FILES {
            let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/weblogs").join(file)).unwrap();
            let (name, bytes) = match file.strip_suffix(".clf") {
                Some(_) => {
                    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
                    packed.write_all(&text).unwrap();
                    (format!("{file}.gz"), packed.finish().unwrap())
                }
                None => (file.to_owned(), text.clone()),
            };
            std::fs::write(dir.join(&name), bytes).unwrap();
            paths.push(dir.join(&name).to_str().unwrap().to_owned());
            // The model reads records for as long as the test runs.
            let text: &'static [u8] = text.leak();
            let of_file: Vec<Value> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Some).collect();
            let of_file: &'static [Value] = of_file.leak();
            lines.push(of_file);
        }
        Logs { dir, paths, lines: lines.leak() }
    }

    /// A file for `--plans`: the times of batches with their files, which are read whole.
    fn plans(&self, batches: &[(&str, &[usize])]) -> TempFile {
        let mut text = String::new();
        for (time, files) in batches {
            let time: jiff::Timestamp = format!("{time}Z").parse().unwrap();
            let range = |file: &usize| json!({"path": self.paths[*file], "from": 0, "until": std::fs::metadata(&self.paths[*file]).unwrap().len()});
            let ranges: Vec<_> = files.iter().map(range).collect();
            text += &format!("{}\n", json!({"time": time.as_millisecond(), "ranges": ranges}));
        }
        TempFile::new("plans", &text)
    }

    fn check(&self, name: &str, batches: &[(&str, &[usize])], more: &[&str], expected: &str) {
        let plans = self.plans(batches);
        let args = ["--dir", self.dir.path(), "--plans", plans.path(), "--time-zone", "UTC"];
        let args: Vec<&str> = args.iter().chain(more).copied().collect();
        golden::check(name, expected, |layout| layout.run("weblog", &args));
    }
}

#[test]
fn requests_in_files_are_counted_by_method_and_by_endpoint() {
    let logs = Logs::new("weblog-files");
    let batches: [(&str, &[usize]); 4] = [
        ("2026-08-01 04:00:05", &[0]),
        ("2026-08-01 04:00:10", &[1, 2]),
        ("2026-08-01 04:00:15", &[]),
        ("2026-08-01 04:00:20", &[3]),
    ];
    let whole = |file: &usize| (*file as i32, 0, logs.lines[*file].len() as i64);
    let of_model: Vec<Batch> = batches
        .iter()
        .map(|&(time, files)| Batch { time, ranges: Some(&*files.iter().map(whole).collect::<Vec<_>>().leak()) })
        .collect();
    let expected = model(&Input { partitions: logs.lines, batches: of_model.leak() }, 2);
    for row in ["method this batch:\tValue HEAD\tCount 7", "Server errors this batch: 1", "Value 3364.gif\tCount "] {
        assert!(expected.contains(row), "{row} is not in {expected}");
    }
    logs.check("weblog_files", &batches, &["--window", "10s"], &expected);
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The second since 1970 and the endpoint of a line: `host - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 7`.
fn timed(record: &Value) -> (i64, &'static str) {
    let line = std::str::from_utf8(record.unwrap()).unwrap();
    let (time, request) = line.split_once('[').unwrap().1.split_once("] \"").unwrap();
    let (date, offset) = time.split_once(' ').unwrap();
    let parts: Vec<&str> = date.split(['/', ':']).collect();
    let number = |at: usize| parts[at].parse::<i8>().unwrap();
    let month = MONTHS.iter().position(|month| *month == parts[1]).unwrap() as i8 + 1;
    let local = jiff::civil::datetime(parts[2].parse().unwrap(), month, number(0), number(3), number(4), number(5), 0);
    let ahead = offset[1..3].parse::<i64>().unwrap() * 3_600 * if offset.starts_with('-') { -1 } else { 1 };
    let local = local.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let endpoint = request.split([' ', '?']).nth(1).unwrap();
    (local - ahead, endpoint)
}

/// A window is printed when the largest time is ten seconds after its end. All files are one partition, since each is read at once.
fn by_event_time(logs: &Logs, batches: &[(&str, &[usize])]) -> String {
    let (mut page, mut rows, mut now) = (String::new(), Vec::new(), i64::MIN);
    for (time, files) in batches {
        let of_batch: Vec<(i64, &str)> = files.iter().flat_map(|file| logs.lines[*file]).map(timed).collect();
        let before = now;
        now = of_batch.iter().map(|(time, _)| time - 10).max().map_or(now, |time| now.max(time));
        rows.extend(of_batch);
        for (name, length) in [("minute", 60), ("hour", 3_600)] {
            let mut lines = Vec::new();
            let starts: BTreeSet<i64> = rows.iter().map(|(time, _)| time / length * length).collect();
            for start in starts.into_iter().filter(|start| before < start + length && start + length <= now) {
                let inside = rows.iter().filter(|(time, _)| time / length * length == start);
                let mut ranked: Vec<(String, i64)> = counts(inside.map(|(_, endpoint)| *endpoint)).into_iter().collect();
                ranked.sort_by_key(|(endpoint, n)| (-n, endpoint.clone()));
                let start = jiff::Timestamp::from_second(start).unwrap();
                lines.extend(ranked.into_iter().map(|(what, n)| format!("{name} of {start}:\tValue {what}\tCount {n}")));
            }
            page += &block(time, &lines, 20);
        }
    }
    page
}

#[test]
fn requests_in_files_are_counted_by_the_time_of_their_lines() {
    let logs = Logs::new("weblog-files-time");
    let batches: [(&str, &[usize]); 5] = [
        ("2026-08-01 04:00:05", &[0]),
        ("2026-08-01 04:00:10", &[1]),
        ("2026-08-01 04:00:15", &[2]),
        ("2026-08-01 04:00:20", &[]),
        ("2026-08-01 04:00:25", &[3]),
    ];
    let expected = by_event_time(&logs, &batches);
    for row in ["minute of 1995-02-09T20:24:00Z", "hour of 1995-07-01T04:00:00Z", "hour of 2015-05-17T10:00:00Z"] {
        assert!(expected.contains(row), "{row} is not in {expected}");
    }
    logs.check("weblog_files_event_time", &batches, &["--event-time", "--rows", "20"], &expected);
}
