//! Offsets that are committed to the consumer group: none, the ends of batches, or those that the program chooses.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{PATIENCE, brokers, produce, topic};
use crate::recorder::{Recorder, builder, earliest, eventually, log_of};

/// The committed offsets of a group, for the partitions of a topic that have one.
pub fn committed(group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    (0..2).for_each(|p| _ = asked.add_partition(topic, p));
    let found = consumer.committed_offsets(asked, PATIENCE).unwrap();
    let at = |o| if let Offset::Offset(o) = o { Some(o) } else { None };
    found.elements().iter().filter_map(|e| Some((e.partition(), at(e.offset())?))).collect()
}

fn records(name: &str) -> String {
    let t = topic(name, 2, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    produce(&t, 1, &["d", "e"]);
    t
}

#[test]
fn offsets_are_committed_by_default_and_not_with_off() {
    for (which, want) in [(CommitOffsets::Off, &[][..]), (CommitOffsets::Automatic, &[(0, 3), (1, 2)])] {
        let (t, dir) = (records("group"), TempDir::new("group"));
        let seen = Recorder::default();
        let kafka = earliest(&t).group_id(&t).commit_offsets(which);
        let job = builder(2).checkpoint(dir.path()).start(seen.slowly(kafka, millis(0))).unwrap();
        eventually("the records", || seen.records() == 5);
        job.stop_gracefully().unwrap();
        assert_eq!(committed(&t, &t), want.iter().copied().collect());
    }
    // Without a checkpoint directory a job cannot continue there, so the default commits no offsets.
    let t = records("group-without");
    let seen = Recorder::default();
    let job = seen.start(earliest(&t).group_id(&t), 2);
    eventually("the records", || seen.records() == 5);
    job.stop_gracefully().unwrap();
    assert_eq!(committed(&t, &t), BTreeMap::new());
}

#[test]
fn only_the_offsets_that_a_program_chooses_are_committed() {
    let t = records("group-user");
    let offsets = GroupOffsets::new();
    let (given, kafka) = (offsets.clone(), earliest(&t).group_id(&t).commit_offsets(CommitOffsets::ByUser(offsets.clone())));
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    let job = builder(2).start(move |ssc| {
        let (given, counted) = (given.clone(), counted.clone());
        ssc.kafka_direct_stream(kafka.clone()).foreach_batch(move |batch| {
            counted.fetch_add(batch.len(), std::sync::atomic::Ordering::SeqCst);
            // The program commits only one partition.
            let ranges = batch.offset_ranges().iter().filter(|r| r.partition == 1);
            given.commit(&ranges.cloned().collect::<Vec<_>>());
            Ok(())
        });
        Ok(())
    });
    let job = job.unwrap();
    eventually("the commit", || committed(&t, &t) == BTreeMap::from([(1, 2)]));
    eventually("all records", || count.load(std::sync::atomic::Ordering::SeqCst) == 5);
    offsets.commit(&[OffsetRange::new(&t, 0, 0, 2)]);
    // The job also commits offsets that still wait when it ends.
    job.stop_gracefully().unwrap();
    assert_eq!(committed(&t, &t), BTreeMap::from([(0, 2), (1, 2)]));
    assert_eq!(offsets.waiting(), []);
}

/// The source assigns partitions and does not subscribe, so two jobs of one group do not take partitions from each other.
#[test]
fn c35_two_jobs_of_one_group_read_all_of_a_topic_each() {
    let t = records("shared");
    let (one, other) = (Recorder::default(), Recorder::default());
    let jobs = [&one, &other].map(|seen| seen.start(earliest(&t).group_id("shared").commit_offsets(CommitOffsets::Automatic), 2));
    eventually("the records", || one.records() == 5 && other.records() == 5);
    produce(&t, 1, &["f"]);
    eventually("one more", || one.records() == 6 && other.records() == 6);
    jobs.into_iter().for_each(|job| _ = job.stop_gracefully().unwrap());
    let log = log_of(&brokers(), &t).0;
    assert_eq!((one.checked(), other.checked()), (log.clone(), log));
}
