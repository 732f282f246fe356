//! Windows, joins and duplicates by event time: against the verbs of the library, and against DataFusion's answer over all rows so far. One
//! random input for each; PROPTEST_CASES sets another number.

use proptest::prelude::*;
use tidemill::prelude::*;
use tidemill::testing::{run, run_handed_over};
use tidemill_sql::{StreamTables, TableSession, Watermark};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::cases;

/// A time in microseconds, a word, a number.
type Event = (Option<i64>, Option<String>, Option<i32>);

/// A word, a number, and the start of a window in seconds.
type Answer = (Option<String>, Option<i64>, i64);

/// An event without its word.
type Rest = (Option<i64>, Option<i32>);

const SECOND: i64 = 1_000_000;

fn events(nulls: bool) -> impl Strategy<Value = Vec<Vec<Event>>> {
    let word = proptest::option::weighted(0.9, prop_oneof!["to", "be", "or"]);
    let none = if nulls { 0.1 } else { 0.0 };
    let at = (0..60_i64, proptest::bool::weighted(none)).prop_map(|(second, none)| (!none).then_some(second * SECOND));
    let event = (at, word, proptest::option::weighted(0.8, 0..6));
    proptest::collection::vec(proptest::collection::vec(event, 0..6), 1..6)
}

fn tables<'s>(stream: &DStream<'s, Event>, watermark: Option<Watermark>) -> StreamTables<'s> {
    let tables = StreamTables::new(&TableSession::new());
    tables.register_stream("raw", stream).unwrap();
    tables.table("raw").unwrap().to_df(["at", "word", "n"]).unwrap().create_or_replace_temp_view("named").unwrap();
    let named = tables.sql("select at, word, n from named").unwrap();
    match watermark {
        Some(watermark) => named.with_watermark("at", watermark).unwrap().create_or_replace_temp_view("events").unwrap(),
        None => {
            let stamped = named.with_column("at", "timestamp_micros(at)").unwrap();
            stamped.create_or_replace_temp_view("events").unwrap();
        }
    }
    tables
}

/// The answer over all rows up to each batch, by DataFusion alone.
fn answers(batches: &[Vec<Event>], query: &str) -> Vec<Vec<Answer>> {
    let answer = |n: usize| {
        let session = TableSession::new();
        let rows = session.create_data_frame(&batches[..n].concat()).unwrap().to_df(["at", "word", "n"]).unwrap();
        let rows = rows.with_column("at", "timestamp_micros(at)").unwrap().filter("at is not null").unwrap();
        rows.create_or_replace_temp_view("events").unwrap();
        let mut rows: Vec<Answer> = session.sql(query).unwrap().collect().unwrap();
        rows.sort();
        rows
    };
    (1..=batches.len()).map(answer).collect()
}

/// Checks the rows of each batch on 1, 2 and 4 workers, and when a job on two workers goes on where a job on one stopped.
fn checked<U: Key + std::fmt::Debug>(
    batches: &[Vec<Event>],
    name: &str,
    program: impl for<'s> Fn(&DStream<'s, Event>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
    expected: &[Vec<U>],
) {
    let rows = |seen: Vec<(u64, Vec<U>)>| {
        let sorted = |(_, mut rows): (u64, Vec<U>)| {
            rows.sort();
            rows
        };
        seen.into_iter().map(sorted).collect::<Vec<_>>()
    };
    for workers in [1, 2, 4] {
        let program = program.clone();
        assert_eq!(rows(run(workers, batches.to_vec(), move |s| program(s))), expected, "{name}, at {workers} workers");
    }
    let (first, then) = batches.split_at(batches.len() / 2);
    let seen = rows(run_handed_over((1, 2), first.to_vec(), then.to_vec(), move |s| program(s)));
    assert_eq!(seen, expected, "{name}, after a restart");
}

