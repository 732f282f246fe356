//! The records that a batch gets from a partition, and when a given range is complete.

use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer};
use tidemill::connector::kafka::source::{KafkaSource, Tombstones};
use tidemill::connector::message::Message;
use tidemill::connector::source::SourceReader;
use tidemill::core::plan::Limits;

use crate::fixture::{
    PATIENCE, ReaderFixture, brokers, delete_before, produce, producer, range, send, split, topic, transactional, values,
};
use crate::recorder::eventually;

#[test]
fn live_batches_follow_each_other_without_gap() {
    let t = topic("live", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    let mut fixture = ReaderFixture::of(&t, Some(1));
    assert_eq!(values(&fixture.live(|r| r.len() == 2)), ["b", "c"]);
    assert_eq!(fixture.sealed(), (1, 3));
    assert_eq!(fixture.sealed(), (3, 3));
    produce(&t, 0, &["d"]);
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["d"]);
    let s = fixture.seal();
    assert_eq!((s.ranges, s.lag, fixture.reader.health()), ([(0, 3..4)].into(), [(0, 0)].into(), Ok(())));
}

#[test]
fn c17_a_message_has_everything_that_was_sent() {
    let t = topic("whole", 1, &[]);
    let p = producer(&[]);
    let headers =
        OwnedHeaders::new().insert(Header { key: "h", value: Some("1") }).insert(Header::<&str> { key: "h", value: None });
    p.send(BaseRecord::to(&t).key("k").payload("v").headers(headers).timestamp(1234)).map_err(|(e, _)| e).unwrap();
    p.send(BaseRecord::<str, str>::to(&t).key("k")).map_err(|(e, _)| e).unwrap();
    p.send(BaseRecord::<str, str>::to(&t).key("").payload("")).map_err(|(e, _)| e).unwrap();
    p.flush(PATIENCE).unwrap();
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).include_headers());
    fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
    let rows = fixture.live(|r| r.len() == 3);
    let m: &Message = &rows[0];
    assert_eq!((m.topic(), m.partition(), m.offset(), m.timestamp()), (&*t, 0, 0, Some(1234)));
    assert_eq!((m.key(), m.value().unwrap()), (Some(&b"k"[..]), &b"v"[..]));
    assert_eq!(m.headers().collect::<Vec<_>>(), [("h", Some(&b"1"[..])), ("h", None)]);
    assert_eq!((rows[1].key(), rows[1].value_opt(), rows[1].value().is_err()), (Some(&b"k"[..]), None, true));
    assert_eq!((rows[2].key(), rows[2].value_opt()), (Some(&b""[..]), Some(&b""[..])));
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).tombstones(Tombstones::Skip));
    fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
    let rows = fixture.live(|r| r.len() == 2);
    assert_eq!((values(&rows), rows[0].headers().count()), (vec!["v".to_string(), String::new()], 0));
    assert_eq!(fixture.sealed(), (0, 3), "the range includes the skipped record");
}

#[test]
fn an_empty_topic_gives_empty_batches_and_one_wake_up() {
    let t = topic("empty", 1, &[]);
    let mut fixture = ReaderFixture::of(&t, Some(0));
    assert!(fixture.wait(PATIENCE), "the reader reports the end of the partition");
    assert!(fixture.live(|_| true).is_empty());
    assert_eq!(fixture.sealed(), (0, 0));
    assert!(!fixture.wait(Duration::from_millis(700)));
    assert_eq!(fixture.range(&range(&t, 0, 0, 0)).unwrap(), [""; 0]);
}

