//! Tests with a real PostgreSQL, which each test starts for itself.
//!
//! `cargo test --features testing,postgres --test postgres`, or `scripts/test`.

#[allow(dead_code, reason = "the test binary main uses the rest")]
#[path = "../harness.rs"]
mod harness;
mod server;
#[path = "../connector/sums.rs"]
mod sums;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{PATIENCE, eventually};
use postgres::Client;
use server::{PASSWORD, Server};
use sums::{Row, expected, given, log, run, sums};
use temp_dir::TempDir;
use tidemill::connector::database::Table;
use tidemill::prelude::*;

const TABLES: &str = "CREATE TABLE sums (k BIGINT PRIMARY KEY, v INTEGER); CREATE TABLE log (k SMALLINT, v BIGINT)";
/// Each row takes a while.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION slow()";

fn rows(client: &mut Client, table: &str) -> Vec<Row> {
    let query = format!("SELECT k::bigint, v::bigint FROM {table} ORDER BY k, v");
    client.query(&query, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn start(server: &Server, checkpoint: &TempDir, workers: u16, batches: &[Vec<Row>]) -> tidemill::Result<JobHandle> {
    let url = server.url();
    run(checkpoint, workers, batches.to_vec(), move |rows, changed| {
        rows.to_postgres(&url, log());
        changed.to_postgres(&url, sums().exactly_once());
    })
}

#[test]
fn rows_are_in_the_tables_once_while_the_server_is_killed() {
    let mut server = Server::start("postgres-killed");
    server.client().batch_execute(&format!("{TABLES}; {SLOW}")).unwrap();
    let (checkpoint, batches) = (TempDir::made("postgres-killed-job"), given(24));
    let job = start(&server, &checkpoint, 2, &batches).unwrap();
    for written in [1, 20, 60] {
        let mut client = server.client();
        eventually("rows are written", || rows(&mut client, "log").len() >= written);
        drop(client);
        server.kill();
        server.run();
    }
    job.await_termination().unwrap();
    let mut client = server.client();
    assert_eq!((rows(&mut client, "log"), rows(&mut client, "sums")), expected(&batches));
}

#[test]
fn rows_are_in_the_tables_once_through_a_constraint_and_restarts() {
    let server = Server::start("postgres-constraint");
    let mut client = server.client();
    client.batch_execute(TABLES).unwrap();
    let (checkpoint, batches) = (TempDir::made("postgres-constraint-job"), given(13));
    client.batch_execute("ALTER TABLE log ADD CONSTRAINT not_this CHECK (v <> 73)").unwrap();
    let e = start(&server, &checkpoint, 2, &batches).unwrap().await_termination().unwrap_err().to_string();
    assert!(
        e.contains("to_postgres") && e.contains("the table log") && e.contains("not_this") && e.contains("tried 1 times"),
        "{e}"
    );
    assert!(rows(&mut client, "log").iter().all(|(_, v)| *v != 73));
    client.batch_execute("ALTER TABLE log DROP CONSTRAINT not_this").unwrap();
    for workers in [1, 4] {
        start(&server, &checkpoint, workers, &batches).unwrap().await_termination().unwrap();
        assert_eq!((rows(&mut client, "log"), rows(&mut client, "sums")), expected(&batches), "{workers} workers");
    }
}

/// Refused rows lie among others. What is refused is in the transaction of the rest, so a restart adds nothing.
#[test]
fn rows_that_a_constraint_refuses_are_dead_letters_once() {
    let server = Server::start("postgres-dead");
    let mut client = server.client();
    client.batch_execute("CREATE TABLE log (k SMALLINT NOT NULL, v BIGINT UNIQUE CHECK (v % 7 <> 3))").unwrap();
    let (checkpoint, url) = (TempDir::made("postgres-dead-job"), server.url());
    let batches: Vec<Vec<Row>> = (0..4).map(|b| (0..1_500).map(|n| (n % 5, 1_000 * b + n)).collect()).collect();
    for workers in [1, 2, 4] {
        let (url, queue) = (url.clone(), QueueSource::from_batches(batches.clone()));
        let job = StreamingContext::builder("dead letters", millis(10)).workers(workers).checkpoint(&*checkpoint);
        job.run(move |ssc| {
            let table = Table::new("log").integer("k").integer("v").dead_letters("refused").shards(3);
            ssc.queue_stream(&queue).to_postgres(&url, table);
            Ok(())
        })
        .unwrap();
        let mut taken: Vec<i64> = rows(&mut client, "log").into_iter().map(|(_, v)| v).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..4_500).filter(|v| v % 7 != 3).collect::<Vec<_>>(), "{workers} workers");
        let all = batches.iter().flatten().count() - taken.len();
        let count = |client: &mut Client, of: &str| -> i64 {
            client.query_one(&format!("SELECT count(*) FROM refused WHERE {of}"), &[]).unwrap().get(0)
        };
        assert_eq!(count(&mut client, "true"), all as i64);
        let checked = batches.iter().flatten().filter(|(_, v)| v % 7 == 3).count();
        assert_eq!(count(&mut client, "table_name = 'log' AND reason LIKE '%check constraint%'"), checked as i64);
        assert_eq!(count(&mut client, "(row_json::json->>'v')::bigint % 7 = 3"), checked as i64);
    }
}

