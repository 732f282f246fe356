//! The output of `bike_trips`, compared byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Broker, Value};
use crate::golden;
use crate::model::{Batch, Input, block, counts};

/// A trip of a day of March 2014 at an hour and a minute of Pacific time.
macro_rules! trip {
    ($start:literal, $station:literal) => {
        Some(concat!("1,435,", $start, ",", $station, ",58,3/9/2014 0:21,Townsend at 7th,65,473,Subscriber,94612").as_bytes())
    };
}

/// Trips out of order, one that is late for its hour, lines that are no trips, and the night in which summer begins.
const TRIPS: &[&[Value]] = &[
    &[
        Some(b"Trip ID,Duration,Start Date,Start Station,Start Terminal"),
        trip!("3/8/2014 23:50", "Market"),
        trip!("3/9/2014 0:14", "Market"),
        trip!("3/9/2014 0:59", "Embarcadero"),
        trip!("3/9/2014 0:15", "Market"),
        trip!("3/9/2014 1:30", "Market"),
        trip!("3/9/2014 3:00", "Caf\u{e9}"),
        trip!("3/9/2014 3:59", "Market"),
        trip!("3/9/2014 8:10", "Market"),
        trip!("3/10/2014 0:10", "Market"),
    ],
    &[
        trip!("3/9/2014 0:30", "Embarcadero"),
        Some(b"nothing"),
        trip!("3/9/2014 1:10", "Townsend"),
        trip!("3/32/2014 1:10", "Townsend"),
        trip!("3/9/2014 5:00", "Townsend"),
        trip!("3/9/2014 9:30", "Embarcadero"),
        None,
        trip!("3/9/2014 0:40", "Late"),
        trip!("3/10/2014 1:10", "Market"),
    ],
];

/// The hours since 1 March in UTC, the minute and the station of a line.
fn read(record: &Value) -> Option<(i64, i64, &'static str)> {
    let line = std::str::from_utf8((*record)?).ok()?;
    let (date, clock) = line.split(',').nth(2)?.split_once(' ')?;
    let day: i64 = date.strip_prefix("3/")?.strip_suffix("/2014")?.parse().ok().filter(|day| *day < 32)?;
    let (hour, minute) = clock.split_once(':')?;
    let hour = 24 * day + hour.parse::<i64>().ok()?;
    // From 9 March, 2:00 on.
    let offset = if hour < 24 * 9 + 2 { 8 } else { 7 };
    Some((hour + offset, minute.parse().ok()?, line.split(',').nth(3)?))
}

/// The day and the hour where the stations are.
fn local(hour: i64) -> (i64, i64) {
    let local = if hour < 24 * 9 + 2 + 8 { hour - 8 } else { hour - 7 };
    (local / 24, local % 24)
}

/// An hour is printed when the largest time of each partition is an hour after its end.
fn model(input: &Input, shown: usize) -> String {
    let (mut page, mut rows, mut largest, mut now) = (String::new(), Vec::new(), BTreeMap::<i32, i64>::new(), i64::MIN);
    let mut peaks = BTreeMap::<i64, i64>::new();
    for batch in input.batches {
        for (p, from, until) in batch.ranges.unwrap_or_default() {
            for (hour, minute, station) in input.partitions[*p as usize][*from as usize..*until as usize].iter().filter_map(read)
            {
                rows.push((hour, station));
                let time = 60 * hour + minute;
                largest.entry(*p).and_modify(|largest| *largest = time.max(*largest)).or_insert(time);
            }
        }
        let before = now;
        now = largest.values().min().map_or(now, |time| now.max(time - 60));
        let (mut lines, hours) = (Vec::new(), rows.iter().map(|(hour, _)| *hour).collect::<BTreeSet<i64>>());
        for start in hours.into_iter().filter(|hour| (before + 1..=now).contains(&(60 * (hour + 1)))) {
            let (day, hour) = local(start);
            let inside = counts(rows.iter().filter(|(of_row, _)| *of_row == start).map(|(_, station)| *station));
            *peaks.entry(hour).or_default() += inside.values().sum::<i64>();
            let mut ranked: Vec<_> = inside.into_iter().collect();
            ranked.sort_by_key(|(station, n)| (-n, station.clone()));
            lines
                .extend(ranked.into_iter().map(|(what, n)| format!("2014-03-{day:02} {hour:02}:00:\tStation {what}\tTrips {n}")));
        }
        page += &block(batch.time, &lines, shown);
        let mut ranked: Vec<_> = peaks.clone().into_iter().collect();
        ranked.sort_by_key(|(hour, n)| (-n, *hour));
        let lines: Vec<String> = ranked.into_iter().map(|(hour, n)| format!("Trips from {hour:02}:00:\t{n}")).collect();
        page += &block(batch.time, &lines, shown);
    }
    page
}

#[test]
fn trips_are_counted_by_the_hour_of_their_start() {
    let input = Input {
        partitions: TRIPS,
        batches: &[
            Batch { time: "2026-08-01 04:00:05", ranges: Some(&[(0, 0, 4), (1, 0, 2)]) },
            Batch { time: "2026-08-01 04:00:10", ranges: Some(&[(0, 4, 7), (1, 2, 4)]) },
            Batch { time: "2026-08-01 04:00:15", ranges: None },
            Batch { time: "2026-08-01 04:00:20", ranges: Some(&[(0, 7, 8), (1, 4, 6)]) },
            Batch { time: "2026-08-01 04:00:25", ranges: Some(&[(0, 8, 9), (1, 6, 8)]) },
            Batch { time: "2026-08-01 04:00:30", ranges: Some(&[(0, 9, 10), (1, 8, 9)]) },
        ],
    };
    let expected = model(&input, 5);
    for row in
        ["2014-03-09 03:00:\tStation Caf\u{e9}\tTrips 1", "2014-03-09 00:00:\tStation Market\tTrips 2", "Trips from 00:00:\t"]
    {
        assert!(expected.contains(row), "{row} is not in {expected}");
    }
    assert!(!expected.contains("2014-03-09 02:00"), "there is no such hour");
    assert!(!expected.contains("Late"), "its hour was over");
    let broker = Broker::start();
    broker.topic("bike_trips", input.partitions);
    let plans = input.plans_of("bike_trips");
    let args = ["--brokers", &broker.address, "--rows", "5", "--plans", plans.path(), "--time-zone", "UTC"];
    golden::check("bike_trips", &expected, |layout| layout.run("bike_trips", &args));
}
