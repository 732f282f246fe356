//! The Yahoo streaming benchmark, without its database: `scripts/bench yahoo` runs it beside Flink.
//!
//! Events of advertisements come as JSON, at a rate. Views are joined with the campaign of their advertisement, and counted by campaign in
//! windows of ten seconds of event time. `benches/peers/measure_yahoo.py` measures the rate of a backlog, and when a window is out.
//!
//! As in <https://github.com/yahoo/streaming-benchmarks>: 100 campaigns of ten advertisements, times that are off by up to 50 ms, and one
//! event in 100,000 late by up to a minute.

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod shared;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tidemill::prelude::*;

use crate::shared::random;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CAMPAIGNS: usize = 100;
const ADS: usize = 1_000;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Writes each advertisement with its campaign, as lines with a tab
    Ads,
    /// Writes events to stdout, one a line, as fast as they are read
    Events {
        #[arg(long)]
        count: usize,
        /// Events per second of event time
        #[arg(long)]
        rate: usize,
        /// The time of the first event, in milliseconds since 1970
        #[arg(long)]
        begin: usize,
    },
    /// Counts events from Kafka to Kafka, until it is stopped
    Job {
        /// What `ads` wrote
        #[arg(long)]
        ads: PathBuf,
        /// Kafka brokers, HOST:PORT
        #[arg(long)]
        brokers: String,
        #[arg(long = "in")]
        input: String,
        #[arg(long = "out")]
        output: String,
        #[arg(long, value_parser = tidemill::api::config::interval, default_value = "100ms")]
        interval: Duration,
        #[command(flatten)]
        runtime: Box<RuntimeArgs>,
    },
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(match Args::parse().what {
        What::Ads => {
            write(|out| ads().iter().enumerate().try_for_each(|(n, ad)| writeln!(out, "{ad}\tcampaign {}", n * CAMPAIGNS / ADS)))
        }
        What::Events { count, rate, begin } => write(|out| events(out, count, rate, begin)),
        What::Job { ads, brokers, input, output, interval, runtime } => job(&ads, brokers, input, output, interval, *runtime),
    })
}

fn write(lines: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> tidemill::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    lines(&mut out).and_then(|()| out.flush()).map_err(|e| tidemill::Error::Config(format!("stdout: {e}")))
}

/// Names as long as UUIDs, the same in each run.
fn names(seed: u64, count: usize) -> Vec<String> {
    let mut seed = seed;
    (0..count).map(|_| format!("{:016x}-{:019x}", random(&mut seed), random(&mut seed))).collect()
}

fn ads() -> Vec<String> {
    names(11, ADS)
}

fn events(out: &mut dyn Write, count: usize, rate: usize, begin: usize) -> std::io::Result<()> {
    let (ads, users, pages) = (ads(), names(12, 100), names(13, 100));
    let mut seed = 14;
    let mut one_of = |count: usize| (random(&mut seed) % count as u64) as usize;
    for n in 0..count {
        let (user, page, ad) = (&users[one_of(100)], &pages[one_of(100)], &ads[one_of(ADS)]);
        let ad_type = ["banner", "modal", "sponsored-search", "mail", "mobile"][one_of(5)];
        let kind = ["view", "click", "purchase"][one_of(3)];
        let late = if one_of(100_000) == 0 { one_of(60_000) } else { 0 };
        let time = begin + n * 1_000 / rate + one_of(101) - 50 - late;
        writeln!(
            out,
            r#"{{"user_id":"{user}","page_id":"{page}","ad_id":"{ad}","ad_type":"{ad_type}","event_type":"{kind}","event_time":"{time}","ip_address":"1.2.3.4"}}"#
        )?;
    }
    Ok(())
}

/// What the job reads of an event.
#[derive(Deserialize)]
struct Event<'a> {
    ad_id: &'a str,
    event_type: &'a str,
    event_time: &'a str,
}

#[derive(Serialize)]
struct Count<'a> {
    campaign: &'a str,
    /// Milliseconds since 1970.
    end: i64,
    count: i64,
}

fn job(
    ads: &Path,
    brokers: String,
    input: String,
    output: String,
    interval: Duration,
    runtime: RuntimeArgs,
) -> tidemill::Result<()> {
    let campaigns = std::fs::read_to_string(ads).map_err(|e| tidemill::Error::Config(format!("{}: {e}", ads.display())))?;
    let campaigns: HashMap<String, String> =
        campaigns.lines().filter_map(|line| line.split_once('\t')).map(|(ad, campaign)| (ad.into(), campaign.into())).collect();
    let job = StreamingContext::builder("yahoo", interval).without_checkpoint().runtime(runtime);
    let summary = job.run(move |ssc| {
        let events = ssc.kafka_direct_stream(KafkaSource::brokers(&brokers).topic(&input).start(StartFrom::earliest()));
        let campaigns = campaigns.clone();
        let views = events.try_map(move |message| {
            let event: Event<'_> = serde_json::from_slice(message.value()?)?;
            let time: i64 = event.event_time.parse()?;
            Ok((event.event_type == "view").then(|| (time, campaigns.get(event.ad_id).cloned().unwrap_or_default())))
        });
        let views = views.oks().flat_map(|view| view).event_time(|(time, _)| time * 1_000, millis(100));
        let counts = views.map(|(_, campaign)| campaign).tumbling(secs(10)).count_by_value();
        counts.append().to_kafka(KafkaSink::new(&brokers, &output), |window, record| {
            let (campaign, count) = &window.row;
            record.key(campaign).json(&Count { campaign, end: window.end / 1_000, count: *count });
        });
        Ok(())
    });
    summary.map(|_| ())
}
