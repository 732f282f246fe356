//! Windows by event time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
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
    for length in [12, 60, 600] {
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

/// An event of the Yahoo streaming benchmark. It has more fields.
#[derive(Deserialize)]
struct Event<'a> {
    ad_id: &'a str,
    event_type: &'a str,
    event_time: &'a str,
}

/// The Yahoo streaming benchmark without its brokers and database: 100 campaigns of ten ads, 20,000 events a second as JSON. Views are
/// joined with the campaign of their ad, and counted by campaign in windows of ten seconds of event time. As in the original, times are
/// off by up to 50 ms, and one in 100,000 events is late by up to a minute.
pub fn yahoo(size: Size) {
    let mut seed = 11;
    let mut id = || format!("{:016x}-{:019x}", random(&mut seed), random(&mut seed));
    let ads: Vec<String> = (0..1_000).map(|_| id()).collect();
    let campaigns: HashMap<String, String> =
        ads.iter().enumerate().map(|(n, ad)| (ad.clone(), format!("campaign {}", n / 10))).collect();
    let [users, pages] = [(); 2].map(|()| (0..100).map(|_| id()).collect::<Vec<_>>());
    let (ads, campaigns): (_, &'static HashMap<String, String>) = (ads, Box::leak(Box::new(campaigns)));
    let mut seed = 13;
    let mut event = |n: usize| {
        let mut one_of = |count: usize| (random(&mut seed) % count as u64) as usize;
        let (user, page, ad) = (&users[one_of(100)], &pages[one_of(100)], &ads[one_of(1_000)]);
        let ad_type = ["banner", "modal", "sponsored-search", "mail", "mobile"][one_of(5)];
        let kind = ["view", "click", "purchase"][one_of(3)];
        let late = if one_of(100_000) == 0 { one_of(60_000) } else { 0 };
        let time = 1_700_000_000_000 + n / 20 + one_of(101) - 50 - late;
        format!(
            r#"{{"user_id":"{user}","page_id":"{page}","ad_id":"{ad}","ad_type":"{ad_type}","event_type":"{kind}","event_time":"{time}","ip_address":"1.2.3.4"}}"#
        )
    };
    // A batch is 100 ms of events.
    let count = 1_000_000 / size.part;
    let events: &'static [String] = (0..count).map(&mut event).collect::<Vec<_>>().leak();
    let input: Input = (0..count as u32).collect::<Vec<u32>>().chunks(2_000).map(<[u32]>::to_vec).collect();
    measurements(&[]);
    for workers in [1, 2] {
        let time = timed(size, || {
            job(workers, &input, move |s| {
                let views = s.try_map(|n| {
                    let event: Event<'_> = serde_json::from_str(&events[*n as usize])?;
                    let time: i64 = event.event_time.parse()?;
                    Ok((event.event_type == "view").then(|| (time, campaigns.get(event.ad_id).cloned().unwrap_or_default())))
                });
                let views = views.oks().flat_map(|view| view);
                let views = views.event_time(|(time, _)| time * 1_000, millis(100)).map(|(_, campaign)| campaign);
                nowhere(&views.tumbling(secs(10)).count_by_value().append());
            })
        });
        show(&format!("yahoo: {workers} workers"), count as f64, &time, &[]);
    }
}
