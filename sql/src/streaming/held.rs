//! What a group of rows that come and leave has of one aggregate: contributions are added, and taken away again.
//!
//! Counts and sums cost the same, however many rows a group has. The least and the largest value, and how many different ones there are, are
//! known from the values with their numbers. All else is computed again from what the group has.

use std::collections::BTreeMap;

use tidemill::prelude::F64;

use super::accumulator::Part;
use super::codec::Row;
use super::exact_sum::ExactSum;
use crate::udf::Folds;

/// The contributions to a group, so that each can be taken away.
#[derive(Clone)]
pub(crate) enum Held {
    Count(i64),
    Whole(i128, i64),
    Double(ExactSum, i64),
    /// Values, with how often each is there.
    Least(BTreeMap<Row, i64>),
    Largest(BTreeMap<Row, i64>),
    Values(BTreeMap<Row, i64>),
    /// Rows, with how often each is there.
    Rows(BTreeMap<Row, i64>),
    /// Contributions, with how often each is there.
    Others(BTreeMap<Part, i64>),
}

/// Adds to the number of a key.
fn change<K: Ord>(all: &mut BTreeMap<K, i64>, key: K, n: i64) {
    use std::collections::btree_map::Entry;
    match all.entry(key) {
        Entry::Vacant(e) => drop(e.insert(n)),
        Entry::Occupied(mut e) => {
            *e.get_mut() += n;
            if *e.get() == 0 {
                e.remove();
            }
        }
    }
}

impl Held {
    /// Nothing, of an aggregate with such contributions.
    fn like(part: &Part) -> Held {
        match part {
            Part::Count(_) => Held::Count(0),
            Part::Whole(..) => Held::Whole(0, 0),
            Part::Double(..) => Held::Double(ExactSum::default(), 0),
            Part::Least(_) => Held::Least(BTreeMap::new()),
            Part::Largest(_) => Held::Largest(BTreeMap::new()),
            Part::Values(_) => Held::Values(BTreeMap::new()),
            Part::Rows(_) => Held::Rows(BTreeMap::new()),
            Part::Moments(_) | Part::User(_) => Held::Others(BTreeMap::new()),
        }
    }

    /// Adds copies of the contributions of some rows to those of a group; takes them away, if `n` is negative.
    pub fn add_all(group: &mut Vec<Held>, parts: Vec<Part>, n: i64) {
        if group.is_empty() {
            *group = parts.iter().map(Held::like).collect();
        }
        group.iter_mut().zip(parts).for_each(|(held, part)| held.add(part, n));
    }

    fn add(&mut self, part: Part, n: i64) {
        match (self, part) {
            (Held::Count(all), Part::Count(count)) => *all += count * n,
            (Held::Whole(all, values), Part::Whole(sum, count)) => {
                *all = all.wrapping_add(sum.wrapping_mul(n.into()));
                *values += count * n;
            }
            (Held::Double(all, values), Part::Double(sum, count)) => {
                all.add(*sum, n);
                *values += count * n;
            }
            (Held::Least(all), Part::Least(value)) | (Held::Largest(all), Part::Largest(value)) => {
                value.into_iter().for_each(|value| change(all, value, n));
            }
            (Held::Values(all), Part::Values(values)) => values.into_iter().for_each(|value| change(all, value, n)),
            (Held::Rows(all), Part::Rows(rows)) => rows.into_iter().for_each(|(row, copies)| change(all, row, copies * n)),
            (Held::Others(all), part) => change(all, part, n),
            _ => unreachable!("an aggregate has one kind of contribution"),
        }
    }

    /// All contributions as one. `user`: the aggregate, if it is one of the program. `last`: it is not joined with others, so that the number of
    /// different values is enough.
    pub fn part(&self, user: Option<&dyn Folds>, last: bool) -> Part {
        match self {
            Held::Count(n) => Part::Count(*n),
            Held::Whole(sum, n) => Part::Whole(*sum, *n),
            Held::Double(sum, n) => Part::Double(F64::from(sum.value()), *n),
            Held::Least(all) => Part::Least(all.keys().next().cloned()),
            Held::Largest(all) => Part::Largest(all.keys().next_back().cloned()),
            Held::Values(all) if last => Part::Count(i64::try_from(all.len()).unwrap_or(i64::MAX)),
            Held::Values(all) => Part::Values(all.keys().cloned().collect()),
            Held::Rows(all) => Part::Rows(all.clone()),
            Held::Others(all) => {
                let copies = |(part, n): (&Part, &i64)| std::iter::repeat_n(part.clone(), usize::try_from(*n).unwrap_or(0));
                let joined = all.iter().flat_map(copies).reduce(|a, b| a.merge(b, user));
                joined.expect("a group has the contribution of each of its rows")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::streaming::codec::Codec;
    use crate::streaming::moments::Moments;

    /// The contributions of a row with a value, of one aggregate of each kind.
    fn of(value: i64) -> Vec<Part> {
        let codec = Codec::new(&Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]))).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
        let row = codec.encode(&[column], 1).unwrap().remove(0);
        vec![
            Part::Count(1),
            Part::Whole(value.into(), 1),
            Part::Double(F64::from(value as f64 / 3.0), 1),
            Part::Least(Some(row.clone())),
            Part::Largest(Some(row.clone())),
            Part::Values([row.clone()].into()),
            Part::Rows([(row, 1)].into()),
            Part::Moments(Moments::one(value as f64)),
        ]
    }

    fn parts(group: &[Held], last: bool) -> Vec<Part> {
        group.iter().map(|held| held.part(None, last)).collect()
    }

    #[test]
    fn what_came_and_left_is_forgotten() {
        let (mut all, mut rest) = (Vec::new(), Vec::new());
        for n in 0..20 {
            // A row may leave before it comes, within a batch.
            Held::add_all(&mut all, of(n), if n == 7 { -2 } else { 2 });
            Held::add_all(&mut rest, of(n % 3), 1);
        }
        for n in 0..20 {
            Held::add_all(&mut all, of(n), if n == 7 { 2 } else { -2 });
            Held::add_all(&mut all, of(n % 3), 1);
        }
        assert_eq!(parts(&all, true), parts(&rest, true));
        assert_eq!(parts(&all, false), parts(&rest, false));
        assert_eq!(parts(&all, true)[0], Part::Count(20));
        assert_eq!(parts(&all, true)[5], Part::Count(3), "different values");
    }
}
