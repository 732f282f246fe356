//! Whether a job keeps up with its input, in one sentence.

use std::sync::Arc;
use std::time::Duration;

use crate::core::time::{counted, grouped, human_duration};
use crate::metrics::{BatchInfo, Now};

/// How many batches the judgement looks back.
const RECENT: usize = 20;
/// A batch may begin later than its time by a batch interval, and at least by this.
const LATE: Duration = Duration::from_millis(100);
/// For how long no batch may be completed, beyond three batch intervals and the delay of the last batch.
const STILL: Duration = Duration::from_secs(5);
/// With a longer processing time, in percent of the batch interval, there is little room.
const TIGHT: u32 = 80;

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Starting,
    /// Batches follow one another without waiting for the clock.
    Given,
    KeepsUp,
    Tight,
    Behind,
    /// No batch is completed.
    Still,
}

impl Pace {
    /// The word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Pace::Starting => "starting",
            Pace::Given => "given",
            Pace::KeepsUp => "keeps up",
            Pace::Tight => "little room",
            Pace::Behind => "behind",
            Pace::Still => "still",
        }
    }
}

/// Judges a job by its last batches.
pub(crate) fn verdict(now: &Now, interval: Duration) -> (Pace, String) {
    let (Some(last), Some(completed)) = (now.history.last(), now.history.completed) else {
        let text = if now.running { "No batch is complete yet." } else { "The job starts." };
        return (Pace::Starting, text.into());
    };
    let silent = completed.elapsed();
    if silent > STILL + 3 * interval + last.total_delay() {
        let s = &now.statistics;
        let (silent, waiting) = (human_duration(silent), grouped(s.waiting_bytes));
        let flight = counted(s.in_flight as u64, "batch");
        return (
            Pace::Still,
            format!("No batch was completed for {silent}: {flight} in flight, {waiting} bytes wait at the outputs."),
        );
    }
    let mut recent: Vec<&Arc<BatchInfo>> = now.history.batches().rev().take(RECENT).filter(|b| b.on_clock).collect();
    recent.reverse();
    let Some(first) = recent.first().filter(|_| last.on_clock) else {
        return (Pace::Given, "The batches are given: they run one after the other, without waiting for the clock.".into());
    };
    let processing = recent.iter().map(|b| b.processing_time).sum::<Duration>() / recent.len() as u32;
    let takes = format!("a batch takes {}, and the interval is {}", human_duration(processing), human_duration(interval));
    let late = last.scheduling_delay;
    if late > interval.max(LATE) {
        let late_by = human_duration(late);
        return match late < first.scheduling_delay {
            true => {
                let before = human_duration(first.scheduling_delay);
                (Pace::Behind, format!("It catches up: the last batch began {late_by} late, an earlier one {before}."))
            }
            false => (Pace::Behind, format!("It falls behind: the last batch began {late_by} late; {takes}.")),
        };
    }
    if let (Some(before), Some(lag)) = (first.lag(), last.lag())
        && recent.len() > RECENT / 2
    {
        let records = recent.iter().map(|b| b.records).sum::<u64>() / recent.len() as u64;
        let more = lag.saturating_sub(before);
        if more > 2 * records {
            let (lag, more) = (grouped(lag), grouped(more));
            let ago = counted(recent.len() as u64 - 1, "batch");
            return (Pace::Behind, format!("It reads less than arrives: {lag} records wait, {more} more than {ago} ago."));
        }
    }
    if processing * 100 > interval * TIGHT {
        return (Pace::Tight, format!("It keeps up, with little room: {takes}."));
    }
    (Pace::KeepsUp, format!("It keeps up: {takes}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::OffsetRange;
    use crate::core::time::{BatchTime, millis, secs};
    use crate::metrics::{InputInfo, Metrics};

    /// The verdict after these batches of one second: scheduling delay and processing time in milliseconds, records, and lag.
    fn after(batches: impl IntoIterator<Item = (u64, u64, u64, u64)>) -> (Pace, String) {
        let metrics = Metrics::default();
        metrics.keep_batches();
        metrics.begin(BatchTime::default(), vec!["numbers".into()], &[], &[], None);
        for (scheduling, processing, records, lag) in batches {
            let range = OffsetRange::new("numbers", 0, 0, records as i64);
            metrics.complete(
                &BatchInfo {
                    records,
                    inputs: vec![InputInfo { source: 0, range, records, bytes: 0, lag: Some(lag), lag_time: None }],
                    scheduling_delay: millis(scheduling),
                    processing_time: millis(processing),
                    on_clock: true,
                    ..BatchInfo::default()
                },
                &[],
            );
        }
        verdict(&metrics.now(), secs(1))
    }

    #[test]
    fn a_job_is_judged_by_its_last_batches() {
        let keeps = after([(3, 12, 10, 0); 30]);
        assert_eq!(keeps, (Pace::KeepsUp, "It keeps up: a batch takes 12 ms, and the interval is 1 s.".into()));
        let tight = after([(3, 900, 10, 0)]);
        assert_eq!((tight.0, tight.1.contains("little room: a batch takes 900 ms")), (Pace::Tight, true), "{tight:?}");
        let behind = after((0..30).map(|n| (n * 400, 1_400, 10, 0)));
        assert_eq!((behind.0, behind.1.contains("began 11 s late; a batch takes 1.4 s")), (Pace::Behind, true), "{behind:?}");
        let catches = after((0..30).map(|n| (20_000 - n * 600, 400, 10, 0)));
        assert!(catches.1.contains("catches up: the last batch began 2.6 s late, an earlier one 14 s"), "{catches:?}");
        let grows = after((0..30).map(|n| (0, 100, 10, n * 100)));
        assert!(grows.1.contains("2,900 records wait, 1,900 more than 19 batches ago"), "{grows:?}");
        let burst = after((0..30).map(|n| (0, 100, 10, if n == 29 { 15 } else { 0 })));
        assert_eq!(burst.0, Pace::KeepsUp, "less than two batches wait");
    }

    #[test]
    fn a_job_that_has_no_batch_or_given_ones_is_not_judged() {
        let metrics = Metrics::default();
        assert_eq!(verdict(&metrics.now(), secs(1)).0, Pace::Starting);
        metrics.begin(BatchTime::default(), Vec::new(), &[], &[], None);
        assert_eq!(verdict(&metrics.now(), secs(1)).1, "No batch is complete yet.");
        metrics.complete(&BatchInfo { scheduling_delay: secs(900), ..BatchInfo::default() }, &[]);
        assert_eq!(verdict(&metrics.now(), secs(1)).0, Pace::Given);
    }
}
