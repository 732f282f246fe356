//! Counts all words of lines from a socket by SQL, and prints the whole result after each batch: Spark's
//! `structured_network_wordcount.py`.
//!
//!     nc -lk 9999        and type, in another terminal; or:  tidemill gen words --line 8 --rate 100 | nc -lk 9999
//!     cargo run --release -p tidemill-sql --bin structured_network_wordcount -- localhost 9999

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill_sql::{OutputMode, StreamTables, TableSession};

/// Counts all words so far by SQL.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The host that sends lines
    #[arg(default_value = "localhost")]
    host: String,
    #[arg(default_value_t = 9999)]
    port: u16,
    /// The query, over the table `words` with the column `word`
    #[arg(long, default_value = "select word, count(*) as count from words group by word order by count desc, word")]
    query: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// A row of the table.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Word {
    word: String,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("structured-network-wordcount", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        let lines = ssc.socket_text_stream(&*args.host, args.port);
        let words = lines.oks().flat_map(|line| line.split(' ').map(|word| Word { word: word.to_owned() }).collect::<Vec<_>>());
        tables.register_stream("words", &words)?;
        tables.sql(&args.query)?.console(OutputMode::Complete)?;
        Ok(())
    })
}
