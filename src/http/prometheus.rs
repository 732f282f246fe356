//! `/metrics`: the text format of Prometheus. Units are in the names, counters end in `_total`, and no label has a batch time or a key.
//! Counters begin at 0, or at those of the checkpoint with which the job begins.

use std::fmt::{Display, Write};
use std::time::Duration;

use crate::http::reader::Reader;
use crate::metrics::Now;
use crate::metrics::histogram::{BOUNDS_MS, Histogram};
use crate::metrics::process::{Process, open_files};

/// The text under construction.
#[derive(Default)]
struct Text(String);

type Labels = Vec<(&'static str, String)>;

impl Text {
    /// One metric and its samples. Without samples it is left out.
    fn metric<V: Display>(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (Labels, V)>) {
        let mut begun = false;
        for (labels, value) in samples {
            if !std::mem::replace(&mut begun, true) {
                self.head(name, kind, help);
            }
            self.sample(name, &labels, value);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, String)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help, [(Vec::new(), value)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help, [(Vec::new(), value)]);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bounds = BOUNDS_MS.iter().map(|bound| (*bound as f64 / 1_000.0).to_string()).chain(["+Inf".into()]);
        let mut all = 0;
        for (bound, n) in bounds.zip(histogram.cumulative()) {
            self.sample(&format!("{name}_bucket"), &[("le", bound)], n);
            all = n;
        }
        self.sample(&format!("{name}_sum"), &[], seconds(histogram.sum));
        self.sample(&format!("{name}_count"), &[], all);
    }
}

fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}

/// The metrics of the job, in process 0, and of this process.
pub(super) fn text(reader: &Reader) -> String {
    let (about, mut text) = (&reader.about, Text::default());
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    text.metric("tidemill_build_info", "gauge", "The version of tidemill.", [(version, 1)]);
    let job = vec![("name", about.name.clone()), ("process", about.process.to_string())];
    text.metric("tidemill_job_info", "gauge", "The name of the job, and the number of this process.", [(job, 1)]);
    if about.process == 0 {
        let now = reader.metrics.now();
        text.gauge("tidemill_batch_interval_seconds", "The batch interval.", seconds(about.interval));
        batches(&mut text, &now);
        sources(&mut text, &now);
        operators(&mut text, &now);
        outputs(&mut text, &now);
        checkpoints(&mut text, &now);
    }
    let process = Process::now();
    text.counter("process_cpu_seconds_total", "Processor time of all threads.", process.cpu_seconds);
    text.gauge("process_resident_memory_bytes", "Memory that is not swapped out.", process.resident_bytes);
    text.gauge("process_open_fds", "Open files and sockets.", open_files());
    text.gauge("process_start_time_seconds", "When the job started, since 1970.", about.started_ms as f64 / 1_000.0);
    text.0
}

fn batches(text: &mut Text, now: &Now) {
    let (s, history) = (&now.statistics, &now.history);
    let totals = &history.totals;
    text.counter("tidemill_batches_total", "Batches that every output has processed, overdue ones included.", totals.batches);
    text.counter("tidemill_records_total", "Records in these batches.", totals.records);
    text.counter("tidemill_lost_records_total", "Positions that the sources no longer had.", totals.lost);
    let bad = totals.bad.iter().map(|(stream, bad)| (vec![("stream", stream.clone())], bad.records));
    text.metric("tidemill_bad_records_total", "counter", "Bad records, also those that a stream takes.", bad);
    text.gauge("tidemill_batches_in_flight", "Batches that are closed and not processed by every output.", s.in_flight);
    text.gauge("tidemill_waiting_bytes", "Bytes that wait at outputs.", s.waiting_bytes);
    let limit = s.rate.map(|rate| (Vec::new(), rate));
    text.metric("tidemill_rate_limit_records_per_second", "gauge", "The rate that back-pressure allows.", limit);
    let last = history.last().map(|b| (Vec::new(), b.time.millis() as f64 / 1_000.0));
    text.metric("tidemill_last_batch_timestamp_seconds", "gauge", "The time of the last processed batch, since 1970.", last);
    let d = &totals.delays;
    text.histogram("tidemill_batch_scheduling_delay_seconds", "From the batch time until the seal.", &d.scheduling);
    text.histogram(
        "tidemill_batch_processing_seconds",
        "From the seal until every output had processed the batch.",
        &d.processing,
    );
    text.histogram(
        "tidemill_batch_total_delay_seconds",
        "From the batch time until every output had processed the batch.",
        &d.total,
    );
}

