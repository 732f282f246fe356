//! Queries over streams, one random input for each; PROPTEST_CASES sets another number. After each batch the result is what the same SQL gives over all rows so far, on any number of workers.

use proptest::prelude::*;
use tidemill::prelude::*;
use tidemill::testing::{check, run, run_handed_over};
use tidemill_sql::{OutputMode, StreamTables, TableSession};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::cases;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Trip {
    station: Option<String>,
    minutes: Option<i32>,
    fare: f64,
}

/// What every query below selects: a text, a number, a double.
type Answer = (Option<String>, Option<i64>, Option<F64>);

/// Queries whose results change. Doubles are rounded a little beside a place where half of the last digit could be either.
const QUERIES: [&str; 50] = [
    "select station, count(*) as n, avg(minutes) as m from trips group by station",
    "select station, count(minutes) as n, sum(fare) as m from trips where minutes > 2 or fare < 4 group by station",
    "select station, sum(minutes) as n, max(fare) as m from trips group by station having count(*) > 1",
    "select min(station) as s, count(distinct station) as n, min(fare) as m from trips",
    "select upper(station) as s, cast(minutes / 2 as bigint) as n, sum(fare) / 2 as m from trips group by station, minutes",
    "select distinct station, cast(minutes % 3 as bigint) as n, cast(null as double) as m from trips",
    // An aggregate of a result: of groups that change.
    "select max(station) as s, count(*) as n, avg(trips) as m from (select station, count(*) as trips from trips group by station) t",
    "select cast(trips as string) as s, count(*) as n, sum(total) as m
     from (select station, count(*) as trips, sum(fare) as total from trips group by station) t group by trips",
    "select station, count(*) filter (where minutes > 3) as n, sum(fare) filter (where minutes is null) as m from trips group by station",
    "select station, max(minutes) as n, min(fare) as m from (select * from trips union all select * from trips) t group by station",
    "with long as (select station, minutes from trips where minutes > 1) select station, count(*) as n, avg(minutes) as m from long group by station",
    "select case when minutes > 2 then 'long' else 'short' end as s, count(*) as n, avg(fare) as m from trips group by 1",
    "select station, sum(distinct minutes) as n, cast(null as double) as m from trips group by station",
    "select station, minutes, fare from (select station, cast(minutes as bigint) as minutes, fare, count(*) from trips group by 1, 2, 3) t",
    // A row for each item of a list.
    "select part as s, count(*) as n, sum(fare) as m from (select explode(split(station, '[ae]')) as part, fare from trips) t group by part",
    // Joins of streams. Keys may be null, and then meet nothing.
    "select a.station, count(*) as n, sum(b.fare) as m from trips a join trips b on a.station = b.station and a.minutes < b.minutes
     group by a.station",
    "select a.station, b.n, a.m from (select station, sum(fare) as m from trips group by station) a
     left join (select station, count(*) as n from trips where minutes > 3 group by station) b on a.station = b.station",
    "select coalesce(a.station, b.station) as s, b.n, a.m from (select station, sum(fare) as m from trips where fare > 2 group by station) a
     full join (select station, count(*) as n from trips where minutes > 3 group by station) b on a.station = b.station",
    "select station, cast(minutes as bigint) as n, fare from trips a where exists (select 1 from trips b where a.minutes = b.minutes + 1)",
    "select station, cast(minutes as bigint) as n, fare from trips a where not exists (select 1 from trips b where a.station = b.station and b.fare > 2)",
    // Joins with other conditions than equal columns, and with none.
    "select a.station, count(*) as n, sum(b.fare) as m from trips a join trips b on a.fare < b.fare group by a.station",
    "select a.station, cast(b.minutes as bigint) as n, a.fare as m from trips a left join trips b on a.station = b.station and a.fare < b.fare",
    "select station, cast(minutes as bigint) as n, fare as m from trips where minutes not in (select minutes from trips where fare > 3)",
    "select station, cast(minutes as bigint) as n, fare as m from trips where fare > (select avg(fare) from trips)",
    "with recursive r(s, n) as (select station, cast(minutes as bigint) from trips union select r.s, r.n - 1 from r where r.n > 0)
     select s, n, cast(null as double) as m from r",
    // Joins with a static table.
    "select t.station, d.docks as n, fare from trips t join docks d on t.station = d.name where d.docks > 20 and t.minutes > 1
     union all select station, null, 0 from trips",
    "select d.town as s, count(*) as n, sum(t.fare) as m from trips t left join docks d on t.station = d.name group by d.town",
    "select station, count(*) as n, max(fare) as m from trips where station not in ('Ferry', 'Market') group by station",
    // Aggregates that add up in other ways, and those of all rows of a group.
    "select station, count_if(minutes > 2) as n, round(stddev(fare) + 1.3e-7, 6) as m from trips group by station",
    "select station, cast(approx_count_distinct(minutes) as bigint) as n, round(var_pop(minutes) + 1.3e-7, 6) as m from trips group by station",
    "select station, max_by(minutes, minutes * 100 + fare) as n, median(fare) as m from trips group by station",
    "select station, cast(bool_and(minutes > 1) as bigint) as n, cast(cast(every(fare > 2) as int) as double) as m from trips group by station",
    "select string_agg(station, ',' order by fare, minutes, station) as s, count(*) as n, percentile(fare, 0.25) as m from trips",
    "select station, first_value(minutes order by fare, minutes) as n, last_value(fare order by minutes, fare) as m from trips group by station",
    "select station, sum(distinct minutes) as n, sum(fare) as m from trips group by station",
    "select station, count(*) as n, round(covar_pop(fare, minutes) + 1.3e-7, 6) as m from trips group by station",
    "select s, n, round(stddev_pop(m) + 1.3e-7, 6) as m from (select station as s, count(*) as n, sum(fare) as m from trips group by station, minutes) t
     group by s, n",
    "select station, sum(minutes) as n, cast(grouping(station) as double) as m from trips group by rollup(station, minutes)",
    "select s, count(*) as n, max(m) as m from (select station as s, minutes as n, fare as m from trips) t group by grouping sets ((s), (n), (), (s))",
    // Window functions, by partition.
    "select station, cast(row_number() over (partition by station order by fare, minutes) as bigint) as n, fare as m from trips",
    "select station, cast(rank() over (partition by station order by fare) as bigint) as n,
     sum(fare) over (partition by station order by fare) as m from trips",
    "select station, lag(minutes) over (partition by station order by fare, minutes) as n, avg(fare) over (partition by station) as m from trips",
    "select station, n, m from (select station, cast(minutes as bigint) as n, fare as m,
     row_number() over (partition by station order by fare desc, minutes) as r from trips) t where r <= 2",
    "select s, n, m from (select station as s, count(*) as n, sum(fare) as m,
     row_number() over (order by count(*) desc, station) as r from trips group by station) t where r <= 2",
    // Sets.
    "select station, cast(minutes as bigint) as n, cast(null as double) as m from trips where fare > 2
     except select station, cast(minutes as bigint), cast(null as double) from trips where fare < 1",
    "select station, cast(minutes as bigint) as n, cast(null as double) as m from trips where fare > 2
     intersect select station, cast(minutes as bigint), cast(null as double) from trips where fare < 3",
    "select station, cast(minutes as bigint) as n, cast(null as double) as m from trips
     union select station, cast(minutes + 1 as bigint), cast(null as double) from trips",
    "select station, count(*) as n, cast(null as double) as m from trips group by station
     union all select station, cast(minutes as bigint), fare from trips",
    "select station, count(*) as n, cast(null as double) as m from trips group by station
     except select station, sum(minutes), cast(null as double) from trips group by station",
    // A window function of another one.
    "select station, max(r) as n, cast(sum(d) as double) as m from (select station, cast(row_number() over (partition by station order by fare) as bigint) as r,
     cast(dense_rank() over (partition by minutes order by station) as bigint) as d from trips) t group by station",
];

