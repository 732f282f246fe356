//! Shapes of queries: which output modes each has, and how the others are refused. Spark's modes and refusals are in docs/guide/sql.md.

use tidemill::prelude::*;
use tidemill::testing::{check, run};
use tidemill_sql::{OutputMode, StreamTables, StreamingDataFrame, TableSession};

/// A time in microseconds, a name, a number.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Event {
    at: i64,
    name: Option<String>,
    n: i32,
}

/// What becomes of a query in a mode: it runs, or is refused with these words.
type Fate = Result<(), &'static str>;

const OK: Fate = Ok(());
const AGGREGATE: Fate = Err("use Complete or Update, or give the stream a watermark");
const CHANGES: Fate = Err("changes rows of this result; use Complete or Update");
const FOREVER: Fate = Err("use Append");

/// A query, and its fate in modes Append, Update and Complete.
const SHAPES: [(&str, [Fate; 3]); 74] = [
    // Rows of a stream.
    ("select name, n + 1 as m from events where n > 1", [OK, OK, FOREVER]),
    ("select * from events union all select * from others", [OK, OK, FOREVER]),
    ("select e.name, d.docks from events e join docks d on e.name = d.name", [OK, OK, FOREVER]),
    ("select e.name, d.docks from events e left join docks d on e.name = d.name", [OK, OK, FOREVER]),
    ("select name from events e where exists (select 1 from docks d where d.name = e.name)", [OK, OK, FOREVER]),
    ("select name from events e where not exists (select 1 from docks d where d.name = e.name)", [OK, OK, FOREVER]),
    ("with large as (select * from events where n > 3) select name from large", [OK, OK, FOREVER]),
    ("select case when n > 2 then 'large' else 'small' end as size, name like 'a%' as a from events", [OK, OK, FOREVER]),
    // Spark refuses DISTINCT without a watermark in mode Append. Its rows never leave.
    ("select distinct name from events", [OK, OK, OK]),
    ("select name, n from events union select name, n from others", [OK, OK, OK]),
    ("select name from events group by name", [OK, OK, OK]),
    // Aggregates.
    ("select count(*) from events", [AGGREGATE, OK, OK]),
    ("select name, count(*) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, count(*) from events group by name having count(*) > 1", [AGGREGATE, OK, OK]),
    ("select name, count(distinct n) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, sum(distinct n), avg(n) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, median(n), stddev(n) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, collect_list(n), collect_set(n) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, max_by(n, at), min_by(n, at) from events group by name", [AGGREGATE, OK, OK]),
    ("select name, percentile_approx(n, 0.5), approx_count_distinct(n) from events group by name", [AGGREGATE, OK, OK]),
    ("select max(c) from (select count(*) as c from events group by name) t", [AGGREGATE, OK, OK]),
    ("select name, count(*) from events group by name union all select name, n from others", [AGGREGATE, OK, OK]),
    // Windows of a column with a watermark: final rows in mode Append.
    ("select window, count(*) from events group by window(at, '10 minutes')", [OK, OK, OK]),
    ("select window.start, name, count(*) from events group by window(at, '10 minutes', '5 minutes'), name", [OK, OK, OK]),
    (
        "select window.end, sum(n) from events group by window(at, '10 minutes', '5 minutes', '1 minute') having sum(n) > 2",
        [OK, OK, OK],
    ),
    // Spark has no sessions in mode Update.
    ("select session_window.start, name, count(*) from events group by session_window(at, '5 minutes'), name", [OK, OK, OK]),
    ("select name, max(n), median(n) from events group by window(at, '1 hour'), name", [OK, OK, OK]),
    // Two aggregations: Spark has them in mode Append alone.
    (
        "select window, max(c) from (select window, name, count(*) as c from events group by window(at, '10 minutes'), name) t group by window",
        [OK, OK, OK],
    ),
    ("select max(c) from (select window, count(*) as c from events group by window(at, '10 minutes')) t", [AGGREGATE, OK, OK]),
    // Windows of a column without one.
    ("select window, count(*) from others group by window(at, '10 minutes')", [AGGREGATE, OK, OK]),
    ("select session_window, count(*) from others group by session_window(at, '10 minutes')", [AGGREGATE, OK, OK]),
    // Joins of streams. Spark has the inner one in mode Append and Update, and outer ones with a watermark and a range of times.
    ("select a.n from events a join others b on a.name = b.name", [OK, OK, OK]),
    ("select a.n from events a join others b on a.name = b.name and a.n < b.n", [OK, OK, OK]),
    ("select a.n, b.n as m from events a left join others b on a.name = b.name", [CHANGES, OK, OK]),
    ("select a.n, b.n as m from events a full join others b on a.name = b.name", [CHANGES, OK, OK]),
    ("select n from events a where exists (select 1 from others b where a.name = b.name)", [OK, OK, OK]),
    ("select n from events a where not exists (select 1 from others b where a.name = b.name)", [CHANGES, OK, OK]),
    (
        "select a.n from events a join events b on a.name = b.name and b.at between a.at and a.at + interval '1' hour",
        [OK, OK, FOREVER],
    ),
    (
        "select a.n, b.n as m from events a left join events b on a.name = b.name and b.at >= a.at and b.at <= a.at + interval '1' hour",
        [OK, OK, FOREVER],
    ),
    (
        "select a.n, b.n as m from events a full join events b on a.name = b.name and b.at between a.at - interval '1' hour and a.at",
        [OK, OK, FOREVER],
    ),
    (
        "select a.name, window.start, count(*) from events a join events b on a.name = b.name and b.at between a.at and a.at + interval '1' hour
         group by window(b.at, '10 minutes'), a.name",
        [OK, OK, OK],
    ),
    (
        "select window, count(*) from events a join others b on a.name = b.name group by window(a.at, '10 minutes')",
        [AGGREGATE, OK, OK],
    ),
    (
        "select a.c, b.c as d from (select name, count(*) as c from events group by name) a
      join (select name, count(*) as c from others group by name) b on a.name = b.name",
        [AGGREGATE, OK, OK],
    ),
    ("select a.n from events a join others b on a.n < b.n", [OK, OK, OK]),
    ("select a.n, b.n as m from events a left join others b on a.name = b.name and a.n < b.n", [CHANGES, OK, OK]),
    ("select name from events where n not in (select n from others)", [CHANGES, OK, OK]),
    ("select name from events where n = (select max(n) from others)", [AGGREGATE, OK, OK]),
    (
        "with recursive r(n) as (select n from events union select r.n + 1 from r join others o on r.n = o.n) select n from r",
        [CHANGES, OK, OK],
    ),
    (
        "with recursive r(n) as (select n from events union select a.n from r a join r b on a.n = b.n) select n from r",
        [Err("names it 2 times, (line 1, column 6)"); 3],
    ),
    (
        "with recursive r(n) as (select n from events union select max(n) from r) select n from r",
        [Err("Aggregate in the recursive part of r"); 3],
    ),
    // What Spark refuses: sorts, window functions, EXCEPT and INTERSECT. Sorts of windows it has in mode Complete alone.
    ("select name, count(*) as c from events group by name order by c", [CHANGES, OK, OK]),
    ("select name, count(*) as c from events group by name order by c desc limit 3", [CHANGES, OK, OK]),
    ("select name, count(*) as c from events group by name order by c limit 3 offset 1", [CHANGES, OK, OK]),
    ("select * from events order by n limit 3", [CHANGES, OK, OK]),
    ("select m from (select name, n + 1 as m, at from events) t where m > 1 order by at desc, m limit 3 offset 2", [CHANGES, OK, OK]),
    ("select window, count(*) as c from events group by window(at, '10 minutes') order by c", [CHANGES, OK, OK]),
    ("select window, count(*) as c from events group by window(at, '10 minutes') order by c desc limit 3", [CHANGES, OK, OK]),
    ("select name, rank() over (partition by name order by n) as r from events", [CHANGES, OK, OK]),
    ("select name, sum(n) over (partition by name order by at) as s from events", [CHANGES, OK, OK]),
    ("select name from events except select name from others", [CHANGES, OK, OK]),
    ("select name from events intersect select name from others", [OK, OK, OK]),
    // What has no meaning, in any mode.
    ("select * from events order by n", [Err("ORDER BY of a stream (line 1, column 22)"); 3]),
    ("select * from events limit 3", [Err("LIMIT without ORDER BY (line 1, column 22)"); 3]),
    ("select name, count(*) from events group by name limit 3", [Err("LIMIT without ORDER BY (line 1, column 49)"); 3]),
    ("select name, count(*) as c from events group by name order by c offset 1", [Err("OFFSET without LIMIT (line 1, column 65)"); 3]),
    ("select name, n, count(*) from events group by cube(name, n)", [AGGREGATE, OK, OK]),
    ("select name, count(*) from events group by grouping sets ((name), ())", [AGGREGATE, OK, OK]),
    ("select name from events where n = (select n from others)", [Err("may have more than one row"); 3]),
    ("select name, random() from events", [Err("random() has another value each time"); 3]),
    ("select first(n) from events", [Err("write min_by(value, time)"); 3]),
    ("select name, current_timestamp() from events", [Err("has another value each time"); 3]),
    ("select * from docks d left join events e on d.name = e.name", [Err("keep the rows of the stream"); 3]),
    ("select count(*) from events group by window(at, '1 month')", [Err("not of the same length each time"); 3]),
    ("select count(*) from events group by window(at, '5 minutes', '10 minutes')", [Err("at most its length"); 3]),
];

