//! A model of the output of programs: given batches of fixed records, and blocks of text. It is short, and shares no code with the
//! engine.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::broker::Value;
use crate::child::TempFile;

/// A batch, with its printed time.
pub struct Batch {
    pub time: &'static str,
    /// Its ranges: partition, from, until. `None`: the plans do not have the batch, so it is empty.
    pub ranges: Option<&'static [(i32, i64, i64)]>,
}

/// Fixed records by partition, and the batches that they are in.
pub struct Input {
    pub partitions: &'static [&'static [Value]],
    pub batches: &'static [Batch],
}

impl Input {
    /// The batches as a file for `--plans`. `split` returns the JSON fields of a partition.
    pub fn plans(&self, split: impl Fn(i32) -> Json) -> TempFile {
        let mut text = String::new();
        for batch in self.batches {
            let Some(ranges) = batch.ranges else { continue };
            let range = |(partition, from, until): &(i32, i64, i64)| {
                let mut range = split(*partition);
                range["from"] = json!(from);
                range["until"] = json!(until);
                range
            };
            let time: jiff::Timestamp = format!("{}Z", batch.time).parse().unwrap();
            let ranges: Vec<Json> = ranges.iter().map(range).collect();
            text += &format!("{}\n", json!({ "time": time.as_millisecond(), "ranges": ranges }));
        }
        TempFile::new("plans", &text)
    }

    /// Like `plans`, for a topic.
    pub fn plans_of(&self, topic: &str) -> TempFile {
        self.plans(|partition| json!({ "topic": topic, "partition": partition }))
    }

    /// The records of each batch, in order.
    pub fn records(&self) -> impl Iterator<Item = (&'static str, Vec<Value>)> {
        self.batches.iter().map(|batch| {
            let ranges = batch.ranges.unwrap_or_default().iter();
            let records = ranges.flat_map(|(p, from, until)| &self.partitions[*p as usize][*from as usize..*until as usize]);
            (batch.time, records.copied().collect())
        })
    }
}

/// How often each word occurs.
pub type Counts = BTreeMap<String, i64>;

pub fn counts<S: Into<String>>(all: impl IntoIterator<Item = S>) -> Counts {
    let mut counts = Counts::new();
    all.into_iter().for_each(|one| *counts.entry(one.into()).or_default() += 1);
    counts
}

/// The sum of the last `n` batches.
pub fn last(n: usize, batches: &[Counts]) -> Counts {
    let mut sum = Counts::new();
    for (key, n) in batches[batches.len().saturating_sub(n)..].iter().flatten() {
        *sum.entry(key.clone()).or_default() += n;
    }
    sum
}

/// Most frequent first. Words with equal counts are in the order of encoded rows, which begin with the length: shorter words first,
/// then by bytes.
pub fn ranked(counts: &Counts) -> Vec<(String, i64)> {
    let mut rows: Vec<(String, i64)> = counts.clone().into_iter().collect();
    rows.sort_by_key(|(name, n)| (-n, name.len(), name.clone()));
    rows
}

/// Rows as they are printed.
pub fn shown(rows: impl IntoIterator<Item = (String, i64)>) -> Vec<String> {
    rows.into_iter().map(|(word, n)| format!("(\"{word}\", {n})")).collect()
}

/// Like `shown`, in the order of the printed text.
pub fn by_text(counts: &Counts) -> Vec<String> {
    let mut rows = shown(counts.clone());
    rows.sort();
    rows
}

/// One printed batch with at most `n` rows.
pub fn block(time: &str, rows: &[String], n: usize) -> String {
    let rule = "-------------------------------------------";
    let more = if rows.len() > n { "...\n" } else { "" };
    let rows: String = rows.iter().take(n).map(|row| format!("{row}\n")).collect();
    format!("{rule}\nTime: {time}\n{rule}\n{rows}{more}\n")
}
