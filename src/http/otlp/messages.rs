//! The messages of OTLP: the metrics of `/metrics` by the same names, and a trace for each batch.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::http::About;
use crate::http::samples::{self, Labels, Number, Values};
use crate::metrics::histogram::BOUNDS_MS;
use crate::metrics::{BatchInfo, Metrics, OperatorInfo};

const NANOS: u64 = 1_000_000;

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn whole(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value.min(i64::MAX as u64) as i64))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Whose telemetry this is.
fn resource(about: &About, service: &str) -> Option<Resource> {
    let attributes = vec![
        text("service.name", service),
        text("service.instance.id", format!("{}/{}", about.name, about.process)),
        text("service.version", env!("CARGO_PKG_VERSION")),
        whole("process.pid", std::process::id().into()),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "tidemill".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    })
}

/// The metrics of the job now.
pub(super) fn metrics(about: &About, service: &str, metrics: &Metrics, now_ms: u64) -> ExportMetricsServiceRequest {
    let times = (about.started_ms * NANOS, now_ms * NANOS);
    let metrics = samples::all(about, metrics).into_iter().map(|metric| one(metric, times)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let all = ResourceMetrics { resource: resource(about, service), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![all] }
}

/// One metric. `times`: the start of the job, and now.
fn one(of: samples::Metric, times: (u64, u64)) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match of.values {
        Values::Gauge(samples) => metric::Data::Gauge(Gauge { data_points: points(samples, times) }),
        Values::Counter(samples) => metric::Data::Sum(Sum {
            data_points: points(samples, times),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Values::Histogram(histogram) => {
            let mut before = 0;
            let bucket_counts: Vec<u64> = histogram.cumulative().map(|n| n - std::mem::replace(&mut before, n)).collect();
            let point = HistogramDataPoint {
                start_time_unix_nano: times.0,
                time_unix_nano: times.1,
                count: bucket_counts.iter().sum(),
                sum: Some(histogram.sum.as_secs_f64()),
                bucket_counts,
                explicit_bounds: BOUNDS_MS.iter().map(|ms| *ms as f64 / 1_000.0).collect(),
                ..HistogramDataPoint::default()
            };
            metric::Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: cumulative })
        }
    };
    Metric {
        name: of.name.into(),
        description: of.help.into(),
        unit: unit(of.name).into(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit in a name, as UCUM writes it.
fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    let units =
        [("_per_second", "{record}/s"), ("_seconds", "s"), ("_bytes", "By"), ("_records", "{record}"), ("_batches", "{batch}")];
    units.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}

fn points(samples: Vec<(Labels, Number)>, (start, now): (u64, u64)) -> Vec<NumberDataPoint> {
    let point = |(labels, value): (Labels, Number)| NumberDataPoint {
        attributes: labels.into_iter().map(|(name, value)| text(name, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(match value {
            Number::Whole(n) => number_data_point::Value::AsInt(n),
            Number::Real(n) => number_data_point::Value::AsDouble(n),
        }),
        ..NumberDataPoint::default()
    };
    samples.into_iter().map(point).collect()
}

/// The spans of some batches.
pub(super) fn traces(about: &About, service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let all = ResourceSpans { resource: resource(about, service), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![all] }
}

/// The trace of one batch, which every output had at `end_ms`: a span for the batch, one for each of its parts, and in these one for each operator
/// and output. An operator's span begins when the batch was planned, and is as long as the batch waited for it on the slowest worker.
pub(super) fn batch(about: &About, batch: &BatchInfo, end_ms: u64) -> Vec<Span> {
    let identity = format!("{}/{}/{}", about.name, about.started_ms, batch.time.millis());
    let trace = xxh3_128(identity.as_bytes()).to_be_bytes().to_vec();
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let end = end_ms * NANOS;
    let sealed = end.saturating_sub(nanos(batch.processing_time));
    let begun = sealed.saturating_sub(if batch.on_clock { nanos(batch.scheduling_delay) } else { 0 });
    let planned = sealed.saturating_add(nanos(batch.planning_time)).min(end);
    let computed = planned.saturating_add(nanos(batch.computing_time)).min(end);
    let id = |place: &str| xxh3_64(format!("{identity}/{place}").as_bytes()).to_be_bytes().to_vec();
    let made = |place: &str, parent: &str, name: &str, (from, until): (u64, u64), attributes| Span {
        trace_id: trace.clone(),
        span_id: id(place),
        parent_span_id: if parent.is_empty() { Vec::new() } else { id(parent) },
        name: name.into(),
        kind: span::SpanKind::Internal.into(),
        start_time_unix_nano: from,
        end_time_unix_nano: until.max(from),
        attributes,
        ..Span::default()
    };
    let about_batch = vec![
        whole("tidemill.batch.time", batch.time.millis()),
        whole("tidemill.batch.records", batch.records),
        whole("tidemill.batch.bad", batch.bad),
        whole("tidemill.batch.overdue", batch.overdue.into()),
    ];
    let about_batch = about_batch.into_iter().chain(batch.lag().map(|lag| whole("tidemill.batch.lag", lag))).collect();
    let mut spans = vec![made("batch", "", "batch", (begun, end), about_batch)];
    for (name, times) in [
        ("waited", (begun, sealed)),
        ("planned", (sealed, planned)),
        ("computed", (planned, computed)),
        ("written", (computed, end)),
    ] {
        spans.push(made(name, "batch", name, times, Vec::new()));
    }
    for (n, operator) in batch.operators.iter().enumerate() {
        let waited = operator.workers.iter().map(|work| work.waited).max().unwrap_or_default();
        let until = planned.saturating_add(nanos(waited)).min(computed);
        spans.push(made(&format!("operator {n}"), "computed", &operator.name, (planned, until), about_operator(operator)));
    }
    for (n, output) in batch.outputs.iter().enumerate() {
        let about = vec![
            whole("tidemill.output.tries", output.tries.into()),
            whole("tidemill.output.rows", output.rows),
            whole("tidemill.output.bytes", output.bytes),
        ];
        let from = end.saturating_sub(nanos(output.time)).max(planned);
        spans.push(made(&format!("output {n}"), "written", &output.name, (from, end), about));
    }
    spans
}

fn about_operator(operator: &OperatorInfo) -> Vec<KeyValue> {
    let total = operator.total();
    vec![
        whole("tidemill.operator.rows_in", total.rows_in),
        whole("tidemill.operator.rows_out", total.rows_out),
        whole("tidemill.operator.busy_us", total.time.as_micros().min(u64::MAX.into()) as u64),
        whole("tidemill.operator.slowest_worker", operator.slowest_worker() as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_the_names() {
        for (name, expected) in [
            ("tidemill_operator_seconds_total", "s"),
            ("tidemill_checkpoint_bytes", "By"),
            ("tidemill_rate_limit_records_per_second", "{record}/s"),
            ("tidemill_split_position", ""),
        ] {
            assert_eq!(unit(name), expected, "{name}");
        }
    }
}
