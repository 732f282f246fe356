//! Bad records that a running job reads once more: windows and totals are those of a run that had them right at once, on any number of
//! workers, through kills and restarts.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidemill::checkpoint::Directory;
use tidemill::connector::source::*;
use tidemill::core::correction::Corrected;

use super::*;
use crate::harness::{bag, cases, eventually};
use crate::temp_dir::TempDir;

type Row = (u8, i64);

/// In how many partitions the source has each batch.
const PARTITIONS: i32 = 3;

/// A source of texts that a test feeds, a batch at a time. It can be read again.
#[derive(Clone, Default)]
struct Fed(Arc<Mutex<Vec<Vec<String>>>>);

struct Half {
    fed: Fed,
    next: i64,
}

impl Fed {
    fn push(&self, batch: Vec<String>) {
        self.0.lock().unwrap().push(batch);
    }
}

impl Source for Fed {
    type Item = String;

    fn name(&self) -> String {
        "fed".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(Half { fed: self.clone(), next: 0 }))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<String>>> {
        Ok(Box::new(Half { fed: self.clone(), next: 0 }))
    }
}

impl SplitEnumerator for Half {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        self.next = read.iter().map(|split| split.from).max().unwrap_or(0);
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Ok((0..PARTITIONS).map(|p| SplitOffset { split: Split::custom("fed", p), from: 0 }).collect())
    }

    fn plan(&mut self) -> tidemill::Result<Vec<SplitRange>> {
        if self.next as usize == self.fed.0.lock().unwrap().len() {
            return Ok(Vec::new());
        }
        self.next += 1;
        let range = |p| SplitRange { split: Split::custom("fed", p), from: self.next - 1, until: self.next };
        Ok((0..PARTITIONS).map(range).collect())
    }

    fn planned(&self) -> bool {
        true
    }
}

impl SourceReader<String> for Half {
    fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> tidemill::Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, String>) -> tidemill::Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _: &mut Emit<'_, String>) -> tidemill::Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, id: u32, range: &SplitRange, emit: &mut Emit<'_, String>) -> tidemill::Result<bool> {
        let fed = self.fed.0.lock().unwrap();
        let of = |(i, _): &(usize, &String)| *i as i32 % PARTITIONS == range.split.partition();
        let rows = |batch: &Vec<String>| batch.iter().enumerate().filter(of).map(|(_, text)| text.clone()).collect::<Vec<_>>();
        emit(id, fed[range.from as usize..range.until as usize].iter().flat_map(rows).collect(), 8);
        Ok(true)
    }
}

/// A row, and whether the program can read it only after it was mended.
type Fact = (Row, bool);

fn text(((k, n), bad): &Fact) -> String {
    format!("{}{k} {n}", if *bad { "!" } else { "" })
}

fn read(text: &str, mended: bool) -> Result<Row, BoxError> {
    let text = text.strip_prefix('!').filter(|_| mended).unwrap_or(text);
    let (k, n) = text.split_once(' ').ok_or("no space")?;
    Ok((k.parse()?, n.parse()?))
}

/// What the outputs have written by batch time, as text. A batch that is written again has the same rows.
type Written = BTreeMap<(&'static str, u64), Vec<String>>;

/// Windows, each with its length and slide, and the totals without one.
const WINDOWS: [(&str, u64, u64); 9] = [
    ("over", 6, 2),
    ("over, every batch", 3, 1),
    ("over with panes", 6, 4),
    ("over with gaps", 2, 5),
    ("max", 6, 2),
    ("sum", 5, 1),
    ("window", 4, 2),
    ("groups", 4, 1),
    ("totals", u64::MAX, 1),
];

/// A job of one program. A version that is not mended finds bad records.
struct Run {
    job: JobHandle,
    sinks: Vec<(&'static str, MemorySink<String>)>,
    dead: MemorySink<BadRecord>,
}

fn lines<'s, T: Data + std::fmt::Debug>(rows: &DStream<'s, T>) -> DStream<'s, String> {
    rows.map(|row| format!("{row:?}"))
}

