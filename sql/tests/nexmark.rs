//! The queries of NEXMark over the events of `tidemill gen nexmark`, in random batches: after each batch the result is what DataFusion says over all
//! rows so far. PROPTEST_CASES sets another number of inputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidemill::cli::generate::Nexmark;
use tidemill::cli::generate::nexmark::{Bid, Event};
use tidemill::prelude::*;
use tidemill::testing::{run, run_handed_over};
use tidemill_sql::arrow::array::RecordBatch;
use tidemill_sql::{DataFrame, OutputMode, TableSession};

#[path = "../nexmark/columns.rs"]
mod columns;
#[path = "../nexmark/tables.rs"]
mod tables;
#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::{cases, texts};
use tables::QUERIES;

/// Microseconds between two events: windows of ten seconds have 250 of them.
const GAP: u64 = 40;

/// A query that means the same as one with overlapping windows or sessions, which DataFusion has not.
const SAME: [(&str, &str); 2] = [
    (
        "q5",
        "WITH counts AS (
           SELECT auction, count(*) AS bids, starts, timestamp_micros(cast(starts AS BIGINT) + 10000000) AS ends
           FROM (SELECT auction, timestamp_micros(cast(w.start AS BIGINT) - k * 2000000) AS starts
                 FROM (SELECT auction, window(date_time, '2 seconds') AS w FROM bid) b
                 CROSS JOIN (VALUES (0), (1), (2), (3), (4)) s(k)) e
           GROUP BY auction, starts)
         SELECT c.auction, c.bids, c.starts, c.ends
         FROM counts c JOIN (SELECT starts AS at, max(bids) AS most FROM counts GROUP BY starts) m
         ON c.starts = m.at AND c.bids = m.most",
    ),
    (
        "q11",
        "SELECT bidder, count(*) AS bids, min(date_time) AS starts, timestamp_micros(cast(max(date_time) AS BIGINT) + 10000000) AS ends
         FROM (SELECT bidder, date_time, sum(begins) OVER (PARTITION BY bidder ORDER BY date_time) AS session
               FROM (SELECT bidder, date_time,
                       CASE WHEN date_time < lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) + INTERVAL '10' SECOND
                            THEN 0 ELSE 1 END AS begins FROM bid) b) s
         GROUP BY bidder, session",
    ),
];

fn read(bid: &Bid) -> i64 {
    bid.date_time + 1_300_000
}

fn text(name: &str) -> &'static str {
    QUERIES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).unwrap()
}

/// Each row as text, in the order of the texts.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = texts(batches).iter().map(|row| row.join(" | ")).collect();
    rows.sort();
    rows
}

/// What DataFusion says over these events.
fn answer(session: &TableSession, name: &str) -> Vec<String> {
    let query = SAME.iter().find(|(other, _)| *other == name).map_or_else(|| text(name), |(_, query)| query);
    shown(&session.sql(query).unwrap().record_batches().unwrap())
}

/// The rows of each batch, by its time.
type Seen = Arc<Mutex<BTreeMap<u64, Vec<String>>>>;

/// A program that keeps the rows of a query.
fn program(
    name: &'static str,
    mode: Option<OutputMode>,
    seen: &Seen,
) -> impl for<'s> Fn(&DStream<'s, Event>) -> DStream<'s, u8> + Clone + use<> {
    let seen = seen.clone();
    move |events: &DStream<'_, Event>| {
        let frame = tables::streams(&tables::session().unwrap(), events, read).unwrap().sql(text(name)).unwrap();
        let complete = if changes(name) { OutputMode::Complete } else { OutputMode::Append };
        let seen = seen.clone();
        frame
            .foreach_batch(mode.unwrap_or(complete), move |time, table: DataFrame| {
                seen.lock().unwrap().insert(time.millis(), shown(&table.record_batches()?));
                Ok(())
            })
            .unwrap();
        events.map(|_| 0)
    }
}

/// The result after each batch. Rows that never change add up to it.
fn results(name: &'static str, batches: &[Vec<Event>], workers: &[u16]) -> Vec<Vec<String>> {
    let seen = Seen::default();
    let job = program(name, None, &seen);
    match workers {
        [workers] => drop(run(*workers, batches.to_vec(), job)),
        [first, then] => {
            let (before, after) = batches.split_at(batches.len() / 2);
            drop(run_handed_over((*first, *then), before.to_vec(), after.to_vec(), job));
        }
        _ => unreachable!("one job or two"),
    }
    let rows = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(rows.len(), batches.len(), "{name}");
    rows.into_values().collect()
}

