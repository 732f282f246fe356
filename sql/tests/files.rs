//! Files that change while a job runs, and files that are read whole.

use std::path::Path;

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;
use shared::eventually;
use temp_dir::TempDir;
use tidemill::job::ManualClock;
use tidemill::prelude::*;
use tidemill_sql::{StreamTables, TableSession};

/// Moves a version into place.
fn put(file: &Path, version: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, version).unwrap();
    std::fs::rename(&new, file).unwrap();
}

type Docked = (String, Option<i32>);

#[test]
fn a_stream_meets_the_version_of_a_file_that_its_batch_saw() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("sql-broadcast");
        let (file, queue, seen) = (dir.join("docks.csv"), QueueSource::<String>::new(), MemorySink::<Docked>::new());
        let bad = MemorySink::new();
        put(&file, "station,docks\nFerry,27\nMarket,5\n");
        let (path, rows, out, letters, clock) = (file.clone(), queue.clone(), seen.clone(), bad.clone(), ManualClock::at(5));
        let job = StreamingContext::builder("docks", millis(10)).workers(workers).without_checkpoint();
        let build = move |ssc: &StreamingContext<'_>| {
            let session = TableSession::new();
            let tables = StreamTables::new(&session);
            tables.register_stream("trips", &ssc.queue_stream(&rows).repartition(4))?;
            let docks = session.read().format("csv").schema("station STRING, docks INT").option("header", true);
            tables.broadcast_file(ssc, "docks", &docks, &path)?;
            let joined = tables.sql("select value, docks from trips left join docks on value = station and 10 / docks < 9")?;
            joined.stream::<Docked>()?.to_memory(&out);
            joined.errors()?.to_memory(&letters);
            Ok(())
        };
        let job = job.start_on_clock(clock.clone(), build).unwrap();
        let mut batch = 0;
        let mut meets = |version: Option<&str>, ferry: Option<i32>| {
            batch += 1;
            version.inspect(|version| put(&file, version));
            queue.push(["Ferry", "Market", "Ferry", "Hill"].map(str::to_owned).to_vec());
            clock.set(10 * batch);
            eventually("the batch is written", || job.statistics().batches == batch);
            let mut rows = seen.batches().pop().unwrap().1;
            rows.sort();
            let row = |station: &str, docks| (station.to_owned(), docks);
            let expected = [row("Ferry", ferry), row("Ferry", ferry), row("Hill", None), row("Market", Some(5))];
            assert_eq!(rows, expected, "batch {batch} at {workers} workers");
        };
        meets(None, Some(27));
        meets(Some("station,docks\nMarket,5\nFerry,31\n"), Some(31));
        meets(Some("station,docks\nMarket,5\n"), None);
        meets(Some("station,docks\nMarket,many\n"), None);
        let trouble = job.statistics().trouble;
        assert!(trouble.iter().any(|t| t.contains("column docks: `many` is not of type INT")), "{trouble:?}");
        assert!(bad.rows().is_empty(), "{:?}", bad.rows());
        job.stop_now().unwrap();
    }
}

#[test]
fn a_view_of_a_file_corrects_the_results() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("sql-file-view");
        let (file, queue, seen) =
            (dir.join("docks.csv"), QueueSource::<String>::new(), MemorySink::<(String, Option<i32>, i64)>::new());
        put(&file, "station,docks\nFerry,27\nMarket,5\n");
        let (path, rows, out, clock) = (file.clone(), queue.clone(), seen.clone(), ManualClock::at(5));
        let job = StreamingContext::builder("docks", millis(10)).workers(workers).without_checkpoint();
        let build = move |ssc: &StreamingContext<'_>| {
            let session = TableSession::new();
            let tables = StreamTables::new(&session);
            tables.register_stream("trips", &ssc.queue_stream(&rows).repartition(4))?;
            let docks = session.read().format("csv").schema("station STRING, docks INT").option("header", true);
            tables.file_view(ssc, "docks", &docks, &path)?;
            let counts = tables
                .sql("select value, docks, count(*) from trips left join docks on value = station group by value, docks")?;
            counts.view::<(String, Option<i32>, i64)>()?.complete().to_memory(&out);
            Ok(())
        };
        let job = job.start_on_clock(clock.clone(), build).unwrap();
        let mut batch = 0;
        let mut sees = |version: Option<&str>, ferry: Option<i32>, n: i64| {
            batch += 1;
            version.inspect(|version| put(&file, version));
            queue.push(["Ferry", "Market"].map(str::to_owned).to_vec());
            clock.set(10 * batch);
            eventually("the batch is written", || job.statistics().batches == batch);
            let mut rows = seen.batches().pop().unwrap().1;
            rows.sort();
            // Also the rows of earlier batches have the new version.
            assert_eq!(
                rows,
                [("Ferry".to_owned(), ferry, n), ("Market".to_owned(), Some(5), n)],
                "batch {batch} at {workers} workers"
            );
        };
        sees(None, Some(27), 1);
        sees(Some("station,docks\nMarket,5\nFerry,31\n"), Some(31), 2);
        sees(Some("station,docks\nMarket,5\n"), None, 3);
        sees(Some("station,docks\nMarket,many\n"), None, 4);
        let trouble = job.statistics().trouble;
        assert!(trouble.iter().any(|t| t.contains("column docks: `many` is not of type INT")), "{trouble:?}");
        sees(Some("station,docks\nFerry,27\nMarket,5\n"), Some(27), 5);
        job.stop_now().unwrap();
    }
}

