//! The verbs of windows and sessions by event time against brute force: what they make of all rows of each window.

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::event_time::{Case, Row, batches, case, micros, watermarks};
use super::model::{bag, by_key, check_batches, counts, each};
use super::sessions::model;
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

/// A verb on windows and on sessions, as what leaves of it, and its model: the results of the rows of a window.
struct Verb {
    windows: for<'s> fn(Case, &DStream<'s, Row>) -> Left<'s>,
    sessions: for<'s> fn(&EventTimeStream<'s, Row>, Duration) -> Left<'s>,
    /// What has sessions of its own.
    key: fn(&Row) -> u8,
    model: fn(Vec<Row>) -> Vec<String>,
}

/// The open windows, the closed ones, and the results of late rows.
struct Left<'s>([DStream<'s, Windowed<String>>; 3]);

fn left<'s, T: Key>(view: &WindowedView<'s, T>) -> Left<'s> {
    fn text<'s, T: Key>(rows: &DStream<'s, Windowed<T>>) -> DStream<'s, Windowed<String>> {
        rows.map(|window| window.map(|row| format!("{row:?}")))
    }
    Left([text(&view.complete()), text(&view.append()), text(&view.late().map(|late| late.window))])
}

fn text<T: Debug>(rows: impl IntoIterator<Item = T>) -> Vec<String> {
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

fn windows<'s>(case: Case, s: &DStream<'s, Row>) -> EventTimeWindows<'s, Row> {
    case.of(s, |row| row)
}

/// Rows in the order of their times, then in their own.
fn in_time(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|(k, time)| (*time, *k));
    rows
}

/// The two rows with the largest keys modulo 2, then the first ones by encoding.
fn top_two(rows: Vec<Row>) -> Vec<Row> {
    let mut rows = bag(rows);
    rows.sort_by_key(|(k, _)| std::cmp::Reverse(k % 2));
    rows.truncate(2);
    rows
}

fn sum((sum, n): (i64, i64), (k, time): Row) -> (i64, i64) {
    (sum + time * i64::from(k), n + 1)
}

fn both(a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
    (a.0 + b.0, a.1 + b.1)
}

const COUNT: Verb = Verb {
    windows: |case, s| left(&windows(case, s).count()),
    sessions: |rows, gap| left(&rows.session(gap).count()),
    key: |_| 0,
    model: |rows| text((!rows.is_empty()).then_some(rows.len())),
};

const REDUCE: Verb = Verb {
    windows: |case, s| left(&windows(case, s).reduce(Row::max)),
    sessions: |rows, gap| left(&rows.session(gap).reduce(Row::max)),
    key: |_| 0,
    model: |rows| text(rows.into_iter().max()),
};

const AGGREGATE: Verb = Verb {
    windows: |case, s| left(&windows(case, s).aggregate((0, 0), sum, both)),
    sessions: |rows, gap| left(&rows.session(gap).aggregate(|row| sum((0, 0), row), both)),
    key: |_| 0,
    model: |rows| text((!rows.is_empty()).then(|| rows.into_iter().fold((0, 0), sum))),
};

const DISTINCT: Verb = Verb {
    windows: |case, s| left(&case.of(s, |(k, _)| k % 2).distinct()),
    sessions: |rows, gap| left(&rows.map(|(k, _)| k % 2).session(gap).distinct()),
    key: |(k, _)| k % 2,
    model: |rows| text(by_key(rows.into_iter().map(|(k, _)| (k % 2, ())).collect()).into_keys()),
};

const COLLECT: Verb = Verb {
    windows: |case, s| left(&windows(case, s).collect()),
    sessions: |rows, gap| left(&rows.session(gap).collect()),
    key: |_| 0,
    model: |rows| text((!rows.is_empty()).then(|| in_time(rows))),
};

const GROUP_BY_KEY: Verb = Verb {
    windows: |case, s| left(&windows(case, s).group_by_key()),
    sessions: |rows, gap| left(&rows.session(gap).group_by_key()),
    key: |(k, _)| *k,
    model: |rows| text(by_key(in_time(rows))),
};

