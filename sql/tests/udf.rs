//! Functions and aggregates of a program: over tables, and over streams with nulls, faults and rows that leave.

use tidemill::prelude::*;
use tidemill::testing::{check, run, run_handed_over};
use tidemill_sql::{StreamTables, TableSession};

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Trip {
    station: Option<String>,
    minutes: Option<i32>,
}

fn trip(station: &str, minutes: impl Into<Option<i32>>) -> Trip {
    Trip { station: Some(station.to_owned()).filter(|s| !s.is_empty()), minutes: minutes.into() }
}

/// The product of numbers, and how many there are.
type Product = (i64, u32);

fn session() -> TableSession {
    let session = TableSession::new();
    let udf = session.udf();
    udf.register("shout", |text: String| text.to_uppercase() + "!").unwrap();
    udf.register("or_else", |(a, b): (Option<i64>, i64)| a.unwrap_or(b)).unwrap();
    udf.register("parts", |text: String| text.split('-').map(str::to_owned).collect::<Vec<_>>()).unwrap();
    udf.register("numbers", |text: String| text.split('-').filter_map(|part| part.parse().ok()).collect::<Vec<i64>>()).unwrap();
    udf.register("sum_all", |all: Vec<i64>| all.into_iter().sum::<i64>()).unwrap();
    udf.register("even", |n: i64| (n % 2 == 0).then_some(true)).unwrap();
    udf.try_register("digit", |text: String| Ok(text.parse::<i64>()?)).unwrap();
    let multiply = |(product, n): Product, value: i64| (product * value, n + 1);
    let merge = |a: Product, b: Product| (a.0 * b.0, a.1 + b.1);
    udf.register_aggregate("product", (1, 0), multiply, merge, |(product, n): Product| (n > 0).then_some(product)).unwrap();
    // A null is a value here.
    let seen = |n: i64, (_, _): (Option<String>, Option<i64>)| n + 1;
    udf.register_aggregate("rows", 0_i64, seen, |a, b| a + b, |n| n).unwrap();
    session
}

#[test]
fn functions_take_and_give_the_types_of_columns() {
    let session = session();
    let row = session.sql("select Shout('tide'), sum_all(numbers('1-2-4')), even(3), even(4)").unwrap();
    assert_eq!(row.collect::<(String, i64, Option<bool>, Option<bool>)>().unwrap(), [("TIDE!".to_owned(), 7, None, Some(true))]);
    assert_eq!(row.columns()[0], "shout(tide)");
    let parts = session.sql("select explode(parts('a-b')) as part").unwrap();
    assert_eq!(parts.collect::<String>().unwrap(), ["a", "b"]);
    // Integers of fewer bits are taken as i64, and a function of a text is not called for a null.
    let nulls = session.sql("select or_else(cast(null as int), cast(7 as smallint)), shout(null), or_else(1, null)").unwrap();
    assert_eq!(nulls.collect::<(i64, Option<String>, Option<i64>)>().unwrap(), [(7, None, None)]);
    let table = session.create_data_frame(&[trip("a", 2), trip("", 3), trip("b", None)]).unwrap();
    let all = table
        .select(["product(minutes)", "rows(station, minutes)", "product(minutes) filter (where minutes > 2) as long"])
        .unwrap();
    assert_eq!(all.collect::<(Option<i64>, i64, Option<i64>)>().unwrap(), [(Some(6), 3, Some(3))]);
    let none = table.filter("minutes > 9").unwrap().select(["product(minutes)", "rows(station, minutes)"]).unwrap();
    assert_eq!(none.collect::<(Option<i64>, i64)>().unwrap(), [(None, 0)]);
    let over = table.select(["product(minutes) over (order by minutes)"]).unwrap();
    // The row without minutes comes first.
    let mut running = over.collect::<Option<i64>>().unwrap();
    running.sort();
    assert_eq!(running, [None, Some(2), Some(6)]);
}

#[test]
fn a_wrong_call_or_name_is_an_error_that_names_it() {
    let session = session();
    for (query, words) in [
        ("select shout(1, 2)", "shout"),
        ("select digit('x')", "digit: invalid digit found in string"),
        ("select nothing('x')", "nothing"),
        ("select product('x', 1)", "product"),
    ] {
        let error = session.sql(query).and_then(|rows| rows.record_batches()).unwrap_err().to_string();
        assert!(error.contains(words), "{query}: {error}");
    }
    let error = session.udf().register(" ", |n: i64| n).unwrap_err().to_string();
    assert!(error.contains("the name is empty"), "{error}");
    // The last one of a name holds.
    session.udf().register("shout", |text: String| text).unwrap();
    assert_eq!(session.sql("select shout('tide')").unwrap().collect::<String>().unwrap(), ["tide"]);
}

