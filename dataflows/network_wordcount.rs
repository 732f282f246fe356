//! Counts the words of lines from a socket in each batch: the first program of every Spark Streaming tutorial.
//!
//!     nc -lk 9999        and type, in another terminal; or:  tidemill gen words --line 8 --rate 100 | nc -lk 9999
//!     cargo run --release --features dataflows --bin network_wordcount -- localhost 9999

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of each batch.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The host that sends lines
    #[arg(default_value = "localhost")]
    host: String,
    #[arg(default_value_t = 9999)]
    port: u16,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("network-wordcount", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let lines = ssc.socket_text_stream(&*args.host, args.port);
        lines.oks().count_by::<str>(|line, out| line.split(' ').for_each(|w| out.push(w))).print(10);
        Ok(())
    })
}
