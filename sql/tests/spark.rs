//! Where Spark's SQL and DataFusion's differ: one test for each row of the table in docs/guide/sql.md.

use tidemill_sql::{SqlError, TableSession};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[allow(non_snake_case)]
struct Trip {
    TripID: i32,
    StartStation: String,
    Duration: Option<i32>,
}

fn session() -> TableSession {
    let trip = |id, station: &str, duration| Trip { TripID: id, StartStation: station.into(), Duration: duration };
    let trips = [trip(1, "Ferry", Some(63)), trip(2, "Market", None), trip(3, "Ferry", Some(70))];
    let session = TableSession::new();
    session.create_data_frame(&trips).unwrap().create_or_replace_temp_view("Trips").unwrap();
    session
}

fn shown(sql: &str) -> String {
    session().sql(sql).and_then(|table| table.show_string(20, 20)).unwrap_or_else(|e| panic!("{e}"))
}

fn fault(sql: &str) -> SqlError {
    match session().sql(sql) {
        Err(e) => e,
        Ok(table) => table.record_batches().expect_err("the query is wrong"),
    }
}

#[test]
fn the_case_of_names_does_not_matter_and_results_have_that_of_the_query() {
    let table = session().sql("SELECT tripid, T.startSTATION FROM TRIPS t WHERE DURATION > 65").unwrap();
    // Spark names result columns as the query does.
    assert_eq!(table.columns(), ["tripid", "startSTATION"]);
    assert_eq!(session().sql("select * from trips").unwrap().columns(), ["TripID", "StartStation", "Duration"]);
    assert_eq!(table.collect::<(i32, String)>().unwrap(), [(3, "Ferry".to_owned())]);
}

#[test]
fn a_column_of_a_query_is_found_in_any_case() {
    let sql =
        "with Longest as (select max(duration) as MaxDuration from trips) select maxduration from longest where MAXDURATION > 1";
    assert_eq!(session().sql(sql).unwrap().columns(), ["maxduration"]);
}

#[test]
fn backticks_quote_names_and_double_quotes_are_texts() {
    let table = session().sql("select `StartStation`, \"a text\" as t from trips where StartStation = \"Market\"").unwrap();
    assert_eq!(table.collect::<(String, String)>().unwrap(), [("Market".to_owned(), "a text".to_owned())]);
}

#[test]
fn result_columns_have_sparks_names() {
    let sql =
        "select COUNT(*), Sum(Duration), count(distinct startstation), max(tripid) + 1, 'text', cast(1 as string) from trips";
    let names = session().sql(sql).unwrap().columns();
    let expected =
        ["count(1)", "sum(Duration)", "count(DISTINCT startstation)", "(max(tripid) + 1)", "text", "CAST(1 AS STRING)"];
    assert_eq!(names, expected);
}

#[test]
fn a_division_of_integers_is_a_double_and_div_is_whole() {
    let row = session().sql("select 7 / 2, 7 div 2, 7 div 2 + 1, 7 % 2").unwrap();
    assert_eq!(row.show_string(20, 20).unwrap().lines().nth(3).unwrap(), "|    3.5|        3|              4|      1|");
}

#[test]
fn texts_count_from_one() {
    let row = session().sql("select substring('tidemill', 1, 4), instr('tidemill', 'm')").unwrap();
    assert_eq!(row.collect::<(String, i32)>().unwrap(), [("tide".to_owned(), 5)]);
}

#[test]
fn split_cuts_at_a_pattern_and_explode_makes_rows() {
    let rows = |sql: &str| session().sql(sql).unwrap().collect::<(i32, String)>().unwrap();
    let words = rows("select tripid, explode(split(startstation, 'r+')) from trips where tripid < 3 order by tripid");
    assert_eq!(words, [(1, "Fe"), (1, "y"), (2, "Ma"), (2, "ket")].map(|(n, s)| (n, s.to_owned())));
    assert_eq!(session().sql("select explode(split('a.b', '[.]'))").unwrap().columns(), ["col"]);
    let row = session().sql("select split('to be  or', ' ') as parts, split(null, ' ') as none").unwrap();
    assert_eq!(row.show_string(20, 20).unwrap().lines().nth(3).unwrap(), "|[to, be, , or]|NULL|");
}

