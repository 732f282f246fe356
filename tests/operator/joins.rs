//! The joins within a batch: each against a model that walks over both sides, key by key.

use std::collections::BTreeMap;

use crate::harness::{bag, each, pairs};

type Pair = (u8, i64);
type Sides = (Vec<i64>, Vec<i64>);

/// The right side of every join here: some keys are only on the left, some only on the right, and values repeat.
fn right_of(rows: &[Pair]) -> Vec<Pair> {
    rows.iter().filter(|(_, n)| n % 2 == 0).map(|(k, n)| (k + 2, n % 3)).collect()
}

fn sides(rows: &[Pair]) -> BTreeMap<u8, Sides> {
    let mut sides: BTreeMap<u8, Sides> = BTreeMap::new();
    rows.iter().for_each(|(k, n)| sides.entry(*k).or_default().0.push(*n));
    right_of(rows).iter().for_each(|(k, n)| sides.entry(*k).or_default().1.push(*n));
    sides
}

/// The rows that a join should have: a loop over the left values and the right ones of each key.
fn joined<R: serde::Serialize>(rows: Vec<Pair>, pairs: impl Fn(&mut dyn FnMut(R), u8, Sides)) -> Vec<R> {
    let mut out = Vec::new();
    sides(&rows).into_iter().for_each(|(k, sides)| pairs(&mut |row| out.push(row), k, sides));
    bag(out)
}

/// The right side, made by the verbs of a stream.
macro_rules! right {
    ($s:expr) => {
        &$s.filter(|(_, n)| n % 2 == 0).map(|(k, n)| (k + 2, n % 3))
    };
}

#[test]
fn cogroup() {
    each(pairs(), |s| s.cogroup(right!(s)), |rows| joined(rows, |out, k, sides| out((k, sides))));
}

/// More values than a container has, with keys on one side only.
#[test]
fn cogroup_of_many_rows() {
    let rows: Vec<Pair> = (0..20_000).map(|n| ((n % 5) as u8, n)).collect();
    let expected = joined(rows.clone(), |out, k, sides| out((k, sides)));
    tidemill::testing::check([rows], |s| s.cogroup(right!(s)), [expected]);
}

#[test]
fn left_outer_join() {
    let model = |rows| {
        joined(rows, |out, k, (left, right): Sides| {
            for v in left {
                right.iter().for_each(|w| out((k, (v, Some(*w)))));
                if right.is_empty() {
                    out((k, (v, None)));
                }
            }
        })
    };
    each(pairs(), |s| s.left_outer_join(right!(s)), model);
}

#[test]
fn right_outer_join() {
    let model = |rows| {
        joined(rows, |out, k, (left, right): Sides| {
            for w in right {
                left.iter().for_each(|v| out((k, (Some(*v), w))));
                if left.is_empty() {
                    out((k, (None, w)));
                }
            }
        })
    };
    each(pairs(), |s| s.right_outer_join(right!(s)), model);
}

#[test]
fn full_outer_join() {
    let model = |rows| {
        joined(rows, |out, k, (left, right): Sides| {
            left.iter().for_each(|v| right.iter().for_each(|w| out((k, (Some(*v), Some(*w))))));
            if right.is_empty() {
                left.iter().for_each(|v| out((k, (Some(*v), None))));
            }
            if left.is_empty() {
                right.iter().for_each(|w| out((k, (None, Some(*w)))));
            }
        })
    };
    each(pairs(), |s| s.full_outer_join(right!(s)), model);
}

#[test]
fn subtract_by_key() {
    let model = |rows| {
        joined(rows, |out, k, (left, right): Sides| {
            left.iter().filter(|_| right.is_empty()).for_each(|v| out((k, *v)));
        })
    };
    each(pairs(), |s| s.subtract_by_key(right!(s)), model);
    each(pairs(), |s| s.subtract_by_key(s), |_| vec![]);
}

/// A joined stream is joined again: its rows lie on the workers that own their keys.
#[test]
fn join_of_a_join() {
    let model = |rows: Vec<Pair>| {
        let of = |k: u8| rows.iter().filter(move |(l, _)| *l == k).map(|(_, n)| *n);
        let row = |k: u8, a: i64| of(k).flat_map(move |b| of(k).map(move |c| (k, ((a, b), c)))).collect::<Vec<_>>();
        bag(rows.iter().flat_map(|(k, a)| row(*k, *a)))
    };
    each((0..5u8, 0..4i64), |s| s.join(s).join(s), model);
}
