//! An overloaded job. Prints batch sizes, delays and memory, one line per second.
//!
//! `scripts/bench overload` starts it, feeds its topic at twice the capacity, and makes a table of its lines. The output sleeps for
//! each record, as if it waited for a database. So the capacity is the same on any machine, whatever else runs there.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topic: String,
    /// Records per second that the output can write
    #[arg(long)]
    capacity: u64,
    /// End after this number of records
    #[arg(long)]
    records: u64,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Resident memory of this process in KiB, 0 where there is no /proc.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<()> {
    let done = Arc::new(AtomicU64::new(0));
    let (written, capacity) = (done.clone(), args.capacity);
    let job = StreamingContext::builder("overload", args.interval).without_logging().runtime(args.runtime).without_checkpoint();
    let job = job.start(move |ssc| {
        let kafka = KafkaSource::brokers(&args.brokers).topic(&args.topic).start(StartFrom::earliest());
        let written = written.clone();
        ssc.kafka_direct_stream(kafka).foreach_batch(move |batch| {
            std::thread::sleep(Duration::from_secs(batch.len() as u64) / capacity as u32);
            written.fetch_add(batch.len() as u64, Ordering::Relaxed);
            Ok(())
        });
        Ok(())
    })?;
    let began = Instant::now();
    let mut out = std::io::stdout().lock();
    let mut over = false;
    while !over {
        over = job.await_termination_or_timeout(Duration::from_secs(1))? || done.load(Ordering::Relaxed) >= args.records;
        let now = job.statistics();
        let last = now.last.unwrap_or_default();
        let line = [
            began.elapsed().as_secs(),
            done.load(Ordering::Relaxed),
            now.lag.unwrap_or(0),
            now.rate.unwrap_or(0),
            last.records,
            last.total_delay().as_millis() as u64,
            resident(),
        ];
        let words: Vec<String> = line.iter().map(u64::to_string).collect();
        writeln!(out, "{}", words.join(" ")).and_then(|()| out.flush()).map_err(|e| tidemill::Error::Config(e.to_string()))?;
    }
    job.stop_gracefully().map(|_| ())
}
