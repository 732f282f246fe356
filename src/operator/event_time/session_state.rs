//! The sessions of the keys of one worker.
//!
//! A key has few open sessions. It waits in `waiting` at the end of its first one, so a batch touches only keys that have rows, or
//! whose session may be over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::watermark::Watermark;
use super::windowed_view::{InWindow, Outcome, WindowState};
use crate::core::data::{Exchange, KEY_GROUPS, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::state::{Changes, Groups, KeyedState};

/// A session: the times of its first and its last row, how many rows it has, and their result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Session<A> {
    first: i64,
    last: i64,
    rows: u64,
    result: A,
}

/// Sessions of one key, ascending, at least the gap apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BySession<A>(Vec<Session<A>>);

impl<A> Default for BySession<A> {
    fn default() -> Self {
        BySession(Vec::new())
    }
}

impl<A> BySession<A> {
    pub fn add_row(&mut self, time: i64, result: A, gap: i64, merge: &impl Fn(A, A) -> A) {
        let at = self.near(time, time, gap);
        self.join(at, Session { first: time, last: time, rows: 1, result }, merge);
    }

    /// Adds the sessions of another worker.
    pub fn merge(&mut self, other: Self, gap: i64, merge: &impl Fn(A, A) -> A) {
        for session in other.0 {
            self.join(self.near(session.first, session.last, gap), session, merge);
        }
    }

    /// The sessions that are within the gap of these times.
    fn near(&self, first: i64, last: i64, gap: i64) -> std::ops::Range<usize> {
        let from = self.0.partition_point(|s| s.last + gap <= first);
        let more = self.0[from..].iter().take_while(|s| s.first < last + gap).count();
        from..from + more
    }

    /// Makes one session of these and a new one. They are at least the gap away from all others.
    fn join(&mut self, near: std::ops::Range<usize>, new: Session<A>, merge: &impl Fn(A, A) -> A) {
        let at = near.start;
        let joined = self.0.drain(near).fold(new, |new, old| Session {
            first: old.first.min(new.first),
            last: old.last.max(new.last),
            rows: old.rows + new.rows,
            result: merge(old.result, new.result),
        });
        self.0.insert(at, joined);
    }
}

/// The open sessions of a key.
struct Cell<A> {
    sessions: BySession<A>,
    /// When `waiting` has the key: at or before the end of its first session.
    waits: i64,
}

