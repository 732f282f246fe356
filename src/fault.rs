//! Crash points: named places at which a test lets the process die as `kill -9` would, at the n-th pass.
//!
//! `TIDEMILL_CRASH_AT=plan.after:3` kills the process when it passes the point `plan.after` for the third time, and
//! `TIDEMILL_LOSE_AT=sink.commit:3` loses the third answer to a commit. Only with the feature `testing`; without it a point is
//! nothing at all.

/// A place to die at.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

/// Whether what another program answered here is to count as lost.
#[cfg(all(feature = "kafka", not(any(test, feature = "testing"))))]
#[inline(always)]
pub(crate) fn lost(_name: &str) -> bool {
    false
}

/// Whether what another program answered here is to count as lost.
#[cfg(all(feature = "kafka", any(test, feature = "testing")))]
pub(crate) fn lost(name: &str) -> bool {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static AIM: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| aim(&std::env::var("TIDEMILL_LOSE_AT").ok()?));
    aim.as_ref().is_some_and(|(at, n)| at == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *n)
}

/// A place to die at.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static AIM: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| {
        let text = std::env::var("TIDEMILL_CRASH_AT").ok()?;
        // A test whose crash never comes proves nothing.
        Some(aim(&text).unwrap_or_else(|| panic!("TIDEMILL_CRASH_AT={text}: write a crash point and a number, as plan.after:3")))
    });
    let Some((at, n)) = aim else { return };
    if at == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *n {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way; nothing may happen after the point.
        loop {
            std::thread::park();
        }
    }
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
    fn an_aim_is_a_name_and_a_number() {
        assert_eq!(aim("plan.after:3"), Some(("plan.after".into(), 3)));
        for no in ["plan.after", "plan.after:", "plan.after:0", "plan.after:x"] {
            assert_eq!(aim(no), None, "{no}");
        }
    }
}
