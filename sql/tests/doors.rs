//! `read_stream` and `write_stream`: files in, files and memory out, by Spark's names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;
use temp_dir::TempDir;
use tidemill::prelude::*;
use tidemill::testing::check;
use tidemill_sql::{DataStreamReader, StreamTables, StreamingDataFrame, StreamingQueries, StreamingQuery, TableSession, Trigger};

/// A directory of a test, which goes with it.
struct Dir(TempDir);

impl Dir {
    fn new(name: &str) -> Self {
        Dir(TempDir::made(&format!("doors-{name}")))
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> PathBuf {
        self.0.to_path_buf()
    }
}

/// Loads a stream, and keeps its rows and bad rows until all files are read.
fn loaded(
    workers: u16,
    load: impl for<'s> Fn(DataStreamReader<'_, 's>) -> tidemill_sql::Result<StreamingDataFrame<'s>> + Send + Sync + 'static,
) -> (TableSession, Vec<BadRecord>) {
    let (session, bad) = (TableSession::new(), MemorySink::new());
    let (in_job, letters) = (session.clone(), bad.clone());
    let builder = StreamingContext::builder("doors", millis(100)).without_checkpoint().workers(workers);
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        let frame = load(tables.read_stream(ssc))?;
        if let Ok(errors) = frame.errors() {
            errors.dead_letters(letters.clone());
        }
        frame.write_stream().format("memory").query_name("rows").trigger(Trigger::AvailableNow).start(ssc)?;
        Ok(())
    })
    .unwrap();
    queries.await_termination().unwrap();
    (session, bad.rows())
}

fn shown(session: &TableSession, sql: &str) -> String {
    session.sql(sql).and_then(|table| table.show_string(20, 0)).unwrap_or_else(|e| panic!("{e}"))
}

/// The files of a batch directory that a sink wrote, in order.
fn lines_of(dir: &Path) -> Vec<String> {
    let mut batches: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    batches.retain(|batch| !batch.ends_with("_spark_metadata"));
    batches.sort();
    let mut lines = Vec::new();
    for batch in batches {
        assert!(batch.join("_SUCCESS").exists(), "{} is complete", batch.display());
        let mut parts: Vec<PathBuf> = std::fs::read_dir(&batch).unwrap().map(|e| e.unwrap().path()).collect();
        parts.sort();
        for part in parts.iter().filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("part-")) {
            lines.extend(std::fs::read_to_string(part).unwrap().lines().map(str::to_owned));
        }
    }
    lines
}

#[test]
fn csv_files_are_rows_and_bad_lines_have_their_file_and_byte() {
    let dir = Dir::new("csv")
        .with("a.csv", "station;minutes;at\nFerry;63;1/2/2014 0:14\nMarket;x;1/2/2014 0:15\n\"Howard; 2nd\";;\n")
        .with("b.csv", "station;minutes;at\nRyland;5\n")
        .with("c.txt", "not read\n");
    for workers in [1, 2, 4] {
        let path = dir.path();
        let (session, mut bad) = loaded(workers, move |reader| {
            let reader = reader.schema("station STRING, minutes INT, at TIMESTAMP").option("timestampFormat", "M/d/yyyy H:mm");
            reader.option("header", true).option("sep", ";").option("pathGlobFilter", "*.csv").csv(&path)
        });
        let expected = "\
+-----------+-------+-------------------+
|station    |minutes|at                 |
+-----------+-------+-------------------+
|Ferry      |63     |2014-01-02 00:14:00|
|Howard; 2nd|NULL   |NULL               |
+-----------+-------+-------------------+
";
        assert_eq!(shown(&session, "select * from rows order by station"), expected);
        bad.sort_by(|a, b| a.origin.cmp(&b.origin));
        let places: Vec<_> = bad.iter().map(|b| (b.origin.rsplit('/').next().unwrap(), b.offset, b.reason.as_str())).collect();
        let fields = "the record has 2 fields, and the table has 3 columns";
        assert_eq!(places, [("a.csv", 42, "column minutes: `x` is not of type INT"), ("b.csv", 19, fields)]);
        assert_eq!(bad[1].raw, b"Ryland;5");
    }
}

