//! `tidemill query`: asks a view of a running job.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::running_job::{JobArgs, RunningJob, say_rows};
use super::terminal;
use crate::core::error::BoxError;
use crate::core::http_url::percent_encoded;
use crate::core::question::MOST_ROWS;
use crate::core::time::{BatchTime, counted};

/// Asks a view of a running job (`View::queryable`, `--listen`), as of one batch. Without a view, lists the views that can be asked. Prints a
/// line for each row, its parts with tabs between them; the batch and the number of rows go to stderr. The result of a SELECT is a table.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// The name of the view, or a SELECT over views in quotes: "select max(_2) from counts"
    view: Option<String>,
    /// Only rows with this key, the first part of a row: a text, or JSON
    #[arg(long, group = "which")]
    key: Option<String>,
    /// Only rows whose key begins so
    #[arg(long, group = "which")]
    prefix: Option<String>,
    /// Only rows with this key or a larger one: a number, a text, or JSON
    #[arg(long, value_name = "KEY", conflicts_with = "which")]
    from_key: Option<String>,
    /// Only rows with a smaller key than this one
    #[arg(long, value_name = "KEY", conflicts_with = "which")]
    until_key: Option<String>,
    /// The rows with the largest last number, the largest first
    #[arg(long, value_name = "N", conflicts_with = "limit")]
    top: Option<u32>,
    /// At most so many rows [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// As of an earlier batch, in milliseconds since 1970; the view must hold it [default: the newest]
    #[arg(long, value_name = "TIME")]
    at: Option<u64>,
    /// Print what has changed since this batch, which the view must hold: `tide  1012 -> 254`
    #[arg(long, value_name = "TIME", conflicts_with_all = ["top", "json"])]
    from: Option<u64>,
    /// Print the rows, and then what each batch changes, until the job ends
    #[arg(long, conflicts_with_all = ["top", "limit", "at", "from"])]
    follow: bool,
    /// Print each row as JSON; with --follow each batch
    #[arg(long)]
    json: bool,
}

/// A line of `/api/v1/views/NAME/changes`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    /// The rows as of the first batch.
    Rows {
        rows: Vec<Value>,
        time: u64,
    },
    /// What the batches after the previous line have changed.
    Changes {
        added: Vec<Value>,
        removed: Vec<Value>,
        time: u64,
    },
    Error {
        error: String,
    },
    Ended {},
}

/// `/api/v1/views/NAME`.
#[derive(Deserialize)]
struct Rows {
    time: u64,
    matched: u64,
    rows: Vec<Value>,
}

impl Args {
    fn path(&self, view: &str, at: Option<u64>) -> String {
        let what = if self.follow { "/changes" } else { "" };
        let text = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={}", percent_encoded(value)));
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        let (top, limit) = (self.top.map(u64::from), self.limit.map(u64::from));
        let parts = [
            text("key", &self.key),
            text("prefix", &self.prefix),
            text("from_key", &self.from_key),
            text("until_key", &self.until_key),
            number("top", top),
            number("limit", limit),
            number("at", at),
        ];
        format!("/api/v1/views/{}{what}?{}", percent_encoded(view), parts.into_iter().flatten().collect::<Vec<_>>().join("&"))
    }

