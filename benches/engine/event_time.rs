//! Windows by event time.

use std::time::Duration;

use tidemill::prelude::*;

use crate::results::record;
use crate::shared::random;
use crate::{Input, Size, job, measurements, nowhere, show, sliding, timed, words};

/// The second of a record, times this, plus its word is one number.
const WORDS: u32 = 8_192;

/// The records of the workloads with windows, with their second. Of `late` in 100 records the time is up to ten seconds earlier.
fn records(size: Size, late: u64) -> Input {
    let mut seed = 3;
    let second = |(second, batch): (u32, &Vec<u32>)| {
        let mut earlier = || if random(&mut seed) % 100 < late { 1 + (random(&mut seed) % 10) as u32 } else { 0 };
        batch.iter().map(|word| second.saturating_sub(earlier()) * WORDS + word).collect()
    };
    (0..).zip(&*sliding(size)).map(second).collect()
}

fn counts<'s>(s: &DStream<'s, u32>, words: &'static [String], length: u64, delay: Duration) -> WindowedView<'s, (String, i64)> {
    let timed = s.event_time(|record| i64::from(record / WORDS) * 1_000_000, delay);
    timed.map(|record| words[(record % WORDS) as usize].clone()).sliding(secs(length), secs(1)).count_by_value()
}

/// Sliding counts by event time, with a slide of 1 s: windows that close, changes of the view of open windows, and all of its rows. Then
/// the windows that close where one in a hundred records is late by up to ten seconds, beside the same strategy over records in order.
/// `scripts/bench event-time --peers flink` runs Flink's HOP over records of the same form.
pub fn event_time(size: Size) {
    let words = words(5_000);
    let input = records(size, 0);
    let total = (input.len() * 1_000) as f64;
    measurements(&[]);
    for length in [12, 60, 600, 3_600] {
        let time = timed(size, || job(1, &input, move |s| nowhere(&counts(s, words, length, secs(0)).append())));
        show(&format!("event time: {length} s, closed windows"), total, &time, &[]);
        record("hop", "tidemill", length as f64, "seconds", &time.seconds);
    }
    // Each record changes a row in every open window that holds it, so the records are fewer.
    let some: Input = input.iter().take(input.len() / 20).cloned().collect();
    let total_of_some = (some.len() * 1_000) as f64;
    for length in [12, 60] {
        let time = timed(size, || job(1, &some, move |s| nowhere(&counts(s, words, length, secs(0)).changes())));
        show(&format!("event time: {length} s, changes of the open windows"), total_of_some, &time, &[]);
    }
    let time = timed(size, || job(1, &some, move |s| nowhere(&counts(s, words, 12, secs(0)).complete())));
    show("event time: 12 s, all rows of the open windows", total_of_some, &time, &[]);
    let disordered = records(size, 1);
    for length in [12, 60] {
        for (what, input) in [("in order", &input), ("1 in 100 late by up to 10 s", &disordered)] {
            let time = timed(size, || job(1, input, move |s| nowhere(&counts(s, words, length, secs(10)).append())));
            show(&format!("event time: {length} s, closed windows, {what}"), total, &time, &[]);
        }
    }
}