#[test]
fn json_files_have_nested_columns_and_a_file_can_be_the_path() {
    let text = "{\"name\": \"a\", \"tags\": [\"x\", \"y\"], \"at\": {\"lat\": 1.5}}\n{\"name\": 3\n{\"name\": \"b\", \"m\": {\"k\": 1}}\n";
    let dir = Dir::new("json").with("in/a.json", text).with("in/b.json", "{\"name\": \"other\"}");
    let path = dir.path().join("in/a.json");
    let (session, bad) = loaded(2, move |reader| {
        reader.schema("name STRING, tags ARRAY<STRING>, at STRUCT<lat: DOUBLE>, m MAP<STRING, INT>").json(&path)?.select([
            "name",
            "tags",
            "at",
            "m['k'] as k",
        ])
    });
    let expected = "\
+----+------+-----+----+
|name|tags  |at   |k   |
+----+------+-----+----+
|a   |[x, y]|{1.5}|NULL|
|b   |NULL  |NULL |1   |
+----+------+-----+----+
";
    assert_eq!(shown(&session, "select * from rows order by name"), expected);
    assert_eq!((bad.len(), bad[0].offset, bad[0].raw.as_slice()), (1, 54, &b"{\"name\": 3"[..]));
}

#[test]
fn a_schema_is_inferred_if_the_option_says_so() {
    let dir = Dir::new("infer").with("a.csv", "station,minutes,fare\nFerry,63,1.5\nMarket,5,2\n");
    let path = dir.path();
    let (session, _) = loaded(1, move |reader| reader.option("header", true).option("inferSchema", true).csv(&path));
    let rows = session.sql("select station, minutes, fare from rows order by station").unwrap();
    assert_eq!(rows.collect::<(String, i64, f64)>().unwrap(), [("Ferry".into(), 63, 1.5), ("Market".into(), 5, 2.0)]);
}

/// The error of a reader, before the job starts.
fn fault(
    load: impl for<'s> Fn(DataStreamReader<'_, 's>) -> tidemill_sql::Result<StreamingDataFrame<'s>> + Send + Sync + 'static,
) -> String {
    let job = StreamingContext::builder("faults", millis(100)).without_checkpoint().start(move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        load(tables.read_stream(ssc))?;
        Ok(())
    });
    job.err().expect("the reader is wrong").to_string()
}

#[test]
fn what_is_wrong_with_a_reader_is_an_error_before_the_start() {
    let dir = Dir::new("faults").with("a.csv", "1,a\n");
    let path = dir.path().display().to_string();
    let csv = path.clone();
    let error = fault(move |reader| reader.schema("a INT").option("multiLine", true).csv(&csv));
    assert!(error.contains("format csv has no option multiLine; there are: path, pathGlobFilter"), "{error}");
    let csv = path.clone();
    let error = fault(move |reader| reader.csv(&csv));
    assert!(error.contains(".schema(\"_c0 BIGINT, _c1 STRING\")") && error.contains("inferSchema=true"), "{error}");
    for (format, says) in [
        ("orc", "there is no format orc; say csv"),
        ("", "no format is given"),
        ("parquet", "format parquet needs the option path"),
        ("socket", "needs the option port"),
    ] {
        let error = fault(move |reader| reader.format(format).load());
        assert!(error.contains(says), "{format}: {error}");
    }
    let error = fault(move |reader| reader.schema("a ARRAY<INT>").csv(&path));
    assert!(error.contains("the column a cannot be ARRAY<INT> in this format; use the format json"), "{error}");
}

#[test]
fn the_rate_is_a_table_with_sparks_columns() {
    let seen = MemorySink::new();
    let out = seen.clone();
    let job = StreamingContext::builder("rate", millis(20)).without_checkpoint().start(move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        let rate = tables.read_stream(ssc).format("rate").option("rowsPerSecond", 1_000).load()?;
        let names: Vec<String> = rate.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["timestamp", "value"]);
        rate.filter("value % 2 = 0")?.select(["value"])?.stream::<i64>()?.to_memory(&out);
        Ok(())
    });
    let job = job.unwrap();
    while seen.rows().len() < 5 {
        std::thread::yield_now();
    }
    job.stop_gracefully().unwrap();
    assert_eq!(seen.rows()[..5], [0, 2, 4, 6, 8]);
}

/// Words to count, in two batches.
fn words() -> QueueSource<String> {
    QueueSource::from_batches(
        [vec!["to", "be", "to"], vec!["be,\"or\""]].map(|b| b.into_iter().map(String::from).collect::<Vec<_>>()),
    )
}

