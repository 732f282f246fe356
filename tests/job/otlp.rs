//! What a collector of OpenTelemetry gets: the metrics of `/metrics`, and a trace for each batch.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point::Value as Number};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::*;
use crate::harness::eventually;

/// What comes to a collector: the path and the body of each request.
fn collector() -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (got, requests)) = (listener.local_addr().unwrap(), channel());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if got.send(answer(stream)).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

/// Reads one request, and accepts it.
fn answer(stream: TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.is_empty()) {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "{lines:?}");
        lines.push(line.trim_end().to_lowercase());
    }
    assert!(lines.contains(&"content-type: application/x-protobuf".into()), "{lines:?}");
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    (lines[0].split(' ').nth(1).unwrap().to_owned(), body)
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match &attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value {
        Some(Value::StringValue(text)) => Some(text.clone()),
        Some(Value::IntValue(n)) => Some(n.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn number(attributes: &[KeyValue], key: &str) -> i64 {
    text(attributes, key).unwrap_or_else(|| panic!("no {key}: {attributes:?}")).parse().unwrap()
}

/// The sum of the points of a counter or a gauge of whole numbers.
fn total(metrics: &[Metric], name: &str) -> i64 {
    let metric = metrics.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no {name}"));
    let points = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{name} grows from the start of the job");
            &sum.data_points
        }
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{name}: {other:?}"),
    };
    let of = |value: &Option<Number>| match value {
        Some(Number::AsInt(n)) => *n,
        other => panic!("{name}: {other:?}"),
    };
    points.iter().map(|point| of(&point.value)).sum()
}

#[test]
fn a_collector_gets_each_batch_as_a_trace_and_the_metrics_by_their_names() {
    for workers in [1, 4] {
        let (address, requests) = collector();
        let builder = job(workers).otlp(&format!("http://{address}/of/mine/")).listen(([127, 0, 0, 1], 0).into());
        let live = sums(builder, 5);
        for (n, rows) in [vec![1, 2, 3], vec![], vec![4, 5]].into_iter().enumerate() {
            live.queue.push(rows);
            live.clock.set(TICK * (n as u64 + 1));
            eventually("the batch is completed", || live.job.statistics().batches == n as u64 + 1);
        }
        let mut page = TcpStream::connect(live.job.address().unwrap()).unwrap();
        page.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut shown = String::new();
        page.read_to_string(&mut shown).unwrap();
        live.job.stop_now().unwrap();
        let (mut spans, mut metrics, mut services): (Vec<Span>, Vec<Metric>, Vec<String>) = Default::default();
        let mut whose = |resource: Option<Resource>| services.extend(text(&resource.unwrap().attributes, "service.name"));
        // The job ends after it has sent all.
        while let Ok((path, body)) = requests.try_recv() {
            match path.as_str() {
                "/of/mine/v1/traces" => {
                    for of in ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans {
                        whose(of.resource);
                        spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
                    }
                }
                "/of/mine/v1/metrics" => {
                    for of in ExportMetricsServiceRequest::decode(&*body).unwrap().resource_metrics {
                        whose(of.resource);
                        metrics = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect();
                    }
                }
                other => panic!("{other}"),
            }
        }
        assert!(services.len() >= 2 && services.iter().all(|service| service == "live"), "{services:?}");

        let batches: Vec<&Span> = spans.iter().filter(|span| span.name == "batch").collect();
        let of = |key: &str| batches.iter().map(|b| number(&b.attributes, key)).collect::<Vec<_>>();
        assert_eq!((of("tidemill.batch.time"), of("tidemill.batch.records")), (vec![10, 20, 30], vec![3, 0, 2]));
        for batch in &batches {
            let own: Vec<&Span> = spans.iter().filter(|span| span.trace_id == batch.trace_id).collect();
            let below = |id: &[u8]| own.iter().filter(|span| span.parent_span_id == id).collect::<Vec<_>>();
            let parts: Vec<&str> = below(&batch.span_id).iter().map(|span| span.name.as_str()).collect();
            assert_eq!(parts, ["waited", "planned", "computed", "written"]);
            for span in &own {
                let within = batch.start_time_unix_nano <= span.start_time_unix_nano
                    && span.end_time_unix_nano <= batch.end_time_unix_nano;
                assert!(within && span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?} of {batch:?}");
            }
            let computed = own.iter().find(|span| span.name == "computed").unwrap();
            let operators = below(&computed.span_id);
            let rows = |verb: &str, key: &str| {
                let operator = operators.iter().find(|span| span.name.starts_with(verb)).unwrap();
                number(&operator.attributes, key)
            };
            let records = number(&batch.attributes, "tidemill.batch.records");
            assert_eq!(rows("queue_stream (mod.rs:", "tidemill.operator.rows_out"), records);
            assert_eq!(rows("update_state_by_key (mod.rs:", "tidemill.operator.rows_in"), records);
            let written = own.iter().find(|span| span.name == "written").unwrap();
            let outputs = below(&written.span_id);
            for (key, expected) in [("tidemill.output.tries", 1), ("tidemill.output.rows", 2)] {
                assert_eq!(outputs.iter().map(|o| number(&o.attributes, key)).collect::<Vec<_>>(), [expected], "{key}");
            }
        }
        let mut ids: Vec<&[u8]> = spans.iter().map(|span| &*span.span_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), spans.len(), "each span has an identity of its own");

        let mut names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
        let mut expected: Vec<&str> = shown.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
        for (name, expected) in
            [("tidemill_batches_total", 3), ("tidemill_records_total", 5), ("tidemill_split_records_total", 5)]
        {
            assert_eq!(total(&metrics, name), expected, "{name}");
        }
        let delays = metrics.iter().find(|m| m.name == "tidemill_batch_processing_seconds").unwrap();
        assert_eq!(delays.unit, "s");
        let Some(Data::Histogram(delays)) = &delays.data else { panic!("{delays:?}") };
        let point = &delays.data_points[0];
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    }
}
