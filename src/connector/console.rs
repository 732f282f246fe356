//! `print`: the first rows of each batch on stdout, in Spark's shape.

use std::fmt::Debug;

use crate::api::dstream::DStream;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::replay::outputs::say_block;

impl<'s, T: Debug + 'static> DStream<'s, T> {
    /// Prints the first `n` rows of each batch, in process 0: a rule, `Time: 2017-01-11 17:08:55`, a rule, the rows, `...` if
    /// there are more, an empty line. Empty batches have a header too. A row that is a string is printed as it is, any
    /// other as `{:?}`. The time is local, or in `--time-zone`, with milliseconds where the batch interval has them.
    ///
    /// Rows are in the stream's order: of a source as they were read, of a counted or shuffled stream by their text.
    #[doc(alias = "pprint")]
    #[track_caller]
    pub fn print(&self, n: usize) {
        let site = OperatorId::of("print");
        let config = &self.node.graph.config;
        let (zone, interval) = (config.zone(), config.interval.millis());
        let (seen, name) = (config.seen(), site.to_string());
        self.attach_text(&site, "print", n, move |plan, rows, more| match &seen {
            Some(seen) => {
                seen.put(plan.time, &name, rows.to_vec());
                Ok(())
            }
            None => Ok(say_block(&block(plan.time, interval, &zone, "", rows, more))?),
        });
    }
}

/// One printed batch, to the byte; `to` is where else its rows would have gone.
pub(crate) fn block(
    time: BatchTime,
    interval_ms: u64,
    zone: &jiff::tz::TimeZone,
    to: &str,
    rows: &[String],
    more: bool,
) -> String {
    const RULE: &str = "-------------------------------------------";
    let at = jiff::Timestamp::from_millisecond(time.millis() as i64).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone.clone());
    let format = if interval_ms.is_multiple_of(1_000) { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S.%3f" };
    let to = if to.is_empty() { String::new() } else { format!(" -> {to}") };
    let mut text = format!("{RULE}\nTime: {}{to}\n{RULE}\n", at.strftime(format));
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