/// A query, and the same for DataFusion, which has no overlapping windows.
const ALL: [(&str, &str); 5] = [
    (
        "select word, count(*), cast(window.start as bigint) from events group by window(at, '10 seconds'), word",
        "select word, count(*), cast(window.start as bigint) from events group by window(at, '10 seconds'), word",
    ),
    (
        "select word, count(*), cast(window.start as bigint) from events group by word, window(at, '10 seconds', '5 seconds') having count(*) > 1",
        "select word, count(*), start from (select word, cast(w.start as bigint) - k * 5000000 as start
         from (select word, window(at, '5 seconds') as w from events) e cross join (select 0 as k union all select 1) s) f
         group by start, word having count(*) > 1",
    ),
    (
        "select cast(null as string), sum(n), cast(window.start as bigint) from events group by window(at, '7 seconds', '3 seconds', '1 second')",
        "select cast(null as string), sum(n), start from (select n, cast(w.start as bigint) - k * 3000000 as start, cast(at as bigint) as t
         from (select at, n, window(at, '3 seconds', '3 seconds', '1 second') as w from events) e
         cross join (select 0 as k union all select 1 union all select 2) s) f where t < start + 7000000 group by start",
    ),
    (
        "select max(word), max(c), cast(window.start as bigint) from
         (select window, word, count(*) as c from events group by window(at, '10 seconds'), word) t group by window",
        "select max(word), max(c), cast(w.start as bigint) from
         (select window(at, '10 seconds') as w, word, count(*) as c from events group by 1, word) t group by w",
    ),
    (
        "select word, count(*), cast(w.start as bigint) from (select window(at, '10 seconds') as w, word from events) t group by w, word",
        "select word, count(*), cast(w.start as bigint) from (select window(at, '10 seconds') as w, word from events) t group by w, word",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(1),
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_windows_are_those_of_all_rows_so_far(batches in events(true)) {
        for (query, same) in ALL {
            let expected = answers(&batches, same);
            for watermark in [None, Some(Watermark::delay(secs(3)))] {
                checked(&batches, query, move |s| {
                    tables(s, watermark).sql(query).unwrap().view::<Answer>().unwrap().complete()
                }, &expected);
            }
        }
    }

    #[test]
    fn sessions_are_those_of_all_rows_so_far(batches in events(true)) {
        let expected: Vec<Vec<Answer>> = (1..=batches.len()).map(|n| sessions(&batches[..n].concat())).collect();
        let query = "select word, count(n), cast(session_window.start as bigint) from events group by session_window(at, '5 seconds'), word";
        checked(&batches, query, move |s| tables(s, None).sql(query).unwrap().view::<Answer>().unwrap().complete(), &expected);
    }

    /// The windows that a watermark closes are those of the verbs, whose own tests have a model.
    #[test]
    fn windows_close_as_those_of_the_verbs(batches in events(false)) {
        for shape in [Tens, Fives, Sessions] {
            let expected = by_batch(run(1, batches.clone(), move |s| shape.verbs(s).append().map(answer)));
            let query = shape.query();
            checked(&batches, &query, move |s| watermarked(s).sql(&shape.query()).unwrap().stream::<Answer>().unwrap(), &expected);

            let expected = by_batch(run(1, batches.clone(), move |s| shape.verbs(s).update().map(answer)));
            checked(&batches, &query, move |s| watermarked(s).sql(&shape.query()).unwrap().open_windows::<Answer>().unwrap().update(), &expected);

            let expected = by_batch(run(1, batches.clone(), move |s| shape.verbs(s).late().map(|late| late.window.row.1)));
            checked(&batches, &query, move |s| {
                let late = watermarked(s).sql(&shape.query()).unwrap().late().unwrap();
                late.to_df(["window", "word", "n"]).unwrap().select(["n"]).unwrap().stream::<i64>().unwrap()
            }, &expected);
        }
    }

    #[test]
    fn pairs_of_near_rows_are_those_of_the_join(batches in events(false)) {
        let query = "select a.word, cast(b.n as bigint), cast(a.at as bigint) from events a join events b
                     on a.word = b.word and b.at between a.at - interval '3' second and a.at + interval '5' second and a.n < b.n";
        let expected = answers(&batches, query);
        // No row is late.
        checked(&batches, query, move |s| {
            let tables = tables(s, Some(Watermark::delay(mins(2))));
            let pairs = tables.sql(query).unwrap();
            assert!(pairs.explain().unwrap().contains("join_within"), "{}", pairs.explain().unwrap());
            pairs.stream::<Answer>().unwrap().accumulate().complete()
        }, &expected);
    }

    #[test]
    fn windows_of_pairs_close_as_those_of_the_verbs(batches in events(false)) {
        for (time, behind) in [("a.at", 5), ("b.at", 3)] {
            let query = format!("{PAIRS} group by window({time}, '10 seconds'), a.word");
            let explained = query.clone();
            let expected = by_batch(run(1, batches.clone(), move |s| of_pairs(s, behind).append().map(answer)));
            let sql = query.clone();
            checked(&batches, &query, move |s| {
                let windows = tables(s, Some(Watermark::delay(secs(4)))).sql(&sql).unwrap();
                let text = windows.explain().unwrap();
                assert!(text.contains("each group and pane of an open window") && text.contains("join_within"), "{explained}: {text}");
                windows.stream::<Answer>().unwrap()
            }, &expected);

            let expected = by_batch(run(1, batches.clone(), move |s| of_pairs(s, behind).update().map(answer)));
            let sql = query.clone();
            checked(&batches, &query, move |s| {
                tables(s, Some(Watermark::delay(secs(4)))).sql(&sql).unwrap().open_windows::<Answer>().unwrap().update()
            }, &expected);
        }
    }

    #[test]
    fn final_windows_of_pairs_are_those_of_all_rows(batches in events(false)) {
        // No row is late, and the last batch closes all windows: it has a row in each partition.
        let mut batches = batches;
        batches.push(vec![(Some(1_000 * SECOND), None, None); 4]);
        for query in [
            format!("{PAIRS} group by window(a.at, '10 seconds'), a.word having count(*) > 1"),
            format!("select word, n, start from ({PAIRS} group by window(b.at, '7 seconds'), a.word) t(word, n, start)"),
            "select t.word, max(t.n), cast(window.start as bigint) from
             (select a.word, cast(b.n as bigint) as n, c.at from events a
              join events b on a.word = b.word and b.at between a.at and a.at + interval '5' second
              join events c on c.word = b.word and c.at between b.at - interval '2' second and b.at) t
             group by window(t.at, '10 seconds'), t.word".to_owned(),
        ] {
            let mut expected = vec![Vec::new(); batches.len() - 1];
            expected.extend(answers(&batches, &query).pop());
            let sql = query.clone();
            checked(&batches, &query, move |s| {
                tables(s, Some(Watermark::delay(mins(2)))).sql(&sql).unwrap().stream::<Answer>().unwrap()
            }, &expected);
            let expected = answers(&batches, &query);
            let sql = query.clone();
            checked(&batches, &query, move |s| {
                tables(s, Some(Watermark::delay(mins(2)))).sql(&sql).unwrap().view::<Answer>().unwrap().complete()
            }, &expected);
        }
    }

    #[test]
    fn rows_without_a_partner_leave_as_those_of_the_verbs(batches in events(false)) {
        let expected = by_batch(run(1, batches.clone(), move |s| {
            let pairs = side(s).left_outer_join_within(&side(s), secs(0), secs(2)).timestamped();
            pairs.map(|t| (t.row.0, t.row.1.1.and_then(|(_, n)| n).map(i64::from), t.row.1.0.0.unwrap()))
        }));
        let query = "select a.word, cast(b.n as bigint), cast(a.at as bigint) from (select * from events where word is not null) a
                     left join (select * from events where word is not null) b
                     on a.word = b.word and b.at >= a.at and b.at <= a.at + interval '2 seconds'";
        checked(&batches, query, move |s| {
            tables(s, Some(Watermark::delay(secs(4)))).sql(query).unwrap().stream::<Answer>().unwrap()
        }, &expected);
    }

    #[test]
    fn late_rows_of_joins_are_those_of_the_verbs(batches in events(false)) {
        let expected = by_batch(run(1, batches.clone(), move |s| {
            let late = worded(s).join_within(&worded(s), secs(1), secs(2)).late();
            late.map(|late| (late.row.0, late.row.1.0.and_then(|(at, _)| at), late.row.1.1.and_then(|(at, _)| at)))
        }));
        for how in ["join", "left join", "right join", "full join"] {
            let rows = "(select * from events where word is not null)";
            let query = format!("select a.word, cast(a.at as bigint) as x, cast(b.at as bigint) as y from {rows} a {how} {rows} b on a.word = b.word
                                 and b.at >= a.at - interval '1' second and b.at <= a.at + interval '2' second");
            let sql = query.clone();
            checked(&batches, &query, move |s| {
                let late = tables(s, Some(Watermark::delay(secs(4)))).sql(&sql).unwrap().late().unwrap();
                let columns = ["coalesce(left_side.word, right_side.word) as word", "cast(left_side.at as bigint) as l", "cast(right_side.at as bigint) as r"];
                late.select(columns).unwrap().stream::<(Option<String>, Option<i64>, Option<i64>)>().unwrap()
            }, &expected);
        }
    }

    #[test]
    fn late_rows_of_duplicates_are_those_of_the_verbs(batches in events(false)) {
        let expected = by_batch(run(1, batches.clone(), move |s| {
            s.event_time(|e: &Event| e.0, secs(4)).distinct_within_by(secs(4), |e| e.1.clone()).late().map(|late| late.row.1)
        }));
        checked(&batches, "drop_duplicates_within_watermark", move |s| {
            let rows = watermarked(s).table("events").unwrap().drop_duplicates_within_watermark(["word"]).unwrap();
            // A query over the rows has them, too.
            let late = rows.filter("n > 1").unwrap().late().unwrap();
            late.select(["word"]).unwrap().stream::<Option<String>>().unwrap()
        }, &expected);
    }

    #[test]
    fn duplicates_are_dropped_as_by_the_verbs(batches in events(false)) {
        let expected = by_batch(run(1, batches.clone(), move |s| {
            s.event_time(|e: &Event| e.0, secs(4)).distinct_within_by(secs(4), |e| e.1.clone()).timestamped().map(|t| t.row.1)
        }));
        checked(&batches, "drop_duplicates_within_watermark", move |s| {
            let rows = watermarked(s).table("events").unwrap().drop_duplicates_within_watermark(["word"]).unwrap();
            rows.select(["word"]).unwrap().stream::<Option<String>>().unwrap()
        }, &expected);

        let mut seen = std::collections::BTreeSet::new();
        let first = |batch: &Vec<Event>| {
            let mut words: Vec<_> = batch.iter().map(|e| e.1.clone()).filter(|word| seen.insert(word.clone())).collect();
            words.sort();
            words
        };
        let expected: Vec<Vec<Option<String>>> = batches.iter().map(first).collect();
        checked(&batches, "drop_duplicates", move |s| {
            let rows = watermarked(s).table("events").unwrap().drop_duplicates(["word"]).unwrap();
            rows.select(["word"]).unwrap().stream::<Option<String>>().unwrap()
        }, &expected);
    }
}

/// Windows of pairs of near rows, before their GROUP BY.
const PAIRS: &str = "select a.word, count(*), cast(window.start as bigint) from events a join events b
    on a.word = b.word and b.at between a.at - interval '3' second and a.at + interval '5' second";

/// The same pairs by verbs, in windows by the time of the left or of the right row.
fn of_pairs<'s>(s: &DStream<'s, Event>, behind: u64) -> WindowedView<'s, (Option<String>, i64)> {
    let pairs = side(s).join_within(&side(s), secs(3), secs(5));
    let rows = pairs.timestamped().map(move |t| {
        let (word, ((left, _), (right, _))) = t.row;
        (word, if behind == 5 { left } else { right })
    });
    rows.event_time_of(|(_, at)| *at, &pairs, secs(behind)).map(|(word, _)| word).tumbling(secs(10)).count_by_value()
}

