//! The metrics of a job as samples, for `/metrics` and for OTLP. Units are in the names, counters end in `_total`, and no label has a batch
//! time or a key. Counters begin at 0, or at those of the checkpoint with which the job begins.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::http::About;
use crate::metrics::clients;
use crate::metrics::held::Held;
use crate::metrics::histogram::Histogram;
use crate::metrics::process::{Process, open_files};
use crate::metrics::{Metrics, Now};

/// One metric and its samples. There is at least one.
pub(super) struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub values: Values,
}

/// The samples of a metric, by its kind.
pub(super) enum Values {
    Counter(Vec<(Labels, Number)>),
    Gauge(Vec<(Labels, Number)>),
    Histogram(Histogram),
}

pub(super) type Labels = Vec<(&'static str, String)>;

/// A value: a whole number is printed as one.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(i64),
    Real(f64),
}

impl From<f64> for Number {
    fn from(n: f64) -> Number {
        Number::Real(n)
    }
}

macro_rules! whole {
    ($($t:ty)*) => {
        $(impl From<$t> for Number {
            fn from(n: $t) -> Number {
                Number::Whole(i64::try_from(n).unwrap_or(i64::MAX))
            }
        })*
    };
}
whole!(i32 i64 u64 usize);

/// The samples so far.
#[derive(Default)]
struct Samples(Vec<Metric>);

impl Samples {
    /// One metric. Without samples it is left out.
    fn metric<V: Into<Number>>(
        &mut self,
        name: &'static str,
        kind: fn(Vec<(Labels, Number)>) -> Values,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let samples: Vec<_> = samples.into_iter().map(|(labels, value)| (labels, value.into())).collect();
        if !samples.is_empty() {
            self.0.push(Metric { name, help, values: kind(samples) });
        }
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: impl Into<Number>) {
        self.metric(name, COUNTER, help, [(Vec::new(), value)]);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Into<Number>) {
        self.metric(name, GAUGE, help, [(Vec::new(), value)]);
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, histogram: &Histogram) {
        self.0.push(Metric { name, help, values: Values::Histogram(histogram.clone()) });
    }
}

const COUNTER: fn(Vec<(Labels, Number)>) -> Values = Values::Counter;
const GAUGE: fn(Vec<(Labels, Number)>) -> Values = Values::Gauge;

pub(super) fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}

/// The metrics of the job, in process 0, and of this process.
pub(super) fn all(about: &About, metrics: &Metrics) -> Vec<Metric> {
    let mut to = Samples::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    to.metric("tidemill_build_info", GAUGE, "The version of tidemill.", [(version, 1)]);
    let job = vec![("name", about.name.clone()), ("process", about.process.to_string())];
    to.metric("tidemill_job_info", GAUGE, "The name of the job, and the number of this process.", [(job, 1)]);
    if about.process == 0 {
        let now = metrics.now();
        to.gauge("tidemill_batch_interval_seconds", "The batch interval.", seconds(about.interval));
        batches(&mut to, &now);
        sources(&mut to, &now);
        operators(&mut to, &now);
        watermarks(&mut to, &now);
        outputs(&mut to, &now);
        checkpoints(&mut to, &now);
        processes(&mut to, &now);
        memory(&mut to, &now);
    }
    kafka(&mut to);
    let (callers, readers) = (metrics.callers.now().count, metrics.readers.now().count);
    to.counter(
        "tidemill_refused_connections_total",
        "Connections to the cluster's port of this process that were refused.",
        callers,
    );
    to.counter("tidemill_refused_requests_total", "Requests to this port that were refused because of who asks.", readers);
    let process = Process::now();
    to.counter("process_cpu_seconds_total", "Processor time of all threads.", process.cpu_seconds);
    to.gauge("process_resident_memory_bytes", "Memory that is not swapped out.", process.resident_bytes);
    to.gauge("process_open_fds", "Open files and sockets.", open_files());
    to.gauge("process_start_time_seconds", "When the job started, since 1970.", about.started_ms as f64 / 1_000.0);
    to.0
}

fn batches(to: &mut Samples, now: &Now) {
    let (s, history) = (&now.statistics, &now.history);
    let totals = &history.totals;
    to.counter("tidemill_batches_total", "Batches that every output has processed, overdue ones included.", totals.batches);
    to.counter("tidemill_records_total", "Records in these batches.", totals.records);
    to.counter("tidemill_lost_records_total", "Positions that the sources no longer had.", totals.lost);
    let bad = totals.bad.iter().map(|(stream, bad)| (vec![("stream", stream.clone())], bad.records));
    to.metric("tidemill_bad_records_total", COUNTER, "Bad records, also those that a stream takes.", bad);
    to.gauge("tidemill_batches_in_flight", "Batches that are closed and not processed by every output.", s.in_flight);
    to.gauge("tidemill_waiting_bytes", "Bytes that wait at outputs.", s.waiting_bytes);
    let limit = s.rate.map(|rate| (Vec::new(), rate));
    to.metric("tidemill_rate_limit_records_per_second", GAUGE, "The rate that back-pressure allows.", limit);
    let last = history.last().map(|b| (Vec::new(), b.time.millis() as f64 / 1_000.0));
    to.metric("tidemill_last_batch_timestamp_seconds", GAUGE, "The time of the last processed batch, since 1970.", last);
    let d = &totals.delays;
    to.histogram("tidemill_batch_scheduling_delay_seconds", "From the batch time until the seal.", &d.scheduling);
    to.histogram("tidemill_batch_processing_seconds", "From the seal until every output had processed the batch.", &d.processing);
    to.histogram(
        "tidemill_batch_total_delay_seconds",
        "From the batch time until every output had processed the batch.",
        &d.total,
    );
}

