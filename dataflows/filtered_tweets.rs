//! Which tweets are about given terms and link to known sites: what "Getting Started with Spark Streaming with Python and Kafka" announces for its
//! next part.
//!
//! ```sh
//! tidemill topic create matches --brokers 127.0.0.1:9092
//! tidemill gen tweets --brokers 127.0.0.1:9092 --rate 100 &
//! echo news.example > domains
//! cargo run --release --features dataflows --bin filtered_tweets -- --brokers 127.0.0.1:9092 --term tide --term rain \
//!     --domains domains --to matches
//! ```
//!
//! A tweet matches if its text has one of the terms, it links to one of the domains, and it is not a retweet. The file of domains is read again when it
//! changes: write a new version elsewhere and move it in. Matches go to a topic. Tallies of the batch and of the last hour are printed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sends tweets about given terms, with links to known domains, to a topic, and counts them.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST")]
    brokers: String,
    #[arg(long, default_value = "twitter")]
    topic: String,
    /// A text that a tweet may be about, in any case; repeatable
    #[arg(long = "term", value_name = "TEXT", required = true, value_parser = term)]
    terms: Vec<String>,
    /// The file of domains, one on each line; it is read again when it changes
    #[arg(long, value_name = "FILE")]
    domains: PathBuf,
    /// The topic of matches
    #[arg(long, value_name = "TOPIC")]
    to: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// How long the longer tallies are
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1h")]
    window: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The fields of a tweet that the program reads.
#[derive(Clone, Debug, Deserialize)]
struct Tweet {
    #[serde(default)]
    id: u64,
    text: String,
    user: User,
    #[serde(default)]
    entities: Entities,
    /// The tweet that this one repeats.
    retweeted_status: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    screen_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Entities {
    #[serde(default)]
    urls: Vec<Link>,
}

/// A link. The text of a tweet has a short one in its place.
#[derive(Clone, Debug, Deserialize)]
struct Link {
    expanded_url: Option<String>,
}

/// A tweet that matches, as its topic has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Match {
    id: u64,
    author: String,
    text: String,
    terms: Vec<String>,
    domains: Vec<String>,
}

impl Tweet {
    fn is_retweet(&self) -> bool {
        self.retweeted_status.is_some() || self.text.starts_with("RT @")
    }

    /// The tweet with the terms that it has and the hosts of its links, if it has a term.
    fn about(self, terms: &[String]) -> Option<Match> {
        let text = self.text.to_lowercase();
        let terms: Vec<String> = terms.iter().filter(|term| text.contains(*term)).cloned().collect();
        let links = self.entities.urls.into_iter().filter_map(|link| link.expanded_url);
        let domains = links.filter_map(|url| host(&url)).collect();
        let Tweet { id, text, user, .. } = self;
        (!terms.is_empty()).then_some(Match { id, author: user.screen_name, text, terms, domains })
    }
}

impl Match {
    /// The match with the domains of the file only, if it links to one of them.
    fn on(mut self, known: &BTreeSet<String>) -> Option<Match> {
        let domains = self.domains.iter().filter_map(|host| known.iter().find(|domain| is_in(host, domain)));
        self.domains = domains.cloned().collect();
        (!self.domains.is_empty()).then_some(self)
    }
}

/// The host of a URL, in small letters.
fn host(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Whether the host is the domain, or below it.
fn is_in(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A term of the command line, in small letters.
fn term(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("every tweet has an empty term: write a word".into()) } else { Ok(text.to_lowercase()) }
}

/// The domains of the file.
fn domains(content: &[u8]) -> Result<BTreeSet<String>, BoxError> {
    let lines = std::str::from_utf8(content)?.lines().map(str::trim).filter(|line| !line.is_empty());
    let domain = |line: &str| -> Result<String, BoxError> {
        if line.contains(['/', ':', ' ', '@']) {
            return Err(format!("\"{line}\" is not a domain name; write one a line, such as example.com").into());
        }
        Ok(line.to_ascii_lowercase())
    };
    lines.map(domain).collect()
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("filtered_tweets", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&args.brokers).topic(&args.topic));
        let known = ssc.broadcast_file(&args.domains, domains);
        let (tweets, terms) = (raw.decode(Json::<Tweet>::new()).oks(), args.terms.clone());
        let about = tweets.filter(|tweet| !tweet.is_retweet()).flat_map(move |tweet| tweet.about(&terms));
        let matches = about.flat_map_with_broadcast(&known, |found, known: &BTreeSet<String>| found.on(known));
        matches.to_kafka(KafkaSink::new(&args.brokers, &args.to), |found, record| _ = record.key(&found.author).json(found));
        tallies(&tweets, &matches, &args);
        Ok(())
    })
}

/// How many tweets and matches there were, and how many have each term: in the batch, and in the window.
fn tallies<'s>(tweets: &DStream<'s, Tweet>, matches: &DStream<'s, Match>, args: &Args) {
    let lately = if args.window == hours(1) { "in the last hour".into() } else { format!("in the last {:?}", args.window) };
    let all = tweets.count().map(|n| format!("Tweets this batch: {n}"));
    let found = matches.count().map(|n| format!("Matches this batch: {n}"));
    let when = lately.clone();
    let rolling = matches.count_by_window(args.window, args.interval).complete().map(move |n| format!("Matches {when}: {n}"));
    all.union(&found).union(&rolling).print(10);

    let terms = matches.flat_map(|found| found.terms);
    let this_batch = terms.count_by_value().sort_by(|(_, n)| -n);
    this_batch.map(|(term, n)| format!("Term counts this batch:\tValue {term}\tCount {n}")).print(10);
    let rolling = terms.count_by_value_and_window(args.window, args.interval).sort_by(|(_, n)| -n).complete();
    rolling.map(move |(term, n)| format!("Term counts {lately}:\tValue {term}\tCount {n}")).print(10);
}
