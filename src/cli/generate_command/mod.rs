//! `tidemill gen`: data at a rate, or at a multiple of its own pace, on stdout, into files by day, into a topic or into a stream of Kinesis.

mod arguments;
mod days;
mod output;
mod record_time;
mod records;
mod sending;

use std::process::ExitCode;
use std::time::Instant;

pub use self::arguments::Args;
use self::output::output;
use self::records::Records;
use self::sending::{Progress, Sending};
use super::stop::stop_on_signals;
use super::terminal::{Terminal, grouped};
use crate::core::clock::Clock;
use crate::core::error::BoxError;
use crate::core::time::counted;

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    args.check()?;
    let pacing = args.pacing()?;
    let interrupted = stop_on_signals()?;
    let (mut records, mut out, mut terminal) = (Records::new(args)?, output(args)?, Terminal::new());
    let (start, name, place) = (Instant::now(), args.name(), out.place());
    // Lines on stdout and a live line would be mixed up.
    let tell = |progress: &Progress| {
        if !args.is_stdout() {
            terminal.draw(&progress.text(name));
        }
    };
    let sent = Sending::new(&interrupted, Clock::System, args.count, &mut records, &mut *out, tell).run(pacing)?;
    let delivered = out.finish(sent)?;
    terminal.clear();
    if records.timeless() > 0 {
        terminal.say(&format!("{} had no time, and went with the line before", counted(records.timeless(), "line")));
    }
    // The summary is for topics, streams and files, and for people at a terminal.
    if !args.is_stdout() || terminal.live() {
        let secs = start.elapsed().as_secs_f64();
        let rate = grouped((delivered as f64 / secs.max(0.001)) as u64);
        terminal.say(&format!("{} {name}{place}, {secs:.1} s, {rate}/s", grouped(delivered)));
    }
    Ok(ExitCode::SUCCESS)
}
