//! The thread of a receiver: first what an earlier run has logged, then the receiver itself, until the job is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Receiver;
use super::shared::{Request, Shared};
use crate::checkpoint::received_log::{Block, ReceivedLog};
use crate::core::data::Exchange;
use crate::core::error::{Error, Result, panic_text};

/// Where the rows begin, and whether more are received.
pub(super) struct Begin {
    pub from: u64,
    pub log: Option<ReceivedLog>,
    /// `false`: the log is only read, in a replay.
    pub receives: bool,
    /// Whether planned records beyond the log may still come.
    pub awaits: bool,
}

/// Runs the receiver until the job is over. An error or a panic ends the job.
pub(super) fn run<R: Receiver>(receiver: R, shared: &Arc<Shared<R::Item>>, open: impl FnOnce() -> Result<Begin>) {
    let done = catch_unwind(AssertUnwindSafe(|| open().and_then(|begin| supervise(receiver, shared, begin))));
    let done = done.unwrap_or_else(|p| Err(Error::source(shared.name.to_string(), format!("it panicked: {}", panic_text(&*p)))));
    if let Err(e) = done {
        shared.fail(e);
    }
    shared.ended();
}

fn supervise<R: Receiver>(mut receiver: R, shared: &Arc<Shared<R::Item>>, begin: Begin) -> Result<()> {
    if let Some(log) = &begin.log {
        // Older runs are shut out before the log is read, so nothing follows what is read.
        let appender = begin.receives.then(|| log.append()).transpose()?;
        let end = log.read(begin.from, |block| {
            let (rows, bytes) = decoded::<R::Item>(&shared.name, &block, begin.from)?;
            Ok(shared.put_logged(rows, bytes))
        })?;
        if !begin.awaits {
            shared.ends_at(end as i64);
        }
        match appender {
            Some(appender) => shared.opened(appender),
            None => return Ok(()),
        }
    }
    while let Some(handle) = shared.start() {
        if let Err(e) = receiver.on_start(handle) {
            shared.failed(e.to_string());
        }
        let request = shared.next_request();
        receiver.on_stop();
        let (why, delay) = match request {
            None => return Ok(()),
            Some(Request::Restart { why, delay }) => (why, delay),
            Some(Request::Stop { why }) => {
                tracing::warn!(source = %shared.name, %why, "the receiver has stopped for the rest of the job");
                shared.pause(format!("stopped: {why}"), Duration::MAX);
                return Ok(());
            }
        };
        tracing::warn!(source = %shared.name, %why, "the receiver starts again in {delay:?}");
        shared.pause(why, delay);
    }
    Ok(())
}

/// The rows of a block from record `from` on, and about how many bytes they have.
pub(super) fn decoded<T: Exchange>(name: &str, block: &Block<'_>, from: u64) -> Result<(Vec<T>, usize)> {
    let skip = from.saturating_sub(block.first);
    let (mut rows, mut rest, mut skipped) = (Vec::new(), block.bytes, 0);
    for n in 0..u64::from(block.count) {
        let (row, after) = postcard::take_from_bytes(rest).map_err(|e| {
            let what = format!("its record {} cannot be decoded as {}: {e}", block.first + n, std::any::type_name::<T>());
            let remedy =
                "the type of its rows has changed: let the earlier program stop gracefully, or begin in an empty directory";
            Error::source(name, format!("{what}: {remedy}"))
        })?;
        rest = after;
        match n < skip {
            true => skipped = block.bytes.len() - rest.len(),
            false => rows.push(row),
        }
    }
    Ok((rows, block.bytes.len() - skipped))
}