    /// The arguments of tidemill-sql, if SQL is asked: it has blanks, and no view has them in its name.
    ///
    /// # Errors
    /// An option is not for SQL.
    fn sql(&self) -> Result<Option<Vec<OsString>>, String> {
        let Some(text) = self.view.as_ref().filter(|text| text.contains(char::is_whitespace)) else { return Ok(None) };
        let says = [
            ("--key", self.key.is_some()),
            ("--prefix", self.prefix.is_some()),
            ("--from-key", self.from_key.is_some()),
            ("--until-key", self.until_key.is_some()),
            ("--top", self.top.is_some()),
            ("--limit", self.limit.is_some()),
            ("--from", self.from.is_some()),
            ("--follow", self.follow),
        ];
        if let Some((option, _)) = says.iter().find(|(_, given)| *given) {
            return Err(format!(
                "{option} is for a view by its name; a SELECT has WHERE, ORDER BY and LIMIT, and takes --at and --json"
            ));
        }
        let mut args = super::sql::over_views("query", &self.job, text);
        args.extend(self.json.then(|| "--json".into()));
        args.extend(self.at.iter().flat_map(|at| ["--at".into(), at.to_string().into()]));
        Ok(Some(args))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    if let Some(args) = args.sql()? {
        return super::sql::program(&args);
    }
    let job = args.job.job()?;
    let Some(view) = &args.view else {
        let views = job.views()?;
        if views.is_empty() {
            eprintln!("no view of this job can be asked: View::queryable names one");
        }
        views.iter().try_for_each(|view| terminal::line(view))?;
        return Ok(ExitCode::SUCCESS);
    };
    if args.follow {
        return follow(&job, &args.path(view, None), args.json);
    }
    if let Some(from) = args.from {
        let limited = Args { limit: args.limit.or(Some(MOST_ROWS)), ..args.clone() };
        let then: Rows = job.get(&limited.path(view, Some(from)))?;
        let now: Rows = job.get(&limited.path(view, args.at))?;
        eprintln!("from batch {} to batch {}", BatchTime::from_millis(then.time), BatchTime::from_millis(now.time));
        changes(&then, &now)?.iter().try_for_each(|line| terminal::line(line))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Rows = job.get(&args.path(view, args.at))?;
    say_rows(BatchTime::from_millis(answer.time), answer.matched);
    for row in &answer.rows {
        terminal::line(&if args.json { row.to_string() } else { plain(row) })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the rows of a view, and then each change of them. `json`: each batch as it comes.
pub fn follow(job: &RunningJob, path: &str, json: bool) -> Result<ExitCode, BoxError> {
    let (mut reached, mut ended) = (None, false);
    job.lines(path, |text| {
        let all = |rows| Rows { time: 0, matched: 0, rows };
        let (time, lines, what) = match serde_json::from_str(text)? {
            Line::Rows { rows, time } => (time, rows.iter().map(plain).collect(), counted(rows.len() as u64, "row")),
            Line::Changes { added, removed, time } => {
                let lines = difference(&all(removed), &all(added));
                let changes = counted(lines.len() as u64, "change");
                (time, lines, changes)
            }
            Line::Error { error } => return Err(error.into()),
            Line::Ended {} => {
                ended = true;
                return Ok(false);
            }
        };
        reached = Some(BatchTime::from_millis(time));
        if json {
            terminal::line(text)?;
        } else if !lines.is_empty() || what.ends_with("rows") {
            eprintln!("batch {}: {what}", BatchTime::from_millis(time));
            lines.iter().try_for_each(|line| terminal::line(line))?;
        }
        Ok(true)
    })?;
    if !ended {
        return Err("the connection ended, and the job did not say why".into());
    }
    eprintln!("the job has ended; these are its rows as of batch {}", reached.map_or("none".into(), |t| t.to_string()));
    Ok(ExitCode::SUCCESS)
}

/// What has changed from one answer to the other, a line for each row. Rows are the same row if all but their last part is equal.
fn changes(then: &Rows, now: &Rows) -> Result<Vec<String>, BoxError> {
    if let Some(more) = [then, now].into_iter().find(|answer| answer.matched > answer.rows.len() as u64) {
        let (matched, rows) = (more.matched, more.rows.len());
        return Err(format!(
            "{matched} rows are asked for, and {rows} come: changes need all; ask for fewer by a key, or raise --limit"
        )
        .into());
    }
    Ok(difference(then, now))
}

/// What has changed from some rows to others.
fn difference(then: &Rows, now: &Rows) -> Vec<String> {
    let mut rows: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for (side, answer) in [then, now].into_iter().enumerate() {
        for row in &answer.rows {
            let (name, value) = match row {
                Value::Array(parts) if parts.len() > 1 => {
                    let (last, name) = parts.split_last().expect("it has two parts");
                    (plain(&Value::Array(name.to_vec())), plain(last))
                }
                row => (String::new(), plain(row)),
            };
            rows.entry(name).or_default()[side].push(value);
        }
    }
    let mut lines = Vec::new();
    for (name, [mut before, mut after]) in rows {
        // Rows that are in both have not changed.
        before.retain(|value| {
            let same = after.iter().position(|other| other == value);
            same.map(|same| after.remove(same)).is_none()
        });
        for i in 0..before.len().max(after.len()) {
            let (old, new) = (before.get(i).map_or("", |v| v), after.get(i).map_or("", |v| v));
            let change = format!("{old} -> {new}").trim().to_owned();
            lines.push(if name.is_empty() { change } else { format!("{name}\t{change}") });
        }
    }
    lines
}

/// A row as people read it.
fn plain(row: &Value) -> String {
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    match row {
        Value::Array(parts) => parts.iter().map(part).collect::<Vec<_>>().join("\t"),
        row => part(row),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_question_is_a_path() {
        let path = |args: &[&str]| {
            let line = ["query", "127.0.0.1:4040", "counts"].iter().chain(args);
            Command::try_parse_from(line).map(|command| command.args.path("counts", command.args.at))
        };
        assert_eq!(path(&["--key", "M\u{fc}hle 7"]).unwrap(), "/api/v1/views/counts?key=M%C3%BChle%207");
        assert_eq!(
            path(&["--prefix", "a", "--limit", "5", "--at", "3000"]).unwrap(),
            "/api/v1/views/counts?prefix=a&limit=5&at=3000"
        );
        assert_eq!(path(&["--top", "3"]).unwrap(), "/api/v1/views/counts?top=3");
        assert_eq!(path(&["--follow", "--key", "7"]).unwrap(), "/api/v1/views/counts/changes?key=7");
        assert!(path(&["--follow", "--top", "3"]).is_err() && path(&["--follow", "--at", "3000"]).is_err());
        assert!(path(&["--top", "3", "--limit", "5"]).is_err() && path(&["--key", "a", "--prefix", "b"]).is_err());
    }

    #[test]
    fn sql_goes_to_its_own_program() {
        let sql = |args: &[&str]| {
            let line = ["query", "127.0.0.1:4040"].iter().chain(args);
            Command::try_parse_from(line).unwrap().args.sql()
        };
        let expected =
            ["query", "127.0.0.1:4040", "select 1", "--secret-file", "s", "--json", "--at", "3000"].map(OsString::from);
        assert_eq!(sql(&["select 1", "--at", "3000", "--json", "--secret-file", "s"]).unwrap().unwrap(), expected);
        assert_eq!((sql(&["counts"]), sql(&[])), (Ok(None), Ok(None)));
        assert!(sql(&["select 1", "--top", "3"]).unwrap_err().starts_with("--top is for a view by its name"));
    }

    #[test]
    fn changes_name_what_was_and_what_is() {
        let rows = |rows: Value| {
            let rows: Vec<Value> = rows.as_array().unwrap().clone();
            Rows { time: 10, matched: rows.len() as u64, rows }
        };
        let of = |then, now| changes(&rows(then), &rows(now)).unwrap();
        let (then, now) = (json!([["a", 1012], ["b", 7], ["c", 3]]), json!([["a", 254], ["c", 3], ["d", 1]]));
        assert_eq!(of(then, now), ["a\t1012 -> 254", "b\t7 ->", "d\t-> 1"]);
        assert_eq!(of(json!([5, 5, 7]), json!([5, 8])), ["5 -> 8", "7 ->"]);
        assert_eq!(of(json!([["a", "x", 1], ["a", "y", 1]]), json!([["a", "x", 2], ["a", "y", 1]])), ["a\tx\t1 -> 2"]);
        let more = Rows { matched: 3, ..rows(json!([1])) };
        let why = changes(&rows(json!([])), &more).unwrap_err().to_string();
        assert!(why.starts_with("3 rows are asked for, and 1 come"), "{why}");
    }
}
