//! Sends records, each when it is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::generate::{ReplayPace, date};
use super::super::terminal::grouped;
use super::arguments::Pacing;
use super::output::Output;
use super::records::{Record, Records};
use crate::core::clock::{Clock, Time};
use crate::core::error::BoxError;

/// How many records are sent at once where no pace is given.
const AT_ONCE: u64 = 1_000;
/// How often a rate is looked at.
const STEP: Duration = Duration::from_millis(2);
/// How often a record that is not due is asked for, so that a signal ends the command soon.
const LOOK: Duration = Duration::from_millis(50);
/// How often the progress is told, in milliseconds.
const TELL_MS: u64 = 200;

/// How far the command is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Progress {
    pub sent: u64,
    /// Since the start, in milliseconds.
    pub elapsed: u64,
    /// The share that is sent, if it is known.
    pub done: Option<f64>,
    /// The time of the last record, if the records' own times are the pace.
    pub time: Option<u64>,
}

impl Progress {
    /// As a line, with the name of the records.
    pub fn text(&self, name: &str) -> String {
        let rate = self.sent as f64 * 1_000.0 / self.elapsed.max(1) as f64;
        let mut text = format!("{} {name}  {}/s", grouped(self.sent), grouped(rate as u64));
        if let Some(done) = self.done {
            text.push_str(&format!("  {:.0} %", (done * 100.0).floor()));
        }
        if let Some(time) = self.time {
            text.push_str(&date(time, "  %Y-%m-%d %H:%M:%S"));
        }
        text
    }
}

/// The records on their way to the output.
pub(super) struct Sending<'a, T> {
    stop: &'a AtomicBool,
    clock: Time,
    began: u64,
    count: Option<u64>,
    records: &'a mut Records,
    out: &'a mut dyn Output,
    tell: T,
    /// When the progress was told last.
    told: u64,
    sent: u64,
    record: Record,
    by_time: bool,
}

impl<'a, T: FnMut(&Progress)> Sending<'a, T> {
    pub fn new(
        stop: &'a AtomicBool,
        clock: Clock,
        count: Option<u64>,
        records: &'a mut Records,
        out: &'a mut dyn Output,
        tell: T,
    ) -> Self {
        let mut clock = Time::new(clock);
        let began = clock.now();
        let (record, by_time) = (Record::default(), false);
        Sending { stop, clock, began, count, records, out, tell, told: began, sent: 0, record, by_time }
    }

    /// Sends records until the count is reached, the source ends, or the command is stopped. Returns how many were sent.
    ///
    /// # Errors
    /// The source cannot be read, or the output refuses a record.
    pub fn run(mut self, pacing: Pacing) -> Result<u64, BoxError> {
        match pacing {
            Pacing::Free => self.at_rate(|_| AT_ONCE, Duration::ZERO)?,
            Pacing::Rate(mut pace) => self.at_rate(|elapsed| pace.due(elapsed), STEP)?,
            Pacing::Times(pace) => {
                self.by_time = true;
                self.at_own_times(pace)?;
            }
        }
        Ok(self.sent)
    }

    /// `due` says how many are, by the time since the start.
    fn at_rate(&mut self, mut due: impl FnMut(Duration) -> u64, wait: Duration) -> Result<(), BoxError> {
        while !self.is_over() {
            let elapsed = Duration::from_millis(self.clock.now() - self.began);
            let due = due(elapsed).min(self.count.unwrap_or(u64::MAX) - self.sent);
            for _ in 0..due {
                if !self.records.next(&mut self.record)? || !self.send()? {
                    return Ok(());
                }
            }
            if !self.pause()? || self.is_over() {
                return Ok(());
            }
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
        }
        Ok(())
    }

