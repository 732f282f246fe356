//! Branches that no output reads: their verbs do not run, and their sources are not opened.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemill::api::config::RuntimeArgs;
use tidemill::connector::source::{ReaderContext, Source, SourceReader, SplitEnumerator, SplitOffset};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::temp_dir::TempDir;

/// A source that cannot be started, like a topic that does not exist. A job that opens it fails.
struct Missing;

impl Source for Missing {
    type Item = (u8, i64);

    fn name(&self) -> String {
        "missing".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(Missing))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<(u8, i64)>>> {
        Err(Error::Config("the source was opened on a worker".into()))
    }
}

impl SplitEnumerator for Missing {
    fn restore(&mut self, _: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        Err(Error::Config("the source was restored".into()))
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Err(Error::Config("the source was opened".into()))
    }
}

/// Every kind of verb in branches without an output. They read a stream that an output also reads, or a separate source.
#[test]
fn nothing_of_a_branch_without_output_runs() {
    for workers in [1, 2, 4] {
        let (calls, seen) = (Arc::new(AtomicUsize::new(0)), MemorySink::new());
        let (counted, out) = (calls.clone(), seen.clone());
        let job = StreamingContext::builder("unread", millis(1)).workers(workers);
        let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
            let rows = ssc.test_stream(vec![vec![(1u8, 2i64), (2, 3)], vec![(1, 4)]]);
            // Counts its calls.
            let call = || {
                let counted = counted.clone();
                move |row: (u8, i64)| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    row
                }
            };
            let _mapped = rows.map(call()).filter(|_| panic!("it runs"));
            let missing = ssc.from_source(Missing).map(call());
            let _united = missing.union(&rows).flat_map(|_| -> Vec<u8> { panic!("it runs") });
            let _joined = rows.map(call()).join(&missing).group_by_key().transform(|batch| batch);
            let _states = missing.update_state_by_key(|_: &[i64], _: Option<i64>| panic!("it runs"));
            let spec = StateSpec::function(|_, _: &u8, _: Option<i64>, _: &mut State<i64>| -> Option<u8> { panic!("it runs") });
            let _mapped_states = missing.map_with_state(spec).state_snapshots();
            let views = [missing.accumulate(), rows.map(call()).over(millis(4), millis(2))];
            let view = views[0].union(&views[1]).map(call()).reduce_by_key(|a, b| a + b);
            let _sorted = view.sort_by(|_| -> i64 { panic!("it runs") }).top_by(2, |(_, n)| *n).complete();
            let _counts = (view.count(), view.join(&views[1]).changes(), view.distinct().count_by_value());
            let _outer = view.full_outer_join(&views[1]).anti_join(&view.sum_by_key()).changes();
            let parsed = rows.map(call()).try_map(|_| Err::<(), BoxError>("it runs".into()));
            let _both = parsed.split();
            let _sum = rows.map(call()).reduce_by_key_and_window(|a, b| a + b, millis(4), millis(2));
            rows.sum_by_key().complete().to_memory(&out);
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 0, "at {workers} workers");
        assert_eq!(seen.rows(), [(1, 2), (2, 3), (1, 6), (2, 3)], "at {workers} workers");
    }
}

/// The sums of a source, by batch.
type Sums = Vec<(u64, Vec<((), u64)>)>;

/// One run from the previous checkpoint. Returns the sums of two sources. `second_is_read`: an output reads those of the second.
fn sums(dir: &Path, batches: u64, second_is_read: bool, drop_state: bool) -> tidemill::Result<[Sums; 2]> {
    let seen = [(); 2].map(|()| MemorySink::<((), u64)>::new());
    let out = seen.clone();
    let args = RuntimeArgs { drop_state, workers: 2, ..RuntimeArgs::default() };
    let job = StreamingContext::builder("unread", millis(1)).runtime(args).checkpoint(dir);
    let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
        let numbers = (1..=batches).map(|n| vec![((), n)]).collect::<Vec<_>>();
        let sums = [(); 2].map(|()| {
            ssc.test_stream(numbers.clone())
                .update_state_by_key(|new: &[u64], sum: Option<u64>| Some(new.iter().sum::<u64>() + sum.unwrap_or(0)))
        });
        sums[0].to_memory(&out[0]);
        if second_is_read {
            sums[1].to_memory(&out[1]);
        }
        Ok(())
    });
    job?.await_termination()?;
    Ok(seen.map(|seen| seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect()))
}

/// If the output of a branch is removed, the job does not drop the state of the branch without an error. Its source stays where it
/// was. When the output is added again, the state begins empty and the source continues.
#[test]
fn an_output_is_removed_and_added_again() {
    let dir = TempDir::new("unread");
    let [one, two] = sums(&dir, 2, true, false).unwrap();
    assert_eq!((one.last(), two.last()), (Some(&(2, vec![((), 3)])), Some(&(2, vec![((), 3)]))));
    let refused = sums(&dir, 3, false, false).unwrap_err().to_string();
    assert!(refused.contains("\"update_state_by_key#2\"") && refused.contains("no output reads it"), "{refused}");
    assert!(refused.contains("--drop-state"), "{refused}");
    let [one, two] = sums(&dir, 4, false, true).unwrap();
    assert_eq!((one.last(), two.last()), (Some(&(4, vec![((), 10)])), None));
    let [one, two] = sums(&dir, 5, true, false).unwrap();
    assert_eq!((one.last(), two.first()), (Some(&(7, vec![((), 15)])), Some(&(5, vec![((), 3)]))));
    assert_eq!(two.last(), Some(&(7, vec![((), 12)])), "batches 3 to 5 of the second source");
}
