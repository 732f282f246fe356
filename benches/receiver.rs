//! The cost of a receiver's log: the same rows with and without it.
//!
//! `scripts/bench receiver [--pairs N] [--seconds N]`. Four threads store 50,000 lines of 100 bytes a second, in blocks of 250: each block
//! is durable before the next one of its thread. The job counts the words of the lines, in batches of 200 ms. *paced* compares the CPU
//! time of the process; *backlog* stores as many lines as fast as possible, and compares the time. Each layout runs in turns, as a process
//! of its own. Prints Markdown.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tidemill::connector::receiver::{Receiver, ReceiverHandle};
use tidemill::prelude::*;

#[path = "shared.rs"]
mod shared;
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: u64 = 4;
const BLOCK: u64 = 250;
const PER_SECOND: u64 = 50_000;

#[derive(Parser)]
struct Args {
    /// How many runs of each layout
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// How long each run is
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be one run: paced or backlog, with or without a log
    #[arg(long, hide = true, num_args = 2)]
    run: Option<Vec<String>>,
}

/// Threads that store lines, and count them.
struct Lines {
    paced: bool,
    lines: u64,
    stored: Arc<AtomicU64>,
}

impl Receiver for Lines {
    type Item = String;

    fn name(&self) -> String {
        "lines".into()
    }

    fn on_start(&mut self, to: ReceiverHandle<String>) -> Result<(), BoxError> {
        for thread in 0..THREADS {
            let (to, stored) = (to.clone(), self.stored.clone());
            let (paced, blocks) = (self.paced, self.lines / THREADS / BLOCK);
            std::thread::spawn(move || {
                let (began, mut seed) = (Instant::now(), thread);
                for block in 0..blocks {
                    let lines: Vec<String> = (0..BLOCK).map(|_| line(&mut seed)).collect();
                    let due = Duration::from_secs_f64((block * BLOCK * THREADS) as f64 / PER_SECOND as f64);
                    if paced {
                        std::thread::sleep(due.saturating_sub(began.elapsed()));
                    }
                    if to.store_many(lines).is_err() {
                        return;
                    }
                    stored.fetch_add(BLOCK, Ordering::Relaxed);
                }
            });
        }
        Ok(())
    }
}

/// Ten words of nine letters.
fn line(seed: &mut u64) -> String {
    (0..10).map(|_| format!("{:09} ", random(seed) % 5_000)).collect()
}

/// One run. Prints its time and its CPU time in seconds.
fn run(paced: bool, logs: bool, seconds: u64) -> tidemill::Result<()> {
    let dir = std::env::temp_dir().join(format!("tidemill-bench-receiver-{}", std::process::id()));
    let (lines, stored) = (PER_SECOND * seconds, Arc::new(AtomicU64::new(0)));
    let counter = stored.clone();
    let job = StreamingContext::builder("receiver", millis(200)).checkpoint(&dir);
    let job = job.conf("spark.streaming.receiver.writeAheadLog.enable", if logs { "true" } else { "false" });
    let began = Instant::now();
    let job = job.start(move |ssc| {
        let lines = ssc.receiver_stream(Lines { paced, lines, stored: counter.clone() });
        let counts = lines.count_by(|line, counter| line.split_ascii_whitespace().for_each(|word| counter.push(word)));
        counts.foreach_batch(|_| Ok(()));
        Ok(())
    })?;
    while stored.load(Ordering::Relaxed) < lines {
        std::thread::sleep(millis(1));
    }
    let summary = job.stop_gracefully()?;
    let (time, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds());
    let _ = std::fs::remove_dir_all(dir);
    println!("{time} {cpu} {}", summary.records);
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let seconds = args.seconds;
    if let Some(run_of) = &args.run {
        return Ok(run(run_of[0] == "paced", run_of[1] == "with", seconds)?);
    }
    let once = |mode: &str, log: &str| -> Result<[f64; 2], BoxError> {
        let seconds = seconds.to_string();
        let end = Command::new(std::env::current_exe()?).args(["--seconds", &seconds, "--run", mode, log]).output()?;
        let out = String::from_utf8(end.stdout)?;
        let figures: Vec<f64> = out.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        match figures[..] {
            [time, cpu, records] if records as u64 == PER_SECOND * args.seconds => Ok([time, cpu]),
            _ => Err(format!("{mode}, {log} a log: {out}{}", String::from_utf8_lossy(&end.stderr)).into()),
        }
    };
    println!("| {} lines | without a log | with a log | ratio |\n|---|---|---|---|", PER_SECOND * seconds);
    for (mode, figure, what) in [("paced", 1, "CPU time, 50,000 a second"), ("backlog", 0, "time, as fast as possible")] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..args.pairs {
            without.push(once(mode, "without")?[figure]);
            with.push(once(mode, "with")?[figure]);
        }
        let (without, with) = (median(without), median(with));
        println!("| {what} | {without:.2} s | {with:.2} s | {:.2} |", with / without);
    }
    Ok(())
}