fn fate(query: &str, asked: &tidemill_sql::Result<StreamingDataFrame<'_>>, mode: OutputMode, expected: Fate) {
    let got = asked.as_ref().map_err(Clone::clone).and_then(|frame| frame.foreach_batch(mode, |_, _| Ok(())));
    match (got, expected) {
        (Ok(()), Ok(())) => {}
        (Err(e), Err(words)) => {
            let e = e.to_string();
            assert!(e.starts_with(query) && e.contains(words), "{query}, {mode:?}: {e}");
        }
        (got, _) => panic!("{query}, {mode:?}: {got:?}, expected {expected:?}"),
    }
}

/// Tables of two streams, of which one has a watermark, and a table of the session.
fn tables<'s>(s: &DStream<'s, Event>) -> StreamTables<'s> {
    let session = TableSession::new();
    let docks = session.create_data_frame(&[("Ferry", 27)]).unwrap().to_df(["name", "docks"]).unwrap();
    docks.create_or_replace_temp_view("docks").unwrap();
    let tables = StreamTables::new(&session);
    tables.register_stream("events", s).unwrap();
    tables.with_watermark("events", "at", "10 seconds").unwrap();
    tables.register_stream("raw", s).unwrap();
    tables.sql("select timestamp_micros(at) as at, name, n from raw").unwrap().create_or_replace_temp_view("others").unwrap();
    tables
}

