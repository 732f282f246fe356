//! A checkpoint of a window writes the panes that closed since the previous checkpoint, and keeps older panes while they are needed.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill::checkpoint::{Directory, Manifest};

use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::harness::eventually;
use crate::job::{TICK, job};
use crate::temp_dir::TempDir;

/// The newest checkpoint.
fn newest_checkpoint(dir: &Path) -> Option<Manifest> {
    Directory::open(dir).ok()?.checkpoints().ok()?.into_iter().next()?.1.ok()
}

/// A job over two windows with a checkpoint at every batch.
struct Job {
    clock: ManualClock,
    queue: QueueSource<i64>,
    counts: MemorySink<(i64, i64)>,
    most: MemorySink<((), i64)>,
    job: JobHandle,
    length: u64,
}

impl Job {
    /// `from`: the time of the clock. The first batch is the one after it.
    fn start(dir: &TempDir, workers: u16, length: u64, from: u64) -> Job {
        let (clock, queue, counts, most) = (ManualClock::at(from), QueueSource::new(), MemorySink::new(), MemorySink::new());
        let (q, out) = (queue.clone(), (counts.clone(), most.clone()));
        let builder = job(workers).checkpoint(&**dir).checkpoint_interval(millis(TICK));
        let job = builder.start_on_clock(clock.clone(), move |ssc| {
            let rows = ssc.queue_stream(&q);
            let (length, slide) = (millis(length * TICK), millis(TICK));
            rows.count_by_value_and_window(length, slide).complete().to_memory(&out.0);
            rows.map(|n| ((), n)).reduce_by_key_and_window(i64::max, length, slide).complete().to_memory(&out.1);
            Ok(())
        });
        Job { clock, queue, counts, most, job: job.unwrap(), length }
    }

    /// Runs one batch, and returns its checkpoint.
    fn batch(&self, dir: &TempDir, n: u64) -> Manifest {
        self.queue.push(rows(n));
        self.clock.set(n * TICK);
        let mut made = None;
        eventually("the checkpoint of the batch", || {
            made = newest_checkpoint(dir).filter(|m| m.time.millis() == n * TICK);
            made.is_some()
        });
        made.unwrap()
    }

    /// Ends the job, and checks both windows after each batch against the batches in them. Returns the numbers of the batches.
    fn end(self) -> Vec<u64> {
        self.job.stop_now().unwrap();
        let batches = self.counts.batches();
        assert!(!batches.is_empty());
        let mut seen = Vec::new();
        for ((t, counts), (u, most)) in batches.into_iter().zip(self.most.batches()) {
            let n = t.millis() / TICK;
            seen.push(n);
            let mut expected = BTreeMap::new();
            let inside: Vec<i64> = (n.saturating_sub(self.length) + 1..=n).flat_map(rows).collect();
            inside.iter().for_each(|row| *expected.entry(*row).or_insert(0i64) += 1);
            let counts: BTreeMap<i64, i64> = counts.into_iter().collect();
            assert_eq!((t, &counts, most), (u, &expected, inside.iter().max().map(|n| ((), *n)).into_iter().collect()));
        }
        seen
    }
}

/// The rows of a batch: one key that is always there, and keys that change. Every tenth batch is empty.
fn rows(n: u64) -> Vec<i64> {
    let rows = [0, 1, 2].map(|k| (n / 7 * 3 + k) as i64 % 40 + 1);
    if n.is_multiple_of(10) { Vec::new() } else { [0].into_iter().chain(rows).collect() }
}

/// The chunks of an operator: the length of the longest list, the bytes of this checkpoint, and the bytes of all chunks.
fn chunks(m: &Manifest, operator: &str) -> (usize, u64, u64) {
    let state = m.operators.iter().find(|o| o.id.name.starts_with(operator)).expect(operator);
    let longest = state.groups.values().map(Vec::len).max().unwrap_or(0);
    let new = state.groups.values().flatten().filter(|p| p.file.time == m.time).map(|p| p.len).sum();
    (longest, new, state.bytes())
}

#[test]
fn a_window_is_written_a_pane_at_a_time() {
    let dir = TempDir::new("chunks-panes");
    let job = Job::start(&dir, 2, 20, 0);
    for n in 1..=60 {
        let m = job.batch(&dir, n);
        for operator in ["count_by_value_and_window", "reduce_by_key_and_window"] {
            let (longest, new, all) = chunks(&m, operator);
            assert!(longest <= 20, "at {n}: a list of {longest}");
            assert!(n < 20 || new * 10 <= all, "at {n}: {new} bytes of {operator}, of {all}");
            assert_eq!(new == 0, n.is_multiple_of(10), "at {n}: {new} bytes of {operator}");
        }
    }
    let files = std::fs::read_dir(dir.join("pieces")).unwrap().count();
    assert!(files <= 2 * 22, "{files} files of chunks");
    job.end();
    let found = Directory::open(&dir).unwrap().verify().unwrap();
    assert!(found.bad.is_empty() && found.chunks > 0, "{found:?}");
    // After a restart on another number of workers, old chunks stay and new ones are added.
    for (workers, from) in [(1, 60), (3, 75)] {
        let job = Job::start(&dir, workers, 20, from * TICK);
        for n in from + 1..=from + 15 {
            let (longest, new, all) = chunks(&job.batch(&dir, n), "count_by_value_and_window");
            assert!(longest <= 20 && new * 10 <= all, "at {n}: a list of {longest}, {new} bytes of {all}");
        }
        job.end();
    }
    let found = Directory::open(&dir).unwrap().verify().unwrap();
    assert!(found.bad.is_empty(), "{found:?}");
}

#[test]
fn a_long_window_has_short_lists() {
    let dir = TempDir::new("chunks-long");
    let job = Job::start(&dir, 2, 1_000, 0);
    let (mut written, mut all) = (0, 0);
    for n in 1..=170 {
        let (longest, new, bytes) = chunks(&job.batch(&dir, n), "count_by_value_and_window");
        assert!(longest <= 128, "at {n}: a list of {longest}");
        (written, all) = (written + new, bytes);
    }
    assert!(written > all, "some chunks were merged: {written} bytes written, {all} are left");
    assert!(written < 4 * all, "{written} bytes written for {all}");
    job.end();
    let job = Job::start(&dir, 3, 1_000, 170 * TICK);
    job.batch(&dir, 171);
    job.end();
}

/// If a power cut loses the manifest of the newest checkpoint, the previous one and the plans after it replace it.
#[test]
fn a11_a_lost_manifest_is_replaced_by_the_previous_one() {
    let dir = TempDir::new("chunks-name");
    let job = Job::start(&dir, 2, 20, 0);
    (1..=30).for_each(|n| drop(job.batch(&dir, n)));
    job.end();
    let newest = newest_checkpoint(&dir).unwrap();
    assert_eq!(newest.time.millis(), 30 * TICK);
    std::fs::remove_file(dir.join(newest.file().to_string())).unwrap();
    assert_eq!(newest_checkpoint(&dir).unwrap().time.millis(), 29 * TICK);
    let again = Job::start(&dir, 3, 20, 30 * TICK);
    // The job makes its checkpoint again first, because only one is in progress at a time.
    eventually("the checkpoint of the batch that ran again", || newest_checkpoint(&dir).is_some_and(|m| m.time == newest.time));
    again.batch(&dir, 31);
    assert_eq!(again.end(), [30, 31], "the batch after the older checkpoint runs again");
}
