//! Two stacks of panes: the fold of what is in a window, without an inverse.
//!
//! What sliding aggregation without an inverse costs is the subject of Tangwongsan, Hirzel, Schneider and Wu, "General
//! incremental sliding-window aggregation", PVLDB 8(7), 2015; a queue made of two stacks is the oldest answer. Panes enter the
//! back and leave the front; when the front is empty the back is turned over, and each pane learns the fold of itself and all
//! younger ones. Every pane is folded at most three times, however long the window: O(1) amortised.

use std::cell::Cell;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::folded::Fold;
use crate::core::data::{Exchange, Key};
use crate::engine::flow::Site;

/// The panes of one key, oldest first: `front` from its end, then `back` from its beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TwoStacks<V> {
    /// Youngest first, each with the fold of itself and all younger ones in `front`.
    front: Vec<(u64, V)>,
    /// Oldest first, as they came.
    back: Vec<(u64, V)>,
    /// The fold of `back`.
    young: Option<V>,
}

impl<V> Default for TwoStacks<V> {
    fn default() -> Self {
        TwoStacks { front: Vec::new(), back: Vec::new(), young: None }
    }
}

/// The function of a window without an inverse.
pub(crate) struct Stacks<F>(pub F);

impl<V: Exchange, F: Fn(V, V) -> V + 'static> Fold<V> for Stacks<F> {
    type Panes = TwoStacks<V>;

    fn enter(&self, panes: &mut TwoStacks<V>, end: u64, v: V) {
        panes.young = Some(both(&self.0, panes.young.take(), v.clone()));
        match panes.back.pop() {
            Some((last, old)) if last == end => panes.back.push((end, (self.0)(old, v))),
            other => {
                panes.back.extend(other);
                panes.back.push((end, v));
            }
        }
    }

    fn leave(&self, panes: &mut TwoStacks<V>, end: u64) {
        if panes.front.is_empty() {
            let mut younger: Option<V> = None;
            for (end, v) in panes.back.drain(..).rev() {
                let fold = match younger {
                    Some(younger) => (self.0)(v, younger),
                    None => v,
                };
                panes.front.push((end, fold.clone()));
                younger = Some(fold);
            }
            panes.young = None;
        }
        panes.front.pop_if(|(e, _)| *e == end);
    }

    fn value(&self, panes: &TwoStacks<V>) -> Option<V> {
        match (panes.front.last(), &panes.young) {
            (Some((_, old)), Some(young)) => Some((self.0)(old.clone(), young.clone())),
            (Some((_, one)), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        }
    }

    fn ends(panes: &TwoStacks<V>) -> impl Iterator<Item = u64> {
        panes.front.iter().rev().chain(&panes.back).map(|(end, _)| *end)
    }

    /// The youngest of the front is always there: it says which panes of earlier pieces have been turned over.
    fn newer(panes: &TwoStacks<V>, since: u64) -> TwoStacks<V> {
        let front = panes.front.iter().take_while(|(end, _)| *end > since).count().max(1).min(panes.front.len());
        let back = panes.back.partition_point(|(end, _)| *end <= since).min(panes.back.len().saturating_sub(1));
        TwoStacks { front: panes.front[..front].to_vec(), back: panes.back[back..].to_vec(), young: panes.young.clone() }
    }

    fn joined(&self, old: TwoStacks<V>, new: TwoStacks<V>) -> TwoStacks<V> {
        let turned = new.front.first().map_or(0, |(end, _)| *end);
        let mut front = new.front;
        if old.front.first().is_some_and(|(end, _)| *end == turned) {
            front = old.front;
        } else if let Some((oldest, _)) = front.last().cloned() {
            // Turned over since: what was the front then has left, and folds of older panes are made as they were.
            for (end, v) in old.back.iter().rev().filter(|(end, _)| *end < oldest) {
                let (_, younger) = front.last().expect("a pane that is turned").clone();
                front.push((*end, (self.0)(v.clone(), younger)));
            }
        }
        let first = new.back.first().map_or(0, |(end, _)| *end);
        let mut back: Vec<_> = old.back.into_iter().filter(|(end, _)| (turned + 1..first).contains(end)).collect();
        back.extend(new.back);
        TwoStacks { front, back, young: new.young }
    }

    fn trim(panes: &mut TwoStacks<V>, stays: impl Fn(u64) -> bool) {
        panes.front.retain(|(end, _)| stays(*end));
        panes.back.retain(|(end, _)| stays(*end));
    }

    const REMEMBERS: bool = false;
}

/// The panes of one key and what they add up to, where what leaves can be taken away again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum<V> {
    sum: Option<V>,
    panes: VecDeque<(u64, V)>,
}

impl<V> Default for Sum<V> {
    fn default() -> Self {
        Sum { sum: None, panes: VecDeque::new() }
    }
}

/// The function of a window and its inverse.
pub(crate) struct Inverse<F, G> {
    f: F,
    inv: G,
    /// So many panes leave before a sum is looked at again.
    turn: Cell<usize>,
    doubted: Cell<bool>,
}

