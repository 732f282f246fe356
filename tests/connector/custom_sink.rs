//! Custom sinks that use only the public API: at least once and exactly once, through failures and restarts.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::temp_dir::TempDir;
use tidemill::connector::sink::{
    BatchId, CommitGroup, Committed, Distribution, FatalError, Part, Sink, SinkBatch, SinkContext, TransactionalSink,
};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

const BATCHES: i64 = 12;

/// The content of the database, and which calls of the sink fail.
#[derive(Default)]
struct Store {
    rows: Vec<(u64, i64)>,
    progress: BTreeMap<u32, BatchId>,
    /// The newest run that has begun.
    owner: u64,
    failing_writes: u32,
    /// How many commits still fail: before they take effect, and after.
    failing_commits: u32,
    unanswered_commits: u32,
    /// From this batch time on, every commit fails.
    broken_from: Option<u64>,
    commits: u32,
}

#[derive(Clone, Default)]
struct Database(Arc<Mutex<Store>>);

impl Database {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    fn rows(&self) -> Vec<(u64, i64)> {
        let mut rows = self.lock().rows.clone();
        rows.sort_unstable();
        rows
    }
}

fn one_less(n: &mut u32) -> bool {
    let left = *n > 0;
    *n -= u32::from(left);
    left
}

/// Writes rows into the database, exactly once, in shards.
struct Table {
    database: Database,
    shards: u32,
    context: Option<SinkContext>,
    uncommitted: BTreeMap<u32, Vec<(u64, i64)>>,
}

impl Table {
    fn new(database: &Database, shards: u32) -> Self {
        Table { database: database.clone(), shards, context: None, uncommitted: BTreeMap::new() }
    }
}

impl Sink<i64> for Table {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<i64>]) -> Result<(), BoxError> {
        if one_less(&mut self.database.lock().failing_writes) {
            return Err("no write now".into());
        }
        for part in parts {
            let rows = part.rows.iter().map(|row| (batch.time().millis(), *row));
            self.uncommitted.entry(part.number).or_default().extend(rows);
        }
        Ok(())
    }
}

impl TransactionalSink<i64> for Table {
    fn name(&self) -> String {
        "table".into()
    }

    fn shards(&self) -> u32 {
        self.shards
    }

    fn begin(&mut self, context: &SinkContext) -> Result<Vec<Committed>, BoxError> {
        assert_eq!((context.sink.as_str(), context.shard_count), ("table", self.shards));
        let mut store = self.database.lock();
        store.owner = store.owner.max(context.run.generation);
        let committed = |shard: &u32| Some(Committed { shard: *shard, batch: *store.progress.get(shard)? });
        let found = context.shards.iter().filter_map(committed).collect();
        self.context = Some(context.clone());
        Ok(found)
    }

    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError> {
        let context = self.context.as_ref().expect("begin comes first");
        let mut store = self.database.lock();
        store.commits += 1;
        if store.owner > context.run.generation {
            return Err(FatalError(format!("run {} writes here now", store.owner)).into());
        }
        if store.broken_from.is_some_and(|t| group.last.time.millis() >= t) || one_less(&mut store.failing_commits) {
            return Err("no commit now".into());
        }
        for shard in &context.shards {
            let rows = self.uncommitted.get(shard).cloned().unwrap_or_default();
            let known = store.progress.get(shard) == Some(&group.last);
            if !known && (group.checkpoint || !rows.is_empty()) {
                store.rows.extend(rows);
                store.progress.insert(*shard, group.last);
            }
        }
        if one_less(&mut store.unanswered_commits) {
            return Err("the answer is lost".into());
        }
        self.uncommitted.clear();
        Ok(())
    }
}

fn given() -> Vec<Vec<i64>> {
    (0..BATCHES).map(|b| (0..b % 4 * 3).map(|i| b * 100 + i).collect()).collect()
}

fn expected() -> Vec<(u64, i64)> {
    (1u64..).zip(given()).flat_map(|(t, rows)| rows.into_iter().map(move |row| (t, row))).collect()
}

