//! The harness: runs a verb over given batches at 1, 2 and 4 workers, on a clock that starts at 0, and compares its output.
//!
//! The feature `testing` makes it public, so that programs test their own verbs the same way.

#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod keys;
pub(crate) mod temp_dir;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::context::{Build, StreamingContext};
use crate::api::dstream::DStream;
use crate::checkpoint::Directory;
use crate::connector::memory::MemorySink;
use crate::connector::source;
use crate::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitRange};
use crate::core::data::{Data, Exchange};
use crate::core::error::{Error, Result};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;
use crate::job::{JobHandle, ManualClock};
use crate::testing::temp_dir::TempDir;

pub use crate::testing::fuzz::{TARGETS, Target};
pub use crate::testing::keys::check_keys;

/// How many split ids a test's batches are dealt to.
const LANES: usize = 4;

/// The output: for each batch time, in units of the batch interval, its rows in order.
pub type Seen<U> = Vec<(u64, Vec<U>)>;

/// Checks the output of a verb for given batches, one per millisecond from 1 ms on, at 1, 2 and 4 workers. Rows are compared in
/// order.
///
/// # Panics
/// If the batches differ, or the job fails.
///
/// ```
/// use tidemill::testing::check;
/// check([vec![1, 2], vec![], vec![3]], |s| s.count(), [vec![2], vec![0], vec![1]]);
/// ```
pub fn check<T, U, V, const N: usize, const M: usize>(batches: [Vec<T>; N], verb: V, expected: [Vec<U>; M])
where
    T: Data + Send + Sync,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    for workers in [1, 2, 4] {
        let seen: Vec<Vec<U>> = run(workers, batches.to_vec(), verb.clone()).into_iter().map(|(_, rows)| rows).collect();
        assert_eq!(seen, expected, "at {workers} workers");
    }
}

/// Like [`check`], for a verb of two streams. Batch i of both has the same batch time.
///
/// # Panics
/// If the batches differ, or the job fails.
///
/// ```
/// use tidemill::testing::check2;
///
/// let orders = [vec![('a', 3), ('b', 1)], vec![('b', 2)]];
/// let prices = [vec![('a', 10)], vec![('b', 20)]];
/// check2(orders, prices, |orders, prices| orders.join(prices), [vec![('a', (3, 10))], vec![('b', (2, 20))]]);
/// ```
pub fn check2<A, B, U, V, const N: usize, const M: usize>(first: [Vec<A>; N], second: [Vec<B>; N], verb: V, expected: [Vec<U>; M])
where
    A: Data + Send + Sync,
    B: Data + Send + Sync,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, A>, &DStream<'s, B>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    for workers in [1, 2, 4] {
        let start = Start { workers, interval: Duration::from_millis(1), first: 0, checkpoint: None };
        let (first, second, verb) = (first.to_vec(), second.to_vec(), verb.clone());
        let seen = job(start, move |ssc| verb(&ssc.test_stream(first.clone()), &ssc.test_stream(second.clone())));
        let seen: Vec<Vec<U>> = seen.expect("the job of the test").into_iter().map(|(_, rows)| rows).collect();
        assert_eq!(seen, expected, "at {workers} workers");
    }
}

/// Runs a verb over given batches, one per millisecond from 1 ms on, and returns its output.
///
/// # Panics
/// If the job fails.
pub fn run<T, U, V>(workers: u16, batches: Vec<Vec<T>>, verb: V) -> Seen<U>
where
    T: Data + Send + Sync,
    U: Exchange,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Send + Sync + 'static,
{
    try_run(workers, Duration::from_millis(1), batches, verb).expect("the job of the test")
}

/// Like `run`, with a batch interval, and returns errors.
///
/// # Errors
/// The error of the job.
pub fn try_run<T, U, V>(workers: u16, interval: Duration, batches: Vec<Vec<T>>, verb: V) -> Result<Seen<U>, Error>
where
    T: Data + Send + Sync,
    U: Exchange,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Send + Sync + 'static,
{
    job(Start { workers, interval, first: 0, checkpoint: None }, move |ssc| verb(&ssc.test_stream(batches.clone())))
}

