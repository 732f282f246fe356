//! Verbs that return failures as data: good rows, and bad records with their batch, their bytes and the reason.

use std::collections::BTreeMap;

use tidemill::prelude::*;

use crate::harness::{agrees, bag, each};

const LINE: &str = "[1-4x]{1,2}";

/// The bad record that the models expect for a line in a partition of batch `time`.
fn bad(time: usize, partition: usize, line: &str) -> BadRecord {
    BadRecord {
        origin: "test".into(),
        partition: partition as i32,
        offset: -1,
        time: BatchTime::from_millis(time as u64 + 1),
        raw: line.as_bytes().to_vec(),
        key: None,
        headers: Vec::new(),
        verb: String::new(),
        reason: line.parse::<u32>().unwrap_err().to_string(),
    }
}

/// The errors of a verb, without its place.
fn errors_of<'s, T: 'static>(verb: &'static str, decoded: &Decoded<'s, T>) -> DStream<'s, BadRecord> {
    decoded.errors().map(move |mut bad| {
        assert!(bad.verb.starts_with(&format!("{verb} (fallible.rs:")), "{}", bad.verb);
        bad.verb.clear();
        bad
    })
}

fn errors(given: Vec<Vec<String>>) -> Vec<Vec<BadRecord>> {
    let batch = |(t, lines): (usize, Vec<String>)| {
        // The harness deals a batch to four partitions.
        let partition = |i| (0..4).rfind(|l| lines.len() * l / 4 <= i).unwrap_or(0);
        lines.iter().enumerate().filter(|(_, l)| l.contains('x')).map(|(i, l)| bad(t, partition(i), l)).collect()
    };
    given.into_iter().enumerate().map(batch).collect()
}

fn numbers(lines: &[String]) -> impl Iterator<Item = u32> {
    lines.iter().filter_map(|l| l.parse().ok())
}

#[test]
fn try_map() {
    each(LINE, |s| s.try_map(|l: &String| Ok(l.parse::<u32>()?)).oks(), |lines| numbers(&lines).collect());
    agrees(LINE, |s| errors_of("try_map", &s.try_map(|l: &String| Ok(l.parse::<u32>()?))), errors);
}

#[test]
fn try_flat_map() {
    let few = |l: &String| Ok(l.parse::<u32>().map(|n| 0..n % 4)?);
    each(LINE, move |s| s.try_flat_map(few).oks(), |lines| numbers(&lines).flat_map(|n| 0..n % 4).collect());
    agrees(LINE, move |s| errors_of("try_flat_map", &s.try_flat_map(few)), errors);
}

#[test]
fn try_count_by() {
    let count = |l: &String, out: &mut tidemill::operator::KeyCounter<'_, u32>| {
        let n = l.parse()?;
        out.push(&n);
        Ok(())
    };
    let model = |lines: Vec<String>| {
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        numbers(&lines).for_each(|n| *counts.entry(n).or_default() += 1);
        bag(counts)
    };
    each(LINE, move |s| s.try_count_by(count).oks(), model);
    agrees(LINE, move |s| errors_of("try_count_by", &s.try_count_by(count)), errors);
}

/// Good rows and errors of one verb in one job.
#[test]
fn oks_and_errors() {
    each(
        LINE,
        |s| {
            let parsed = s.try_map(|l: &String| Ok(l.parse::<u32>()?));
            parsed.oks().map(|n| n.to_string()).union(&parsed.errors().map(|e| String::from_utf8(e.raw).unwrap()))
        },
        |lines| {
            let (oks, bad): (Vec<String>, Vec<String>) = lines.into_iter().partition(|l| !l.contains('x'));
            [oks, bad].concat()
        },
    );
}

/// Origin, partition, offset and bytes of bad records.
type Places = Vec<(String, i32, i64, String)>;

