//! The demo's messages between the blocks, on stderr. All of them are computed from the job's output, on its output thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::feed::{Event, LOUD};
use super::tally::Tally;
use crate::cli::terminal::{Terminal, grouped, sparkline};
use crate::core::data::BadRecord;
use crate::core::plan::OffsetRange;
use crate::core::time::{BatchTime, zoned};
use crate::core::time_zone;

/// Number of batches in the bar chart.
const PICTURE: usize = 20;

/// The progress, and the history from which it makes its messages.
pub struct Progress {
    terminal: Terminal,
    tally: Arc<Tally>,
    events: Receiver<Event>,
    zone: jiff::tz::TimeZone,
    interval: Duration,
    batches: Option<u64>,
    done: u64,
    told_ranges: bool,
    picture: VecDeque<u64>,
    now: Now,
    loud: Loud,
    broker: Broker,
    /// Records not read yet, as far as the source knows.
    pub lag: Option<u64>,
}

/// The current batch.
#[derive(Default)]
struct Now {
    time: BatchTime,
    records: u64,
    total: i64,
    first_bad: Option<(usize, BadRecord)>,
}

/// The loud author in the window.
#[derive(Default)]
struct Loud {
    before: i64,
    told: bool,
    most: i64,
    total_at_most: i64,
    gone: bool,
}

#[derive(Default, PartialEq)]
enum Broker {
    #[default]
    There,
    Away {
        told: bool,
        batches: u32,
    },
    Back {
        batches: u32,
    },
}

impl Progress {
    pub fn new(tally: Arc<Tally>, events: Receiver<Event>, interval: Duration, batches: Option<u64>) -> Self {
        Progress {
            terminal: Terminal::new(),
            tally,
            events,
            zone: time_zone::shown(),
            interval,
            batches,
            done: 0,
            told_ranges: false,
            picture: VecDeque::new(),
            now: Now::default(),
            loud: Loud::default(),
            broker: Broker::default(),
            lag: None,
        }
    }

    /// A line outside of any batch.
    pub fn say(&mut self, line: &str) {
        self.terminal.say(line);
    }

    /// A batch begins: its blocks are printed after this.
    pub fn begin(&mut self, time: BatchTime, records: u64, ranges: &[OffsetRange]) {
        self.terminal.clear();
        self.now = Now { time, records, ..Now::default() };
        if self.picture.len() == PICTURE {
            self.picture.pop_front();
        }
        self.picture.push_back(records);
        if records > 0 && !self.told_ranges {
            self.told_ranges = true;
            let topic = ranges.first().map(|r| r.topic.to_string()).unwrap_or_default();
            let shown = ranges.iter().take(4).map(|r| format!("/{} [{},{})", r.partition, r.from, r.until));
            let more = if ranges.len() > 4 { " \u{2026}" } else { "" };
            let ranges = shown.collect::<Vec<_>>().join(" ");
            self.tell(&format!("batch = {topic}{ranges}{more}: these records and no others, so it can be run again"));
        }
    }

    /// The batch has these unreadable records.
    pub fn bad(&mut self, bad: &[BadRecord]) {
        self.now.first_bad = bad.first().map(|b| (bad.len(), b.clone()));
    }

    /// The number of tweets in the window.
    pub fn total(&mut self, total: i64) {
        self.now.total = total;
    }

    /// The blocks are printed. `loud`: tweets of the loud author in the window. Writes the messages of this batch.
    pub fn end(&mut self, loud: i64) {
        self.done += 1;
        self.tell_loud(loud);
        if let Some((n, b)) = self.now.first_bad.take() {
            let what = if n == 1 { "1 record is".to_string() } else { format!("{} records are", grouped(n as u64)) };
            let offset = grouped(b.offset.max(0) as u64);
            self.tell(&format!(
                "{what} not JSON: kept apart, first at {}/{} offset {offset}: {}",
                b.origin, b.partition, b.reason
            ));
        }
        self.tell_broker();
        self.status();
    }

    fn tell_loud(&mut self, loud: i64) {
        let total = self.now.total;
        let picture = sparkline(self.picture.iter().copied());
        if loud > 0 && !self.loud.told {
            self.loud.told = true;
            let (now, before) = (grouped(loud as u64), self.loud.before);
            self.tell(&format!(
                "a burst: @{LOUD} is everywhere, {before} -> {now} in the window   {picture}   total {} and rising",
                grouped(total as u64)
            ));
        }
        // The last batch with the highest total: from then on it falls.
        if loud > 0 && total >= self.loud.total_at_most {
            (self.loud.most, self.loud.total_at_most) = (loud, total);
        }
        if loud == 0 && self.loud.before > 0 && !self.loud.gone {
            self.loud.gone = true;
            let (most, now) = (grouped(self.loud.total_at_most as u64), grouped(total as u64));
            self.tell(&format!("the burst left the window: total {most} -> {now}, by taking panes away, not by counting again"));
        }
        self.loud.before = loud;
    }

    fn tell_broker(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.broker = match (event, &self.broker) {
                (Event::Gone, _) => Broker::Away { told: false, batches: 0 },
                (Event::Back, Broker::Away { batches, .. }) => Broker::Back { batches: *batches },
                (Event::Back, _) => Broker::There,
            };
        }
        let records = self.now.records;
        match &mut self.broker {
            Broker::Away { told, batches } if records == 0 => {
                *batches += 1;
                if !std::mem::replace(told, true) {
                    self.tell("broker gone: batches go on, empty");
                }
            }
            Broker::Back { batches } if records > 0 => {
                let silence = (self.interval * *batches).as_secs_f64();
                self.broker = Broker::There;
                let silence = if silence > 0.0 { format!(" after {silence} s of empty batches") } else { String::new() };
                self.tell(&format!("broker back{silence}: {} tweets at once", grouped(records)));
            }
            Broker::Back { batches } => *batches += 1,
            _ => {}
        }
    }

    fn tell(&mut self, what: &str) {
        let at = zoned(self.now.time.millis(), self.zone.clone()).strftime("%H:%M:%S").to_string();
        self.terminal.whisper(&format!("~ {at}  {what}"));
    }

    fn status(&mut self) {
        if !self.terminal.live() {
            return;
        }
        let picture = sparkline(self.picture.iter().copied());
        let rate = grouped((self.now.records as f64 / self.interval.as_secs_f64()) as u64);
        let latency = match self.tally.latency() {
            Some([p50, p95, _]) => format!("batch p50 {}  p95 {}  ", millis(p50), millis(p95)),
            None => String::new(),
        };
        let lag = self.lag.map_or_else(String::new, |n| format!("lag {}  ", grouped(n)));
        let bad = grouped(self.tally.bad_so_far());
        let (done, of) = (self.done, self.batches.map_or(String::new(), |of| format!("/{of}")));
        self.terminal.draw(&format!("[{done:>3}{of}] {picture}  {rate}/s  {latency}{lag}bad {bad}"));
    }
}

/// `1.9 ms`.
pub fn millis(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1e3)
}
