//! Results in tables of SQLite: each mode keeps the table as it says, and exactly once survives a restart.

use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

use rusqlite::Connection;
use temp_dir::TempDir;
use tidemill::prelude::*;
use tidemill_sql::{OutputMode, StreamTables, TableSession};

/// A database in a directory, with these tables.
fn database(dir: &TempDir, tables: &str) -> (Connection, String) {
    let file = dir.join("results.db");
    let database = Connection::open(&file).unwrap();
    database.execute_batch(tables).unwrap();
    (database, format!("jdbc:sqlite:{}", file.display()))
}

/// The rows of a table, in order.
fn rows(database: &Connection, table: &str) -> Vec<(String, i64)> {
    let mut query = database.prepare(&format!("SELECT word, n FROM {table} ORDER BY word, n")).unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect()
}

/// Writes the result of a query over words to a table.
fn write(
    tables: &StreamTables<'_>,
    ssc: &StreamingContext<'_>,
    sql: &str,
    mode: OutputMode,
    options: &[(&str, &str)],
) -> tidemill_sql::Result<()> {
    let frame = tables.sql(sql)?;
    let writer = frame.write_stream().format("jdbc").output_mode(mode);
    options.iter().fold(writer, |writer, (name, value)| writer.option(name, value)).start(ssc)
}

const COUNTS: &str = "select value as word, count(*) as n from words group by value";

#[test]
fn a_table_is_what_its_mode_says() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("sql-jdbc-modes");
        let (database, url) = database(
            &dir,
            "CREATE TABLE added (word TEXT, n INTEGER); CREATE TABLE updated (word TEXT PRIMARY KEY, n INTEGER);
             CREATE TABLE once (word TEXT PRIMARY KEY, n INTEGER)",
        );
        let words = [vec!["to", "be", "to"], vec![], vec!["or", "to", "be", "be"]];
        let words = QueueSource::from_batches(words.map(|batch| batch.into_iter().map(String::from).collect::<Vec<_>>()));
        StreamingContext::builder("modes", millis(10))
            .workers(workers)
            .without_checkpoint()
            .run(move |ssc| {
                let tables = StreamTables::new(&TableSession::new());
                tables.register_stream("words", &ssc.queue_stream(&words))?;
                let lengths = "select value as word, length(value) as n from words where value <> 'or'";
                write(&tables, ssc, lengths, OutputMode::Append, &[("url", &url), ("dbtable", "added")])?;
                let keyed = |table| [("url", &*url), ("dbtable", table), ("primaryKey", "word")];
                write(&tables, ssc, COUNTS, OutputMode::Update, &keyed("updated"))?;
                let twice = "select word, n from (select value as word, count(*) as n from words group by value) t where n = 2";
                write(&tables, ssc, twice, OutputMode::Complete, &keyed("once"))?;
                Ok(())
            })
            .unwrap();
        assert_eq!(rows(&database, "added"), pairs(&[("be", 2), ("be", 2), ("be", 2), ("to", 2), ("to", 2), ("to", 2)]));
        assert_eq!(rows(&database, "updated"), pairs(&[("be", 3), ("or", 1), ("to", 3)]), "at {workers} workers");
        assert_eq!(rows(&database, "once"), pairs(&[]), "\"to\" was there twice, and left; at {workers} workers");
    }
}

/// Runs a job over the files of a directory until its table has these rows.
fn until(dir: &Path, url: &str, database: &Connection, expected: &[(String, i64)]) {
    let (input, url) = (dir.join("input"), url.to_owned());
    let job = StreamingContext::builder("once", millis(20)).workers(2).checkpoint(dir.join("state")).start(move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        let lines = tables.read_stream(ssc).text(&input)?;
        lines.create_or_replace_temp_view("words")?;
        let added = "select value as word, length(value) as n from words";
        let options = [("url", &*url), ("dbtable", "added"), ("sink.delivery-guarantee", "exactly-once")];
        write(&tables, ssc, added, OutputMode::Append, &options)?;
        Ok(())
    });
    let (job, end) = (job.unwrap(), Instant::now() + Duration::from_secs(60));
    while rows(database, "added") != expected {
        assert!(Instant::now() < end, "{:?}", rows(database, "added"));
        std::thread::yield_now();
    }
    job.stop_now().unwrap();
}

#[test]
fn each_row_is_in_the_table_once_after_a_restart() {
    let dir = TempDir::made("sql-jdbc-once");
    let (database, url) = database(&dir, "CREATE TABLE added (word TEXT, n INTEGER)");
    std::fs::create_dir_all(dir.join("input")).unwrap();
    std::fs::write(dir.join("input/first"), "tide\nmill\ntide\n").unwrap();
    until(&dir, &url, &database, &pairs(&[("mill", 4), ("tide", 4), ("tide", 4)]));
    std::fs::write(dir.join("input/second"), "race\n").unwrap();
    until(&dir, &url, &database, &pairs(&[("mill", 4), ("race", 4), ("tide", 4), ("tide", 4)]));
}

#[test]
fn what_cannot_be_written_is_refused_before_the_job_starts() {
    let dir = TempDir::made("sql-jdbc-refused");
    let (_database, url) = database(&dir, "CREATE TABLE added (word TEXT, n INTEGER)");
    let refused = |sql: &'static str, mode, options: &[(&str, &str)]| {
        let words = QueueSource::from_batches([vec!["to".to_owned()]]);
        let options: Vec<(String, String)> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let job = StreamingContext::builder("refused", millis(10)).without_checkpoint();
        let ended = job.run(move |ssc| {
            let tables = StreamTables::new(&TableSession::new());
            tables.register_stream("words", &ssc.queue_stream(&words))?;
            let timed = tables.sql("select value, timestamp '2026-11-30 10:00:00' as at from words")?;
            timed.with_watermark("at", "1 minute")?.create_or_replace_temp_view("timed")?;
            let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (&**name, &**value)).collect();
            write(&tables, ssc, sql, mode, &options)?;
            Ok(())
        });
        ended.unwrap_err().to_string()
    };
    let e = refused(COUNTS, OutputMode::Update, &[("url", &url), ("dbtable", "added")]);
    assert!(e.contains("they need a key") && e.contains("primaryKey"), "{e}");
    // Windows that a watermark closes change in mode update.
    let windows = "select value as word, count(*) as n from timed group by window(at, '1 minute'), value";
    let e = refused(windows, OutputMode::Update, &[("url", &url), ("dbtable", "added")]);
    assert!(e.contains("they need a key"), "{e}");
    let e = refused(COUNTS, OutputMode::Changes, &[("url", &url), ("dbtable", "added")]);
    assert!(e.contains("mode changes has no meaning") && e.contains("mode complete keeps it equal"), "{e}");
    let e = refused(COUNTS, OutputMode::Append, &[("url", &url), ("dbtable", "added")]);
    assert!(e.contains("mode Append is for rows that never change"), "{e}");
    let e = refused(
        "select value as word, length(value) as n from words",
        OutputMode::Append,
        &[("url", &url), ("dbtable", "missing")],
    );
    assert!(e.contains(r#"CREATE TABLE "missing" ("word" TEXT, "n" INTEGER)"#), "{e}");
    let e = refused(COUNTS, OutputMode::Append, &[("url", "jdbc:oracle:thin"), ("dbtable", "added"), ("secret", "x")]);
    assert!(e.contains("format jdbc has no option secret"), "{e}");
}