/// Each row of the log counts in two totals. Between them its transaction waits for whoever holds the advisory lock 1.
const TOTALS: &str = "CREATE TABLE totals (k INTEGER PRIMARY KEY, n BIGINT); INSERT INTO totals VALUES (0, 0), (1, 0);
    CREATE OR REPLACE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
        UPDATE totals SET n = n + 1 WHERE k = 0; PERFORM pg_advisory_xact_lock_shared(1);
        UPDATE totals SET n = n + 1 WHERE k = 1; RETURN NEW; END';
    CREATE TRIGGER tally BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION tally()";

/// How often a batch was tried, at most.
#[derive(Default)]
struct Tries(AtomicU32);

impl StreamingListener for Tries {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        batch.outputs.iter().for_each(|output| _ = self.0.fetch_max(output.tries, Ordering::Relaxed));
    }
}

fn holds(client: &mut Client, query: &str) -> bool {
    client.query_one(query, &[]).unwrap().get(0)
}

/// Runs a job whose first transaction stands still with one total written, until `meanwhile` has made it impossible. Each row must be in the
/// log once, and in both totals, at a second try. `added` is what `meanwhile` adds to the second total.
fn written_once_although(server: &Server, exactly_once: bool, added: i64, meanwhile: impl FnOnce(&mut Client)) {
    let (mut client, mut gate, url) = (server.client(), server.client(), server.url());
    client.batch_execute(&format!("DROP TABLE IF EXISTS log, sums, totals; {TABLES}; {TOTALS}")).unwrap();
    gate.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    let (checkpoint, batches) = (TempDir::made("postgres-again-job"), given(12));
    let log = Table::new("log").integer("k").integer("v");
    let log = if exactly_once { log.exactly_once() } else { log };
    let job = run(&checkpoint, 2, batches.clone(), move |rows, _| rows.to_postgres(&url, log.clone())).unwrap();
    let tries = Arc::new(Tries::default());
    job.add_streaming_listener(tries.clone());
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("the job waits in its transaction", || holds(&mut client, waits));
    meanwhile(&mut client);
    gate.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
    job.await_termination().unwrap();
    let (log, _) = expected(&batches);
    assert_eq!(rows(&mut client, "log"), log, "exactly once: {exactly_once}");
    let totals = client.query("SELECT n FROM totals ORDER BY k", &[]).unwrap();
    let totals: Vec<i64> = totals.iter().map(|row| row.get(0)).collect();
    assert_eq!(totals, [log.len() as i64, log.len() as i64 + added], "exactly once: {exactly_once}");
    assert!(tries.0.load(Ordering::Relaxed) > 1, "exactly once: {exactly_once}");
}

