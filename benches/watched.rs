//! What readers of the page cost a job: the time of its batches with nobody there, with 200 readers of events, with 1,000 requests a
//! second, with 1,000 questions to a view a second, and with a computation that was added.
//!
//! `scripts/bench watched [--pairs N] [--seconds N]`. A job with two workers counts 50,000 words a second, by 5,000 words, in batches of
//! 100 ms. Readers are a process of their own, beside it on the same machine. Each layout runs in turns, as a process of its own; the first two
//! seconds are not counted. The readers' own time is the price of a machine that has no core for them, so what they had is printed too. Prints Markdown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use tidemill::metrics::StreamingListener;
use tidemill::prelude::*;

#[path = "shared.rs"]
mod shared;
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORDS_PER_SECOND: u64 = 50_000;
const WORDS: u64 = 5_000;
const EVENT_READERS: usize = 200;
const ASKERS: u64 = 20;
const ASKED_PER_SECOND: u64 = 1_000;
const WARM: Duration = Duration::from_secs(2);
const LAYOUTS: [&str; 5] = ["nobody", "events", "requests", "questions", "added"];

#[derive(Parser)]
struct Args {
    /// How many runs of each layout
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// How long each run is
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the job of one run, with these readers
    #[arg(long, hide = true)]
    run: Option<String>,
    /// Be the readers: which, and where the job is
    #[arg(long, hide = true, num_args = 2)]
    load: Option<Vec<String>>,
}

/// The total delay of each batch after the warm-up, in milliseconds.
struct Delays {
    began: Instant,
    all: Mutex<Vec<f64>>,
}

impl StreamingListener for Delays {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        if self.began.elapsed() > WARM {
            self.all.lock().unwrap().push(batch.total_delay().as_secs_f64() * 1_000.0);
        }
    }
}

/// One run. Prints p50 and p95 of the total delay in milliseconds, the number of batches, the answers, and the CPU seconds of the job and of
/// its readers.
fn run(layout: &str, seconds: u64) -> Result<(), BoxError> {
    let job = StreamingContext::builder("watched", millis(100)).workers(2).without_checkpoint().without_logging();
    let job = job.listen(([127, 0, 0, 1], 0).into()).start(move |ssc| {
        let numbers = ssc.rate(WORDS_PER_SECOND);
        let words = numbers.map(|(_, n)| {
            let mut seed = n as u64;
            format!("{:09}", random(&mut seed) % WORDS)
        });
        let counts = words.count_by_value().sum_by_key();
        counts.queryable("counts");
        counts.update().foreach_batch(|_| Ok(()));
        Ok(())
    })?;
    let delays = Arc::new(Delays { began: Instant::now(), all: Mutex::default() });
    job.add_streaming_listener(delays.clone());
    let address = job.address().ok_or("no address")?.to_string();
    // A question needs a batch that is out.
    while job.statistics().batches < 2 {
        std::thread::sleep(millis(10));
    }
    let mut readers = None;
    if layout == "added" {
        job.add("counts | filter _2 >= 10 | top 10")?;
    } else if layout != "nobody" {
        let load = ["--load", layout, &address, "--seconds", &seconds.to_string()];
        readers = Some(Command::new(std::env::current_exe()?).args(load).stdout(Stdio::piped()).spawn()?);
    }
    std::thread::sleep(Duration::from_secs(seconds));
    let mut all = std::mem::take(&mut *delays.all.lock().unwrap());
    let (answers, theirs) = match readers {
        None => (0, 0.0),
        Some(readers) => {
            let end = readers.wait_with_output()?;
            let out = String::from_utf8(end.stdout)?;
            let (answers, cpu) = out.trim().split_once(' ').ok_or_else(|| format!("the readers: {out}"))?;
            (answers.parse::<u64>()?, cpu.parse::<f64>()?)
        }
    };
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() as f64 * share) as usize).min(all.len() - 1)];
    println!("{} {} {} {answers} {} {theirs}", at(0.5), at(0.95), all.len(), cpu_seconds());
    job.stop_now()?;
    Ok(())
}

