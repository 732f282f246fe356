//! Joins of rows whose times are near, against all pairs. The outer forms have rows without a partner too.

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, each, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

/// A row of a full outer join. The other forms have some of them.
type Pair = (u8, (Option<i64>, Option<i64>));
type Joined = Timestamped<Pair>;

/// How much earlier and later a right row may be, and the delays of both watermarks.
type Case = (i64, i64, i64, i64);

#[derive(Clone, Copy, Debug)]
enum Form {
    Inner,
    Left,
    Right,
    Full,
}

impl Form {
    fn has(self, (left, right): (Option<i64>, Option<i64>)) -> bool {
        let keeps_left = matches!(self, Form::Left | Form::Full);
        let keeps_right = matches!(self, Form::Right | Form::Full);
        (left.is_some() || keeps_right) && (right.is_some() || keeps_left)
    }
}

/// Rows with an even number are on the left, others on the right.
fn sides<'s>(s: &DStream<'s, Row>, left: i64, right: i64) -> [EventTimeStream<'s, (u8, i64)>; 2] {
    [(0, left), (1, right)].map(|(side, delay)| {
        let rows = s.event_time(|(_, time)| *time, micros(delay));
        rows.filter(move |(k, _)| k % 2 == side).map(|(k, time)| (k / 2, time))
    })
}

/// The joined rows, and the late ones.
type Both<'s> = (EventTimeStream<'s, Pair>, DStream<'s, Joined>);

fn joined<'s>(s: &DStream<'s, Row>, form: Form, (before, after, left, right): Case) -> Both<'s> {
    fn both<'s, R: Data>(join: &EventTimeJoin<'s, u8, i64, i64, R>, row: fn(R) -> (Option<i64>, Option<i64>)) -> Both<'s> {
        (join.map(move |(k, r)| (k, row(r))), join.late())
    }
    let ([left, right], before, after) = (sides(s, left, right), micros(before), micros(after));
    match form {
        Form::Inner => both(&left.join_within(&right, before, after), |(v, w)| (Some(v), Some(w))),
        Form::Left => both(&left.left_outer_join_within(&right, before, after), |(v, w)| (Some(v), w)),
        Form::Right => both(&left.right_outer_join_within(&right, before, after), |(v, w)| (v, Some(w))),
        Form::Full => both(&left.full_outer_join_within(&right, before, after), |row| row),
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (0..n).map(move |j| (i, j)))
}

/// The rows of a full outer join, and late rows.
fn model(batches: &[Vec<Row>], (before, after, left, right): Case) -> (Seen<Joined>, Seen<Joined>) {
    let of = |k: u8, time: i64| (k / 2, if k.is_multiple_of(2) { (Some(time), None) } else { (None, Some(time)) });
    let least =
        watermarks(batches, left).into_iter().zip(watermarks(batches, right)).map(|((a, b), (c, d))| (a.min(c), b.min(d)));
    let (mut rows, mut all, mut all_late) = (Vec::<(u8, i64, bool)>::new(), Seen::new(), Seen::new());
    for ((t, batch), (was, now)) in (1..).zip(batches).zip(least) {
        // A row counts until the watermark has passed its last partner.
        let counts = |k: u8, time: i64, watermark| time + if k.is_multiple_of(2) { after } else { before } >= watermark;
        let (mut out, mut late, old) = (Vec::new(), Vec::new(), rows.len());
        for &(k, time) in batch {
            match counts(k, time, was) {
                true => rows.push((k, time, false)),
                false => late.push(Timestamped { time, row: of(k, time) }),
            }
        }
        for (i, j) in pairs(rows.len()).filter(|(i, j)| *i.max(j) >= old) {
            let ((k, time, _), (l, other, _)) = (rows[i], rows[j]);
            if k % 2 == 0 && l == k + 1 && (time - before..=time + after).contains(&other) {
                (rows[i].2, rows[j].2) = (true, true);
                out.push(Timestamped { time: time.max(other), row: (k / 2, (Some(time), Some(other))) });
            }
        }
        let gone = rows.iter().filter(|(k, time, paired)| !paired && !counts(*k, *time, now));
        out.extend(gone.map(|(k, time, _)| Timestamped { time: *time, row: of(*k, *time) }));
        rows.retain(|(k, time, _)| counts(*k, *time, now));
        all.push((t, bag(out)));
        all_late.push((t, bag(late)));
    }
    (all, all_late)
}

