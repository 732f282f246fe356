//! `tidemill demo`: the tutorial's windowed program with an embedded broker and generated tweets. It proves that every tweet was
//! counted once.
//!
//! Blocks go to stdout, messages to stderr. `feed` writes the tweets and runs the `scenario`. The job is `dataflows/tweets/job.rs`.
//! `progress` reports events, and `tally` adds up the output.

mod feed;
mod progress;
mod scenario;
mod tally;

// The batch program reads more of it than the windowed one.
#[allow(dead_code)]
#[path = "../../../dataflows/tweets/job.rs"]
mod job;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::feed::{Counters, Feed};
use self::progress::Progress;
use self::scenario::Scenario;
use self::tally::{Proof, Tally};
use super::args;
use super::terminal::grouped;
use crate::connector::kafka::embedded_broker::EmbeddedBroker;
use crate::connector::kafka::topic_writer::Producer;
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::time::counted;
use crate::prelude::*;

const TOPIC: &str = "twitter";
/// Where the page of the job is, or at the next free port.
const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4040);
/// How long the job may take to read what was sent.
const DRAIN: Duration = Duration::from_secs(30);

/// Counts tweets each second and over a sliding window, with the program of dataflows/tweets and a broker in this process. A burst,
/// unreadable records and an outage of the broker happen on schedule. At the end every tweet is accounted for: the exit code is 0
/// only if none was lost or counted twice.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End after N batches, at least 3; a run of fewer than 12 leaves events out
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batches: u64,
    /// Worker threads
    #[arg(short = 'w', long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Tweets per second: 800, 20k or 1.5M
    #[arg(long, default_value = "800", value_name = "N", value_parser = args::rate)]
    rate: f64,
    /// Length of the window [default: 15 batches, fewer in a short run]
    #[arg(long, value_name = "SECS", value_parser = window)]
    window: Option<Duration>,
    /// Batch interval
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = crate::api::config::interval)]
    interval: Duration,
    /// Random seed
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print no batches, and keep running after the events until Ctrl-C: the page shows the job
    #[arg(long)]
    page_only: bool,
}

fn window(text: &str) -> crate::Result<Duration> {
    match text.parse::<u32>() {
        Ok(n) => Ok(secs(n.into())),
        Err(_) => crate::api::config::interval(text),
    }
}

impl Args {
    fn window(&self) -> Duration {
        self.window.unwrap_or(self.interval * (self.batches / 4).clamp(2, 15) as u32)
    }
}

/// What the parts of a running demo share.
#[derive(Clone)]
struct Stage {
    tally: Arc<Tally>,
    progress: Arc<Mutex<Progress>>,
    counters: Arc<Counters>,
}

impl Stage {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    // The broker goes away on purpose, and the demo reports that itself.
    crate::logging::init_with("warn,librdkafka=off,tidemill::job::reporter=off");
    let mut scenario = Scenario::new(args.batches);
    if args.page_only {
        scenario.last = u64::MAX;
        // The program prints as ever.
        rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    }
    let partitions = feed::partitions(args.rate, args.interval);
    let broker = Arc::new(EmbeddedBroker::start()?);
    broker.create_topic(TOPIC, partitions)?;
    let (events, happened) = mpsc::channel();
    let tally = Arc::new(Tally::default());
    let progress = Progress::new(tally.clone(), happened, args.interval, if args.page_only { None } else { Some(args.batches) });
    let stage = Stage { tally: tally.clone(), progress: Arc::new(Mutex::new(progress)), counters: Arc::default() };
    banner(args, &stage, broker.address(), partitions);

    let (start, job) = (Instant::now(), start(args, &stage, broker.address())?);
    job.add_streaming_listener(tally.clone());
    if let Some(address) = job.address() {
        stage.progress().say(&format!("page     http://{address}/ shows the job while it runs"));
        stage.progress().say(&format!("ask it   tidemill query {address} authors --top 5"));
    }
    stage.progress().say("");
    let feed = Feed {
        producer: Producer::new(broker.address(), TOPIC)?,
        broker: broker.clone(),
        partitions: partitions as u64,
        rate: args.rate,
        seed: args.seed,
        scenario: scenario.clone(),
        counters: stage.counters.clone(),
        events,
    };
    let feed = std::thread::Builder::new().name("tm-demo-feed".into()).spawn(move || feed.run())?;
    let (summary, (sent, by_partition)) = watch(job, feed, &stage, &scenario, args.interval)?;
    let proof = tally.proof(sent, &by_partition);
    sum_up(&stage, &summary, start.elapsed(), &proof);
    Ok(if proof.lost == 0 && proof.twice == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the job: the tutorial's program, and outputs of the demo around it.
fn start(args: &Args, stage: &Stage, brokers: &str) -> crate::Result<JobHandle> {
    let (length, slide) = (args.window(), args.interval);
    let (stage, brokers) = (stage.clone(), brokers.to_string());
    StreamingContext::builder("demo", args.interval).workers(args.workers).without_checkpoint().listen(PAGE).start(move |ssc| {
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&brokers).topic(TOPIC).start(StartFrom::earliest()));
        let s = stage.clone();
        raw.count().foreach_batch(move |b| {
            let records = b.first().map_or(0, |n| *n as u64);
            s.progress().begin(b.time(), records, b.offset_ranges());
            Ok(())
        });

        let made = job::windowed(&raw, length, slide);
        made.by_author.queryable("authors").history(30);

        let s = stage.clone();
        made.tweets.oks().map(|t| t.id).foreach_partition(
            || Ok(()),
            move |(), _, _, ids| {
                s.tally.counted(ids);
                Ok(())
            },
        );
        let s = stage.clone();
        made.tweets.errors().foreach_batch(move |b| {
            s.tally.bad(b.len() as u64);
            s.progress().bad(&b.iter().cloned().collect::<Vec<_>>());
            Ok(())
        });
        let s = stage.clone();
        made.total.foreach_batch(move |b| {
            s.progress().total(b.first().copied().unwrap_or(0));
            Ok(())
        });
        let s = stage.clone();
        made.by_author.filter(|(author, _)| author == feed::LOUD).complete().foreach_batch(move |b| {
            s.progress().end(b.first().map_or(0, |(_, n)| *n));
            Ok(())
        });
        Ok(())
    })
}

