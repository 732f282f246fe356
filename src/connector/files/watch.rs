//! Which files of a directory are ready: new since the start, and unchanged for one batch interval.
//!
//! Knows names and stamps only; `text_files.rs` looks into the directory and asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::connector::files::source::TextFileSource;

/// A file as a plan knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) modified_ms: i64,
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Stamp { size: meta.len(), modified_ms: modified.map_or(0, |d| d.as_millis() as i64) }
    }
}

/// One entry of the directory; `Err`: why it is not read.
pub(super) type Found = (String, std::result::Result<Stamp, String>);

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// There at the start, and not to be read as it was.
    Old(Stamp),
    /// To be read when it has settled.
    Waiting { stamp: Stamp, since: Instant, warned: bool },
    /// In a plan.
    Taken { stamp: Stamp, warned: bool },
    /// Nothing to read: warned about.
    Skipped,
}

/// What the planner remembers: does no I/O but for the test whether a file opens.
pub(super) struct Watch {
    pub(super) files: TextFileSource,
    pub(super) settled: Duration,
    pub(super) batch_bytes: u64,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) started: bool,
    /// When the directory was last looked into.
    pub(super) last_ms: u64,
    /// The files that wait, of which nothing is read after them: the job is being stopped.
    pub(super) closing: Option<BTreeSet<String>>,
}

/// What a look into the directory came to.
#[derive(Default)]
pub(super) struct Look {
    pub(super) taken: Vec<(String, Stamp)>,
    pub(super) warnings: Vec<String>,
}

impl Watch {
    /// Goes on after a restart: these have been seen, and whatever else is there came since.
    pub(super) fn resume(&mut self, last_ms: u64, seen: impl IntoIterator<Item = (String, u64, i64)>) {
        let taken = |(name, size, modified_ms)| (name, Known::Taken { stamp: Stamp { size, modified_ms }, warned: false });
        self.known.extend(seen.into_iter().map(taken));
        (self.started, self.last_ms) = (true, last_ms);
    }

    /// Names that will not be read again, as they were seen.
    pub(super) fn seen(&self) -> impl Iterator<Item = (String, u64, i64)> {
        self.known.iter().filter_map(|(name, known)| match known {
            Known::Old(stamp) | Known::Taken { stamp, .. } => Some((name.clone(), stamp.size, stamp.modified_ms)),
            Known::Waiting { .. } | Known::Skipped => None,
        })
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        let hidden = name.starts_with(['.', '_']);
        let unfinished = name.ends_with(".tmp") || name.ends_with("._COPYING_");
        let late = self.closing.as_ref().is_some_and(|last| !last.contains(name));
        !hidden && !unfinished && !late && (self.files.accept)(name)
    }

    /// No other file is read than those that wait. Returns how long until all of them are ready, if they do not change.
    pub(super) fn close(&mut self, now: Instant) -> Duration {
        let waiting = self.known.iter().filter_map(|(name, known)| match known {
            Known::Waiting { stamp, since, warned: false } if stamp.size > 0 => Some((name.clone(), *since)),
            _ => None,
        });
        let waiting: Vec<_> = waiting.collect();
        let ready = waiting.iter().map(|(_, since)| *since + self.settled).max();
        self.closing = Some(waiting.into_iter().map(|(name, _)| name).collect());
        ready.map_or(Duration::ZERO, |ready| ready.saturating_duration_since(now))
    }

    /// Of those that waited when the watch was closed: whether some are ready still, and the names of those that changed.
    pub(super) fn left(&self, now: Instant) -> (bool, Vec<&str>) {
        let mut changed = Vec::new();
        let mut more = false;
        for name in self.closing.iter().flatten() {
            if let Some(Known::Waiting { since, warned: false, .. }) = self.known.get(name) {
                let ready = self.has_settled(*since, now);
                more |= ready;
                changed.extend((!ready).then_some(&**name));
            }
        }
        (more, changed)
    }

    fn has_settled(&self, since: Instant, now: Instant) -> bool {
        now - since >= self.settled - self.settled / 8
    }

