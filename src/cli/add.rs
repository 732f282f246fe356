//! `tidemill add`, `tidemill added` and `tidemill remove`: computations beside the program of a running job.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::{query, running_job::JobArgs, terminal};
use crate::core::added::Added;
use crate::core::error::{BoxError, Error};
use crate::core::question::is_name;
use crate::live::parse::parse;

const PATH: &str = "/api/v1/added";

/// Adds a computation over the views of a running job: 'authors | filter _2 >= 10 | top 10'. Prints its name, by which `tidemill query` asks its
/// result. If the text ends in `| print`, prints the result and then each change of it, until the job ends or Ctrl-C; the computation stays
/// until `tidemill remove`. Verbs: filter, map, count, sum, top, join, window; docs/guide/live.md.
#[derive(clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    job: JobArgs,
    /// What to compute, in quotes
    text: String,
    /// The name of its result [default: made of the view and the verbs]
    #[arg(long)]
    name: Option<String>,
    /// Store it in the checkpoint directory: it runs again after a restart
    #[arg(long)]
    keep: bool,
    /// With `| print`: print each batch as JSON
    #[arg(long)]
    json: bool,
}

/// Lists the computations that were added to a running job, a line for each: name = text.
#[derive(clap::Args)]
pub struct AddedArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Removes a computation that was added to a running job, with its state.
#[derive(clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The name of its result
    name: String,
}

#[derive(Deserialize)]
struct List {
    added: Vec<Added>,
}

/// The text for the job, and whether it ends in `print`.
fn text(args: &AddArgs) -> Result<(String, bool), Error> {
    let fault = |reason| Error::Added { what: args.text.clone(), reason };
    let mut description = parse(&args.text).map_err(fault)?;
    let print = std::mem::take(&mut description.print);
    if let Some(name) = &args.name {
        let named = parse(&format!("{name} = {}", description.text()));
        description = named.map_err(|reason| Error::Added { what: format!("--name {name}"), reason })?;
    }
    Ok((description.to_string(), print))
}

/// Runs `tidemill add`.
pub fn add(args: &AddArgs) -> Result<ExitCode, BoxError> {
    let (text, print) = text(args)?;
    let job = args.job.job()?;
    let added: Added = job.post(PATH, "application/json", &json!({ "text": text, "keep": args.keep }).to_string())?;
    if !print {
        terminal::line(&added.name)?;
        return Ok(ExitCode::SUCCESS);
    }
    let address = args.job.address;
    eprintln!("added {added}; tidemill remove {address} {} removes it", added.name);
    query::follow(&job, &format!("/api/v1/views/{}/changes", added.name), args.json)
}

/// Runs `tidemill added`.
pub fn added(args: &AddedArgs) -> Result<ExitCode, BoxError> {
    let List { added } = args.job.job()?.get(PATH)?;
    if added.is_empty() {
        eprintln!("nothing was added to this job");
    }
    added.iter().try_for_each(|added| terminal::line(&added.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `tidemill remove`.
pub fn remove(args: &RemoveArgs) -> Result<ExitCode, BoxError> {
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
            text(&Command::try_parse_from(line).unwrap().args).map_err(|e| e.to_string())
        };
        assert_eq!(of(&["a | top 3 | print"]), Ok(("a | top 3".into(), true)));
        assert_eq!(of(&["x = a|count"]), Ok(("x = a | count".into(), false)));
        assert_eq!(of(&["x = a | count", "--name", "y"]), Ok(("y = a | count".into(), false)));
        let said = of(&["a", "--name", "two words"]).unwrap_err();
        assert!(said.starts_with("--name two words: character 5"), "{said}");
        assert!(of(&["a | cuont"]).unwrap_err().starts_with("a | cuont: character 5, \"cuont\": there is no such verb"));
    }
}