/// Reads the head of an answer, and returns its length.
fn head(reader: &mut BufReader<TcpStream>) -> std::io::Result<usize> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            return Ok(length);
        }
        if lower.starts_with("http/") && !lower.contains(" 200 ") {
            return Err(std::io::Error::other(lower));
        }
        length = lower.strip_prefix("content-length: ").and_then(|n| n.parse().ok()).unwrap_or(length);
    }
}

/// Reads until the time is over. Prints how many events or answers came, and the CPU seconds.
fn load(kind: &str, address: SocketAddr, seconds: u64) -> Result<(), BoxError> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let answers = Arc::new(AtomicU64::new(0));
    let connect = move || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    };
    let threads: Vec<_> = if kind == "events" {
        let read = |answers: Arc<AtomicU64>| {
            move || -> std::io::Result<()> {
                let mut stream = connect()?;
                write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
                let mut reader = BufReader::new(stream);
                head(&mut reader)?;
                let mut line = String::new();
                while Instant::now() < until {
                    line.clear();
                    reader.read_line(&mut line)?;
                    answers.fetch_add(u64::from(line.starts_with("event: ")), Ordering::Relaxed);
                }
                Ok(())
            }
        };
        (0..EVENT_READERS).map(|_| std::thread::spawn(read(answers.clone()))).collect()
    } else {
        let asks_view = kind == "questions";
        let ask = |asker: u64, answers: Arc<AtomicU64>| {
            move || -> std::io::Result<()> {
                let mut reader = BufReader::new(connect()?);
                let (began, mut seed, mut body) = (Instant::now(), asker, Vec::new());
                for n in 0.. {
                    let due = began + Duration::from_micros((n * ASKERS + asker) * 1_000_000 / ASKED_PER_SECOND);
                    if due > until {
                        break;
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let path = match asks_view {
                        true => format!("/api/v1/views/counts?key=%22{:09}%22", random(&mut seed) % WORDS),
                        false => "/api/v1/job".to_owned(),
                    };
                    write!(reader.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
                    body.resize(head(&mut reader)?, 0);
                    reader.read_exact(&mut body)?;
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        };
        (0..ASKERS).map(|asker| std::thread::spawn(ask(asker, answers.clone()))).collect()
    };
    for thread in threads {
        // The job may end a little earlier.
        if let Err(e) = thread.join().map_err(|_| "a reader panicked")?
            && Instant::now() < until - Duration::from_secs(1)
        {
            return Err(e.into());
        }
    }
    println!("{} {}", answers.load(Ordering::Relaxed), cpu_seconds());
    Ok(())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    if let Some(layout) = &args.run {
        return run(layout, args.seconds);
    }
    if let Some(load_of) = &args.load {
        return load(&load_of[0], load_of[1].parse()?, args.seconds);
    }
    let mut figures: [Vec<[f64; 6]>; LAYOUTS.len()] = Default::default();
    for _ in 0..args.pairs {
        for (layout, figures) in LAYOUTS.iter().zip(&mut figures) {
            let end = Command::new(std::env::current_exe()?)
                .args(["--seconds", &args.seconds.to_string(), "--run", layout])
                .output()?;
            let out = String::from_utf8(end.stdout)?;
            let of: Vec<f64> = out.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let of = of.try_into().map_err(|_| format!("{layout}: {out}{}", String::from_utf8_lossy(&end.stderr)))?;
            figures.push(of);
        }
    }
    println!(
        "| beside the job | answers a second | p50, ms | p95 | p95 beside nobody | CPU seconds of the job | of the readers |"
    );
    println!("|---|---|---|---|---|---|---|");
    let column = |of: &[[f64; 6]], i: usize| median(of.iter().map(|figures| figures[i]).collect());
    for (layout, of) in LAYOUTS.iter().zip(&figures) {
        let ratio = median(of.iter().zip(&figures[0]).map(|(with, without)| with[1] / without[1]).collect());
        let rate = column(of, 3) / args.seconds as f64;
        let [p50, p95, job, readers] = [0, 1, 4, 5].map(|i| column(of, i));
        println!("| {layout} | {rate:.0} | {p50:.1} | {p95:.1} | {ratio:.2} | {job:.1} | {readers:.1} |");
    }
    Ok(())
}
