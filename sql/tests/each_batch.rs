//! `stream.sql`: a query over each batch, on 1, 2 and 4 workers, against DataFusion's answer over the whole batch.

use tidemill::prelude::*;
use tidemill::testing::{check, run};
use tidemill_sql::{BatchSql, TableSession, ToTable};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Trip {
    station: Option<String>,
    minutes: Option<i32>,
}

/// What every query below selects: a text and a number.
type Answer = (Option<String>, Option<i64>);

/// Queries whose rows are in no order.
const QUERIES: [&str; 14] = [
    "select station, cast(minutes as bigint) from batch",
    "select upper(station), minutes + 1 as n from batch where minutes > 2 or station is null",
    "select station, count(*) from batch group by station",
    "select station, sum(minutes) as n from batch group by station having count(*) > 1",
    "select max(station), count(*) from batch",
    "select cast(null as string), sum(minutes) from batch where station = 'nowhere'",
    "select min(station), count(distinct minutes) from batch",
    "select distinct station, cast(minutes % 2 as bigint) as n from batch",
    "select max(station) as s, max(n) as n from (select station, count(*) as n from batch group by station) t",
    "select string_agg(station, ',' order by minutes, station) as s, cast(percentile(minutes, 0.5) as bigint) as n from batch group by minutes % 2",
    "select part, count(*) from (select explode(split(station, '[ae]')) as part from batch) t group by part",
    "select station, cast(minutes as bigint) as n from batch union all select 'all', count(*) from batch",
    "select town, sum(initial(station)) as n from batch join docks on station = name group by town",
    "select station, docks from batch left join docks on station = name",
];

/// Queries whose rows have an order.
const ORDERED: [&str; 4] = [
    "select station, count(*) as n from batch group by station order by n desc, station",
    "select station, count(*) as n from batch group by station order by n desc, station limit 2",
    "select station, cast(minutes as bigint) as n from batch order by n desc, station limit 3 offset 1",
    "select concat(s, '!'), n from (select station as s, cast(minutes as bigint) as n from batch order by minutes, station limit 4) t where n > 0 order by n, s",
];

fn session() -> TableSession {
    let session = TableSession::new();
    let docks = [("Ferry", 27_i64, "San Francisco"), ("Market", 19, "San Francisco"), ("Ryland", 15, "San Jose")];
    let docks = session.create_data_frame(&docks).unwrap().to_df(["name", "docks", "town"]).unwrap();
    docks.create_or_replace_temp_view("docks").unwrap();
    session.udf().register("initial", |name: String| name.bytes().next().map(i64::from)).unwrap();
    session
}

/// Rows in five batches, of which two are empty.
fn batches() -> Vec<Vec<Trip>> {
    let trip = |n: u32| Trip {
        station: [Some("Ferry"), Some("Market"), None, Some("Ryland"), Some("Townsend")][(n * 7 % 5) as usize].map(str::to_owned),
        minutes: (!n.is_multiple_of(6)).then_some((n * 13 % 11) as i32),
    };
    [0..40, 0..0, 40..41, 41..60, 0..0].map(|range: std::ops::Range<u32>| range.map(trip).collect()).to_vec()
}

fn answers(query: &str) -> Vec<Vec<Answer>> {
    let of = |batch: &Vec<Trip>| {
        let session = session();
        session.create_data_frame(batch).unwrap().create_or_replace_temp_view("batch").unwrap();
        session.sql(query).unwrap().collect().unwrap_or_else(|e| panic!("{e}"))
    };
    batches().iter().map(of).collect()
}

fn results(query: &'static str, workers: u16) -> Vec<Vec<Answer>> {
    let seen = run(workers, batches(), move |s| s.sql_with::<Answer>(&session(), "batch", query).unwrap());
    seen.into_iter().map(|(_, rows)| rows).collect()
}

#[test]
fn a_result_is_that_of_the_same_query_over_the_whole_batch() {
    for query in QUERIES {
        let sorted = |mut batches: Vec<Vec<Answer>>| {
            batches.iter_mut().for_each(|rows| rows.sort());
            batches
        };
        let expected = sorted(answers(query));
        assert!(expected.iter().any(|rows| !rows.is_empty()), "{query}");
        for workers in [1, 2, 4] {
            assert_eq!(sorted(results(query, workers)), expected, "{query}, at {workers} workers");
        }
    }
}

#[test]
fn an_ordered_result_has_the_order_of_the_query() {
    for query in ORDERED {
        for workers in [1, 2, 4] {
            assert_eq!(results(query, workers), answers(query), "{query}, at {workers} workers");
        }
    }
}

#[test]
fn a_part_that_needs_the_whole_batch_is_refused_with_the_remedy() {
    const CASES: [(&str, &str); 9] = [
        ("select station, row_number() over (order by minutes) from batch", "a window function (line 1, column 30) cannot"),
        ("select a.station from batch a join batch b on a.minutes = b.minutes", "a join of the batch with itself"),
        ("select station from batch where minutes in (select minutes + 1 from batch)", "a join of the batch with itself"),
        ("select station from batch except select upper(station) from batch", "a join of the batch with itself"),
        ("select station from batch where minutes > (select avg(minutes) from batch)", "a join of the batch with itself"),
        (
            "with recursive r(n) as (select minutes from batch union select n - 1 from r where n > 0) select n from r",
            "WITH RECURSIVE",
        ),
        ("select station from batch limit 3", "add ORDER BY"),
        ("select station, now() from batch", "now() has another value each time"),
        ("select stationn from batch", "station"),
    ];
    check(
        [Vec::<Trip>::new()],
        |s| {
            for (query, reason) in CASES {
                let error = s.sql::<Answer>("batch", query).map(|_| ()).unwrap_err().to_string();
                assert!(error.starts_with(query) && error.contains(reason), "{query}: {error}");
                let gathers = reason.contains("a join") || reason.contains("window") || reason.contains("RECURSIVE");
                assert!(!gathers || error.contains("on all workers; use foreach_batch and batch.to_table()"), "{query}: {error}");
            }
            s.map(|_| ())
        },
        [vec![]],
    );
}

#[test]
fn a_row_that_cannot_be_computed_is_a_bad_record() {
    let texts = [vec!["1", "x", "3"], vec!["y"]].map(|batch| batch.into_iter().map(String::from).collect::<Vec<_>>());
    check(
        texts,
        |s| s.sql::<i64>("batch", "select sum(cast(value as bigint)) from batch having count(*) > 0").unwrap(),
        [vec![4], vec![]],
    );
}

/// As the guide says it: the tables of `foreach_batch` have the same rows.
#[test]
fn it_is_what_a_gathered_batch_says() {
    let words = QueueSource::from_batches([vec!["to", "be", "to"], vec!["be"]]);
    let (seen, gathered) = (MemorySink::new(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let (out, all) = (seen.clone(), gathered.clone());
    StreamingContext::builder("each", millis(10))
        .run(move |ssc| {
            const QUERY: &str = "select value, count(*) from batch group by value order by value";
            let words = ssc.queue_stream(&words).map(String::from);
            words.sql::<(String, i64)>("batch", QUERY)?.to_memory(&out);
            let (session, all) = (TableSession::new(), all.clone());
            words.foreach_batch(move |batch| {
                batch.to_table(&session)?.create_or_replace_temp_view("batch")?;
                all.lock().unwrap().extend(session.sql(QUERY)?.collect::<(String, i64)>()?);
                Ok(())
            });
            Ok(())
        })
        .unwrap();
    assert_eq!(seen.rows(), *gathered.lock().unwrap());
    assert_eq!(seen.rows().len(), 3);
}