fn sources(to: &mut Samples, now: &Now) {
    let sources = || now.history.totals.sources.iter().enumerate();
    let of = |number: usize, name: &str| vec![("source", number.to_string()), ("name", name.to_owned())];
    let records = sources().map(|(number, s)| (of(number, &s.name), s.records));
    to.metric("tidemill_source_records_total", COUNTER, "Records of a source in processed batches.", records);
    let bytes = sources().map(|(number, s)| (of(number, &s.name), s.bytes));
    to.metric("tidemill_source_bytes_total", COUNTER, "About how many bytes these records have.", bytes);
    let split = |number: usize, s: &crate::metrics::history::SplitTotals| {
        vec![("source", number.to_string()), ("topic", s.name.to_string()), ("partition", s.partition.to_string())]
    };
    let splits = || sources().flat_map(|(number, source)| source.splits.values().map(move |s| (split(number, s), s)));
    let records = splits().map(|(labels, s)| (labels, s.records));
    to.metric("tidemill_split_records_total", COUNTER, "Records of a partition in processed batches.", records);
    let positions = splits().map(|(labels, s)| (labels, s.position));
    to.metric("tidemill_split_position", GAUGE, "The first position after the last processed batch.", positions);
    let lag = splits().filter_map(|(labels, s)| Some((labels, s.lag?)));
    to.metric("tidemill_split_lag_records", GAUGE, "Records that a partition had left after the last processed batch.", lag);
    let waits = splits().filter_map(|(labels, s)| Some((labels, seconds(s.lag_time?))));
    to.metric("tidemill_split_lag_seconds", GAUGE, "For how long the oldest record that a partition had left had waited.", waits);
    let lag = now.statistics.lag.map(|lag| (Vec::new(), lag));
    to.metric("tidemill_lag_records", GAUGE, "Records in all sources that are not yet read.", lag);
    to.gauge(
        "tidemill_sources_in_trouble",
        "Problems of sources, such as a broker that does not answer.",
        now.statistics.trouble.len(),
    );
}

fn operators(to: &mut Samples, now: &Now) {
    let operators = || {
        let label = |number: usize, name: &str| vec![("operator", number.to_string()), ("name", name.to_owned())];
        now.history.totals.operators.iter().enumerate().map(move |(number, o)| (label(number, &o.name), o.work))
    };
    let time = operators().map(|(labels, work)| (labels, seconds(work.time)));
    to.metric("tidemill_operator_seconds_total", COUNTER, "Time of all workers in an operator.", time);
    let rows = operators().map(|(labels, work)| (labels, work.rows_in));
    to.metric("tidemill_operator_rows_in_total", COUNTER, "Rows that came into an operator.", rows);
    let rows = operators().map(|(labels, work)| (labels, work.rows_out));
    to.metric("tidemill_operator_rows_out_total", COUNTER, "Rows that left to other operators, without bad records.", rows);
}

fn watermarks(to: &mut Samples, now: &Now) {
    let infos = now.history.last().into_iter().flat_map(|batch| batch.event_times.iter().enumerate());
    let watermark = infos.filter_map(|(number, info)| {
        let labels = vec![("stream", number.to_string()), ("name", info.name.to_string())];
        Some((labels, info.watermark? as f64 / 1e6))
    });
    to.metric(
        "tidemill_watermark_timestamp_seconds",
        GAUGE,
        "The watermark after the last processed batch, since 1970.",
        watermark,
    );
}

fn outputs(to: &mut Samples, now: &Now) {
    let outputs = || {
        let label = |number: usize, name: &str| vec![("output", number.to_string()), ("name", name.to_owned())];
        now.history.totals.outputs.iter().enumerate().map(move |(number, o)| (label(number, &o.name), o))
    };
    let batches = outputs().map(|(labels, o)| (labels, o.batches));
    to.metric("tidemill_output_batches_total", COUNTER, "Batches that an output has processed.", batches);
    let tries = outputs().map(|(labels, o)| (labels, o.tries));
    to.metric("tidemill_output_tries_total", COUNTER, "Tries to write them: more than batches if some failed.", tries);
    let time = outputs().map(|(labels, o)| (labels, seconds(o.time)));
    to.metric("tidemill_output_seconds_total", COUNTER, "Time from the begin of a write until the batch had arrived.", time);
    let rows = outputs().map(|(labels, o)| (labels, o.rows));
    to.metric("tidemill_output_rows_total", COUNTER, "Rows that came to an output.", rows);
    let bytes = outputs().map(|(labels, o)| (labels, o.bytes));
    to.metric("tidemill_output_bytes_total", COUNTER, "About how many bytes the rows had in memory.", bytes);
}