    /// Compares the directory with what is known. The first look is the start of the job and takes nothing.
    pub(super) fn look(
        &mut self,
        found: Vec<Found>,
        now: Instant,
        now_ms: u64,
        opens: impl Fn(&str) -> Result<(), String>,
    ) -> Look {
        let mut look = Look::default();
        // Counted from the last look: a file that came since is not too old because this look is late.
        let horizon = (self.last_ms as i64).saturating_sub(self.files.remember.as_millis().min(i64::MAX as u128) as i64);
        let mut before = std::mem::take(&mut self.known);
        let mut ready = Vec::new();
        for (name, stamp) in found {
            let known = before.remove(&name);
            if !self.wants(&name) {
                // What came too late for a stop is not read, and what was read is not forgotten.
                self.known.extend(known.map(|known| (name, known)));
                continue;
            }
            let known = match stamp {
                Err(reason) => {
                    if known != Some(Known::Skipped) {
                        look.warnings.push(format!("{name} is not read: {reason}"));
                    }
                    Some(Known::Skipped)
                }
                Ok(stamp) => self.step(&name, stamp, known, now, horizon, &mut look),
            };
            let Some(known) = known else { continue };
            if let Known::Waiting { stamp, since, warned } = known
                && self.started
                && stamp.size > 0
                && self.has_settled(since, now)
            {
                ready.push((stamp, name, since, warned));
            } else {
                self.known.insert(name, known);
            }
        }
        ready.sort_by(|(a, name, ..), (b, other, ..)| (a.modified_ms, name).cmp(&(b.modified_ms, other)));
        let mut bytes = 0u64;
        for (stamp, name, since, warned) in ready {
            let fits = bytes == 0 || bytes.saturating_add(stamp.size) <= self.batch_bytes;
            let known = match fits.then(|| opens(&name)) {
                Some(Ok(())) => {
                    bytes = bytes.saturating_add(stamp.size);
                    look.taken.push((name.clone(), stamp));
                    Known::Taken { stamp, warned: false }
                }
                Some(Err(reason)) => {
                    if !warned {
                        look.warnings.push(format!("{name} is not read until it can be opened: {reason}"));
                    }
                    Known::Waiting { stamp, since, warned: true }
                }
                None => {
                    // Order is kept: what does not fit is first in the next batch.
                    bytes = self.batch_bytes.max(1);
                    Known::Waiting { stamp, since, warned }
                }
            };
            self.known.insert(name, known);
        }
        self.started = true;
        self.last_ms = now_ms;
        look
    }

    /// What becomes of a plain file; `None`: it is too old to be remembered.
    pub(super) fn step(
        &self,
        name: &str,
        stamp: Stamp,
        known: Option<Known>,
        now: Instant,
        horizon: i64,
        look: &mut Look,
    ) -> Option<Known> {
        let aged = stamp.modified_ms < horizon;
        let waiting = Known::Waiting { stamp, since: now, warned: false };
        match known {
            None | Some(Known::Skipped) if !self.started => Some(if self.files.existing { waiting } else { Known::Old(stamp) }),
            None | Some(Known::Skipped) => (!aged).then_some(waiting),
            Some(Known::Old(was)) if was == stamp => (!aged).then_some(Known::Old(was)),
            Some(Known::Old(_)) => Some(waiting),
            Some(Known::Waiting { stamp: was, .. }) if was != stamp => Some(waiting),
            Some(Known::Taken { stamp: was, warned }) if was != stamp => {
                if !warned {
                    let (a, b) = (was.size, stamp.size);
                    look.warnings.push(format!(
                        "{name} changed after it was read ({a} bytes then, {b} now): it is not read again; move whole files in"
                    ));
                }
                Some(Known::Taken { stamp, warned: true })
            }
            Some(Known::Taken { .. }) if aged => None,
            same => same,
        }
    }
}

/// The entries of a directory, and what they are.
pub(super) fn list(dir: &Path) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                found.push((name.to_string_lossy().into_owned(), Err("its name is not UTF-8".into())));
                continue;
            }
        };
        let stamp = match std::fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() => Ok(Stamp::of(&meta)),
            Ok(meta) if meta.is_dir() => Err("it is a directory, and sub-directories are not read".into()),
            Ok(_) => Err("it is no plain file".into()),
            // Gone since it was listed; a link to nowhere is there and stays.
            Err(e) if e.kind() == ErrorKind::NotFound && std::fs::symlink_metadata(entry.path()).is_err() => continue,
            Err(e) => Err(e.to_string()),
        };
        found.push((name, stamp));
    }
    Ok(found)
}
