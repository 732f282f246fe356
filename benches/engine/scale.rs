//! What a batch costs over workers, processes, partitions, keys, outputs, windows and batches that are held for questions.
//!
//! Each measurement is a process of its own, because memory that one job has used stays with its process. A job of several processes is
//! launched; its first process adds up what all of them need.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use tidemill::cluster::launch::Launch;
use tidemill::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use tidemill::core::plan::Split;
use tidemill::prelude::*;

use crate::results::{head, record, row};
use crate::shared::{cpu_seconds_of, random};
use crate::{Size, nowhere, status_of};

/// The argument that makes a process measure one shape.
pub const ALONE: &str = "__shape";

/// The batches before the measurement, and those that are measured.
const BATCHES: (u64, u64) = (20, 100);

/// A job: running totals of words, and windows over the same words.
#[derive(Clone, Copy)]
struct Shape {
    /// In each process.
    workers: u16,
    processes: u16,
    /// Partitions of the source; the workers share them.
    partitions: u32,
    keys: u64,
    /// Records of each batch.
    records: u64,
    /// Outputs of the totals.
    outputs: usize,
    /// Sliding windows, each of another length.
    windows: u64,
    /// Earlier batches of the totals that can be asked for; 0: no batch can.
    history: u64,
}

const USUAL: Shape =
    Shape { workers: 1, processes: 1, partitions: 8, keys: 10_000, records: 0, outputs: 1, windows: 0, history: 0 };

impl Shape {
    fn text(self) -> String {
        let Shape { workers, processes, partitions, keys, records, outputs, windows, history } = self;
        let numbers = [workers.into(), processes.into(), partitions.into(), keys, records, outputs as u64, windows, history];
        numbers.map(|n: u64| n.to_string()).join(",")
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u64> = text.split(',').map_while(|n| n.parse().ok()).collect();
        let [workers, processes, partitions, keys, records, outputs, windows, history] = numbers[..] else {
            return Err(format!("{ALONE}: eight numbers are needed, not {text:?}"));
        };
        let (workers, processes, partitions, outputs) = (workers as u16, processes as u16, partitions as u32, outputs as usize);
        Ok(Shape { workers, processes, partitions, keys, records, outputs, windows, history })
    }
}

/// A dimension: its name, what is measured of it, and the shape of a value.
type Dimension = (&'static str, &'static [u64], fn(u64) -> Shape);

/// What one shape costs.
struct Cost {
    /// CPU time of a batch, of all threads.
    cpu_ms: f64,
    resident_mib: f64,
    threads: f64,
}

/// Measures one dimension after the other; all other dimensions are as usual.
pub fn scale(size: Size) {
    let most = |values: &'static [u64]| if size.part == 1 { values } else { &values[..2] };
    for records in [0, 100_000 / size.part as u64] {
        let name = if records == 0 { "an empty batch" } else { "100,000 records" };
        let with = |shape: Shape| Shape { records, ..shape };
        let dimensions: [Dimension; 7] = [
            ("workers", most(&[1, 2, 4, 8, 16, 32, 48, 64]), |n| Shape { workers: n as u16, partitions: 200, ..USUAL }),
            ("processes", most(&[1, 2, 4, 8, 16]), |n| Shape { processes: n as u16, partitions: 200, ..USUAL }),
            ("partitions", most(&[1, 10, 100, 1_000]), |n| Shape { partitions: n as u32, ..USUAL }),
            ("keys", most(&[10_000, 100_000, 1_000_000, 10_000_000]), |n| Shape { keys: n, ..USUAL }),
            ("outputs", most(&[1, 4, 16, 64]), |n| Shape { outputs: n as usize, ..USUAL }),
            ("windows", most(&[1, 4, 16, 64]), |n| Shape { windows: n, ..USUAL }),
            ("history", most(&[1, 10, 100]), |n| Shape { history: n, keys: 100_000, ..USUAL }),
        ];
        for (dimension, values, shape) in dimensions {
            head(&[&format!("{name}, {dimension}"), "CPU ms per batch", "resident MiB", "threads"]);
            for n in values {
                let cost = measured(with(shape(*n)));
                row([
                    n.to_string(),
                    format!("{:.2}", cost.cpu_ms),
                    format!("{:.0}", cost.resident_mib),
                    format!("{:.0}", cost.threads),
                ]);
                let question = format!("scale_{dimension}");
                record(&question, name, *n as f64, "CPU ms", &[cost.cpu_ms]);
                record(&question, name, *n as f64, "resident MiB", &[cost.resident_mib]);
                record(&question, name, *n as f64, "threads", &[cost.threads]);
            }
        }
    }
}