#[test]
fn rows_go_to_files_and_are_read_from_them_again() {
    for (format, expected) in [
        ("csv", vec!["BE,1", "TO,2", "TO,3", "\"BE,\"\"OR\"\"\",4"]),
        (
            "json",
            vec![
                "{\"word\":\"BE\",\"n\":1}",
                "{\"word\":\"TO\",\"n\":2}",
                "{\"word\":\"TO\",\"n\":3}",
                "{\"word\":\"BE,\\\"OR\\\"\",\"n\":4}",
            ],
        ),
    ] {
        let dir = Dir::new(&format!("write-{format}"));
        let (path, checkpoint) = (dir.path().join("out"), dir.path().join("checkpoint"));
        let (session, to) = (TableSession::new(), path.clone());
        let (in_job, input) = (session.clone(), Dir::new(&format!("write-in-{format}")));
        let input = input.with("a.json", "{\"w\": \"be\", \"n\": 1}\n{\"w\": \"to\", \"n\": 2}\n{\"w\": \"to\", \"n\": 3}\n{\"w\": \"be,\\\"or\\\"\", \"n\": 4}\n");
        let from = input.path();
        let builder = StreamingContext::builder("files", millis(100)).checkpoint(checkpoint);
        let queries = StreamingQueries::start(&session, builder, move |ssc| {
            let tables = StreamTables::new(&in_job);
            tables.read_stream(ssc).schema("w STRING, n BIGINT").json(&from)?.create_or_replace_temp_view("words")?;
            let upper = tables.sql("select upper(w) as word, n from words")?;
            upper.write_stream().format(format).trigger(Trigger::AvailableNow).start_path(&to, ssc)?;
            Ok(())
        });
        let queries = queries.unwrap();
        queries.await_termination().unwrap();
        assert_eq!(lines_of(&path), expected);
        assert_eq!(queries.all()[0].recent_progress().iter().map(|p| p.sink.num_output_rows).sum::<i64>(), 4);
        let read = session.read().schema("word STRING, n BIGINT").format(format).load(&path);
        let rows = read.unwrap().order_by(["n"]).unwrap().collect::<(String, i64)>().unwrap();
        assert_eq!(rows[3], ("BE,\"OR\"".to_owned(), 4));
    }
}

#[test]
fn a_query_tells_what_it_did_with_sparks_keys() {
    let session = TableSession::new();
    let (in_job, words) = (session.clone(), QueueSource::<String>::new());
    let queue = words.clone();
    let builder = StreamingContext::builder("progress", millis(20)).without_checkpoint();
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        tables.register_stream("words", &ssc.queue_stream(&queue))?;
        let counts = tables.table("words")?.group_by(["value"])?.count()?;
        counts.write_stream().format("memory").output_mode("complete").query_name("counts").start(ssc)?;
        let rows = counts.write_stream().output_mode("update").query_name("changes");
        rows.foreach_batch(|_, table| {
            table.count()?;
            Ok(())
        })
        .start(ssc)?;
        tables.table("words")?.write_stream().format("noop").start(ssc)?;
        Ok(())
    })
    .unwrap();
    let (seen, heard) = (queries.get("changes").unwrap(), MemorySinkOfTexts::default());
    let hears = heard.clone();
    queries.on_progress(move |progress| hears.lock().unwrap().push(progress.name.clone()));
    words.push(["to", "be", "to"].map(String::from).to_vec());
    let of_words = |query: &StreamingQuery| loop {
        match query.recent_progress().into_iter().find(|p| p.num_input_rows == 3) {
            Some(progress) => break progress,
            None => std::thread::yield_now(),
        }
    };
    let sinks = queries.all().iter().map(|query| of_words(query).sink);
    let sinks: Vec<(String, i64)> = sinks.map(|sink| (sink.description, sink.num_output_rows)).collect();
    assert_eq!(sinks, [("memory", 2), ("foreach_batch", 2), ("noop", 3)].map(|(sink, rows)| (sink.to_owned(), rows)));
    let json = of_words(&seen).to_string();
    assert!(!json.contains("eventTime"), "no query has a watermark: {json}");
    let keys = [
        "\"id\":",
        "\"runId\":",
        "\"name\":\"changes\"",
        "\"timestamp\":\"20",
        "\"batchId\":",
        "\"batchDuration\":",
        "\"numInputRows\":3",
        "\"durationMs\":{\"addBatch\":",
        "\"triggerExecution\":",
        "\"stateOperators\":[]",
        "\"sources\":[{\"description\":",
        "\"startOffset\":{",
        "\"sink\":{\"description\":",
    ];
    let mut rest = json.as_str();
    for key in keys {
        rest = rest.split_once(key).unwrap_or_else(|| panic!("{key} in this order in {json}")).1;
    }
    // The table in memory is that of the same batch, or of a later one.
    assert_eq!(session.sql("select `count` from counts order by value").unwrap().collect::<i64>().unwrap(), [1, 2]);
    assert_eq!(queries.active().len(), 3);
    assert!(
        seen.status().message == "Waiting for data to arrive"
            || seen.status().message.starts_with("Wait")
            || seen.status().is_trigger_active
    );
    assert!(seen.last_progress().is_some_and(|last| last.batch_id >= of_words(&seen).batch_id));
    assert!(!seen.await_termination_or_timeout(std::time::Duration::ZERO).unwrap(), "it runs");
    let unnamed = queries.all()[2].clone();
    assert_eq!((unnamed.name(), unnamed.id() != seen.id()), (None, true));
    seen.stop().unwrap();
    assert!(!seen.is_active() && seen.exception().is_none() && unnamed.status().message == "Stopped");
    assert!(heard.lock().unwrap().contains(&Some("counts".to_owned())));
    // The identity stays, and a run has its own.
    assert_eq!(seen.id().len(), 36);
    assert_ne!(seen.id(), seen.run_id());
}

