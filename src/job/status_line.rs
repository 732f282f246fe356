//! The live line of `--status`: the progress of a running job, redrawn in place on stderr. Only process 0 has it, and only on a terminal.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use crate::api::config::RuntimeArgs;
use crate::core::time::{grouped, human_duration};
use crate::job::shared::{End, ended_within, show_status};
use crate::metrics::{Metrics, Statistics};

/// Time between two updates.
const EVERY: Duration = Duration::from_millis(500);

/// Whether this process shows the line.
pub(super) fn is_shown(args: &RuntimeArgs) -> bool {
    args.status && args.process == 0 && stderr().is_terminal()
}

/// Updates the line until the job has ended. Its end removes the line.
pub(super) fn show(metrics: &Metrics, end: &End) {
    let (mut before, mut at) = (0, Instant::now());
    while !ended_within(end, EVERY) {
        let now = metrics.snapshot();
        let rate = (now.records - before) as f64 / at.elapsed().as_secs_f64();
        (before, at) = (now.records, Instant::now());
        show_status(end, cut(text(&now, rate), width()));
    }
}

/// `batch of 2026-11-28 21:00:05 in 12 ms  1,204 records/s  in all 61,204  bad 3  lag 0`.
fn text(s: &Statistics, rate: f64) -> String {
    let mut text = match &s.last {
        Some(b) => format!("batch of {} in {}", b.time, human_duration(b.processing_time)),
        None => "no batch yet".into(),
    };
    text += &format!("  {} records/s  in all {}  bad {}", grouped(rate as u64), grouped(s.records), grouped(s.bad));
    if let Some(lag) = s.lag {
        text += &format!("  lag {}", grouped(lag));
    }
    if let Some(trouble) = s.trouble.first() {
        text += &format!("  {trouble}");
    }
    text
}

/// The columns of the terminal.
fn width() -> usize {
    let of_terminal = rustix::termios::tcgetwinsize(stderr()).map(|size| usize::from(size.ws_col)).ok();
    of_terminal.filter(|n| *n > 0).unwrap_or(100)
}

/// At most this many characters, so that the line does not wrap.
fn cut(text: String, width: usize) -> String {
    text.chars().take(width.max(20) - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::BatchTime;
    use crate::metrics::BatchInfo;

    #[test]
    fn the_line_has_the_batch_the_rate_and_what_waits() {
        let mut s = Statistics { records: 61_204, lag: Some(12_000), ..Statistics::default() };
        assert_eq!(text(&s, 0.0), "no batch yet  0 records/s  in all 61,204  bad 0  lag 12,000");
        let (time, processing_time) = (BatchTime::from_millis(1_484_154_535_000), Duration::from_millis(12));
        s.last = Some(BatchInfo { time, processing_time, ..BatchInfo::default() });
        (s.bad, s.lag, s.trouble) = (3, None, vec!["twitter: the broker does not answer".into()]);
        let line = text(&s, 1_204.9);
        let due = " in 12 ms  1,204 records/s  in all 61,204  bad 3  twitter: the broker does not answer";
        assert!(line.starts_with("batch of 2017-01-1") && line.ends_with(due), "{line}");
        assert_eq!(cut("\u{e9}".repeat(100), 50).chars().count(), 49);
    }
}
