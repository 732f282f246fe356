//! Values of every kind over streams, on 1, 2 and 4 workers: decimals, times with a zone, nested values, long texts, nulls; and many rows in one group.

use tidemill::prelude::*;
use tidemill::testing::run;
use tidemill_sql::{StreamTables, TableSession};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Place {
    town: Option<String>,
    zip: i32,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Trip {
    name: Option<String>,
    n: Option<i32>,
    tags: Vec<String>,
    place: Option<Place>,
}

/// Queries with one text column.
const QUERIES: [&str; 11] = [
    "select concat(coalesce(name, 'none'), ' ', cast(sum(cast(n as decimal(20, 4)) * 1.25) as string)) as v from trips group by name",
    "select cast(avg(cast(n as decimal(10, 2))) as string) as v from trips group by cast(n % 3 as decimal(5, 1))",
    "select cast(max(cast(n as decimal(38, 18))) as string) as v from trips",
    "select concat(cast(at as string), ' ', cast(count(*) as string)) as v
     from (select arrow_cast(timestamp_micros(n * 3600000000), 'Timestamp(Microsecond, Some(\"+02:00\"))') as at from trips) t group by at",
    "select cast(min(arrow_cast(timestamp_micros(n * 1000), 'Timestamp(Nanosecond, Some(\"UTC\"))')) as string) as v from trips group by name",
    "select concat(to_json(named_struct('tags', tags)), ' ', cast(count(*) as string)) as v from trips group by tags",
    "select concat(coalesce(place['town'], 'nowhere'), ' ', cast(sum(n) as string)) as v from trips group by place",
    "select cast(length(name) as string) as v from trips where length(name) > 10 group by name",
    "select concat(name, ' ', cast(count(distinct n) as string), ' ', cast(median(n) as string)) as v from trips group by name",
    "select a.name as v from trips a join (select * from trips where n > 1000) b on a.n = b.n",
    "select concat(cast(n as string), ' ', coalesce(name, 'none')) as v from (select n, name, count(*) as c from trips group by n, name) t
     where n is null or name is null",
];

/// Three batches: one empty, one with 20,000 rows in a group.
fn batches() -> Vec<Vec<Trip>> {
    let long = "tide ".repeat(200_000);
    let trip = |i: i32| Trip {
        name: [Some("Ferry".to_owned()), None, Some("Market".to_owned()), Some(long.clone())][(i % 4) as usize].clone(),
        n: (i % 5 != 0).then_some(i % 7),
        tags: ["a", "b", "c"][..(i % 4).min(3) as usize].iter().map(|tag| (*tag).to_owned()).collect(),
        place: (i % 3 != 0).then(|| Place { town: (i % 2 == 0).then(|| "San José".to_owned()), zip: i % 2 }),
    };
    let many = (0..20_000).map(|i| Trip { name: Some("Ferry".to_owned()), n: Some(i % 3), tags: Vec::new(), place: None });
    vec![(0..23).map(trip).collect(), Vec::new(), many.collect()]
}

#[test]
fn values_of_every_kind_are_those_of_all_rows_so_far() {
    let batches = batches();
    for query in QUERIES {
        let answer = |n: usize| -> Vec<Option<String>> {
            let session = TableSession::new();
            session.create_data_frame(&batches[..n].concat()).unwrap().create_or_replace_temp_view("trips").unwrap();
            let mut rows = session.sql(query).unwrap().collect().unwrap_or_else(|e| panic!("{e}"));
            rows.sort();
            rows
        };
        let expected: Vec<_> = (1..=batches.len()).map(answer).collect();
        for workers in [1, 2, 4] {
            let seen = run(workers, batches.clone(), move |s| {
                let tables = StreamTables::new(&TableSession::new());
                tables.register_stream("trips", s).unwrap();
                let result = tables.sql(query).unwrap();
                let view: View<'_, Option<String>> = result.view().unwrap_or_else(|_| result.stream().unwrap().accumulate());
                view.sort_by(Clone::clone).complete()
            });
            let seen: Vec<_> = seen.into_iter().map(|(_, rows)| rows).collect();
            assert!(seen == expected, "{query}, at {workers} workers: {:.300?} and not {:.300?}", brief(&seen), brief(&expected));
        }
    }
}

/// The first characters of each row.
fn brief(batches: &[Vec<Option<String>>]) -> Vec<Vec<String>> {
    let text = |row: &Option<String>| row.as_deref().unwrap_or("NULL").chars().take(40).collect();
    batches.iter().map(|rows| rows.iter().map(text).collect()).collect()
}