#[test]
fn what_a_file_cannot_be_is_refused() {
    let dir = TempDir::made("sql-broadcast-refused");
    let file = dir.join("docks.csv");
    put(&file, "station,docks\nFerry,27\n");
    for (sql, says) in [
        ("select * from docks", "the file docks, which is read again when it changes, (line 1, column 15"),
        (
            "select d.docks, count(*) from trips right join docks d on value = d.station group by d.docks",
            "keeps rows of a static table",
        ),
        (
            "select value from trips left join (select a.station from docks a join towns b on a.station = b.station) t on value = t.station",
            "the files docks and towns at once",
        ),
    ] {
        let (path, rows) = (file.clone(), QueueSource::from_batches([vec!["Ferry".to_owned()]]));
        let job = StreamingContext::builder("refused", millis(10)).without_checkpoint().start(move |ssc| {
            let session = TableSession::new();
            let tables = StreamTables::new(&session);
            tables.register_stream("trips", &ssc.queue_stream(&rows))?;
            for name in ["docks", "towns"] {
                tables.broadcast_file(ssc, name, &session.read().format("csv").option("header", true), &path)?;
            }
            tables.sql(sql)?.foreach_batch(tidemill_sql::OutputMode::Append, |_, _| Ok(()))?;
            Ok(())
        });
        let error = job.err().expect("the query is refused").to_string();
        assert!(error.contains(says), "{sql}: {error}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn files_of_parquet_are_a_stream() {
    use tidemill_sql::{StreamingQueries, Trigger};

    for workers in [1, 2, 4] {
        let dir = TempDir::made("sql-parquet-stream");
        std::fs::create_dir_all(dir.join("csv")).unwrap();
        std::fs::write(dir.join("csv/a"), "Ferry,63,1.5\nMarket,,2\n").unwrap();
        std::fs::write(dir.join("csv/b"), "Ferry,7,0.25\n").unwrap();
        let (session, from, to) = (TableSession::new(), dir.join("csv"), dir.join("parquet"));
        let (in_job, out) = (session.clone(), to.clone());
        let written =
            StreamingQueries::start(&session, StreamingContext::builder("write", millis(100)).without_checkpoint(), move |ssc| {
                let tables = StreamTables::new(&in_job);
                let reader = tables
                    .read_stream(ssc)
                    .schema("Station STRING, minutes INT, fare DECIMAL(5,2)")
                    .option("maxFilesPerTrigger", 1);
                // Without a log all files of the directory are read, also the one that is no Parquet.
                let trips = reader.csv(&from)?;
                let writer = trips.write_stream().format("parquet").option("metadataLog", false);
                writer.trigger(Trigger::AvailableNow).start_path(&out, ssc)?;
                Ok(())
            });
        written.unwrap().await_termination().unwrap();
        std::fs::write(to.join("no.parquet"), "station,minutes").unwrap();
        let (session, bad) = (TableSession::new(), MemorySink::new());
        let (in_job, letters, from) = (session.clone(), bad.clone(), to.clone());
        let builder = StreamingContext::builder("read", millis(100)).workers(workers).checkpoint(dir.join("state"));
        let read = StreamingQueries::start(&session, builder, move |ssc| {
            let tables = StreamTables::new(&in_job);
            // Columns are found by name, in another order and type, and one is in no file.
            let reader = tables.read_stream(ssc).schema("minutes BIGINT, station STRING, note STRING");
            let trips = reader.option("recursiveFileLookup", true).option("pathGlobFilter", "*.parquet").parquet(&from)?;
            trips.errors()?.to_memory(&letters);
            trips.create_or_replace_temp_view("trips")?;
            let totals =
                tables.sql("select station, sum(minutes) as minutes, count(note) as notes from trips group by station")?;
            totals
                .write_stream()
                .format("memory")
                .output_mode("complete")
                .query_name("totals")
                .trigger(Trigger::AvailableNow)
                .start(ssc)?;
            Ok(())
        });
        read.unwrap().await_termination().unwrap();
        let rows =
            session.table("totals").unwrap().order_by(["station"]).unwrap().collect::<(String, Option<i64>, i64)>().unwrap();
        assert_eq!(rows, [("Ferry".to_owned(), Some(70), 0), ("Market".to_owned(), None, 0)], "{workers} workers");
        let bad = bad.rows();
        assert!(bad.len() == 1 && bad[0].origin.ends_with("no.parquet"), "{bad:?}");
        assert!(bad[0].reason.starts_with("it is not a file of Parquet"), "{bad:?}");
    }
}
