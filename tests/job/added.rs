//! Computations that are added while a job runs: each is what a sequential model makes of the views, from its first batch on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::harness::{batches, cases, eventually};

type Row = (u8, i64);
/// The rows of a view after each batch; the first are those before all batches.
type Past = Vec<Vec<Value>>;

/// A job with the views `sums` and `rows`.
fn started_on(builder: Builder) -> (JobHandle, QueueSource<Row>, ManualClock) {
    started_at(builder, 5)
}

fn started_at(builder: Builder, ms: u64) -> (JobHandle, QueueSource<Row>, ManualClock) {
    let (pairs, clock) = (QueueSource::<Row>::new(), ManualClock::at(ms));
    let source = pairs.clone();
    let live = builder.start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.queue_stream(&source);
        rows.sum_by_key().queryable("sums");
        rows.accumulate().queryable("rows");
        rows.to_memory(&MemorySink::new());
        Ok(())
    });
    let live = live.unwrap();
    // Before its first batch is open, nothing can be added.
    eventually("the job runs", || !live.remove("nothing").unwrap_err().to_string().contains("does not run"));
    (live, pairs, clock)
}

fn run(live: &JobHandle, clock: &ManualClock, batch: u64) {
    clock.set(10 * batch);
    eventually("the batch is completed", || live.statistics().batches == batch);
}

/// The rows of `sums` and `rows` after each batch.
fn views(given: &[Vec<Row>]) -> [Past; 2] {
    let at = |n: usize| given[..n].concat();
    let sums = |rows: Vec<Row>| {
        let mut sums = BTreeMap::new();
        rows.into_iter().for_each(|(k, n)| *sums.entry(k).or_insert(0) += n);
        sums.into_iter().filter(|(_, n)| *n != 0).map(|row| json!(row)).collect::<Vec<_>>()
    };
    let all = 0..=given.len();
    [all.clone().map(|n| sums(at(n))).collect(), all.map(|n| at(n).into_iter().map(|row| json!(row)).collect()).collect()]
}