fn case() -> impl Strategy<Value = Case> {
    (0i64..9, 0i64..9, 0i64..14, 0i64..14)
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Inner), Just(Form::Left), Just(Form::Right), Just(Form::Full)]
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn pairs_and_rows_without_a_partner(form in form(), case in case(), batches in batches()) {
        let of_form = each(model(&batches, case).0, |rows| rows.into_iter().filter(|row| form.has(row.row.1)).collect());
        check_batches(&batches, of_form, move |s| joined(s, form, case).0.timestamped())?;
    }

    /// Windows by the time of the left row of each pair, which may be earlier than its pair by `after`.
    #[test]
    fn windows_by_another_time_of_the_pairs((before, after, left, right) in case(), batches in batches()) {
        let case = (before, after, left, right);
        let pairs = each(model(&batches, case).0, |rows| rows.into_iter().filter(|row| Form::Inner.has(row.row.1)).collect());
        let least = watermarks(&batches, left).into_iter().zip(watermarks(&batches, right));
        let behind = |watermark: i64| watermark.saturating_sub(after);
        let least = least.map(|((a, b), (c, d))| (behind(a.min(c)), behind(b.min(d))));
        let (mut open, mut closed, mut all_late) = (std::collections::BTreeMap::<i64, i64>::new(), Seen::new(), Seen::new());
        for ((t, pairs), (was, now)) in pairs.into_iter().zip(least) {
            let mut late = Vec::new();
            for end in pairs.iter().map(|pair| (pair.row.1.0.unwrap().div_euclid(3) + 1) * 3) {
                if end > was { *open.entry(end).or_default() += 1 } else { late.push(end) }
            }
            late.sort_unstable();
            let after = open.split_off(&(now.saturating_add(1)));
            closed.push((t, bag(std::mem::replace(&mut open, after).into_iter().collect())));
            late.dedup();
            all_late.push((t, bag(late)));
        }
        fn windows<'s>(s: &DStream<'s, Row>, case: Case) -> WindowedView<'s, i64> {
            let pairs = joined(s, Form::Inner, case).0;
            let by_left = pairs.timestamped().map(|pair| pair.row.1.0.unwrap());
            by_left.event_time_of(|left| *left, &pairs, micros(case.1)).tumbling(micros(3)).count()
        }
        check_batches(&batches, closed, move |s| windows(s, case).append().map(|w| (w.end, w.row)))?;
        check_batches(&batches, all_late, move |s| windows(s, case).late().map(|late| late.window.end))?;
    }

    #[test]
    fn late_rows(form in form(), case in case(), batches in batches()) {
        check_batches(&batches, model(&batches, case).1, move |s| joined(s, form, case).1)?;
    }

    /// No row is behind the watermark of the input. So none is behind the watermark of the result, and windows have all rows.
    #[test]
    fn windows_of_the_result_have_all_rows(form in form(), (before, after, ..) in case(), delay in 17i64..30, batches in batches()) {
        let case = (before, after, delay, delay);
        let late = run(2, batches, move |s| joined(s, form, case).0.tumbling(micros(3)).late());
        prop_assert!(late.iter().all(|(_, rows)| rows.is_empty()), "{late:?}");
    }

    /// If no row is late, the result does not depend on how rows were cut into batches.
    #[test]
    fn the_cut_does_not_matter(form in form(), (before, after, ..) in case(), sizes in prop::collection::vec(1usize..9, 2), given in prop::collection::vec((0u8..3, -30i64..90), 1..40)) {
        let all = |size: usize| {
            let batches: Vec<Vec<Row>> = given.chunks(size).map(<[Row]>::to_vec).chain([vec![(8, 1_000); 4]]).collect();
            let seen = run(2, batches, move |s| joined(s, form, (before, after, 200, 200)).0.timestamped());
            bag(seen.into_iter().flat_map(|(_, rows)| rows).collect())
        };
        let whole = all(given.len());
        for size in sizes {
            prop_assert_eq!(&all(size), &whole, "in batches of {}", size);
        }
    }

    #[test]
    fn restarts(form in form(), case in case(), batches in batches(), cut in 0usize..12) {
        let cut = cut.min(batches.len());
        fn both<'s>(s: &DStream<'s, Row>, form: Form, case: Case) -> DStream<'s, Joined> {
            let (rows, late) = joined(s, form, case);
            rows.timestamped().union(&late)
        }
        let whole = run(1, batches.clone(), move |s| both(s, form, case));
        for workers in [(1, 2), (4, 1)] {
            let (first, then) = batches.split_at(cut);
            let seen = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| both(s, form, case));
            prop_assert_eq!(&seen, &whole, "{:?}", workers);
        }
    }
}
