//! The engine without Kafka: named workloads, some beside a plain loop over the same records.
//!
//! `cargo bench --features testing --bench engine -- [counts|keys|changes|complete|checkpoints|written|readers|churn]...`; all of them without a name.
//! Prints one line per measurement, with wall time and the CPU time of all threads, which is steadier on a shared machine.
//! docs/benchmarks.md has results with date and machine.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::core::data::Exchange;
use tidemill::prelude::*;

#[path = "shared.rs"]
mod shared;
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each measurement. The output has the median and the extremes.
const RUNS: usize = 5;
/// Runs of each measurement with several workers: on a shared machine the speed of two threads varies more.
const TURNS: usize = 15;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let benches = [
        ("counts", counts as fn()),
        ("keys", keys),
        ("changes", changes),
        ("complete", complete),
        ("checkpoints", checkpoints),
        ("written", written),
        ("readers", readers),
        ("churn", churn),
    ];
    for (name, bench) in benches {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            bench();
        }
    }
}

/// Batches that all workers read.
type Input = Arc<[Vec<u32>]>;

fn batches(count: usize, size: usize, draw: impl Fn(&mut u64) -> u32) -> Input {
    let mut seed = 1;
    (0..count).map(|_| (0..size).map(|_| draw(&mut seed)).collect()).collect()
}

/// The seconds that some runs took: median, minimum and maximum, and the median of their CPU time.
struct Taken {
    median: f64,
    least: f64,
    most: f64,
    cpu: f64,
}

fn timed(run: impl Fn() -> Duration) -> Taken {
    let [(taken, _)] = interleaved(RUNS, [&run]);
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
        let (t, cpu) = (sorted(times[way].clone()), sorted(cpus[way].clone()));
        let taken = Taken { median: t[turns / 2], least: t[0], most: t[turns - 1], cpu: cpu[turns / 2] };
        (taken, format!("{:.2} ({:.2} to {:.2})", ratios[turns / 2], ratios[0], ratios[turns - 1]))
    })
}

fn show(what: &str, records: f64, taken: &Taken) {
    let Taken { median, least, most, cpu } = taken;
    println!("{what:<52} {:>7.2} M records/s   {median:.3} s ({least:.3} to {most:.3})   CPU {cpu:.2} s", records / median / 1e6);
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

/// 5,000 words, 100,000 records a batch, running totals, with and without the work of the output thread. One worker, two workers,
/// and two jobs of one worker at once, each over half of the batches: these share nothing but the machine.
fn counts() {
    let words = words(5_000);
    let input = batches(400, 100_000, |s| (random(s) % 5_000) as u32);
    let halves: Vec<Input> = input.chunks(200).map(|half| half.into()).collect();
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
        for (way, (taken, ratio)) in ways.iter().zip(interleaved(TURNS, [&one, &two, &apart])) {
            show(&format!("counts: totals {what}, {way}"), 4e7, &taken);
            println!("{:>52} {ratio}", "x 1 worker:");
        }
    }
}

/// A million distinct strings, 100,000 records a batch, uniform and Zipf(1), beside a plain hash map.
fn keys() {
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
    for (name, input) in
        [("uniform", batches(40, 100_000, |s| (random(s) % n as u64) as u32)), ("Zipf(1)", batches(40, 100_000, zipf))]
    {
        let plain = timed(|| {
            let start = Instant::now();
            let mut map: HashMap<&str, i64, foldhash::fast::RandomState> = HashMap::default();
            for i in input.iter().flatten() {
                *map.entry(&words[*i as usize]).or_insert(0) += 1;
            }
            black_box(map.len());
            start.elapsed()
        });
        show(&format!("keys: {name}, a plain hash map"), 4e6, &plain);
        let time = timed(|| {
            job(1, &input, |s| {
                let counts = s.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key();
                nowhere(&counts.update());
            })
        });
        show(&format!("keys: {name}, one worker: {:.2} x the map", plain.median / time.median), 4e6, &time);
    }
}

/// Sliding counts: 5 M records, 1,000 per one-second batch, 5,000 words, slide 1 s; the changes of the window.
fn changes() {
    let words = words(5_000);
    let input = sliding();
    for length in [12, 60, 600, 3_600] {
        let time = timed(|| {
            job(1, &input, move |s| {
                let words = s.map(|i| words[i as usize].clone());
                nowhere(&words.count_by_value_and_window(secs(length), secs(1)).changes());
            })
        });
        show(&format!("windows: {length} s, as changes"), 5e6, &time);
    }
}

/// The same; all rows of the window, every second.
fn complete() {
    let words = words(5_000);
    let input = sliding();
    for length in [12, 60] {
        let time = timed(|| {
            job(1, &input, move |s| {
                let words = s.map(|i| words[i as usize].clone());
                nowhere(&words.count_by_value_and_window(secs(length), secs(1)).complete());
            })
        });
        show(&format!("windows: {length} s, complete"), 5e6, &time);
    }
}