impl<F, G> Inverse<F, G> {
    pub fn new(f: F, inv: G) -> Self {
        Inverse { f, inv, turn: Cell::new(0), doubted: Cell::new(false) }
    }

    /// Looks at the sum of a key now and then, so seldom that it costs as little as the window itself: the first that is not what the
    /// panes add up to is said.
    fn doubt<V: Key>(&self, panes: &Sum<V>)
    where
        F: Fn(V, V) -> V,
    {
        match self.turn.get().checked_sub(1) {
            Some(left) => return self.turn.set(left),
            None => self.turn.set(panes.panes.len()),
        }
        let anew = panes.panes.iter().map(|(_, v)| v.clone()).reduce(&self.f);
        if anew.is_some() && anew != panes.sum && !self.doubted.replace(true) {
            let (operator, batch) = Site::last();
            let why = "the inverse is none, or it rounds, or the function is not associative";
            let remedy = "the form without an inverse needs none. Only builds with debug assertions look for this";
            tracing::warn!(
                batch = batch.unwrap_or_default().millis(),
                "{operator}: what is left of a window is not what its batches add up to: {why}; {remedy}"
            );
        }
    }
}

impl<V: Key, F: Fn(V, V) -> V + 'static, G: Fn(V, V) -> V + 'static> Fold<V> for Inverse<F, G> {
    type Panes = Sum<V>;

    fn enter(&self, panes: &mut Sum<V>, end: u64, v: V) {
        panes.sum = Some(both(&self.f, panes.sum.take(), v.clone()));
        match panes.panes.pop_back() {
            Some((last, old)) if last == end => panes.panes.push_back((end, (self.f)(old, v))),
            other => {
                panes.panes.extend(other);
                panes.panes.push_back((end, v));
            }
        }
    }

    fn leave(&self, panes: &mut Sum<V>, end: u64) {
        if panes.panes.front().is_some_and(|(e, _)| *e == end)
            && let Some((_, v)) = panes.panes.pop_front()
        {
            panes.sum = panes.sum.take().map(|sum| (self.inv)(sum, v));
            if cfg!(debug_assertions) {
                self.doubt(panes);
            }
        }
    }

    fn value(&self, panes: &Sum<V>) -> Option<V> {
        panes.sum.clone()
    }

    fn ends(panes: &Sum<V>) -> impl Iterator<Item = u64> {
        panes.panes.iter().map(|(end, _)| *end)
    }

    fn newer(panes: &Sum<V>, since: u64) -> Sum<V> {
        let from = panes.panes.partition_point(|(end, _)| *end <= since).min(panes.panes.len().saturating_sub(1));
        Sum { sum: panes.sum.clone(), panes: panes.panes.range(from..).cloned().collect() }
    }

    fn joined(&self, old: Sum<V>, new: Sum<V>) -> Sum<V> {
        let first = new.panes.front().map_or(0, |(end, _)| *end);
        let mut panes: VecDeque<_> = old.panes.into_iter().filter(|(end, _)| *end < first).collect();
        panes.extend(new.panes);
        Sum { sum: new.sum, panes }
    }

    fn trim(panes: &mut Sum<V>, stays: impl Fn(u64) -> bool) {
        panes.panes.retain(|(end, _)| stays(*end));
    }

    const REMEMBERS: bool = true;
}