/// A verb that looks at the rows of one batch.
fn each(past: Past, verb: impl Fn(Vec<Value>) -> Vec<Value>) -> Past {
    past.into_iter().map(verb).collect()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn sum_by(key: impl Fn(&Value) -> Value, n: impl Fn(&Value) -> i64) -> impl Fn(Vec<Value>) -> Vec<Value> {
    move |rows| {
        let mut sums: BTreeMap<String, (Value, i64)> = BTreeMap::new();
        rows.iter().for_each(|row| sums.entry(key(row).to_string()).or_insert((key(row), 0)).1 += n(row));
        let row = |(key, n): (Value, i64)| match key {
            Value::Null => json!(n),
            key => json!([key, n]),
        };
        sums.into_values().map(row).collect()
    }
}

fn top(n: usize, by: impl Fn(&Value) -> i64) -> impl Fn(Vec<Value>) -> Vec<Value> {
    move |mut rows| {
        rows.sort_by_cached_key(|row| (-by(row), row.to_string()));
        rows.truncate(n);
        rows
    }
}

fn joined(left: Past, right: Past) -> Past {
    let both = |(left, right): (Vec<Value>, Vec<Value>)| {
        let meets = |l: &Value, r: &Value| (l[0] == r[0]).then(|| json!([l[0], l[1], r[1]]));
        left.iter().flat_map(|l| right.iter().filter_map(|r| meets(l, r)).collect::<Vec<_>>()).collect()
    };
    left.into_iter().zip(right).map(both).collect()
}

/// The rows that were not there `length` batches ago, or when the computation was added; looked at every `slide` batches.
fn window(past: Past, length: usize, slide: usize, base: usize) -> Past {
    let new = |n: usize| {
        let n = n - n % slide;
        if n <= base {
            return Vec::new();
        }
        let mut old = past[n.saturating_sub(length).max(base)].clone();
        let mut rows = past[n].clone();
        rows.retain(|row| match old.iter().position(|other| other == row) {
            Some(same) => {
                old.swap_remove(same);
                false
            }
            None => true,
        });
        rows
    };
    (0..past.len()).map(new).collect()
}

/// Every computation, with what it has after each batch if it was added after `base` of them.
fn computations(given: &[Vec<Row>], base: usize) -> Vec<(&'static str, Past)> {
    let [sums, rows] = views(given);
    let keep = |test: fn(&Value) -> bool| move |rows: Vec<Value>| rows.into_iter().filter(test).collect::<Vec<_>>();
    let map = |f: fn(&Value) -> Value| move |rows: Vec<Value>| rows.iter().map(f).collect::<Vec<_>>();
    let joined = |left: Past| joined(left, sums.clone());
    let not_2 = each(rows.clone(), keep(|row| row[0] != 2));
    vec![
        ("rows", rows.clone()),
        ("rows | filter _2 >= 10", each(rows.clone(), keep(|row| number(&row[1]) >= 10))),
        ("rows | filter _1 = _2", each(rows.clone(), keep(|row| row[0] == row[1]))),
        ("rows | filter _1 = \"2\"", vec![Vec::new(); rows.len()]),
        ("sums | map _2", each(sums.clone(), map(|row| row[1].clone()))),
        ("sums | map _2, _1, _3", each(sums.clone(), map(|row| json!([row[1], row[0], null])))),
        ("rows | count", each(rows.clone(), sum_by(|_| Value::Null, |_| 1))),
        ("rows | count by _1", each(rows.clone(), sum_by(|row| row[0].clone(), |_| 1))),
        ("sums | sum _2", each(sums.clone(), sum_by(|_| Value::Null, |row| number(&row[1])))),
        ("rows | sum _2 by _1", each(rows.clone(), sum_by(|row| row[0].clone(), |row| number(&row[1])))),
        ("rows | top 3", each(rows.clone(), top(3, |row| number(&row[1])))),
        ("sums | top 2 by _1", each(sums.clone(), top(2, |row| number(&row[0])))),
        ("rows | join sums by _1", joined(rows.clone())),
        ("rows | window 20ms", window(rows.clone(), 2, 1, base)),
        ("sums | window 30ms 20ms", window(sums.clone(), 3, 2, base)),
        ("sums | window 10ms 20ms", window(sums.clone(), 1, 2, base)),
        (
            "rows | filter _1 != 2 | join sums by _1 | sum _3 by _1 | top 2",
            each(each(joined(not_2), sum_by(|row| row[0].clone(), |row| number(&row[2]))), top(2, |row| number(&row[1]))),
        ),
        (
            "rows | map _1 | window 20ms | count by _1",
            each(window(each(rows, map(|row| row[0].clone())), 2, 1, base), sum_by(|row| row.clone(), |_| 1)),
        ),
    ]
}

/// The rows of a view, in the order of their text.
fn rows(live: &JobHandle, view: &str) -> Vec<String> {
    let answer = live.query(view).limit(10_000).ask().unwrap();
    answer.rows.iter().map(Value::to_string).collect()
}

fn texts(rows: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn an_added_computation_is_what_a_model_makes_of_the_views() {
    let removed = (0usize..6, 0usize..6);
    cases(6, (batches((0..5u8, -3..40i64)), 0usize..4, removed), |(given, first, (removed, again))| {
        for workers in [1, 2, 4] {
            let (live, pairs, clock) = started_on(job(workers).without_checkpoint());
            let mut base = None;
            for done in 0..=given.len() {
                if done > 0 {
                    pairs.push(given[done - 1].clone());
                    run(&live, &clock, done as u64);
                }
                if base.is_some() && done == first + removed {
                    for added in live.added() {
                        prop_assert_eq!(&live.remove(&added.name).unwrap(), &added);
                    }
                    base = None;
                }
                if base.is_none() && (done == first || done == first + removed + again) {
                    base = Some(done);
                    for (text, _) in computations(&given, done) {
                        let added = live.add(text).unwrap();
                        prop_assert_eq!((added.text.as_str(), added.since.millis()), (text, 10 * done as u64));
                    }
                }
                let (Some(base), true) = (base, done > 0) else { continue };
                for (added, (text, past)) in live.added().iter().zip(computations(&given, base)) {
                    let is = rows(&live, &added.name);
                    prop_assert_eq!(is, texts(&past[done]), "{} after {} batches, {} workers", text, done, workers);
                }
            }
            live.stop_now().unwrap();
        }
        Ok(())
    });
}

#[test]
fn what_cannot_be_added_or_removed_says_why() {
    let (live, pairs, clock) = started_on(job(2).without_checkpoint());
    pairs.push(vec![(1, 1)]);
    run(&live, &clock, 1);
    live.add("best = rows | top 3").unwrap();
    let refused = |text: &str| live.add(text).unwrap_err().to_string();
    for (text, why) in [
        ("rows | cuont", "rows | cuont: character 8, \"cuont\": there is no such verb; verbs are "),
        ("row | count", "row | count: character 1: no view \"row\"; there are: sums, rows, best"),
        ("rows | join some by _1", "rows | join some by _1: character 13: no view \"some\"; there are: sums, rows, best"),
        ("sums = rows", "sums = rows: another view is called \"sums\" already: choose another name"),
        ("best = rows", "best = rows: another view is called \"best\" already: choose another name"),
        (
            "rows | window 15ms",
            "rows | window 15ms: window 15ms: 15 ms is not a multiple of the batch interval, 10 ms; the nearest below is 10ms",
        ),
        ("rows | print", "rows | print: print is for `tidemill add`, which prints the result in its terminal; leave it out"),
    ] {
        assert!(refused(text).starts_with(why), "{}", refused(text));
    }
    let kept = live.add_kept("rows").unwrap_err().to_string();
    assert_eq!(kept, "rows: only a job with a checkpoint directory can keep it: start the job with --checkpoint DIR");
    // Each is refused, and the computations that run are as before.
    for n in 1..32 {
        assert_eq!(live.add("best | count").unwrap().name, if n == 1 { "best.count".into() } else { format!("best.count.{n}") });
    }
    assert_eq!(refused("rows"), "rows: 32 computations run already: remove one by `tidemill remove`");
    let remove = |name: &str| live.remove(name).unwrap_err().to_string();
    assert_eq!(remove("best"), "best: best.count reads it: remove that first");
    assert_eq!(remove("rows"), "rows: the program has the view \"rows\": only what was added can be removed");
    assert_eq!(rows(&live, "best.count.31"), ["1"]);
    live.stop_now().unwrap();
}

/// What reads an added computation is as exact as what reads a view of the program.
#[test]
fn a_computation_reads_another_one() {
    let (live, pairs, clock) = started_on(job(4).without_checkpoint());
    pairs.push((0..40).map(|n| (n as u8 % 8, n)).collect());
    run(&live, &clock, 1);
    live.add("some = rows | filter _1 < 4").unwrap();
    live.add("many = some | join sums by _1 | count by _3").unwrap();
    live.add("most = many | top 1").unwrap();
    assert_eq!(rows(&live, "many"), ["[80,5]", "[85,5]", "[90,5]", "[95,5]"]);
    pairs.push(vec![(3, 5), (3, 5), (7, 1)]);
    run(&live, &clock, 2);
    assert_eq!(
        (rows(&live, "many"), rows(&live, "most")),
        (["[105,7]", "[80,5]", "[85,5]", "[90,5]"].map(str::to_owned).into(), vec!["[105,7]".into()])
    );
    live.stop_now().unwrap();
}

/// The rows of a large view come in parts, at times before the first batch that can be asked for. Batches and questions go on meanwhile.
#[test]
fn a_large_view_comes_in_parts_while_batches_go_on() {
    let (live, pairs, clock) = started_at(job(2).without_checkpoint(), 1_000_005);
    let batch = |n: u64, rows: Vec<Row>| {
        pairs.push(rows);
        clock.set(1_000_000 + 10 * n);
        eventually("the batch is completed", || live.statistics().batches == n);
    };
    batch(1, (0..20_000).map(|n| (n as u8 % 8, n)).collect());
    for text in ["rows | sum _2 by _1", "rows | top 1", "rows | join sums by _1 | count", "rows | window 20ms"] {
        live.add(text).unwrap();
    }
    for n in 2..6 {
        batch(n, vec![(1, 1), (0, 20_000 + n as i64)]);
        assert!(live.query("sums").key(1u8).ask().unwrap().rows.len() == 1, "the program does not wait");
    }
    let sum = |key: i64| (0..2_500).map(|n| 8 * n + key).sum::<i64>() + [80_014, 4, 0][key.min(2) as usize];
    let expected: Vec<String> = (0..8).map(|key| format!("[{key},{}]", sum(key))).collect();
    assert_eq!(rows(&live, "rows.sum"), expected);
    assert_eq!(rows(&live, "rows.top"), ["[0,20005]"]);
    assert_eq!(rows(&live, "rows.join.count"), ["20008"]);
    assert_eq!(rows(&live, "rows.window"), ["[0,20004]", "[0,20005]", "[1,1]", "[1,1]"]);
    live.stop_now().unwrap();
}

#[test]
fn what_is_kept_runs_again_after_a_stop_and_what_the_program_adds_does_too() {
    let dir = crate::temp_dir::TempDir::new("kept");
    let start = || started_on(job(2).checkpoint(dir.path()).checkpoint_interval(millis(10)).add("all = rows | count"));
    let (live, pairs, clock) = start();
    pairs.push(vec![(1, 1), (2, 5)]);
    run(&live, &clock, 1);
    live.add_kept("large = rows | filter _2 > 3").unwrap();
    live.add("gone = rows").unwrap();
    assert_eq!((rows(&live, "all"), rows(&live, "large")), (vec!["2".into()], vec!["[2,5]".into()]));
    live.stop_gracefully().unwrap();
    let (live, pairs, clock) = start();
    let names = |live: &JobHandle| live.added().into_iter().map(|added| (added.name, added.kept)).collect::<Vec<_>>();
    assert_eq!(names(&live), [("large".into(), true), ("all".into(), false)]);
    pairs.push(vec![(3, 7)]);
    clock.set(1_000);
    eventually("the new row is there", || rows(&live, "large") == ["[2,5]", "[3,7]"]);
    assert_eq!(rows(&live, "all"), ["3"]);
    assert!(live.remove("large").unwrap().kept);
    live.stop_gracefully().unwrap();
    let (live, ..) = start();
    assert_eq!(names(&live), [("all".into(), false)]);
    live.stop_now().unwrap();
}

#[test]
fn a_program_that_adds_what_it_cannot_does_not_start() {
    let error = |text: &str| {
        let started = job(1).without_checkpoint().add("first = rows | count").add(text).start(|ssc| {
            let rows = ssc.test_stream([vec![1]]);
            rows.accumulate().queryable("rows");
            rows.to_memory(&MemorySink::new());
            Ok(())
        });
        started.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(error("first | map _1"), "");
    assert_eq!(error("second | map _1"), "second | map _1: character 1: no view \"second\"; there are: rows, first");
    assert_eq!(error("first = rows"), "first = rows: another view is called \"first\" already: choose another name");
}

/// The status and the body of an answer.
#[cfg(feature = "http")]
fn http(live: &JobHandle, request: &str, head: &str, body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(live.address().unwrap()).unwrap();
    let length = body.len();
    // A server that refuses may not read the body.
    let _ = write!(stream, "{request} HTTP/1.1\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
}

/// Only who asks for it by name adds or removes: no page of a stranger, and no request without bounds.
#[cfg(feature = "http")]
#[test]
fn the_port_adds_and_removes_and_refuses_strangers() {
    let (live, pairs, clock) = started_on(job(1).without_checkpoint().listen(([127, 0, 0, 1], 0).into()));
    pairs.push(vec![(1, 1), (2, 2)]);
    run(&live, &clock, 1);
    let json = "Host: localhost\r\nContent-Type: application/json\r\n";
    let add = |head: &str, body: &str| http(&live, "POST /api/v1/added", head, body);
    let added = add(json, r#"{"text": "best = rows | top 1"}"#);
    assert_eq!(added, (200, r#"{"kept":false,"name":"best","since":10,"text":"rows | top 1"}"#.into()));
    assert_eq!(http(&live, "GET /api/v1/views/best", "Host: localhost\r\n", "").1, r#"{"matched":1,"rows":[[2,2]],"time":10}"#);
    assert_eq!(add(json, r#"{"text": "rows | top"}"#), (400, "character 11: the number of rows is missing at the end".into()));
    assert_eq!(
        add(json, r#"{"text": "best = rows"}"#),
        (409, "another view is called \"best\" already: choose another name".into())
    );
    assert!(add(json, r#"{"name": "x"}"#).1.ends_with(r#"a body is {"text": "authors | top 10", "keep": false}"#));
    assert_eq!(add(json, &format!(r#"{{"text": "{}"}}"#, "x".repeat(20_000))).0, 413);
    assert_eq!(add("Host: localhost\r\nContent-Type: text/plain\r\n", r#"{"text": "rows"}"#).0, 405);
    assert_eq!(add("Host: job.example\r\nContent-Type: application/json\r\n", r#"{"text": "rows"}"#).0, 403);
    assert_eq!(http(&live, "DELETE /api/v1/added/best", "Host: job.example\r\n", "").0, 403);
    assert_eq!(http(&live, "DELETE /api/v1/added", "Host: localhost\r\n", "").0, 405);
    assert_eq!(live.added().len(), 1);
    assert_eq!(http(&live, "DELETE /api/v1/added/best", "Host: localhost\r\n", "").0, 200);
    let again = http(&live, "DELETE /api/v1/added/best", "Host: localhost\r\n", "");
    assert_eq!(again, (409, "no computation was added as \"best\"; there are: none".into()));
    assert_eq!(http(&live, "GET /api/v1/added", "Host: localhost\r\n", "").1, r#"{"added":[]}"#);
    live.stop_now().unwrap();
}

/// Who follows the result of a computation is told when it is removed.
#[cfg(feature = "http")]
#[test]
fn who_follows_hears_that_the_computation_is_removed() {
    use std::io::{BufRead, BufReader, Write};
    let (live, pairs, clock) = started_on(job(2).without_checkpoint().listen(([127, 0, 0, 1], 0).into()));
    pairs.push(vec![(1, 1)]);
    run(&live, &clock, 1);
    live.add("some = rows | filter _2 < 5").unwrap();
    let mut stream = std::net::TcpStream::connect(live.address().unwrap()).unwrap();
    write!(stream, "GET /api/v1/views/some/changes HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines =
        BufReader::new(stream).lines().map(Result::unwrap).skip_while(|line| !line.is_empty()).filter(|line| !line.is_empty());
    assert_eq!(lines.next().unwrap(), r#"{"rows":[[1,1]],"time":10}"#);
    pairs.push(vec![(2, 2), (2, 9)]);
    run(&live, &clock, 2);
    assert_eq!(lines.next().unwrap(), r#"{"added":[[2,2]],"removed":[],"since":10,"time":20}"#);
    live.remove("some").unwrap();
    run(&live, &clock, 3);
    let end = lines.next().unwrap();
    assert!(end.starts_with(r#"{"error":"no view is queryable as \"some\"#) || end.contains("has been removed"), "{end}");
    assert_eq!(lines.next(), None);
    live.stop_now().unwrap();
}
