//! `rate`: numbers at a steady pace, for trials and tests. The source of that name in Structured Streaming.

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::clock::{Clock, Time};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::LINES_A_CALL;

impl<'s> StreamingContext<'s> {
    /// The numbers 0, 1, 2, ..., each with its time in milliseconds since the epoch, `per_second` of them a second. Structured
    /// Streaming's source `rate`, with its columns `timestamp` and `value`.
    ///
    /// Number `n` has the time of the first start, and `n / per_second` seconds. A batch has the numbers whose time was before it was
    /// planned. A restart goes on with the next number, so what was missed meanwhile is in the first batch. Numbers come again as the
    /// same batches, and exactly-once outputs accept the stream. One worker makes the rows.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("rate", millis(10)).without_checkpoint().start(move |ssc| {
    ///     ssc.rate(1_000).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// while seen.rows().len() < 20 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully()?;
    /// let rows = seen.rows();
    /// let first = rows[0].0;
    /// assert!(rows.iter().zip(0..).all(|(row, n)| *row == (first + n, n)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rate(&self, per_second: u64) -> DStream<'s, (i64, i64)> {
        let operator = OperatorId::of("rate");
        if per_second == 0 || per_second > 1_000_000_000 {
            self.graph.report(&operator, format!("{per_second} rows a second: say a number from 1 to 1,000,000,000"));
        }
        self.read(&operator, Rate { per_second: per_second as i64, clock: self.graph.config.clock.clone() })
    }
}

struct Rate {
    per_second: i64,
    clock: Clock,
}

/// Since when numbers come. The split of a plan has it, so that a batch that runs again has the same times.
fn split(per_second: i64, since: i64) -> Split {
    Split::custom(format!("rate {per_second} a second since {since}"), 0)
}

/// The two numbers in the name of a split.
fn parsed(split: &Split) -> Option<(i64, i64)> {
    let (per_second, since) = split.name().strip_prefix("rate ")?.split_once(" a second since ")?;
    Some((per_second.parse().ok()?, since.parse().ok()?))
}

impl Source for Rate {
    type Item = (i64, i64);

    fn name(&self) -> String {
        format!("rate {}", self.per_second)
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let clock = Time::new(self.clock.clone());
        Ok(Box::new(RateEnumerator { per_second: self.per_second, since: None, next: 0, clock }))
    }

    fn reader(&self, _: &ReaderContext) -> Result<Box<dyn SourceReader<(i64, i64)>>> {
        Ok(Box::new(RateReader { given: None }))
    }
}

struct RateEnumerator {
    per_second: i64,
    since: Option<i64>,
    next: i64,
    clock: Time,
}

impl SplitEnumerator for RateEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        if let Some(at) = read.first() {
            let Some((_, since)) = parsed(&at.split).filter(|(rate, _)| *rate == self.per_second) else {
                let reason = format!("the plans have \"{}\": keep the rate, or begin in an empty directory", at.split.name());
                return Err(Error::source(format!("rate {}", self.per_second), reason));
            };
            (self.since, self.next) = (Some(since), at.from);
        } else if !snapshot.is_empty() {
            let since = postcard::from_bytes(snapshot);
            self.since = Some(since.map_err(|e| Error::source("rate", format!("its snapshot is damaged: {e}")))?);
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.since.map_or_else(Vec::new, |since| encoded(&since))
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        self.since.get_or_insert(self.clock.now() as i64);
        Ok(Vec::new())
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let Some(since) = self.since else { return Ok(Vec::new()) };
        let passed = (self.clock.now() as i64 - since).max(0);
        let until = (i128::from(passed) * i128::from(self.per_second) / 1_000) as i64;
        let from = self.next;
        self.next = until.max(from);
        Ok(vec![SplitRange { split: split(self.per_second, since), from, until: self.next }])
    }

    fn planned(&self) -> bool {
        true
    }
}

struct RateReader {
    /// The next number of a range that is partly given.
    given: Option<i64>,
}

impl SourceReader<(i64, i64)> for RateReader {
    fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, (i64, i64)>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _: &mut Emit<'_, (i64, i64)>) -> Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, (i64, i64)>) -> Result<bool> {
        let Some((per_second, since)) = parsed(&range.split) else {
            return Err(Error::source("rate", format!("the plans have \"{}\" in its place", range.split.name())));
        };
        let from = self.given.take().unwrap_or(range.from);
        let until = range.until.min(from + LINES_A_CALL as i64);
        let time = |n: i64| since + (i128::from(n) * 1_000 / i128::from(per_second.max(1))) as i64;
        let rows: Vec<(i64, i64)> = (from..until).map(|n| (time(n), n)).collect();
        let bytes = rows.len() * size_of::<(i64, i64)>();
        emit(split_id, rows, bytes);
        self.given = (until < range.until).then_some(until);
        Ok(self.given.is_none())
    }
}