fn both<V>(f: &impl Fn(V, V) -> V, old: Option<V>, new: V) -> V {
    match old {
        Some(old) => f(old, new),
        None => new,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::core::data::F64;

    /// What a window of `length` holds, folded pane by pane, and what each `Fold` says of it.
    fn follow<F: Fold<String>>(fold: &F, length: u64, panes: &[u8]) -> Vec<(Option<String>, Option<String>)> {
        let mut stacks = F::Panes::default();
        let mut seen = Vec::new();
        for (t, n) in panes.iter().enumerate() {
            let t = t as u64 + 1;
            // A pane is folded out of several batches; a key is not in every pane.
            (0..*n).for_each(|i| fold.enter(&mut stacks, t, format!("{t}.{i} ")));
            let inside: Vec<u64> = F::ends(&stacks).collect();
            inside.iter().filter(|end| **end + length <= t).for_each(|end| fold.leave(&mut stacks, *end));
            let plain: String = (1..=t)
                .filter(|end| end + length > t)
                .flat_map(|end| (0..panes[end as usize - 1]).map(move |i| format!("{end}.{i} ")))
                .collect();
            seen.push((fold.value(&stacks), (!plain.is_empty()).then_some(plain)));
        }
        seen
    }

    proptest! {
        /// Not even commutative is needed of `f`: the oldest comes first.
        #[test]
        fn two_stacks_are_a_plain_fold(length in 1u64..9, panes in prop::collection::vec(0u8..3, 0..60)) {
            for (stacks, plain) in follow(&Stacks(|a: String, b: String| a + &b), length, &panes) {
                prop_assert_eq!(stacks, plain);
            }
        }

        #[test]
        fn g8_an_inverse_takes_away_what_left(length in 1u64..9, panes in prop::collection::vec(0u8..3, 0..60)) {
            let front = |all: String, gone: String| all.strip_prefix(&gone).expect("the oldest leaves").to_string();
            for (sum, plain) in follow(&Inverse::new(|a: String, b: String| a + &b, front), length, &panes) {
                prop_assert_eq!(sum.filter(|s| !s.is_empty()), plain);
            }
        }
    }

    /// A key that is saved at some times, each time what came since the last one, is put together as it was, folds and all; from
    /// all pieces, and without those that are older than the window.
    fn saved_in_parts<F: Fold<String, Panes: Clone + PartialEq + std::fmt::Debug>>(
        fold: &F,
        (length, pane): (u64, u64),
        batches: &[(u8, bool)],
    ) -> Result<(), TestCaseError> {
        let (mut live, mut parts, mut last) = (F::Panes::default(), Vec::new(), 0);
        for (t, (n, cut)) in batches.iter().enumerate() {
            let t = t as u64 + 1;
            let stays = |end: u64| end + length * pane > t / pane * pane;
            (0..*n).for_each(|i| fold.enter(&mut live, t.div_ceil(pane) * pane, format!("{t}.{i} ")));
            if t.is_multiple_of(pane) {
                let left: Vec<u64> = F::ends(&live).filter(|end| !stays(*end)).collect();
                left.into_iter().for_each(|end| fold.leave(&mut live, end));
            }
            if !cut {
                continue;
            }
            parts.push((t, F::newer(&live, last)));
            last = t;
            let needed = if F::REMEMBERS { 0 } else { (t / pane * pane).saturating_sub(length * pane) };
            for from in [0, needed] {
                let parts = parts.iter().filter(|(t, _)| *t > from).map(|(_, part)| part.clone());
                let mut again = parts.fold(F::Panes::default(), |old, new| fold.joined(old, new));
                F::trim(&mut again, stays);
                prop_assert_eq!(&again, &live, "at {}", t);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn two_stacks_are_saved_in_parts(shape in (1u64..9, 1u64..4), batches in prop::collection::vec((0u8..3, any::<bool>()), 0..60)) {
            saved_in_parts(&Stacks(|a: String, b: String| a + &b), shape, &batches)?;
        }

        #[test]
        fn a_sum_is_saved_in_parts(shape in (1u64..9, 1u64..4), batches in prop::collection::vec((0u8..3, any::<bool>()), 0..60)) {
            let front = |all: String, gone: String| all.strip_prefix(&gone).expect("the oldest leaves").to_string();
            saved_in_parts(&Inverse::new(|a: String, b: String| a + &b, front), shape, &batches)?;
        }
    }

    /// Whether a window of three, over many panes of two values each, is said to be another than it is.
    fn doubted(f: fn(F64, F64) -> F64, inv: fn(F64, F64) -> F64, value: fn(u64) -> f64) -> bool {
        let (fold, mut sum) = (Inverse::new(f, inv), Sum::default());
        for t in 1..200 {
            fold.enter(&mut sum, t, F64::from(value(2 * t)));
            fold.enter(&mut sum, t, F64::from(value(2 * t + 1)));
            if t > 3 {
                fold.leave(&mut sum, t - 3);
            }
        }
        fold.doubted.get()
    }

    #[test]
    #[cfg(debug_assertions)]
    fn g8_what_an_inverse_leaves_is_doubted_where_it_is_not_what_the_batches_add_up_to() {
        let whole = |t: u64| (t * 7 % 23) as f64;
        assert!(!doubted(|a, b| a + b, |a, b| a - b, whole));
        assert!(!doubted(|a, b| a * b, |a, b| a / b, |t| f64::from(1u32 << (t % 5))), "exact, as these are");
        assert!(doubted(|a, b| a.max(b), |a, _| a, whole), "no inverse");
        assert!(doubted(|a, b| a + b, |a, b| a + b, whole), "a wrong one");
        assert!(doubted(|a, b| (a + b) / 2.0, |a, b| a * 2.0 - b, whole), "not associative");
        assert!(doubted(|a, b| a + b, |a, b| a - b, |t| 0.1 * t as f64), "it rounds");
    }

    #[test]
    fn a_pane_costs_the_same_in_any_window() {
        for length in [10, 1000] {
            let calls = Rc::new(Cell::new(0u64));
            let counted = calls.clone();
            let max = Stacks(move |a: u64, b: u64| {
                counted.set(counted.get() + 1);
                a.max(b)
            });
            let mut stacks = TwoStacks::default();
            for t in 1..=10_000u64 {
                max.enter(&mut stacks, t, t % 7);
                if t > length {
                    max.leave(&mut stacks, t - length);
                }
                assert!(max.value(&stacks) >= Some(6.min(length - 1).min(t % 7)));
            }
            assert!(calls.get() < 31_000, "{} calls of f for 10,000 panes in a window of {length}", calls.get());
        }
    }
}
