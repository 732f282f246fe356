//! Log lines and the exit code of a program. `Builder::run` and `start` set up the same log lines where the program has none.

use std::io::Write;
use std::process::ExitCode;

use tracing_subscriber::fmt::format::{DefaultFields, Full, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};
use tracing_subscriber::{EnvFilter, fmt};

use crate::core::clock::wall_ms;
use crate::core::error::BoxError;
use crate::core::time::zoned;

/// The default filter, which `RUST_LOG` replaces.
const USUAL: &str = "warn,tidemill=info";

/// Writes log lines to stderr: those of tidemill from level info on, warnings and errors of others, or what `RUST_LOG` selects.
/// Stdout stays free for results. Does nothing if the program has installed a subscriber of its own.
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
    let _ = set_up(usual, std::io::stderr).try_init();
}

/// What a job does at its start: like `init`, if the program has set no subscriber.
pub(crate) fn init_for_job() {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    #[cfg(not(any(test, feature = "testing")))]
    let writer = std::io::stderr;
    // Under `cargo test` the lines of a test are shown if it fails, and do not flood the terminal.
    #[cfg(any(test, feature = "testing"))]
    let writer = || Captured;
    // The logger of the crate `log` stays free for the program, which may set it later.
    let _ = tracing::subscriber::set_global_default(set_up(USUAL, writer).finish());
}

type Format<W> = SubscriberBuilder<DefaultFields, fmt::format::Format<Full, LocalTime>, EnvFilter, W>;

fn set_up<W: for<'w> MakeWriter<'w> + Send + Sync + 'static>(usual: &str, writer: W) -> Format<W> {
    let selected = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = selected.and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new(usual));
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let format = fmt().with_env_filter(filter).with_timer(LocalTime).with_writer(writer).with_ansi(colour);
    // A log line that cannot be written is dropped: reporting it would panic the thread that logs.
    format.log_internal_errors(false)
}

/// The time of a log line: `2026-11-28T21:00:05.123+01:00`. Local, as the batch times that jobs print.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        write!(to, "{}", zoned(wall_ms(), jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
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
    let _ = std::io::stderr().write_all(words.as_bytes());
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
