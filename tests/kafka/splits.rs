//! Where a source begins, and which partitions it finds later.

use std::time::{Duration, Instant};

use tidemill::connector::kafka::enumerator::KafkaEnumerator;
use tidemill::connector::kafka::source::{KafkaSource, StartFrom};
use tidemill::connector::source::{SplitEnumerator, SplitOffset};

use crate::fixture::{PATIENCE, brokers, delete_before, grow, produce, split, topic};
use crate::proxy::Proxy;
use crate::recorder::eventually;

fn start(kafka: &KafkaSource) -> tidemill::Result<Vec<i64>> {
    Ok(KafkaEnumerator::new(kafka)?.start()?.iter().map(|s| s.from).collect())
}

fn from(topic: &str, start_from: StartFrom) -> tidemill::Result<Vec<i64>> {
    start(&KafkaSource::brokers(brokers()).topic(topic).start(start_from))
}

#[test]
fn every_start_position_becomes_an_offset_of_each_partition() {
    let t = topic("starts", 2, &[]);
    produce(&t, 0, &["a", "b", "c", "d"]);
    produce(&t, 1, &["e"]);
    delete_before(&t, 0, 1);
    assert_eq!(start(&KafkaSource::brokers(brokers()).topic(&t)).unwrap(), [4, 1], "latest is the default");
    assert_eq!(from(&t, StartFrom::earliest()).unwrap(), [1, 0]);
    assert_eq!(
        from(&t, StartFrom::from_offsets([(&*t, 0, 2)])).unwrap(),
        [2, 1],
        "a partition without a given offset begins at the latest"
    );
    assert_eq!(
        from(&t, StartFrom::from_offsets([(&*t, 0, 4), (&*t, 1, 0)])).unwrap(),
        [4, 0],
        "the end of the log is a valid offset"
    );
    assert_eq!(from(&t, StartFrom::from_timestamp(0)).unwrap(), [1, 0]);
    assert_eq!(from(&t, StartFrom::from_timestamp(9_999_999_999_999)).unwrap(), [4, 1], "no record is that new");
    std::thread::sleep(Duration::from_millis(20));
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    std::thread::sleep(Duration::from_millis(20));
    produce(&t, 1, &["f", "g"]);
    assert_eq!(from(&t, StartFrom::from_timestamp(now)).unwrap(), [4, 1]);
}

#[test]
fn an_offset_outside_the_log_is_an_error_with_the_bounds_of_the_log() {
    let t = topic("outside", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    delete_before(&t, 0, 1);
    for offset in [0, 4] {
        let text = from(&t, StartFrom::from_offsets([(&*t, 0, offset)])).unwrap_err().to_string();
        assert!(text.contains(&t) && text.contains("partition 0") && text.contains("[1, 3]"), "{text}");
    }
    let text = from(&t, StartFrom::from_offsets([(&*t, 7, 0)])).unwrap_err().to_string();
    assert!(text.contains("partition 7") && text.contains("not there"), "{text}");
}

#[test]
fn c1_c22_a_missing_topic_or_broker_is_named_in_time() {
    let text = from("no-such-topic", StartFrom::earliest()).unwrap_err().to_string();
    assert!(text.contains("no-such-topic") && text.contains(&brokers()), "{text}");
    let began = Instant::now();
    let text = start(&KafkaSource::brokers("127.0.0.1:1").topic("t")).unwrap_err().to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("refused"), "{text}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn c10_partitions_and_topics_that_appear_are_read_from_their_first_record() {
    let t = topic("grows", 1, &[]);
    produce(&t, 0, &["a"]);
    let kafka =
        KafkaSource::brokers(brokers()).pattern(&format!("{t}(-more)?-?[0-9-]*")).discover_every(Duration::from_millis(100));
    let mut splits = KafkaEnumerator::new(&kafka).unwrap();
    assert_eq!(splits.start().unwrap(), [SplitOffset { split: split(&t, 0), from: 1 }]);
    assert_eq!(splits.discover().unwrap(), []);
    grow(&t, 2);
    produce(&t, 1, &["b"]);
    let more = topic(&format!("{t}-more"), 1, &[]);
    let mut found = Vec::new();
    eventually("both splits", || {
        found.extend(splits.discover().unwrap());
        found.len() >= 2
    });
    found.sort_by_key(|s| s.split.clone());
    assert_eq!(found, [SplitOffset { split: split(&t, 1), from: 0 }, SplitOffset { split: split(&more, 0), from: 0 }]);
}

#[test]
fn c10_discovery_does_not_wait_for_brokers() {
    let (t, proxy) = (topic("dead", 1, &[]), Proxy::before(&brokers()));
    let kafka = KafkaSource::brokers(&proxy.address).topic(&t).discover_every(Duration::from_millis(1));
    let mut splits = KafkaEnumerator::new(&kafka).unwrap();
    splits.start().unwrap();
    proxy.hang(true);
    // The brokers do not answer any more. A call that waited for them would take ten seconds.
    eventually("the proxy drops bytes", || {
        assert_eq!(splits.discover().unwrap(), []);
        proxy.swallowed() > 0
    });
    let asked = Instant::now();
    (0..1_000).for_each(|_| assert_eq!(splits.discover().unwrap(), []));
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
}

#[test]
fn c10_c11_a_restarted_job_gets_only_new_splits() {
    let t = topic("resume", 2, &[]);
    produce(&t, 0, &["a", "b"]);
    produce(&t, 1, &["c"]);
    delete_before(&t, 0, 1);
    let kafka = KafkaSource::brokers(brokers()).topic(&t).start(StartFrom::from_offsets([(&*t, 0, 0)]));
    assert!(start(&kafka).is_err(), "offset 0 has expired");
    let resumed = |known: &[i32]| {
        let mut splits = KafkaEnumerator::new(&kafka).unwrap();
        splits.restore(known.iter().map(|p| SplitOffset { split: split(&t, *p), from: 7 }).collect(), &[]).unwrap();
        splits.start()
    };
    assert_eq!(resumed(&[0, 1]).unwrap(), []);
    assert_eq!(resumed(&[0]).unwrap(), [SplitOffset { split: split(&t, 1), from: 0 }]);
    let text = resumed(&[0, 1, 2]).unwrap_err().to_string();
    assert!(text.contains(&t) && text.contains("partition 2"), "{text}");
}

/// If a topic was just made, or its broker just started, it may have no leader yet.
#[test]
fn c3_a_start_waits_for_a_partition_without_a_leader() {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("leaderless", 1, 1).unwrap();
    let no_leader = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 5];
    let begins = |start| {
        mock.request_errors(RDKafkaApiKey::ListOffsets, &no_leader);
        let began = Instant::now();
        let kafka = KafkaSource::brokers(mock.bootstrap_servers()).topic("leaderless").start(start);
        let from = self::start(&kafka).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "the start must have met the errors: {:?}", began.elapsed());
        from
    };
    assert_eq!(begins(StartFrom::earliest()), [0]);
    assert_eq!(begins(StartFrom::latest()), [0]);
}
