//! Sessions by event time against brute force: all rows of the open sessions and of the batch, cut where a gap is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, check_view, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

type Count = Windowed<(u8, i64)>;

fn sessions<'s>(s: &DStream<'s, Row>, gap: i64, delay: i64) -> WindowedView<'s, (u8, i64)> {
    s.event_time(|(_, time)| *time, micros(delay)).map(|(k, _)| k).session(micros(gap)).count_by_value()
}

/// What is in the view after each batch, and what closes in it.
fn model(batches: &[Vec<Row>], gap: i64, delay: i64) -> (Seen<Count>, Seen<Count>) {
    let (mut all, mut over, mut open) = (Seen::new(), Seen::new(), BTreeMap::<u8, Vec<i64>>::new());
    for ((t, batch), (before, now)) in (1..).zip(batches).zip(watermarks(batches, delay)) {
        batch.iter().for_each(|(k, time)| open.entry(*k).or_default().push(*time));
        let (mut view, mut closed) = (Vec::new(), Vec::new());
        for (k, times) in &mut open {
            times.sort_unstable();
            let mut stay = Vec::new();
            for session in times.chunk_by(|a, b| b - a < gap) {
                let (start, end) = (session[0], session[session.len() - 1] + gap);
                let row = Windowed { start, end, row: (*k, session.len() as i64) };
                view.extend((end > before).then(|| row.clone()));
                closed.extend((end > before && end <= now).then_some(row));
                stay.extend(session.iter().filter(|_| end > now));
            }
            *times = stay;
        }
        all.push((t, bag(view)));
        over.push((t, bag(closed)));
    }
    (all, over)
}

/// What leaves of sessions: open ones, closed ones, and what is taken back.
fn all<'s>(s: &DStream<'s, Row>, gap: i64, delay: i64) -> DStream<'s, Count> {
    let counts = sessions(s, gap, delay);
    counts.complete().union(&counts.append()).union(&counts.changes().filter(|c| c.diff < 0).map(|c| c.row))
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn append(gap in 1i64..12, delay in 0i64..14, batches in batches()) {
        check_batches(&batches, model(&batches, gap, delay).1, move |s| sessions(s, gap, delay).append())?;
    }

    #[test]
    fn the_view(gap in 1i64..12, delay in 0i64..14, batches in batches()) {
        check_view(&batches, model(&batches, gap, delay).0, move |s| sessions(s, gap, delay).view())?;
    }

    /// If no row is late, the sessions do not depend on how rows were cut into batches.
    #[test]
    fn the_cut_does_not_matter(gap in 1i64..12, rows in prop::collection::vec((0u8..3, -30i64..90), 1..40), size in 1usize..9) {
        let closed = |size: usize| {
            let batches: Vec<Vec<Row>> = rows.chunks(size).map(<[Row]>::to_vec).chain([vec![(9, 1_000); 4]]).collect();
            let closed = run(2, batches, move |s| sessions(s, gap, 200).append());
            bag(closed.into_iter().flat_map(|(_, rows)| rows).collect())
        };
        prop_assert_eq!(closed(size), closed(rows.len()));
    }

    #[test]
    fn restarts(gap in 1i64..12, delay in 0i64..14, batches in batches(), cut in 0usize..12) {
        let cut = cut.min(batches.len());
        let whole = run(1, batches.clone(), move |s| all(s, gap, delay));
        for workers in [(1, 2), (4, 1)] {
            let (first, then) = batches.split_at(cut);
            let seen = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| all(s, gap, delay));
            prop_assert_eq!(&seen, &whole, "{:?}", workers);
        }
    }
}
