//! Tables of SQLite: rows are written once through stops and failures, and what the table does not take is said.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tidemill::connector::database::Table;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use super::sums::{self, Row, expected, given, log, sums};
use crate::temp_dir::TempDir;

const CREATE: &str = "CREATE TABLE sums (k INTEGER PRIMARY KEY, v INTEGER)";

struct Place {
    dir: TempDir,
    file: PathBuf,
}

impl Place {
    fn new(name: &str, create: &str) -> Place {
        let dir = TempDir::made(name);
        let file = dir.join("app.db");
        Connection::open(&file).unwrap().execute_batch(create).unwrap();
        Place { dir, file }
    }

    /// The rows of a query, in order.
    fn rows(&self, query: &str) -> Vec<Row> {
        let database = Connection::open(&self.file).unwrap();
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn execute(&self, sql: &str) {
        Connection::open(&self.file).unwrap().execute_batch(sql).unwrap();
    }
}

/// Runs batches into both tables, from where the previous run stopped.
fn run(place: &Place, workers: u16, batches: &[Vec<Row>]) -> tidemill::Result<Summary> {
    let file = place.file.clone();
    let job = sums::run(&place.dir.join("checkpoint"), workers, batches.to_vec(), move |rows, changed| {
        rows.to_sqlite(&file, log());
        changed.to_sqlite(&file, sums().exactly_once());
    });
    job?.await_termination()
}

fn made(name: &str) -> Place {
    Place::new(name, &format!("{CREATE}; CREATE TABLE log (k INTEGER, v INTEGER)"))
}

/// A constraint ends the job in the middle. When the table takes the row, the next run goes on.
#[test]
fn rows_are_in_the_tables_once_through_a_constraint_and_restarts() {
    for (workers, then) in [(1, 2), (2, 4), (4, 1)] {
        let place = made("sqlite-once");
        let batches = given(13);
        let stop = "CREATE TRIGGER stop BEFORE INSERT ON log WHEN NEW.v = 73 BEGIN SELECT RAISE(ABORT, 'not this'); END";
        place.execute(stop);
        let e = run(&place, workers, &batches).unwrap_err().to_string();
        assert!(
            e.contains("to_sqlite") && e.contains("the table log") && e.contains("not this") && e.contains("tried 1 times"),
            "{e}"
        );
        assert!(place.rows("SELECT k, v FROM log").iter().all(|(_, v)| *v != 73));
        place.execute("DROP TRIGGER stop");
        run(&place, then, &batches).unwrap();
        let tables = || (place.rows("SELECT k, v FROM log ORDER BY k, v"), place.rows("SELECT k, v FROM sums ORDER BY k"));
        assert_eq!(tables(), expected(&batches), "{workers} workers, then {then}");
        // A third run has nothing to write, and its checkpoint agrees with the tables.
        run(&place, workers, &batches).unwrap();
        assert_eq!(tables(), expected(&batches));
    }
}

/// Refused rows lie among others, in statements of any size. What is refused is in the transaction of the rest, so a restart adds nothing.
#[test]
fn rows_that_a_constraint_refuses_are_dead_letters_once() {
    for (workers, then) in [(1, 2), (2, 4), (4, 1)] {
        let refuse = "CHECK (v % 7 <> 3 OR v < 0)";
        let place = Place::new("sqlite-dead", &format!("CREATE TABLE log (k INTEGER, v INTEGER {refuse} UNIQUE)"));
        let batches: Vec<Vec<Row>> = (0..4).map(|b| (0..1_500).map(|n| (n % 5, 1_000 * b + n)).collect()).collect();
        let once = |workers: u16| {
            let (file, queue) = (place.file.clone(), QueueSource::from_batches(batches.clone()));
            let job =
                StreamingContext::builder("dead letters", millis(10)).workers(workers).checkpoint(place.dir.join("checkpoint"));
            job.run(move |ssc| {
                let table = Table::new("log").integer("k").integer("v").dead_letters("refused").shards(3);
                ssc.queue_stream(&queue).to_sqlite(&file, table);
                Ok(())
            })
        };
        once(workers).unwrap();
        once(then).unwrap();
        // Batches overlap: of two rows with one value the first one is taken.
        let good = |v: &i64| v % 7 != 3;
        let expected: Vec<i64> = (0..4_500).filter(good).collect();
        let taken: Vec<i64> = place.rows("SELECT k, v FROM log ORDER BY v").into_iter().map(|(_, v)| v).collect();
        assert_eq!(taken, expected);
        let all = batches.iter().flatten().count() as i64;
        assert_eq!(place.rows("SELECT count(*), 0 FROM refused"), [(all - expected.len() as i64, 0)]);
        let checked =
            "SELECT count(*), 0 FROM refused WHERE table_name = 'log' AND reason LIKE '%CHECK%' AND row_json LIKE '{\"k\":%'";
        assert_eq!(place.rows(checked), [(batches.iter().flatten().filter(|(_, v)| !good(v)).count() as i64, 0)]);
    }
}

#[test]
fn a_table_is_what_a_view_is() {
    for workers in [1, 2, 4] {
        let place = Place::new("sqlite-changes", CREATE);
        let (file, batches) = (place.file.clone(), given(17));
        let seen = MemorySink::new();
        let out = seen.clone();
        let job = StreamingContext::builder("top", millis(1)).workers(workers).without_checkpoint();
        let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
            let top = ssc.test_stream(batches.clone()).sum_by_key().top_by(3, |(_, v)| v % 100);
            top.changes().changes_to_sqlite(&file, sums());
            top.complete().to_memory(&out);
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        let mut last = seen.batches().pop().unwrap().1;
        last.sort_unstable();
        assert_eq!(place.rows("SELECT k, v FROM sums ORDER BY k"), last, "{workers} workers");
    }
}

fn started(file: &Path, table: Table, checkpoint: Option<&Path>) -> tidemill::Result<Summary> {
    let file = file.to_owned();
    let job = StreamingContext::builder("sums", millis(1)).output_tries(2);
    let job = match checkpoint {
        Some(dir) => job.checkpoint(dir),
        None => job.without_checkpoint(),
    };
    let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
        ssc.test_stream(given(4)).to_sqlite(&file, table.clone());
        Ok(())
    });
    job?.await_termination()
}

