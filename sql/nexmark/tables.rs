//! The tables of NEXMark over streams and over rows, and its queries: shared by the test and the benchmark.

use tidemill::cli::generate::nexmark::{Auction, Bid, Event, Person};
use tidemill::prelude::*;
use tidemill_sql::{Result, StreamTables, TableSession};

/// A bid as a source read it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Arrival {
    bidder: i64,
    /// When it was read, in microseconds since 1970.
    read_time: i64,
}

/// Names of queries, and their text.
macro_rules! queries {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!($name, ".sql")))),*]
    };
}

/// All queries.
pub const QUERIES: [(&str, &str); 23] = queries!(
    "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15", "q16", "q17", "q18",
    "q19", "q20", "q21", "q22"
);

/// How late events may come.
pub const LATE: &str = "4 seconds";

/// A session with the table of q13 and the function of q14.
pub fn session() -> Result<TableSession> {
    let session = TableSession::new();
    let side: Vec<(i64, String)> = (0..100).step_by(3).map(|key| (key, format!("value {key}"))).collect();
    session.create_data_frame(&side)?.to_df(["key", "value"])?.create_or_replace_temp_view("side_input")?;
    session.udf().register("count_char", |(text, letter): (String, String)| text.matches(&letter).count() as i64)?;
    Ok(session)
}

/// The tables `person`, `auction`, `bid` and `arrival` over a stream of events. `read`: when a bid was read.
#[allow(dead_code, reason = "the benchmark has columns")]
pub fn streams<'s>(
    session: &TableSession,
    events: &DStream<'s, Event>,
    read: impl Fn(&Bid) -> i64 + Clone + 'static,
) -> Result<StreamTables<'s>> {
    let tables = StreamTables::new(session);
    let person = events.flat_map(|event| if let Event::Person(person) = event { Some(person) } else { None });
    let auction = events.flat_map(|event| if let Event::Auction(auction) = event { Some(auction) } else { None });
    let bid = events.flat_map(|event| if let Event::Bid(bid) = event { Some(bid) } else { None });
    let arrival = bid.map(move |bid| Arrival { bidder: bid.bidder, read_time: read(&bid) });
    tables.register_stream("person", &person)?;
    tables.register_stream("auction", &auction)?;
    tables.register_stream("bid", &bid)?;
    tables.register_stream("arrival", &arrival)?;
    for (name, time) in [("person", "date_time"), ("auction", "date_time"), ("bid", "date_time"), ("arrival", "read_time")] {
        tables.with_watermark(name, time, LATE)?;
    }
    tables.table("auction")?.with_column("expires", "timestamp_micros(expires)")?.create_or_replace_temp_view("auction")?;
    Ok(tables)
}

/// The same tables over all of these events.
#[allow(dead_code, reason = "the benchmark has no use for it")]
pub fn rows(events: &[Event], read: impl Fn(&Bid) -> i64) -> Result<TableSession> {
    let session = session()?;
    let (mut people, mut auctions, mut bids) = (Vec::<Person>::new(), Vec::<Auction>::new(), Vec::<Bid>::new());
    for event in events {
        match event.clone() {
            Event::Person(person) => people.push(person),
            Event::Auction(auction) => auctions.push(auction),
            Event::Bid(bid) => bids.push(bid),
        }
    }
    let arrivals: Vec<Arrival> = bids.iter().map(|bid| Arrival { bidder: bid.bidder, read_time: read(bid) }).collect();
    let at = ("date_time", "timestamp_micros(date_time)");
    let person = session.create_data_frame(&people)?.with_column(at.0, at.1)?;
    let auction = session.create_data_frame(&auctions)?.with_column(at.0, at.1)?;
    let bid = session.create_data_frame(&bids)?.with_column(at.0, at.1)?;
    person.create_or_replace_temp_view("person")?;
    auction.with_column("expires", "timestamp_micros(expires)")?.create_or_replace_temp_view("auction")?;
    bid.create_or_replace_temp_view("bid")?;
    let arrival = session.create_data_frame(&arrivals)?.with_column("read_time", "timestamp_micros(read_time)")?;
    arrival.create_or_replace_temp_view("arrival")?;
    Ok(session)
}
