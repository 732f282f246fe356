//! `tidemill token`: what readers of a job's page show.

use std::path::PathBuf;
use std::process::ExitCode;

use super::terminal;
use crate::cluster::secret::{Secret, VARIABLE};
use crate::core::error::{BoxError, Error};

/// Prints the token of a secret. A job that listens on another address than loopback (`--listen`) asks for it: as password of any
/// user, or as bearer token. Who has the token reads the page, and does not know the secret of the cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// File with the secret of the job [default: TIDEMILL_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let none = || Error::config(format!("no secret is set: give --secret-file FILE, or set {VARIABLE}"));
    let secret = Secret::find(args.secret_file.as_deref())?.ok_or_else(none)?;
    terminal::line(&secret.token())?;
    Ok(ExitCode::SUCCESS)
}
