//! Files that are deleted or archived after they were read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::disk::{put, range, until};
use crate::api::context::StreamingContext;
use crate::connector::files::cut::LineCut;
use crate::connector::files::enumerator::Directory;
use crate::connector::files::options::{CleanSource, TextFileSource};
use crate::connector::files::place::Place;
use crate::connector::files::sink_log::FileStreamSinkLog;
use crate::connector::memory::MemorySink;
use crate::connector::source::{Source, SplitEnumerator};
use crate::core::clock::Clock;
use crate::core::time::secs;
use crate::format::lines::LINE_LIMIT;
use crate::job::{JobHandle, ManualClock};
use crate::testing::temp_dir::TempDir;

/// Starts a job that reads `in` below a directory, on a clock that the test moves. `checkpoints`: their interval.
fn start(
    dir: &Path,
    clock: &ManualClock,
    checkpoints: Option<Duration>,
    files: TextFileSource,
) -> (JobHandle, MemorySink<String>) {
    let seen = MemorySink::new();
    let (out, builder) = (seen.clone(), StreamingContext::builder("cleaning", secs(5)));
    let builder = match checkpoints {
        Some(interval) => builder.checkpoint(dir.join("states")).checkpoint_interval(interval),
        None => builder.without_checkpoint(),
    };
    let job = builder.start_on_clock(clock.clone(), move |ssc| {
        ssc.text_file_stream_with(files.clone()).oks().to_memory(&out);
        Ok(())
    });
    (job.unwrap(), seen)
}

fn batch(clock: &ManualClock, ms: u64, seen: &MemorySink<String>) {
    clock.set(ms);
    until("the batch is written", || seen.batches().last().is_some_and(|(t, _)| t.millis() == ms));
}

fn made() -> TempDir {
    let dir = TempDir::made("files-clean");
    std::fs::create_dir(dir.join("in")).unwrap();
    dir
}

fn deleting(dir: &Path) -> TextFileSource {
    TextFileSource::new(dir.join("in")).existing(true).clean_source(CleanSource::Delete)
}

#[test]
fn a_file_stays_until_two_checkpoints_are_behind_its_batch() {
    let (dir, clock) = (made(), ManualClock::at(1_000_000));
    let (a, b) = (put(&dir.join("in"), "a", "a\n"), dir.join("in/b"));
    let checkpoint = |job: &JobHandle, n| until("the checkpoint is made", || job.statistics().checkpoints.made == n);
    let (job, seen) = start(&dir, &clock, Some(secs(5)), deleting(&dir));
    // A file is read when it has not changed for a batch.
    batch(&clock, 1_005_000, &seen);
    checkpoint(&job, 1);
    batch(&clock, 1_010_000, &seen);
    checkpoint(&job, 2);
    assert_eq!((seen.rows(), Path::new(&a).exists()), (vec!["a".to_owned()], true), "a restart may begin before its batch");
    put(&dir.join("in"), "b", "b\n");
    batch(&clock, 1_015_000, &seen);
    checkpoint(&job, 3);
    until("a is deleted", || !Path::new(&a).exists());
    batch(&clock, 1_020_000, &seen);
    checkpoint(&job, 4);
    job.stop_now().unwrap();
    assert_eq!((seen.rows(), b.exists()), (vec!["a".to_owned(), "b".to_owned()], true));
    // The checkpoint knows that b is to be deleted.
    let (job, seen) = start(&dir, &clock, Some(secs(5)), deleting(&dir));
    batch(&clock, 1_025_000, &seen);
    checkpoint(&job, 1);
    until("b is deleted", || !b.exists());
    job.stop_gracefully().unwrap();
    assert!(seen.rows().is_empty(), "{:?}", seen.rows());
}

#[test]
fn a_batch_that_runs_again_finds_its_files() {
    let (dir, clock, rare) = (made(), ManualClock::at(1_000_000), Some(secs(1_000)));
    let a = dir.join("in/a");
    put(&dir.join("in"), "a", "a\n");
    let (job, seen) = start(&dir, &clock, rare, deleting(&dir));
    batch(&clock, 1_005_000, &seen);
    batch(&clock, 1_010_000, &seen);
    job.stop_now().unwrap();
    assert_eq!((seen.rows(), a.exists()), (vec!["a".to_owned()], true));
    let (job, seen) = start(&dir, &clock, rare, deleting(&dir));
    batch(&clock, 1_015_000, &seen);
    // It has the first checkpoint.
    job.stop_gracefully().unwrap();
    assert_eq!((seen.rows(), a.exists()), (vec!["a".to_owned()], true));
    clock.set(1_025_000);
    let (job, seen) = start(&dir, &clock, rare, deleting(&dir));
    batch(&clock, 1_030_000, &seen);
    job.stop_gracefully().unwrap();
    assert_eq!((seen.rows(), a.exists()), (Vec::new(), false));
}