/// Runs the batches into the table. `by_key`: after an exchange by key.
fn run(dir: &Path, workers: u16, shards: u32, by_key: bool, database: &Database) -> tidemill::Result<Summary> {
    let database = database.clone();
    let job = StreamingContext::builder("custom-sink", millis(1)).workers(workers).checkpoint(dir);
    let job = job.checkpoint_interval(millis(3)).output_tries(2).start_on_clock(ManualClock::at(0), move |ssc| {
        let rows = ssc.test_stream(given());
        let rows = if by_key { rows.map(|n| (n, 1)).reduce_by_key(|a, b| a + b).map(|(n, _)| n) } else { rows };
        rows.sink_to_exactly_once(Table::new(&database, shards));
        Ok(())
    });
    job?.await_termination()
}

#[test]
fn each_row_is_written_once_despite_temporary_failures() {
    for (workers, shards, by_key) in [(1, 1, false), (2, 5, false), (4, 3, true)] {
        let (dir, database) = (TempDir::new("custom-sink"), Database::default());
        *database.lock() = Store { failing_writes: 1, unanswered_commits: 1, ..Store::default() };
        run(&dir, workers, shards, by_key, &database).unwrap();
        assert_eq!(database.rows(), expected(), "{workers} workers, {shards} shards");
        assert_eq!(database.lock().progress.len(), shards as usize, "a checkpoint stores the progress of each shard");
    }
}

#[test]
fn a_commit_that_fails_once_is_retried_with_the_same_group() {
    let (dir, database) = (TempDir::new("custom-sink"), Database::default());
    database.lock().failing_commits = 1;
    run(&dir, 2, 2, false, &database).unwrap();
    assert_eq!(database.rows(), expected());
}

#[test]
fn a_commit_that_always_fails_ends_the_job_and_the_next_run_continues() {
    for (workers, then) in [(1, 2), (2, 4), (4, 1)] {
        let (dir, database) = (TempDir::new("custom-sink"), Database::default());
        database.lock().broken_from = Some(7);
        let end = run(&dir, workers, 4, true, &database);
        let Err(Error::Output { output, tries, reason, .. }) = end else { panic!("{end:?}") };
        assert!(output.contains("sink_to_exactly_once") && reason == "no commit now" && tries == 2, "{output}: {reason}");
        assert!(database.rows().iter().all(|(t, _)| *t < 7));
        database.lock().broken_from = None;
        run(&dir, then, 4, true, &database).unwrap();
        assert_eq!(database.rows(), expected(), "{workers} workers, then {then}");
    }
}

#[test]
fn a_commit_without_an_answer_is_found_by_the_next_run() {
    let (dir, database) = (TempDir::new("custom-sink"), Database::default());
    database.lock().unanswered_commits = 1;
    database.lock().broken_from = Some(9);
    assert!(run(&dir, 2, 2, false, &database).is_err());
    let before = database.rows();
    database.lock().broken_from = None;
    run(&dir, 2, 2, false, &database).unwrap();
    assert_eq!(database.rows(), expected());
    assert!(database.rows().starts_with(&before), "nothing was written again");
}

#[test]
fn an_earlier_run_commits_nothing_when_a_newer_one_has_taken_over() {
    let (dir, database) = (TempDir::new("custom-sink"), Database::default());
    database.lock().owner = 99;
    let e = run(&dir, 1, 1, false, &database).unwrap_err().to_string();
    assert!(e.contains("run 99 writes here now") && e.contains("tried 1 times"), "{e}");
    assert_eq!((database.rows().len(), database.lock().commits), (0, 1), "a fatal error is not tried again");
}

#[test]
fn a_sink_of_another_directory_stops_the_job_before_it_writes() {
    let (dir, other, database) = (TempDir::new("custom-sink"), TempDir::new("custom-sink"), Database::default());
    run(&dir, 1, 1, false, &database).unwrap();
    let e = run(&other, 1, 1, false, &database).unwrap_err().to_string();
    assert!(e.contains("\"table\"") && e.contains("was written by the checkpoint directory"), "{e}");
    assert_eq!(database.rows(), expected());
}

