//! What outputs do in a replay: their rows are shown on stdout or compared, and nothing is written where they belong.

use std::io::Write;

use crate::api::dstream::DStream;
use crate::connector::console::block;
use crate::core::data::{Exchange, encoded};
use crate::core::error::BoxError;
use crate::engine::operator_id::OperatorId;

impl<'s, T: Exchange> DStream<'s, T> {
    /// Shows the rows of each batch as lines on stdout, under the batch's time and where they would have gone.
    pub(crate) fn attach_shown(
        &self,
        site: &OperatorId,
        verb: &str,
        to: String,
        mut line: impl FnMut(&T) -> Result<String, BoxError> + Send + 'static,
    ) {
        let config = &self.node.graph.config;
        let (zone, interval) = (config.zone(), config.interval.millis());
        let (seen, name) = (config.seen(), site.to_string());
        self.attach_gathered(site, verb, move |plan, rows| {
            let lines = rows.iter().map(&mut line).collect::<Result<Vec<String>, BoxError>>()?;
            match &seen {
                Some(seen) => seen.put(plan.time, &name, lines),
                None if lines.is_empty() => {}
                None => say_block(&block(plan.time, interval, &zone, &to, &lines, false))?,
            }
            Ok(())
        });
    }

    /// What a function of the program would have got: nobody knows what it would do, so it does not run. Its rows are compared.
    pub(crate) fn attach_left_out(&self, site: &OperatorId, verb: &str) {
        let seen = self.node.graph.config.seen();
        let name = site.to_string();
        if seen.is_none() && !self.node.graph.dry && self.node.graph.on_worker_0() {
            tracing::warn!("{name} is not run in a replay, for nobody knows what it writes; --replay-foreach runs it");
        }
        self.attach_gathered(site, verb, move |plan, rows| {
            if let Some(seen) = &seen {
                let hex = |row: &T| encoded(row).iter().map(|b| format!("{b:02x}")).collect();
                seen.put(plan.time, &name, rows.iter().map(hex).collect());
            }
            Ok(())
        });
    }
}

/// Writes a line to stdout.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    say_block(&format!("{line}\n"))
}

/// Writes what belongs together to stdout.
pub(crate) fn say_block(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