/// Queries whose results have an order, and no two different rows that are equal in it.
const ORDERED: [&str; 7] = [
    "select station, count(*) as n, avg(fare) as m from trips group by station order by n desc, station",
    "select station, count(*) as n, sum(fare) as m from trips group by station order by n desc, station desc limit 2",
    "select station, max(minutes) as n, min(fare) as m from trips group by station order by n, station limit 3",
    "select station, count(*) as n, sum(fare) as m from trips group by station order by n desc, station limit 2 offset 1",
    // The first rows of a stream. Rows that are equal in the order are equal in all columns.
    "select station, cast(minutes as bigint) as n, fare as m from trips order by fare desc, minutes, station limit 4",
    "select station, cast(minutes as bigint) as n, fare * 2 as m from trips where fare > 1 order by station, fare, minutes desc limit 3 offset 2",
    "select t.station, docks as n, fare as m from trips t join docks d on t.station = d.name order by fare, t.station, docks limit 3",
];

fn trips() -> impl Strategy<Value = Vec<Vec<Trip>>> {
    let station = proptest::option::weighted(0.9, prop_oneof!["Ferry", "Market", "Townsend", ""]);
    // Eighths add up exactly, in any order.
    let trip = (station, proptest::option::weighted(0.8, 0..6), 0..40_u32).prop_map(|(station, minutes, eighths)| Trip {
        station,
        minutes,
        fare: f64::from(eighths) / 8.0,
    });
    proptest::collection::vec(proptest::collection::vec(trip, 0..6), 1..5)
}

