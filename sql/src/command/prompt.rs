//! Statements that are typed.

use std::io::Write;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tidemill::prelude::BoxError;

use super::program::Program;
use super::script::{is_whole, statements};

/// Reads statements and runs them, until the end of the input. A query over streams is a job, which Ctrl-C ends.
pub(super) fn run(mut program: Program) -> Result<(), BoxError> {
    let mut editor = DefaultEditor::new()?;
    let mut text = String::new();
    loop {
        match editor.readline(if text.is_empty() { "tidemill> " } else { "       -> " }) {
            Ok(line) => {
                if text.is_empty() && matches!(line.trim().trim_end_matches(';'), "exit" | "quit") {
                    return Ok(());
                }
                text.push_str(&line);
                text.push('\n');
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        if text.trim().is_empty() {
            text.clear();
        } else if is_whole(&text) {
            let typed = std::mem::take(&mut text);
            editor.add_history_entry(typed.trim())?;
            // A statement that is wrong does not end the session.
            if let Err(e) = each(&mut program, &typed) {
                writeln!(std::io::stderr(), "{e}")?;
            }
        }
    }
}

fn each(program: &mut Program, text: &str) -> Result<(), BoxError> {
    for statement in statements(text)? {
        let query = program.stated(&statement)?;
        program.job(query.into_iter().collect())?;
    }
    Ok(())
}
