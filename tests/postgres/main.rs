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

use harness::eventually;
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