#[test]
fn a_row_for_which_a_function_fails_is_a_bad_record() {
    check(
        [vec!["4", "x", "5"], vec!["", "7"]].map(|b| b.into_iter().map(String::from).collect::<Vec<_>>()),
        |s| {
            let tables = StreamTables::new(&session());
            tables.register_stream("texts", s).unwrap();
            let sums = tables.sql("select sum(digit(value)), count(*) from texts").unwrap();
            let rows = sums.view::<(i64, i64)>().unwrap().update().map(|row| format!("{row:?}"));
            rows.union(&sums.errors().unwrap().map(|bad| bad.reason)).sort_by(Clone::clone)
        },
        [vec!["(9, 2)", "x: invalid digit"], vec!["(16, 3)", ": cannot parse"]].map(|rows| {
            let why = |row: &str| match row.split_once(": ") {
                Some((value, "invalid digit")) => format!(
                    "select sum(digit(value)), count(*) from texts: Execution error: digit: invalid digit found in string; the row is value: {value}"
                ),
                Some((value, _)) => format!(
                    "select sum(digit(value)), count(*) from texts: Execution error: digit: cannot parse integer from empty string; the row is value: {value}"
                ),
                None => row.to_owned(),
            };
            rows.into_iter().map(why).collect()
        }),
    );
}

type Answer = (Option<String>, Option<i64>, i64);