fn start(dir: &str, workers: u16, mended: bool, fed: &Fed, clock: &ManualClock) -> Run {
    let sinks: Vec<_> = WINDOWS.iter().map(|(name, ..)| (*name, MemorySink::new())).collect();
    let (dead, fed, out) = (MemorySink::new(), fed.clone(), sinks.clone());
    let letters = dead.clone();
    let builder = job(workers).checkpoint(dir).checkpoint_interval(millis(2 * TICK));
    let started = builder.start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.from_source(fed.clone()).try_map(move |line: &String| read(line, mended));
        rows.errors().dead_letters(letters.clone());
        for ((name, length, slide), (_, sink)) in WINDOWS.iter().zip(&out) {
            let (length, slide) = (millis(length.saturating_mul(TICK).min(1_000_000)), millis(slide * TICK));
            let written = match *name {
                "max" => lines(&rows.reduce_by_key_and_window(|a, b| a.max(b), length, slide).complete()),
                "sum" => {
                    let sums = rows.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, length, slide).complete();
                    // A key keeps its row when its values have left.
                    lines(&sums.filter(|(_, n)| *n != 0))
                }
                "window" => lines(&rows.window(length, slide)),
                "groups" => lines(&rows.group_by_key_and_window(length, slide).map(|(k, values)| (k, bag(values)))),
                "totals" => lines(&rows.sum_by_key().complete()),
                _ => lines(&rows.over(length, slide).complete()),
            };
            written.to_memory(sink);
        }
        Ok(())
    });
    Run { job: started.unwrap(), sinks, dead }
}

impl Run {
    /// Whether all outputs have written the batch of this time.
    fn has_written(&self, time: u64) -> bool {
        // The last output of the program writes a batch after the others, and every batch.
        self.sinks.last().unwrap().1.batches().last().is_some_and(|(t, _)| t.millis() >= time)
    }
}