#[test]
fn without_a_checkpoint_a_file_goes_when_its_batch_is_written_and_others_stay() {
    let (dir, clock) = (made(), ManualClock::at(1_000_000));
    let input = dir.join("in");
    put(&input, "old.log", "old\n");
    let archive = CleanSource::Archive(dir.join("read"));
    let files = TextFileSource::new(&input).accept(|name| name.ends_with(".log")).clean_source(archive);
    let (job, seen) = start(&dir, &clock, None, files);
    put(&input, "new.log", "new\n");
    put(&input, "new.txt", "other\n");
    batch(&clock, 1_005_000, &seen);
    batch(&clock, 1_010_000, &seen);
    let archived = dir.join("read").join(input.strip_prefix("/").unwrap()).join("new.log");
    until("the file is archived", || archived.exists());
    // A file of the same name is another one.
    put(&input, "new.log", "newer\n");
    batch(&clock, 1_015_000, &seen);
    batch(&clock, 1_020_000, &seen);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.rows(), ["new", "newer"]);
    assert_eq!(std::fs::read_to_string(&archived).unwrap(), "new\n");
    let names: Vec<_> = std::fs::read_dir(&input).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(["old.log", "new.log", "new.txt"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
}

#[test]
fn what_cannot_be_cleaned_is_refused_at_the_start() {
    let dir = made();
    let input = dir.join("in");
    let refused = |files: TextFileSource| {
        let job = StreamingContext::builder("cleaning", secs(5)).checkpoint(dir.join("states")).start(move |ssc| {
            ssc.text_file_stream_with(files.clone()).oks().print(1);
            Ok(())
        });
        job.err().expect("the source is refused").to_string()
    };
    let source = || TextFileSource::new(&input).metadata_log(true);
    let e = refused(source().clean_source(CleanSource::Archive(input.join("old"))));
    assert!(e.contains("text_file_stream_with") && e.contains("is inside"), "{e}");
    let e = refused(source().clean_source(CleanSource::Archive(dir.join("states/old"))));
    assert!(e.contains("one must not be inside the other"), "{e}");
    put(&input, "a", "a\n");
    std::fs::create_dir(input.join("batch-5")).unwrap();
    put(&input.join("batch-5"), "part-00000", "a\n");
    FileStreamSinkLog::new(&input).add("batch-5", ["part-00000"]).unwrap();
    let e = refused(source().clean_source(CleanSource::Delete));
    assert!(e.contains("those of an output are not cleaned"), "{e}");
}

/// The enumerator of a directory, and what it plans at the end of a batch.
fn enumerator(dir: &Path, clock: &ManualClock, how: CleanSource) -> Box<dyn SplitEnumerator> {
    let directory = Directory {
        files: TextFileSource::new(dir).existing(true).clean_source(how),
        place: Arc::new(Place::plain(dir)),
        settled: secs(5),
        patience: Duration::ZERO,
        batch_bytes: 1 << 20,
        cut: LineCut::new(LINE_LIMIT, false),
        clock: Clock::Manual(clock.clone()),
    };
    directory.enumerator().unwrap()
}

#[test]
fn a_replay_cleans_nothing_and_a_restart_what_the_checkpoint_says() {
    let (dir, clock) = (TempDir::made("files-clean-enumerator"), ManualClock::at(1_000_000));
    let a = put(&dir, "a", "a\n");
    // A replay has given ranges: the enumerator is not started.
    let mut replay = enumerator(&dir, &clock, CleanSource::Delete);
    assert!(replay.awaits_checkpoints());
    replay.on_checkpointed(&[range(&a)]);
    drop(replay);
    assert!(Path::new(&a).exists());
    let mut first = enumerator(&dir, &clock, CleanSource::Delete);
    first.start().unwrap();
    clock.set(1_005_000);
    assert_eq!(first.plan().unwrap(), [range(&a)]);
    let snapshot = first.snapshot();
    drop(first);
    // A run that cleans nothing reads the checkpoint, too.
    let mut keeps = enumerator(&dir, &clock, CleanSource::Off);
    keeps.restore(Vec::new(), &snapshot).unwrap();
    keeps.start().unwrap();
    assert!(!keeps.awaits_checkpoints() && keeps.plan().unwrap().is_empty());
    drop(keeps);
    let b = put(&dir, "b", "b\n");
    let mut second = enumerator(&dir, &clock, CleanSource::Delete);
    second.restore(Vec::new(), &snapshot).unwrap();
    second.start().unwrap();
    second.on_checkpointed(&[]);
    clock.set(1_010_000);
    assert_eq!(second.plan().unwrap(), [range(&b)]);
    // Dropping it waits for its thread.
    drop(second);
    assert_eq!((Path::new(&a).exists(), Path::new(&b).exists()), (false, true));
}
