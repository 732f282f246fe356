//! Which files of a directory are ready: new since the start, and unchanged for one batch interval.
//!
//! A file is known by its identity, not by its name. So a renamed file is not read again, and a new file under an old name is read.
//! This file knows what a scan found; `source.rs` lists the directory and calls it. Times are those of the job's clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::connector::files::identity::{FileId, FileStamp, FileVersion, Found, Head};
use crate::connector::files::options::TextFileSource;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// `None`: it was read from a plan, or from a checkpoint of an older version, which have no identities.
    pub(super) id: Option<FileId>,
    pub(super) stamp: FileStamp,
    /// The beginning of the version that was planned.
    pub(super) head: Option<Head>,
    pub(super) state: State,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// It existed at the start and is not read unless it changes.
    Ignored,
    /// To be read after it has stayed unchanged long enough. `drained`: by the graceful stop that has begun.
    Waiting { since_ms: u64, warned: bool, drained: bool },
    /// In a plan.
    Planned { warned: bool },
}

impl Known {
    fn new(version: FileVersion, state: State) -> Self {
        Known { id: Some(version.id), stamp: version.stamp, head: None, state }
    }

    /// Whether the beginning is the one that was planned. `true` if nothing contradicts it.
    fn has_head(&self, name: &str, heads: &Heads) -> bool {
        self.head.is_none_or(|head| heads(name, head.len).map_or(true, |now| now == head))
    }

    /// Whether this is the file that now has the name which this one had.
    fn keeps_name(&self, now: FileVersion, name: &str, found: &[Found], heads: &Heads, whole: bool) -> bool {
        let moved = |found: &Found| found.1.as_ref().is_ok_and(|v| v.stamp == self.stamp);
        match self.id {
            Some(id) if id == now.id => self.stamp == now.stamp || self.has_head(name, heads),
            // Another inode, such as a copy that was moved back: the same version is the same file.
            _ if self.stamp == now.stamp => self.has_head(name, heads),
            Some(_) => false,
            None if whole => false,
            // No identity was saved. A file grows, unless the version that was read has another name now.
            None => now.stamp.size > self.stamp.size && !found.iter().any(moved),
        }
    }

    /// Whether this is the file that now has another name. A changed file must prove it: its inode may have been given to a new one.
    fn has_moved_to(&self, now: FileVersion, name: &str, heads: &Heads) -> bool {
        let proof = now.id.born_ns != 0 || self.head.is_some_and(|head| head.len == Head::MAX);
        self.stamp == now.stamp || proof && self.has_head(name, heads)
    }
}

/// Reads the beginning of a file; `Err`: why the file cannot be opened.
type Heads<'a> = dyn Fn(&str, u32) -> Result<Head, String> + 'a;

/// A file that left the directory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gone {
    pub(super) name: String,
    pub(super) known: Known,
    pub(super) since_ms: u64,
}

/// What an entry of a scan is.
enum Match {
    /// A known file, perhaps under another name than before.
    Same(Known),
    /// Another name of a file that has this name too.
    Link(String),
    New,
    /// It cannot be read. What was known of the name stays known.
    Unreadable(Option<Known>),
}

/// Which files are known, and which of them are ready. It does no I/O.
pub(super) struct DirectoryWatch {
    pub(super) files: TextFileSource,
    pub(super) settled_ms: u64,
    pub(super) batch_bytes: u64,
    /// The files of the directory that are read, or not read, for a reason.
    pub(super) known: BTreeMap<String, Known>,
    /// Files that left the directory, for as long as `remember` says.
    pub(super) gone: Vec<Gone>,
    /// Names that are not read and have had their warning.
    skipped: BTreeSet<String>,
    pub(super) started: bool,
    /// When the directory was last scanned.
    pub(super) last_ms: u64,
    /// Whether files are put as a whole, so that one that changes is another one, although no identity was saved.
    pub(super) whole: bool,
    /// In the first scan of a run that continues without a checkpoint: files changed before this time may be as old as the job.
    pub(super) ignored_before_ms: Option<i64>,
    draining: bool,
}

