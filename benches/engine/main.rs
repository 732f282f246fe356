//! The engine without Kafka: named workloads, some beside a plain loop over the same records.
//!
//! `scripts/bench engine [--quick | --once] [WORKLOAD]...` runs the named workloads (default: all). Prints Markdown, with wall time and the CPU
//! time of all threads. CPU time varies less on a shared machine. docs/benchmarks.md has results with date and machine.

mod checkpoints;
mod churn;
mod event_time;
mod graphs;
mod scale;
mod view_readers;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::core::data::Exchange;
use tidemill::prelude::*;

#[path = "../results.rs"]
mod results;
#[path = "../shared.rs"]
mod shared;
use results::{Taken, head, middle, record, row, spread};
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much a workload does. `--quick` tries it: its figures mean nothing.
#[derive(Clone, Copy)]
struct Size {
    /// Runs of each measurement. The output has the median and the extremes.
    runs: usize,
    /// Runs of each measurement with several workers: on a shared machine the speed of two threads varies more.
    turns: usize,
    /// Batches and records are fewer by this factor.
    part: usize,
}

const FULL: Size = Size { runs: 5, turns: 15, part: 1 };
const QUICK: Size = Size { runs: 1, turns: 1, part: 50 };
/// `--once`: one run of each measurement. Two builds are compared by such runs in turns.
const ONCE: Size = Size { runs: 1, turns: 1, part: 1 };

/// A name, and the function that measures.
type Workload = (&'static str, fn(Size));

const WORKLOADS: [Workload; 15] = [
    ("counts", counts),
    ("keys", keys),
    ("scaling", scaling),
    ("scale", scale::scale),
    ("windows", windows),
    ("changes", changes),
    ("complete", complete),
    ("event_time", event_time::event_time),
    ("checkpoints", checkpoints::checkpoints),
    ("written", checkpoints::written),
    ("readers", readers),
    ("view_readers", view_readers::view_readers),
    ("churn", churn::churn),
    ("page_rank", graphs::page_rank),
    ("graph_changes", graphs::graph_changes),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == scale::ALONE) {
        return scale::alone(&args);
    }
    if args.first().is_some_and(|first| first == view_readers::ALONE) {
        return view_readers::alone(&args);
    }
    // cargo passes --bench.
    let (options, asked): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|arg| arg != "--bench").partition(|arg| arg.starts_with('-'));
    let unknown = options
        .iter()
        .find(|o| !["--quick", "--once"].contains(&o.as_str()))
        .or(asked.iter().find(|a| WORKLOADS.iter().all(|(name, _)| name != a)));
    if let Some(unknown) = unknown {
        let names: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
        eprintln!("engine: no workload or option '{unknown}'; there are: --quick --once {}", names.join(" "));
        std::process::exit(2);
    }
    let size = match options.first().map(String::as_str) {
        None => FULL,
        Some("--once") => ONCE,
        Some(_) => QUICK,
    };
    for (_, run) in WORKLOADS.iter().filter(|(name, _)| asked.is_empty() || asked.iter().any(|a| a == name)) {
        run(size);
    }
}

/// A number of this process that Linux tells, such as `VmRSS:` (KiB) or `Threads:`.
fn status(name: &str) -> f64 {
    status_of(std::process::id(), name)
}

/// As `status`, of another process.
fn status_of(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux says what a process has");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} is not in the status"));
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Batches that all workers read.
type Input = Arc<[Vec<u32>]>;

fn batches(count: usize, size: usize, draw: impl Fn(&mut u64) -> u32) -> Input {
    let mut seed = 1;
    (0..count).map(|_| (0..size).map(|_| draw(&mut seed)).collect()).collect()
}

fn timed(size: Size, run: impl Fn() -> Duration) -> Taken {
    let [(taken, _)] = interleaved(size.runs, [&run]);
    taken
}

/// Runs several ways to do the same, in turns. Returns how long each took, and its speed relative to the first in the same turn.
fn interleaved<const N: usize>(turns: usize, ways: [&dyn Fn() -> Duration; N]) -> [(Taken, String); N] {
    let mut times = [const { Vec::new() }; N];
    let mut cpus = [const { Vec::new() }; N];
    for _ in 0..turns {
        for (way, run) in ways.iter().enumerate() {
            let before = cpu_seconds();
            times[way].push(run().as_secs_f64());
            cpus[way].push(cpu_seconds() - before);
        }
    }
    let sorted = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v
    };
    std::array::from_fn(|way| {
        let ratios = sorted(times[0].iter().zip(&times[way]).map(|(first, this)| first / this).collect());
        (Taken { seconds: sorted(times[way].clone()), cpu: sorted(cpus[way].clone()) }, spread(&ratios, 2))
    })
}

