//! Counts the words of a play from a socket since the beginning: the state program of the Spark Streaming chapter.
//!
//!     while read line; do echo "$line"; done < shakespeare.txt | nc -lk 9999 &
//!     cargo run --release --features dataflows --bin stateful_network_wordcount -- localhost 9999
//!
//! `update_state_by_key` looks at every key in every batch, as in Spark. `--view` counts by `sum_by_key`, which looks only at
//! keys with new records, and prints changed rows.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use regex::Regex;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts words since the beginning, and prints the most frequent.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The host that sends lines
    #[arg(default_value = "localhost")]
    host: String,
    #[arg(default_value_t = 9999)]
    port: u16,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// Count with a View, which is kept up to date, and print changed rows
    #[arg(long)]
    view: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("stateful-network-wordcount", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let not_word = Regex::new(r"\W+")?;
        let lines = ssc.socket_text_stream(&*args.host, args.port).oks();
        let words = lines.count_by::<str>(move |line, out| {
            not_word.split(&line.to_lowercase()).filter(|w| !w.is_empty()).for_each(|w| out.push(w));
        });
        let counts = if args.view {
            words.sum_by_key().update()
        } else {
            words.update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0)))
        };
        counts.sort_by(|(_, n)| -n).print(10);
        Ok(())
    })
}
