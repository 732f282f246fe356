//! `tidemill top`: how a running job is, in a terminal.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::checkpoint::table::{Table, size};
use super::running_job::JobArgs;
use super::terminal;
use crate::core::error::BoxError;
use crate::core::time::{counted, grouped, human_duration};

/// Shows how a running job is, from its page (`--listen`): whether it keeps up, what it has read, and its operators with their share of the
/// time of the last 20 batches. On a terminal it is drawn again each second, until Ctrl-C; else it is written once.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// Write it once
    #[arg(long)]
    once: bool,
    /// Time between two drawings
    #[arg(long, value_name = "TIME", value_parser = crate::core::time::parse_duration, default_value = "1s")]
    every: Duration,
}

/// `/api/v1/job`, as far as it is shown.
#[derive(Deserialize)]
struct Job {
    name: String,
    pace: String,
    sentence: String,
    interval_ms: f64,
    workers: u64,
    processes: u64,
    started_ms: u64,
    now_ms: u64,
    batches: u64,
    records: u64,
    bad: u64,
    lost: u64,
    lag: Option<u64>,
    lag_ms: Option<f64>,
    in_flight: u64,
    waiting_bytes: u64,
    resident_bytes: u64,
    trouble: Vec<String>,
}

/// `/api/v1/operators`.
#[derive(Deserialize)]
struct Operators {
    operators: Vec<Operator>,
    slowest: Option<Slow>,
    waited_for: Option<Slow>,
}

#[derive(Deserialize)]
struct Operator {
    name: String,
    rows_in: u64,
    rows_out: u64,
    ms: f64,
    min_ms: f64,
    median_ms: f64,
    max_ms: f64,
}

#[derive(Deserialize)]
struct Slow {
    operator: String,
    worker: u64,
    ms: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let running = args.job.job()?;
    let again = !args.once && std::io::stdout().is_terminal();
    let mut before: Option<Job> = None;
    loop {
        let job: Job = running.get("/api/v1/job")?;
        let operators = running.get("/api/v1/operators")?;
        let text = screen(&job, before.as_ref(), &operators);
        if !again {
            terminal::line(text.trim_end())?;
            return Ok(ExitCode::SUCCESS);
        }
        // From the first line and column on, and clear.
        if !terminal::listened(write!(std::io::stdout(), "\x1b[H\x1b[2J{text}").and_then(|()| std::io::stdout().flush()))? {
            return Ok(ExitCode::SUCCESS);
        }
        before = Some(job);
        std::thread::sleep(args.every);
    }
}

fn ms(ms: f64) -> String {
    human_duration(Duration::from_secs_f64((ms / 1_000.0).max(0.0)))
}

/// What is shown of a job. `before`: what it said last time.
fn screen(job: &Job, before: Option<&Job>, of: &Operators) -> String {
    let workers = format!("{} in {}", counted(job.workers * job.processes, "worker"), counted(job.processes, "process"));
    let since = ms(job.now_ms.saturating_sub(job.started_ms) as f64);
    let mut text = format!("{}: {}\n{}\n", job.name, job.pace, job.sentence);
    text += &format!("a batch every {}, {workers}, for {since}\n\n", ms(job.interval_ms));
    let known = before.filter(|b| b.started_ms == job.started_ms && b.now_ms < job.now_ms);
    let rate = known.map(|b| (job.records - b.records) * 1_000 / (job.now_ms - b.now_ms));
    let lag = match (job.lag, job.lag_ms) {
        (Some(lag), Some(waited)) => format!("{} records, {}", grouped(lag), ms(waited)),
        (Some(lag), None) => format!("{} records", grouped(lag)),
        (None, _) => "unknown".into(),
    };
    let figures = [
        ("records a second", rate.map_or("-".into(), grouped)),
        ("lag", lag),
        ("records", grouped(job.records)),
        ("batches", grouped(job.batches)),
        ("bad records", grouped(job.bad)),
        ("lost positions", grouped(job.lost)),
        ("in flight", counted(job.in_flight, "batch")),
        ("wait at outputs", size(job.waiting_bytes)),
        ("memory of process 0", size(job.resident_bytes)),
    ];
    for (name, value) in figures {
        text += &format!("{name:<22}{value}\n");
    }
    job.trouble.iter().for_each(|trouble| text += &format!("{trouble}\n"));
    let all = of.operators.iter().map(|o| o.ms).sum::<f64>().max(f64::MIN_POSITIVE);
    let mut table = Table::new(&["operator", ">share", ">rows in", ">rows out", ">least", ">median", ">most"]);
    for o in &of.operators {
        let share = format!("{:.0} %", o.ms / all * 100.0);
        let [min, median, max] = [o.min_ms, o.median_ms, o.max_ms].map(ms);
        table.row([o.name.clone(), share, grouped(o.rows_in), grouped(o.rows_out), min, median, max]);
    }
    text += &format!("\n{}", table.text());
    let slow = |what: &str, slow: &Slow| format!("{what}: {} on worker {}, {}\n", slow.operator, slow.worker, ms(slow.ms));
    text += &of.slowest.as_ref().map(|s| slow("most time", s)).unwrap_or_default();
    text + &of.waited_for.as_ref().map(|s| slow("batches waited most for", s)).unwrap_or_default()
}

/// Asks the job.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_screen_has_the_sentence_the_rate_and_the_slow_operator() {
        let job = |records, now_ms| Job {
            name: "sales".into(),
            pace: "keeps up".into(),
            sentence: "It keeps up.".into(),
            interval_ms: 1_000.0,
            workers: 2,
            processes: 1,
            started_ms: 0,
            now_ms,
            batches: 7,
            records,
            bad: 1,
            lost: 0,
            lag: Some(5),
            lag_ms: Some(1_500.0),
            in_flight: 1,
            waiting_bytes: 2_048,
            resident_bytes: 0,
            trouble: vec!["the broker does not answer".into()],
        };
        let operator = |name: &str, ms| Operator {
            name: name.into(),
            rows_in: 10,
            rows_out: 5,
            ms,
            min_ms: 0.0,
            median_ms: 1.0,
            max_ms: ms,
        };
        let slow = Some(Slow { operator: "map (main.rs:3)".into(), worker: 1, ms: 30.0 });
        let operators = vec![operator("map (main.rs:3)", 30.0), operator("print (main.rs:4)", 10.0)];
        let of = Operators { operators, slowest: slow, waited_for: None };
        let text = screen(&job(3_000, 9_000), Some(&job(1_000, 8_000)), &of);
        for expected in [
            "sales: keeps up",
            "2 workers in 1 process",
            "records a second      2,000",
            "lag                   5 records, 1.5 s",
            "the broker does not answer",
            "most time: map (main.rs:3) on worker 1, 30 ms",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let line = text.lines().find(|l| l.starts_with("map (main.rs:3)")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[2..5], ["75", "%", "10"], "{text}");
        assert!(screen(&job(0, 0), Some(&job(9, 9)), &of).contains("records a second      -"), "the job was started again");
    }
}
