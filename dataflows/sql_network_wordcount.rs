//! Counts the words of lines from a socket by SQL, in each batch: the tutorials' `sql_network_wordcount.py`.
//!
//!     nc -lk 9999        and type, in another terminal; or:  tidemill gen words --line 8 --rate 100 | nc -lk 9999
//!     cargo run --release -p tidemill-sql --bin sql_network_wordcount -- localhost 9999

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill_sql::{TableSession, ToTable};

/// Counts the words of each batch by SQL.
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
    let session = TableSession::new();
    StreamingContext::builder("sql-network-wordcount", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let session = session.clone();
        let lines = ssc.socket_text_stream(&*args.host, args.port);
        let words = lines.oks().flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.count_by_value().foreach_batch(move |batch| {
            writeln!(std::io::stdout(), "========= {} =========", batch.time())?;
            let words = batch.to_table(&session)?.to_df(["word", "cnt"])?;
            words.show()?;
            words.create_or_replace_temp_view("words")?;
            session.sql("select SUM(cnt) as total from words")?.show()?;
            Ok(())
        });
        Ok(())
    })
}
