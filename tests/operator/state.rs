//! Verbs that keep state over batches.

use std::collections::BTreeMap;

use tidemill::job::ManualClock;
use tidemill::prelude::*;
use tidemill::testing::{check, try_run};

use crate::harness::{agrees, bag, pairs};
use crate::temp_dir::TempDir;

/// Sums that forget a key at -1, and count the batches without a value of the key: `f` runs for every key in every batch.
fn step(new: &[i64], state: Option<(i64, u32)>) -> Option<(i64, u32)> {
    let (sum, silent) = state.unwrap_or_default();
    match new {
        [] => Some((sum, silent + 1)),
        [.., -1] => None,
        // Not commutative: the values must be in the order in which they were read.
        _ => Some((new.iter().fold(sum, |a, b| a.wrapping_mul(3) + b), 0)),
    }
}

#[test]
fn update_state_by_key() {
    agrees(
        pairs(),
        |s| s.update_state_by_key(step),
        |given| {
            let mut states: BTreeMap<u8, (i64, u32)> = BTreeMap::new();
            let run = |rows: Vec<(u8, i64)>| {
                let keys: Vec<u8> = (0..=u8::MAX).filter(|k| states.contains_key(k) || rows.iter().any(|r| r.0 == *k)).collect();
                for k in keys {
                    let new: Vec<i64> = rows.iter().filter(|r| r.0 == k).map(|r| r.1).collect();
                    if let Some(s) = step(&new, states.remove(&k)) {
                        states.insert(k, s);
                    }
                }
                bag(states.clone())
            };
            given.into_iter().map(run).collect()
        },
    );
}

/// As `step`, and a key that is the batch time begins again.
fn timed_step(t: BatchTime, k: &u8, new: &[i64], state: Option<(i64, u32)>) -> Option<(i64, u32)> {
    step(new, state.filter(|_| t.millis() != u64::from(*k)))
}

#[test]
fn update_state_by_key_with_initial_states() {
    // Key 9 has no values, the first pair of key 2 does not count.
    let initial = [(2u8, (-7i64, 0u32)), (9, (5, 1)), (2, (100, 3))];
    agrees(
        pairs(),
        move |s| s.update_state_by_key_with(initial, timed_step),
        |given| {
            let mut states = BTreeMap::from(initial);
            let run = |(t, rows): (u64, Vec<(u8, i64)>)| {
                let keys: Vec<u8> = (0..=u8::MAX).filter(|k| states.contains_key(k) || rows.iter().any(|r| r.0 == *k)).collect();
                for k in keys {
                    let new: Vec<i64> = rows.iter().filter(|r| r.0 == k).map(|r| r.1).collect();
                    if let Some(s) = timed_step(BatchTime::from_millis(t), &k, &new, states.remove(&k)) {
                        states.insert(k, s);
                    }
                }
                bag(states.clone())
            };
            (1..).zip(given).map(run).collect()
        },
    );
}

/// The rows of a job with some more batches than before. `sums`: it has sums, which begin with one of key z.
fn sums_of(dir: &TempDir, batches: i64, sums: bool) -> Vec<(u64, Vec<(char, i64)>)> {
    let seen = MemorySink::new();
    let out = seen.clone();
    let job = StreamingContext::builder("initial", millis(1)).workers(2).checkpoint(&**dir);
    let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
        let rows = ssc.test_stream((1..=batches).map(|n| vec![('a', n)]).collect::<Vec<_>>());
        rows.count().foreach_batch(|_| Ok(()));
        if sums {
            let sum = |_: BatchTime, k: &char, new: &[i64], sum: Option<i64>| {
                (*k != 'x').then_some(new.iter().sum::<i64>() + sum.unwrap_or(0))
            };
            rows.update_state_by_key_with([('x', 1), ('z', 100)], sum).to_memory(&out);
        }
        Ok(())
    });
    job.unwrap().await_termination().unwrap();
    seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect()
}

/// The checkpoint is older than the verb. A later checkpoint has it.
#[test]
fn a_verb_that_is_new_in_a_job_begins_with_its_initial_states() {
    let dir = TempDir::new("initial");
    assert_eq!(sums_of(&dir, 2, false), []);
    assert_eq!(sums_of(&dir, 3, true), [(3, vec![('a', 3), ('z', 100)])]);
    assert_eq!(sums_of(&dir, 4, true), [(4, vec![('a', 7), ('z', 100)])]);
}

/// The states of a stream that has no batch at some times are not updated then.
#[test]
fn states_of_a_window_are_updated_when_it_slides() {
    let calls = |_: &[i64], calls: Option<i64>| Some(calls.unwrap_or(0) + 1);
    let batches = || [vec![('a', 1)], vec![('b', 1)], vec![], vec![], vec![], vec![]];
    check(
        batches(),
        move |s| s.window(millis(2), millis(2)).update_state_by_key(calls),
        [vec![('a', 1), ('b', 1)], vec![('a', 2), ('b', 2)], vec![('a', 3), ('b', 3)]],
    );
    check(
        batches(),
        move |s| {
            let f = |t: BatchTime, k: &char, v: Option<i64>, state: &mut State<i64>| {
                v.into_iter().for_each(|v| state.update(v));
                Some((*k, t.millis(), state.is_timing_out()))
            };
            s.window(millis(2), millis(2)).map_with_state(StateSpec::function(f).timeout(millis(3))).mapped()
        },
        [vec![('a', 2, false), ('b', 2, false)], vec![], vec![('a', 6, true), ('b', 6, true)]],
    );
}

