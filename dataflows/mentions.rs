//! Who mentions whom in tweets: the components and the ranks of the mentions of the last minute.
//!
//!     tidemill gen tweets --brokers 127.0.0.1:9092 --rate 100 &
//!     cargo run --release --features dataflows --bin mentions -- --brokers 127.0.0.1:9092
//!
//! `RT @name` and `@name` are edges from the author to `name`. An edge leaves with the last tweet that has it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::graph;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints the largest components of the mentions of the last minute, and the accounts with the highest PageRank.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST")]
    brokers: String,
    #[arg(long, default_value = "twitter")]
    topic: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// Length of the window
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "60s")]
    window: Duration,
    /// Rounds of PageRank
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Debug, serde::Deserialize)]
struct Tweet {
    text: String,
    user: User,
}

#[derive(Clone, Debug, serde::Deserialize)]
struct User {
    screen_name: String,
}

impl Tweet {
    /// The author with each account that the text mentions.
    fn mentions(&self) -> Vec<(String, String)> {
        let name = |word: &str| word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let names = self.text.split_whitespace().filter_map(|word| word.strip_prefix('@')).map(name);
        let others = names.filter(|name| !name.is_empty() && *name != self.user.screen_name);
        others.map(|name| (self.user.screen_name.clone(), name)).collect()
    }
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("mentions", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&args.brokers).topic(&args.topic));
        let tweets = raw.decode(Json::<Tweet>::new()).oks();
        let mentions = tweets.flat_map(|tweet| tweet.mentions()).over(args.window, args.interval);

        let sizes = graph::connected_components(&mentions).map(|(_, name)| name).count_by_value();
        let largest = sizes.top_by(5, |(_, accounts)| *accounts).complete();
        largest.map(|(name, accounts)| format!("Component of {name}: {accounts} accounts")).print(5);

        let highest = graph::page_rank(&mentions, args.rounds).top_by(5, |(_, rank)| *rank).complete();
        highest.map(|(name, rank)| format!("Rank of {name}: {:.3}", rank as f64 / graph::RANK as f64)).print(5);
        Ok(())
    })
}
