//! The sessions of the keys of one worker.
//!
//! A key has few open sessions. It waits for the end of its first one.

use serde::{Deserialize, Serialize};

use super::cells::Cells;
use super::watermark::Watermark;
use super::windowed_view::{InWindow, Outcome, WindowState};
use crate::core::data::{Exchange, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

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

/// Sessions with the codes of their keys.
type Sessioned<A> = Vec<(Code, Session<A>)>;

/// The sessions of the keys of one worker.
pub(super) struct Sessions<K, A, F> {
    gap: i64,
    merge: F,
    open: Cells<K, BySession<A>>,
    /// The sessions that closed with the last batch, whose codes are retained. They leave the view with the next one, and are saved until
    /// then.
    leaving: Sessioned<A>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The sessions of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Sessioned<A>>>,
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> Sessions<K, A, F> {
    pub fn new(groups: KeyGroups, gap: i64, merge: F) -> Self {
        Sessions { gap, merge, open: Cells::new(groups), leaving: Vec::new(), changed: Groups::default(), cut: None }
    }

    fn in_window(&self, code: Code, session: Session<A>) -> InWindow<A> {
        (session.first, session.last + self.gap, code, session.result)
    }

    /// The code waits for the end of its first session.
    fn wait(&mut self, code: Code) {
        if let Some(first) = self.open.get(code).and_then(|sessions| sessions.0.first()) {
            self.open.wait(code, first.last + self.gap);
        }
    }

    /// The open sessions of a code that are within the gap of this one.
    fn near(&self, code: Code, session: &Session<A>) -> &[Session<A>] {
        let near = |sessions: &'_ BySession<A>| sessions.near(session.first, session.last, self.gap);
        self.open.get(code).map_or(&[], |sessions| &sessions.0[near(sessions)])
    }

    /// Adds a session, and joins it with those within the gap. Returns the joined one.
    fn insert(&mut self, code: Code, session: Session<A>, t: BatchTime) -> &Session<A> {
        self.changed.insert(self.open.keys.group_and_key(code).0);
        let sessions = self.open.of(code, t);
        let near = sessions.near(session.first, session.last, self.gap);
        let at = near.start;
        sessions.join(near, session, &self.merge);
        self.wait(code);
        &self.open.of(code, t).0[at]
    }

    /// Takes the sessions that the watermark has passed.
    fn close(&mut self, now: i64, t: BatchTime) -> Sessioned<A> {
        let mut closed = Vec::new();
        for code in self.open.due(now) {
            let sessions = &mut self.open.of(code, t).0;
            let over = sessions.partition_point(|s| s.last + self.gap <= now);
            closed.extend(sessions.drain(..over).map(|session| (code, session)));
            if sessions.is_empty() {
                self.open.remove(code, t);
            }
            self.wait(code);
        }
        for (code, _) in &closed {
            self.changed.insert(self.open.keys.retain(*code, 1, t));
        }
        closed
    }
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> WindowState<K, BySession<A>> for Sessions<K, A, F> {
    type Result = A;

    fn restored(&mut self, watermark: Watermark, t: BatchTime, shown: bool) -> Outcome<A> {
        let mut changes = Vec::new();
        if shown {
            let all = self.open.iter().flat_map(|(code, open)| open.0.iter().map(move |session| (code, session.clone())));
            changes.extend(all.map(|(code, session)| (self.in_window(code, session), 1)));
        }
        self.leaving = self.close(watermark.now, t);
        Outcome::restored(changes)
    }

    fn batch(&mut self, watermark: Watermark, t: BatchTime, rows: Vec<Rows<(K, BySession<A>)>>, shown: bool) -> Outcome<A> {
        // The results of the previous batch have been emitted with their keys.
        self.open.keys.reclaim(|_| true);
        let (mut changes, mut late, mut late_rows) = (Vec::new(), Vec::new(), 0);
        for (code, session) in std::mem::take(&mut self.leaving) {
            self.changed.insert(self.open.keys.retain(code, -1, t));
            if shown {
                changes.push((self.in_window(code, session), -1));
            }
        }
        for (key, sessions) in rows.into_iter().flat_map(Rows::take) {
            let code = self.open.keys.code(key, t);
            // Held until all are added, and released with it if all are late.
            self.open.keys.retain(code, 1, t);
            for session in sessions.0 {
                let near = self.near(code, &session);
                if near.is_empty() && session.last + self.gap <= watermark.before {
                    late_rows += session.rows;
                    late.push(self.in_window(code, session));
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
            self.open.keys.release(code, 1, t);
        }
        self.leaving = self.close(watermark.now, t);
        let closed = self.leaving.iter().map(|(code, session)| self.in_window(*code, session.clone())).collect();
        Outcome { changes, closed, late, late_rows }
    }

    fn group_and_key(&self, code: Code) -> (u64, &K) {
        self.open.keys.group_and_key(code)
    }
}

impl<K: Key, A: Exchange + PartialEq, F: Fn(A, A) -> A + 'static> KeyedState for Sessions<K, A, F> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cut = None;
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn held(&self) -> Held {
        self.open.held()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let (all, leaving) = (&self.open, &self.leaving);
        let cut = self.cut.get_or_insert_with(|| {
            let mut cut: ByGroup<Vec<_>> = ByGroup::default();
            let open = all.iter().flat_map(|(code, open)| open.0.iter().map(move |session| (code, session)));
            for (code, session) in open.chain(leaving.iter().map(|(code, session)| (*code, session))) {
                cut.of(all.keys.group_and_key(code).0).push((code, session.clone()));
            }
            cut
        });
        let of_group = cut.take(group);
        let mut of_group: Vec<_> = of_group.iter().map(|(code, session)| (all.keys.key(*code), session)).collect();
        of_group.sort_by(|a, b| (a.0, a.1.first).cmp(&(b.0, b.1.first)));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        const VALID: std::ops::Range<i64> = i64::MIN >> 2..i64::MAX >> 2;
        for (key, session) in postcard::from_bytes::<Vec<(K, Session<A>)>>(bytes)? {
            if !VALID.contains(&session.first) || !VALID.contains(&session.last) || session.rows > u64::MAX >> 10 {
                return Err("a session has no valid time, or too many rows".into());
            }
            let code = self.open.keys.code(key, cut);
            self.insert(code, session, cut);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Sessions::<String, i64, _>::new(KeyGroups::default(), 4, i64::wrapping_add), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::PartitionId;

    #[test]
    fn state_is_that_of_the_open_sessions() {
        let mut sessions: Sessions<i64, i64, _> = Sessions::new(KeyGroups::default(), 20, |a, b| a + b);
        for n in 0..20_000i64 {
            let (t, now) = (BatchTime::from_millis(n as u64 + 1), n * 10);
            let session = |time| BySession(vec![Session { first: time, last: time, rows: 1, result: 1 }]);
            // A new key, one that is joined, and a late one.
            let rows = vec![(n, session(now)), (n - 1, session(now)), (-n, session(now - 100))];
            let watermark = Watermark { before: now - 10, now, largest: Some(now) };
            let outcome = sessions.batch(watermark, t, vec![Rows::new(PartitionId::default(), rows)], n % 2 == 0);
            assert_eq!((outcome.late.len(), outcome.late_rows), (1, 1), "at {n}");
            assert!(sessions.open.iter().count() <= 5 && sessions.open.keys.codes() <= 12, "at {n}");
        }
    }
}