/// The sum of a key, which is removed at -1. A row has the time, whether the key had a state, and its sum. Sums that are multiples of 5
/// have none.
fn summed(t: BatchTime, k: &u8, v: Option<i64>, state: &mut State<i64>) -> Option<(u8, u64, bool, i64)> {
    let had = state.exists();
    let sum = state.get().copied().unwrap_or(0).wrapping_mul(3) + v.unwrap_or(0);
    match v {
        Some(-1) => state.remove(),
        Some(_) => state.update(sum),
        None => assert!(state.is_timing_out() && had),
    }
    (sum % 5 != 0).then_some((*k, t.millis(), had, sum))
}

type Mapped = Vec<(u8, u64, bool, i64)>;
type States = Vec<(u8, i64)>;

/// The mapped rows and the states after each batch, without the harness.
fn summed_model(given: Vec<Vec<(u8, i64)>>, timeout: Option<u64>) -> Vec<(Mapped, States)> {
    // Each key with its sum, and the last batch with a value.
    let mut sums: BTreeMap<u8, (i64, u64)> = BTreeMap::from([(1, (50, 1)), (77, (7, 1))]);
    let run = |(t, rows): (u64, Vec<(u8, i64)>)| {
        let mut mapped = Vec::new();
        for (k, v) in rows {
            let old = sums.remove(&k);
            let sum = old.map_or(0, |(sum, _)| sum).wrapping_mul(3) + v;
            mapped.push((k, t, old.is_some(), sum));
            if v != -1 {
                sums.insert(k, (sum, t));
            }
        }
        sums.retain(|k, (sum, last)| {
            let stays = timeout.is_none_or(|timeout| t - *last < timeout);
            if !stays {
                mapped.push((*k, t, true, sum.wrapping_mul(3)));
            }
            stays
        });
        mapped.retain(|(.., sum)| sum % 5 != 0);
        (bag(mapped), bag(sums.iter().map(|(k, (sum, _))| (*k, *sum))))
    };
    (1..).zip(given).map(run).collect()
}

#[test]
fn map_with_state() {
    for timeout in [None, Some(1), Some(2)] {
        let spec = move || {
            // The first pair of key 1 does not count.
            let spec = StateSpec::function(summed).initial_state([(1, -1), (77, 7), (1, 50)]);
            match timeout {
                Some(ms) => spec.timeout(millis(ms)),
                None => spec,
            }
        };
        agrees(
            pairs(),
            move |s| s.map_with_state(spec()).mapped(),
            move |given| summed_model(given, timeout).into_iter().map(|(mapped, _)| mapped).collect(),
        );
        agrees(
            pairs(),
            move |s| s.map_with_state(spec()).state_snapshots(),
            move |given| summed_model(given, timeout).into_iter().map(|(_, states)| states).collect(),
        );
    }
}

/// Both streams of one verb have an output.
#[test]
fn mapped_rows_and_snapshots_of_one_verb() {
    agrees(
        pairs(),
        |s| {
            let sums = s.map_with_state(StateSpec::function(summed).initial_state([(1, 50), (77, 7)]));
            sums.map(|(k, _, _, sum)| (k, sum)).union(&sums.state_snapshots())
        },
        |given| {
            let both =
                |(mapped, states): (Mapped, States)| [bag(mapped.into_iter().map(|(k, _, _, sum)| (k, sum))), states].concat();
            summed_model(given, None).into_iter().map(both).collect()
        },
    );
}

#[test]
fn a_state_that_is_timing_out_cannot_be_updated() {
    let f = |_: BatchTime, _: &char, v: Option<i64>, state: &mut State<i64>| {
        state.update(v.unwrap_or(0));
        None::<()>
    };
    let run = |timeout| {
        let batches = vec![vec![('a', 1)], vec![], vec![]];
        let spec = move || StateSpec::function(f).timeout(timeout);
        try_run(1, millis(1), batches, move |s| s.map_with_state(spec()).mapped()).unwrap_err().to_string()
    };
    let e = run(millis(2));
    assert!(e.contains("map_with_state (state.rs:") && e.contains("is_timing_out"), "{e}");
    let e = run(std::time::Duration::from_micros(999));
    assert!(e.contains("map_with_state (state.rs:") && e.contains("999") && e.contains("1 ms"), "{e}");
}

#[test]
fn latest_by_key() {
    agrees(
        pairs(),
        |s| s.latest_by_key().complete(),
        |given| {
            let mut latest = BTreeMap::new();
            let run = |rows: Vec<(u8, i64)>| {
                latest.extend(rows);
                bag(latest.clone())
            };
            given.into_iter().map(run).collect()
        },
    );
}
