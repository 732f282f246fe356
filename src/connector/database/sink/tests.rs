use std::sync::Arc;

use super::super::sqlite::Sqlite;
use super::*;
use crate::testing::temp_dir::TempDir;

fn batch(time: u64, generation: u64) -> BatchId {
    BatchId { time: BatchTime::from_millis(time), run: RunId { directory: 7, generation }, plan: 11 * time }
}

/// With several outputs, this one may get a batch before an earlier one is committed.
#[test]
fn a_commit_takes_the_batches_of_its_group_and_progress_never_goes_back() {
    let dir = TempDir::made("sqlite-groups");
    let file = dir.join("app.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.execute_batch("CREATE TABLE log (n INTEGER)").unwrap();
    let rows = || database.query_row("SELECT group_concat(n) FROM log", [], |row| row.get::<_, Option<String>>(0)).unwrap();
    let begin = |generation| {
        let table = Table::new("log").integer("n").exactly_once();
        let writer = Writer { database: Sqlite(file.clone()), table, read: entering::<i64>, connection: None };
        let mut sink = ExactlyOnce { writer, name: "log".into(), context: None, pending: BTreeMap::new() };
        let run = batch(0, generation).run;
        let names = ("job".to_owned(), "SQLite log".to_owned());
        let context = SinkContext { job: names.0, sink: names.1, run, shards: vec![0], shard_count: 1, stop: Arc::default() };
        let found = sink.begin(&context).unwrap();
        (sink, found.first().map(|c| (c.shard, c.batch)))
    };
    let write = |sink: &mut ExactlyOnce<i64, Sqlite>, id, n| {
        sink.write(&SinkBatch::with_id(id), &[Part { number: 0, rows: vec![n] }]).unwrap();
    };
    let (mut sink, found) = begin(1);
    assert_eq!(found, None);
    (1..=3).for_each(|t| write(&mut sink, batch(t, 1), t as i64));
    sink.commit(&CommitGroup { last: batch(2, 1), checkpoint: false }).unwrap();
    assert_eq!(rows().as_deref(), Some("1,2"));
    sink.commit(&CommitGroup { last: batch(3, 1), checkpoint: false }).unwrap();
    // Its answer was lost.
    sink.commit(&CommitGroup { last: batch(3, 1), checkpoint: false }).unwrap();
    let (mut newer, found) = begin(2);
    assert_eq!(found, Some((0, batch(3, 1))));
    newer.commit(&CommitGroup { last: batch(2, 2), checkpoint: true }).unwrap();
    write(&mut sink, batch(4, 1), 4);
    let e = sink.commit(&CommitGroup { last: batch(4, 1), checkpoint: false }).unwrap_err();
    assert!(e.is::<FatalError>() && e.to_string().contains("generation 2 of"), "{e}");
    assert_eq!((rows().as_deref(), begin(3).1), (Some("1,2,3"), Some((0, batch(3, 1)))));
}
