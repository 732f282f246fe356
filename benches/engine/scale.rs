//! What a batch costs over workers, partitions, keys, outputs and windows.
//!
//! Each measurement is a process of its own, because memory that one job has used stays with its process.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use tidemill::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use tidemill::core::plan::Split;
use tidemill::prelude::*;

use crate::results::{head, record, row};
use crate::shared::{cpu_seconds, random};
use crate::{Size, nowhere, status};

/// The argument that makes a process measure one shape.
pub const ALONE: &str = "__shape";

/// The batches before the measurement, and those that are measured.
const BATCHES: (u64, u64) = (20, 100);

/// A job: running totals of words, and windows over the same words.
#[derive(Clone, Copy)]
struct Shape {
    workers: u16,
    /// Partitions of the source; the workers share them.
    partitions: u32,
    keys: u64,
    /// Records of each batch.
    records: u64,
    /// Outputs of the totals.
    outputs: usize,
    /// Sliding windows, each of another length.
    windows: u64,
}

const USUAL: Shape = Shape { workers: 1, partitions: 8, keys: 10_000, records: 0, outputs: 1, windows: 0 };

impl Shape {
    fn text(self) -> String {
        let Shape { workers, partitions, keys, records, outputs, windows } = self;
        [u64::from(workers), partitions.into(), keys, records, outputs as u64, windows].map(|n| n.to_string()).join(",")
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u64> = text.split(',').map_while(|n| n.parse().ok()).collect();
        let [workers, partitions, keys, records, outputs, windows] = numbers[..] else {
            return Err(format!("{ALONE}: six numbers are needed, not {text:?}"));
        };
        Ok(Shape { workers: workers as u16, partitions: partitions as u32, keys, records, outputs: outputs as usize, windows })
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
        let dimensions: [Dimension; 5] = [
            ("workers", most(&[1, 2, 4, 8, 16, 32, 48, 64]), |n| Shape { workers: n as u16, partitions: 200, ..USUAL }),
            ("partitions", most(&[1, 10, 100, 1_000]), |n| Shape { partitions: n as u32, ..USUAL }),
            ("keys", most(&[10_000, 100_000, 1_000_000, 10_000_000]), |n| Shape { keys: n, ..USUAL }),
            ("outputs", most(&[1, 4, 16, 64]), |n| Shape { outputs: n as usize, ..USUAL }),
            ("windows", most(&[1, 4, 16, 64]), |n| Shape { windows: n, ..USUAL }),
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

/// Measures a shape in a process of its own.
fn measured(shape: Shape) -> Cost {
    let own = std::env::current_exe().expect("the path of this program");
    let output = Command::new(own).args([ALONE, &shape.text()]).output().expect("this program starts again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [cpu_ms, resident_mib, threads] = figures[..] else {
        panic!("{}: {text} {}", shape.text(), String::from_utf8_lossy(&output.stderr));
    };
    Cost { cpu_ms, resident_mib, threads }
}

/// Runs a shape, and prints its cost.
pub fn alone(text: &str) {
    let shape: Shape = text.parse().unwrap_or_else(|e| panic!("{e}"));
    let clock = tidemill::job::ManualClock::at(0);
    let job = StreamingContext::builder("scale", secs(1)).without_logging().workers(shape.workers);
    let job = job.start_on_clock(clock.clone(), move |ssc| {
        let words = ssc.from_source(shape);
        let totals = words.count_by_value().sum_by_key();
        (0..shape.outputs).for_each(|_| nowhere(&totals.update()));
        for n in 1..=shape.windows {
            nowhere(&words.count_by_value_and_window(secs(10 * n), secs(1)).changes());
        }
        Ok(())
    });
    let job = job.expect("the job of the benchmark");
    let run_until = |batches: u64| {
        while job.statistics().batches < batches {
            clock.set((job.statistics().batches + 1) * 1_000);
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    run_until(BATCHES.0);
    let before = cpu_seconds();
    run_until(BATCHES.0 + BATCHES.1);
    let cpu_ms = (cpu_seconds() - before) * 1e3 / BATCHES.1 as f64;
    println!("{cpu_ms} {} {}", status("VmRSS:") / 1024.0, status("Threads:"));
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
