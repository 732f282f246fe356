//! Verbs whose failures are data: good rows, and bad records with their batch, their bytes and the reason.

use std::collections::BTreeMap;

use tidemill::prelude::*;

use crate::harness::{agrees, bag, each};

const LINE: &str = "[1-4x]{1,2}";

/// The bad record of a line in batch `time`, as the models have it.
fn bad(time: usize, line: &str) -> BadRecord {
    BadRecord {
        origin: String::new(),
        partition: 0,
        offset: -1,
        time: BatchTime::from_millis(time as u64 + 1),
        raw: line.as_bytes().to_vec(),
        reason: line.parse::<u32>().unwrap_err().to_string(),
    }
}

fn errors(given: Vec<Vec<String>>) -> Vec<Vec<BadRecord>> {
    let batch = |(t, lines): (usize, Vec<String>)| lines.iter().filter(|l| l.contains('x')).map(|l| bad(t, l)).collect();
    given.into_iter().enumerate().map(batch).collect()
}

fn numbers(lines: &[String]) -> impl Iterator<Item = u32> {
    lines.iter().filter_map(|l| l.parse().ok())
}

#[test]
fn try_map() {
    each(LINE, |s| s.try_map(|l: &String| Ok(l.parse::<u32>()?)).oks(), |lines| numbers(&lines).collect());
    agrees(LINE, |s| s.try_map(|l: &String| Ok(l.parse::<u32>()?)).errors(), errors);
}

#[test]
fn try_flat_map() {
    let few = |l: &String| Ok(l.parse::<u32>().map(|n| 0..n % 4)?);
    each(LINE, move |s| s.try_flat_map(few).oks(), |lines| numbers(&lines).flat_map(|n| 0..n % 4).collect());
    agrees(LINE, move |s| s.try_flat_map(few).errors(), errors);
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
    agrees(LINE, move |s| s.try_count_by(count).errors(), errors);
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

/// Bad records that no stream takes are counted.
#[test]
fn untaken_errors_are_counted() {
    let before = tidemill::operator::untaken_errors();
    let lines = ["1", "x", "2", "y", "z"].map(str::to_owned).to_vec();
    tidemill::testing::check([lines], |s| s.try_map(|l| Ok(l.parse::<u32>()?)).split().0, [vec![1, 2]]);
    let counted = tidemill::operator::untaken_errors() - before;
    assert!(counted >= 9, "three bad records in each of three jobs, but {counted}; other tests may add to it");
}
