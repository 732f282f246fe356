//! Logs of receivers: what was acknowledged is read again, by number, whatever a crash or another run has left.

use super::super::received_log::{Appender, Block, ReceivedLog};
use super::*;
use crate::core::plan::RunId;

const NAME: &str = "receiver orders";

/// A run of the directory, with the log of its receiver.
struct Run {
    checkpoints: Checkpoints,
    log: ReceivedLog,
}

impl Run {
    fn of(dir: &Path) -> Run {
        let (checkpoints, recovered) = open(dir).unwrap();
        if recovered.genesis.is_none() {
            checkpoints.begin(Origin::default()).unwrap();
        }
        let (directory, generation) = checkpoints.chunks().unwrap().id();
        let log = ReceivedLog::open(dir, RunId { directory: directory.0, generation }, NAME).unwrap();
        Run { checkpoints, log }
    }

    /// The records from `from` on. A record is its number, in eight bytes.
    fn records(&self, from: u64) -> Result<Vec<u64>> {
        let mut records = Vec::new();
        let end = self.log.read(from, |block| {
            let numbers = block.bytes.chunks(8).map(|n| u64::from_be_bytes(n.try_into().unwrap()));
            let numbers: Vec<u64> = numbers.collect();
            assert_eq!((numbers[0], numbers.len() as u32), (block.first, block.count));
            records.extend(numbers.into_iter().filter(|n| *n >= from));
            Ok(true)
        })?;
        assert_eq!(end, records.last().map_or(from, |last| last + 1));
        Ok(records)
    }
}

/// Appends a block of `count` records.
fn append(log: &mut Appender, count: u64) -> Result<()> {
    let numbers = log.next()..log.next() + count;
    log.append(count as u32, &numbers.flat_map(u64::to_be_bytes).collect::<Vec<u8>>())
}

fn all(until: u64) -> Vec<u64> {
    (0..until).collect()
}

#[test]
fn records_are_read_by_number_over_segments_and_runs() {
    let dir = Place::new("received");
    for generation in 0..3 {
        let run = Run::of(&dir);
        let mut log = run.log.append().unwrap().with_segments_of(250);
        assert_eq!(log.next(), 40 * generation);
        (0..8).for_each(|_| append(&mut log, 5).unwrap());
        for from in 0..log.next() {
            assert_eq!(run.records(from).unwrap(), (from..log.next()).collect::<Vec<_>>());
        }
    }
    assert!(dir.files("received").len() > 6, "{:?}", dir.files("received"));
    assert!(Directory::open(&dir).unwrap().verify().unwrap().bad.is_empty());
    let run = Run::of(&dir);
    let mut blocks = 0;
    let two_more = |_: Block<'_>| {
        blocks += 1;
        Ok(blocks < 3)
    };
    run.log.read(0, two_more).unwrap();
    assert_eq!(blocks, 3, "reading stops when nobody wants more");
    let e = run.records(121).unwrap_err().to_string();
    assert!(e.contains("ends before record 120") && e.contains("restore received/"), "{e}");
    let other = ReceivedLog::open(&dir, RunId { directory: 7, generation: 1 }, NAME).unwrap_err().to_string();
    assert!(other.contains("is not the checkpoint directory"), "{other}");
}

/// The last append of a run is cut at each byte. The next run continues before it, and the one after that reads what it wrote.
#[test]
fn e4_an_interrupted_append_is_never_read() {
    let made = Place::new("received-torn");
    let mut log = Run::of(&made).log.append().unwrap();
    append(&mut log, 3).unwrap();
    let file = made.files("received").remove(0);
    let acknowledged = std::fs::metadata(made.path(&file)).unwrap().len();
    append(&mut log, 2).unwrap();
    let whole = std::fs::read(made.path(&file)).unwrap();
    for cut in acknowledged as usize..whole.len() {
        std::fs::write(made.path(&file), &whole[..cut]).unwrap();
        made.files("received").iter().filter(|f| **f != file).for_each(|f| std::fs::remove_file(made.path(f)).unwrap());
        let notes = Directory::open(&made).unwrap().verify().unwrap().notes;
        assert_eq!(notes.iter().any(|n| n.contains("interrupted the last append")), cut > acknowledged as usize, "{notes:?}");
        let run = Run::of(&made);
        assert_eq!(run.records(0).unwrap(), all(3));
        append(&mut run.log.append().unwrap(), 4).unwrap();
        drop(run);
        assert_eq!(Run::of(&made).records(0).unwrap(), all(7), "cut at {cut}");
    }
}

/// A run that was suspended appends after a newer one has begun: it cannot acknowledge, and its block is not read.
#[test]
fn an_older_run_acknowledges_nothing() {
    let dir = Place::new("received-older");
    let mut older = Run::of(&dir).log.append().unwrap();
    append(&mut older, 2).unwrap();
    let newer = Run::of(&dir);
    let mut log = newer.log.append().unwrap();
    let e = append(&mut older, 5).unwrap_err().to_string();
    assert!(e.contains("a newer run has this directory"), "{e}");
    append(&mut log, 3).unwrap();
    assert_eq!(newer.records(0).unwrap(), all(5));
    assert_eq!(newer.records(3).unwrap(), [3, 4]);
}

