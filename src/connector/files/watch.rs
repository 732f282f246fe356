//! Which files of a directory are ready: new since the start, and unchanged for one batch interval.
//!
//! This file knows only names and stamps; `source.rs` lists the directory and calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::connector::files::source::TextFileSource;

/// The version of a file that a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) size: u64,
    pub(super) modified_ms: i64,
}

impl FileStamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        FileStamp { size: meta.len(), modified_ms: modified.map_or(0, |d| d.as_millis() as i64) }
    }
}

/// An entry of the directory; `Err`: why it is not read.
pub(super) type Found = (String, std::result::Result<FileStamp, String>);

/// The state of a file name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// It existed at the start and is not read unless it changes.
    Ignored(FileStamp),
    /// To be read after it has stayed unchanged long enough.
    Waiting { stamp: FileStamp, since: Instant, warned: bool },
    /// In a plan.
    Planned { stamp: FileStamp, warned: bool },
    /// It cannot be read; a warning was logged.
    Skipped,
}

/// Which names are known, and which of them are ready. Does no I/O, except for the test whether a file opens.
pub(super) struct DirectoryWatch {
    pub(super) files: TextFileSource,
    pub(super) settled: Duration,
    pub(super) batch_bytes: u64,
    pub(super) known: BTreeMap<String, Known>,
    pub(super) started: bool,
    /// When the directory was last scanned.
    pub(super) last_ms: u64,
    /// In a graceful stop: the files that still wait. No other file is read.
    pub(super) draining: Option<BTreeSet<String>>,
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
        DirectoryWatch { files, settled, batch_bytes, known: BTreeMap::new(), started: false, last_ms: 0, draining: None }
    }

    /// Continues after a restart. Files other than these `seen` ones appeared in the meantime.
    pub(super) fn restore(&mut self, last_ms: u64, seen: impl IntoIterator<Item = (String, u64, i64)>) {
        let planned =
            |(name, size, modified_ms)| (name, Known::Planned { stamp: FileStamp { size, modified_ms }, warned: false });
        self.known.extend(seen.into_iter().map(planned));
        (self.started, self.last_ms) = (true, last_ms);
    }

    /// Files that are not read again, in the version that was seen.
    pub(super) fn seen(&self) -> impl Iterator<Item = (String, u64, i64)> {
        self.known.iter().filter_map(|(name, known)| match known {
            Known::Ignored(stamp) | Known::Planned { stamp, .. } => Some((name.clone(), stamp.size, stamp.modified_ms)),
            Known::Waiting { .. } | Known::Skipped => None,
        })
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        let hidden = name.starts_with(['.', '_']);
        let unfinished = name.ends_with(".tmp") || name.ends_with("._COPYING_");
        let late = self.draining.as_ref().is_some_and(|last| !last.contains(name));
        !hidden && !unfinished && !late && (self.files.accept)(name)
    }

    /// From now on only files that already wait are read. Returns the time until all of them are ready, if they do not change.
    pub(super) fn begin_drain(&mut self, now: Instant) -> Duration {
        let waiting = self.known.iter().filter_map(|(name, known)| match known {
            Known::Waiting { stamp, since, warned: false } if stamp.size > 0 => Some((name.clone(), *since)),
            _ => None,
        });
        let waiting: Vec<_> = waiting.collect();
        let ready = waiting.iter().map(|(_, since)| *since + self.settled).max();
        self.draining = Some(waiting.into_iter().map(|(name, _)| name).collect());
        ready.map_or(Duration::ZERO, |ready| ready.saturating_duration_since(now))
    }

    /// Of the files that waited at `begin_drain`: whether any is ready and not planned, and the names of those that changed.
    pub(super) fn pending(&self, now: Instant) -> (bool, Vec<&str>) {
        let mut changed = Vec::new();
        let mut pending = false;
        for name in self.draining.iter().flatten() {
            if let Some(Known::Waiting { since, warned: false, .. }) = self.known.get(name) {
                let ready = self.has_settled(*since, now);
                pending |= ready;
                changed.extend((!ready).then_some(&**name));
            }
        }
        (pending, changed)
    }

    fn has_settled(&self, since: Instant, now: Instant) -> bool {
        now - since >= self.settled - self.settled / 8
    }

    /// Compares the directory with the known files. The first scan is the start of the job and makes no file ready.
    pub(super) fn scan(
        &mut self,
        found: Vec<Found>,
        now: Instant,
        now_ms: u64,
        opens: impl Fn(&str) -> Result<(), String>,
    ) -> Scan {
        let mut scan = Scan::default();
        // The age counts from the previous scan. A late scan must not make a file that appeared since too old.
        let horizon = (self.last_ms as i64).saturating_sub(self.files.remember.as_millis().min(i64::MAX as u128) as i64);
        let mut before = std::mem::take(&mut self.known);
        let mut ready = Vec::new();
        for (name, stamp) in found {
            let known = before.remove(&name);
            if !self.wants(&name) {
                // Files that appeared after the drain began are not read. Files that were read stay known.
                self.known.extend(known.map(|known| (name, known)));
                continue;
            }
            let known = match stamp {
                Err(reason) => {
                    if known != Some(Known::Skipped) {
                        scan.warnings.push(format!("{name} is not read: {reason}"));
                    }
                    Some(Known::Skipped)
                }
                Ok(stamp) => self.step(&name, stamp, known, now, horizon, &mut scan),
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
                    scan.ready.push((name.clone(), stamp));
                    Known::Planned { stamp, warned: false }
                }
                Some(Err(reason)) => {
                    if !warned {
                        scan.warnings.push(format!("{name} is not read until it can be opened: {reason}"));
                    }
                    Known::Waiting { stamp, since, warned: true }
                }
                None => {
                    // This keeps the order: a file that does not fit is first in the next batch.
                    bytes = self.batch_bytes.max(1);
                    Known::Waiting { stamp, since, warned }
                }
            };
            self.known.insert(name, known);
        }
        self.started = true;
        self.last_ms = now_ms;
        scan
    }

    /// The next state of a plain file; `None`: it is too old to remember.
    pub(super) fn step(
        &self,
        name: &str,
        stamp: FileStamp,
        known: Option<Known>,
        now: Instant,
        horizon: i64,
        scan: &mut Scan,
    ) -> Option<Known> {
        let aged = stamp.modified_ms < horizon;
        let waiting = Known::Waiting { stamp, since: now, warned: false };
        match known {
            None | Some(Known::Skipped) if !self.started => {
                Some(if self.files.existing { waiting } else { Known::Ignored(stamp) })
            }
            None | Some(Known::Skipped) => (!aged).then_some(waiting),
            Some(Known::Ignored(was)) if was == stamp => (!aged).then_some(Known::Ignored(was)),
            Some(Known::Ignored(_)) => Some(waiting),
            Some(Known::Waiting { stamp: was, .. }) if was != stamp => Some(waiting),
            Some(Known::Planned { stamp: was, warned }) if was != stamp => {
                if !warned {
                    let (a, b) = (was.size, stamp.size);
                    scan.warnings.push(format!(
                        "{name} changed after it was read ({a} bytes then, {b} now): it is not read again; move whole files in"
                    ));
                }
                Some(Known::Planned { stamp, warned: true })
            }
            Some(Known::Planned { .. }) if aged => None,
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
            Ok(meta) if meta.is_file() => Ok(FileStamp::of(&meta)),
            Ok(meta) if meta.is_dir() => Err("it is a directory, and sub-directories are not read".into()),
            Ok(_) => Err("it is not a plain file".into()),
            // Deleted since it was listed. A dangling link still exists, and is reported.
            Err(e) if e.kind() == ErrorKind::NotFound && std::fs::symlink_metadata(entry.path()).is_err() => continue,
            Err(e) => Err(e.to_string()),
        };
        found.push((name, stamp));
    }
    Ok(found)
}