/// The result of a scan.
#[derive(Default)]
pub(super) struct Scan {
    /// Files for the next batch, in order.
    pub(super) ready: Vec<(String, FileStamp)>,
    pub(super) warnings: Vec<String>,
}

impl DirectoryWatch {
    /// A watch before its first scan.
    pub(super) fn new(files: TextFileSource, settled: Duration, batch_bytes: u64) -> Self {
        DirectoryWatch {
            files,
            settled_ms: settled.as_millis() as u64,
            batch_bytes,
            known: BTreeMap::new(),
            gone: Vec::new(),
            skipped: BTreeSet::new(),
            started: false,
            last_ms: 0,
            whole: false,
            ignored_before_ms: None,
            draining: false,
        }
    }

    /// Whether files of this name are read.
    pub(super) fn wants(&self, name: &str) -> bool {
        let hidden = name.rsplit('/').next().unwrap_or(name).starts_with(['.', '_']);
        let unfinished = name.ends_with(".tmp") || name.ends_with("._COPYING_");
        !hidden && !unfinished && (self.files.accept)(name)
    }

    /// From now on only files that already wait are read. Returns the time until all of them are ready, if they do not change.
    pub(super) fn begin_drain(&mut self, now_ms: u64) -> Duration {
        self.draining = true;
        let mut ready_ms = now_ms;
        for known in self.known.values_mut() {
            if let State::Waiting { since_ms, warned: false, drained } = &mut known.state
                && known.stamp.size > 0
            {
                *drained = true;
                ready_ms = ready_ms.max(*since_ms + self.settled_ms);
            }
        }
        Duration::from_millis(ready_ms - now_ms)
    }

    /// Of the files that waited at `begin_drain`: whether any is ready and not planned, and the names of those that changed.
    pub(super) fn pending(&self, now_ms: u64) -> (bool, Vec<&str>) {
        let mut changed = Vec::new();
        let mut pending = false;
        for (name, known) in &self.known {
            if let State::Waiting { since_ms, warned: false, drained: true } = known.state {
                let ready = self.has_settled(since_ms, now_ms);
                pending |= ready;
                changed.extend((!ready).then_some(&**name));
            }
        }
        (pending, changed)
    }

    /// Gives up the files that still change.
    pub(super) fn end_drain(&mut self) {
        for known in self.known.values_mut() {
            if let State::Waiting { drained, .. } = &mut known.state {
                *drained = false;
            }
        }
    }

    fn has_settled(&self, since_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(since_ms) >= self.settled_ms - self.settled_ms / 8
    }

    /// Compares the directory with the known files. `found` is in the order of names. The first scan is the start of the job and
    /// makes no file ready.
    pub(super) fn scan(&mut self, found: Vec<Found>, now_ms: u64, heads: &Heads) -> Scan {
        let mut scan = Scan::default();
        let matches = self.recognise(&found, heads);
        self.forget(&found, now_ms);
        let skipped = std::mem::take(&mut self.skipped);
        let mut too_old = 0;
        for ((name, version), is) in found.into_iter().zip(matches) {
            let wanted = self.wants(&name);
            let reason = match (&version, &is) {
                (Err(reason), _) => Some(reason.clone()),
                (_, Match::Link(other)) => Some(format!("it is the same file as {other}")),
                _ => None,
            };
            if let Some(reason) = reason.filter(|_| wanted) {
                if !skipped.contains(&name) {
                    scan.warnings.push(format!("{name} is not read: {reason}"));
                }
                self.skipped.insert(name.clone());
            }
            let known = match (is, version) {
                (Match::Same(known), Ok(version)) => self.step(&name, version, known, now_ms, &mut scan),
                (Match::New, Ok(version)) if wanted && !self.draining => Some(self.first(version, now_ms, &mut too_old)),
                (Match::Unreadable(known), _) => known,
                _ => None,
            };
            // A waiting file that got a name which is not read is new again under its next name.
            let known = known.filter(|k| wanted || !matches!(k.state, State::Waiting { .. }));
            self.known.extend(known.map(|known| (name, known)));
        }
        if too_old > 0 {
            let days = self.files.remember.as_secs_f64() / 86_400.0;
            scan.warnings.push(format!(
                "{too_old} files are not read: they changed last more than {days:.1} days ago, and the job ended before its first \
                 checkpoint, so they may have been there when it was first started; touch a file to have it read"
            ));
        }
        if self.started {
            self.take_ready(now_ms, heads, &mut scan);
        }
        (self.started, self.last_ms, self.ignored_before_ms) = (true, now_ms, None);
        scan
    }

