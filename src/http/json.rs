//! The JSON of `/api/v1`. Times of batches are milliseconds since 1970; durations are milliseconds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::clock::wall_ms;
use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;
use crate::http::reader::Reader;
use crate::metrics::clients::{self, Broker, Client};
use crate::metrics::history::BadTotals;
use crate::metrics::operator::{most, sum};
use crate::metrics::process::Process;
use crate::metrics::verdict::verdict;
use crate::metrics::{BatchInfo, EventTimeInfo, InputInfo, Now, OperatorInfo, OperatorWork, OutputInfo};

/// How many batches the figures of operators add up.
const RECENT: usize = 20;

/// `/api/v1/job`.
pub(super) fn job(reader: &Reader) -> String {
    job_of(reader, &reader.metrics.now()).to_string()
}

/// One event: the job, and its last batch.
pub(super) fn news(reader: &Reader) -> String {
    let now = reader.metrics.now();
    json!({ "job": job_of(reader, &now), "batch": now.history.last().map(summary) }).to_string()
}

/// `/api/v1/batches`: the last batches, the newest first.
pub(super) fn batches(reader: &Reader, after: Option<BatchTime>) -> String {
    let now = reader.metrics.now();
    let wanted = now.history.batches().rev().take_while(|b| after.is_none_or(|after| b.time > after));
    Value::Array(wanted.map(|b| summary(b)).collect()).to_string()
}

/// `/api/v1/batches/TIME`. `None`: the batch is not kept.
pub(super) fn batch(reader: &Reader, time: BatchTime) -> Option<String> {
    let now = reader.metrics.now();
    let batch = now.history.batches().rev().find(|b| b.time == time)?;
    let mut all = summary(batch);
    all["inputs"] = batch.inputs.iter().map(|i| input(&now, i)).collect();
    all["lost"] = batch.lost.iter().map(range).collect();
    all["outputs"] = batch.outputs.iter().map(output).collect();
    all["event_times"] = batch.event_times.iter().map(event_time).collect();
    all["operators"] = batch.operators.iter().map(operator).collect();
    all["slowest"] = one(batch.slowest(), |work| work.time);
    all["waited_for"] = one(batch.waited_for(), |work| work.waited);
    Some(all.to_string())
}

/// `/api/v1/operators`: what the workers did in each operator for the last batches together.
pub(super) fn operators(reader: &Reader) -> String {
    let now = reader.metrics.now();
    let operators = sum(now.history.batches().rev().take(RECENT).map(|b| &**b));
    let (slowest, waited_for) = (most(&operators, |work| work.time), most(&operators, |work| work.waited));
    json!({
        "batches": now.history.batches().count().min(RECENT),
        "operators": operators.iter().map(operator).collect::<Vec<Value>>(),
        "edges": *now.edges,
        "slowest": one(slowest, |work| work.time),
        "waited_for": one(waited_for, |work| work.waited),
    })
    .to_string()
}

fn output(o: &OutputInfo) -> Value {
    let (ms, commit_ms) = (ms(o.time), ms(o.commit_time));
    json!({ "name": *o.name, "tries": o.tries, "ms": ms, "commit_ms": commit_ms, "rows": o.rows, "bytes": o.bytes })
}

/// The event time of a stream. Times are milliseconds since 1970.
fn event_time(info: &EventTimeInfo) -> Value {
    let ms = |micros: Option<i64>| micros.map(|micros| micros.div_euclid(1_000));
    json!({ "name": *info.name, "watermark": ms(info.watermark), "max": ms(info.max) })
}

fn operator(operator: &OperatorInfo) -> Value {
    let (total, [min, median, max]) = (operator.total(), operator.spread());
    let worker =
        |w: &OperatorWork| json!({ "ms": ms(w.time), "waited_ms": ms(w.waited), "rows_in": w.rows_in, "rows_out": w.rows_out });
    json!({
        "name": *operator.name,
        "rows_in": total.rows_in,
        "rows_out": total.rows_out,
        "ms": ms(total.time),
        "min_ms": ms(min),
        "median_ms": ms(median),
        "max_ms": ms(max),
        "slowest_worker": operator.slowest_worker(),
        "workers": operator.workers.iter().map(worker).collect::<Vec<Value>>(),
    })
}

/// An operator on one worker, with a time of it.
fn one(found: Option<(&OperatorInfo, usize)>, time: impl Fn(&OperatorWork) -> Duration) -> Value {
    found.map_or(
        Value::Null,
        |(operator, worker)| json!({ "operator": *operator.name, "worker": worker, "ms": ms(time(&operator.workers[worker])) }),
    )
}

/// `/api/v1/sources`: what was read of each source, and what is left.
pub(super) fn sources(reader: &Reader) -> String {
    let history = reader.metrics.now().history;
    let sources = history.totals.sources.iter().enumerate().map(|(number, source)| {
        let splits = source.splits.values().map(|s| {
            let (topic, partition, position) = (&*s.name, s.partition, s.position);
            let lag_ms = s.lag_time.map(ms);
            json!({ "topic": topic, "partition": partition, "position": position, "records": s.records, "lag": s.lag, "lag_ms": lag_ms })
        });
        let splits: Vec<Value> = splits.collect();
        json!({ "source": number, "name": source.name, "records": source.records, "bytes": source.bytes, "lag": source.lag(), "splits": splits })
    });
    Value::Array(sources.collect()).to_string()
}

