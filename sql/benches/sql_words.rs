//! The word count as SQL beside the one by verbs of streams, over the same words: `scripts/bench sql`.
//!
//! Both keep the count of each word up to date, and give the words of each batch whose count changed, as typed rows, to the same output. The runs
//! take turns in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_sql::{StreamTables, TableSession};

/// Words in a batch.
const BATCH: usize = 100_000;

/// What is counted, and how often.
struct Sizes {
    batches: usize,
    words: u64,
    rounds: usize,
}

/// Batches of words. A few are frequent, as in a language: word `n` comes about `1 / n` as often as the first.
fn batches(sizes: &Sizes) -> Vec<Vec<String>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut word = move || {
        let power = random() as f64 / u64::MAX as f64;
        format!("word{}", (sizes.words as f64).powf(power) as u64)
    };
    (0..sizes.batches).map(|_| (0..BATCH).map(|_| word()).collect()).collect()
}

/// The time of a job, and the sum of the last counts that it gave for a word.
fn run(sql: bool, words: &[Vec<String>], workers: u16) -> (Duration, i64) {
    let queue = QueueSource::from_batches(words.to_vec());
    let seen = Arc::new(AtomicI64::new(0));
    let counts = seen.clone();
    let began = Instant::now();
    let job = StreamingContext::builder("sql-words", millis(1)).without_checkpoint().without_logging().workers(workers);
    let done = job.run(move |ssc| {
        let words = ssc.queue_stream(&queue);
        let changed = match sql {
            false => words.count_by_value().sum_by_key().update(),
            true => {
                let tables = StreamTables::new(&TableSession::new());
                tables.register_stream("words", &words)?;
                tables.sql("select value, count(*) from words group by value")?.view::<(String, i64)>()?.update()
            }
        };
        let counts = counts.clone();
        changed.foreach_batch(move |batch| {
            let first = batch.iter().find(|(word, _)| word == "word1");
            first.iter().for_each(|(_, n)| counts.store(*n, Ordering::Relaxed));
            Ok(())
        });
        Ok(())
    });
    done.expect("the job of the benchmark");
    (began.elapsed(), seen.load(Ordering::Relaxed))
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let sizes =
        if quick { Sizes { batches: 3, words: 1_000, rounds: 1 } } else { Sizes { batches: 100, words: 100_000, rounds: 5 } };
    let words = batches(&sizes);
    let all = (sizes.batches * BATCH) as f64;
    println!(
        "{} batches of {BATCH} words, {} different ones; median of {} runs in turns\n",
        sizes.batches, sizes.words, sizes.rounds
    );
    println!(
        "| workers | by verbs, s | as SQL, s | words/s by verbs | words/s as SQL | SQL / verbs |\n|---|---|---|---|---|---|"
    );
    for workers in [1, 2] {
        let (mut verbs, mut sql) = (Vec::new(), Vec::new());
        for round in 0..=sizes.rounds {
            let ((by_verbs, count), (as_sql, same)) = (run(false, &words, workers), run(true, &words, workers));
            assert!(count == same && count > 0, "both count the same words: {count} and {same}");
            // The first round warms up.
            if round > 0 {
                verbs.push(by_verbs);
                sql.push(as_sql);
            }
        }
        let (verbs, sql) = (median(&mut verbs), median(&mut sql));
        println!("| {workers} | {verbs:.2} | {sql:.2} | {:.0} | {:.0} | {:.2} |", all / verbs, all / sql, sql / verbs);
    }
}