/// The result of a query, after each batch.
fn kept_up_to_date(query: &'static str) -> impl for<'s> Fn(&DStream<'s, Trip>) -> DStream<'s, Answer> + Copy {
    move |s| {
        let tables = StreamTables::new(&session());
        tables.register_stream("trips", s).unwrap();
        let result = tables.sql(query).unwrap();
        assert!(!result.explain().unwrap().contains("keeps rows"), "{}", result.explain().unwrap());
        result.view::<Answer>().unwrap().sort_by(Clone::clone).complete()
    }
}

/// An aggregate of the program is that of the same SQL over all rows so far: of rows that only come, and of rows that leave.
#[test]
fn an_aggregate_is_kept_up_to_date() {
    const QUERIES: [&str; 3] = [
        "select station, product(minutes), rows(station, minutes) from trips group by station",
        "select station, product(minutes) filter (where minutes > 2), count(*) from trips group by station",
        "select max(s), product(n), rows(s, n) from (select station as s, sum(minutes) as n from trips group by station) t group by s is null",
    ];
    let batches = vec![
        vec![trip("a", 2), trip("b", 3), trip("a", None)],
        vec![],
        vec![trip("", 5), trip("a", 4)],
        vec![trip("b", 3), trip("b", None), trip("", None)],
    ];
    for query in QUERIES {
        let expected: Vec<Vec<Answer>> = (1..=batches.len())
            .map(|n| {
                let session = session();
                session.create_data_frame(&batches[..n].concat()).unwrap().create_or_replace_temp_view("trips").unwrap();
                let mut rows: Vec<Answer> = session.sql(query).unwrap().collect().unwrap();
                rows.sort();
                rows
            })
            .collect();
        let job = kept_up_to_date(query);
        let rows = |seen: Vec<(u64, Vec<Answer>)>| seen.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>();
        for workers in [1, 2, 4] {
            assert_eq!(rows(run(workers, batches.clone(), job)), expected, "{query}, at {workers} workers");
        }
        let seen = run_handed_over((1, 2), batches[..2].to_vec(), batches[2..].to_vec(), job);
        assert_eq!(rows(seen), expected, "{query}, after a restart");
    }
}

#[test]
fn an_aggregate_of_windows_closes_with_them() {
    check(
        // The watermark is that of the partition which is furthest back, and each row of a batch is in another one.
        [vec![(1, 2), (3, 5)], vec![(11, 7), (12, 1)], vec![(40, 1), (41, 1)]],
        |s| {
            let tables = StreamTables::new(&session());
            tables.register_stream("numbers", &s.map(|(second, n)| (second * 1_000_000_i64, n))).unwrap();
            tables.with_watermark("numbers", "_1", "0 seconds").unwrap();
            let query = "select product(_2) from numbers group by window(_1, '10 seconds')";
            tables.sql(query).unwrap().stream::<i64>().unwrap()
        },
        [vec![], vec![10], vec![7]],
    );
}

/// A query over texts, its rows after each batch, and the first value of each bad row that a batch has.
type Faults = (&'static str, [&'static [&'static str]; 3], [&'static [&'static str]; 3]);

/// The rows of a query over texts after each batch, and its bad rows.
fn with_faults(query: &'static str) -> impl for<'s> Fn(&DStream<'s, String>) -> DStream<'s, String> + Copy {
    move |s| {
        let tables = StreamTables::new(&session());
        tables.register_stream("texts", s).unwrap();
        let result = tables.sql(query).unwrap();
        let rows = result.view::<String>().unwrap().complete();
        let first = |reason: &str| {
            let row = reason.rsplit("; the row is ").next().and_then(|row| row.split(", ").next()).unwrap();
            format!("bad {}", row.rsplit(": ").next().unwrap())
        };
        rows.union(&result.errors().unwrap().map(move |bad| first(&bad.reason)))
    }
}

/// A row of a result that cannot be computed is a bad record when it comes, and the others go on.
#[test]
fn a_fault_in_a_result_a_condition_or_a_loop_is_a_bad_record() {
    const QUERIES: [Faults; 6] = [
        (
            "select cast(digit(value) * 10 + n as string) from (select value, count(*) as n from texts group by value) t",
            [&["41"], &["41", "51", "61"], &["41", "51", "61"]],
            [&["x"], &["x"], &[]],
        ),
        (
            "select value from (select value, count(*) as n from texts group by value) t where digit(value) > 4",
            [&[], &["5", "6"], &["5", "6"]],
            [&["x"], &["x"], &[]],
        ),
        (
            "select concat(a.value, b.value) from texts a join texts b on a.value < b.value and digit(a.value) + digit(b.value) > 8",
            [&[], &["45", "46", "56"], &["45", "46", "56"]],
            [&["4"], &["4", "5", "5", "6", "6"], &[]],
        ),
        (
            "select a.value from texts a join texts b on digit(a.value) = digit(b.value) + 1",
            [&[], &["5", "6"], &["5", "6"]],
            [&["x", "x"], &["x", "x"], &[]],
        ),
        (
            "with recursive r(n) as (select value from texts union
             select cast(digit(r.n) - 1 as string) from r where digit(r.n) > 0) select n from r",
            [
                &["0", "1", "2", "3", "4", "x"],
                &["0", "1", "2", "3", "4", "5", "6", "x"],
                &["0", "1", "2", "3", "4", "5", "6", "x"],
            ],
            [&["x"], &[], &[]],
        ),
        (
            "with recursive r(n) as (select value from texts where value in ('4', 'x') union
             select t.value from r join texts t on digit(t.value) = digit(r.n) + 1) select n from r",
            [&["4", "x"], &["4", "5", "6", "x"], &["4", "5", "6", "x"]],
            [&["x", "x"], &[], &[]],
        ),
    ];
    let batches = [vec!["4", "x"], vec!["5", "x", "6"], vec![]].map(|b| b.into_iter().map(String::from).collect::<Vec<_>>());
    for (query, rows, bad) in QUERIES {
        let job = with_faults(query);
        let expected = rows.iter().zip(bad).map(|(rows, bad)| {
            let mut all: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            all.extend(bad.iter().map(|row| format!("bad {row}")));
            all.sort();
            all
        });
        let expected: Vec<Vec<String>> = expected.collect();
        let sorted = |seen: Vec<(u64, Vec<String>)>| {
            let sorted = |(_, mut rows): (u64, Vec<String>)| {
                rows.sort();
                rows
            };
            seen.into_iter().map(sorted).collect::<Vec<_>>()
        };
        for workers in [1, 2, 4] {
            assert_eq!(sorted(run(workers, batches.to_vec(), job)), expected, "{query}, at {workers} workers");
        }
        let seen = run_handed_over((1, 2), batches[..1].to_vec(), batches[1..].to_vec(), job);
        assert_eq!(sorted(seen), expected, "{query}, after a restart");
    }
}
