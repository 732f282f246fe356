//! Directories that are tables: what a file sink writes, with its log, and what a file source cleans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;
use temp_dir::TempDir;
use tidemill::prelude::*;
use tidemill_sql::{DataStreamReader, StreamTables, StreamingDataFrame, StreamingQueries, TableSession, Trigger};

/// A job that reads what is there and ends. The query `rows` is in memory, or in the directory `to`.
fn job(
    dir: &Path,
    workers: u16,
    to: Option<(&'static str, PathBuf)>,
    load: impl for<'s> Fn(DataStreamReader<'_, 's>) -> tidemill_sql::Result<StreamingDataFrame<'s>> + Send + Sync + 'static,
) -> TableSession {
    let session = TableSession::new();
    let (in_job, state) = (session.clone(), dir.join(if to.is_some() { "state" } else { "reader" }));
    let builder = StreamingContext::builder("tables", millis(100)).workers(workers);
    // Only the last batch of a run has a checkpoint.
    let builder = builder.checkpoint(state).checkpoint_interval(secs(3_600));
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        let rows = load(tables.read_stream(ssc))?;
        let writer = rows.write_stream().query_name("rows").trigger(Trigger::AvailableNow);
        match &to {
            Some((format, path)) => writer.format(format).start_path(path, ssc)?,
            None => writer.format("memory").start(ssc)?,
        }
        Ok(())
    });
    queries.unwrap().await_termination().unwrap();
    session
}

/// Moves a file into a directory.
fn put(dir: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let (hidden, path) = (dir.join(format!(".{name}")), dir.join(name));
    std::fs::write(&hidden, text).unwrap();
    std::fs::rename(hidden, &path).unwrap();
    path
}

fn words(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut words: Vec<String> = numbers.flat_map(|n| [format!("a{n:02}"), format!("b{n:02}")]).collect();
    words.sort_unstable();
    words
}

/// The input has one file for each batch.
fn input(dir: &Path, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let lines = words(n..n + 1).iter().map(|word| format!("{{\"word\": \"{word}\", \"n\": {n}}}\n")).collect::<String>();
        put(&dir.join("in"), &format!("{n:02}.json"), &lines);
    }
}

fn write(dir: &Path, format: &'static str, workers: u16) {
    let from = dir.join("in");
    job(dir, workers, Some((format, dir.join("out"))), move |reader| {
        let rows = reader.schema("word STRING, n BIGINT").option("maxFilesPerTrigger", 1).json(&from)?;
        if format == "text" { rows.select(["word"]) } else { Ok(rows) }
    });
}

/// The files that the log names, in its order, and how many batches it has: read as docs/formats.md says.
fn logged(table: &Path) -> (Vec<PathBuf>, usize) {
    let log = table.join("_spark_metadata");
    let mut by_number = BTreeMap::new();
    for name in std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()) {
        let number: usize = name.trim_end_matches(".compact").parse().unwrap_or_else(|_| panic!("{name} is in the log"));
        assert_eq!(name.ends_with(".compact"), number % 10 == 9, "{name}");
        by_number.insert(number, name);
    }
    assert!(by_number.keys().copied().eq(0..by_number.len()), "{by_number:?}");
    let mut files = Vec::new();
    for (number, name) in &by_number {
        let text = std::fs::read_to_string(log.join(name)).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("v1"));
        if number % 10 == 9 {
            files.clear();
        }
        for line in lines {
            let file: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = PathBuf::from(file["path"].as_str().unwrap().strip_prefix("file://").unwrap());
            assert_eq!(file["size"], std::fs::metadata(&path).unwrap().len(), "{line}");
            assert_eq!((&file["isDir"], &file["action"]), (&false.into(), &"add".into()), "{line}");
            assert_eq!((&file["blockReplication"], &file["blockSize"]), (&1.into(), &33_554_432.into()), "{line}");
            files.push(path);
        }
    }
    (files, by_number.len())
}

/// Every part of a complete batch of the table, batch by batch.
fn complete(table: &Path) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for batch in std::fs::read_dir(table).unwrap().map(|e| e.unwrap().path()).filter(|path| path.join("_SUCCESS").exists()) {
        let time: u64 = batch.file_stem().unwrap().to_str().unwrap().strip_prefix("batch-").unwrap().parse().unwrap();
        let parts = std::fs::read_dir(batch).unwrap().map(|e| e.unwrap().path());
        let mut parts: Vec<_> = parts.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("part-")).collect();
        parts.sort();
        found.insert(time, parts);
    }
    found.into_values().flatten().collect()
}