#[test]
fn a_changed_byte_or_a_missing_segment_is_an_error() {
    let dir = Place::new("received-damage");
    let run = Run::of(&dir);
    let mut log = run.log.append().unwrap().with_segments_of(200);
    (0..9).for_each(|_| append(&mut log, 4).unwrap());
    let files = dir.files("received");
    assert_eq!(files.len(), 3);
    for file in &files {
        let right = std::fs::read(dir.path(file)).unwrap();
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            std::fs::write(dir.path(file), wrong).unwrap();
            let read = run.records(0);
            assert!(read.is_err(), "{file}, byte {at}: {read:?}");
        }
        std::fs::remove_file(dir.path(file)).unwrap();
        // Without the last one, the log is as it was before.
        let expected = if file == files.last().unwrap() { Some(24) } else { None };
        assert_eq!(run.records(0).ok(), expected.map(all), "{file} is missing");
        std::fs::write(dir.path(file), right).unwrap();
    }
    assert_eq!(run.records(0).unwrap(), all(36));
}

#[test]
fn cleaning_keeps_what_a_kept_checkpoint_needs() {
    let dir = Place::new("received-clean");
    let run = Run::of(&dir);
    let mut log = run.log.append().unwrap().with_segments_of(200);
    (0..30).for_each(|_| append(&mut log, 4).unwrap());
    let segments = dir.files("received").len();
    let mut plans = run.checkpoints.plan_log().unwrap();
    let split = Split::custom(NAME, 0);
    let mut publish = |s, next| {
        let range = Range { source: 0, split_id: 0, split: split.clone(), from: next - 20, until: next };
        let plan = plans.append(&PlanRecord { plan: Plan { time: at(s), ranges: vec![range], shown: true }, run: 0, fill: true });
        // A topic of the same name has other positions.
        let topic = Split::Kafka { topic: NAME.into(), partition: 0 };
        let position = |split_id, split, next| Position { source: split_id, split_id, split, next };
        let positions = vec![position(0, split.clone(), next), position(1, topic, 1 << 40)];
        run.checkpoints.publish(Manifest { time: at(s), plan: plan.unwrap(), positions, ..Manifest::default() }).unwrap();
        run.checkpoints.clean().unwrap().removed.into_iter().filter(|f| f.starts_with("received")).count()
    };
    assert_eq!(publish(1, 20), 0, "a checkpoint may be damaged: two are needed");
    let removed = [publish(2, 40), publish(3, 60), publish(4, 80)];
    assert!(removed.iter().all(|n| *n > 0), "{removed:?} of {segments}");
    assert_eq!(run.records(60).unwrap(), (60..120).collect::<Vec<_>>());
    let e = run.records(20).unwrap_err().to_string();
    assert!(e.contains("begins at record") && e.contains("--keep-checkpoints"), "{e}");
}

/// tests/data/received-v1 is a directory in the first format, kept for ever.
#[test]
fn every_version_reads_the_first_log() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/received-v1");
    if std::env::var_os("TIDEMILL_BLESS").is_some() {
        for blocks in [3, 2] {
            let mut log = Run::of(&kept).log.append().unwrap().with_segments_of(150);
            (0..blocks).for_each(|_| append(&mut log, 4).unwrap());
        }
    }
    let copy = Place::new("received-golden");
    for file in ["genesis"].into_iter().map(String::from).chain(files_in(&kept, "received")) {
        std::fs::create_dir_all(copy.path(&file).parent().unwrap()).unwrap();
        std::fs::copy(kept.join(&file), copy.path(&file)).unwrap();
    }
    let run = Run::of(&copy);
    assert_eq!(run.records(0).unwrap(), all(20));
    // The same records, as this version writes them.
    let directory = run.checkpoints.chunks().unwrap().id().0;
    let again = Place::new("received-golden-again");
    std::fs::create_dir_all(again.path("received")).unwrap();
    std::fs::copy(kept.join("genesis"), again.path("genesis")).unwrap();
    for (generation, blocks) in [(1, 3), (2, 2)] {
        drop(Checkpoints::open(&again, settings()).unwrap());
        let log = ReceivedLog::open(&again, RunId { directory: directory.0, generation }, NAME).unwrap();
        let mut log = log.append().unwrap().with_segments_of(150);
        (0..blocks).for_each(|_| append(&mut log, 4).unwrap());
    }
    for file in files_in(&kept, "received") {
        assert_eq!(std::fs::read(kept.join(&file)).unwrap(), std::fs::read(again.path(&file)).unwrap(), "{file}");
    }
}