/// The job holds the total that another client waits for, and then wants the one that this client holds. Only the job looks for deadlocks.
#[test]
fn rows_are_in_the_table_once_if_the_job_is_the_victim_of_a_deadlock() {
    let server = Server::start("postgres-deadlock");
    server.client().batch_execute("ALTER DATABASE postgres SET deadlock_timeout = '10ms'").unwrap();
    for (deadlocks, exactly_once) in [(1, false), (2, true)] {
        let mut other = server.client();
        let mut waiting = None;
        written_once_although(&server, exactly_once, 0, |client| {
            let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
            other.batch_execute("SET deadlock_timeout = '1h'; BEGIN; UPDATE totals SET n = n WHERE k = 1").unwrap();
            waiting = Some(std::thread::spawn(move || other.batch_execute("UPDATE totals SET n = n WHERE k = 0; COMMIT")));
            let waits = format!("SELECT cardinality(pg_blocking_pids({pid})) > 0");
            eventually("the other client waits for the job", || holds(client, &waits));
        });
        waiting.unwrap().join().unwrap().unwrap();
        let mut client = server.client();
        let query = format!("SELECT deadlocks = {deadlocks} FROM pg_stat_database WHERE datname = 'postgres'");
        eventually("PostgreSQL has counted the deadlock", || holds(&mut client, &query));
    }
}

/// With this isolation a transaction fails if it writes a row that has changed since it began.
#[test]
fn rows_are_in_the_table_once_if_a_transaction_cannot_be_serialized() {
    let server = Server::start("postgres-serialized");
    server.client().batch_execute("ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'").unwrap();
    for exactly_once in [false, true] {
        let change = "UPDATE totals SET n = n + 1000 WHERE k = 1";
        written_once_although(&server, exactly_once, 1000, |client| client.batch_execute(change).unwrap());
    }
}

/// A newer run takes the tables while the older one writes.
#[test]
fn a_run_that_is_shut_out_writes_nothing_more() {
    let server = Server::start("postgres-fenced");
    let mut client = server.client();
    client.batch_execute(&format!("{TABLES}; {SLOW}")).unwrap();
    let (checkpoint, batches) = (TempDir::made("postgres-fenced-job"), given(24));
    let job = start(&server, &checkpoint, 1, &batches).unwrap();
    eventually("rows are written", || !rows(&mut client, "log").is_empty());
    client.batch_execute("UPDATE tidemill_progress SET owner = 99").unwrap();
    let then = (rows(&mut client, "log"), rows(&mut client, "sums"));
    let e = job.await_termination().unwrap_err().to_string();
    assert!(e.contains("generation 99 of") && e.contains("this run is shut out"), "{e}");
    assert_eq!((rows(&mut client, "log"), rows(&mut client, "sums")), then);
    let e = start(&server, &checkpoint, 1, &batches).unwrap().await_termination().unwrap_err().to_string();
    assert!(e.contains("generation 99 of this job writes there already"), "{e}");
    client.batch_execute("UPDATE tidemill_progress SET owner = 0").unwrap();
    start(&server, &checkpoint, 1, &batches).unwrap().await_termination().unwrap();
    assert_eq!((rows(&mut client, "log"), rows(&mut client, "sums")), expected(&batches));
}

#[test]
fn a_table_is_what_a_view_is() {
    let server = Server::start("postgres-changes");
    let mut client = server.client();
    client.batch_execute(TABLES).unwrap();
    let (checkpoint, batches, url) = (TempDir::made("postgres-changes-job"), given(17), server.url());
    let seen = MemorySink::new();
    let out = seen.clone();
    let job = run(&checkpoint, 2, batches, move |rows, _| {
        let top = rows.sum_by_key().top_by(3, |(_, v)| v % 100);
        top.changes().changes_to_postgres(&url, sums());
        top.complete().to_memory(&out);
    });
    job.unwrap().await_termination().unwrap();
    let mut last = seen.batches().pop().unwrap().1;
    last.sort_unstable();
    assert_eq!(rows(&mut client, "sums"), last);
}

type Kinds = (i64, Option<String>, Option<i64>, Option<F64>, Option<bool>);

