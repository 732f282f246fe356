//! SQL over the views of a running job: `tidemill-sql query` as a process, while batches go on.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill::api::context::Builder;
use tidemill::job::ManualClock;
use tidemill::prelude::*;
use tidemill_sql::{OutputMode, StreamTables, TableSession};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::eventually;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct Word {
    word: String,
    length: u64,
}

fn builder(workers: u16) -> Builder {
    let here: SocketAddr = ([127, 0, 0, 1], 0).into();
    StreamingContext::builder("words", millis(10)).workers(workers).without_checkpoint().listen(here)
}

fn command(name: &str, job: &JobHandle, args: &[&str]) -> Output {
    let address = job.address().unwrap().to_string();
    Command::new(env!("CARGO_BIN_EXE_tidemill-sql")).args([name, &address]).args(args).output().unwrap()
}

fn ask(job: &JobHandle, args: &[&str]) -> Output {
    command("query", job, args)
}

/// What a question prints.
fn answer(job: &JobHandle, args: &[&str]) -> String {
    let output = ask(job, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A job over words: how often each was there, all different words, and a view without rows.
fn job(workers: u16) -> (JobHandle, QueueSource<String>, ManualClock) {
    let (words, clock) = (QueueSource::<String>::new(), ManualClock::at(5));
    let source = words.clone();
    let job = builder(workers).start_on_clock(clock.clone(), move |ssc| {
        let words = ssc.queue_stream(&source);
        let counts = words.map(|word| (word.clone(), 1_i64)).sum_by_key();
        counts.queryable("counts").history(5);
        words
            .map(|word| Word { length: word.len() as u64, word: word.clone() })
            .accumulate()
            .distinct()
            .queryable("my.Words")
            .history(5);
        words.filter(|_| false).accumulate().queryable("none");
        counts.update().to_memory(&MemorySink::new());
        Ok(())
    });
    (job.unwrap(), words, clock)
}

/// What one GET of the job answers.
fn get(job: &JobHandle, path: &str) -> serde_json::Value {
    let mut stream = TcpStream::connect(job.address().unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn rows_that_came_out_are_shown_by_their_columns() {
    let (words, clock) = (QueueSource::<String>::new(), ManualClock::at(5));
    let source = words.clone();
    let job = builder(2).start_on_clock(clock.clone(), move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        tables.register_stream("words", &ssc.queue_stream(&source))?;
        let counts = tables.sql("select value, count(*) as n from words group by value order by value")?;
        counts.foreach_batch(OutputMode::Complete, |_, _| Ok(()))?;
        Ok(())
    });
    let job = job.unwrap();
    words.push(["to", "be", "to"].map(String::from).to_vec());
    clock.set(10);
    eventually("the batch", || job.statistics().batches == 1);
    let outputs = get(&job, "/api/v1/outputs");
    assert_eq!(outputs[0]["last"]["time"], 10, "{outputs}");
    assert_eq!(outputs[0]["last"]["first_rows"], serde_json::json!([r#"{"value":"be","n":1}"#, r#"{"value":"to","n":2}"#]));
    job.stop_now().unwrap();
}

#[test]
fn a_question_has_the_rows_of_its_views() {
    let batches = [vec!["to", "be", "or", "not", "to", "be"], vec![], vec!["to", "do", "or", "die"]];
    for workers in [1, 2, 4] {
        let (job, words, clock) = job(workers);
        let mut counts = BTreeMap::<&str, i64>::new();
        let mut answers = Vec::new();
        for (batch, given) in (1..).zip(&batches) {
            given.iter().for_each(|word| *counts.entry(word).or_default() += 1);
            words.push(given.iter().map(|word| (*word).to_owned()).collect());
            clock.set(10 * batch);
            eventually("the batch", || job.statistics().batches == batch);
            let sql = "select w.length, count(*) as words, sum(c._2) as times from `my.words` w join counts c on c._1 = w.word \
                       group by w.length having count(*) > 0 order by 1";
            let mut by_length = BTreeMap::<usize, (i64, i64)>::new();
            for (word, n) in &counts {
                let (words, times) = by_length.entry(word.len()).or_default();
                (*words, *times) = (*words + 1, *times + n);
            }
            let line = |(length, (words, times))| format!("{{\"length\":{length},\"words\":{words},\"times\":{times}}}\n");
            let expected: String = by_length.into_iter().map(line).collect();
            assert_eq!(answer(&job, &[sql, "--json"]), expected, "{workers} workers, batch {batch}");
            answers.push((sql, (10 * batch).to_string(), expected));
        }
        for (sql, at, expected) in answers {
            assert_eq!(answer(&job, &[sql, "--json", "--at", &at]), expected, "as of {at}");
        }
        let table = answer(&job, &["select _1 as word, _2 from Counts where _2 > 1 order by 2 desc, 1"]);
        assert_eq!(table, "+----+---+\n|word|_2 |\n+----+---+\n|to  |3  |\n|be  |2  |\n|or  |2  |\n+----+---+\n");
        job.stop_now().unwrap();
    }
}

#[test]
fn all_views_of_a_question_are_as_of_one_batch() {
    let words = QueueSource::<u32>::new();
    let (source, feed, ended) = (words.clone(), words, Arc::new(AtomicBool::new(false)));
    let job = builder(2).start(move |ssc| {
        let numbers = ssc.queue_stream(&source);
        numbers.map(|n| (n % 97, 1_i64)).sum_by_key().queryable("groups");
        numbers.map(|_| ((), 1_i64)).sum_by_key().queryable("total");
        numbers.to_memory(&MemorySink::new());
        Ok(())
    });
    let (job, stop) = (job.unwrap(), ended.clone());
    let feeding = std::thread::spawn(move || {
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            feed.push((0..50).map(|i| n * 50 + i).collect());
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let sql = "select sum(_2) as n, (select max(_2) from total) as total from groups";
    let mut before = 0;
    for _ in 0..8 {
        // No view has a history, and batches close meanwhile.
        eventually("a later batch", || job.statistics().records > before);
        let line: serde_json::Value = serde_json::from_str(&answer(&job, &[sql, "--json"])).unwrap();
        assert_eq!(line["n"], line["total"]);
        before = line["total"].as_u64().unwrap();
    }
    ended.store(true, Ordering::Relaxed);
    feeding.join().unwrap();
    job.stop_now().unwrap();
}

#[test]
fn what_cannot_be_asked_says_why() {
    let (job, words, clock) = job(2);
    words.push(vec!["to".to_owned()]);
    clock.set(10);
    eventually("the batch", || job.statistics().batches == 1);
    assert_eq!(answer(&job, &["select count(*) as n from none", "--json"]), "{\"n\":0}\n");
    assert_eq!(answer(&job, &["select 1 + 1 as two", "--json"]), "{\"two\":2}\n");
    for (args, says) in [
        (&["select * from words"][..], "no view is queryable as words; there are: counts, my.Words, none"),
        (&["select word from my.words"], "my.words: a name with a dot goes in backticks"),
        (&["select * from counts", "--at", "20"], "the batch of 20 is not closed yet: the newest is 10"),
        (&["select value from none"], "none has no rows as of this batch, so its columns are not known"),
        (&["select _3 from counts"], "_3"),
        (&["selec 1 from counts"], "selec"),
        (&["select cast(_1 as int) from counts"], "to"),
    ] {
        let output = ask(&job, args);
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && why.contains(says), "{args:?}: {why}");
    }
    job.stop_now().unwrap();
}

/// The cells of a table that was printed, without its head, in the order of their text.
fn cells(table: &str) -> Vec<Vec<String>> {
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    let mut rows: Vec<Vec<String>> =
        rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect();
    rows.sort();
    rows
}

/// What is added as verbs has the rows that DataFusion finds for the same SELECT, as of each batch.
#[test]
fn a_select_that_is_added_has_the_rows_that_it_has_as_a_question() {
    let selects = [
        "select _1 from counts where _2 > 1 and _1 <> 'be'",
        "select count(*) as n from counts",
        "select word, length from `my.Words` where 3 >= length",
        "select distinct length from `my.words`",
        "select count(*) as words, length from `my.Words` group by length having count(*) > 0",
        "select _1, _2 from counts order by 2 desc limit 2",
        "select n, count(*) as words from (select _2 as n, _1 from counts) c group by n",
        "select w.length, sum(c._2) as times from `my.Words` w join counts c on c._1 = w.word where word <> 'to' group by w.length",
        "select a._2, b._1 from counts a join counts b using (_1)",
    ];
    let (job, words, clock) = job(2);
    let batches = [&["to", "to", "to", "be", "be", "or", "tide"][..], &["do", "do", "do", "do", "do", "or", "or", "or"]];
    for (batch, given) in (1..).zip(batches) {
        words.push(given.iter().map(|word| (*word).to_owned()).collect());
        clock.set(10 * batch);
        eventually("the batch", || job.statistics().batches == batch);
        for (n, sql) in selects.iter().enumerate() {
            let name = format!("added-{n}");
            if batch == 1 {
                let output = command("add", &job, &[*sql, "--name", &name]);
                assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
                assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{name}\n"));
            }
            let (asked, added) = (cells(&answer(&job, &[*sql])), cells(&answer(&job, &[&format!("select * from `{name}`")])));
            assert!(!asked.is_empty() && asked == added, "{sql}, batch {batch}: {asked:?} and {added:?}");
        }
    }
    assert_eq!(job.added()[4].to_string(), "added-4 = my.Words | count by length | filter _2 > 0 | map _2, _1");
    for (sql, says) in [
        ("select max(_2) from counts", "select max(_2) from counts: max(_2) (line 1, column 8): verbs take columns"),
        ("select value from none", "none has no rows as of this batch"),
        ("select * from words", "no view is queryable as words"),
    ] {
        let output = command("add", &job, &[sql]);
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && why.contains(says), "{sql}: {why}");
    }
    job.stop_now().unwrap();
}