#[test]
fn missing_conditions_of_exactly_once_are_errors_at_the_start() {
    let database = Database::default();
    let e = StreamingContext::builder("needs", millis(10)).start(move |ssc| {
        let queue = QueueSource::from_batches([vec![1i64]]);
        ssc.queue_stream(&queue).sink_to_exactly_once(Table::new(&database, 129));
        ssc.queue_stream(&queue).sink_to(Logged::default(), Distribution::Parts(0));
        Ok(())
    });
    let e = e.err().unwrap().to_string();
    for what in
        ["--checkpoint DIR", "cannot be read again", "shards(129): there can be 1 to 128", "shards(0): there can be 1 to 128"]
    {
        assert!(e.contains(what), "{what}: {e}");
    }
}

/// A batch as `write` received it: its time, and each part with its number.
type Batch = (u64, Vec<(u32, Vec<i64>)>);
type Log = Arc<Mutex<Vec<Batch>>>;

/// An at-least-once sink. `script` has the answer of each flush. `None`: the rows are lost, which is an error.
#[derive(Default)]
struct Logged {
    log: Log,
    script: VecDeque<Option<bool>>,
}

impl Sink<i64> for Logged {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<i64>]) -> Result<(), BoxError> {
        assert_eq!(batch.id(), None, "there is no checkpoint directory");
        self.log.lock().unwrap().push((batch.time().millis(), parts.iter().map(|p| (p.number, p.rows.clone())).collect()));
        Ok(())
    }

    fn flush(&mut self, _: BatchTime) -> Result<bool, BoxError> {
        Ok(self.script.pop_front().unwrap_or(Some(true)).ok_or("a row is lost")?)
    }
}

fn logged(workers: u16, distribution: Distribution, script: &'static [Option<bool>]) -> Vec<Batch> {
    let log = Log::default();
    let to = log.clone();
    let job = StreamingContext::builder("logged", millis(1)).workers(workers).start_on_clock(ManualClock::at(0), move |ssc| {
        let sink = Logged { log: to.clone(), script: script.iter().copied().collect() };
        ssc.test_stream(vec![(0..8).collect(), vec![], vec![5i64]]).sink_to(sink, distribution);
        Ok(())
    });
    job.unwrap().await_termination().unwrap();
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn a_sink_gets_whole_batches_or_parts() {
    let whole = [(1, vec![(0, (0..8).collect())]), (2, vec![(0, vec![])]), (3, vec![(0, vec![5])])];
    let partitions =
        [(1, vec![(0, vec![0, 1]), (1, vec![2, 3]), (2, vec![4, 5]), (3, vec![6, 7])]), (2, vec![]), (3, vec![(3, vec![5])])];
    let shards = [(1, vec![(0, vec![0, 1, 4, 5]), (1, vec![2, 3, 6, 7])]), (2, vec![]), (3, vec![(1, vec![5])])];
    for workers in [1, 2, 4] {
        assert_eq!(logged(workers, Distribution::Gathered, &[]), whole, "{workers} workers");
        assert_eq!(logged(workers, Distribution::Local, &[]), partitions, "{workers} workers");
        assert_eq!(logged(workers, Distribution::Parts(8), &[]), partitions, "{workers} workers");
        assert_eq!(logged(workers, Distribution::Shards(2), &[]), shards, "{workers} workers");
    }
}

#[test]
fn rows_that_a_sink_lost_are_written_again() {
    let times = |script| logged(1, Distribution::Gathered, script).into_iter().map(|(t, _)| t).collect::<Vec<_>>();
    assert_eq!(times(&[Some(false), Some(false), Some(true)]), [1, 2, 3], "they arrive late, and are not written again");
    assert_eq!(times(&[None]), [1, 1, 2, 3]);
}
