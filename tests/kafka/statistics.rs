//! What clients of Kafka say of their connections is where people look at a job.

use std::time::Duration;

use serde_json::Value;

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
