//! `tidemill query ADDR "select .."`: SQL over the views of a running job, as of one batch. It runs here, over the rows that the job gives.

use std::collections::BTreeMap;
use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use serde::Deserialize;
use tidemill::cli::running_job::{JobArgs, RunningJob, say_rows};
use tidemill::prelude::{BatchTime, BoxError};

use super::view_rows;
use crate::files::write;
use crate::{TableSession, names, show};

/// Asks the queryable views of a running job in SQL. All views are as of one batch
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// A SELECT over the views of the job
    sql: String,
    /// As of an earlier batch, in milliseconds since 1970; the views must hold it [default: the newest]
    #[arg(long, value_name = "TIME")]
    at: Option<u64>,
    /// Print each row as JSON
    #[arg(long)]
    json: bool,
}

/// `/api/v1/rows`.
#[derive(Deserialize)]
struct Rows {
    time: u64,
    views: BTreeMap<String, Vec<serde_json::Value>>,
}

/// Asks, and prints the result. The batch and the number of rows go to stderr.
pub(super) fn run(args: &Args) -> Result<(), BoxError> {
    let session = TableSession::new();
    let job = args.job.job()?;
    let asked = views_of(&session, &job, &args.sql)?;
    let (mut time, mut empty) = (None, Vec::new());
    if !asked.is_empty() {
        let parts = asked.iter().map(|view| format!("view={view}")).chain(args.at.map(|at| format!("at={at}")));
        let rows: Rows = job.get(&format!("/api/v1/rows?{}", parts.collect::<Vec<_>>().join("&")))?;
        time = Some(BatchTime::from_millis(rows.time));
        for (view, rows) in rows.views {
            view_rows::table(&session, &view, &rows)?.create_or_replace_temp_view(&view)?;
            empty.extend(rows.is_empty().then_some(view));
        }
    }
    let unknown = match &empty[..] {
        [] => String::new(),
        empty => format!(" ({} has no rows as of this batch, so its columns are not known)", empty.join(", ")),
    };
    let result = session.sql(&args.sql).map_err(|e| format!("{e}{unknown}"))?;
    let batches = result.record_batches()?;
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if let Some(time) = time {
        say_rows(time, count as u64);
    }
    let mut out = std::io::stdout().lock();
    match args.json {
        true => {
            for line in batches.iter().map(write::json_lines) {
                line?.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
        }
        false => write!(out, "{}", show::table(&result.schema(), &batches, count, 0)?)?,
    }
    Ok(())
}

/// The views of a job that a query names.
pub(super) fn views_of(session: &TableSession, job: &RunningJob, sql: &str) -> Result<Vec<String>, BoxError> {
    let named = session.tables_of(sql)?;
    let views = job.views()?;
    let is_view = |name: &String| views.iter().any(|view| names::table(view) == *name);
    if let Some(unknown) = named.iter().find(|name| !is_view(name)) {
        let views = if views.is_empty() { "none is; call View::queryable".to_owned() } else { views.join(", ") };
        return Err(format!("no view is queryable as {unknown}; there are: {views}").into());
    }
    Ok(views.into_iter().filter(|view| named.contains(&names::table(view))).collect())
}