    /// Finds out which entry is which known file: first those that keep their names, then those that were renamed. What is left in
    /// `known` is no longer in the directory.
    fn recognise(&mut self, found: &[Found], heads: &Heads) -> Vec<Match> {
        let mut names: HashMap<FileId, &str> = HashMap::new();
        let mut matches: Vec<Option<Match>> = Vec::with_capacity(found.len());
        for (name, version) in found {
            let is = match version {
                Err(_) => Some(Match::Unreadable(self.known.remove(name))),
                Ok(version) if self.known.get(name).is_some_and(|k| k.keeps_name(*version, name, found, heads, self.whole)) => {
                    names.insert(version.id, name);
                    self.known.remove(name).map(Match::Same)
                }
                Ok(_) => None,
            };
            matches.push(is);
        }
        let mut by_id: HashMap<FileId, String> = HashMap::new();
        let mut unnamed: Vec<String> = Vec::new();
        for (name, known) in &self.known {
            match known.id {
                Some(id) => drop(by_id.insert(id, name.clone())),
                None => unnamed.push(name.clone()),
            }
        }
        for ((name, version), is) in found.iter().zip(&mut matches) {
            let (None, Ok(version)) = (&is, version) else { continue };
            let before = match names.get(&version.id) {
                Some(other) => {
                    *is = Some(Match::Link((*other).to_owned()));
                    continue;
                }
                None => self.renamed(*version, name, &by_id, &mut unnamed, heads),
            };
            if before.is_some() || self.wants(name) {
                names.insert(version.id, name);
            }
            *is = Some(before.map_or(Match::New, Match::Same));
        }
        matches.into_iter().flatten().collect()
    }

    /// The known file that has this version under a new name.
    fn renamed(
        &mut self,
        version: FileVersion,
        name: &str,
        by_id: &HashMap<FileId, String>,
        unnamed: &mut Vec<String>,
        heads: &Heads,
    ) -> Option<Known> {
        if let Some(before) = by_id.get(&version.id)
            && self.known.get(before).is_some_and(|k| k.has_moved_to(version, name, heads))
        {
            return self.known.remove(before);
        }
        let moved = |gone: &Gone| gone.known.id == Some(version.id) && gone.known.has_moved_to(version, name, heads);
        if let Some(at) = self.gone.iter().position(moved) {
            return Some(self.gone.swap_remove(at).known);
        }
        // Objects are not renamed, and many are put in one second.
        let has_moved = |before: &String| !self.whole && self.known.get(before).is_some_and(|k| k.stamp == version.stamp);
        let at = unnamed.iter().position(has_moved)?;
        self.known.remove(&unnamed.swap_remove(at))
    }

