//! `tidemill sql`: the program `tidemill-sql`, beside this one or on the PATH. So this crate never compiles DataFusion.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::running_job::JobArgs;
use crate::core::error::BoxError;
use crate::core::question::is_in_name;

/// The program, and how to get it.
const PROGRAM: &str = "tidemill-sql";
const INSTALL: &str = "cargo install --locked --path sql --features cli --bin tidemill-sql, in tidemill's folder";

#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(super) struct Args {
    /// Arguments of tidemill-sql: a file of SQL and the options of jobs; `tidemill sql --help` prints them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, BoxError> {
    program(&args.args)
}

/// Whether a text of `tidemill add` is SQL. Behind the name of a view there is `|` or `=`.
pub(super) fn is_select(text: &str) -> bool {
    let text = text.trim_start();
    let (word, rest) = text.split_at(text.find(|c| !is_in_name(c)).unwrap_or(text.len()));
    let rest = rest.trim_start();
    ["select", "with"].iter().any(|first| word.eq_ignore_ascii_case(first)) && !rest.is_empty() && !rest.starts_with(['|', '='])
}

/// The arguments of the program for SQL over the views of a job: those of every command of it.
pub(super) fn over_views(command: &str, job: &JobArgs, sql: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![command.into(), job.address.to_string().into(), sql.into()];
    args.extend(job.secret_file.iter().flat_map(|file| ["--secret-file".into(), file.into()]));
    args
}

/// Becomes the program, with these arguments.
pub(super) fn program(args: &[OsString]) -> Result<ExitCode, BoxError> {
    let this = std::env::current_exe().ok();
    let program = found(this.as_deref().and_then(Path::parent), std::env::var_os("PATH").as_deref());
    let program = program.ok_or_else(|| {
        format!(
            "{PROGRAM} is neither beside this program nor on the PATH, because SQL is a crate of its own; install it: {INSTALL}"
        )
    })?;
    replace(Command::new(&program).args(args)).map_err(|e| format!("{}: {e}", program.display()).into())
}

/// The program in one of these folders.
fn found(beside: Option<&Path>, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let folders = beside.map(Path::to_owned).into_iter().chain(path.into_iter().flat_map(std::env::split_paths));
    folders.map(|folder| folder.join(PROGRAM).with_extension(std::env::consts::EXE_EXTENSION)).find(|program| program.is_file())
}

/// Becomes the program, so that signals and the terminal are its own.
#[cfg(unix)]
fn replace(program: &mut Command) -> std::io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(program))
}

#[cfg(not(unix))]
fn replace(program: &mut Command) -> std::io::Result<ExitCode> {
    Ok(ExitCode::from(program.status()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_is_not_the_name_of_a_view() {
        assert!(
            is_select(" Select * from a") && is_select("select\n1") && is_select("select*from a") && is_select("WITH a AS (..)")
        );
        assert!(
            !is_select("select | top 3")
                && !is_select("select=a|count")
                && !is_select("select")
                && !is_select("selected | count")
        );
    }

    #[test]
    fn the_program_is_beside_this_one_or_on_the_path() {
        let dir = std::env::temp_dir().join(format!("tidemill-sql-found-{}", std::process::id()));
        let (beside, other) = (dir.join("beside"), dir.join("other"));
        [&beside, &other].iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        let program = |folder: &Path| folder.join(PROGRAM).with_extension(std::env::consts::EXE_EXTENSION);
        assert_eq!(found(Some(&beside), Some(other.as_os_str())), None);
        std::fs::write(program(&other), "").unwrap();
        assert_eq!(found(Some(&beside), Some(other.as_os_str())), Some(program(&other)));
        std::fs::write(program(&beside), "").unwrap();
        assert_eq!(found(Some(&beside), Some(other.as_os_str())), Some(program(&beside)));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