/// Runs a verb over the first batches with a checkpoint directory, and a second job on another number of workers over the other
/// batches. Returns the output of both: the same as that of one job, if the verb saves and loads all of its state.
///
/// # Panics
/// If a job fails.
pub fn run_handed_over<T, U, V>(workers: (u16, u16), first: Vec<Vec<T>>, then: Vec<Vec<T>>, verb: V) -> Seen<U>
where
    T: Data + Send + Sync,
    U: Exchange,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    let dir = TempDir::new("handed-over");
    let interval = Duration::from_millis(1);
    let start = |workers, first| Start { workers, interval, first, checkpoint: Some(dir.to_path_buf()) };
    let (after, all) = (first.len() as u64, [first.clone(), then].concat());
    let again = verb.clone();
    let seen = job(start(workers.0, 0), move |ssc| again(&ssc.test_stream(first.clone())));
    let mut seen = seen.expect("the first job of the test");
    let then = job(start(workers.1, after), move |ssc| verb(&ssc.test_stream(all.clone())));
    seen.extend(then.expect("the second job of the test"));
    assert!(dir.is_dir(), "both jobs have used the checkpoint directory");
    seen
}

/// Runs a verb over batches until the job fails, which it does when it has written batch `fails_at`, counted from 1. A second job, on another
/// number of workers, goes on from the last checkpoint. Returns the output of both: the same as that of one job, if the verb saves and loads
/// all of its state.
///
/// # Panics
/// If there is no such batch, if the second job fails, or if it writes other rows in a batch that the first one has written.
///
/// ```
/// use tidemill::testing::{run, run_restarted};
/// let batches = vec![vec![('a', 1)], vec![('b', 2)], vec![('a', 3)], vec![('b', 4)]];
/// let whole = run(1, batches.clone(), |s| s.sum_by_key().complete());
/// assert_eq!(run_restarted((2, 1), 3, batches, |s| s.sum_by_key().complete()), whole);
/// ```
pub fn run_restarted<T, U, V>(workers: (u16, u16), fails_at: u64, batches: Vec<Vec<T>>, verb: V) -> Seen<U>
where
    T: Data + Send + Sync,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    let (dir, interval) = (TempDir::new("restarted"), Duration::from_millis(1));
    let mut seen = BTreeMap::new();
    for (workers, fails_at) in [(workers.0, Some(fails_at)), (workers.1, None)] {
        let (memory, batches, verb, states) = (MemorySink::new(), batches.clone(), verb.clone(), dir.to_path_buf());
        let out = memory.clone();
        let builder = StreamingContext::builder("test", interval).workers(workers).without_logging().output_tries(1);
        let job = builder.checkpoint(dir.to_path_buf()).checkpoint_interval(interval);
        let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
            let (rows, states) = (ssc.test_stream(batches.clone()), states.clone());
            verb(&rows).to_memory(&out);
            rows.count().foreach_batch(move |batch| {
                if fails_at != Some(batch.time().millis()) {
                    return Ok(());
                }
                // Without a checkpoint the second job would have nothing to load.
                if fails_at > Some(1) {
                    await_checkpoint(&states)?;
                }
                Err(FAILED.into())
            });
            Ok(())
        });
        match (fails_at, job.and_then(JobHandle::await_termination)) {
            (None, end) => drop(end.expect("the second job of the test")),
            (Some(at), Ok(_)) => panic!("the first job of the test ended before batch {at}"),
            (Some(_), Err(e)) => assert!(e.to_string().contains(FAILED), "the first job of the test: {e}"),
        }
        for (time, rows) in memory.batches() {
            match seen.entry(time.millis()) {
                Entry::Vacant(entry) => _ = entry.insert(rows),
                Entry::Occupied(entry) => assert_eq!(*entry.get(), rows, "batch {} was written twice", time.millis()),
            }
        }
    }
    seen.into_iter().collect()
}

/// Why the first job of [`run_restarted`] ends.
const FAILED: &str = "the test ends this job";

