//! What a query did in a batch, with the keys of Spark's JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tidemill::prelude::{BatchInfo, BatchTime};

/// What a query did in one batch: Spark's `StreamingQueryProgress`. Times are in milliseconds. [`Display`](fmt::Display) is its JSON.
///
/// ```
/// use tidemill_sql::StreamingQueryProgress;
/// let progress = StreamingQueryProgress { name: Some("trips".into()), num_input_rows: 3, ..Default::default() };
/// assert!(progress.to_string().contains("\"numInputRows\":3"), "{progress}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryProgress {
    /// The query, the same after a restart.
    pub id: String,
    /// This run of the query.
    pub run_id: String,
    /// The query's name.
    pub name: Option<String>,
    /// The batch time, as `2026-11-29T16:45:00.000Z`.
    pub timestamp: String,
    /// The batch time, where Spark has a number.
    pub batch_id: i64,
    /// From the batch time until every output had processed the batch.
    pub batch_duration: u64,
    /// Records that the job read.
    pub num_input_rows: u64,
    /// Records for each second since the previous batch time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_rows_per_second: Option<f64>,
    /// Records for each second of the processing time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processed_rows_per_second: Option<f64>,
    /// `walCommit`: until the plan of the batch was made; `addBatch`: from then until all was written; `triggerExecution`: both.
    pub duration_ms: BTreeMap<String, u64>,
    /// Of a query in which a watermark closes something: `max`, the largest time of a row of the batch, and `watermark`, the one after the batch,
    /// which closes windows in this batch. Of several watermarks it is the least. Both are as `timestamp`; one that is not known is left out.
    /// Spark's `min` and `avg` are not there: rows are combined before anybody reads their times one by one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_time: BTreeMap<String, String>,
    /// Always empty: the state of a job is in the metrics of its page.
    pub state_operators: Vec<()>,
    /// What was read of each source of the job.
    pub sources: Vec<SourceProgress>,
    /// What was written.
    pub sink: SinkProgress,
}

/// What a batch read of one source.
///
/// ```
/// assert_eq!(tidemill_sql::SourceProgress::default().num_input_rows, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The topic, path or address.
    pub description: String,
    /// By partition, the first offset in the batch.
    pub start_offset: BTreeMap<String, i64>,
    /// By partition, the first offset after the batch.
    pub end_offset: BTreeMap<String, i64>,
    /// By partition, the end of the source, where it is known.
    pub latest_offset: BTreeMap<String, i64>,
    /// Records read.
    pub num_input_rows: u64,
}

/// What a batch wrote.
///
/// ```
/// assert_eq!(tidemill_sql::SinkProgress::default().num_output_rows, -1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// The format, and where it writes.
    pub description: String,
    /// Rows that came to the sink: those that leave in the mode of the query. -1 before a batch.
    pub num_output_rows: i64,
}

impl Default for SinkProgress {
    fn default() -> Self {
        SinkProgress { description: String::new(), num_output_rows: -1 }
    }
}

/// How a query is at this moment: Spark's `StreamingQueryStatus`.
///
/// ```
/// let status = tidemill_sql::StreamingQueryStatus { message: "Stopped".into(), ..Default::default() };
/// assert_eq!(status.to_string(), r#"{"message":"Stopped","isDataAvailable":false,"isTriggerActive":false}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryStatus {
    /// In words, as Spark says it.
    pub message: String,
    /// Whether the last batch had records.
    pub is_data_available: bool,
    /// Whether a batch is being processed.
    pub is_trigger_active: bool,
}

impl fmt::Display for StreamingQueryProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("a progress has no maps with other keys than texts"))
    }
}

impl fmt::Display for StreamingQueryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("a status is texts and truths"))
    }
}

impl StreamingQueryProgress {
    /// What is known of a batch of the job. `previous`: the batch time before it.
    pub(super) fn of(batch: &BatchInfo, previous: Option<BatchTime>) -> Self {
        let ms = |time: std::time::Duration| time.as_millis() as u64;
        let rate = |seconds: f64| {
            let rate = batch.records as f64 / seconds;
            rate.is_finite().then(|| (rate * 10.0).round() / 10.0)
        };
        let since = previous.map(|previous| batch.time.millis().saturating_sub(previous.millis()) as f64 / 1_000.0);
        let (plan, all) = (ms(batch.planning_time), ms(batch.processing_time));
        let durations = [("walCommit", plan), ("addBatch", all.saturating_sub(plan)), ("triggerExecution", all)];
        StreamingQueryProgress {
            timestamp: iso_8601(batch.time.millis() as i64),
            batch_id: batch.time.millis() as i64,
            batch_duration: ms(batch.total_delay()),
            num_input_rows: batch.records,
            input_rows_per_second: since.and_then(rate),
            processed_rows_per_second: rate(batch.processing_time.as_secs_f64()),
            duration_ms: durations.map(|(name, ms)| (name.to_owned(), ms)).into(),
            sources: sources(batch),
            ..StreamingQueryProgress::default()
        }
    }
}

/// Milliseconds since 1970 as Spark's JSON has times.
fn iso_8601(millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// How far a batch is in event time, of the streams whose watermarks these operators make.
pub(super) fn event_time(batch: &BatchInfo, operators: &[usize]) -> BTreeMap<String, String> {
    let infos = || batch.event_times.iter().filter(|info| operators.contains(&info.operator));
    // A stream without a row with a time has no watermark yet, and holds the others.
    let watermark = infos().map(|info| info.watermark).min().flatten();
    let max = infos().filter_map(|info| info.max).max();
    let known = |(name, micros): (&str, Option<i64>)| Some((name.to_owned(), iso_8601(micros?.div_euclid(1_000))));
    [("max", max), ("watermark", watermark)].into_iter().filter_map(known).collect()
}

fn sources(batch: &BatchInfo) -> Vec<SourceProgress> {
    let mut sources: BTreeMap<u32, SourceProgress> = BTreeMap::new();
    for input in &batch.inputs {
        let (range, source) = (&input.range, sources.entry(input.source).or_default());
        if source.description.is_empty() {
            source.description = range.topic.to_string();
        }
        let partition = format!("{}/{}", range.topic, range.partition);
        source.start_offset.insert(partition.clone(), range.from);
        source.end_offset.insert(partition.clone(), range.until);
        if let Some(lag) = input.lag {
            source.latest_offset.insert(partition, range.until + lag as i64);
        }
        source.num_input_rows += input.records;
    }
    sources.into_values().collect()
}
