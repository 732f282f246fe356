//! A custom source that can be read again: ascending numbers in several splits, at a given rate.
//! `cargo run --example custom_source [DIR]`
//!
//! Position `k` of split `p` of `n` is the number `k * n + p`. So the source can read any range again, and keeps nothing in memory.
//! Run it twice with the same DIR: the counts continue. The page of `tidemill::connector::source` shows the order of all calls.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::connector::source::*;
use tidemill::prelude::*;

/// The largest number of rows that one call emits.
const ROWS: i64 = 1_000;

/// The numbers from 0 on.
pub struct Numbers {
    /// The number of splits. It must be the same in each run.
    pub splits: i32,
    /// Numbers per second from each split.
    pub per_second: u64,
}

impl Source for Numbers {
    type Item = i64;

    fn name(&self) -> String {
        format!("numbers in {} splits", self.splits)
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(NumbersEnumerator { splits: self.splits, known: BTreeSet::new() }))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
        // Numbers are always available, so the waker is not needed.
        Ok(Box::new(NumbersReader {
            splits: self.splits.into(),
            limits: Limits::default(),
            paused: BTreeSet::new(),
            cursors: BTreeMap::new(),
        }))
    }

    fn max_rate(&self) -> MaxRate {
        MaxRate { per_second: Some(self.per_second), first_batch: None }
    }
}

/// The half for the planner: finds splits.
struct NumbersEnumerator {
    splits: i32,
    known: BTreeSet<Split>,
}

impl SplitEnumerator for NumbersEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        self.known = read.into_iter().map(|at| at.split).collect();
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        let splits = (0..self.splits).map(|p| Split::custom("numbers", p)).filter(|split| !self.known.contains(split));
        Ok(splits.map(|split| SplitOffset { split, from: 0 }).collect())
    }
}

/// The position in a split: the first one of the open batch, and the next one.
struct Cursor {
    partition: i64,
    from: i64,
    next: i64,
}

/// The half for a worker: reads its splits.
struct NumbersReader {
    splits: i64,
    limits: Limits,
    /// Splits that are ahead of others in event time.
    paused: BTreeSet<u32>,
    cursors: BTreeMap<u32, Cursor>,
}

impl Cursor {
    /// Emits the numbers before position `until`, at most `ROWS`.
    fn give(&mut self, split_id: u32, splits: i64, until: i64, emit: &mut Emit<'_, i64>) {
        let until = until.min(self.next + ROWS);
        let numbers: Vec<i64> = (self.next..until).map(|k| k * splits + self.partition).collect();
        let bytes = size_of_val(&numbers[..]);
        emit(split_id, numbers, bytes);
        self.next = until;
    }
}

impl SourceReader<i64> for NumbersReader {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> tidemill::Result<()> {
        let from = from.unwrap_or(0);
        self.cursors.insert(split_id, Cursor { partition: split.partition().into(), from, next: from });
        Ok(())
    }

    fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.paused = split_ids.clone();
    }

    fn read(&mut self, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        let mut more = false;
        for (split_id, cursor) in self.cursors.iter_mut().filter(|(split_id, _)| !self.paused.contains(split_id)) {
            let until = self.limits.of(*split_id).map_or(i64::MAX, |most| cursor.from + most as i64);
            if cursor.next < until {
                cursor.give(*split_id, self.splits, until, emit);
                more |= cursor.next < until;
            }
        }
        Ok(more)
    }

    fn read_so_far(&self) -> BTreeMap<u32, std::ops::Range<i64>> {
        self.cursors.iter().map(|(id, c)| (*id, c.from..c.next)).collect()
    }

    fn seal(&mut self, _: &mut Emit<'_, i64>) -> tidemill::Result<Sealed> {
        let range = |(id, c): (&u32, &mut Cursor)| (*id, std::mem::replace(&mut c.from, c.next)..c.next);
        Ok(Sealed { ranges: self.cursors.iter_mut().map(range).collect(), ..Sealed::default() })
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        let Some(cursor) = self.cursors.get_mut(&split_id) else {
            return Err(Error::source("numbers", format!("{} is not assigned to this reader", range.split)));
        };
        if cursor.from != range.from {
            (cursor.from, cursor.next) = (range.from, range.from);
        }
        cursor.give(split_id, self.splits, range.until, emit);
        let done = cursor.next == range.until;
        if done {
            cursor.from = range.until;
        }
        Ok(done)
    }
}

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("tidemill-custom-source"), Into::into);
    // With a checkpoint of each batch, a killed run leaves few batches to repeat, and every run makes progress.
    let job = StreamingContext::builder("custom source", millis(200)).workers(2).checkpoint(dir).checkpoint_interval(millis(200));
    let job = job.start(|ssc| {
        let numbers = ssc.from_source(Numbers { splits: 3, per_second: 10_000 });
        numbers.map(|n: i64| n % 3).count_by_value().sum_by_key().complete().print(3);
        Ok(())
    })?;
    while !job.await_termination_or_timeout(millis(50))? && job.statistics().batches < 5 {}
    let summary = job.stop_gracefully()?;
    println!("{} numbers in this run", summary.records);
    Ok(())
}