#[test]
fn a_query_with_a_watermark_tells_how_far_it_is_in_event_time() {
    for workers in [1, 2] {
        let session = TableSession::new();
        let (in_job, times) = (session.clone(), [vec![3_000_000_i64, 1_000_000], vec![26_500_000], vec![]]);
        let times = times.map(|batch| batch.into_iter().map(|time| ("a".to_owned(), time)).collect::<Vec<_>>());
        let times = QueueSource::from_batches(times);
        let builder = StreamingContext::builder("event time", millis(20)).without_checkpoint().workers(workers);
        let queries = StreamingQueries::start(&session, builder, move |ssc| {
            let tables = StreamTables::new(&in_job);
            tables.register_stream("times", &ssc.queue_stream(&times))?;
            tables.with_watermark("times", "_2", "10 seconds")?;
            let counts = tables.sql("select count(*) as n from times group by window(_2, '10 seconds')")?;
            counts.write_stream().format("memory").query_name("closed").start(ssc)?;
            counts.write_stream().format("noop").output_mode("complete").query_name("all").start(ssc)?;
            // The watermark is that of the verb before the query.
            let once = tables.table("times")?.drop_duplicates_within_watermark(["_2"])?.filter("_1 = 'a'")?;
            once.write_stream().format("noop").query_name("once").start(ssc)?;
            let near = "select a._2 as at from times a join times b
                        on a._1 = b._1 and b._2 between a._2 and a._2 + interval '1' second";
            tables.sql(near)?.write_stream().format("noop").query_name("near").start(ssc)?;
            Ok(())
        });
        let queries = queries.unwrap();
        queries.await_termination().unwrap();
        let of = |name: &str| queries.get(name).unwrap().recent_progress();
        let times = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, time)| ((*key).to_owned(), (*time).to_owned())).collect();
        let expected: [BTreeMap<String, String>; 3] = [
            times(&[("max", "1970-01-01T00:00:03.000Z"), ("watermark", "1969-12-31T23:59:53.000Z")]),
            times(&[("max", "1970-01-01T00:00:26.500Z"), ("watermark", "1970-01-01T00:00:16.500Z")]),
            times(&[("watermark", "1970-01-01T00:00:16.500Z")]),
        ];
        for name in ["closed", "once", "near"] {
            let told: Vec<_> = of(name).into_iter().map(|progress| progress.event_time).collect();
            assert_eq!(told[..3], expected, "{name}, at {workers} workers");
        }
        let json = of("closed")[1].to_string();
        assert!(
            json.contains(r#""eventTime":{"max":"1970-01-01T00:00:26.500Z","watermark":"1970-01-01T00:00:16.500Z"},"stateOp"#),
            "{json}"
        );
        // Without a window that closes there is no watermark.
        assert!(of("all").iter().all(|progress| progress.event_time.is_empty()));
        assert_eq!(of("closed")[1].sink.num_output_rows, 1, "the first window closed");
    }
}