/// A session with a static table.
fn session() -> TableSession {
    let session = TableSession::new();
    let docks = [("Ferry", 27, "San Francisco"), ("Market", 19, "San Francisco"), ("Ryland", 15, "San Jose")];
    let docks = session.create_data_frame(&docks).unwrap().to_df(["name", "docks", "town"]).unwrap();
    docks.select(["name", "cast(docks as bigint) as docks", "town"]).unwrap().create_or_replace_temp_view("docks").unwrap();
    session
}

/// The answer over all rows up to each batch, by DataFusion alone.
fn answers(batches: &[Vec<Trip>], query: &str) -> Vec<Vec<Answer>> {
    (1..=batches.len())
        .map(|n| {
            let session = session();
            session.create_data_frame(&batches[..n].concat()).unwrap().create_or_replace_temp_view("trips").unwrap();
            session.sql(query).unwrap().collect().unwrap()
        })
        .collect()
}

fn kept<'s>(stream: &DStream<'s, Trip>, query: &str) -> View<'s, Answer> {
    let tables = StreamTables::new(&session());
    tables.register_stream("trips", stream).unwrap();
    let result = tables.sql(query).unwrap();
    result.view().unwrap_or_else(|_| result.stream().unwrap().accumulate())
}

/// Checks the result after each batch on 1, 2 and 4 workers, and when a job on two workers goes on where a job on one stopped.
fn checked(
    batches: &[Vec<Trip>],
    query: &'static str,
    verb: fn(View<'_, Answer>) -> DStream<'_, Answer>,
    expected: &[Vec<Answer>],
) {
    let rows = |seen: Vec<(u64, Vec<Answer>)>| seen.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>();
    for workers in [1, 2, 4] {
        let seen = rows(run(workers, batches.to_vec(), move |s| verb(kept(s, query))));
        assert_eq!(seen, expected, "{query}, at {workers} workers");
    }
    let (first, then) = batches.split_at(batches.len() / 2);
    let seen = rows(run_handed_over((1, 2), first.to_vec(), then.to_vec(), move |s| verb(kept(s, query))));
    assert_eq!(seen, expected, "{query}, after a restart");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1)))]

    #[test]
    fn a_result_is_that_of_the_same_query_over_all_rows_so_far(batches in trips()) {
        for query in QUERIES {
        // A group is there from its first row on. The one group of a query without keys is there before, for DataFusion.
        let first = batches.iter().position(|b| !b.is_empty()).unwrap_or(batches.len());
        let mut expected = answers(&batches, query);
        expected[..first].iter_mut().for_each(Vec::clear);
        expected.iter_mut().for_each(|rows| rows.sort());
        checked(&batches, query, |view| view.sort_by(Clone::clone).complete(), &expected);
        }
    }

    #[test]
    fn an_ordered_result_has_the_order_of_the_query(batches in trips()) {
        for query in ORDERED {
        let expected = answers(&batches, query);
        checked(&batches, query, |view| view.complete(), &expected);
        }
    }

    #[test]
    fn rows_that_never_change_leave_in_their_batch(batches in trips()) {
        let query = "select station, cast(minutes as bigint) as n, fare * 2 as m from trips where fare > 1";
        let expected: Vec<Vec<Answer>> = batches.iter().map(|batch| answers(std::slice::from_ref(batch), query).remove(0)).collect();
        let seen = run(2, batches, move |s| {
            let tables = StreamTables::new(&TableSession::new());
            tables.register_stream("trips", s).unwrap();
            tables.sql(query).unwrap().stream::<Answer>().unwrap()
        });
        prop_assert_eq!(seen.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>(), expected);
    }
}

