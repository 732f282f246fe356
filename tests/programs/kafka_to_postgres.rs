//! `kafka_to_postgres` with a real PostgreSQL: the table has each count once, whenever the program is killed.

#[path = "../postgres/server.rs"]
mod server;

use std::collections::BTreeMap;

use self::server::Server;
use crate::broker::{Broker, Value};
use crate::child::{PATIENCE, TempDir, TempFile, run};
use crate::golden::Layout;
use crate::model::{Batch, Input, counts};

const LINES: &[&[Value]] = &[
    &[Some(b"to be or not to be"), Some(b"that is the question"), Some(b"not \xff text"), None],
    &[Some(b"to die to sleep"), Some("\u{fc}ber na\u{ef}ve".as_bytes()), Some(b"to be")],
];

const BATCHES: &[Batch] = &[
    Batch { time: "2016-09-25 11:34:31", ranges: Some(&[(0, 0, 1), (1, 0, 1)]) },
    Batch { time: "2016-09-25 11:34:32", ranges: Some(&[(0, 1, 3)]) },
    Batch { time: "2016-09-25 11:34:33", ranges: Some(&[]) },
    Batch { time: "2016-09-25 11:34:34", ranges: Some(&[(1, 1, 3)]) },
];

/// A broker with the lines, and a PostgreSQL with the table.
struct Pipeline {
    broker: Broker,
    plans: TempFile,
    server: Server,
    checkpoint: TempDir,
}

impl Pipeline {
    fn start(name: &str) -> Pipeline {
        let (broker, input) = (Broker::start(), Input { partitions: LINES, batches: BATCHES });
        broker.topic("test-topic", input.partitions);
        let server = Server::start(name);
        server.client().batch_execute("CREATE TABLE counts (word TEXT PRIMARY KEY, count BIGINT)").unwrap();
        Pipeline { broker, plans: input.plans_of("test-topic"), server, checkpoint: TempDir::new(name) }
    }

    /// Runs the program, which must end with this exit code; `None`: it dies.
    fn run(&self, layout: Layout, env: &[(&str, &str)], code: Option<i32>) {
        let url = self.server.url();
        let places = [self.broker.address.as_str(), "test-topic", "--postgres", &url, "--earliest"];
        let args = [&places[..], &["--plans", self.plans.path(), "--checkpoint", self.checkpoint.path()]].concat();
        let (programs, _hosts) = layout.start_with("kafka_to_postgres", &args, &[], env);
        let ended = programs.into_iter().next().unwrap().end();
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{layout:?} {env:?}: {}", ended.err);
    }

    fn table(&self) -> BTreeMap<String, i64> {
        let rows = self.server.client().query("SELECT word, count FROM counts", &[]).unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

/// How often each word is in the lines that are a text.
fn expected() -> BTreeMap<String, i64> {
    let texts = LINES.concat().into_iter().flatten().filter_map(|line| std::str::from_utf8(line).ok());
    counts(texts.flat_map(|line| line.split(' ')))
}

#[test]
fn kafka_to_postgres_counts_each_word_once_over_kills() {
    let pipeline = Pipeline::start("kafka-to-postgres");
    let mut last = BTreeMap::new();
    // The first start plans two of four batches, so that each of the others has a transaction to die at.
    let kills = ["plan.after:2", "sink.begin:1", "sink.commit.before:1", "sink.commit.after:1"];
    for (workers, at) in [1, 2, 4, 1].into_iter().zip(kills) {
        pipeline.run(Layout { processes: 1, workers }, &[("TIDEMILL_CRASH_AT", at)], None);
        let now = pipeline.table();
        assert!(last.iter().all(|(word, count)| now.get(word) >= Some(count)), "{at}: {last:?} became {now:?}");
        last = now;
    }
    for workers in [4, 1] {
        pipeline.run(Layout { processes: 1, workers }, &[], Some(0));
        assert_eq!(pipeline.table(), expected(), "{workers} workers");
    }
}

#[test]
fn kafka_to_postgres_needs_a_checkpoint_directory_and_a_table() {
    let (broker, server) = (Broker::start(), Server::start("kafka-to-postgres-start"));
    broker.topic("test-topic", &[&[]]);
    let (url, dir) = (server.url(), TempDir::new("kafka-to-postgres-start"));
    let args = [broker.address.as_str(), "test-topic", "--postgres", &url];
    let ended = run("kafka_to_postgres", args);
    assert!(ended.code == Some(1) && ended.err.contains("needs a checkpoint directory: add --checkpoint DIR"), "{}", ended.err);
    let ended = run("kafka_to_postgres", args.iter().chain(&["--checkpoint", dir.path()]));
    let create = r#"CREATE TABLE "counts" ("word" TEXT, "count" BIGINT, PRIMARY KEY ("word"))"#;
    assert!(ended.code == Some(1) && ended.err.contains(create), "{}", ended.err);
}
