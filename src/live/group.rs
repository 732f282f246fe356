//! `count` and `sum`: one row for each value of the columns, kept up to date. A batch costs the rows that it changes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::json::{Column, Json};
use crate::api::view::{Form, View};
use crate::core::time::BatchTime;
use crate::engine::flow::{batched, by_batch, map_containers, route};
use crate::engine::operator_id::OperatorId;

/// The unit of fractions: floats add up without an error that depends on their order.
const UNIT: f64 = 18_446_744_073_709_551_616.0;

/// What is known of the rows of one group.
#[derive(Clone, Default, PartialEq)]
struct Tally {
    rows: i64,
    /// How many of them have a float.
    floats: i64,
    whole: i128,
    /// In units of 2^-64.
    fractions: i128,
}

impl Tally {
    /// Adds `n` rows with this number, which may be below 0.
    fn add(&mut self, number: &Json, n: i64) {
        self.rows = self.rows.wrapping_add(n);
        if let Some((whole, fraction)) = number.number() {
            let times = i128::from(n);
            self.floats = self.floats.wrapping_add(if matches!(number, Json::Float(_)) { n } else { 0 });
            self.whole = self.whole.wrapping_add(whole.wrapping_mul(times));
            self.fractions = self.fractions.wrapping_add(((*fraction * UNIT) as i128).wrapping_mul(times));
        }
    }

    fn sum(&self) -> Json {
        match self.floats {
            0 => Json::Int(self.whole),
            _ => {
                let whole = self.whole.wrapping_add(self.fractions.div_euclid(1 << 64));
                Json::Float((whole as f64 + self.fractions.rem_euclid(1 << 64) as f64 / UNIT).into())
            }
        }
    }
}

/// How many rows there are for each value of the columns, or the sum of a column. A row without a number there is left out of the sum.
pub(super) fn grouped<'s>(view: &View<'s, Json>, keys: Vec<Column>, sum: Option<Column>) -> View<'s, Json> {
    let operator = OperatorId::step(if sum.is_some() { "sum" } else { "count" });
    let (rows, adds) = (view.clone(), sum.is_some());
    let form = Form::rows(move || {
        let (graph, groups) = (&rows.node.graph, rows.node.graph.key_groups());
        let keyed = map_containers(&graph.flow, &operator, rows.rows(), move |_, changes: Vec<(Json, BatchTime, i64)>, emit| {
            let keyed = |(row, t, n): (Json, BatchTime, i64)| {
                let number = sum.as_ref().map_or(&Json::Null, |column| row.column(column));
                let counts = sum.is_none() || number.number().is_some();
                let key = Json::List(keys.iter().map(|column| row.column(column).clone()).collect());
                counts.then(|| ((key, number.clone()), t, n))
            };
            emit(changes.into_iter().filter_map(keyed).collect::<Vec<_>>());
        });
        let mut tallies: HashMap<Json, Tally> = HashMap::new();
        let to_owner = route(move |((key, _), _, _): &((Json, Json), BatchTime, i64)| groups.of(key));
        let flow = graph.flow.silent_when_empty();
        batched(&flow, &operator, keyed, to_owner, by_batch, move |tick, changes: Vec<((Json, Json), i64)>, emit| {
            emit(step(&mut tallies, changes, adds).into_iter().map(|(row, n)| (row, tick.time, n)).collect::<Vec<_>>());
        })
    });
    view.derive(form, Some("count")).co_located(true).view()
}

/// The rows that changes of the groups remove and add.
fn step(tallies: &mut HashMap<Json, Tally>, changes: Vec<((Json, Json), i64)>, adds: bool) -> Vec<(Json, i64)> {
    let mut before: HashMap<Json, Tally> = HashMap::new();
    for ((key, number), n) in changes {
        match tallies.entry(key) {
            Entry::Vacant(e) => {
                before.insert(e.key().clone(), Tally::default());
                e.insert(Tally::default()).add(&number, n);
            }
            Entry::Occupied(mut e) => {
                before.entry(e.key().clone()).or_insert_with(|| e.get().clone());
                e.get_mut().add(&number, n);
            }
        }
    }
    let row = |key: &Json, tally: &Tally| {
        let value = if adds { tally.sum() } else { Json::Int(tally.rows.into()) };
        Json::row(key.clone().columns().into_iter().chain([value]).collect())
    };
    let mut rows = Vec::new();
    for (key, was) in before {
        let is = tallies.get(&key).cloned().unwrap_or_default();
        if was != is {
            rows.extend((was.rows != 0).then(|| (row(&key, &was), -1)));
            rows.extend((is.rows != 0).then(|| (row(&key, &is), 1)));
        }
        if is.rows == 0 {
            tallies.remove(&key);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn sums_of_integers_are_exact_and_those_of_floats_do_not_depend_on_their_order() {
        let sum = |numbers: &[Value]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|n| tally.add(&n.clone().into(), 1));
            Value::from(&tally.sum())
        };
        assert_eq!(sum(&[json!(u64::MAX), json!(-1)]), json!(u64::MAX - 1));
        assert_eq!(sum(&[json!(0.1), json!(0.2), json!(0.3)]), sum(&[json!(0.3), json!(0.1), json!(0.2)]));
        assert_eq!(sum(&[json!(-0.5), json!(2)]), json!(1.5));
        assert_eq!(sum(&[json!(1e90)]), Value::from(0), "too large for a sum: left out");
        let mut tally = Tally::default();
        [0.1, 1e15, 7.25].into_iter().for_each(|x| tally.add(&json!(x).into(), 3));
        [0.1, 1e15].into_iter().for_each(|x| tally.add(&json!(x).into(), -3));
        assert_eq!(Value::from(&tally.sum()), json!(21.75), "what has left leaves nothing behind");
    }

    #[test]
    fn a_group_that_is_empty_has_no_row_and_is_forgotten() {
        let (mut tallies, key) = (HashMap::new(), Json::List(vec![Json::Text("a".into())]));
        let mut change = |n| step(&mut tallies, vec![((key.clone(), Json::Int(5)), n)], true);
        let row = |n: i64| Json::from(json!(["a", n]));
        assert_eq!(change(1), [(row(5), 1)]);
        assert_eq!(change(2), [(row(5), -1), (row(15), 1)]);
        assert_eq!(change(-3), [(row(15), -1)]);
        assert!(tallies.is_empty());
    }
}