#[test]
fn a_partition_at_its_limit_does_not_delay_another() {
    let t = topic("limit", 2, &[]);
    let many: Vec<String> = (0..25).map(|i| i.to_string()).collect();
    produce(&t, 0, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let mut fixture = ReaderFixture::of(&t, Some(0));
    fixture.reader.assign(1, &split(&t, 1), Some(0)).unwrap();
    fixture.reader.limit(Limits::each(10));
    for (from, until) in [(0, 10), (10, 20), (20, 25)] {
        fixture.live(|r| r.len() as i64 == until - from);
        produce(&t, 1, &["x"]);
        assert_eq!(values(&fixture.live(|r| !r.is_empty())), ["x"]);
        let s = fixture.seal();
        assert_eq!(s.ranges[&0], from..until);
        assert_eq!(s.ranges[&1].end - s.ranges[&1].start, 1);
        fixture.reader.limit(Limits::each(10));
    }
}

#[test]
fn c13_c14_aborted_and_open_transactions_are_never_read() {
    let t = topic("txn", 1, &[]);
    let p = transactional(&t);
    for (values, commit) in [(["a", "b"], true), (["x", "y"], false), (["c", "d"], true)] {
        p.begin_transaction().unwrap();
        send(&p, &t, 0, &values);
        if commit { p.commit_transaction(PATIENCE).unwrap() } else { p.abort_transaction(PATIENCE).unwrap() }
    }
    // a b C x y A c d C: the last commit marker is at offset 8.
    p.begin_transaction().unwrap();
    send(&p, &t, 0, &["e"]);
    let mut fixture = ReaderFixture::of(&t, Some(0));
    assert_eq!(values(&fixture.live(|r| r.len() == 4)), ["a", "b", "c", "d"]);
    let mut until = 0;
    eventually("the end of what is committed", || {
        assert!(fixture.live(|_| true).is_empty());
        until = fixture.sealed().1;
        until >= 9
    });
    assert_eq!(until, 9, "the range extends over the marker, but not into the open transaction");
    p.commit_transaction(PATIENCE).unwrap();
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["e"]);

    let mut fixture = ReaderFixture::of(&t, None);
    let give = [(0, 3, vec!["a", "b"]), (3, 6, vec![]), (6, 8, vec!["c", "d"]), (8, 9, vec![]), (9, 11, vec!["e"])];
    for (from, until, want) in &give {
        assert_eq!(fixture.range(&range(&t, 0, *from, *until)).unwrap(), *want, "[{from}, {until})");
    }
    for (from, until, want) in give.iter().rev() {
        assert_eq!(fixture.range(&range(&t, 0, *from, *until)).unwrap(), *want, "backwards [{from}, {until})");
    }
}

#[test]
fn given_ranges_are_read_exactly_and_live_reading_continues_after_them() {
    let t = topic("given", 1, &[]);
    produce(&t, 0, &["a", "b", "c", "d", "e", "f"]);
    assert_eq!(
        ReaderFixture::of(&t, Some(5)).range(&range(&t, 0, 2, 4)).unwrap(),
        ["c", "d"],
        "a new assignment takes effect at once"
    );
    let mut fixture = ReaderFixture::of(&t, None);
    assert!(fixture.seal().ranges.is_empty(), "the position is not set yet");
    assert_eq!(fixture.range(&range(&t, 0, 1, 3)).unwrap(), ["b", "c"]);
    assert_eq!(fixture.range(&range(&t, 0, 3, 4)).unwrap(), ["d"]);
    assert_eq!(fixture.range(&range(&t, 0, 0, 1)).unwrap(), ["a"], "an earlier range");
    assert_eq!(fixture.range(&range(&t, 0, 4, 5)).unwrap(), ["e"], "a range after a gap");
    fixture.reader.assign(0, &split(&t, 0), Some(5)).unwrap();
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["f"]);
    assert_eq!(fixture.sealed(), (5, 6));
}

#[test]
fn c15_an_outdated_end_of_a_partition_completes_no_range() {
    let t = topic("stale", 1, &[]);
    produce(&t, 0, &["a", "b"]);
    let mut fixture = ReaderFixture::of(&t, Some(0));
    assert!(fixture.wait(PATIENCE));
    std::thread::sleep(Duration::from_millis(300));
    produce(&t, 0, &["c", "d"]);
    assert_eq!(fixture.range(&range(&t, 0, 0, 4)).unwrap(), ["a", "b", "c", "d"]);
    produce(&t, 0, &["e"]);
    assert_eq!(fixture.range(&range(&t, 0, 4, 5)).unwrap(), ["e"]);
}

