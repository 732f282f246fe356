//! Jobs with a batch interval of minutes, hours and a day that are stopped and started again within an interval. Each start
//! continues at once, batch times are one interval apart, and no record is missing or counted twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::connector::source::*;

use super::*;
use crate::harness::eventually;
use crate::temp_dir::TempDir;

/// A day of 2023 at midnight: a multiple of all intervals here.
const MIDNIGHT: u64 = 19_600 * 86_400_000;
const INTERVALS: [Duration; 3] = [mins(5), mins(60), mins(24 * 60)];

/// One run: its clock, and its running total and the sum of the last three intervals, by batch time.
struct Run {
    clock: ManualClock,
    totals: MemorySink<i64>,
    windows: MemorySink<i64>,
    job: JobHandle,
}

impl Run {
    fn start(dir: &TempDir, interval: Duration, now: u64, read: Numbers) -> tidemill::Result<Run> {
        let (clock, totals, windows) = (ManualClock::at(now), MemorySink::new(), MemorySink::new());
        let out = (totals.clone(), windows.clone());
        let builder = StreamingContext::builder("long", interval).workers(2).checkpoint(dir.to_path_buf());
        let job = builder.start_on_clock(clock.clone(), move |ssc| {
            let numbers = ssc.from_source(read.clone());
            let total = |new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0));
            numbers.map(|n: i64| ((), n)).update_state_by_key(total).map(|((), n)| n).to_memory(&out.0);
            numbers.window(interval * 3, interval).reduce(|a, b| a + b).to_memory(&out.1);
            Ok(())
        })?;
        Ok(Run { clock, totals, windows, job })
    }

    /// Moves the clock, and waits for the batch of that time.
    fn batch(&self, time: u64) {
        self.clock.set(time);
        eventually("the batch", || [&self.totals, &self.windows].iter().all(|sink| times(sink).last() == Some(&time)));
    }
}

fn times(sink: &MemorySink<i64>) -> Vec<u64> {
    sink.batches().iter().map(|(t, _)| t.millis()).collect()
}

fn rows(sink: &MemorySink<i64>) -> Vec<(u64, Vec<i64>)> {
    sink.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect()
}

/// Numbers that a test adds while the job runs. If `replayable`, they can be read again from any position.
#[derive(Clone, Default)]
struct Numbers {
    all: Arc<Mutex<Vec<i64>>>,
    replayable: bool,
}

impl Numbers {
    fn new(replayable: bool) -> Self {
        Numbers { all: Arc::default(), replayable }
    }

    fn push(&self, n: i64) {
        self.all.lock().unwrap().push(n);
    }

    fn split(&self) -> Split {
        let split = Split::custom("numbers", 0);
        if self.replayable { split } else { Split::Received { from: "numbers".into() } }
    }
}

impl Source for Numbers {
    type Item = i64;

    fn name(&self) -> String {
        "numbers".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(NumbersEnumerator { numbers: self.clone(), known: BTreeSet::new() }))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
        Ok(Box::new(NumbersReader { numbers: self.clone(), open: None }))
    }
}

struct NumbersEnumerator {
    numbers: Numbers,
    known: BTreeSet<Split>,
}

impl SplitEnumerator for NumbersEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        self.known = read.into_iter().map(|at| at.split).collect();
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        let split = self.numbers.split();
        Ok(if self.known.contains(&split) { Vec::new() } else { vec![SplitOffset { split, from: 0 }] })
    }

    fn replayable(&self) -> bool {
        self.numbers.replayable
    }
}

struct NumbersReader {
    numbers: Numbers,
    /// The split id, and the first and the next position of the open batch.
    open: Option<(u32, i64, i64)>,
}

impl NumbersReader {
    fn give(&mut self, until: Option<i64>, emit: &mut Emit<'_, i64>) {
        let Some((id, _, next)) = &mut self.open else { return };
        let all = self.numbers.all.lock().unwrap();
        let new = &all[*next as usize..until.map_or(all.len(), |until| until as usize)];
        if !new.is_empty() {
            *next += new.len() as i64;
            emit(*id, new.to_vec(), size_of_val(new));
        }
    }
}

impl SourceReader<i64> for NumbersReader {
    fn assign(&mut self, split_id: u32, _: &Split, from: Option<i64>) -> tidemill::Result<()> {
        let from = from.unwrap_or(0);
        self.open = Some((split_id, from, from));
        Ok(())
    }

    fn read(&mut self, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        self.give(None, emit);
        Ok(false)
    }

