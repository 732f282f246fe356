//! States of queries in checkpoints: each is of its part of a query, and not of a number.

use std::path::Path;

#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;
use temp_dir::TempDir;
use tidemill::prelude::*;
use tidemill_sql::{StreamTables, StreamingDataFrame, StreamingQueries, TableSession, Trigger};

const COUNTS: &str = "select value as word, count(*) as n from words group by value";

/// Moves a file into the input of a job.
fn put(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join("input")).unwrap();
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("input").join(name)).unwrap();
}

/// Reads all files of a directory with a job that `build` makes of their lines.
fn job(
    dir: &Path,
    drop_state: bool,
    build: impl for<'s> Fn(&StreamTables<'s>, &StreamingContext<'s>) -> tidemill_sql::Result<()> + Send + Sync + 'static,
) -> Result<TableSession, String> {
    let (session, input) = (TableSession::new(), dir.join("input"));
    let in_job = session.clone();
    let runtime = RuntimeArgs { checkpoint: Some(dir.join("state")), drop_state, workers: 2, ..RuntimeArgs::default() };
    let builder = StreamingContext::builder("states", millis(100)).runtime(runtime);
    let started = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        tables.read_stream(ssc).text(&input)?.create_or_replace_temp_view("words")?;
        Ok(build(&tables, ssc)?)
    });
    started.map_err(|e| e.to_string())?.await_termination().map_err(|e| e.to_string())?;
    Ok(session)
}

fn write<'s>(frame: &StreamingDataFrame<'s>, ssc: &StreamingContext<'s>, mode: &str) -> tidemill_sql::Result<()> {
    frame.write_stream().format("noop").output_mode(mode).trigger(Trigger::AvailableNow).start(ssc)
}

#[test]
fn other_columns_of_drop_duplicates_are_another_state() {
    let dir = TempDir::made("sql-states-dedup");
    put(&dir, "a", "to\nbe\n");
    let by = |column: &'static str| {
        job(&dir, false, move |tables, ssc| {
            let rows = tables.sql("select value, length(value) as n from words")?;
            write(&rows.drop_duplicates([column])?, ssc, "append")
        })
    };
    by("value").unwrap();
    by("value").unwrap();
    let error = by("n").unwrap_err();
    assert!(error.contains("of drop_duplicates [\"value\"] of") && error.contains("is not in this program"), "{error}");
}

#[test]
fn what_is_below_a_watermark_counts() {
    let dir = TempDir::made("sql-states-watermark");
    put(&dir, "a", "to\nbe\n");
    let without = |word: &'static str| {
        job(&dir, false, move |tables, ssc| {
            let sql = format!("select value, timestamp '2026-11-30 10:00:00' as at from words where value <> '{word}'");
            tables.sql(&sql)?.with_watermark("at", "1 minute")?.create_or_replace_temp_view("timed")?;
            let windows = "select value, count(*) as n from timed group by window(at, '10 seconds'), value";
            write(&tables.sql(windows)?, ssc, "update")
        })
    };
    without("x").unwrap();
    without("x").unwrap();
    let error = without("to").unwrap_err();
    assert!(error.contains("is not in this program"), "{error}");
}

/// Reads all files of a directory, and returns the whole result of each query: its rows as texts, in order.
fn run(dir: &Path, queries: &'static [&'static str], drop_state: bool) -> Result<Vec<Vec<String>>, String> {
    let session = job(dir, drop_state, move |tables, ssc| {
        for (number, query) in queries.iter().enumerate() {
            let result = tables.sql(query)?;
            let writer = result.write_stream().format("memory").output_mode("complete").trigger(Trigger::AvailableNow);
            writer.query_name(&format!("result{number}")).start(ssc)?;
        }
        Ok(())
    })?;
    let result = |number: usize| {
        let table = session.table(&format!("result{number}")).unwrap();
        let rows = table.select(["concat(word, ' ', cast(n as string)) as row"]).unwrap().order_by(["row"]).unwrap();
        rows.collect::<String>().unwrap()
    };
    Ok((0..queries.len()).map(result).collect())
}

#[test]
fn a_query_takes_its_own_state_and_no_other() {
    let dir = TempDir::made("sql-states");
    let put = |name: &str, text: &str| put(&dir, name, text);
    put("a", "to\nbe\nto\n");
    assert_eq!(run(&dir, &[COUNTS], false), Ok(vec![vec!["be 1".to_owned(), "to 2".to_owned()]]));
    put("b", "to\ntide\n");
    let counts = ["be 1", "tide 1", "to 3"].map(str::to_owned).to_vec();
    assert_eq!(run(&dir, &[COUNTS], false), Ok(vec![counts.clone()]));

    // Other groups, other rows, another aggregate: each is another state of the same types.
    for other in [
        "select upper(value) as word, count(*) as n from words group by upper(value)",
        "select value as word, count(*) as n from words where value <> 'be' group by value",
        "select value as word, count(nullif(value, 'to')) as n from words group by value",
    ] {
        let queries: &'static [&'static str] = Box::leak(Box::new([other]));
        let error = run(&dir, queries, false).unwrap_err();
        assert!(error.contains("is not in this program") && error.contains("--drop-state"), "{other}: {error}");
        assert!(error.contains("fold_by_key of Aggregate: groupBy=[[words.value]]"), "it names the part: {error}");
    }

    // Which of two equal queries the state was of is not known.
    let error = run(&dir, &[COUNTS, COUNTS], false).unwrap_err();
    assert!(error.contains("is new beside an equal part"), "{error}");

    // Another query before it does not take its state, and what stands above the groups may change.
    put("c", "be\n");
    const LENGTHS: &str = "select cast(length(value) as string) as word, count(*) as n from words group by length(value)";
    const FREQUENT: &str = "select value as word, count(*) as n from words group by value having count(*) > 1";
    let both = run(&dir, &[LENGTHS, FREQUENT], false).unwrap();
    assert_eq!(both, [vec!["2 1".to_owned()], vec!["be 2".to_owned(), "to 3".to_owned()]]);

    // What is left out is listed, or dropped.
    put("d", "mill\n");
    let error = run(&dir, &[LENGTHS], false).unwrap_err();
    assert!(error.contains("is not in this program"), "{error}");
    assert_eq!(run(&dir, &[LENGTHS], true), Ok(vec![vec!["2 1".to_owned(), "4 1".to_owned()]]));
}
