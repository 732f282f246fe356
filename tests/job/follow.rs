//! Who follows a view over HTTP: the rows as of a batch and then each change, without a gap or a double, and bounds for slow readers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::*;
use crate::harness::{batches, cases, eventually};

type Row = (u8, i64);

/// The lines of `/api/v1/views/NAME/changes`.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn of(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut lines = Lines(BufReader::new(stream));
        let head = lines.next().unwrap();
        assert!(head.contains(" 200 "), "{head}");
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        lines
    }

    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next line that is not a sign of life.
    fn json(&mut self) -> Option<Value> {
        loop {
            let line = self.next()?;
            if !line.is_empty() {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }
}

/// The rows that a follower knows, and the batch as of which they are.
struct Known {
    rows: BTreeMap<String, i64>,
    time: u64,
}

impl Known {
    /// Takes the first line.
    fn new(line: &Value) -> Self {
        let mut known = Known { rows: BTreeMap::new(), time: line["time"].as_u64().unwrap() };
        known.add(&line["rows"], 1);
        known
    }

    fn add(&mut self, rows: &Value, n: i64) {
        for row in rows.as_array().unwrap() {
            *self.rows.entry(row.to_string()).or_default() += n;
        }
        assert!(self.rows.values().all(|n| *n >= 0), "a row goes that was not there: {:?}", self.rows);
        self.rows.retain(|_, n| *n != 0);
    }

    /// Takes a line of changes, which begins where the previous one ended.
    fn change(&mut self, line: &Value) {
        assert_eq!(line["since"], self.time, "{line}");
        assert!(line["time"].as_u64().unwrap() > self.time, "{line}");
        self.time = line["time"].as_u64().unwrap();
        let both = |rows: &Value| rows.as_array().unwrap().clone();
        assert!(both(&line["added"]).iter().all(|row| !both(&line["removed"]).contains(row)), "a change of nothing: {line}");
        self.add(&line["removed"], -1);
        self.add(&line["added"], 1);
    }
}

/// The rows of both views of `start` after some batches: sums by key, and all pairs.
fn expected(batches: &[Vec<Row>]) -> [BTreeMap<String, i64>; 2] {
    let (mut sums, mut all) = (BTreeMap::new(), BTreeMap::new());
    for (k, n) in batches.iter().flatten() {
        *sums.entry(*k).or_insert(0) += n;
        *all.entry(json!([k, n]).to_string()).or_insert(0) += 1;
    }
    let sums = sums.into_iter().filter(|(_, n)| *n != 0).map(|(k, n)| (json!([k, n]).to_string(), 1)).collect();
    [sums, all]
}

fn start(workers: u16) -> (JobHandle, QueueSource<Row>, ManualClock) {
    let (pairs, clock) = (QueueSource::<Row>::new(), ManualClock::at(5));
    let source = pairs.clone();
    let live = job(workers).listen(([127, 0, 0, 1], 0).into()).start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.queue_stream(&source);
        rows.sum_by_key().queryable("sums");
        rows.accumulate().queryable("rows");
        rows.to_memory(&MemorySink::new());
        Ok(())
    });
    (live.unwrap(), pairs, clock)
}

fn run(live: &JobHandle, clock: &ManualClock, batch: u64) {
    clock.set(TICK * batch);
    eventually("the batch is completed", || live.statistics().batches == batch);
}