fn changes(name: &'static str) -> bool {
    !["q0", "q1", "q2", "q10", "q13", "q14", "q21", "q22"].contains(&name)
}

/// Events in order, cut into batches.
fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    (0..1_000_u64, proptest::collection::vec(0..1_000_usize, 3)).prop_map(|(seed, mut cuts)| {
        let mut nexmark = Nexmark::new(seed);
        let events: Vec<Event> = (0..1_000).map(|number| nexmark.event(1_484_154_535_000 + number * GAP)).collect();
        cuts.extend([0, events.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| events[cut[0]..cut[1]].to_vec()).collect()
    })
}

/// The benchmark reads record batches, and the other tests rows.
#[test]
fn the_columns_of_the_benchmark_are_the_same_events() {
    const CHUNK: u64 = 500;
    let mut nexmark = Nexmark::new(7);
    let events: Vec<Event> = (0..3)
        .flat_map(|part| {
            nexmark.seek(part * CHUNK, 1_000);
            (part * CHUNK..(part + 1) * CHUNK).map(|number| nexmark.event(1_000 + number / 10)).collect::<Vec<_>>()
        })
        .collect();
    let rows = tables::rows(&events, |_| 7_000_000).unwrap();
    let queries = [
        "select id, name, email_address, credit_card, city, state, date_time, extra from person",
        "select id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra from auction",
        "select auction, bidder, price, channel, url, date_time, extra from bid",
        "select bidder, read_time from arrival",
    ];
    for query in queries {
        for workers in [1, 2] {
            let seen = Seen::default();
            let log = seen.clone();
            drop(run(workers, vec![vec![0, 1], vec![2]], move |parts: &DStream<'_, u64>| {
                let tables = columns::streams(&tables::session().unwrap(), parts, (CHUNK, 1_000, 10), || 7_000_000).unwrap();
                let log = log.clone();
                let keep = move |time: BatchTime, table: DataFrame| {
                    log.lock().unwrap().insert(time.millis(), shown(&table.record_batches()?));
                    Ok(())
                };
                tables.sql(query).unwrap().foreach_batch(OutputMode::Append, keep).unwrap();
                parts.map(|_| 0)
            }));
            let mut all: Vec<String> = std::mem::take(&mut *seen.lock().unwrap()).into_values().flatten().collect();
            all.sort();
            assert_eq!(all, shown(&rows.sql(query).unwrap().record_batches().unwrap()), "{query} at {workers} workers");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(1),
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_query_has_the_result_of_all_rows_so_far(batches in events()) {
        let sessions: Vec<TableSession> = (1..=batches.len()).map(|n| tables::rows(&batches[..n].concat(), read).unwrap()).collect();
        let mut empty = Vec::new();
        for (name, _) in QUERIES {
            let expected: Vec<Vec<String>> = sessions.iter().map(|session| answer(session, name)).collect();
            empty.extend(expected.last().is_none_or(Vec::is_empty).then_some(name));
            for workers in [&[1][..], &[2], &[1, 2]] {
                let mut rows = results(name, &batches, workers);
                if !changes(name) {
                    for n in 1..rows.len() {
                        rows[n] = [rows[n - 1].clone(), rows[n].clone()].concat();
                        rows[n].sort();
                    }
                }
                prop_assert_eq!(&rows, &expected, "{} at {:?} workers", name, workers);
            }
        }
        // Few auctions and people are those of q2 and q3, so all of them may be missing.
        prop_assert!(empty.iter().all(|name| ["q2", "q3"].contains(name)), "{empty:?} have no rows");
    }

    /// Windows that the watermark closes leave once, with the rows that they have in the end.
    #[test]
    fn final_rows_are_those_of_the_windows_that_are_over(batches in events()) {
        let all = batches.concat();
        let session = tables::rows(&all, read).unwrap();
        // An hour later every window is over, for the rows of each partition.
        let mut nexmark = Nexmark::new(0);
        let later: Vec<Event> = (0..800).map(|_| nexmark.event(1_484_154_535_000 + 3_600_000)).collect();
        let batches = [batches, vec![later]].concat();
        for name in ["q5", "q7", "q8", "q11", "q12"] {
            for workers in [1, 2] {
                let seen = Seen::default();
                drop(run(workers, batches.clone(), program(name, Some(OutputMode::Append), &seen)));
                let mut rows: Vec<String> = std::mem::take(&mut *seen.lock().unwrap()).into_values().flatten().collect();
                rows.sort();
                prop_assert_eq!(&rows, &answer(&session, name), "{} at {} workers", name, workers);
            }
        }
    }
}