/// The rows with a word, by it.
fn side<'s>(s: &DStream<'s, Event>) -> EventTimeStream<'s, (Option<String>, Rest)> {
    let timed = s.event_time(|e: &Event| e.0, secs(4));
    timed.filter(|(_, word, _)| word.is_some()).map(|(at, word, n)| (word, (at, n)))
}

/// As [`side`], of a stream that has rows with a word alone.
fn worded<'s>(s: &DStream<'s, Event>) -> EventTimeStream<'s, (Option<String>, Rest)> {
    side(&s.filter(|(_, word, _)| word.is_some()))
}

fn by_batch<U: Ord>(seen: Vec<(u64, Vec<U>)>) -> Vec<Vec<U>> {
    let sorted = |(_, mut rows): (u64, Vec<U>)| {
        rows.sort();
        rows
    };
    seen.into_iter().map(sorted).collect()
}

fn watermarked<'s>(s: &DStream<'s, Event>) -> StreamTables<'s> {
    tables(s, Some(Watermark::delay(secs(4)).allowed_lateness(secs(1))))
}

/// The sessions of five seconds of each word: how many numbers they have.
fn sessions(rows: &[Event]) -> Vec<Answer> {
    let mut rows: Vec<(Option<String>, i64, i64)> =
        rows.iter().filter_map(|(at, word, n)| Some((word.clone(), (*at)?, i64::from(n.is_some())))).collect();
    rows.sort();
    let mut all: Vec<(Answer, i64)> = Vec::new();
    for (word, at, n) in rows {
        match all.last_mut() {
            Some(((w, count, _), last)) if *w == word && at < *last + 5 * SECOND => {
                *count = count.map(|c| c + n);
                *last = at;
            }
            _ => all.push(((word, Some(n), at), at)),
        }
    }
    let mut all: Vec<Answer> = all.into_iter().map(|(row, _)| row).collect();
    all.sort();
    all
}

/// Shapes of windows, as a query and as verbs.
#[derive(Clone, Copy)]
enum Shape {
    Tens,
    Fives,
    Sessions,
}
use Shape::*;

fn answer(w: Windowed<(Option<String>, i64)>) -> Answer {
    (w.row.0, Some(w.row.1), w.start)
}

impl Shape {
    fn query(self) -> String {
        let window = match self {
            Tens => "window(at, '10 seconds')",
            Fives => "window(at, '10 seconds', '5 seconds')",
            Sessions => "session_window(at, '5 seconds')",
        };
        let column = if matches!(self, Sessions) { "session_window" } else { "window" };
        format!("select word, count(*), cast({column}.start as bigint) from events group by {window}, word")
    }

    fn verbs<'s>(self, s: &DStream<'s, Event>) -> WindowedView<'s, (Option<String>, i64)> {
        let words = s.event_time(|e: &Event| e.0, secs(4)).map(|e| e.1);
        match self {
            Tens => words.tumbling(secs(10)).allowed_lateness(secs(1)).count_by_value(),
            Fives => words.sliding(secs(10), secs(5)).allowed_lateness(secs(1)).count_by_value(),
            Sessions => words.session(secs(5)).count_by_value(),
        }
    }
}