#[test]
fn lines_are_the_view_and_then_its_changes() {
    cases(3, (batches((0..5u8, -3..3i64)), batches((0..5u8, -3..3i64))), |(before, after)| {
        for workers in [1, 2, 4] {
            let (live, pairs, clock) = start(workers);
            let address = live.address().unwrap();
            let all = [vec![vec![(0, 1)]], before.clone(), after.clone()].concat();
            for (n, rows) in all[..=before.len()].iter().enumerate() {
                pairs.push(rows.clone());
                run(&live, &clock, n as u64 + 1);
            }
            let paths = ["sums", "rows", "sums"].map(|view| format!("/api/v1/views/{view}/changes"));
            let mut lines =
                [paths[0].clone(), paths[1].clone(), format!("{}?key=3", paths[2])].map(|path| Lines::of(address, &path));
            let mut known = [0, 1, 2].map(|i| Known::new(&lines[i].json().unwrap()));
            for n in before.len() + 1..=all.len() {
                for (i, known) in known.iter_mut().enumerate() {
                    while known.time < TICK * n as u64 {
                        known.change(&lines[i].json().unwrap());
                    }
                    let mut expected = expected(&all[..n])[i % 2].clone();
                    if i == 2 {
                        expected.retain(|row, _| row.starts_with("[3,"));
                    }
                    assert_eq!(known.rows, expected, "{} after {n} batches at {workers} workers", paths[i]);
                }
                if let Some(rows) = all.get(n) {
                    pairs.push(rows.clone());
                    run(&live, &clock, n as u64 + 1);
                }
            }
            live.stop_now().unwrap();
            for lines in &mut lines {
                let mut last = lines.json().unwrap();
                while last.get("time").is_some() {
                    last = lines.json().unwrap();
                }
                assert_eq!(last, json!({ "ended": true }));
                assert_eq!(lines.next(), None);
            }
        }
        Ok(())
    });
}

/// A reader that does not read costs what a hundred batches change. Then it hears why it is cut off. Others are not held up.
#[test]
fn a_reader_that_does_not_read_is_cut_off() {
    let (queue, clock) = (QueueSource::<String>::new(), ManualClock::at(5));
    let source = queue.clone();
    let live = job(2).listen(([127, 0, 0, 1], 0).into()).start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.queue_stream(&source);
        rows.count_by_value().sum_by_key().queryable("counts");
        rows.count().to_memory(&MemorySink::new());
        Ok(())
    });
    let live = live.unwrap();
    let long: Vec<String> = (0..100).map(|n| format!("{n} {}", "x".repeat(8_000))).collect();
    queue.push(long.clone());
    run(&live, &clock, 1);
    let mut slow = Lines::of(live.address().unwrap(), "/api/v1/views/counts/changes");
    // Both are on one server: who follows one key gets it, whatever the other does.
    let mut other =
        Lines::of(live.address().unwrap(), &format!("/api/v1/views/counts/changes?key={}", long[7].replace(' ', "%20")));
    let mut known = Known::new(&other.json().unwrap());
    for batch in 2..=400 {
        queue.push(long.clone());
        run(&live, &clock, batch);
        while known.time < TICK * batch {
            known.change(&other.json().unwrap());
        }
    }
    assert_eq!(known.rows.into_keys().collect::<Vec<_>>(), [json!([long[7], 400]).to_string()]);
    let mut lines = Vec::new();
    while let Some(line) = slow.json() {
        lines.push(line);
    }
    let last = lines.pop().unwrap();
    assert_eq!(last, json!({ "error": "who follows has read nothing for more than 100 batches: follow again" }));
    let mut known = Known::new(&lines[0]);
    lines[1..].iter().for_each(|line| known.change(line));
    assert!(known.time < TICK * 300, "it was cut off after the batch of {}", known.time);
    live.stop_now().unwrap();
}

#[test]
fn a_view_that_cannot_be_followed_so_is_refused() {
    let (live, pairs, clock) = start(1);
    pairs.push(vec![(1, 1)]);
    run(&live, &clock, 1);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(live.address().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        (lines[0].split(' ').nth(1).unwrap().to_owned(), lines.last().unwrap().clone())
    };
    let (status, why) = get("/api/v1/views/nothing/changes");
    assert!(status == "404" && why.contains("there are: sums, rows"), "{status} {why}");
    for query in ["top=3", "limit=5", "at=10"] {
        let (status, why) = get(&format!("/api/v1/views/sums/changes?{query}"));
        assert!(status == "400" && why.contains("there are key, from_key, until_key and prefix"), "{status} {why}");
    }
    live.stop_now().unwrap();
}
