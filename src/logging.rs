//! Log lines and the exit code of a program: what each `main` of this project does first and last.

use std::io::Write;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::core::error::BoxError;

/// Writes log lines to stderr: warnings and errors, or what `RUST_LOG` selects. Stdout stays free for results. Does nothing if the
/// program has installed a subscriber of its own.
///
/// ```
/// tidemill::logging::init();
/// tidemill::logging::init(); // the second call changes nothing
/// ```
pub fn init() {
    init_with("warn");
}

/// Like `init`, with the filter that holds when `RUST_LOG` is not set.
pub(crate) fn init_with(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A log line that cannot be written is dropped: reporting it would panic the thread that logs.
    let _ = format.log_internal_errors(false).try_init();
}

/// The exit code of a program: 0, or 1 after one line on stderr with the name of the program and the error.
///
/// ```no_run
/// # use tidemill::prelude::*;
/// # fn job() -> tidemill::Result<Summary> { todo!() }
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
