//! How the panes of one key make the result of a window.

use std::collections::VecDeque;

use crate::core::data::{Exchange, Key};
use crate::operator::window::two_stacks::{StackedPanes, TwoStacks};
use crate::operator::window::windowed_reduce::WindowFold;

/// Makes the result of a window from the results of its panes. Panes are known by their start, and enter in this order.
pub(super) trait PaneFold<A>: 'static {
    /// What a key keeps for its panes in one window.
    type Stack: Default;

    /// The result of one pane, from two parts of it.
    fn merge(&self, a: A, b: A) -> A;

    fn enter(&self, stack: &mut Self::Stack, start: i64, a: &A);

    /// Takes the oldest pane out: its start, and what entered.
    fn leave(&self, stack: &mut Self::Stack, start: i64, a: &A);

    /// The result of the window; `None` without a pane. `pane` finds one by its start.
    fn result<'a>(&self, stack: &Self::Stack, pane: impl Fn(i64) -> Option<&'a A>) -> Option<A>
    where
        A: 'a;
}

/// A function reduces the results of panes: it costs the same for any number of panes.
#[derive(Clone)]
pub(super) struct Reduced<F>(TwoStacks<F>);

impl<F> Reduced<F> {
    pub fn by(merge: F) -> Self {
        Reduced(TwoStacks(merge))
    }
}

/// Two stacks count panes from 0.
fn number(start: i64) -> u64 {
    start as u64 ^ 1 << 63
}

impl<A: Exchange, F: Fn(A, A) -> A + 'static> PaneFold<A> for Reduced<F> {
    type Stack = StackedPanes<A>;

    fn merge(&self, a: A, b: A) -> A {
        (self.0.0)(a, b)
    }

    fn enter(&self, stack: &mut StackedPanes<A>, start: i64, a: &A) {
        self.0.enter(stack, number(start), a.clone());
    }

    fn leave(&self, stack: &mut StackedPanes<A>, start: i64, _: &A) {
        self.0.leave(stack, number(start));
    }

    fn result<'a>(&self, stack: &StackedPanes<A>, _: impl Fn(i64) -> Option<&'a A>) -> Option<A>
    where
        A: 'a,
    {
        self.0.value(stack)
    }
}

/// The results of panes are added up, and subtracted: a window is one number.
#[derive(Clone)]
pub(super) struct Summed;

/// The panes of a key in one window.
#[derive(Default)]
pub(super) struct Sum {
    sum: i64,
    panes: u64,
}

impl PaneFold<i64> for Summed {
    type Stack = Sum;

    fn merge(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    fn enter(&self, stack: &mut Sum, _: i64, a: &i64) {
        stack.sum += a;
        stack.panes += 1;
    }

    fn leave(&self, stack: &mut Sum, _: i64, a: &i64) {
        stack.sum -= a;
        stack.panes -= 1;
    }

    fn result<'a>(&self, stack: &Sum, _: impl Fn(i64) -> Option<&'a i64>) -> Option<i64> {
        (stack.panes > 0).then_some(stack.sum)
    }
}

/// Rows with their times, in order.
pub(super) type Listing<V> = Vec<(i64, V)>;

/// Both listings as one. It costs the rows of the second, and those of the first that belong behind its start.
pub(super) fn merged<V: Ord>(mut a: Listing<V>, b: Listing<V>) -> Listing<V> {
    let Some(first) = b.first() else { return a };
    let from = a.partition_point(|row| row <= first);
    let behind = a.split_off(from);
    a.extend(b);
    if !behind.is_empty() {
        a.extend(behind);
        // The sort merges two runs.
        a[from..].sort();
    }
    a
}

/// A window has all rows of its panes. A stack has no copy of them, only their panes.
#[derive(Clone)]
pub(super) struct Listed;

impl<V: Key> PaneFold<Listing<V>> for Listed {
    type Stack = VecDeque<i64>;

    fn merge(&self, a: Listing<V>, b: Listing<V>) -> Listing<V> {
        merged(a, b)
    }

    fn enter(&self, stack: &mut VecDeque<i64>, start: i64, _: &Listing<V>) {
        stack.push_back(start);
    }

    fn leave(&self, stack: &mut VecDeque<i64>, _: i64, _: &Listing<V>) {
        stack.pop_front();
    }

    fn result<'a>(&self, stack: &VecDeque<i64>, pane: impl Fn(i64) -> Option<&'a Listing<V>>) -> Option<Listing<V>>
    where
        V: 'a,
    {
        // Panes ascend, and so do the rows of each.
        let rows = stack.iter().filter_map(|start| pane(*start)).flatten().cloned();
        (!stack.is_empty()).then(|| rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn listings_stay_in_order(mut a in prop::collection::vec((0i64..9, 0u8..3), 0..9), mut b in prop::collection::vec((0i64..9, 0u8..3), 0..9)) {
            a.sort();
            b.sort();
            let mut both = [a.clone(), b.clone()].concat();
            both.sort();
            prop_assert_eq!(merged(a, b), both);
        }
    }
}