/// The sessions of the keys of one worker.
pub(super) struct Sessions<K, A, F> {
    gap: i64,
    merge: F,
    keys: Dict<K>,
    /// By code. A code is retained while it has a session, and while its last session leaves the view.
    cells: Vec<Option<Cell<A>>>,
    waiting: BTreeMap<i64, Vec<Code>>,
    /// The sessions that closed with the last batch. They leave the view with the next one, and are saved until then.
    leaving: Vec<(Code, Session<A>)>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The sessions of each group that a snapshot saves; looked up for the first group.
    cut: Vec<Vec<(Code, Session<A>)>>,
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> Sessions<K, A, F> {
    pub fn new(gap: i64, merge: F) -> Self {
        let (keys, cells, waiting) = (Dict::default(), Vec::new(), BTreeMap::new());
        Sessions { gap, merge, keys, cells, waiting, leaving: Vec::new(), changed: 0, cut: Vec::new() }
    }

    fn in_window(&self, code: Code, session: Session<A>) -> InWindow<A> {
        (session.first, session.last + self.gap, code, session.result)
    }

    /// The sessions of a code. A new cell retains it.
    fn cell(&mut self, code: Code, t: BatchTime) -> &mut Cell<A> {
        let at = code as usize;
        if self.cells.len() <= at {
            self.cells.resize_with(at + 1, || None);
        }
        self.cells[at].get_or_insert_with(|| {
            self.keys.retain(code, 1, t);
            Cell { sessions: BySession::default(), waits: i64::MAX }
        })
    }

    /// The code waits for the end of its first session.
    fn wait(&mut self, code: Code) {
        let Some(cell) = self.cells[code as usize].as_mut() else { return };
        let end = cell.sessions.0.first().map_or(i64::MAX, |first| first.last + self.gap);
        if end < cell.waits {
            cell.waits = end;
            self.waiting.entry(end).or_default().push(code);
        }
    }

    /// The open sessions of a code that are within the gap of this one.
    fn near(&self, code: Code, session: &Session<A>) -> &[Session<A>] {
        let cell = self.cells.get(code as usize).and_then(Option::as_ref);
        cell.map_or(&[], |Cell { sessions, .. }| &sessions.0[sessions.near(session.first, session.last, self.gap)])
    }

    /// Adds a session, and joins it with those within the gap. Returns the joined one.
    fn insert(&mut self, code: Code, session: Session<A>, t: BatchTime) -> &Session<A> {
        let gap = self.gap;
        self.changed |= 1 << self.keys.group_and_key(code).0;
        let near = self.cell(code, t).sessions.near(session.first, session.last, gap);
        let at = near.start;
        let sessions = &mut self.cells[code as usize].as_mut().expect("a cell that was just made").sessions;
        sessions.join(near, session, &self.merge);
        self.wait(code);
        &self.cells[code as usize].as_ref().expect("the same cell").sessions.0[at]
    }

    /// Takes the sessions that the watermark has passed.
    fn close(&mut self, now: i64, t: BatchTime) -> Vec<(Code, Session<A>)> {
        let mut closed = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= now) {
            let (end, codes) = first.remove_entry();
            for code in codes {
                // A code may have waited longer before an older session came.
                let Some(cell) = self.cells[code as usize].as_mut().filter(|cell| cell.waits == end) else { continue };
                let over = cell.sessions.0.partition_point(|s| s.last + self.gap <= now);
                closed.extend(cell.sessions.0.drain(..over).map(|session| (code, session)));
                cell.waits = i64::MAX;
                if cell.sessions.0.is_empty() {
                    self.cells[code as usize] = None;
                    self.keys.release(code, 1, t);
                } else {
                    self.wait(code);
                }
            }
        }
        for (code, _) in &closed {
            self.changed |= 1 << self.keys.retain(*code, 1, t);
        }
        closed
    }
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> WindowState<K, BySession<A>> for Sessions<K, A, F> {
    type Result = A;

    fn restored(&mut self, watermark: Watermark, t: BatchTime, shown: bool) -> Outcome<A> {
        let mut changes = Vec::new();
        if shown {
            let cells = (0..).zip(&self.cells).filter_map(|(code, cell)| Some((code, cell.as_ref()?)));
            let all = cells.flat_map(|(code, cell)| cell.sessions.0.iter().map(move |session| (code, session.clone())));
            changes.extend(all.map(|(code, session)| (self.in_window(code, session), 1)));
        }
        self.leaving = self.close(watermark.now, t);
        Outcome { changes, closed: Vec::new(), late: 0 }
    }

    fn batch(&mut self, watermark: Watermark, t: BatchTime, rows: Vec<Rows<(K, BySession<A>)>>, shown: bool) -> Outcome<A> {
        // The results of the previous batch have been emitted with their keys.
        self.keys.reclaim(|_| true);
        let (mut changes, mut late) = (Vec::new(), 0);
        for (code, session) in std::mem::take(&mut self.leaving) {
            self.changed |= 1 << self.keys.retain(code, -1, t);
            if shown {
                changes.push((self.in_window(code, session), -1));
            }
        }
        for (key, sessions) in rows.into_iter().flat_map(Rows::take) {
            let code = self.keys.code(key, t);
            // Held until all are added, and released with it if all are late.
            self.keys.retain(code, 1, t);
            for session in sessions.0 {
                let near = self.near(code, &session);
                if near.is_empty() && session.last + self.gap <= watermark.before {
                    late += session.rows;
                    continue;
                }
                if shown {
                    changes.extend(near.iter().map(|old| (self.in_window(code, old.clone()), -1)));
                }
                let joined = self.insert(code, session, t);
                if shown {
                    let joined = joined.clone();
                    changes.push((self.in_window(code, joined), 1));
                }
            }
            self.keys.release(code, 1, t);
        }
        self.leaving = self.close(watermark.now, t);
        let closed = self.leaving.iter().map(|(code, session)| self.in_window(*code, session.clone())).collect();
        Outcome { changes, closed, late }
    }

    fn group_and_key(&self, code: Code) -> (u64, &K) {
        self.keys.group_and_key(code)
    }
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> KeyedState for Sessions<K, A, F> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cut.clear();
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        if self.cut.is_empty() {
            self.cut.resize_with(KEY_GROUPS as usize, Vec::new);
            let cells = (0..).zip(&self.cells).filter_map(|(code, cell)| Some((code, cell.as_ref()?)));
            let open = cells.flat_map(|(code, cell)| cell.sessions.0.iter().map(move |session| (code, session)));
            for (code, session) in open.chain(self.leaving.iter().map(|(code, session)| (*code, session))) {
                self.cut[self.keys.group_and_key(code).0 as usize].push((code, session.clone()));
            }
        }
        let of_group = std::mem::take(&mut self.cut[group as usize]);
        let mut of_group: Vec<_> = of_group.iter().map(|(code, session)| (self.keys.key(*code), session)).collect();
        of_group.sort_by(|a, b| (a.0, a.1.first).cmp(&(b.0, b.1.first)));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        const VALID: std::ops::Range<i64> = i64::MIN >> 2..i64::MAX >> 2;
        for (key, session) in postcard::from_bytes::<Vec<(K, Session<A>)>>(bytes)? {
            if !VALID.contains(&session.first) || !VALID.contains(&session.last) || session.rows > u64::MAX >> 10 {
                return Err("a session has no valid time, or too many rows".into());
            }
            let code = self.keys.code(key, cut);
            self.insert(code, session, cut);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Sessions::<String, i64, _>::new(4, i64::wrapping_add), bytes)
}