#[test]
fn sums_beyond_64_bits_wrap_round() {
    let rows = session().sql("select sum(n) from (select 9223372036854775807 as n union all select 1) t").unwrap();
    assert_eq!(rows.collect::<i64>().unwrap(), [i64::MIN]);
}

#[test]
fn intervals_have_both_forms() {
    let text = |interval: &str| {
        let sql = format!("select cast(timestamp '2026-01-01 00:00:00' + {interval} as string)");
        session().sql(&sql).unwrap().collect::<String>().unwrap()
    };
    assert_eq!(text("INTERVAL '5 minutes'"), text("INTERVAL '5' MINUTE"));
    assert!(text("INTERVAL '5 minutes'")[0].contains("00:05:00"), "{:?}", text("INTERVAL '5 minutes'"));
}

#[test]
fn sets_keep_the_copies_of_the_first_query_and_ties_have_the_first_or_last_row() {
    let of = |sql: &str| session().sql(sql).unwrap().collect::<String>().unwrap();
    let twice = "(select startstation as s from trips union all select startstation from trips)";
    let mut rows = of(&format!("select s from {twice} t except all select startstation from trips where startstation = 'Ferry'"));
    rows.sort();
    // Each row as often as in the first query, or not at all.
    assert_eq!(rows, ["Market", "Market"]);
    let both = of(&format!("select s from {twice} t intersect all select startstation from trips"));
    assert_eq!(both.len(), 6, "{both:?}");
    // The last and the first row. Over a stream, whose rows have no order, it is the largest and the least value.
    assert_eq!(of("select max_by(s, k) from (values ('b', 1), ('a', 1), ('c', 0)) as t(s, k)"), ["a"]);
    assert_eq!(of("select min_by(s, k) from (values ('b', 1), ('a', 1), ('c', 2)) as t(s, k)"), ["b"]);
}

#[test]
fn nulls_come_first_in_an_ascending_order() {
    let rows = |sql| session().sql(sql).unwrap().collect::<Option<i32>>().unwrap();
    assert_eq!(rows("select duration from trips order by duration"), [None, Some(63), Some(70)]);
    assert_eq!(rows("select duration from trips order by duration desc"), [Some(70), Some(63), None]);
}

#[test]
fn a_text_that_is_no_number_is_an_error_that_names_it() {
    let error = fault("select cast(startstation as int) from trips").to_string();
    assert!(error.contains("Ferry"), "{error}");
}

#[test]
fn a_text_is_bytes_and_a_text_again() {
    let row = session().sql("select cast('tide' as BINARY) as bytes, cast(cast('tide' as binary) as string) as text").unwrap();
    assert_eq!(row.schema_string(), "root\n |-- bytes: binary (nullable = false)\n |-- text: string (nullable = false)\n");
    assert_eq!(row.show_string(20, 20).unwrap().lines().nth(3).unwrap(), "|[74 69 64 65]|tide|");
    let null = session().sql("select cast(cast(duration as string) as binary) from trips where duration is null").unwrap();
    assert_eq!(null.show_string(20, 20).unwrap().lines().nth(3).unwrap().trim_matches(['|', ' ']), "NULL");
    let back = fault("select cast(unhex('FF') as string)").to_string();
    assert!(back.contains("UTF-8"), "{back}");
}

#[test]
fn sparks_names_of_types_are_those_of_a_schema() {
    let row =
        session().sql("select cast(1 as byte) a, cast(1 as short) b, cast(1 as dec(5, 2)) c, cast('x' as binary) d").unwrap();
    let kinds = row.schema_string();
    let expected = [("a", "byte"), ("b", "short"), ("c", "decimal(5,2)"), ("d", "binary")];
    assert!(expected.iter().all(|(name, kind)| kinds.contains(&format!("{name}: {kind} "))), "{kinds}");
    // Spark's timestamps count microseconds, up to the year 9999.
    let far =
        session().sql("select cast('3000-01-02 03:04:05' as timestamp) as at, timestamp '9999-12-31 23:59:59' as last").unwrap();
    assert_eq!(far.show_string(20, 20).unwrap().lines().nth(3).unwrap(), "|3000-01-02 03:04:05|9999-12-31 23:59:59|");
    let error = fault("select cast(1 as tide)").to_string();
    assert!(error.to_lowercase().contains("tide"), "{error}");
}

