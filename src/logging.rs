//! Log lines and the exit code of a program. `Builder::run` and `start` set up the same log lines where the program has none.
//!
//! From the start of a job on, its arguments (`--quiet`, `--log json`) apply to all log lines of the process, because a program may have
//! called `init` earlier. The live line of `--status` stays below the log lines.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{DefaultFields, Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, MakeWriter, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt};

use crate::core::clock::wall_ms;
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::time::zoned;
use crate::core::time_zone;

/// The default filter, which `RUST_LOG` replaces.
const USUAL: &str = "warn,tidemill=info";

/// Whether log lines are JSON, and whether only warnings and errors are written.
static JSON: AtomicBool = AtomicBool::new(false);
static QUIET: AtomicBool = AtomicBool::new(false);
/// Where a thread is in a program.
static PLACE: OnceLock<fn() -> Option<Place>> = OnceLock::new();
/// The live line on stderr. Empty: there is none.
static LIVE: Mutex<String> = Mutex::new(String::new());

/// How log lines are written: the values of `--log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, target, message.
    #[default]
    Text,
    /// For programs: one JSON object a line, with the fields `time`, `level`, `target`, `message` and those of the event.
    Json,
}

/// Writes log lines to stderr: those of tidemill from level info on, warnings and errors of others, or what `RUST_LOG` selects.
/// Stdout stays free for results. Does nothing if the program has installed its own subscriber.
///
/// [`Builder::run`](crate::api::context::Builder::run) and `start` do the same. A program calls this to log before its job starts.
///
/// ```
/// tidemill::logging::init();
/// tidemill::logging::init(); // the second call changes nothing
/// ```
pub fn init() {
    init_with(USUAL);
}

/// Like `init`, with the filter that holds when `RUST_LOG` is not set.
pub(crate) fn init_with(usual: &str) {
    // Lines of the crate `log` are shown, too.
    let _ = set_up(usual, || AboveLive).try_init();
}

/// Sets how all log lines of this process are written from now on: the arguments of a job.
pub(crate) fn write_lines(format: LogFormat, quiet: bool) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    QUIET.store(quiet, Ordering::Relaxed);
}

/// The operator that a worker runs, and its batch in milliseconds since 1970.
pub(crate) struct Place {
    pub operator: String,
    pub batch: Option<u64>,
    pub worker: usize,
}

/// From now on `of` tells where the calling thread is.
pub(crate) fn know_places(of: fn() -> Option<Place>) {
    // It is always the same function.
    let _ = PLACE.set(of);
}

/// What a job does at its start: like `init`, if the program has set no subscriber.
pub(crate) fn init_for_job() {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    #[cfg(not(any(test, feature = "testing")))]
    let writer = || AboveLive;
    // Under `cargo test` the lines of a test are shown if it fails, and do not flood the terminal.
    #[cfg(any(test, feature = "testing"))]
    let writer = || Captured;
    // The logger of the crate `log` stays free for the program, which may set it later.
    let _ = tracing::subscriber::set_global_default(set_up(USUAL, writer).finish());
}

type SetUp<W> = SubscriberBuilder<DefaultFields, Lines, EnvFilter, W>;

fn set_up<W: for<'w> MakeWriter<'w> + Send + Sync + 'static>(usual: &str, writer: W) -> SetUp<W> {
    let selected = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = selected.and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new(usual));
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let set_up = fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    // A log line that cannot be written is dropped: reporting it would panic the thread that logs.
    set_up.log_internal_errors(false).event_format(Lines { text: fmt::format().with_timer(LocalTime) })
}

/// The format of log lines.
struct Lines {
    text: Format<Full, LocalTime>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let level = event.metadata().level();
        if QUIET.load(Ordering::Relaxed) && *level > Level::WARN {
            return Ok(());
        }
        if !JSON.load(Ordering::Relaxed) {
            return self.text.format_event(context, to, event);
        }
        let mut line = JsonLine(Map::new());
        line.0.insert("time".into(), local_time().into());
        line.0.insert("level".into(), level.as_str().into());
        line.0.insert("target".into(), event.metadata().target().into());
        // A line of the program itself, from a function that a worker runs. Lines of tidemill name what they are about.
        if !event.metadata().target().starts_with("tidemill")
            && let Some(place) = PLACE.get().and_then(|of| of())
        {
            line.0.insert("operator".into(), place.operator.into());
            line.0.insert("batch".into(), place.batch.into());
            line.0.insert("worker".into(), place.worker.into());
        }
        event.record(&mut line);
        writeln!(to, "{}", Value::Object(line.0))
    }
}

/// The fields of an event as a JSON object.
struct JsonLine(Map<String, Value>);

impl JsonLine {
    fn put(&mut self, field: &Field, value: Value) {
        // Lines of the crate `log` say in such fields where they are from.
        match field.name().strip_prefix("log.") {
            Some("target") => self.0.insert("target".into(), value),
            Some(_) => None,
            None => self.0.insert(field.name().into(), value),
        };
    }
}

impl Visit for JsonLine {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// Stderr above the live line.
struct AboveLive;

impl Write for AboveLive {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        above_live(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Shows a line on stderr in the place of the previous one. An empty line removes it. Only for a terminal.
pub(crate) fn show_live(line: String) {
    let mut live = lock(&LIVE);
    if line != *live {
        redraw(&line);
        *live = line;
    }
}

fn redraw(line: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[2K{line}").and_then(|()| std::io::stderr().flush());
}

/// Writes whole lines to stdout or stderr, above the live line if there is one.
pub(crate) fn above_live<R>(write: impl FnOnce() -> R) -> R {
    let live = lock(&LIVE);
    if live.is_empty() {
        // The reader of a pipe may pause. Log lines must not wait for it.
        drop(live);
        return write();
    }
    redraw("");
    let written = write();
    redraw(&live);
    written
}

/// The time of a log line: `2026-11-28T21:00:05.123+01:00`. Local, as the batch times that jobs print.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        to.write_str(&local_time())
    }
}

fn local_time() -> String {
    zoned(wall_ms(), time_zone::shown()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Writes to the captured output of a test.
#[cfg(any(test, feature = "testing"))]
struct Captured;

#[cfg(any(test, feature = "testing"))]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // `eprint!` panics if stderr is closed.
        let written = std::panic::catch_unwind(|| eprint!("{}", String::from_utf8_lossy(bytes)));
        written.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The exit code of a program: 0, or 1 after one line on stderr with the name of the program and the error.
///
/// ```no_run
/// # use tidemill::prelude::*;
/// # fn job() -> tidemill::Result<Summary> { StreamingContext::builder("job", secs(1)).run(|_| Ok(())) }
/// fn main() -> std::process::ExitCode {
///     tidemill::logging::init();
///     tidemill::logging::exit(job())
/// }
/// ```
pub fn exit<T, E: Into<BoxError>>(result: Result<T, E>) -> ExitCode {
    let Err(e) = result else { return ExitCode::SUCCESS };
    let program = std::env::args_os().next();
    let program = program.as_ref().and_then(|p| std::path::Path::new(p).file_stem()).unwrap_or("tidemill".as_ref());
    let words = format!("{}: {}\n", program.display(), one_line(&e.into().to_string()));
    // If stderr is closed, the exit code still tells.
    let _ = above_live(|| std::io::stderr().write_all(words.as_bytes()));
    ExitCode::FAILURE
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line() {
        assert_eq!(one_line("a\n  b\n\nc"), "a; b; c");
    }
}
