//! Crash points: named places at which a test lets the process die as `kill -9` would, at the n-th pass.
//!
//! `TIDEMILL_CRASH_AT=plan.after:3` kills the process when it passes the point `plan.after` for the third time, `TIDEMILL_STOP_AT`
//! stops it there (SIGSTOP) until somebody continues it, `TIDEMILL_LOSE_AT=sink.commit:3` loses the third answer to a commit, and
//! `TIDEMILL_FAIL_AT=pieces.write:2-4:28` has the second to fourth write to a file of `pieces/` fail with the system's error 28, a full
//! disk (`:500ms`: take so long). Only with the feature `testing`; without it a point is nothing at all.

use std::io;
use std::path::Path;
#[cfg(any(test, feature = "testing"))]
use std::{
    ops::RangeInclusive,
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
};

/// A place to die at.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

/// What the system says instead of doing it to this file.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn fails(_file: &Path, _what: &str) -> io::Result<()> {
    Ok(())
}

/// What the system says instead of doing it to this file: to one of a folder, as `pieces.write`, or to any, as `probe`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn fails(file: &Path, what: &str) -> io::Result<()> {
    static AIM: OnceLock<Option<Failure>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(aim) = AIM.get_or_init(|| aimed("TIDEMILL_FAIL_AT", failure, "pieces.write:2-4:28")) else { return Ok(()) };
    let folder = file.parent().and_then(Path::file_name).and_then(|f| f.to_str()).unwrap_or_default();
    let here = aim.at == what || aim.at.strip_prefix(folder).and_then(|rest| rest.strip_prefix('.')) == Some(what);
    if !hits(here, &aim.passes, &PASSED) {
        return Ok(());
    }
    match aim.how {
        How::Error(n) => Err(io::Error::from_raw_os_error(n)),
        How::Slow(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

/// What goes wrong where, at which passes.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, PartialEq)]
struct Failure {
    at: String,
    passes: RangeInclusive<u64>,
    how: How,
}

#[cfg(any(test, feature = "testing"))]
#[derive(Debug, PartialEq)]
enum How {
    Error(i32),
    Slow(std::time::Duration),
}

#[cfg(any(test, feature = "testing"))]
fn failure(text: &str) -> Option<Failure> {
    let [at, passes, how] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (first, last) = passes.split_once('-')?;
    let how = match how.strip_suffix("ms") {
        Some(ms) => How::Slow(std::time::Duration::from_millis(ms.parse().ok()?)),
        None => How::Error(how.parse().ok()?),
    };
    Some(Failure { at: at.into(), passes: first.parse().ok()?..=last.parse().ok()?, how })
}

/// Whether what another program answered here is to count as lost.
#[cfg(all(feature = "kafka", not(any(test, feature = "testing"))))]
#[inline(always)]
pub(crate) fn lost(_name: &str) -> bool {
    false
}

/// Whether what another program answered here is to count as lost.
#[cfg(all(feature = "kafka", any(test, feature = "testing")))]
pub(crate) fn lost(name: &str) -> bool {
    static AIM: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| aimed("TIDEMILL_LOSE_AT", aim, "sink.commit:3"));
    aim.as_ref().is_some_and(|(at, n)| hits(at == name, &(*n..=*n), &PASSED))
}

/// A place to die at, or to stop at until somebody says to go on.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    static AIM: OnceLock<Option<(Signal, (String, u64))>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| {
        let by = |(variable, signal)| Some((signal, aimed(variable, aim, "plan.after:3")?));
        [("TIDEMILL_CRASH_AT", Signal::KILL), ("TIDEMILL_STOP_AT", Signal::STOP)].into_iter().find_map(by)
    });
    let Some((signal, (at, n))) = aim else { return };
    if hits(at == name, &(*n..=*n), &PASSED) {
        let _ = kill_process(getpid(), *signal);
        // The signal is on its way; nothing may happen after the point before it is here.
        loop {
            std::thread::sleep(std::time::Duration::from_millis(100));
            if *signal == Signal::STOP {
                return;
            }
        }
    }
}

/// What a variable says, if it is there. What cannot be read is the end: a test whose fault never comes proves nothing.
#[cfg(any(test, feature = "testing"))]
fn aimed<T>(variable: &str, read: impl Fn(&str) -> Option<T>, like: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(read(&text).unwrap_or_else(|| panic!("{variable}={text}: write it as {like}")))
}

/// Counts the passes of the place that is aimed at; whether this is one of those that are meant.
#[cfg(any(test, feature = "testing"))]
fn hits(here: bool, passes: &RangeInclusive<u64>, passed: &AtomicU64) -> bool {
    here && passes.contains(&(passed.fetch_add(1, Ordering::SeqCst) + 1))
}

#[cfg(any(test, feature = "testing"))]
fn aim(text: &str) -> Option<(String, u64)> {
    let (name, n) = text.rsplit_once(':')?;
    Some((name.to_owned(), n.parse().ok().filter(|n| *n > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_place_passes_and_an_error_or_a_time() {
        let full = Failure { at: "pieces.write".into(), passes: 2..=4, how: How::Error(28) };
        assert_eq!(failure("pieces.write:2-4:28"), Some(full));
        let slow = std::time::Duration::from_millis(500);
        assert_eq!(failure("sync:1-9:500ms"), Some(Failure { at: "sync".into(), passes: 1..=9, how: How::Slow(slow) }));
        for no in ["pieces.write:2", "pieces.write:2-3", "pieces.write:2:28", "pieces.write:2-x:28", "a:1-2:3:4", "a:1-2:xms"] {
            assert_eq!(failure(no), None, "{no}");
        }
    }

    #[test]
    fn an_aim_is_a_name_and_a_number() {
        assert_eq!(aim("plan.after:3"), Some(("plan.after".into(), 3)));
        for no in ["plan.after", "plan.after:", "plan.after:0", "plan.after:x"] {
            assert_eq!(aim(no), None, "{no}");
        }
    }
}
