//! Two processes of one worker each against one process of two workers, over the same records.
//!
//! `scripts/bench processes [--pairs N] [few|many]...`. Records are made in the memory of each process
//! and results are dropped. So only the exchange between workers differs: queues in memory, or bytes over loopback. A Kafka would add
//! a second client with its threads, and a broker on the same cores.
//!
//! *few* has 5,000 words and 100,000 records per batch. Each worker exchanges 5,000 combined rows, so the fixed cost of a batch
//! dominates. *many* has a million words. Almost every record is a row that is exchanged, half of them to the other worker.
//!
//! The code of `tidemill launch` starts each layout, in alternating pairs. The first tenth of the batches is not measured, which
//! leaves out the start and the making of records. Prints Markdown.

use std::ffi::OsString;
use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use tidemill::cluster::launch::Launch;
use tidemill::prelude::*;

#[path = "shared.rs"]
mod shared;
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A workload: its name, the number of words, the number of batches, and the records per batch.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    words: u32,
    batches: usize,
    records: usize,
}

const WORKS: [Work; 2] = [
    Work { name: "few", words: 5_000, batches: 400, records: 100_000 },
    Work { name: "many", words: 1_000_000, batches: 60, records: 100_000 },
];

/// A layout: the number of processes, and of workers in each.
const LAYOUTS: [(usize, usize); 2] = [(1, 2), (2, 1)];

#[derive(Parser)]
struct Args {
    /// Workloads; both without one
    works: Vec<String>,
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be one process of a layout
    #[arg(long, hide = true)]
    work: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> Result<(), BoxError> {
    let asked = |w: &Work| args.works.is_empty() || args.works.iter().any(|name| name == w.name);
    for work in WORKS.into_iter().filter(asked) {
        if args.work {
            return process(work, args.runtime);
        }
        compare(work, args.pairs.max(1))?;
    }
    Ok(())
}

/// The result of one run of a layout: records per second, and CPU seconds of all its processes.
type Figures = (f64, f64);

fn compare(work: Work, pairs: usize) -> Result<(), BoxError> {
    let Work { name, words, batches, records } = work;
    let mut taken: [Vec<Figures>; 2] = Default::default();
    for pair in 0..pairs {
        for turn in 0..2 {
            let layout = (pair + turn) % 2;
            taken[layout].push(launched(work, LAYOUTS[layout])?);
            eprintln!("{name}, pair {}, {:?}: {:.2} M records/s", pair + 1, LAYOUTS[layout], taken[layout][pair].0 / 1e6);
        }
    }
    println!(
        "**{name}**: {batches} batches of {records} records, {words} words, running totals; {pairs} interleaved pairs; median (min-max).\n"
    );
    println!("| | M records/s | CPU, s | records/s / one process's | CPU / one process's |\n|---|---|---|---|---|");
    for (layout, (processes, workers)) in LAYOUTS.into_iter().enumerate() {
        let own = &taken[layout];
        let ratio = |of: fn(&Figures) -> f64| match layout {
            0 => "1".into(),
            _ => spread(own.iter().zip(&taken[0]).map(|(a, b)| of(a) / of(b))),
        };
        let (speed, cpu) = (spread(own.iter().map(|f| f.0 / 1e6)), spread(own.iter().map(|f| f.1)));
        println!("| {processes} x {workers} | {speed} | {cpu} | {} | {} |", ratio(|f| f.0), ratio(|f| f.1));
    }
    println!();
    Ok(())
}

/// Median, minimum and maximum.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}-{:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Collects the lines of the processes, for the process that started them.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a layout. Each process prints its figures: `seconds 1.2`, `cpu 3.4`.
fn launched(work: Work, (processes, workers): (usize, usize)) -> Result<Figures, BoxError> {
    let args = [work.name, "--work"].map(OsString::from).to_vec();
    let said = Lines::default();
    let code = Launch::new(std::env::current_exe()?, args, processes, workers).run(said.clone(), std::io::stderr())?;
    let said = String::from_utf8(said.0.lock().unwrap_or_else(|e| e.into_inner()).clone())?;
    let sum = |what: &str| -> f64 {
        let numbers = said.lines().filter_map(|l| l.strip_prefix(what)?.trim().parse::<f64>().ok());
        numbers.sum()
    };
    let (seconds, cpu) = (sum("seconds"), sum("cpu"));
    if code != 0 || seconds == 0.0 {
        return Err(format!("{processes} x {workers} ended with {code}, and said: {said}").into());
    }
    let measured = (work.batches - work.batches / 10) * work.records;
    Ok((measured as f64 / seconds, cpu))
}

/// Records when batches completed, on the clock of the planner.
struct Watch {
    first: BatchTime,
    begun: Mutex<Option<Instant>>,
    seconds: Mutex<f64>,
}

impl StreamingListener for Watch {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let mut begun = self.begun.lock().unwrap_or_else(|e| e.into_inner());
        match *begun {
            None if batch.time >= self.first => *begun = Some(Instant::now()),
            Some(begun) => *self.seconds.lock().unwrap_or_else(|e| e.into_inner()) = begun.elapsed().as_secs_f64(),
            None => {}
        }
    }
}

/// One process of a layout.
fn process(work: Work, runtime: RuntimeArgs) -> Result<(), BoxError> {
    let mut seed = 1;
    let words: &'static [String] = (0..work.words).map(|n| format!("{:07}", n)).collect::<Vec<_>>().leak();
    let batch = |_| (0..work.records).map(|_| (random(&mut seed) % u64::from(work.words)) as u32).collect();
    let input: Arc<[Vec<u32>]> = (0..work.batches).map(batch).collect();
    let before = cpu_seconds();
    let first = runtime.process == 0;
    // The manual clock does not advance, and given batches do not wait for it. Batch times are 1 s, 2 s and so on.
    let clock = tidemill::job::ManualClock::at(0);
    let job = StreamingContext::builder("processes", secs(1)).without_logging().runtime(runtime).without_checkpoint();
    let job = job.start_on_clock(clock, move |ssc| {
        let counts = ssc.test_stream(input.clone()).count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key();
        let nowhere = |_: &mut (), _, _, rows: &[(String, i64)]| {
            black_box(rows.len());
            Ok(())
        };
        counts.update().foreach_partition(|| Ok(()), nowhere);
        Ok(())
    })?;
    let tenth = BatchTime::from_millis(1_000 * (work.batches / 10) as u64);
    let watch = Arc::new(Watch { first: tenth, begun: Mutex::default(), seconds: Mutex::default() });
    job.add_streaming_listener(watch.clone());
    job.await_termination()?;
    if first {
        println!("seconds {}", watch.seconds.lock().unwrap_or_else(|e| e.into_inner()));
    }
    println!("cpu {}", cpu_seconds() - before);
    Ok(())
}
