//! Fault points: named places at which a test kills or stops the process, loses an answer, or fails an operation on a file.
//!
//! | variable | effect |
//! |---|---|
//! | `TIDEMILL_CRASH_AT=plan.after:3` | kills the process (`kill -9`) when it passes the point `plan.after` for the third time |
//! | `TIDEMILL_STOP_AT=plan.after:3` | stops it there (SIGSTOP) until SIGCONT |
//! | `TIDEMILL_LOSE_AT=sink.commit:3` | treats the third answer to a commit as lost |
//! | `TIDEMILL_FAIL_AT=pieces.write:2-4:28` | fails the second to fourth write to a file of `pieces/` with error 28, disk full |
//! | `TIDEMILL_FAIL_AT=sync:1-9:500ms` | delays each of the first nine syncs by 500 ms |
//!
//! Fault points exist only with the feature `testing`, and `tidemill __faults` lists them. Without it a point compiles to nothing.

use std::io;
use std::path::Path;
#[cfg(any(test, feature = "testing"))]
use std::{
    ops::RangeInclusive,
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
};

/// Declares the points: variant, name, whether only the planner's process passes it, and how often scripts/torture lets it pass.
macro_rules! points {
    ($($variant:ident $name:literal $planner:literal $passes:literal,)*) => {
        /// A place at which a test can kill or stop the process.
        #[cfg_attr(not(all(feature = "kafka", any(test, feature = "testing"))), allow(dead_code, reason = "sinks of Kafka, and tests"))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum FaultPoint {
            $(#[doc = $name] $variant,)*
        }

        /// All points, with their names, whether only the planner's process passes them, and at most which pass scripts/torture
        /// aims at. 0: it does not.
        #[cfg(any(test, feature = "testing"))]
        pub(crate) const POINTS: &[(FaultPoint, &str, bool, u32)] = &[$((FaultPoint::$variant, $name, $planner, $passes),)*];
    };
}

points! {
    LeaseAfter "lease.after" true 1,
    ReplayBefore "replay.before" true 8,
    PlanBefore "plan.before" true 60,
    PlanWritten "plan.written" true 60,
    PlanAfter "plan.after" true 60,
    ComputeAfter "compute.after" true 60,
    ManifestBefore "manifest.before" true 4,
    ManifestAfter "manifest.after" true 4,
    CleanBefore "clean.before" true 4,
    CleanDelete "clean.delete" true 6,
    MeetAfter "meet.after" false 1,
    RestoreBefore "restore.before" false 2,
    RestorePiece "restore.piece" false 20,
    Read "read" false 200,
    Seal "seal" false 60,
    Close "close" false 60,
    Output "output" false 60,
    Cut "cut" false 4,
    PiecesPut "pieces.put" false 60,
    PiecesBefore "pieces.before" false 4,
    PiecesAfter "pieces.after" false 4,
    FileSynced "file.synced" false 6,
    FileNamed "file.named" false 6,
    SinkOpen "sink.open" false 1,
    SinkBegin "sink.begin" false 60,
    SinkCommitBefore "sink.commit.before" false 60,
    SinkCommitAfter "sink.commit.after" false 60,
    Offsets "offsets" false 3,
    GenesisBefore "genesis.before" true 0,
    GenesisAfter "genesis.after" true 0,
    ReceivedBefore "received.before" false 60,
    ReceivedWritten "received.written" false 60,
    ReceivedAfter "received.after" false 60,
    SaveBegin "save.begin" false 0,
    SavePart "save.part" false 0,
    SaveParts "save.parts" false 0,
    SaveAfter "save.after" false 0,
    SaveLog "save.log" false 0,
}

/// An answer of Kafka that a test can lose.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `sink.rows`: to the rows of a transaction.
    Rows,
    /// `sink.commit`: to its commit.
    Commit,
}

/// An operation on a file that a test can fail or delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileOperation {
    /// `probe`: creates a file to see whether the directory can be written.
    Probe,
    /// `make`: creates a file.
    Make,
    /// `write`
    Write,
    /// `sync`
    Sync,
    /// `append`: writes to the end of the plan log.
    Append,
    /// `append.sync`
    AppendSync,
    /// `save`: flushes a file of an output.
    Save,
}

/// Passes a point: kills or stops the process if a test says so.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn point(_point: FaultPoint) {}

/// The error that a test wants for this operation on this file.
#[cfg(not(any(test, feature = "testing")))]
#[inline(always)]
pub(crate) fn fails(_file: &Path, _operation: FileOperation) -> io::Result<()> {
    Ok(())
}

/// Whether a test wants this answer to be lost.
#[cfg(all(feature = "kafka", not(any(test, feature = "testing"))))]
#[inline(always)]
pub(crate) fn lost(_answer: Answer) -> bool {
    false
}

#[cfg(any(test, feature = "testing"))]
impl FaultPoint {
    fn named(name: &str) -> Option<Self> {
        POINTS.iter().find(|(_, known, ..)| *known == name).map(|(point, ..)| *point)
    }
}

#[cfg(all(feature = "kafka", any(test, feature = "testing")))]
impl Answer {
    fn named(name: &str) -> Option<Self> {
        [("sink.rows", Answer::Rows), ("sink.commit", Answer::Commit)].into_iter().find(|(n, _)| *n == name).map(|(_, a)| a)
    }
}

#[cfg(any(test, feature = "testing"))]
impl FileOperation {
    fn named(name: &str) -> Option<Self> {
        use FileOperation::*;
        let all = [("probe", Probe), ("make", Make), ("write", Write), ("sync", Sync)];
        let all = all.into_iter().chain([("append", Append), ("append.sync", AppendSync), ("save", Save)]);
        all.into_iter().find(|(n, _)| *n == name).map(|(_, operation)| operation)
    }
}

