//! `window`: the rows that a view did not have some time ago.
//!
//! A row counts as new from the batch that added it. What the view had when the computation was added is not new, however late it came.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::json::Json;
use crate::api::view::{Form, View};
use crate::core::time::BatchTime;
use crate::engine::flow::{batched, by_batch, route};
use crate::engine::operator_id::OperatorId;

/// Rows that are in the view now and were not `length` ago, as of the last multiple of `slide`.
pub(super) fn window<'s>(view: &View<'s, Json>, length: Duration, slide: Option<Duration>, base: BatchTime) -> View<'s, Json> {
    let rows = view.clone();
    let ms = |time: Duration| time.as_millis() as u64;
    let slide = slide.map_or(rows.node.graph.config.interval.millis(), ms);
    let mut window = Window { length: ms(length), slide, base, changes: VecDeque::new(), inside: 0, net: HashMap::new() };
    let form = Form::rows(move || {
        let (graph, groups) = (&rows.node.graph, rows.node.graph.key_groups());
        let to_owner = route(move |(row, _, _): &(Json, BatchTime, i64)| groups.of(row));
        batched(&graph.flow, &OperatorId::step("window"), rows.rows(), to_owner, by_batch, move |tick, changes, emit| {
            let rows = window.step(tick.time, changes);
            emit(rows.into_iter().map(|(row, n)| (row, tick.time, n)).collect::<Vec<_>>());
        })
    });
    view.derive(form, Some("window")).co_located(true).view()
}

/// The rows of one worker.
struct Window {
    length: u64,
    slide: u64,
    base: BatchTime,
    /// What each batch has changed, oldest first; the first `inside` of them are in the window.
    changes: VecDeque<(u64, Vec<(Json, i64)>)>,
    inside: usize,
    /// The sum of the changes in the window. Rows with more than 0 are in the result.
    net: HashMap<Json, i64>,
}

impl Window {
    /// The changes of the result that a batch causes.
    fn step(&mut self, time: BatchTime, changes: Vec<(Json, i64)>) -> Vec<(Json, i64)> {
        if time <= self.base {
            return Vec::new();
        }
        let now = time.millis();
        if !changes.is_empty() {
            self.changes.push_back((now, changes));
        }
        if !now.is_multiple_of(self.slide) {
            return Vec::new();
        }
        let mut before: HashMap<Json, i64> = HashMap::new();
        let mut change = |net: &mut HashMap<Json, i64>, row: Json, n: i64| {
            let sum = net.entry(row.clone()).or_insert(0);
            before.entry(row).or_insert(*sum);
            *sum = sum.wrapping_add(n);
        };
        let start = now.saturating_sub(self.length);
        for (_, changes) in self.changes.iter().skip(self.inside) {
            changes.iter().for_each(|(row, n)| change(&mut self.net, row.clone(), *n));
        }
        while self.changes.front().is_some_and(|(t, _)| *t <= start) {
            let (_, changes) = self.changes.pop_front().unwrap_or_default();
            changes.into_iter().for_each(|(row, n)| change(&mut self.net, row, n.wrapping_neg()));
        }
        self.inside = self.changes.len();
        let mut rows = Vec::new();
        for (row, was) in before {
            let is = self.net.get(&row).copied().unwrap_or(0);
            if is == 0 {
                self.net.remove(&row);
            }
            if was.max(0) != is.max(0) {
                rows.push((row, is.max(0) - was.max(0)));
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_new_for_the_length_and_nothing_is_kept_of_it_afterwards() {
        let base = BatchTime::from_millis(10);
        let mut window = Window { length: 30, slide: 20, base, changes: VecDeque::new(), inside: 0, net: HashMap::new() };
        let row = |n: i128| Json::Int(n);
        let mut at = |t, changes: &[(i128, i64)]| {
            let changes = changes.iter().map(|(r, n)| (row(*r), *n)).collect();
            window.step(BatchTime::from_millis(t), changes)
        };
        assert_eq!(at(10, &[(1, 1)]), [], "it was there");
        assert_eq!(at(20, &[(2, 2)]), [(row(2), 2)]);
        assert_eq!(at(30, &[(1, -1)]), [], "no slide");
        assert_eq!(at(40, &[]), [], "a row that has gone was not new");
        assert_eq!(at(50, &[(1, 1)]), []);
        let mut both = at(60, &[]);
        both.sort();
        assert_eq!(both, [(row(1), 1), (row(2), -2)]);
        assert_eq!(at(80, &[]), [(row(1), -1)]);
        assert!(window.net.is_empty() && window.changes.is_empty());
    }
}
