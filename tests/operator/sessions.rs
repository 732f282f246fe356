//! Sessions by event time against brute force: all rows of the open sessions and of the batch, cut where a gap is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, check_view, each, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

type Count = Windowed<(u8, i64)>;

fn sessions<'s>(s: &DStream<'s, Row>, gap: i64, delay: i64) -> WindowedView<'s, (u8, i64)> {
    s.event_time(|(_, time)| *time, micros(delay)).map(|(k, _)| k).session(micros(gap)).count_by_value()
}

/// What `of` makes of the sessions that are in the view after each batch, of those that close in it, and of late ones.
pub fn model<U: Clone>(
    batches: &[Vec<Row>],
    (gap, delay): (i64, i64),
    key: impl Fn(&Row) -> u8,
    of: impl Fn(Vec<Row>) -> Vec<U>,
) -> [Seen<Windowed<U>>; 3] {
    let (mut all, mut over, mut late, mut open) = (Seen::new(), Seen::new(), Seen::new(), BTreeMap::<u8, Vec<Row>>::new());
    for ((t, batch), (before, now)) in (1..).zip(batches).zip(watermarks(batches, delay)) {
        batch.iter().for_each(|row| open.entry(key(row)).or_default().push(*row));
        let (mut view, mut closed, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for rows in open.values_mut() {
            rows.sort_by_key(|(k, time)| (*time, *k));
            let mut stay = Vec::new();
            for session in rows.chunk_by(|a, b| b.1 - a.1 < gap) {
                let (start, end) = (session[0].1, session[session.len() - 1].1 + gap);
                let windows = of(session.to_vec()).into_iter().map(|row| Windowed { start, end, row });
                (if end > before { &mut view } else { &mut behind }).extend(windows.clone());
                closed.extend(windows.filter(|_| end > before && end <= now));
                stay.extend(session.iter().filter(|_| end > now));
            }
            *rows = stay;
        }
        all.push((t, view));
        over.push((t, closed));
        late.push((t, behind));
    }
    [all, over, late]
}

/// The counts of each row in its sessions.
fn counted(batches: &[Vec<Row>], gap: i64, delay: i64) -> [Seen<Count>; 3] {
    model(batches, (gap, delay), |(k, _)| *k, |rows| vec![(rows[0].0, rows.len() as i64)]).map(|seen| each(seen, bag))
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
        check_batches(&batches, counted(&batches, gap, delay)[1].clone(), move |s| sessions(s, gap, delay).append())?;
    }

    #[test]
    fn the_view(gap in 1i64..12, delay in 0i64..14, batches in batches()) {
        check_view(&batches, counted(&batches, gap, delay)[0].clone(), move |s| sessions(s, gap, delay).view())?;
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