const TOP_BY: Verb = Verb {
    windows: |case, s| left(&windows(case, s).top_by(2, |(k, _)| k % 2)),
    sessions: |rows, gap| left(&rows.session(gap).top_by(2, |(k, _)| k % 2)),
    key: |_| 0,
    model: |rows| text(top_two(rows)),
};

const TOP_BY_KEY: Verb = Verb {
    windows: |case, s| left(&windows(case, s).top_by_key(2, |time| time % 3)),
    sessions: |rows, gap| left(&rows.session(gap).top_by_key(2, |time| time % 3)),
    key: |(k, _)| *k,
    model: |rows| {
        let two = |(k, times): (u8, Vec<i64>)| {
            let mut times = bag(times);
            times.sort_by_key(|time| std::cmp::Reverse(time % 3));
            times.into_iter().take(2).map(move |time| (k, time))
        };
        text(by_key(rows).into_iter().flat_map(two))
    },
};

/// Each case runs five jobs, and there are many verbs.
fn few() -> ProptestConfig {
    ProptestConfig { cases: super::model::few().cases.min(5), ..super::model::few() }
}

fn sorted(seen: Seen<Windowed<String>>) -> Seen<Windowed<String>> {
    each(seen, bag)
}

/// What is in a view, and what closes.
fn expected(case: Case, batches: &[Vec<Row>], verb: &Verb) -> [Seen<Windowed<String>>; 2] {
    let open = case.rows(batches, |end, (before, _)| before < end, verb.model);
    let closed = case.rows(batches, |end, (before, now)| before < end && end <= now, verb.model);
    [sorted(open), sorted(closed)]
}

fn together(parts: impl IntoIterator<Item = Seen<Windowed<String>>>) -> Seen<Windowed<String>> {
    let join = |all: Seen<_>, part: Seen<_>| all.into_iter().zip(part).map(|((t, a), (_, b))| (t, [a, b].concat())).collect();
    parts.into_iter().reduce(join).unwrap_or_default()
}

/// Windows are those of brute force, on 1, 2 and 4 workers, also after a restart on another number of them.
fn check_windows(verb: &'static Verb) {
    let checked = |(case, batches, cut): (Case, Vec<Vec<Row>>, usize)| {
        let expected = together(expected(case, &batches, verb));
        fn parts<'s>(verb: &Verb, s: &DStream<'s, Row>, case: Case) -> DStream<'s, Windowed<String>> {
            let Left([open, closed, _]) = (verb.windows)(case, s);
            open.union(&closed)
        }
        check_batches(&batches, expected.clone(), move |s| parts(verb, s, case))?;
        let (first, then) = batches.split_at(cut.min(batches.len()));
        for workers in [(1, 2), (4, 1)] {
            let again = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| parts(verb, s, case));
            prop_assert_eq!(&again, &expected, "restarted on {:?} workers", workers);
        }
        Ok(())
    };
    TestRunner::new(few()).run(&(case(), batches(), 0usize..12), checked).unwrap();
}

/// Sessions as well, and late ones.
fn check_sessions(verb: &'static Verb) {
    let checked = |(gap, delay, batches, cut): (i64, i64, Vec<Vec<Row>>, usize)| {
        let expected = together(model(&batches, (gap, delay), verb.key, verb.model).map(sorted));
        fn parts<'s>(verb: &Verb, s: &DStream<'s, Row>, gap: i64, delay: i64) -> DStream<'s, Windowed<String>> {
            let Left([open, closed, late]) = (verb.sessions)(&s.event_time(|(_, time)| *time, micros(delay)), micros(gap));
            open.union(&closed).union(&late)
        }
        check_batches(&batches, expected.clone(), move |s| parts(verb, s, gap, delay))?;
        let (first, then) = batches.split_at(cut.min(batches.len()));
        for workers in [(1, 2), (4, 1)] {
            let again = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| parts(verb, s, gap, delay));
            prop_assert_eq!(&again, &expected, "restarted on {:?} workers", workers);
        }
        Ok(())
    };
    TestRunner::new(few()).run(&(1i64..12, 0i64..14, batches(), 0usize..12), checked).unwrap();
}