#[test]
fn each_shape_has_the_modes_that_mean_something() {
    const MODES: [OutputMode; 3] = [OutputMode::Append, OutputMode::Update, OutputMode::Complete];
    let seen = run(1, vec![vec![Event { at: 1, name: Some("Ferry".into()), n: 1 }], vec![]], |s| {
        let tables = tables(s);
        for (query, fates) in SHAPES {
            let asked = tables.sql(query);
            for (mode, expected) in MODES.into_iter().zip(fates) {
                fate(query, &asked, mode, expected);
            }
            // Every query that has a mode has this one.
            let refused = fates.iter().all(Result::is_err);
            fate(query, &asked, OutputMode::Changes, if refused { fates[0] } else { OK });
        }
        s.map(|_| ())
    });
    // All that was not refused has run.
    assert_eq!(seen.len(), 2);
}

#[test]
fn watermarks_and_duplicates_are_refused_with_the_remedy() {
    check(
        [Vec::<Event>::new()],
        |s| {
            let tables = tables(s);
            let wrong = |result: tidemill_sql::Result<()>, words: &str| {
                let e = result.unwrap_err().to_string();
                assert!(e.contains(words), "{e}");
            };
            wrong(tables.with_watermark("nowhere", "at", "1 second"), "nowhere is not a stream; register it first");
            wrong(tables.with_watermark("raw", "time", "1 second"), "columns are at, name, n");
            wrong(tables.with_watermark("raw", "n", "1 second"), "use a timestamp, or an i64");
            wrong(tables.with_watermark("raw", "at", "1 fortnight"), "microseconds, milliseconds, seconds");
            wrong(tables.with_watermark("raw", "at", "-1 second"), "is negative");
            let counts = tables.sql("select name, count(*) as c from events group by name").unwrap();
            wrong(counts.drop_duplicates(["name"]).map(|_| ()), "call it before the aggregate");
            wrong(counts.with_watermark("c", "1 second").map(|_| ()), "before the aggregate");
            wrong(counts.late().map(|_| ()), "use with_watermark");
            let raw = tables.table("raw").unwrap();
            wrong(raw.drop_duplicates_within_watermark(["name"]).map(|_| ()), "call with_watermark before it");
            wrong(raw.drop_duplicates(["title"]).map(|_| ()), "columns are at, name, n");
            s.map(|_| ())
        },
        [vec![]],
    );
}

