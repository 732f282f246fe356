//! Verbs on pairs, batch by batch.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::harness::{bag, each, pairs};

fn groups<K: Ord, V>(rows: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups: BTreeMap<K, Vec<V>> = BTreeMap::new();
    rows.into_iter().for_each(|(k, v)| groups.entry(k).or_default().push(v));
    groups
}

#[test]
fn reduce_by_key() {
    let sums = |rows| bag(groups(rows).into_iter().map(|(k, vs): (u8, Vec<i64>)| (k, vs.into_iter().sum())));
    each(pairs(), |s| s.reduce_by_key(|a, b| a + b), sums);
}

/// All values of a key are on one worker, in the order in which they were read.
#[test]
fn group_by_key() {
    each(pairs(), |s| s.group_by_key(), |rows| bag(groups(rows)));
}

#[test]
fn group_by_key_of_many_rows() {
    let rows: Vec<(u8, i64)> = (0..20_000).map(|n| ((n % 3) as u8, n)).collect();
    let expected = bag(groups(rows.iter().copied()));
    tidemill::testing::check([rows], |s| s.group_by_key(), [expected]);
}

/// In a union, the values of the left stream come before those of the right.
#[test]
fn group_by_key_of_a_union() {
    each(
        pairs(),
        |s| s.map_values(|n| -n).union(s).group_by_key(),
        |rows| bag(groups(rows.iter().map(|(k, n)| (*k, -n)).chain(rows.iter().copied()))),
    );
}

/// The count and the sum of the values.
#[test]
fn combine_by_key() {
    let model = |rows| bag(groups(rows).into_iter().map(|(k, vs): (u8, Vec<i64>)| (k, (vs.len() as u64, vs.into_iter().sum()))));
    each(
        pairs(),
        |s| s.combine_by_key(|n| (1u64, n), |(count, sum), n| (count + 1, sum + n), |a, b| (a.0 + b.0, a.1 + b.1)),
        model,
    );
}

/// The result has another type than the values, which need not move to another worker.
#[test]
fn aggregate_by_key() {
    let model = |rows| bag(groups(rows).into_iter().map(|(k, vs): (u8, Vec<i64>)| (k, BTreeSet::from_iter(vs))));
    each(
        pairs(),
        |s| {
            let add = |mut seen: BTreeSet<i64>, n: Rc<i64>| {
                seen.insert(*n);
                seen
            };
            s.map_values(Rc::new).aggregate_by_key(BTreeSet::new(), add, |a, b| a.union(&b).copied().collect())
        },
        model,
    );
}

#[test]
fn join() {
    let model = |rows: Vec<(u8, i64)>| {
        let right: Vec<(u8, i64)> = rows.iter().copied().filter(|(_, n)| n % 2 == 0).collect();
        let pairs_of = |(k, v): (u8, i64)| right.iter().filter(move |(r, _)| *r == k).map(move |(_, w)| (k, (v, *w)));
        bag(rows.iter().copied().flat_map(pairs_of))
    };
    each(pairs(), |s| s.join(&s.filter(|(_, n)| n % 2 == 0)), model);
}

/// The two sides share no key, or one side is empty.
#[test]
fn join_of_nothing() {
    each(pairs(), |s| s.join(&s.map(|(k, n)| (k + 100, n))), |_| Vec::<(u8, (i64, i64))>::new());
    each(pairs(), |s| s.join(&s.filter(|_| false)), |_| Vec::<(u8, (i64, i64))>::new());
}

#[test]
fn join_with_itself() {
    let model = |rows: Vec<(u8, i64)>| {
        let of = |k: u8| rows.iter().filter(move |(l, _)| *l == k).map(|(_, n)| *n);
        bag(rows.iter().flat_map(|(k, v)| of(*k).map(move |w| (*k, (*v, w)))))
    };
    each(pairs(), |s| s.join(s), model);
}