#[test]
fn mode_changes_says_what_entered_and_what_left() {
    for workers in [1, 4] {
        let dir = Dir::new("changes");
        let (session, to) = (TableSession::new(), dir.path().join("out"));
        let (in_job, path) = (session.clone(), to.clone());
        let batches = [vec!["to", "be"], vec![], vec!["to"]];
        let words = QueueSource::from_batches(batches.map(|batch| batch.into_iter().map(String::from).collect::<Vec<_>>()));
        let builder = StreamingContext::builder("changes", millis(20)).without_checkpoint().workers(workers);
        let queries = StreamingQueries::start(&session, builder, move |ssc| {
            let tables = StreamTables::new(&in_job);
            tables.register_stream("words", &ssc.queue_stream(&words))?;
            let counts = tables.sql("select value as word, count(*) as n from words group by value")?;
            counts.write_stream().format("memory").output_mode("changes").query_name("log").start(ssc)?;
            counts.write_stream().format("csv").output_mode("changes").start_path(&path, ssc)?;
            let all = tables.table("words")?;
            all.write_stream().format("memory").output_mode("changes").query_name("entered").start(ssc)?;
            Ok(())
        });
        let queries = queries.unwrap();
        queries.await_termination().unwrap();
        let row = |word: &str, n: i64, diff: i64| (word.to_owned(), n, diff);
        let log = session.sql("select word, n, diff from log order by word, n, diff").unwrap();
        let expected = [row("be", 1, 1), row("to", 1, -1), row("to", 1, 1), row("to", 2, 1)];
        assert_eq!(log.collect::<(String, i64, i64)>().unwrap(), expected, "at {workers} workers");
        let result = session.sql("select word, n from log group by word, n having sum(diff) > 0 order by word").unwrap();
        assert_eq!(result.collect::<(String, i64)>().unwrap(), [("be".to_owned(), 1), ("to".to_owned(), 2)]);
        let mut lines = lines_of(&to);
        lines.sort();
        assert_eq!(lines, ["be,1,1", "to,1,-1", "to,1,1", "to,2,1"]);
        let entered = session.sql("select value, diff from entered order by value").unwrap();
        let expected = ["be", "to", "to"].map(|word| (word.to_owned(), 1));
        assert_eq!(entered.collect::<(String, i64)>().unwrap(), expected, "rows of a stream never leave");
        let rows = queries.get("log").unwrap().recent_progress().iter().map(|p| p.sink.num_output_rows).sum::<i64>();
        assert_eq!(rows, 4, "each change is a row");
    }
}

type MemorySinkOfTexts = std::sync::Arc<std::sync::Mutex<Vec<Option<String>>>>;

#[test]
fn a_query_ends_with_the_error_of_its_batch() {
    let session = TableSession::new();
    let in_job = session.clone();
    let builder = StreamingContext::builder("fails", millis(20)).without_checkpoint().output_retry(millis(1));
    let queue = words();
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        tables.register_stream("words", &ssc.queue_stream(&queue))?;
        let all = tables.table("words")?;
        all.write_stream().query_name("fails").foreach_batch(|_, _| Err("the disk is full".into())).start(ssc)?;
        Ok(())
    })
    .unwrap();
    let query = queries.get("fails").unwrap();
    assert!(query.await_termination().unwrap_err().to_string().contains("the disk is full"));
    assert!(query.exception().unwrap().contains("the disk is full"));
    assert!(query.status().message.starts_with("Terminated with exception: "));
}