    fn at_own_times(&mut self, mut pace: ReplayPace) -> Result<(), BoxError> {
        while !self.is_over() && self.records.next(&mut self.record)? {
            let due = u64::try_from(pace.due(self.record.time).as_millis()).unwrap_or(u64::MAX).saturating_add(self.began);
            while self.clock.now() < due {
                if !self.pause()? || self.is_over() {
                    return Ok(());
                }
                std::thread::sleep(self.clock.until(due).min(LOOK));
            }
            if !self.send()? || self.sent.is_multiple_of(AT_ONCE) && !self.pause()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.count == Some(self.sent)
    }

    /// Sends the record. `false`: nobody reads any more.
    fn send(&mut self) -> Result<bool, BoxError> {
        let read = self.out.send(&mut self.record)?;
        self.sent += u64::from(read);
        Ok(read)
    }

    /// Hands over what was sent, and tells the progress. `false`: nobody reads any more.
    fn pause(&mut self) -> Result<bool, BoxError> {
        let now = self.clock.now();
        if now >= self.told + TELL_MS {
            self.told = now;
            let done = self.count.map_or_else(|| self.records.done(), |count| Some(self.sent as f64 / count as f64));
            let time = self.record.time.filter(|_| self.by_time);
            (self.tell)(&Progress { sent: self.sent, elapsed: now - self.began, done, time });
        }
        self.out.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::generate::{BEGIN_MS, Pace};
    use super::super::records::tests::lines;
    use super::*;
    use crate::core::clock::ManualClock;

    const LINES: &str = "{\"at\": 1484154535}\n{\"at\": 1484154595}\nno time\n{\"at\": 1484154565}\n{\"at\": 1484154655}\n";

    /// Keeps when each record came. A pause is when the clock goes on.
    struct Kept {
        clock: ManualClock,
        now: u64,
        step: u64,
        came: Vec<(u64, String)>,
        /// Nobody reads after this many.
        until: usize,
    }

    impl Output for Kept {
        fn send(&mut self, record: &mut Record) -> Result<bool, BoxError> {
            if self.came.len() == self.until {
                return Ok(false);
            }
            self.came.push((self.now, String::from_utf8(record.bytes.clone())?));
            Ok(true)
        }

        fn pause(&mut self) -> Result<bool, BoxError> {
            self.now += self.step;
            self.clock.set(self.now);
            Ok(true)
        }

        fn finish(self: Box<Self>, sent: u64) -> Result<u64, BoxError> {
            Ok(sent)
        }

        fn place(&self) -> String {
            String::new()
        }
    }

    /// Sends the lines on a clock that goes on by `step` at each pause. Returns when each came, and what was told.
    fn sent(pacing: Pacing, step: u64, count: Option<u64>, until: usize) -> (Vec<(u64, String)>, Vec<Progress>) {
        let clock = ManualClock::at(0);
        let mut out = Kept { clock: clock.clone(), now: 0, step, came: Vec::new(), until };
        let (stop, mut records, mut told) = (AtomicBool::new(false), lines(LINES), Vec::new());
        let tell = |p: &Progress| told.push(*p);
        let sending = Sending::new(&stop, Clock::Manual(clock), count, &mut records, &mut out, tell);
        let sent = sending.run(pacing).unwrap();
        assert_eq!(sent as usize, out.came.len());
        (out.came, told)
    }

    fn times(came: &[(u64, String)]) -> Vec<u64> {
        came.iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn lines_come_at_a_multiple_of_their_own_pace() {
        let (came, told) = sent(Pacing::Times(ReplayPace::new(60.0)), 100, None, usize::MAX);
        assert_eq!(
            times(&came),
            [0, 1_000, 1_000, 1_000, 2_000],
            "a minute is a second, and nothing waits for a line without a time"
        );
        assert_eq!(came.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), LINES.lines().collect::<Vec<_>>());
        // The line that is not due yet is the last one.
        let first = Progress { sent: 1, elapsed: 200, done: None, time: Some(BEGIN_MS + 60_000) };
        assert_eq!(told.first(), Some(&first));
        let (slow, _) = sent(Pacing::Times(ReplayPace::new(0.5)), 10_000, None, usize::MAX);
        assert_eq!(times(&slow), [0, 120_000, 120_000, 120_000, 240_000]);
    }

    #[test]
    fn a_count_ends_the_lines_and_so_does_an_output_that_nobody_reads() {
        let own = || Pacing::Times(ReplayPace::new(60.0));
        assert_eq!(times(&sent(own(), 100, Some(2), usize::MAX).0), [0, 1_000]);
        assert_eq!(times(&sent(own(), 100, None, 1).0), [0]);
        assert_eq!(times(&sent(Pacing::Free, 100, Some(3), usize::MAX).0), [0, 0, 0]);
        assert_eq!(times(&sent(Pacing::Free, 100, None, usize::MAX).0), [0; 5]);
    }

    #[test]
    fn a_rate_is_kept_on_the_clock_of_the_command() {
        let (came, told) = sent(Pacing::Rate(Pace::new(2.0)), 100, None, usize::MAX);
        assert_eq!(times(&came), [500, 1_000, 1_500, 2_000, 2_500]);
        assert_eq!(told.last().map(|p| (p.sent, p.time)), Some((5, None)));
    }

    #[test]
    fn progress_is_a_line() {
        let progress = Progress { sent: 1_200, elapsed: 2_000, done: Some(0.129), time: Some(BEGIN_MS) };
        assert_eq!(progress.text("lines"), "1,200 lines  600/s  12 %  2017-01-11 17:08:55");
        let progress = Progress { sent: 0, elapsed: 0, done: None, time: None };
        assert_eq!(progress.text("words"), "0 words  0/s");
    }
}