/// What the processes of a job have written.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(|e| e.into_inner())).into_owned()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Measures a shape in processes of its own.
fn measured(shape: Shape) -> Cost {
    let own = std::env::current_exe().expect("the path of this program");
    let args = [ALONE.to_string(), shape.text()].map(OsString::from).to_vec();
    let (said, errors) = (Said::default(), Said::default());
    let launch = Launch::new(own, args, shape.processes.into(), shape.workers.into());
    // The first process ends when it has measured, which is an error for the others.
    let ended = launch.run(said.clone(), errors.clone());
    let text = said.text();
    let figures: Vec<f64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [cpu_ms, resident_mib, threads] = figures[..] else {
        panic!("{}: {ended:?}: {text} {}", shape.text(), errors.text());
    };
    Cost { cpu_ms, resident_mib, threads }
}

/// The arguments of one process of a shape.
#[derive(clap::Parser)]
struct Args {
    shape: Shape,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The processes that were launched together with this one, and itself.
fn family() -> Vec<u32> {
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let own = parent(std::process::id());
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| own.is_some() && parent(*pid) == own).collect()
}

/// Runs one process of a shape. The first one prints what all of them cost.
pub fn alone(args: &[String]) {
    let Args { shape, runtime } = Args::parse_from(args);
    let clock = tidemill::job::ManualClock::at(0);
    let first = runtime.process == 0;
    let job = StreamingContext::builder("scale", secs(1)).runtime(runtime).without_logging().without_checkpoint();
    let job = job.start_on_clock(clock.clone(), move |ssc| {
        let words = ssc.from_source(shape);
        let totals = words.count_by_value().sum_by_key();
        if shape.history > 0 {
            totals.queryable("totals").history(shape.history as u32);
        }
        (0..shape.outputs).for_each(|_| nowhere(&totals.update()));
        for n in 1..=shape.windows {
            nowhere(&words.count_by_value_and_window(secs(10 * n), secs(1)).changes());
        }
        Ok(())
    });
    let job = job.expect("the job of the benchmark");
    if !first {
        // It ends with the first process.
        let _ = job.await_termination();
        return;
    }
    let run_until = |batches: u64| {
        while job.statistics().batches < batches {
            clock.set((job.statistics().batches + 1) * 1_000);
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    // All batches that are held have been there before the measurement.
    let before = BATCHES.0 + shape.history;
    run_until(before);
    let all = family();
    let seconds = || all.iter().map(|pid| cpu_seconds_of(*pid)).sum::<f64>();
    let sum = |what| all.iter().map(|pid| status_of(*pid, what)).sum::<f64>();
    let begun = seconds();
    run_until(before + BATCHES.1);
    let cpu_ms = (seconds() - begun) * 1e3 / BATCHES.1 as f64;
    println!("{cpu_ms} {} {}", sum("VmRSS:") / 1024.0, sum("Threads:"));
    // The end of a job with many workers takes time that nobody measures.
    let _ = std::io::stdout().flush();
    std::process::exit(0);
}

/// The source of a shape: each batch has its records, whenever it ends.
impl Source for Shape {
    type Item = String;

    fn name(&self) -> String {
        "random words".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(*self))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<String>>> {
        Ok(Box::new(Words { shape: *self, splits: Vec::new(), seed: 1 }))
    }
}

impl SplitEnumerator for Shape {
    fn restore(&mut self, _: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Ok((0..self.partitions).map(|n| SplitOffset { split: Split::custom("words", n as i32), from: 0 }).collect())
    }
}

struct Words {
    shape: Shape,
    /// The splits of this reader, each with its position.
    splits: Vec<(u32, i64)>,
    seed: u64,
}

impl SourceReader<String> for Words {
    fn assign(&mut self, split_id: u32, _: &Split, _: Option<i64>) -> tidemill::Result<()> {
        self.splits.push((split_id, 0));
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, String>) -> tidemill::Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, emit: &mut Emit<'_, String>) -> tidemill::Result<Sealed> {
        let each = self.shape.records / u64::from(self.shape.partitions);
        let mut ranges = BTreeMap::new();
        for (id, at) in &mut self.splits {
            if each > 0 {
                let words = (0..each).map(|_| format!("word {}", random(&mut self.seed) % self.shape.keys)).collect();
                emit(*id, words, 10 * each as usize);
            }
            ranges.insert(*id, *at..*at + each as i64);
            *at += each as i64;
        }
        Ok(Sealed { ranges, ..Sealed::default() })
    }

    fn read_range(&mut self, _: u32, _: &SplitRange, _: &mut Emit<'_, String>) -> tidemill::Result<bool> {
        Ok(true)
    }
}
