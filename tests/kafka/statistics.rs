//! What clients of Kafka say of their connections is where people look at a job.

use std::time::Duration;

use serde_json::Value;
use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{brokers, produce, topic};
use crate::http_client::{get, json};
use crate::recorder::{Recorder, builder, earliest, eventually};

/// Other tests in this process have clients, too: one client of this broker is enough.
#[test]
fn a_job_with_readers_tells_the_round_trips_of_its_clients() {
    let (words, recorder) = (topic("statistics", 2, &[]), Recorder::default());
    produce(&words, 1, &["tide", "mill"]);
    let program = recorder.slowly(earliest(&words), Duration::ZERO);
    let job = builder(1).listen(([127, 0, 0, 1], 0).into()).start(program).unwrap();
    eventually("the records are read", || recorder.records() == 2);
    let (address, broker) = (job.address().unwrap(), brokers());
    let is_up = |client: &Value| {
        let brokers = client["brokers"].as_array().unwrap();
        client["client"] == "consumer"
            && brokers.iter().any(|b| b["broker"] == *broker && b["state"] == "UP" && b["rtt_ms"].as_f64() > Some(0.0))
    };
    eventually("a consumer tells how long its requests take", || {
        json(address, "/api/v1/kafka").as_array().unwrap().iter().any(is_up)
    });
    let metrics = get(address, "/metrics").1;
    let labels = format!("{{client=\"consumer\",broker=\"{broker}\"}} ");
    let sample = |name: &str| -> f64 {
        let begin = format!("tidemill_kafka_{name}{labels}");
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(&begin))
            .unwrap_or_else(|| panic!("{begin}: {metrics}"))
            .parse()
            .unwrap()
    };
    assert!(sample("rtt_seconds") > 0.0 && sample("rtt_p99_seconds") > 0.0, "{metrics}");
    assert!(sample("request_errors_total") >= 0.0);
    assert!(metrics.contains("tidemill_kafka_queued_records{client=\"consumer\"} "), "{metrics}");
    job.stop_now().unwrap();
}

/// Each shard has a producer of its own, and a reader sees them as one.
#[test]
fn the_producers_of_an_exactly_once_sink_are_one_row() {
    let (from, to, dir) = (topic("one-row-in", 1, &[]), topic("one-row-out", 1, &[]), TempDir::new("one-row"));
    let builder = StreamingContext::builder("one-row", millis(50)).checkpoint(dir.path());
    // A producer tells how it is when it has something to send: at each checkpoint all shards have.
    let builder = builder.checkpoint_interval(millis(500)).listen(([127, 0, 0, 1], 0).into());
    let (source, sink) = (earliest(&from), KafkaSink::new(brokers(), &to).exactly_once().shards(4));
    let job = builder.start(move |ssc| {
        let rows = ssc.kafka_direct_stream(source.clone()).values().oks();
        rows.count_by_value().to_kafka(sink.clone(), |(value, _), record| _ = record.value(value));
        Ok(())
    });
    let job = job.unwrap();
    let address = job.address().unwrap();
    produce(&from, 0, &["tide", "mill"]);
    eventually("four producers in a row", || {
        let clients = json(address, "/api/v1/kafka");
        let of_sink = |c: &&Value| c["transactional_id_prefix"].as_str().is_some_and(|prefix| prefix.starts_with("one-row-"));
        let rows: Vec<&Value> = clients.as_array().unwrap().iter().filter(of_sink).collect();
        assert!(rows.len() <= 1, "{clients}");
        rows.first().is_some_and(|row| {
            let up = |b: &Value| b["broker"] == *brokers() && b["state"].as_str().unwrap().contains("UP");
            assert!(row["process"] == 0 && row["client"] == "producer", "{row}");
            row["clients"] == 4 && row["transaction"].is_string() && row["brokers"].as_array().unwrap().iter().any(up)
        })
    });
    job.stop_gracefully().unwrap();
}