/// A row with values of each kind, of which some are null.
fn kinds(k: i64) -> Kinds {
    let x = F64::from(k as f64 / 8.0);
    (
        k,
        (k % 3 > 0).then(|| format!("text {k}")),
        (k % 5 > 0).then_some(k % 1_000),
        (k % 7 > 0).then_some(x),
        (k % 4 > 0).then_some(k % 2 > 0),
    )
}

/// There are more rows than a statement takes.
#[test]
fn rows_of_each_kind_enter_and_leave_many_at_once() {
    let server = Server::start("postgres-kinds");
    let mut client = server.client();
    client.batch_execute("CREATE TABLE kinds (k BIGINT PRIMARY KEY, t VARCHAR(20), n SMALLINT, x REAL, b BOOLEAN)").unwrap();
    let table = Table::new("kinds").integer("k").text("t").integer("n").float("x").boolean("b").key(["k"]);
    let batches: Vec<Vec<Row>> = [0..10_000, 5_000..5_003].map(|keys| keys.map(|k| (k, 0)).collect::<Vec<Row>>()).into();
    let mut written = |leave: bool| {
        let (checkpoint, url, table) = (TempDir::made("postgres-kinds-job"), server.url(), table.clone());
        let job = run(&checkpoint, 2, batches.clone(), move |rows, _| {
            let rows = rows.map(|(k, _)| kinds(k));
            match leave {
                false => rows.to_postgres(&url, table.clone()),
                true => rows.over(millis(1), millis(1)).changes().changes_to_postgres(&url, table.clone()),
            }
        });
        job.unwrap().await_termination().unwrap();
        let found = client.query("SELECT k, t, n, x, b FROM kinds ORDER BY k", &[]).unwrap();
        let row = |row: &postgres::Row| -> Kinds {
            let (n, x): (Option<i16>, Option<f32>) = (row.get(2), row.get(3));
            (row.get(0), row.get(1), n.map(i64::from), x.map(|x| F64::from(f64::from(x))), row.get(4))
        };
        found.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(written(false), (0..10_000).map(kinds).collect::<Vec<_>>());
    assert_eq!(written(true), (5_000..5_003).map(kinds).collect::<Vec<_>>(), "all others have left");
}

#[test]
fn a_table_that_does_not_take_the_rows_is_refused_and_no_error_shows_the_password() {
    let mut server = Server::start("postgres-start");
    let mut client = server.client();
    let checkpoint = TempDir::made("postgres-start-job");
    let refused = |server: &Server, table: &Table| {
        let (url, table) = (server.url(), table.clone());
        let job = run(&checkpoint, 1, given(4), move |rows, _| rows.to_postgres(&url, table.clone()));
        let e = job.and_then(JobHandle::await_termination).unwrap_err().to_string();
        assert!(!e.contains(PASSWORD), "{e}");
        e
    };
    let e = refused(&server, &sums());
    let create = e[e.find("CREATE TABLE").unwrap()..].to_owned();
    assert!(e.contains("the table sums of PostgreSQL does not take these rows: relation \"sums\" does not exist"), "{e}");
    assert_eq!(create, r#"CREATE TABLE "sums" ("k" BIGINT, "v" BIGINT, PRIMARY KEY ("k"))"#);
    client.batch_execute("CREATE TABLE sums (k BIGINT, v NUMERIC)").unwrap();
    assert!(refused(&server, &sums()).contains("column \"v\" is of type numeric"));
    client.batch_execute("ALTER TABLE sums ALTER COLUMN v TYPE bigint").unwrap();
    assert!(refused(&server, &sums()).contains("no unique or exclusion constraint"));
    server.kill();
    assert!(refused(&server, &sums()).contains("there is no connection to PostgreSQL"));
    server.run();
    let mut client = server.client();
    client.batch_execute(&format!("DROP TABLE sums; {create}")).unwrap();
    let (url, empty) = (server.url(), TempDir::made("postgres-start-again"));
    run(&empty, 1, given(4), move |rows, _| rows.to_postgres(&url, sums())).unwrap().await_termination().unwrap();
    assert_eq!(rows(&mut client, "sums").len(), 5);
}