fn sources(text: &mut Text, now: &Now) {
    let sources = || now.history.totals.sources.iter().enumerate();
    let of = |number: usize, name: &str| vec![("source", number.to_string()), ("name", name.to_owned())];
    let records = sources().map(|(number, s)| (of(number, &s.name), s.records));
    text.metric("tidemill_source_records_total", "counter", "Records of a source in processed batches.", records);
    let bytes = sources().map(|(number, s)| (of(number, &s.name), s.bytes));
    text.metric("tidemill_source_bytes_total", "counter", "About how many bytes these records have.", bytes);
    let split = |number: usize, s: &crate::metrics::history::SplitTotals| {
        vec![("source", number.to_string()), ("topic", s.name.to_string()), ("partition", s.partition.to_string())]
    };
    let splits = || sources().flat_map(|(number, source)| source.splits.values().map(move |s| (split(number, s), s)));
    let records = splits().map(|(labels, s)| (labels, s.records));
    text.metric("tidemill_split_records_total", "counter", "Records of a partition in processed batches.", records);
    let positions = splits().map(|(labels, s)| (labels, s.position));
    text.metric("tidemill_split_position", "gauge", "The first position after the last processed batch.", positions);
    let lag = splits().filter_map(|(labels, s)| Some((labels, s.lag?)));
    text.metric("tidemill_split_lag_records", "gauge", "Records that a partition had left after the last processed batch.", lag);
    let waits = splits().filter_map(|(labels, s)| Some((labels, seconds(s.lag_time?))));
    text.metric(
        "tidemill_split_lag_seconds",
        "gauge",
        "For how long the oldest record that a partition had left had waited.",
        waits,
    );
    let lag = now.statistics.lag.map(|lag| (Vec::new(), lag));
    text.metric("tidemill_lag_records", "gauge", "Records in all sources that are not yet read.", lag);
    text.gauge(
        "tidemill_sources_in_trouble",
        "Problems of sources, such as a broker that does not answer.",
        now.statistics.trouble.len(),
    );
}

fn operators(text: &mut Text, now: &Now) {
    let operators = || {
        let label = |number: usize, name: &str| vec![("operator", number.to_string()), ("name", name.to_owned())];
        now.history.totals.operators.iter().enumerate().map(move |(number, o)| (label(number, &o.name), o.work))
    };
    let time = operators().map(|(labels, work)| (labels, seconds(work.time)));
    text.metric("tidemill_operator_seconds_total", "counter", "Time of all workers in an operator.", time);
    let rows = operators().map(|(labels, work)| (labels, work.rows_in));
    text.metric("tidemill_operator_rows_in_total", "counter", "Rows that came into an operator.", rows);
    let rows = operators().map(|(labels, work)| (labels, work.rows_out));
    text.metric("tidemill_operator_rows_out_total", "counter", "Rows that left to other operators, without bad records.", rows);
}

fn outputs(text: &mut Text, now: &Now) {
    let outputs = || {
        let label = |number: usize, name: &str| vec![("output", number.to_string()), ("name", name.to_owned())];
        now.history.totals.outputs.iter().enumerate().map(move |(number, o)| (label(number, &o.name), o))
    };
    let batches = outputs().map(|(labels, o)| (labels, o.batches));
    text.metric("tidemill_output_batches_total", "counter", "Batches that an output has processed.", batches);
    let tries = outputs().map(|(labels, o)| (labels, o.tries));
    text.metric("tidemill_output_tries_total", "counter", "Tries to write them: more than batches if some failed.", tries);
    let time = outputs().map(|(labels, o)| (labels, seconds(o.time)));
    text.metric("tidemill_output_seconds_total", "counter", "Time from the begin of a write until the batch had arrived.", time);
    let bytes = outputs().map(|(labels, o)| (labels, o.bytes));
    text.metric("tidemill_output_bytes_total", "counter", "About how many bytes the rows had in memory.", bytes);
}

fn checkpoints(text: &mut Text, now: &Now) {
    let c = &now.statistics.checkpoints;
    text.counter("tidemill_checkpoints_total", "Checkpoints that were made.", c.made);
    text.counter("tidemill_checkpoints_failed_total", "Checkpoints that failed.", c.failed);
    let Some(last) = c.last else { return };
    let time = last.millis() as f64 / 1_000.0;
    text.gauge("tidemill_checkpoint_timestamp_seconds", "The batch time of the last checkpoint, since 1970.", time);
    text.gauge("tidemill_checkpoint_duration_seconds", "How long the last checkpoint took.", seconds(c.took));
    text.gauge("tidemill_checkpoint_bytes", "The state in the last checkpoint.", c.bytes);
}
