//! The events of NEXMark as record batches, without a row for each: what a source of columns gives.

use std::sync::Arc;

use tidemill::cli::generate::Nexmark;
use tidemill::cli::generate::nexmark::{Auction, Bid, EventRef, Person};
use tidemill::prelude::DStream;
use tidemill_sql::arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use tidemill_sql::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use tidemill_sql::{Result, StreamTables, TableSession};

use super::tables::LATE;

/// Columns of the kinds that the events have, in the order in which they are asked for.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    columns: Vec<Column>,
}

enum Column {
    Number(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Text(StringViewBuilder),
}

impl Columns {
    fn numbers(mut self, names: &[&str]) -> Self {
        for name in names {
            self.fields.push(Field::new(*name, DataType::Int64, false));
            self.columns.push(Column::Number(Int64Builder::new()));
        }
        self
    }

    fn times(mut self, names: &[&str]) -> Self {
        for name in names {
            self.fields.push(Field::new(*name, time(), false));
            self.columns.push(Column::Time(TimestampMicrosecondBuilder::new()));
        }
        self
    }

    fn texts(mut self, names: &[&str]) -> Self {
        for name in names {
            self.fields.push(Field::new(*name, DataType::Utf8View, false));
            self.columns.push(Column::Text(StringViewBuilder::new()));
        }
        self
    }

    fn schema(&self) -> Arc<Schema> {
        Arc::new(Schema::new(self.fields.clone()))
    }

    /// Appends a row: its numbers, its times and its texts, each in the order of their columns.
    fn push(&mut self, numbers: &[i64], times: &[i64], texts: &[&str]) {
        let (mut numbers, mut times, mut texts) = (numbers.iter(), times.iter(), texts.iter());
        for column in &mut self.columns {
            match column {
                Column::Number(column) => column.append_option(numbers.next().copied()),
                Column::Time(column) => column.append_option(times.next().copied()),
                Column::Text(column) => column.append_option(texts.next()),
            }
        }
    }

    fn finish(&mut self, schema: &Arc<Schema>) -> RecordBatch {
        let finished = |column: &mut Column| -> ArrayRef {
            match column {
                Column::Number(column) => Arc::new(column.finish()),
                Column::Time(column) => Arc::new(column.finish()),
                Column::Text(column) => Arc::new(column.finish()),
            }
        };
        RecordBatch::try_new(schema.clone(), self.columns.iter_mut().map(finished).collect()).expect("a row has each column")
    }
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn person() -> Columns {
    let texts = ["name", "email_address", "credit_card", "city", "state", "extra"];
    Columns::default().numbers(&["id"]).times(&["date_time"]).texts(&texts)
}

fn auction() -> Columns {
    let numbers = ["id", "initial_bid", "reserve", "seller", "category"];
    Columns::default().numbers(&numbers).times(&["date_time", "expires"]).texts(&["item_name", "description", "extra"])
}

fn bid() -> Columns {
    Columns::default().numbers(&["auction", "bidder", "price"]).times(&["date_time"]).texts(&["channel", "url", "extra"])
}

/// The events of a part of a batch.
#[derive(Clone)]
struct Part {
    person: RecordBatch,
    auction: RecordBatch,
    bid: RecordBatch,
}

/// Makes the events of some numbers.
struct Maker {
    nexmark: Nexmark,
    tables: [(Columns, Arc<Schema>); 3],
}

impl Maker {
    fn new(seed: u64) -> Self {
        let tables = [person(), auction(), bid()].map(|columns| {
            let schema = columns.schema();
            (columns, schema)
        });
        Maker { nexmark: Nexmark::new(seed), tables }
    }

    fn part(&mut self, numbers: std::ops::Range<u64>, began_ms: u64, per_ms: u64) -> Part {
        self.nexmark.seek(numbers.start, began_ms);
        let [(people, _), (auctions, _), (bids, _)] = &mut self.tables;
        for number in numbers {
            match self.nexmark.next_event(began_ms + number / per_ms) {
                EventRef::Person(Person { id, name, email_address, credit_card, city, state, date_time, extra }) => {
                    people.push(&[*id], &[*date_time], &[name, email_address, credit_card, city, state, extra]);
                }
                EventRef::Auction(a) => {
                    let Auction { id, initial_bid, reserve, seller, category, .. } = a;
                    let numbers = [*id, *initial_bid, *reserve, *seller, *category];
                    auctions.push(&numbers, &[a.date_time, a.expires], &[&a.item_name, &a.description, &a.extra]);
                }
                EventRef::Bid(Bid { auction, bidder, price, channel, url, date_time, extra }) => {
                    bids.push(&[*auction, *bidder, *price], &[*date_time], &[channel, url, extra]);
                }
            }
        }
        let [person, auction, bid] = self.tables.each_mut().map(|(columns, schema)| columns.finish(schema));
        Part { person, auction, bid }
    }
}

/// The tables `person`, `auction`, `bid` and `arrival` over the events of these parts: `chunk` events each. `now`: when a bid is read, in
/// microseconds since 1970.
pub fn streams<'s>(
    session: &TableSession,
    parts: &DStream<'s, u64>,
    (chunk, began_ms, per_ms): (u64, u64, u64),
    now: impl Fn() -> i64 + 'static,
) -> Result<StreamTables<'s>> {
    let tables = StreamTables::new(session);
    let mut maker = Maker::new(7);
    let parts = parts.map(move |part| maker.part(part * chunk..(part + 1) * chunk, began_ms, per_ms));
    tables.register_batches("person", &person().schema(), &parts.map(|part| part.person))?;
    tables.register_batches("auction", &auction().schema(), &parts.map(|part| part.auction))?;
    tables.register_batches("bid", &bid().schema(), &parts.map(|part| part.bid))?;
    let schema = Columns::default().numbers(&["bidder"]).times(&["read_time"]).schema();
    let columns = schema.clone();
    let arrivals = parts.map(move |part| {
        let times = TimestampMicrosecondArray::from_value(now(), part.bid.num_rows());
        RecordBatch::try_new(columns.clone(), vec![part.bid.column(1).clone(), Arc::new(times)]).expect("both columns are there")
    });
    tables.register_batches("arrival", &schema, &arrivals)?;
    for (name, time) in [("person", "date_time"), ("auction", "date_time"), ("bid", "date_time"), ("arrival", "read_time")] {
        tables.with_watermark(name, time, LATE)?;
    }
    Ok(tables)
}
