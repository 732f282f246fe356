//! Windows of 4 batches that slide by one.

use std::collections::VecDeque;

use tidemill::prelude::*;

use super::{Entry, Keys, Map, Pair, dropped, each, grouped, sums};

/// Adds a pane to a window of four. Returns the one that leaves.
fn slide<T>(window: &mut VecDeque<T>, pane: T) -> Option<T> {
    window.push_back(pane);
    (window.len() > 4).then(|| window.pop_front()).flatten()
}

pub const VERBS: &[Entry] = &[
    (
        "window of 4 batches",
        |s| dropped(s.window(secs(4), secs(1))),
        |all| {
            let mut window: VecDeque<Vec<Pair>> = VecDeque::new();
            each(all, |b| {
                window.push_back(b);
                if window.len() > 4 {
                    window.pop_front();
                }
                window.iter().flatten().copied().collect::<Vec<_>>()
            });
        },
    ),
    (
        "count_by_value_and_window, update",
        |s| dropped(s.map(|(k, _)| k).count_by_value_and_window(secs(4), secs(1)).update()),
        |all| {
            let (mut window, mut counts): (VecDeque<Map<u32, i64>>, Map<u32, i64>) = Default::default();
            each(all, |b| {
                let pane = sums(b.into_iter().map(|(k, _)| (k, 1)).collect());
                let left = (window.len() == 4).then(|| window.pop_front()).flatten().unwrap_or_default();
                left.iter().for_each(|(k, n)| *counts.entry(*k).or_default() -= n);
                pane.iter().for_each(|(k, n)| *counts.entry(*k).or_default() += n);
                let keys: Keys = left.keys().chain(pane.keys()).copied().collect();
                window.push_back(pane);
                keys.into_iter().map(|k| (k, counts[&k])).collect::<Vec<_>>()
            });
        },
    ),
    (
        "reduce_by_key_and_window, update",
        |s| dropped(s.reduce_by_key_and_window(|a, b| a.max(b), secs(4), secs(1)).update()),
        |all| {
            let mut window: VecDeque<Map<u32, i64>> = VecDeque::new();
            each(all, |b| {
                let mut pane: Map<u32, i64> = Map::default();
                b.into_iter().for_each(|(k, n)| _ = pane.entry(k).and_modify(|m| *m = n.max(*m)).or_insert(n));
                window.push_back(pane);
                if window.len() > 4 {
                    window.pop_front();
                }
                let mut most: Map<u32, i64> = Map::default();
                window.iter().flatten().for_each(|(k, n)| _ = most.entry(*k).and_modify(|m| *m = (*m).max(*n)).or_insert(*n));
                most
            });
        },
    ),
    (
        "count_by_window, complete",
        |s| dropped(s.count_by_window(secs(4), secs(1)).complete()),
        |all| {
            let mut window: VecDeque<usize> = VecDeque::new();
            each(all, |b| {
                slide(&mut window, b.len());
                window.iter().sum::<usize>()
            });
        },
    ),
    (
        "reduce_by_window, complete",
        |s| dropped(s.map(|(_, n)| n).reduce_by_window(i64::max, secs(4), secs(1)).complete()),
        |all| {
            let mut window: VecDeque<Option<i64>> = VecDeque::new();
            each(all, |b| {
                slide(&mut window, b.into_iter().map(|(_, n)| n).max());
                window.iter().max().copied()
            });
        },
    ),
    (
        "reduce_by_key_and_window_inverse, update",
        |s| dropped(s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, secs(4), secs(1)).update()),
        |all| {
            let (mut window, mut totals): (VecDeque<Map<u32, i64>>, Map<u32, i64>) = Default::default();
            each(all, |b| {
                let pane = sums(b);
                pane.iter().for_each(|(k, n)| *totals.entry(*k).or_default() += n);
                let left = slide(&mut window, pane).unwrap_or_default();
                left.iter().for_each(|(k, n)| *totals.entry(*k).or_default() -= n);
                totals.iter().map(|(k, n)| (*k, *n)).collect::<Vec<_>>()
            });
        },
    ),
    (
        "group_by_key_and_window",
        |s| dropped(s.group_by_key_and_window(secs(4), secs(1))),
        |all| {
            let mut window: VecDeque<Vec<Pair>> = VecDeque::new();
            each(all, |b| {
                slide(&mut window, b);
                grouped(window.iter().flatten().copied().collect())
            });
        },
    ),
    (
        "over, changes",
        |s| dropped(s.over(secs(4), secs(1)).changes()),
        |all| {
            let mut window: VecDeque<Vec<Pair>> = VecDeque::new();
            each(all, |b| {
                let mut changes: Map<Pair, i64> = Map::default();
                b.iter().for_each(|row| *changes.entry(*row).or_default() += 1);
                let left = slide(&mut window, b).unwrap_or_default();
                left.iter().for_each(|row| *changes.entry(*row).or_default() -= 1);
                changes.retain(|_, copies| *copies != 0);
                changes
            });
        },
    ),
];
