//! The readers of one process share a client. Each worker has its partitions, and none holds up another.

use tidemill::connector::kafka::source::KafkaSource;
use tidemill::connector::source::SourceReader;

use crate::fixture::{ReaderFixture, brokers, produce, split, topic, values};

/// Two workers of a process. Worker w reads partition w.
fn two(t: &str) -> [ReaderFixture; 2] {
    let mut readers: Vec<ReaderFixture> = ReaderFixture::of_workers(&KafkaSource::brokers(brokers()).topic(t), 2);
    for (partition, fixture) in readers.iter_mut().enumerate() {
        fixture.reader.assign(partition as u32, &split(t, partition as i32), Some(0)).unwrap();
    }
    readers.try_into().ok().unwrap()
}

#[test]
fn a_worker_that_does_not_read_holds_up_no_other() {
    let t = topic("held-up", 2, &[]);
    // More than the buffer of a partition and librdkafka's queue hold.
    let large = "x".repeat(10_000);
    (0..40).for_each(|_| produce(&t, 0, &vec![&*large; 100]));
    let [mut slow, mut quick] = two(&t);
    let mut read = 0;
    for n in 0..20 {
        let rows: Vec<String> = (0..100).map(|i| (100 * n + i).to_string()).collect();
        produce(&t, 1, &rows.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(values(&quick.live(|r| r.len() == 100)), rows);
        let s = quick.seal();
        assert_eq!(s.ranges, [(1, read..read + 100)].into());
        read += 100;
    }
    assert_eq!(slow.live(|r| r.len() == 4_000).len(), 4_000, "it reads on when it wants to");
    assert_eq!(slow.seal().ranges, [(0, 0..4_000)].into());
}

#[test]
fn a_worker_that_ends_gives_up_its_partition() {
    let t = topic("given-up", 2, &[]);
    produce(&t, 0, &["a", "b"]);
    let [mut ends, mut stays] = two(&t);
    assert_eq!(values(&ends.live(|r| r.len() == 2)), ["a", "b"]);
    drop(ends);
    // The same client reads on, and takes the partition again for another worker.
    produce(&t, 1, &["c"]);
    assert_eq!(values(&stays.live(|r| r.len() == 1)), ["c"]);
    stays.reader.assign(0, &split(&t, 0), Some(1)).unwrap();
    assert_eq!(values(&stays.live(|r| r.len() == 1)), ["b"]);
    produce(&t, 0, &["d"]);
    assert_eq!(values(&stays.live(|r| r.len() == 1)), ["d"]);
    assert_eq!(stays.seal().ranges, [(0, 1..3), (1, 0..1)].into());
}
