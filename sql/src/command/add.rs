//! `tidemill add ADDR "select .."`: a SELECT as verbs, which the job runs. The job has no planner of SQL.

use serde::Deserialize;
use tidemill::cli::add::{How, add_verbs};
use tidemill::cli::running_job::JobArgs;
use tidemill::prelude::BoxError;

use super::query::views_of;
use super::verbs::{Rows, View, verbs};
use crate::TableSession;

/// Of how many rows the columns of a view are read off.
const ROWS: u32 = 100;

/// Adds a SELECT over the queryable views of a running job, kept up to date. docs/guide/live.md says which ones
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// A SELECT over the views of the job
    sql: String,
    #[command(flatten)]
    how: How,
}

/// `/api/v1/views/NAME`.
#[derive(Deserialize)]
struct Sample {
    rows: Vec<serde_json::Value>,
}

/// Adds it, and prints its name. The verbs go to stderr.
pub(super) fn run(args: &Args) -> Result<(), BoxError> {
    let job = args.job.job()?;
    let mut views = Vec::new();
    for name in views_of(&TableSession::new(), &job, &args.sql)? {
        let some: Sample = job.get(&format!("/api/v1/views/{name}?limit={ROWS}"))?;
        views.push(View { rows: Rows::of(&some.rows), name });
    }
    let text = verbs(&args.sql, &views).map_err(|why| format!("{}: {why}", args.sql))?;
    eprintln!("in verbs: {text}");
    add_verbs(&args.job, &text, &args.how)
}