/// The head of a table of measurements; `show` prints its rows.
fn measurements(more: &[&str]) {
    head(&[&["workload", "M records/s", "seconds", "CPU, s"], more].concat());
}

fn show(what: &str, records: f64, taken: &Taken, more: &[&str]) {
    let speed = format!("{:.2}", records / taken.median() / 1e6);
    let cells = [what.to_owned(), speed, spread(&taken.seconds, 3), format!("{:.2}", middle(&taken.cpu))];
    row(cells.into_iter().chain(more.iter().map(|m| m.to_string())));
}

/// How long a job takes over given batches, start included.
fn job<F>(workers: u16, batches: &Input, program: F) -> Duration
where
    F: for<'s> Fn(&DStream<'s, u32>) + Send + Sync + 'static,
{
    let batches = batches.clone();
    let start = Instant::now();
    StreamingContext::builder("bench", secs(1))
        .without_logging()
        .workers(workers)
        .start_on_clock(tidemill::job::ManualClock::at(0), move |ssc| {
            program(&ssc.test_stream(batches.clone()));
            Ok(())
        })
        .and_then(JobHandle::await_termination)
        .expect("the job of the benchmark");
    start.elapsed()
}

fn words(n: u32) -> &'static [String] {
    let mut seed = 7;
    let letter = |s: &mut u64| (b'a' + (random(s) % 26) as u8) as char;
    let words: Vec<String> = (0..n).map(|_| (0..7).map(|_| letter(&mut seed)).collect()).collect();
    words.leak()
}

/// Running totals over 5,000 words and 100,000 records per batch, with and without the work of the output thread. Runs one worker, two
/// workers, and two jobs of one worker at once. The two jobs each have half of the batches, and share only the machine.
fn counts(size: Size) {
    let words = words(5_000);
    let count = 400 / size.part;
    let input = batches(count, 100_000, |s| (random(s) % 5_000) as u32);
    measurements(&["x 1 worker"]);
    let halves: Vec<Input> = input.chunks(count / 2).map(|half| half.into()).collect();
    for (what, written) in [("counted", false), ("written", true)] {
        let program = move |s: &DStream<'_, u32>| {
            let totals = s.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key().update();
            match written {
                true => nowhere(&totals),
                false => nowhere(&totals.count()),
            }
        };
        let apart = || {
            let start = Instant::now();
            std::thread::scope(|s| halves.iter().for_each(|half| _ = s.spawn(|| job(1, half, program))));
            start.elapsed()
        };
        let one = || job(1, &input, program);
        let two = || job(2, &input, program);
        let ways = ["1 worker", "2 workers", "2 jobs of 1 worker, apart"];
        for (way, (taken, ratio)) in ways.iter().zip(interleaved(size.turns, [&one, &two, &apart])) {
            show(&format!("counts: totals {what}, {way}"), (count * 100_000) as f64, &taken, &[&ratio]);
        }
    }
}

/// A million distinct strings and 100,000 records per batch, uniform and Zipf(1), compared with a plain hash map.
fn keys(size: Size) {
    let n = 1_000_000u32;
    let words = words(n);
    let weights: Vec<f64> = (1..=n)
        .scan(0.0, |sum, i| {
            *sum += 1.0 / i as f64;
            Some(*sum)
        })
        .collect();
    let total = weights[n as usize - 1];
    let zipf = |s: &mut u64| weights.partition_point(|w| *w < random(s) as f64 / u64::MAX as f64 * total) as u32;
    let rows = 100_000 / size.part;
    let inputs = [("uniform", batches(40, rows, |s| (random(s) % n as u64) as u32)), ("Zipf(1)", batches(40, rows, zipf))];
    measurements(&["x the map"]);
    for (name, input) in inputs {
        let plain = timed(size, || {
            let start = Instant::now();
            let mut map: HashMap<&str, i64, foldhash::fast::RandomState> = HashMap::default();
            for i in input.iter().flatten() {
                *map.entry(&words[*i as usize]).or_insert(0) += 1;
            }
            black_box(map.len());
            start.elapsed()
        });
        let records = (40 * rows) as f64;
        show(&format!("keys: {name}, a plain hash map"), records, &plain, &["1"]);
        let time = timed(size, || {
            job(1, &input, |s| {
                let counts = s.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key();
                nowhere(&counts.update());
            })
        });
        show(&format!("keys: {name}, one worker"), records, &time, &[&format!("{:.2}", plain.median() / time.median())]);
    }
}