#[test]
fn rows_that_cannot_be_computed_are_bad_records_and_the_others_go_on() {
    let texts = [vec!["4", "x", "5", "6", "0", ""], vec![], vec!["0", "9"]].map(|b| b.into_iter().map(String::from).collect());
    check(
        texts,
        |s: &DStream<'_, String>| {
            let tables = StreamTables::new(&TableSession::new());
            tables.register_stream("texts", s).unwrap();
            let sums = tables.sql("select sum(60 div cast(value as int)), count(*) from texts").unwrap();
            let rows = sums.view::<(i64, i64)>().unwrap().update().map(|row| format!("{row:?}"));
            let errors = sums.errors().unwrap().map(|bad| bad.reason.rsplit("; ").next().unwrap().to_owned());
            rows.union(&errors).sort_by(Clone::clone)
        },
        [
            vec!["(37, 3)", "the row is value: ", "the row is value: 0", "the row is value: x"],
            vec![],
            vec!["(43, 4)", "the row is value: 0"],
        ]
        .map(|rows| rows.into_iter().map(String::from).collect()),
    );
}

#[test]
fn explain_says_what_each_part_keeps_and_what_makes_it_grow() {
    check(
        [Vec::<Event>::new()],
        |s| {
            let query = "select window.start, e.name, count(*) from events e join docks d on e.name = d.name
                         where n > 1 group by window(at, '10 minutes', '5 minutes'), e.name";
            let text = tables(s).sql(query).unwrap().explain().unwrap();
            for words in [
                "keeps a result for each group and pane of an open window; grows with the rows that the watermark has not passed",
                "Inner join with a table of the session\n",
                "the stream events\n",
            ] {
                assert!(text.contains(words), "{text}");
            }
            let query = "select name, collect_list(n) from events group by name order by name";
            let text = tables(s).sql(query).unwrap().explain().unwrap();
            assert!(
                text.starts_with("sort_by ") && text.contains("keeps rows for each group; grows with the rows of each group"),
                "{text}"
            );
            let text = tables(s).sql("select name from events order by n limit 2 offset 1").unwrap().explain().unwrap();
            assert!(text.contains("keeps the first 3 rows; grows with LIMIT and OFFSET, not with the stream"), "{text}");
            assert!(text.contains("without the first 1"), "{text}");
            s.map(|_| ())
        },
        [vec![]],
    );
}
