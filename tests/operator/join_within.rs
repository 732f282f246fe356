//! Joins of rows whose times are near, against all pairs.

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

type Pair = Timestamped<(u8, (i64, i64))>;

/// How much earlier and later a right row may be, and the delays of both watermarks.
type Case = (i64, i64, i64, i64);

/// Rows with an even number are on the left, others on the right.
fn joined<'s>(s: &DStream<'s, Row>, (before, after, left, right): Case) -> DStream<'s, Pair> {
    let rows = |delay| s.event_time(|(_, time)| *time, micros(delay));
    let left = rows(left).filter(|(k, _)| k % 2 == 0).map(|(k, time)| (k / 2, time));
    let right = rows(right).filter(|(k, _)| k % 2 == 1).map(|(k, time)| (k / 2, time));
    left.join_within(&right, micros(before), micros(after)).timestamped()
}

fn model(batches: &[Vec<Row>], (before, after, left, right): Case) -> Seen<Pair> {
    let mut rows: Vec<Row> = Vec::new();
    let both = watermarks(batches, left).into_iter().zip(watermarks(batches, right));
    let least = both.map(|((a, _), (b, _))| a.min(b));
    let batch = |((t, batch), watermark): ((u64, &Vec<Row>), i64)| {
        // A row counts until the watermark has passed its last partner.
        let counts = |(k, time): &Row| time + if k % 2 == 0 { after } else { before } >= watermark;
        rows.retain(counts);
        let old = rows.len();
        rows.extend(batch.iter().filter(|row| counts(row)));
        let mut pairs = Vec::new();
        for (i, (k, time)) in rows.iter().enumerate().filter(|(_, (k, _))| k % 2 == 0) {
            for (j, (l, other)) in rows.iter().enumerate().filter(|(_, (l, _))| *l == k + 1) {
                if i.max(j) >= old && (time - before..=time + after).contains(other) {
                    pairs.push(Timestamped { time: *time.max(other), row: (l / 2, (*time, *other)) });
                }
            }
        }
        (t, bag(pairs))
    };
    (1..).zip(batches).zip(least).map(batch).collect()
}

fn case() -> impl Strategy<Value = Case> {
    (0i64..9, 0i64..9, 0i64..14, 0i64..14)
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn join_within(case in case(), batches in batches()) {
        check_batches(&batches, model(&batches, case), move |s| joined(s, case))?;
    }

    #[test]
    fn restarts(case in case(), batches in batches(), cut in 0usize..12) {
        let cut = cut.min(batches.len());
        let whole = run(1, batches.clone(), move |s| joined(s, case));
        for workers in [(1, 2), (4, 1)] {
            let (first, then) = batches.split_at(cut);
            let seen = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| joined(s, case));
            prop_assert_eq!(&seen, &whole, "{:?}", workers);
        }
    }
}