/// The speed of running totals on 1, 2, 4 and more workers, up to the number of cores, over few and many keys.
fn scaling(size: Size) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let words = words(1_000_000);
    measurements(&[]);
    for (keys, count) in [(1_000u32, 200), (100_000, 100), (1_000_000, 40)] {
        let rows = 100_000 / size.part;
        let input = batches(count, rows, |s| (random(s) % u64::from(keys)) as u32);
        for workers in (0..).map(|power| 1 << power).take_while(|workers| usize::from(*workers) <= cores.max(2)) {
            let time = timed(size, || {
                job(workers, &input, |s| {
                    nowhere(&s.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key().update());
                })
            });
            let records = (count * rows) as f64;
            show(&format!("scaling: {keys} keys, {workers} workers"), records, &time, &[]);
            let speeds: Vec<f64> = time.seconds.iter().rev().map(|seconds| records / seconds / 1e6).collect();
            record("scaling", &format!("{keys} keys"), workers.into(), "M records/s", &speeds);
        }
    }
}

/// Batches of the workloads with windows, of one second and 1,000 records over 5,000 words.
const SLIDING: usize = 5_000;

fn sliding(size: Size) -> Input {
    batches(SLIDING / size.part, 1_000, |s| (random(s) % 5_000) as u32)
}

/// Sliding counts with the changes of the window: how long a batch takes for each length and slide.
fn windows(size: Size) {
    let words = words(5_000);
    let input = sliding(size);
    head(&["window", "slide", "ms per batch"]);
    for slide in [1, 10, 60] {
        for length in [10, 60, 600, 3_600].into_iter().filter(|length| *length >= slide) {
            let time = timed(size, || {
                job(1, &input, move |s| {
                    let words = s.map(|i| words[i as usize].clone());
                    nowhere(&words.count_by_value_and_window(secs(length), secs(slide)).changes());
                })
            });
            let per_batch: Vec<f64> = time.seconds.iter().map(|seconds| seconds * 1e3 / input.len() as f64).collect();
            row([format!("{length} s"), format!("{slide} s"), spread(&per_batch, 3)]);
            record("windows", &format!("slide {slide} s"), length as f64, "ms per batch", &per_batch);
        }
    }
}

/// Sliding counts with the changes of the window, for a slide of 1 s.
fn changes(size: Size) {
    let words = words(5_000);
    let input = sliding(size);
    measurements(&[]);
    for length in [12, 60, 600, 3_600] {
        let time = timed(size, || {
            job(1, &input, move |s| {
                let words = s.map(|i| words[i as usize].clone());
                nowhere(&words.count_by_value_and_window(secs(length), secs(1)).changes());
            })
        });
        show(&format!("windows: {length} s, as changes"), (input.len() * 1_000) as f64, &time, &[]);
    }
}

/// Sliding counts with all rows of the window, every second. `scripts/bench windows` runs Flink's HOP over records of the same form.
fn complete(size: Size) {
    let words = words(5_000);
    let input = sliding(size);
    measurements(&[]);
    for length in [12, 60] {
        let time = timed(size, || {
            job(1, &input, move |s| {
                let words = s.map(|i| words[i as usize].clone());
                nowhere(&words.count_by_value_and_window(secs(length), secs(1)).complete());
            })
        });
        show(&format!("windows: {length} s, complete"), (input.len() * 1_000) as f64, &time, &[]);
        record("hop", "tidemill", length as f64, "seconds", &time.seconds);
    }
}

/// The cheapest output: rows reach the output thread in order, and the thread drops them.
fn nowhere<T: Exchange>(rows: &DStream<'_, T>) {
    let write = |_: &mut (), _, _, rows: &[T]| {
        black_box(rows.len());
        Ok(())
    };
    rows.foreach_partition(|| Ok(()), write);
}

/// 1, 3 and 5 verbs read the same rows. Verbs that only read share them.
fn readers(size: Size) {
    let rows = 100_000 / size.part;
    measurements(&[]);
    let input = batches(100, rows, |s| random(s) as u32);
    for readers in [1, 3, 5] {
        let time = timed(size, || {
            job(1, &input, move |s| {
                let tweets = s.map(|i| [i; 8]);
                for _ in 0..readers {
                    tweets.count().foreach_batch(|b| {
                        black_box(b.len());
                        Ok(())
                    });
                }
            })
        });
        show(&format!("readers: {readers} x count of the same rows"), (100 * rows) as f64, &time, &[]);
    }
}