#[test]
fn a_table_that_does_not_take_the_rows_is_refused_with_the_statement_that_makes_it() {
    let place = Place::new("sqlite-start", "CREATE TABLE sums (k INTEGER, v INTEGER)");
    let e = started(&place.file, sums(), None).unwrap_err().to_string();
    assert!(e.contains("the table sums of SQLite does not take these rows") && e.contains("ON CONFLICT"), "{e}");
    let create = &e[e.find("CREATE TABLE").unwrap()..];
    assert_eq!(create, r#"CREATE TABLE "sums" ("k" INTEGER, "v" INTEGER, PRIMARY KEY ("k"))"#);
    place.execute(&format!("DROP TABLE sums; {create}"));
    started(&place.file, sums(), None).unwrap();
    assert_eq!(place.rows("SELECT k, v FROM sums ORDER BY k").len(), 5);
    let e = started(&place.dir.join("missing.db"), sums(), None).unwrap_err().to_string();
    assert!(e.contains("there is no connection to SQLite") && e.contains("missing.db"), "{e}");
    let e = started(&place.file, Table::new("sums").integer("k").text("w"), None).unwrap_err().to_string();
    assert!(e.contains("no column named w"), "{e}");
    let narrow = Table::new("sums").integer("k");
    let e = started(&place.file, narrow, None).unwrap_err().to_string();
    assert!(e.contains("more values than the table has columns, 1") && e.contains("tried 1 times"), "{e}");
}

#[test]
fn a_run_that_is_shut_out_writes_nothing() {
    let place = Place::new("sqlite-fenced", CREATE);
    let checkpoint = place.dir.join("checkpoint");
    started(&place.file, sums().exactly_once(), Some(&checkpoint)).unwrap();
    let before = place.rows("SELECT k, v FROM sums ORDER BY k");
    place.execute("UPDATE tidemill_progress SET owner = 99");
    let e = started(&place.file, sums().exactly_once(), Some(&checkpoint)).unwrap_err().to_string();
    assert!(e.contains("generation 99 of this job writes there already"), "{e}");
    place.execute("UPDATE tidemill_progress SET owner = 0");
    let other = place.dir.join("other");
    let e = started(&place.file, sums().exactly_once(), Some(&other)).unwrap_err().to_string();
    assert!(e.contains("was written by the checkpoint directory"), "{e}");
    assert_eq!(place.rows("SELECT k, v FROM sums ORDER BY k"), before);
}