/// `/api/v1/outputs`: what each output has done, and the first rows of the last batch of which it had some, each as a text.
pub(super) fn outputs(reader: &Reader) -> String {
    let history = reader.metrics.now().history;
    let outputs = history.totals.outputs.iter().enumerate().map(|(place, o)| {
        let last = history.came_out.get(&place).map(|(time, rows)| json!({ "time": time.millis(), "first_rows": **rows }));
        let ms = ms(o.time);
        json!({ "name": *o.name, "batches": o.batches, "tries": o.tries, "ms": ms, "rows": o.rows, "bytes": o.bytes, "last": last })
    });
    Value::Array(outputs.collect()).to_string()
}

/// `/api/v1/kafka`: the clients of Kafka in each process, as each has told within the last seconds.
pub(super) fn kafka(reader: &Reader) -> String {
    let here = std::iter::once((0, clients::by_sink()));
    let all = here.chain(reader.metrics.now().clients);
    Value::Array(all.flat_map(|(process, clients)| clients.into_iter().map(move |c| client(process, &c))).collect()).to_string()
}

/// One client, or the producers of one sink.
fn client(process: usize, c: &Client) -> Value {
    let broker = |b: &Broker| {
        let (rtt, p99) = b.rtt.unzip();
        let (rtt, p99, state) = (rtt.map(ms), p99.map(ms), b.states.to_string());
        json!({ "broker": b.name, "state": state, "rtt_ms": rtt, "rtt_p99_ms": p99, "requests": b.requests, "errors": b.errors })
    };
    let transaction = (!c.transactions.is_empty()).then(|| c.transactions.to_string());
    json!({
        "process": process,
        "client": c.kind,
        "clients": c.count,
        "transactional_id_prefix": c.transactional_id_prefix,
        "records": c.records,
        "bytes": c.bytes,
        "transaction": transaction,
        "brokers": c.brokers.iter().map(broker).collect::<Vec<_>>(),
    })
}

fn job_of(reader: &Reader, now: &Now) -> Value {
    let (about, s) = (&reader.about, &now.statistics);
    let (pace, sentence) = verdict(now, about.interval);
    let Process { cpu_seconds, resident_bytes } = Process::now();
    json!({
        "name": about.name,
        "version": env!("CARGO_PKG_VERSION"),
        "interval_ms": ms(about.interval),
        "workers": about.workers,
        "processes": about.processes,
        "process_id": std::process::id(),
        "started_ms": about.started_ms,
        "now_ms": wall_ms(),
        "pace": pace.word(),
        "sentence": sentence,
        "batches": s.batches,
        "records": s.records,
        "bad": s.bad,
        "bad_by_stream": bad_streams(now),
        "lost": s.lost,
        "accumulators": s.accumulators.iter().map(|a| json!({ "name": *a.name, "value": *a.text })).collect::<Vec<_>>(),
        "lag": s.lag,
        "lag_ms": now.history.last().and_then(BatchInfo::lag_time).map(ms),
        "rate_limit": s.rate,
        "held_by": s.held_by,
        "in_flight": s.in_flight,
        "waiting_bytes": s.waiting_bytes,
        "trouble": s.trouble,
        "cpu_seconds": cpu_seconds,
        "resident_bytes": resident_bytes,
        "checkpoint": about.checkpoint.as_ref().map(|directory| json!({
            "directory": directory,
            "made": s.checkpoints.made,
            "failed": s.checkpoints.failed,
            "last_time": s.checkpoints.last.map(BatchTime::millis),
            "last_ms": ms(s.checkpoints.took),
            "bytes": s.checkpoints.bytes,
        })),
    })
}

/// The bad records of each stream.
pub(super) fn bad_streams(now: &Now) -> Vec<Value> {
    let bad = |(stream, bad): (&String, &BadTotals)| json!({ "stream": stream, "records": bad.records, "taken": bad.taken });
    now.history.totals.bad.iter().map(bad).collect()
}

fn summary(b: &BatchInfo) -> Value {
    json!({
        "time": b.time.millis(),
        "records": b.records,
        "bad": b.bad,
        "lag": b.lag(),
        "lag_ms": b.lag_time().map(ms),
        "scheduling_delay_ms": ms(b.scheduling_delay),
        "processing_ms": ms(b.processing_time),
        "total_delay_ms": ms(b.total_delay()),
        "planning_ms": ms(b.planning_time),
        "computing_ms": ms(b.computing_time),
        "output_ms": ms(b.output_time()),
        "commit_ms": ms(b.commit_time()),
        "tries": b.outputs.iter().map(|o| o.tries).max().unwrap_or(0),
        "on_clock": b.on_clock,
        "overdue": b.overdue,
    })
}

fn input(now: &Now, of: &InputInfo) -> Value {
    let mut input = range(&of.range);
    input["source"] = of.source.into();
    input["name"] = now.history.totals.sources.get(of.source as usize).map_or("", |s| s.name.as_str()).into();
    input["records"] = of.records.into();
    input["bytes"] = of.bytes.into();
    input["lag"] = of.lag.into();
    input["lag_ms"] = of.lag_time.map(ms).into();
    input
}

fn range(r: &OffsetRange) -> Value {
    json!({ "topic": *r.topic, "partition": r.partition, "from": r.from, "until": r.until })
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(d: Duration) -> f64 {
    d.as_micros() as f64 / 1_000.0
}