/// The words of the table, as a table and as a stream.
fn read(dir: &Path, format: &'static str) -> [Vec<String>; 2] {
    let (session, table) = (TableSession::new(), dir.join("out"));
    let (column, schema) = match format {
        "text" => ("value", None),
        "parquet" => ("word", None),
        _ => ("word", Some("word STRING, n BIGINT")),
    };
    let sql = format!("select {column} from rows order by {column}");
    let reader = session.read().format(format);
    let reader = schema.into_iter().fold(reader, |reader, schema| reader.schema(schema));
    reader.load(&table).unwrap().create_or_replace_temp_view("rows").unwrap();
    let at_rest = session.sql(&sql).unwrap().collect::<String>().unwrap();
    let _ = std::fs::remove_dir_all(dir.join("reader"));
    let session = job(dir, 2, None, move |reader| {
        let schema = if format == "parquet" { Some("word STRING, n BIGINT") } else { schema };
        schema.into_iter().fold(reader, |reader, schema| reader.schema(schema)).format(format).load_path(&table)
    });
    [at_rest, session.sql(&sql).unwrap().collect::<String>().unwrap()]
}

#[test]
fn a_log_names_the_files_of_all_batches_and_readers_take_no_others() {
    let mut formats = vec![("csv", 1), ("json", 2), ("text", 4)];
    if cfg!(feature = "parquet") {
        formats.push(("parquet", 2));
    }
    for (format, workers) in formats {
        let dir = TempDir::made(&format!("file-tables-{format}"));
        let table = dir.join("out");
        input(&dir, 0..12);
        write(&dir, format, workers);
        assert_eq!(logged(&table), (complete(&table), 12), "{format}");
        assert_eq!(read(&dir, format), [words(0..12), words(0..12)], "{format}");
        // What is not in the log is not in the table: a batch that a crash has interrupted, and a file that somebody has put there.
        let first = logged(&table).0.remove(0);
        std::fs::create_dir(table.join(format!("batch-5.{format}"))).unwrap();
        for other in [table.join(format!("batch-5.{format}/part-00000")), table.join("other"), first.with_file_name("part-00099")]
        {
            std::fs::copy(&first, other).unwrap();
        }
        assert_eq!(read(&dir, format), [words(0..12), words(0..12)], "{format}");
        std::fs::remove_file(first.with_file_name("part-00099")).unwrap();
        // The next run goes on with the log.
        input(&dir, 12..14);
        write(&dir, format, 3);
        assert_eq!(logged(&table), (complete(&table), 14), "{format}");
        assert_eq!(read(&dir, format), [words(0..14), words(0..14)], "{format}");
    }
}

#[test]
fn a_source_cleans_files_that_no_restart_reads_again() {
    let dir = TempDir::made("file-tables-clean");
    let (input, archive) = (dir.join("in"), dir.join("archive"));
    let run = |how: &'static str| {
        let (from, archive) = (input.clone(), archive.clone());
        let session = job(&dir, 2, None, move |reader| {
            let reader = reader.option("cleanSource", how);
            let reader = if how == "archive" { reader.option("sourceArchiveDir", archive.display()) } else { reader };
            reader.text(&from)
        });
        // A run may end without a batch, and then there is no table.
        let rows = session.table("rows").map(|_| session.sql("select value from rows order by value").unwrap());
        rows.map_or_else(|_| Vec::new(), |rows| rows.collect::<String>().unwrap())
    };
    let [a, b] = ["a", "b"].map(|name| input.join(name));
    put(&input, "a", "to\nbe\n");
    assert_eq!((run("archive"), a.exists()), (vec!["be".to_owned(), "to".to_owned()], true));
    put(&input, "b", "or\n");
    // Two checkpoints are kept: a is before both of them now.
    assert_eq!((run("archive"), a.exists(), b.exists()), (vec!["or".to_owned()], false, true));
    let archived = archive.join(a.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(archived).unwrap(), "to\nbe\n");
    assert_eq!((run("delete"), b.exists()), (Vec::new(), false));
    assert!(!archive.join(b.strip_prefix("/").unwrap()).exists());
    // Without the option files stay.
    put(&input, "c", "not\n");
    assert_eq!(run("off"), ["not"]);
    assert_eq!(run("off"), [""; 0]);
    assert!(input.join("c").exists());
}

#[test]
fn the_output_of_a_sink_is_not_cleaned() {
    let dir = TempDir::made("file-tables-own");
    input(&dir, 0..1);
    write(&dir, "json", 1);
    let (session, table) = (TableSession::new(), dir.join("out"));
    let job = StreamingContext::builder("own", millis(100)).without_checkpoint().start(move |ssc| {
        let tables = StreamTables::new(&session);
        let rows = tables.read_stream(ssc).schema("word STRING").option("cleanSource", "delete").json(&table)?;
        rows.foreach_batch(tidemill_sql::OutputMode::Append, |_, _| Ok(()))?;
        Ok(())
    });
    let e = job.err().expect("the source is refused").to_string();
    assert!(e.contains("those of an output are not cleaned"), "{e}");
}