/// Notes what the outputs have written.
fn note(sinks: &[(&'static str, MemorySink<String>)], all: &mut Written) {
    for (name, sink) in sinks {
        for (t, rows) in sink.batches() {
            let rows = bag(rows);
            let before = all.insert((*name, t.millis()), rows.clone());
            assert!(before.as_ref().is_none_or(|before| *before == rows), "{name} at {t}: {before:?}, and again {rows:?}");
        }
    }
}

/// What a window holds at a batch time, by its definition.
fn model(name: &str, (length, slide): (u64, u64), now: u64, rows: &BTreeMap<u64, Vec<Row>>) -> Vec<String> {
    if !now.is_multiple_of(slide * TICK) {
        return Vec::new();
    }
    let left = now.saturating_sub(length.saturating_mul(TICK));
    let inside = rows.range(left + 1..=now).flat_map(|(_, rows)| rows.iter().copied());
    let by_key = || {
        let mut keys: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
        inside.clone().for_each(|(k, n)| keys.entry(k).or_default().push(n));
        keys
    };
    let row = |k: u8, n: i64| format!("{:?}", (k, n));
    bag(match name {
        "max" => by_key().into_iter().map(|(k, all)| row(k, all.into_iter().max().unwrap())).collect::<Vec<_>>(),
        "sum" | "totals" => {
            by_key().into_iter().map(|(k, all)| row(k, all.into_iter().sum())).filter(|row| !row.ends_with(" 0)")).collect()
        }
        "groups" => by_key().into_iter().map(|(k, all)| format!("{:?}", (k, bag(all)))).collect(),
        _ => inside.map(|(k, n)| row(k, n)).collect(),
    })
}

/// The rows of each batch of the plan log, as a run has them that reads all records at once; and the batches that are corrections.
fn planned(dir: &str, facts: &[Vec<Fact>]) -> (BTreeMap<u64, Vec<Row>>, BTreeMap<u64, u64>) {
    let (mut rows, mut corrections) = (BTreeMap::new(), BTreeMap::new());
    for record in Directory::open(Path::new(dir)).unwrap().plans().unwrap() {
        let (t, plan) = (record.plan.time.millis(), &record.plan);
        if let Some(of) = plan.corrects() {
            corrections.insert(t, of.millis());
        } else if let Some(range) = plan.ranges.first() {
            let of = facts[range.from as usize..range.until as usize].iter().flatten();
            rows.insert(t, of.map(|(row, _)| *row).collect::<Vec<_>>());
        }
    }
    (rows, corrections)
}

#[derive(Clone, Debug)]
struct Script {
    facts: Vec<Vec<Fact>>,
    /// After this many batches the job is killed, mended, and gets its bad records back.
    mended: usize,
    /// After so many more it is killed again.
    killed: usize,
    workers: [u16; 3],
}

fn follow(script: &Script) {
    let dir = TempDir::new("corrections");
    let (fed, clock, mut written) = (Fed::default(), ManualClock::at(5), Written::new());
    let now = Cell::new(0);
    let tick = |run: &Run, batch: Option<&Vec<Fact>>| {
        batch.into_iter().for_each(|facts| fed.push(facts.iter().map(text).collect()));
        now.set(now.get() + TICK);
        clock.set(now.get());
        eventually("the batch is written", || run.has_written(now.get()));
    };
    let mut facts = script.facts.iter();
    let run = start(dir.path(), script.workers[0], false, &fed, &clock);
    facts.by_ref().take(script.mended).for_each(|batch| tick(&run, Some(batch)));
    let (sinks, dead) = (run.sinks.clone(), run.dead.clone());
    // Batches that run again in the mended program would have the records without a correction.
    run.job.stop_gracefully().unwrap();
    note(&sinks, &mut written);
    let letters = dead.rows();
    now.set(Directory::open(Path::new(dir.path())).unwrap().plans().unwrap().last().unwrap().plan.time.millis());

    let run = start(dir.path(), script.workers[1], true, &fed, &clock);
    let mut corrected: Vec<Corrected> = Vec::new();
    std::thread::scope(|s| {
        let asked = s.spawn(|| run.job.correct(&letters));
        while !asked.is_finished() {
            tick(&run, facts.next());
        }
        corrected = asked.join().unwrap().unwrap();
    });
    facts.by_ref().take(script.killed).for_each(|batch| tick(&run, Some(batch)));
    note(&run.sinks, &mut written);
    run.job.stop_now().unwrap();

    let run = start(dir.path(), script.workers[2], true, &fed, &clock);
    facts.by_ref().for_each(|batch| tick(&run, Some(batch)));
    (0..8).for_each(|_| tick(&run, None));
    note(&run.sinks, &mut written);
    run.job.stop_now().unwrap();

    let (rows, corrections) = planned(dir.path(), &script.facts);
    let expected: BTreeSet<u64> = letters.iter().map(|letter| letter.time.millis()).collect();
    assert_eq!(corrections.values().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(corrected.iter().map(|c| (c.batch.millis(), c.of.millis())).collect::<BTreeMap<_, _>>(), corrections);
    assert_eq!(corrected.iter().map(|c| c.records).sum::<usize>(), letters.len());
    let mut checked = 0;
    for ((name, t), seen) in &written {
        let (_, length, slide) = WINDOWS.iter().find(|(other, ..)| other == name).unwrap();
        // Between the first correction and the last one some are there and some are not.
        if corrections.keys().any(|c| c > t) {
            continue;
        }
        checked += 1;
        assert_eq!(*seen, model(name, (*length, *slide), *t, &rows), "{name} at {t}, corrections {corrections:?}");
    }
    // Of the last eight batches, which have no rows, those windows that slide with every batch alone have so many.
    assert!(checked >= 40, "{checked} of {}", written.len());
}

#[test]
fn windows_after_a_correction_are_those_of_a_run_that_had_the_records_at_once() {
    let facts = proptest::collection::vec(((0..4u8, -3..50i64), prop::bool::weighted(0.2)), 0..12);
    let script = (
        proptest::collection::vec(facts, 6..12),
        1..6usize,
        0..3usize,
        prop::array::uniform3(prop::sample::select(vec![1, 2, 4])),
    );
    cases(5, script, |(facts, mended, killed, workers)| {
        follow(&Script { facts, mended, killed, workers });
        Ok(())
    });
}

#[test]
fn a_window_that_has_left_is_named_and_stays() {
    let dir = TempDir::new("left");
    let (fed, clock) = (Fed::default(), ManualClock::at(5));
    let run = start(dir.path(), 2, false, &fed, &clock);
    fed.push(vec!["1 5".into(), "!1 7".into()]);
    for batch in 1..=4 {
        clock.set(batch * TICK);
        eventually("the batch is written", || run.has_written(batch * TICK));
    }
    let letters = run.dead.rows();
    assert_eq!(letters.len(), 1);
    std::thread::scope(|s| {
        let asked = s.spawn(|| run.job.correct(&letters));
        let mut now = 4 * TICK;
        while !asked.is_finished() {
            now += TICK;
            clock.set(now);
            eventually("the batch is written", || run.has_written(now));
        }
        let corrected = asked.join().unwrap().unwrap();
        let (of, batch) = (corrected[0].of.millis(), corrected[0].batch.millis());
        assert_eq!((of, corrected[0].records), (TICK, 1));
        assert!(batch >= 6 * TICK, "the batch before it was open: {batch}");
        assert!(corrected[0].left.contains(&"over#2".to_string()), "a window of three batches has left: {corrected:?}");
    });
    run.job.stop_now().unwrap();
}

#[test]
fn a_correction_that_cannot_be_says_why() {
    let (queue, clock) = (QueueSource::<i64>::new(), ManualClock::at(5));
    let (numbers, seen) = (queue.clone(), MemorySink::new());
    let sink = seen.clone();
    let live = job(1).start_on_clock(clock.clone(), move |ssc| {
        ssc.queue_stream(&numbers).to_memory(&sink);
        Ok(())
    });
    let live = live.unwrap();
    queue.push(vec![1]);
    clock.set(TICK);
    eventually("the batch is written", || !seen.rows().is_empty());
    let letter = |time| BadRecord {
        origin: "words".into(),
        partition: 0,
        offset: 0,
        time: BatchTime::from_millis(time),
        raw: b"x".to_vec(),
        key: None,
        headers: Vec::new(),
        verb: String::new(),
        reason: String::new(),
    };
    let why = |time| live.correct(&[letter(time)]).unwrap_err().to_string();
    assert_eq!(
        why(TICK),
        "correction of the batch of 10 ms: no source of this job takes records back: its rows must be messages, lines, texts or bytes"
    );
    assert_eq!(why(7), "correction of the batch of 7 ms: this is no batch time: those are multiples of 10 ms");
    assert!(why(990).contains("this batch is not sealed: the next one is 20"), "{}", why(990));
    assert_eq!(live.correct(&[]).unwrap(), []);
    live.stop_now().unwrap();
}

#[cfg(feature = "http")]
#[test]
fn dead_letters_come_back_over_the_port_of_the_job() {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    let (fed, clock, dead, sums) = (Fed::default(), ManualClock::at(5), MemorySink::new(), MemorySink::new());
    let (texts, letters, out) = (fed.clone(), dead.clone(), sums.clone());
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let live = job(2).listen(listen).start_on_clock(clock.clone(), move |ssc| {
        let rows = ssc.from_source(texts.clone()).try_map(|line: &String| read(line, false));
        rows.errors().dead_letters(letters.clone());
        rows.over(millis(100 * TICK), millis(TICK)).complete().to_memory(&out);
        Ok(())
    });
    let live = live.unwrap();
    fed.push(vec!["1 5".into(), "!1 7".into()]);
    clock.set(TICK);
    eventually("the batch is written", || !sums.batches().is_empty());
    assert_eq!(dead.rows().len(), 1);
    let letter = |topic: &str, value: &str| {
        serde_json::json!({
            "topic": topic, "partition": 1, "offset": -1, "batch_time": TICK, "verb": "try_map", "reason": "", "key": null, "value": value,
        })
        .to_string()
    };
    let address = live.address().unwrap();
    let post = |kind: &str, body: String| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close", body.len());
        write!(stream, "POST /api/v1/corrections HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    };
    // A form of a page of somebody else can send these types.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
        assert_eq!(post(kind, letter("fed", "1 7")).0, "405", "{kind}");
    }
    let lines = "application/x-ndjson";
    assert_eq!(
        post(lines, "no".into()),
        ("400".into(), "line 1: this is not a line of JSON: expected ident at line 1 column 2\n".into())
    );
    // The record was mended by hand.
    std::thread::scope(|s| {
        let asked = s.spawn(|| post(lines, letter("fed", "1 7")));
        let mut now = TICK;
        while !asked.is_finished() {
            now += TICK;
            clock.set(now);
            eventually("the batch is written", || sums.batches().last().is_some_and(|(t, _)| t.millis() >= now));
        }
        let (code, said) = asked.join().unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let corrected = &said["corrected"][0];
        assert_eq!((code.as_str(), &corrected["of"], &corrected["records"]), ("200", &TICK.into(), &1.into()), "{said}");
        assert_eq!(corrected["left"], serde_json::json!([]));
    });
    eventually("the window has it", || sums.batches().last().unwrap().1 == [(1, 5), (1, 7)]);
    live.stop_now().unwrap();
}
