//! The messages of a command on stderr: lines that stay, and, on a terminal, one live line that is redrawn in place.

use std::io::{IsTerminal, Write, stderr};

use crate::core::error::{Error, Result};
pub(crate) use crate::core::time::grouped;

/// The messages of a running command.
pub struct Terminal {
    live: bool,
    colour: bool,
    drawn: bool,
}

impl Terminal {
    /// Live if stderr is a terminal; coloured unless `NO_COLOR` is set.
    pub fn new() -> Self {
        let live = stderr().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Terminal { live, colour, drawn: false }
    }

    /// Whether the live line is drawn at all.
    pub fn live(&self) -> bool {
        self.live
    }

    /// Writes a line that stays.
    pub fn say(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(stderr(), "{line}");
    }

    /// Writes a line that stays, in another colour.
    pub fn whisper(&mut self, line: &str) {
        let line = if self.colour { format!("\x1b[36m{line}\x1b[0m") } else { line.to_string() };
        self.say(&line);
    }

    /// Replaces the live line.
    pub fn draw(&mut self, line: &str) {
        if self.live {
            let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(100usize);
            let line: String = line.chars().take(width.max(20) - 1).collect();
            let _ = write!(stderr(), "\r\x1b[2K{line}").and_then(|()| stderr().flush());
            self.drawn = true;
        }
    }

    /// Removes the live line, so that other lines can be written.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(stderr(), "\r\x1b[2K").and_then(|()| stderr().flush());
        }
    }
}

/// Lines on stdout. A closed pipe, as from `head`, is not an error.
///
/// # Errors
/// Stdout cannot be written.
pub fn line(text: &str) -> Result<()> {
    listened(writeln!(std::io::stdout(), "{text}")).map(|_| ())
}

/// Whether stdout was written: not if its pipe is closed, as from `head`.
///
/// # Errors
/// Stdout cannot be written.
pub fn listened(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::io("stdout", e)),
    }
}

/// Numbers as bars; the highest number has the tallest bar.
pub fn sparkline(numbers: impl IntoIterator<Item = u64>) -> String {
    const BARS: [char; 8] = ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
    let numbers: Vec<u64> = numbers.into_iter().collect();
    let most = numbers.iter().copied().max().unwrap_or(0).max(1);
    numbers.into_iter().map(|n| BARS[(n * 7).div_ceil(most).min(7) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_has_the_tallest_bar() {
        assert_eq!(sparkline([0, 1, 50, 100]), "\u{2581}\u{2582}\u{2585}\u{2588}");
        assert_eq!(sparkline([]), "");
    }
}
