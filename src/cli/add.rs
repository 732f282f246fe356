//! `tidemill add`, `tidemill added` and `tidemill remove`: computations beside the program of a running job.

use std::ffi::OsString;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::{query, running_job::JobArgs, sql, terminal};
use crate::core::added::Added;
use crate::core::error::{BoxError, Error};
use crate::core::question::is_name;
use crate::live::parse::parse;

const PATH: &str = "/api/v1/added";

/// Adds a computation over the views of a running job: 'authors | filter _2 >= 10 | top 10'. Prints its name, by which `tidemill query` asks its
/// result. If the text ends in `| print`, prints the result and then each change of it, until the job ends or Ctrl-C; the computation stays
/// until `tidemill remove`. Verbs: filter, map, count, sum, top, join, window; docs/guide/live.md. A SELECT becomes verbs:
/// "select _2, count(*) from authors group by _2" (needs tidemill-sql).
#[derive(clap::Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    job: JobArgs,
    /// What to compute, in quotes: verbs, or a SELECT
    text: String,
    #[command(flatten)]
    how: How,
}

/// How a computation is added.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// The name of its result [default: made of the view and the verbs]
    #[arg(long)]
    name: Option<String>,
    /// Store it in the checkpoint directory: it runs again after a restart
    #[arg(long)]
    keep: bool,
    /// Print the result, and then each change of it, as `| print` does
    #[arg(long)]
    print: bool,
    /// What is printed is JSON, a line for each batch
    #[arg(long)]
    json: bool,
}

/// Lists the computations that were added to a running job, a line for each: name = text.
#[derive(clap::Args)]
pub(super) struct AddedArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Removes a computation that was added to a running job, with its state.
#[derive(clap::Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The name of its result
    name: String,
}

#[derive(Deserialize)]
struct List {
    added: Vec<Added>,
}

/// The text for the job, and whether its result is printed.
fn text(text: &str, how: &How) -> Result<(String, bool), Error> {
    let fault = |reason| Error::Added { what: text.into(), reason };
    let mut description = parse(text).map_err(fault)?;
    let print = std::mem::take(&mut description.print) || how.print;
    if let Some(name) = &how.name {
        let named = parse(&format!("{name} = {}", description.text()));
        description = named.map_err(|reason| Error::Added { what: format!("--name {name}"), reason })?;
    }
    Ok((description.to_string(), print))
}

/// The arguments of tidemill-sql, which makes verbs of a SELECT.
fn of_sql(AddArgs { job, text, how }: &AddArgs) -> Vec<OsString> {
    let mut args = sql::over_views("add", job, text);
    args.extend(how.name.iter().flat_map(|name| ["--name".into(), name.into()]));
    let options = [("--keep", how.keep), ("--print", how.print), ("--json", how.json)];
    args.extend(options.into_iter().filter(|(_, given)| *given).map(|(option, _)| option.into()));
    args
}

/// Runs `tidemill add`.
pub(super) fn add(args: &AddArgs) -> Result<ExitCode, BoxError> {
    if sql::is_select(&args.text) {
        return sql::program(&of_sql(args));
    }
    add_verbs(&args.job, &args.text, &args.how)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds what a text of verbs says, and prints its name or its result.
///
/// # Errors
/// The text cannot be read, no job answers, or it refuses.
pub fn add_verbs(job_args: &JobArgs, verbs: &str, how: &How) -> Result<(), BoxError> {
    let (text, print) = text(verbs, how)?;
    if how.json && !print {
        return Err("--json is for what is printed; add --print, or leave it out".into());
    }
    let job = job_args.job()?;
    let added: Added = job.post(PATH, "application/json", &json!({ "text": text, "keep": how.keep }).to_string())?;
    if !print {
        return Ok(terminal::line(&added.name)?);
    }
    eprintln!("added {added}; tidemill remove {} {} removes it", job_args.address, added.name);
    query::follow(&job, &format!("/api/v1/views/{}/changes", added.name), how.json)?;
    Ok(())
}

/// Runs `tidemill added`.
pub(super) fn added(args: &AddedArgs) -> Result<ExitCode, BoxError> {
    let List { added } = args.job.job()?.get(PATH)?;
    if added.is_empty() {
        eprintln!("nothing was added to this job");
    }
    added.iter().try_for_each(|added| terminal::line(&added.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `tidemill remove`.
pub(super) fn remove(args: &RemoveArgs) -> Result<ExitCode, BoxError> {
    if !is_name(&args.name) {
        return Err(format!("{:?} is not a name: `tidemill added {}` lists them", args.name, args.job.address).into());
    }
    let removed: Added = args.job.job()?.delete(&format!("{PATH}/{}", args.name))?;
    eprintln!("removed {removed}");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: AddArgs,
    }

    #[test]
    fn a_name_of_the_command_line_is_that_of_the_text_and_print_stays_here() {
        let of = |args: &[&str]| {
            let line = ["add", "127.0.0.1:4040"].iter().chain(args);
            let AddArgs { text: given, how, .. } = Command::try_parse_from(line).unwrap().args;
            text(&given, &how).map_err(|e| e.to_string())
        };
        assert_eq!(of(&["a | top 3 | print"]), Ok(("a | top 3".into(), true)));
        assert_eq!(of(&["a | top 3", "--print"]), Ok(("a | top 3".into(), true)));
        assert_eq!(of(&["x = a|count"]), Ok(("x = a | count".into(), false)));
        assert_eq!(of(&["x = a | count", "--name", "y"]), Ok(("y = a | count".into(), false)));
        let said = of(&["a", "--name", "two words"]).unwrap_err();
        assert!(said.starts_with("--name two words: character 5"), "{said}");
        assert!(of(&["a | cuont"]).unwrap_err().starts_with("a | cuont: character 5, \"cuont\": there is no such verb"));
    }

    #[test]
    fn a_select_goes_to_its_own_program_with_all_options() {
        let of = |args: &[&str]| {
            let line = ["add", "127.0.0.1:4040", "select 1"].iter().chain(args);
            of_sql(&Command::try_parse_from(line).unwrap().args)
        };
        assert_eq!(of(&[]), ["add", "127.0.0.1:4040", "select 1"].map(OsString::from));
        let options = ["--secret-file", "s", "--name", "n", "--keep", "--print", "--json"];
        assert_eq!(of(&options)[3..], options.map(OsString::from));
    }
}