/// Waits until a job has made a checkpoint.
fn await_checkpoint(dir: &Path) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(300);
    while Directory::open(dir)?.checkpoints()?.is_empty() {
        if Instant::now() > until {
            return Err(Error::config("the job of the test makes no checkpoint"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Builds a program without running it. Returns one line per operator, in build order.
///
/// # Errors
/// Every problem of the program's graph.
pub fn graph<F>(interval: Duration, program: F) -> Result<Vec<String>, Error>
where
    F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), crate::core::error::BoxError> + Send + Sync + 'static,
{
    let config = StreamingContext::builder("graph", interval).config()?;
    let build: Arc<Build> = Arc::new(program);
    Ok(crate::job::run::rehearse(&config.into(), &build)?.lines)
}

/// Checks that a checkpoint directory does everything that a store must do: for stores that tidemill's tests do not cover.
///
/// # Panics
/// If it does not. The directory must be new; its content afterwards is useless.
pub fn store(dir: &std::path::Path) {
    crate::checkpoint::check_store(dir);
}

/// How a test's job begins and ends.
struct Start {
    workers: u16,
    interval: Duration,
    /// The time of its clock, in units of the interval.
    first: u64,
    checkpoint: Option<PathBuf>,
}

fn job<U, P>(start: Start, program: P) -> Result<Seen<U>, Error>
where
    U: Exchange,
    P: for<'s> Fn(&StreamingContext<'s>) -> DStream<'s, U> + Send + Sync + 'static,
{
    let seen = MemorySink::new();
    let out = seen.clone();
    let unit = start.interval.as_millis() as u64;
    let builder = StreamingContext::builder("test", start.interval).workers(start.workers).without_logging();
    let builder = match start.checkpoint {
        Some(dir) => builder.checkpoint(dir),
        None => builder,
    };
    builder
        .start_on_clock(ManualClock::at(start.first * unit), move |ssc| {
            program(ssc).to_memory(&out);
            Ok(())
        })?
        .await_termination()?;
    Ok(seen.batches().into_iter().map(|(t, rows)| (t.millis() / unit, rows)).collect())
}

impl<'s> StreamingContext<'s> {
    /// A source of given batches, dealt over four split ids in contiguous pieces so that split id order is the order given; replayable.
    /// A job of such sources runs their batches one after another and ends. All workers read the same memory.
    #[track_caller]
    pub fn test_stream<T: Data + Send + Sync>(&self, batches: impl Into<Arc<[Vec<T>]>>) -> DStream<'s, T> {
        self.read(&OperatorId::of("test_stream"), TestSource(batches.into()))
    }
}

struct TestSource<T>(Arc<[Vec<T>]>);

impl<T: Data + Send + Sync> Source for TestSource<T> {
    type Item = T;

    fn name(&self) -> String {
        "test".into()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(TestEnumerator { batches: self.0.len() as i64, planned: 0 }))
    }

    fn reader(&self, _: &ReaderContext) -> Result<Box<dyn SourceReader<T>>> {
        Ok(Box::new(TestReader { batches: self.0.clone(), given: 0 }))
    }
}

fn split(split_id: usize) -> Split {
    Split::Kafka { topic: "test".into(), partition: split_id as i32 }
}

/// Plans the batches one by one: positions count them, in every split_id.
struct TestEnumerator {
    batches: i64,
    planned: i64,
}

impl SplitEnumerator for TestEnumerator {
    fn restore(&mut self, read: Vec<source::SplitOffset>, _: &[u8]) -> Result<()> {
        self.planned = read.iter().map(|s| s.from).max().unwrap_or(0);
        Ok(())
    }

    fn start(&mut self) -> Result<Vec<source::SplitOffset>> {
        Ok((0..LANES).map(|l| source::SplitOffset { split: split(l), from: 0 }).collect())
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        if self.finished() {
            return Ok(Vec::new());
        }
        self.planned += 1;
        let (from, until) = (self.planned - 1, self.planned);
        Ok((0..LANES).map(|l| SplitRange { split: split(l), from, until }).collect())
    }

    fn planned(&self) -> bool {
        true
    }

    fn bounded(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        self.planned >= self.batches
    }
}

/// Rows per call, as other readers emit them.
const ROWS: usize = 8192;

struct TestReader<T> {
    batches: Arc<[Vec<T>]>,
    /// Rows of the current batch that were emitted.
    given: usize,
}

impl<T: Data> SourceReader<T> for TestReader<T> {
    fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, T>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _: &mut Emit<'_, T>) -> Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, T>) -> Result<bool> {
        let (batch, part) = (&self.batches[range.from as usize], range.split.partition() as usize);
        let cut = |l: usize| batch.len() * l / LANES;
        let rows = &batch[cut(part) + self.given..cut(part + 1)];
        let rows = &rows[..rows.len().min(ROWS)];
        emit(split_id, rows.to_vec(), 0);
        self.given += rows.len();
        let done = cut(part) + self.given == cut(part + 1);
        if done {
            self.given = 0;
        }
        Ok(done)
    }
}