fn checkpoints(to: &mut Samples, now: &Now) {
    let c = &now.statistics.checkpoints;
    to.counter("tidemill_checkpoints_total", "Checkpoints that were made.", c.made);
    to.counter("tidemill_checkpoints_failed_total", "Checkpoints that failed.", c.failed);
    let Some(last) = c.last else { return };
    let time = last.millis() as f64 / 1_000.0;
    to.gauge("tidemill_checkpoint_timestamp_seconds", "The batch time of the last checkpoint, since 1970.", time);
    to.gauge("tidemill_checkpoint_duration_seconds", "How long the last checkpoint took.", seconds(c.took));
    to.gauge("tidemill_checkpoint_bytes", "The state in the last checkpoint.", c.bytes);
}

/// What the processes use, as each has told last.
fn processes(to: &mut Samples, now: &Now) {
    let processes = || now.processes.iter().map(|(number, (used, _))| (vec![("process", number.to_string())], used));
    let cpu = processes().map(|(labels, used)| (labels, used.cpu_seconds));
    to.metric("tidemill_process_cpu_seconds_total", COUNTER, "Processor time of all threads of a process.", cpu);
    let memory = processes().map(|(labels, used)| (labels, used.resident_bytes));
    to.metric("tidemill_process_resident_memory_bytes", GAUGE, "Memory of a process that is not swapped out.", memory);
}

/// What the workers hold in memory, as each has told last.
fn memory(to: &mut Samples, now: &Now) {
    let state =
        |(number, (name, _)): (usize, &(String, String))| (vec![("state", name.clone())], now.held_of(number).sum::<Held>());
    let states = || now.states.iter().enumerate().map(state);
    to.metric("tidemill_state_keys", GAUGE, "Keys that a state holds.", states().map(|(labels, held)| (labels, held.keys)));
    to.metric(
        "tidemill_state_panes",
        GAUGE,
        "Slices of time that a state holds.",
        states().map(|(labels, held)| (labels, held.panes)),
    );
    let bytes = states().map(|(labels, held)| (labels, held.bytes));
    to.metric("tidemill_state_memory_bytes", GAUGE, "About how many bytes a state takes, without what it points to.", bytes);
    let dictionaries = now.dictionaries();
    to.gauge("tidemill_dictionary_keys", "Keys in the dictionaries that verbs share.", dictionaries.keys);
    to.gauge(
        "tidemill_dictionary_bytes",
        "About how many bytes these dictionaries take, without what keys point to.",
        dictionaries.bytes,
    );
    to.gauge("tidemill_arrangement_bytes", "Bytes of the arrangements of views by row.", now.arrangements());
}

/// What the clients of Kafka in this process say.
fn kafka(to: &mut Samples) {
    let brokers = clients::brokers();
    let of = |of: &dyn Fn(&clients::Broker) -> Option<Number>| {
        let sample = |((kind, broker), values): (&(String, String), &clients::Broker)| {
            Some((vec![("client", kind.clone()), ("broker", broker.clone())], of(values)?))
        };
        brokers.iter().filter_map(sample).collect::<Vec<_>>()
    };
    let average = of(&|b| Some(seconds(b.rtt?.0).into()));
    to.metric("tidemill_kafka_rtt_seconds", GAUGE, "From a request to its answer, the average of 5 seconds.", average);
    let p99 = of(&|b| Some(seconds(b.rtt?.1).into()));
    to.metric("tidemill_kafka_rtt_p99_seconds", GAUGE, "From a request to its answer, the 99th percentile of 5 seconds.", p99);
    let requests = of(&|b| Some(b.requests.into()));
    to.metric("tidemill_kafka_waiting_requests", GAUGE, "Requests that wait to be sent, or for their answer.", requests);
    let errors = of(&|b| Some(b.errors.into()));
    to.metric("tidemill_kafka_request_errors_total", COUNTER, "Requests that failed or timed out.", errors);
    let (mut queues, mut transactions) = (BTreeMap::<String, (u64, u64)>::new(), BTreeMap::<String, u64>::new());
    for client in clients::now() {
        let queue = queues.entry(client.kind).or_default();
        *queue = (queue.0 + client.records, queue.1 + client.bytes);
        client.transactions.each().for_each(|(state, count)| *transactions.entry(state.clone()).or_default() += count);
    }
    let records = queues.iter().map(|(kind, (records, _))| (vec![("client", kind.clone())], *records));
    to.metric("tidemill_kafka_queued_records", GAUGE, "Records that wait in clients, to be read or to be sent.", records);
    let bytes = queues.iter().map(|(kind, (_, bytes))| (vec![("client", kind.clone())], *bytes));
    to.metric("tidemill_kafka_queued_bytes", GAUGE, "Their bytes.", bytes);
    let transactions = transactions.into_iter().map(|(state, clients)| (vec![("state", state)], clients));
    to.metric("tidemill_kafka_transactions", GAUGE, "Transactional producers in a state.", transactions);
}