/// A million keys, 50,000 records per one-second batch: how long batches take with and without a checkpoint every five seconds, and
/// how long a restart takes.
fn checkpoints() {
    let words = words(1_000_000);
    let dir = std::env::temp_dir().join(format!("tidemill-bench-checkpoints-{}", std::process::id()));
    let mut seed = 3;
    let mut batches: Vec<Vec<u32>> = vec![(0..1_000_000).collect()];
    batches.extend((0..SECONDS).map(|_| (0..50_000).map(|_| (random(&mut seed) % 1_000_000) as u32).collect()));
    let run = |batches: Vec<Vec<u32>>, checkpoint: bool| {
        let (queue, batches_done) = (QueueSource::new(), Arc::new(Processed::default()));
        let count = batches.len();
        batches.into_iter().for_each(|b| queue.push(b));
        let builder = StreamingContext::builder("checkpoints", secs(1)).without_logging();
        let builder = match checkpoint {
            true => builder.checkpoint(&dir).checkpoint_interval(secs(5)),
            false => builder.without_checkpoint(),
        };
        let start = Instant::now();
        let job = builder.start(move |ssc| {
            let rows = ssc.queue_stream(&queue);
            nowhere(&rows.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key().update());
            Ok(())
        });
        let job = job.expect("the job of the benchmark");
        job.add_streaming_listener(batches_done.clone());
        while batches_done.0.lock().unwrap().len() < count {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = start.elapsed();
        job.stop_gracefully().expect("the job of the benchmark");
        // The first batches make the keys and fill the caches.
        let mut times: Vec<f64> = batches_done.0.lock().unwrap().iter().skip(3).map(|d| d.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        (times, took)
    };
    for checkpoint in [false, true] {
        let (times, _) = run(batches.clone(), checkpoint);
        let at = |q: usize| times[(times.len() - 1) * q / 100];
        let what = if checkpoint { "with a checkpoint every 5 s" } else { "without checkpoints" };
        println!("checkpoints: {what:<30} batch median {:.1} ms, p95 {:.1} ms, most {:.1} ms", at(50), at(95), at(100));
    }
    let (_, took) = run(vec![vec![7]], true);
    println!("checkpoints: restart with a million keys, to the end of its first batch: {:.2} s", took.as_secs_f64());
    let _ = std::fs::remove_dir_all(dir);
}

/// Bytes that a checkpoint of a window writes: 10,000 records per one-second batch over 100,000 words, two workers, a window of 60 s.
fn written() {
    let words = words(100_000);
    let input = batches(130, 10_000, |s| (random(s) % 100_000) as u32);
    for every in [1, 10] {
        let counts = saved(&input, every, move |s| {
            let words = s.map(|i| words[i as usize].clone());
            nowhere(&words.count_by_value_and_window(secs(60), secs(1)).changes());
        });
        println!("written: sliding counts, a checkpoint every {every} s: {counts}");
        let most = saved(&input, every, move |s| {
            let words = s.map(|i| (words[i as usize].clone(), u64::from(i)));
            nowhere(&words.reduce_by_key_and_window(u64::max, secs(60), secs(1)).changes());
        });
        println!("written: sliding maximum, a checkpoint every {every} s: {most}");
    }
}

/// Bytes in each checkpoint of a job, once its window is full.
fn saved<F>(batches: &Input, every: u64, program: F) -> String
where
    F: for<'s> Fn(&DStream<'s, u32>) + Send + Sync + 'static,
{
    use tidemill::checkpoint::Directory;
    let dir = std::env::temp_dir().join(format!("tidemill-bench-written-{}", std::process::id()));
    let (queue, clock) = (QueueSource::new(), tidemill::job::ManualClock::at(0));
    let rows = queue.clone();
    let builder = StreamingContext::builder("bench", secs(1))
        .without_logging()
        .workers(2)
        .checkpoint(&dir)
        .checkpoint_interval(secs(every));
    let job = builder.start_on_clock(clock.clone(), move |ssc| {
        program(&ssc.queue_stream(&rows));
        Ok(())
    });
    let job = job.expect("the job of the benchmark");
    let (mut checkpoints, mut chunks, mut manifests, mut all) = (0, 0, 0, 0);
    for (second, batch) in (1u64..).zip(batches.iter()) {
        queue.push(batch.clone());
        clock.set(second * 1_000);
        while job.statistics().batches < second {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !second.is_multiple_of(every) {
            continue;
        }
        let newest = || Directory::open(&dir).ok()?.checkpoints().ok()?.into_iter().next()?.1.ok();
        let made = loop {
            match newest() {
                Some(m) if m.time.millis() == second * 1_000 => break m,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if second > 60 {
            let new: std::collections::BTreeSet<_> = made.files().into_iter().filter(|f| f.time == made.time).collect();
            let size = |name: String| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
            checkpoints += 1;
            chunks += new.into_iter().map(|f| size(f.to_string())).sum::<u64>();
            manifests += size(made.file().to_string());
            all += made.bytes();
        }
    }
    job.stop_now().expect("the job of the benchmark");
    let stay: Vec<u64> = std::fs::read_dir(dir.join("pieces"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|f| Some(f.metadata().ok()?.len()))
        .collect();
    let _ = std::fs::remove_dir_all(&dir);
    let mean = |bytes: u64| bytes / checkpoints / 1024;
    format!(
        "{checkpoints} checkpoints of {} KiB, each with {} KiB of new chunks and {} KiB of manifest; {} KiB in {} files stay",
        mean(all),
        mean(chunks),
        mean(manifests),
        stay.iter().sum::<u64>() / 1024,
        stay.len()
    )
}

/// One-second batches of the benchmark of checkpoints.
const SECONDS: usize = 30;

/// How long each batch took.
#[derive(Default)]
struct Processed(std::sync::Mutex<Vec<Duration>>);

impl StreamingListener for Processed {
    fn on_batch_completed(&self, info: &BatchInfo) {
        self.0.lock().unwrap().push(info.processing_time);
    }
}

fn sliding() -> Input {
    batches(5_000, 1_000, |s| (random(s) % 5_000) as u32)
}

/// The cheapest output: rows reach the output thread, in order, and it drops them.
fn nowhere<T: Exchange>(rows: &DStream<'_, T>) {
    let write = |_: &mut (), _, _, rows: &[T]| {
        black_box(rows.len());
        Ok(())
    };
    rows.foreach_partition(|| Ok(()), write);
}

/// 1, 3 and 5 verbs read the same rows. Verbs that only read share them.
fn readers() {
    let input = batches(100, 100_000, |s| random(s) as u32);
    for readers in [1, 3, 5] {
        let time = timed(|| {
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
        show(&format!("readers: {readers} x count of the same rows"), 1e7, &time);
    }
}

/// Keys that occur in two batches and never again: 20,000 records a batch over 20,000 keys, 10,000 of them new. Prints resident
/// memory after each million of keys. It stays flat if the job frees keys that it forgets.
fn churn() {
    type Program = fn(&DStream<'_, String>);
    let programs: [(&str, Program); 3] = [
        ("sliding counts, 5 batches", |s| {
            let counts = s.count_by_value_and_window(secs(5), secs(1));
            counts.update().foreach_partition(
                || Ok(()),
                |_, _, _, rows| {
                    black_box(rows.len());
                    Ok(())
                },
            );
        }),
        ("sliding maximum, 5 batches, no inverse", |s| {
            let largest = s.map(|k| (k, 1i64)).reduce_by_key_and_window(|a, b| a.max(b), secs(5), secs(1));
            largest.update().foreach_partition(
                || Ok(()),
                |_, _, _, rows| {
                    black_box(rows.len());
                    Ok(())
                },
            );
        }),
        ("state that ends at the first batch without its key", |s| {
            let state = s.map(|k| (k, 1i64)).update_state_by_key(|new: &[i64], sum: Option<i64>| {
                (!new.is_empty()).then(|| sum.unwrap_or(0) + new.iter().sum::<i64>())
            });
            state.foreach_partition(
                || Ok(()),
                |_, _, _, rows| {
                    black_box(rows.len());
                    Ok(())
                },
            );
        }),
    ];
    for (name, program) in programs {
        println!("churn: {name}: MiB at each million of keys: {}", churned(program).join(" "));
    }
}

fn churned(program: fn(&DStream<'_, String>)) -> Vec<String> {
    let (queue, clock) = (QueueSource::new(), tidemill::job::ManualClock::at(0));
    let source = queue.clone();
    let job =
        StreamingContext::builder("churn", secs(1)).without_logging().workers(2).start_on_clock(clock.clone(), move |ssc| {
            program(&ssc.queue_stream(&source));
            Ok(())
        });
    let job = job.expect("the job of the benchmark");
    let mut resident = Vec::new();
    for t in 1..=1_500u64 {
        queue.push((t * 10_000..(t + 2) * 10_000).map(|k| format!("key number {k}")).collect());
        clock.set(t * 1_000);
        while job.statistics().batches < t {
            std::thread::sleep(Duration::from_micros(200));
        }
        if t % 100 == 0 {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux says how much memory there is");
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("the line of the resident memory");
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
            resident.push((kib / 1024).to_string());
        }
    }
    job.stop_now().expect("the end of the benchmark");
    resident
}