/// What has no meaning over a stream is refused before the job starts, with the part and the remedy.
#[test]
fn what_cannot_be_kept_up_to_date_is_refused() {
    const CASES: [(&str, &str); 14] = [
        ("select * from trips order by fare", "add LIMIT, or aggregate first"),
        ("select * from trips limit 3", "add ORDER BY"),
        ("select station, count(*) from trips group by station limit 3", "add ORDER BY"),
        ("select first(fare) from trips", "write min_by"),
        ("select station, count(*) from trips group by station order by 2 offset 2", "row_number()"),
        ("select station, count(*) from trips group by station limit 3 offset 2", "add ORDER BY"),
        ("select station, median(fare) from trips group by station limit 1", "add ORDER BY"),
        ("select * from docks", "the table docks, which is not a stream, (line 1, column 15)"),
        ("select d.town from docks d", "the table docks, which is not a stream, (line 1, column 20)"),
        ("select tripz from trips", "station"),
        ("select station, now() from trips", "now() has another value each time"),
        ("select station from trips where random() < 0.5", "random() has another value each time"),
        ("select * from docks d left join trips t on t.station = d.name", "keep the rows of the stream"),
        ("select * from trips where fare > (select fare from trips)", "use an aggregate without GROUP BY"),
    ];
    check(
        [Vec::<Trip>::new()],
        |s| {
            let tables = StreamTables::new(&session());
            tables.register_stream("trips", s).unwrap();
            for (query, reason) in CASES {
                let error = tables.sql(query).map(|_| ()).unwrap_err().to_string();
                assert!(error.starts_with(query) && error.contains(reason), "{query}: {error}");
            }
            let counts = tables.sql("select station, count(*) from trips group by station").unwrap();
            let error = counts.console(OutputMode::Append).unwrap_err().to_string();
            assert!(error.contains("use Complete or Update"), "{error}");
            let rows = tables.sql("select station from trips").unwrap();
            let error = rows.console(OutputMode::Complete).unwrap_err().to_string();
            assert!(error.contains("use Append"), "{error}");
            let twice = tables.sql("select a.station, b.station from trips a join trips b on a.fare = b.fare").unwrap();
            let error = twice.foreach_batch(OutputMode::Complete, |_, _| Ok(())).unwrap_err().to_string();
            assert!(error.contains("two columns are called station") && error.contains("add AS"), "{error}");
            s.map(|_| ())
        },
        [vec![]],
    );
}