    /// Moves what is left in `known` to `gone`, and forgets what has been gone for too long.
    fn forget(&mut self, found: &[Found], now_ms: u64) {
        for (name, known) in std::mem::take(&mut self.known) {
            if !matches!(known.state, State::Waiting { .. }) {
                self.gone.push(Gone { name, known, since_ms: now_ms });
            }
        }
        let remember_ms = self.files.remember.as_millis() as u64;
        self.gone.retain(|gone| now_ms.saturating_sub(gone.since_ms) < remember_ms);
        if !self.gone.is_empty() {
            // A file that was emptied and written again is a new one. Its earlier content is not coming back.
            let present: BTreeSet<u64> = found.iter().filter_map(|(_, v)| Some(v.as_ref().ok()?.id.inode)).collect();
            self.gone.retain(|gone| gone.known.id.is_none_or(|id| !present.contains(&id.inode)));
        }
    }

    /// The first state of a file.
    fn first(&self, version: FileVersion, now_ms: u64, too_old: &mut usize) -> Known {
        let old = self.ignored_before_ms.is_some_and(|horizon| version.stamp.modified_ms < horizon);
        *too_old += usize::from(old);
        let oldest_ms = |age: Duration| (now_ms as i64).saturating_sub(age.as_millis().try_into().unwrap_or(i64::MAX));
        let aged = self.files.max_age.is_some_and(|age| version.stamp.modified_ms < oldest_ms(age));
        let ignored = old || aged || !self.started && !self.files.existing;
        let waiting = State::Waiting { since_ms: now_ms, warned: false, drained: false };
        Known::new(version, if ignored { State::Ignored } else { waiting })
    }

    /// The next state of a known file.
    fn step(&self, name: &str, now: FileVersion, was: Known, now_ms: u64, scan: &mut Scan) -> Option<Known> {
        let same = was.stamp == now.stamp;
        let waiting = |drained| State::Waiting { since_ms: now_ms, warned: false, drained };
        let state = match was.state {
            state if same => state,
            State::Ignored if self.draining => return None,
            State::Ignored => waiting(false),
            State::Waiting { drained, .. } => waiting(drained),
            State::Planned { warned } => {
                // An object that was put again with the same content is no other one.
                if !warned && !self.whole {
                    let (a, b) = (was.stamp.size, now.stamp.size);
                    scan.warnings.push(format!(
                        "{name} changed after it was read ({a} bytes then, {b} now): it is not read again; move whole files in"
                    ));
                }
                State::Planned { warned: true }
            }
        };
        Some(Known { id: Some(now.id), stamp: now.stamp, head: was.head, state })
    }

    /// Plans the files that have settled: in order, and as many as fit into a batch.
    fn take_ready(&mut self, now_ms: u64, heads: &Heads, scan: &mut Scan) {
        let settled = |known: &Known| match known.state {
            State::Waiting { since_ms, drained, .. } => {
                known.stamp.size > 0 && (drained || !self.draining) && self.has_settled(since_ms, now_ms)
            }
            _ => false,
        };
        let ready = self.known.iter().filter(|(_, known)| settled(known));
        let mut ready: Vec<(i64, String)> = ready.map(|(name, known)| (known.stamp.modified_ms, name.clone())).collect();
        ready.sort_unstable();
        if self.files.newest_first {
            ready.reverse();
        }
        let mut bytes = 0u64;
        for (_, name) in ready {
            let Some(known) = self.known.get_mut(&name) else { continue };
            if self.files.max_files.is_some_and(|most| scan.ready.len() >= most) {
                break;
            }
            // A file that does not fit is first in the next batch: nothing overtakes it.
            if bytes > 0 && bytes.saturating_add(known.stamp.size) > self.batch_bytes {
                break;
            }
            match heads(&name, Head::MAX) {
                Ok(head) => {
                    (known.head, known.state) = (Some(head), State::Planned { warned: false });
                    bytes = bytes.saturating_add(known.stamp.size);
                    scan.ready.push((name, known.stamp));
                }
                Err(reason) => {
                    if let State::Waiting { warned, .. } = &mut known.state
                        && !std::mem::replace(warned, true)
                    {
                        scan.warnings.push(format!("{name} is not read until it can be opened: {reason}"));
                    }
                }
            }
        }
    }
}