#[test]
fn what_is_wrong_with_a_writer_is_an_error_before_the_start() {
    type Start = for<'s> fn(&StreamingDataFrame<'s>, &StreamingContext<'s>) -> tidemill_sql::Result<()>;
    let cases: [(Start, &str); 14] = [
        (|f, ssc| f.write_stream().start(ssc), "no format is given"),
        (|f, ssc| f.write_stream().format("delta").start(ssc), "there is no format delta"),
        (|f, ssc| f.write_stream().format("memory").start(ssc), "needs a query_name"),
        (|f, ssc| f.write_stream().format("console").output_mode("all").start(ssc), "there is no mode all"),
        (|f, ssc| f.write_stream().format("csv").start(ssc), "needs the option path"),
        (|f, ssc| f.write_stream().format("console").output_mode("complete").start(ssc), "Complete"),
        (
            |f, ssc| f.write_stream().format("csv").option("path", "/tmp/x").option("compression", "lzo").start(ssc),
            "there are none and gzip",
        ),
        (|f, ssc| f.write_stream().format("json").output_mode("update").start(ssc), "the mode is append or changes"),
        (|f, ssc| f.write_stream().format("text").output_mode("changes").start(ssc), "no place for the column diff"),
        (
            |f, ssc| f.select(["value as Diff"])?.write_stream().format("console").output_mode("changes").start(ssc),
            "adds the column diff",
        ),
        (
            |f, ssc| {
                let files = f.write_stream().format("text").option("path", "/tmp/x").option("metadataLog", false);
                files.option("retention", "7d").start(ssc)
            },
            "option retention is of the log of files, and metadataLog is false",
        ),
        (|f, ssc| f.write_stream().format("noop").option("checkpointLocation", "/c").start(ssc), "--checkpoint DIR"),
        (
            |f, ssc| f.write_stream().format("noop").trigger(Trigger::ProcessingTime(secs(9))).start(ssc),
            "the batch interval of the job, 20ms",
        ),
        (
            |f, ssc| {
                f.write_stream().format("noop").query_name("a").start(ssc)?;
                f.write_stream().format("noop").query_name("a").start(ssc)
            },
            "two queries have the name a",
        ),
    ];
    for (start, says) in cases {
        let queue = words();
        let job = StreamingContext::builder("faults", millis(20)).without_checkpoint().start(move |ssc| {
            let tables = StreamTables::new(&TableSession::new());
            tables.register_stream("words", &ssc.queue_stream(&queue))?;
            start(&tables.table("words")?, ssc)?;
            Ok(())
        });
        let error = job.err().expect("the writer is wrong").to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn verbs_over_streams_are_those_of_tables() {
    let rows = [vec![("Ferry", 63), ("Market", 5)], vec![("Ferry", 7)]];
    let rows = rows.map(|batch| batch.into_iter().map(|(s, m)| (s.to_owned(), m)).collect::<Vec<(String, i32)>>());
    check(
        rows,
        |stream| {
            let session = TableSession::new();
            let docks = session.create_data_frame(&[("Ferry", "Embarcadero")]).unwrap().to_df(["station", "place"]).unwrap();
            let tables = StreamTables::new(&session);
            tables.register_stream("trips", stream).unwrap();
            let trips = tables.table("trips").unwrap().to_df(["station", "minutes"]).unwrap();
            trips.create_or_replace_temp_view("named").unwrap();
            let placed = tables.table("named").unwrap().join_table(&docks, ["station"], "inner").unwrap();
            let long = placed.with_column("hours", "minutes / 60").unwrap().drop(["minutes"]).unwrap();
            let totals = long.group_by(["place"]).unwrap().agg(["count(*) as n", "max(hours) as longest"]).unwrap();
            totals.order_by(["n desc"]).unwrap().limit(1).unwrap().view::<(String, i64, F64)>().unwrap().complete()
        },
        [vec![("Embarcadero".to_owned(), 1, F64::from(1.05))], vec![("Embarcadero".to_owned(), 2, F64::from(1.05))]],
    );
}

#[cfg(feature = "parquet")]
#[test]
fn rows_go_to_parquet_and_are_read_from_it_again() {
    let dir = Dir::new("parquet")
        .with("in/a.csv", "Ferry,63,1.5,2026-11-29 16:45:00.5\nMarket,,2,\n")
        .with("in/b.csv", "Ferry,7,0.25,\n");
    let (session, from, to) = (TableSession::new(), dir.path().join("in"), dir.path().join("out"));
    let (in_job, out) = (session.clone(), to.clone());
    let builder = StreamingContext::builder("parquet", millis(100)).checkpoint(dir.path().join("checkpoint"));
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&in_job);
        let reader = tables.read_stream(ssc).schema("station STRING, minutes INT, fare DECIMAL(5,2), at TIMESTAMP");
        let trips = reader.option("maxFilesPerTrigger", 1).csv(&from)?;
        trips.write_stream().format("parquet").trigger(Trigger::Once).start_path(&out, ssc)?;
        Ok(())
    });
    queries.unwrap().await_termination().unwrap();
    let mut batches: Vec<PathBuf> = std::fs::read_dir(&to).unwrap().map(|e| e.unwrap().path()).collect();
    batches.retain(|batch| !batch.ends_with("_spark_metadata"));
    assert!(batches.len() == 2 && batches.iter().all(|batch| batch.join("_SUCCESS").exists()), "{batches:?}");
    let read = session.read().parquet(&to).unwrap();
    let expected = "\
+-------+-------+----+---------------------+
|station|minutes|fare|at                   |
+-------+-------+----+---------------------+
|Ferry  |7      |0.25|NULL                 |
|Ferry  |63     |1.50|2026-11-29 16:45:00.5|
|Market |NULL   |2.00|NULL                 |
+-------+-------+----+---------------------+
";
    assert_eq!(read.order_by(["station", "minutes"]).unwrap().show_string(20, 0).unwrap(), expected);
}