/// Passes a point: kills or stops the process if a test says so.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn point(point: FaultPoint) {
    use rustix::process::{Signal, getpid, kill_process};
    static AIM: OnceLock<Option<(Signal, (FaultPoint, u64))>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| {
        let aim = |text: &str| aim(text, FaultPoint::named);
        let by = |(variable, signal)| Some((signal, aimed(variable, aim, "plan.after:3")?));
        [("TIDEMILL_CRASH_AT", Signal::KILL), ("TIDEMILL_STOP_AT", Signal::STOP)].into_iter().find_map(by)
    });
    let Some((signal, (at, n))) = aim else { return };
    if hits(*at == point, &(*n..=*n), &PASSED) {
        let _ = kill_process(getpid(), *signal);
        // The signal arrives a moment later, and nothing after the point may happen before.
        loop {
            std::thread::sleep(std::time::Duration::from_millis(100));
            if *signal == Signal::STOP {
                return;
            }
        }
    }
}

/// The error that a test wants for this operation: on the files of one folder, as `pieces.write`, or on all, as `probe`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn fails(file: &Path, operation: FileOperation) -> io::Result<()> {
    static AIM: OnceLock<Option<Failure>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(aim) = AIM.get_or_init(|| aimed("TIDEMILL_FAIL_AT", failure, "pieces.write:2-4:28")) else { return Ok(()) };
    let folder = file.parent().and_then(Path::file_name).and_then(|f| f.to_str()).unwrap_or_default();
    let here = aim.operation == operation && aim.folder.as_deref().is_none_or(|aimed| aimed == folder);
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

/// Whether a test wants this answer to be lost.
#[cfg(all(feature = "kafka", any(test, feature = "testing")))]
pub(crate) fn lost(answer: Answer) -> bool {
    static AIM: OnceLock<Option<(Answer, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let aim = AIM.get_or_init(|| aimed("TIDEMILL_LOSE_AT", |text| aim(text, Answer::named), "sink.commit:3"));
    aim.as_ref().is_some_and(|(at, n)| hits(*at == answer, &(*n..=*n), &PASSED))
}

/// What goes wrong where, at which passes.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, PartialEq)]
struct Failure {
    /// `None`: of any folder.
    folder: Option<String>,
    operation: FileOperation,
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
    let (folder, operation) = match FileOperation::named(at) {
        Some(operation) => (None, operation),
        None => at.split_once('.').and_then(|(f, o)| Some((Some(f.to_owned()), FileOperation::named(o)?)))?,
    };
    let (first, last) = passes.split_once('-')?;
    let how = match how.strip_suffix("ms") {
        Some(ms) => How::Slow(std::time::Duration::from_millis(ms.parse().ok()?)),
        None => How::Error(how.parse().ok()?),
    };
    Some(Failure { folder, operation, passes: first.parse().ok()?..=last.parse().ok()?, how })
}

/// The value of a variable, if it is set. An unreadable one panics: a test whose fault never happens proves nothing.
#[cfg(any(test, feature = "testing"))]
fn aimed<T>(variable: &str, read: impl Fn(&str) -> Option<T>, like: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(read(&text).unwrap_or_else(|| panic!("{variable}={text}: write a name that exists, as {like}")))
}

/// Counts the passes of the aimed place; `true` at those that were chosen.
#[cfg(any(test, feature = "testing"))]
fn hits(here: bool, passes: &RangeInclusive<u64>, passed: &AtomicU64) -> bool {
    here && passes.contains(&(passed.fetch_add(1, Ordering::SeqCst) + 1))
}

#[cfg(any(test, feature = "testing"))]
fn aim<T>(text: &str, named: impl Fn(&str) -> Option<T>) -> Option<(T, u64)> {
    let (name, n) = text.rsplit_once(':')?;
    Some((named(name)?, n.parse().ok().filter(|n| *n > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_file_operation_passes_and_an_error_or_a_time() {
        let write = FileOperation::Write;
        let full = Failure { folder: Some("pieces".into()), operation: write, passes: 2..=4, how: How::Error(28) };
        assert_eq!(failure("pieces.write:2-4:28"), Some(full));
        let slow = How::Slow(std::time::Duration::from_millis(500));
        let sync = Failure { folder: None, operation: FileOperation::AppendSync, passes: 1..=9, how: slow };
        assert_eq!(failure("append.sync:1-9:500ms"), Some(sync));
        let made = failure("plans.append.sync:1-1:5").unwrap();
        assert_eq!((made.folder.as_deref(), made.operation), (Some("plans"), FileOperation::AppendSync));
        for no in ["pieces.write:2", "pieces.write:2-3", "pieces.write:2:28", "pieces.write:2-x:28", "a:1-2:3", "sync:1-2:xms"] {
            assert_eq!(failure(no), None, "{no}");
        }
    }

    #[test]
    fn an_aim_is_a_known_name_and_a_number() {
        assert_eq!(aim("plan.after:3", FaultPoint::named), Some((FaultPoint::PlanAfter, 3)));
        for no in ["plan.after", "plan.after:", "plan.after:0", "plan.after:x", "plan.afters:3"] {
            assert_eq!(aim(no, FaultPoint::named), None, "{no}");
        }
    }

    #[test]
    fn each_point_has_a_name_of_its_own() {
        for (point, name, ..) in POINTS {
            assert_eq!(FaultPoint::named(name), Some(*point), "{name}");
        }
    }
}