#[test]
fn c6_c7_a_range_outside_the_log_is_an_error_with_the_bounds_of_the_log() {
    let t = topic("gone", 1, &[]);
    produce(&t, 0, &["a", "b", "c", "d"]);
    delete_before(&t, 0, 2);
    for (from, until) in [(0, 3), (2, 9), (7, 9)] {
        let text = ReaderFixture::of(&t, None).range(&range(&t, 0, from, until)).unwrap_err().to_string();
        let given = format!("[{from}, {until})");
        assert!(text.contains(&t) && text.contains("partition 0") && text.contains(&given) && text.contains("2 to 4"), "{text}");
    }
    let mut fixture = ReaderFixture::of(&t, Some(2));
    assert_eq!(fixture.live(|r| r.len() == 2).len(), 2);
    let text = fixture.range(&range(&t, 0, 4, 6)).unwrap_err().to_string();
    assert!(text.contains("ends before 6"), "{text}");
}

#[test]
fn c5_live_reading_stops_where_records_were_deleted() {
    let t = topic("aged", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    delete_before(&t, 0, 2);
    let (mut fixture, end) = (ReaderFixture::of(&t, Some(0)), Instant::now() + PATIENCE);
    let text = loop {
        match fixture.reader.read(&mut |_, _, _| panic!("there is nothing at 0")) {
            Err(e) => break e.to_string(),
            Ok(_) => assert!(fixture.wait(PATIENCE) && Instant::now() < end),
        }
    };
    assert!(text.contains(&t) && text.contains("offset 0") && text.contains("2 to 3"), "{text}");
}

#[test]
fn c12_ranges_go_over_the_gaps_of_a_compacted_topic() {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "100"),
    ];
    let t = topic("compact", 1, &config);
    let p = producer(&[]);
    let put = |key: &str, value: &str| {
        p.send(BaseRecord::to(&t).key(key).payload(value)).map_err(|(e, _)| e).unwrap();
        p.flush(PATIENCE).unwrap();
    };
    (0..10).for_each(|i| put("same", &i.to_string()));
    let end = Instant::now() + PATIENCE;
    let mut last = 10;
    // Kafka compacts only closed segments, and closes one when a record arrives after `segment.ms`.
    loop {
        std::thread::sleep(Duration::from_millis(300));
        put("other", "o");
        last += 1;
        let left = ReaderFixture::of(&t, None).range(&range(&t, 0, 0, 10)).unwrap();
        if left == ["9"] {
            break;
        }
        assert!(Instant::now() < end, "Kafka did not compact: {left:?}");
    }
    let mut fixture = ReaderFixture::of(&t, None);
    assert_eq!(fixture.range(&range(&t, 0, 0, 5)).unwrap(), [""; 0]);
    assert_eq!(fixture.range(&range(&t, 0, 5, 10)).unwrap(), ["9"]);
    fixture.range(&range(&t, 0, 10, last)).unwrap();
}

#[test]
fn c2_brokers_that_go_away_are_reported_and_are_not_an_error() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    let p: rdkafka::producer::BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", &at).create().unwrap();
    send(&p, "t", 0, &["a"]);
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(&at).topic("t"));
    fixture.reader.assign(0, &split("t", 0), Some(0)).unwrap();
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["a"]);
    mock.broker_down(-1).unwrap();
    let wait = |fixture: &mut ReaderFixture, want: bool| {
        let end = Instant::now() + PATIENCE;
        loop {
            fixture.live(|_| true);
            fixture.seal();
            let trouble = fixture.reader.health().err();
            if trouble.is_some() == want {
                return trouble;
            }
            assert!(Instant::now() < end, "trouble is {trouble:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert!(wait(&mut fixture, true).unwrap().contains(&at));
    mock.broker_up(-1).unwrap();
    wait(&mut fixture, false);
    send(&p, "t", 0, &["b"]);
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["b"]);
}

#[test]
fn a_reader_is_dropped_at_once_even_without_a_broker() {
    let t = topic("drop", 1, &[]);
    let fixture = ReaderFixture::of(&t, Some(0));
    fixture.wait(PATIENCE);
    // A drop that waited for the broker would take a minute, librdkafka's socket.timeout.ms.
    let began = Instant::now();
    drop(fixture);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers("127.0.0.1:1").topic("t"));
    fixture.reader.assign(0, &split("t", 0), Some(0)).unwrap();
    eventually("trouble", || {
        fixture.seal();
        fixture.reader.health().is_err_and(|t| t.contains("127.0.0.1:1"))
    });
    let began = Instant::now();
    drop(fixture);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