type Fed = crate::Result<(u64, Vec<u64>)>;

/// Lets the job run as long as the scenario says, ends the feed, waits until all is read, and ends the job.
fn watch(
    job: JobHandle,
    feed: JoinHandle<Fed>,
    stage: &Stage,
    scenario: &Scenario,
    interval: Duration,
) -> Result<(Summary, (u64, Vec<u64>)), BoxError> {
    let counters = &stage.counters;
    let end_of_feed = |feed: JoinHandle<Fed>| {
        counters.stop.store(true, Ordering::Relaxed);
        feed.join().unwrap_or_else(|p| Err(Error::panicked("the feed", &*p)))
    };
    loop {
        // The job was ended, or it failed.
        if job.await_termination_or_timeout(millis(10))? {
            let fed = end_of_feed(feed)?;
            return Ok((job.await_termination()?, fed));
        }
        let now = job.statistics();
        counters.batches.store(now.batches, Ordering::Relaxed);
        counters.records.store(now.records, Ordering::Relaxed);
        stage.progress().lag = now.lag;
        if now.batches >= scenario.last || feed.is_finished() {
            break;
        }
    }
    // The open batch gets its tweets. The batch after it is the last one, and shows that nothing is left.
    if !feed.is_finished() && job.await_termination_or_timeout(interval * 3 / 4)? {
        let fed = end_of_feed(feed)?;
        return Ok((job.await_termination()?, fed));
    }
    let fed = end_of_feed(feed)?;
    let deadline = Instant::now() + DRAIN;
    while job.statistics().records < fed.0 && Instant::now() < deadline {
        if job.await_termination_or_timeout(millis(10))? {
            return Ok((job.await_termination()?, fed));
        }
    }
    Ok((job.stop_gracefully()?, fed))
}

fn in_seconds(d: Duration) -> String {
    format!("{} s", d.as_secs_f64())
}

fn banner(args: &Args, stage: &Stage, address: &str, partitions: i32) {
    let (version, workers, seed) = (env!("CARGO_PKG_VERSION"), args.workers, args.seed);
    let lines = include_str!("../../../dataflows/tweets/job.rs").lines().count();
    let left = [
        format!("tidemill {version}  demo: tweets counted per batch and over the last {}", in_seconds(args.window())),
        format!("broker   embedded, {address}, topic {TOPIC}, {}", counted(partitions.unsigned_abs().into(), "partition")),
        format!("program  dataflows/tweets/job.rs, {lines} lines: the code of this screen"),
    ];
    let right = [
        format!("{}, batch {}, seed {seed}", counted(workers.into(), "worker"), in_seconds(args.interval)),
        "(no Kafka, no Java: it lives in this process)".to_string(),
        "Ctrl-C ends it in order".to_string(),
    ];
    let mut progress = stage.progress();
    left.iter().zip(right).for_each(|(l, r)| progress.say(&format!("{l:<72}  {r}")));
}

fn sum_up(stage: &Stage, summary: &Summary, took: Duration, proof: &Proof) {
    let Proof { sent, counted, bad, left, lost, twice } = proof;
    let left = if *left > 0 { format!(" + not read when it was ended {}", grouped(*left)) } else { String::new() };
    let [sent, counted, bad, lost, twice] = [sent, counted, bad, lost, twice].map(|n| grouped(*n));
    let batches = grouped(summary.batches);
    let mut progress = stage.progress();
    progress.say("");
    progress.say(&format!(
        "{batches} batches in {:.0} s   tweets sent {sent} = counted {counted} + bad {bad}{left}      lost {lost}, counted twice {twice}",
        took.as_secs_f64()
    ));
    if let Some(latency) = stage.tally.latency() {
        let [p50, p95, max] = latency.map(progress::millis);
        progress.say(&format!("batch latency   p50 {p50}   p95 {p95}   max {max}"));
    }
    progress.say("next   tidemill demo --rate 20k          faster          tidemill demo --window 3600          a longer window, same cost");
    progress.say("       cargo run --release --features dataflows --bin tweets -- --brokers HOST:9092          your Kafka");
}
