//! `tidemill demo`.
use std::process::ExitCode;
/// .
#[derive(clap::Args)]
pub struct Args {}
/// .
pub fn run(_: &Args) -> Result<ExitCode, crate::BoxError> {
    Ok(ExitCode::SUCCESS)
}