#[test]
fn faults_name_the_query_and_the_remedy() {
    let cases = [
        ("select tripz from trips", "TripID"),
        ("select 1 from nowhere", "create_or_replace_temp_view(\"nowhere\")"),
        ("insert into trips values (1, 'a', 2)", "only queries run here"),
        ("select 1; select 2", "2 statements; give them one by one"),
        ("", "no query"),
        ("selec 1", "selec"),
    ];
    for (sql, remedy) in cases {
        let error = fault(sql).to_string();
        assert!(error.starts_with(sql) && error.contains(remedy), "{sql}: {error}");
    }
}

#[test]
fn a_table_is_shown_in_its_order() {
    let numbers = TableSession::new().create_data_frame(&[3, 1, 2]).unwrap();
    let sorted = numbers.order_by(["value desc"]).unwrap();
    assert_eq!(sorted.limit(2).unwrap().collect::<i32>().unwrap(), [3, 2]);
    let shown = sorted.order_by(["value"]).unwrap().show_string(2, 20).unwrap();
    assert_eq!(shown, "+-----+\n|value|\n+-----+\n|    1|\n|    2|\n+-----+\nonly showing top 2 rows");
}

#[test]
fn an_empty_table_has_its_columns() {
    assert_eq!(
        shown("select * from trips where tripid > 9"),
        "+------+------------+--------+\n|TripID|StartStation|Duration|\n+------+------------+--------+\n+------+------------+--------+\n"
    );
    let none: [Trip; 0] = [];
    let table = TableSession::new().create_data_frame(&none).unwrap();
    let schema = "root\n |-- TripID: integer (nullable = false)\n |-- StartStation: string (nullable = false)\n |-- Duration: integer (nullable = true)\n";
    assert_eq!(table.schema_string(), schema);
}

/// The bytes are those of Spark 4's `show`.
#[test]
fn a_table_is_shown_as_spark_shows_it() {
    let sql = "select startstation, avg(duration), null as nothing, timestamp '2026-11-29 16:45:00.5' as t, date '2026-11-29' as d, \
               array(1, 2) as list, true as yes, 'a long text, and more of it' as text, 12345678.9 + 0.0 as big, X'6162' as bytes \
               from trips group by startstation order by startstation limit 1";
    let expected = "\
+------------+-------------+-------+--------------------+----------+------+----+--------------------+----------+-------+
|startstation|avg(duration)|nothing|                   t|         d|  list| yes|                text|       big|  bytes|
+------------+-------------+-------+--------------------+----------+------+----+--------------------+----------+-------+
|       Ferry|         66.5|   NULL|2026-11-29 16:45:...|2026-11-29|[1, 2]|true|a long text, and ...|12345678.9|[61 62]|
+------------+-------------+-------+--------------------+----------+------+----+--------------------+----------+-------+
";
    assert_eq!(shown(sql), expected);
    let whole =
        session().sql("select timestamp '2026-11-29 16:45:00.5' as t, 1.5e8 as double").unwrap().show_string(20, 0).unwrap();
    assert_eq!(whole.lines().nth(3).unwrap(), "|2026-11-29 16:45:00.5|1.5E8 |");
}

/// A table in memory gets another content after each batch, while others ask.
#[test]
fn a_query_beside_a_change_of_its_table_sees_the_one_before_or_the_one_after() {
    let session = TableSession::new();
    let named = |n: i64| session.create_data_frame(&[n]).unwrap().create_or_replace_temp_view("numbers").unwrap();
    named(0);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut last = 0;
            while last < 200 {
                let seen = session.sql("select value from numbers").and_then(|table| table.collect::<i64>()).unwrap();
                assert!(seen.len() == 1 && seen[0] >= last, "{seen:?} after {last}");
                last = seen[0];
            }
        });
        (1..=200).for_each(named);
        asker.join().unwrap();
    });
}
