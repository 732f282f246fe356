//! `print`: the first rows of each batch on stdout, in Spark's format. Also the rows of other outputs as text.

use std::fmt::Debug;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::config::Config;
use crate::api::dstream::DStream;
use crate::connector::sink::{Part, Sink, SinkBatch};
use crate::connector::sink_task::{SinkTask, json, one_part};
use crate::core::error::BoxError;
use crate::core::time::{BatchTime, date_time};
use crate::engine::operator_id::OperatorId;
use crate::engine::output::NewOutput;
use crate::replay::request::{Capture, OutputTarget};

impl<'s, T: Debug + 'static> DStream<'s, T> {
    /// Prints the first `n` rows of each batch, in process 0. A block is a rule, `Time: 2017-01-11 17:08:55`, a rule, the rows,
    /// `...` if more rows exist, and an empty line. An empty batch prints its header. A string is printed without quotes, any
    /// other row as `{:?}`: `("tide", 2)`. Strings and characters in a row are printed as they were written, without the escapes of
    /// `{:?}`: `("नमस्ते", 1)`. The time is local, or in `--time-zone`. It shows milliseconds if the batch interval has them.
    /// Spark's `print`. For another form of a row, map it first: `.map(|(word, n)| format!("{word} {n}")).print(10)`.
    ///
    /// Rows are in the stream's order. Rows of a source are as they were read; rows of a counted or shuffled stream are ordered
    /// by their text.
    ///
    /// At least once: after a restart a batch may be printed again.
    ///
    /// # Errors
    /// If stdout cannot be written, the engine retries the whole block, for the time of `--output-retry` (default: 30
    /// seconds). Then the job stops. Part of the block may have been printed.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec!["to".to_owned(), "be".to_owned(), "or".to_owned()]]);
    /// let summary = StreamingContext::builder("print", secs(1)).run(move |ssc| {
    ///     // Prints "to", "be" and "...".
    ///     ssc.queue_stream(&queue).print(2);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!((summary.batches, summary.records), (1, 3));
    /// ```
    #[doc(alias = "pprint")]
    #[track_caller]
    pub fn print(&self, n: usize) {
        let operator = OperatorId::of("print");
        let config = &self.node.graph.config;
        let sink = FirstRows { text: TextSink::new(config, config.text_target(), &operator, ""), n };
        self.deliver_first(&operator, n, |queue| NewOutput {
            task: Box::new(SinkTask::new(queue, one_part, sink, json)),
            transactional: None,
        });
    }
}

/// Prints the first rows of a batch. It receives one row more than it prints, if more exist.
struct FirstRows {
    text: TextSink,
    n: usize,
}

impl Sink<String> for FirstRows {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<String>]) -> Result<(), BoxError> {
        let rows = parts.first().map_or(&[][..], |part| &part.rows);
        self.text.put(batch.time(), &rows[..rows.len().min(self.n)], rows.len() > self.n)
    }

    fn row_count(&self, parts: &[Part<String>]) -> u64 {
        parts.first().map_or(0, |part| part.rows.len().min(self.n) as u64)
    }
}

/// Writes each row of a batch as a line.
pub(crate) struct RowsAsText<F> {
    pub text: TextSink,
    pub line: F,
}

impl<T, F: FnMut(&T) -> Result<String, BoxError> + Send> Sink<T> for RowsAsText<F> {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        if matches!(self.text, TextSink::Discarded) {
            return Ok(());
        }
        let lines = parts.iter().flat_map(|p| &p.rows).map(&mut self.line).collect::<Result<Vec<String>, BoxError>>()?;
        match &self.text {
            TextSink::Stdout { to, .. } if lines.is_empty() && !to.is_empty() => Ok(()),
            text => text.put(batch.time(), &lines, false),
        }
    }
}

/// Where lines go.
pub(crate) enum TextSink {
    /// `to`: the destination that a replay replaces; may be empty.
    Stdout {
        zone: jiff::tz::TimeZone,
        interval_ms: u64,
        to: String,
    },
    Captured {
        capture: Capture,
        output: String,
    },
    Discarded,
}

impl TextSink {
    /// For a target that takes text. `to`: the destination that a replay replaces.
    pub fn new(config: &Config, target: OutputTarget, operator: &OperatorId, to: &str) -> TextSink {
        match target {
            OutputTarget::Captured(capture) => TextSink::Captured { capture, output: operator.to_string() },
            OutputTarget::Discarded => TextSink::Discarded,
            _ => TextSink::Stdout { zone: config.zone(), interval_ms: config.interval.millis(), to: to.into() },
        }
    }

    fn put(&self, time: BatchTime, rows: &[String], more: bool) -> Result<(), BoxError> {
        match self {
            TextSink::Stdout { zone, interval_ms, to } => write_stdout(&block(time, *interval_ms, zone, to, rows, more))?,
            TextSink::Captured { capture, output } => capture.put(time, output, rows.to_vec()),
            TextSink::Discarded => {}
        }
        Ok(())
    }
}

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether nobody reads stdout any more: its pipe is closed, as by `head`. The job then stops.
pub(crate) fn stdout_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}

/// Writes text to stdout in one piece, so other threads' output cannot interleave. If nobody reads stdout any more, the text is
/// dropped.
pub(crate) fn write_stdout(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let shown = out.is_terminal();
    let mut write = || out.write_all(text.as_bytes()).and_then(|()| out.flush());
    // The live line is on a terminal. Only lines on one are written above it.
    match if shown { crate::logging::above_live(write) } else { write() } {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {
            STDOUT_CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written,
    }
}

/// One printed batch, byte for byte; `to` is the destination that a replay replaces.
pub(crate) fn block(
    time: BatchTime,
    interval_ms: u64,
    zone: &jiff::tz::TimeZone,
    to: &str,
    rows: &[String],
    more: bool,
) -> String {
    const RULE: &str = "-------------------------------------------";
    let at = date_time(time.millis(), zone.clone(), !interval_ms.is_multiple_of(1_000));
    let to = if to.is_empty() { String::new() } else { format!(" -> {to}") };
    let mut text = format!("{RULE}\nTime: {at}{to}\n{RULE}\n");
    for row in rows {
        text += row;
        text.push('\n');
    }
    if more {
        text += "...\n";
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_sparks_shape() {
        let t = BatchTime::from_millis(1_484_154_535_000);
        let utc = jiff::tz::TimeZone::UTC;
        let rows = ["Tweets this batch: 782".to_string()];
        let rule = "-".repeat(43);
        assert_eq!(
            block(t, 5_000, &utc, "", &rows, true),
            format!("{rule}\nTime: 2017-01-11 17:08:55\n{rule}\nTweets this batch: 782\n...\n\n")
        );
        assert_eq!(
            block(BatchTime::from_millis(5), 5, &utc, "", &[], false),
            format!("{rule}\nTime: 1970-01-01 00:00:00.005\n{rule}\n\n")
        );
        let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        assert!(block(t, 5_000, &berlin, "topic counts", &[], false).contains("18:08:55 -> topic counts\n"));
    }
}
