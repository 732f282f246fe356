//! Tables in memory of a job that runs: a question sees all of them as of one batch.

use tidemill::prelude::*;
use tidemill_sql::{OutputMode, StreamTables, TableSession};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::eventually;

/// The number of words by each of three tables.
const QUESTION: &str = "select a.n as counted, b.n as total, c.n as added from (select coalesce(sum(n), 0) as n from counts) a
    cross join (select coalesce(max(n), 0) as n from total) b cross join (select count(*) as n from seen) c";

#[test]
fn a_question_sees_one_batch_of_all_tables() {
    for workers in [1, 2, 4] {
        let (session, queue) = (TableSession::new(), QueueSource::<String>::new());
        let (in_job, words) = (session.clone(), queue.clone());
        let job = StreamingContext::builder("memory", millis(20)).workers(workers).without_checkpoint();
        let job = job.start(move |ssc| {
            let tables = StreamTables::new(&in_job);
            tables.register_stream("words", &ssc.queue_stream(&words))?;
            let counts = tables.sql("select value, count(*) as n from words group by value")?;
            counts.memory(OutputMode::Complete, &in_job, "counts")?;
            tables.sql("select count(*) as n from words")?.memory(OutputMode::Complete, &in_job, "total")?;
            tables.sql("select value from words")?.memory(OutputMode::Append, &in_job, "seen")?;
            Ok(())
        });
        let job = job.unwrap();
        let (mut pushed, mut asked) = (0, 0);
        for round in 0..10 {
            // Several batches change all tables while questions are asked.
            for n in 0..5_i64 {
                queue.push((0..=n).map(|word| format!("word {}", (word + round) % 7)).collect());
                pushed += n + 1;
            }
            eventually("all words are in the tables", || {
                let rows = match session.sql(QUESTION) {
                    Ok(question) => question.collect::<(i64, i64, i64)>().unwrap(),
                    // No batch is written yet.
                    Err(e) => {
                        assert_eq!(asked, 0, "tables stay: {e}");
                        return false;
                    }
                };
                asked += 1;
                let [(counted, total, added)] = rows[..] else { panic!("one row: {rows:?}") };
                assert_eq!((counted, total), (total, added), "question {asked} at {workers} workers");
                total == pushed
            });
        }
        job.stop_gracefully().unwrap();
        // The last batch is there, and stays after the job.
        assert_eq!(session.sql(QUESTION).unwrap().collect::<(i64, i64, i64)>().unwrap(), [(pushed, pushed, pushed)]);
    }
}