/// Runs a program and returns the places of its bad records.
fn places(
    workers: u16,
    program: impl for<'s> Fn(&StreamingContext<'s>) -> Decoded<'s, i64> + Send + Sync + 'static,
) -> (Vec<i64>, Places) {
    let (oks, errors) = (MemorySink::new(), MemorySink::new());
    let out = (oks.clone(), errors.clone());
    let job = StreamingContext::builder("places", millis(20)).workers(workers).start(move |ssc| {
        let parsed = program(ssc);
        parsed.oks().to_memory(&out.0);
        parsed.errors().to_memory(&out.1);
        Ok(())
    });
    let job = job.unwrap();
    crate::harness::eventually("all records are read", || oks.rows().len() >= 3 && errors.rows().len() >= 2);
    job.stop_now().unwrap();
    let place = |bad: BadRecord| (bad.origin, bad.partition, bad.offset, String::from_utf8(bad.raw).unwrap());
    (oks.rows(), errors.rows().into_iter().map(place).collect())
}

/// Decodes numbers after narrow verbs that change or drop rows.
fn numbers_after_narrow_verbs<'s>(lines: &DStream<'s, String>) -> Decoded<'s, i64> {
    let words = lines.filter(|l| l != "skip").map(|l| l + " ").flat_map(|l| l.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let words =
        words.filter(|w| !w.is_empty()).map(|w| ((), w)).map_values(|w| w).union(&lines.filter(|_| false).map(|l| ((), l)));
    let words = words.flat_map_values(|w| [w]).values().map(|w| (w, ())).keys().sample(1.0, 1);
    let checked = words.try_map(|w| if w == "bad" { Err("bad".into()) } else { Ok(w.clone()) }).oks();
    checked.flat_map_into(|w, out| out.push(w.clone())).try_map(|w| Ok(w.parse::<i64>()?))
}

#[test]
fn bad_records_of_messages_keep_their_place_after_narrow_verbs() {
    for workers in [1, 2, 4] {
        let message = |topic: &'static str, offset, value: &str| {
            tidemill::connector::message::Message::new(topic, 3, offset, None, None, Some(value.as_bytes()))
        };
        let first = vec![message("a", 7, "1 x"), message("a", 9, "skip"), message("b", 11, "bad 2")];
        let queue = QueueSource::from_batches([first, vec![message("a", 12, "y 3 bad")]]);
        let (oks, errors) = places(workers, move |ssc| {
            let messages = ssc.queue_stream(&queue).filter(|m| m.offset() != 9).map(|m| m);
            numbers_after_narrow_verbs(&messages.pairs().oks().map_values(|v| v).map(|(_, v)| v))
        });
        assert_eq!(oks, [1, 2, 3]);
        let expected = [("a", 7, "1 x"), ("a", 12, "y 3 bad")];
        assert_eq!(errors, expected.map(|(topic, offset, value)| (topic.to_owned(), 3, offset, value.to_owned())));
    }
}

#[test]
fn bad_records_of_files_keep_their_place_after_narrow_verbs() {
    for workers in [1, 2, 4] {
        let dir = crate::temp_dir::TempDir::made("places");
        let path = dir.join("numbers");
        std::fs::write(&path, "1 x\nskip\n2 bad\n?\n3 y\n").unwrap();
        let watched = dir.to_path_buf();
        let (oks, errors) = places(workers, move |ssc| {
            let files = TextFileSource::new(&watched).existing(true);
            numbers_after_narrow_verbs(&ssc.text_file_stream_with(files).oks())
        });
        assert_eq!(oks, [1, 2, 3]);
        let place = |offset, row: &str| (path.display().to_string(), 0, offset, row.to_owned());
        assert_eq!(errors, [place(0, "x"), place(15, "?"), place(17, "y")]);
    }
}

/// Bad records that no output reads are counted.
#[test]
fn unread_errors_are_counted() {
    let before = tidemill::operator::untaken_errors();
    let lines = ["1", "x", "2", "y", "z"].map(str::to_owned).to_vec();
    tidemill::testing::check([lines], |s| s.try_map(|l| Ok(l.parse::<u32>()?)).split().0, [vec![1, 2]]);
    let counted = tidemill::operator::untaken_errors() - before;
    assert!(counted >= 9, "three bad records in each of three jobs, but {counted}; other tests may add to it");
}