/// If no row is late, what closes does not depend on how rows were cut into batches.
fn check_cuts(verb: &'static Verb) {
    let checked = |(case, rows, size): (Case, Vec<Row>, usize)| {
        let case = Case { delay: 200, ..case };
        let closed = |size: usize, sessions: bool| {
            // Four rows end it: one for each partition.
            let batches: Vec<Vec<Row>> = rows.chunks(size).map(<[Row]>::to_vec).chain([vec![(9, 1_000); 4]]).collect();
            let closed = run(2, batches, move |s| {
                let Left([_, closed, _]) = match sessions {
                    true => (verb.sessions)(&s.event_time(|(_, time)| *time, micros(200)), micros(5)),
                    false => (verb.windows)(case, s),
                };
                closed
            });
            bag(closed.into_iter().flat_map(|(_, rows)| rows).collect())
        };
        for sessions in [false, true] {
            prop_assert_eq!(closed(size, sessions), closed(rows.len(), sessions));
        }
        Ok(())
    };
    let rows = prop::collection::vec((0u8..3, -30i64..90), 1..40);
    TestRunner::new(few()).run(&(case(), rows, 1usize..9), checked).unwrap();
}

/// The three tests of each verb.
macro_rules! verbs {
    ($($name:ident: $verb:expr;)*) => {$(
        mod $name {
            use super::*;

            static VERB: Verb = $verb;

            #[test]
            fn windows() {
                check_windows(&VERB);
            }

            #[test]
            fn sessions() {
                check_sessions(&VERB);
            }

            #[test]
            fn cuts() {
                check_cuts(&VERB);
            }
        }
    )*};
}

verbs! {
    count: COUNT;
    reduce: REDUCE;
    aggregate: AGGREGATE;
    distinct: DISTINCT;
    collect: COLLECT;
    group_by_key: GROUP_BY_KEY;
    top_by: TOP_BY;
    top_by_key: TOP_BY_KEY;
}

/// The largest counts of each window, with rows that are equal in both and with negative times.
#[test]
fn the_top_of_counts() {
    let checked = |(case, batches, n, cut): (Case, Vec<Vec<Row>>, usize, usize)| {
        let largest = |rows: Vec<Row>| {
            let mut counts = bag(counts(rows.into_iter().map(|(k, _)| k).collect()));
            counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            counts.truncate(n);
            text(counts)
        };
        let open = case.rows(&batches, |end, (before, _)| before < end, largest);
        let closed = case.rows(&batches, |end, (before, now)| before < end && end <= now, largest);
        let expected = together([sorted(open), sorted(closed)]);
        fn top<'s>(s: &DStream<'s, Row>, case: Case, n: usize) -> DStream<'s, Windowed<String>> {
            let Left([open, closed, _]) = left(&case.of(s, |(k, _)| k).count_by_value().top_by(n, |(_, n)| *n));
            open.union(&closed)
        }
        check_batches(&batches, expected.clone(), move |s| top(s, case, n))?;
        let (first, then) = batches.split_at(cut.min(batches.len()));
        let again = run_handed_over((1, 2), first.to_vec(), then.to_vec(), move |s| top(s, case, n));
        prop_assert_eq!(again, expected);
        Ok(())
    };
    TestRunner::new(few()).run(&(case(), batches(), 0usize..4, 0usize..12), checked).unwrap();
}

/// Each late row is in one result, in the last of its windows, with the time since this window closed.
#[test]
fn late_results_have_their_window() {
    let checked = |(case, batches): (Case, Vec<Vec<Row>>)| {
        let of_batch = |((t, rows), (before, _)): ((u64, &Vec<Row>), (i64, i64))| {
            let late = |(_, time): &&Row| case.last_window(*time).1 <= before.saturating_sub(case.lateness);
            let by_window = by_key(rows.iter().filter(late).map(|(k, time)| ((case.last_window(*time), *k), ())).collect());
            let result = |(((start, end), k), rows): (((i64, i64), u8), Vec<()>)| Late {
                window: Windowed { start, end, row: (k, rows.len() as i64) },
                late_by: before - end,
            };
            (t, bag(by_window.into_iter().map(result).collect()))
        };
        let expected = (1..).zip(&batches).zip(watermarks(&batches, case.delay)).map(of_batch).collect();
        check_batches(&batches, expected, move |s| case.of(s, |(k, _)| k).count_by_value().late())
    };
    TestRunner::new(few()).run(&(case(), batches()), checked).unwrap();
}