    fn seal(&mut self, emit: &mut Emit<'_, i64>) -> tidemill::Result<Sealed> {
        self.give(None, emit);
        let Some((id, from, next)) = &mut self.open else { return Ok(Sealed::default()) };
        Ok(Sealed { ranges: [(*id, std::mem::replace(from, *next)..*next)].into_iter().collect(), ..Sealed::default() })
    }

    fn read_range(&mut self, _: u32, range: &SplitRange, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        if let Some((_, from, next)) = &mut self.open {
            (*from, *next) = (range.from, range.from);
        }
        self.give(Some(range.until), emit);
        if let Some((_, from, next)) = &mut self.open {
            *from = *next;
        }
        Ok(true)
    }
}

/// A stop within an interval writes a batch with the time of the interval's end. The next start continues with the batch after it.
#[test]
fn a_job_that_was_stopped_within_an_interval_starts_again_at_once() {
    for (interval, replayable) in INTERVALS.into_iter().flat_map(|i| [(i, true), (i, false)]) {
        let (dir, numbers, step) = (TempDir::made("long-interval"), Numbers::new(replayable), interval.as_millis() as u64);
        let run = Run::start(&dir, interval, MIDNIGHT + step / 3, numbers.clone()).unwrap();
        numbers.push(1);
        assert_eq!(run.job.stop_gracefully().unwrap(), Summary { batches: 1, records: 1, ..Summary::default() });
        let first = MIDNIGHT + step;
        assert_eq!(rows(&run.totals), [(first, vec![1])], "{interval:?}");

        let run = Run::start(&dir, interval, MIDNIGHT + step / 3 + 1, numbers.clone()).unwrap();
        numbers.push(2);
        run.clock.set(first);
        run.batch(first + step);
        numbers.push(4);
        run.batch(first + 2 * step);
        numbers.push(8);
        run.batch(first + 3 * step);
        let totals = [1, 2, 3].map(|n| first + n * step).into_iter().zip([vec![3], vec![7], vec![15]]);
        assert_eq!(rows(&run.totals), totals.collect::<Vec<_>>(), "{interval:?}");
        let windows = [1, 2, 3].map(|n| first + n * step).into_iter().zip([vec![3], vec![7], vec![14]]);
        assert_eq!(rows(&run.windows), windows.collect::<Vec<_>>(), "three intervals each: {interval:?}");
        run.job.stop_now().unwrap();
    }
}

/// Records that can be read again wait for the next run, so several stops within an interval delay it by one interval at most.
#[test]
fn several_stops_within_an_interval_plan_one_batch() {
    for interval in INTERVALS {
        let (dir, numbers, step) = (TempDir::made("long-stops"), Numbers::new(true), interval.as_millis() as u64);
        for stop in 0..4 {
            let run = Run::start(&dir, interval, MIDNIGHT + 1_000 + stop, numbers.clone()).unwrap();
            numbers.push(1 << stop);
            let planned = u64::from(stop == 0);
            assert_eq!(run.job.stop_gracefully().unwrap(), Summary { batches: planned, records: planned, ..Summary::default() });
        }
        let run = Run::start(&dir, interval, MIDNIGHT + 5_000, numbers.clone()).unwrap();
        run.batch(MIDNIGHT + 2 * step);
        assert_eq!(rows(&run.totals), [(MIDNIGHT + 2 * step, vec![15])], "{interval:?}");
        run.job.stop_now().unwrap();
    }
}

/// Records that cannot be read again get their own batch at each stop. The next start still continues at once.
#[test]
fn several_stops_within_an_interval_lose_no_received_record() {
    let (interval, dir, numbers) = (mins(60), TempDir::made("long-received"), Numbers::new(false));
    let step = interval.as_millis() as u64;
    for stop in 0..4 {
        let run = Run::start(&dir, interval, MIDNIGHT + 1_000 + stop, numbers.clone()).unwrap();
        numbers.push(1 << stop);
        assert_eq!(run.job.stop_gracefully().unwrap(), Summary { batches: 1, records: 1, ..Summary::default() });
        assert_eq!(rows(&run.totals), [(MIDNIGHT + (stop + 1) * step, vec![(2 << stop) - 1])]);
    }
    let refused = Run::start(&dir, interval, MIDNIGHT - 5 * step, numbers.clone()).and_then(|run| run.job.await_termination());
    let e = refused.expect_err("the clock was set back").to_string();
    assert!(e.contains("set the clock right"), "{e}");
    let run = Run::start(&dir, interval, MIDNIGHT + 5_000, numbers).unwrap();
    run.batch(MIDNIGHT + 5 * step);
    assert_eq!(rows(&run.totals), [(MIDNIGHT + 5 * step, vec![15])]);
    run.job.stop_now().unwrap();
}
