//! The files of `tests/slt`, in the format of sqllogictest, over streams: the rows of their tables arrive in random batches, and the answer is the
//! result after the last one. Each file runs over streams, and over views from which rows leave again. DataFusion has to give the same
//! answer over tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tidemill::cli::generate::Random;
use tidemill::prelude::*;
use tidemill::testing::run;
use tidemill_sql::arrow::array::RecordBatch;
use tidemill_sql::arrow::datatypes::DataType;
use tidemill_sql::{OutputMode, StreamTables, TableSession};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::{present, texts};

/// The most columns of a table.
const WIDTH: usize = 6;

/// The values of a row as texts.
type Texts = [Option<String>; WIDTH];

/// A row comes (1) or leaves (-1): of the table of this number.
type Event = (usize, Texts, i64);

/// How the rows of a table reach the queries.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Streams,
    /// Views, from which some rows leave.
    Views,
}

#[derive(Clone)]
struct Table {
    name: String,
    /// Expressions that make the columns of texts.
    columns: String,
    rows: Vec<Texts>,
}

/// The tables of a file.
struct Database {
    kind: Kind,
    tables: Vec<Table>,
    /// Of the order and the batches of rows.
    seed: u64,
}

#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<tidemill_sql::SqlError> for Failed {
    fn from(error: tidemill_sql::SqlError) -> Self {
        Failed(error.to_string())
    }
}

impl sqllogictest::DB for Database {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let wrong = || Failed(format!("{sql}: write CREATE TABLE t (a INT, b STRING), INSERT INTO t VALUES .. or a query"));
        if let Some(rest) = sql.strip_prefix("CREATE TABLE ") {
            let (name, columns) = rest.split_once('(').ok_or_else(wrong)?;
            let columns = columns.trim_end().strip_suffix(')').ok_or_else(wrong)?;
            let columns = (1..).zip(columns.split(',')).map(|(place, column)| {
                let (name, kind) = column.trim().split_once(' ').expect("a column has a name and a type");
                format!("cast(_{place} as {kind}) as {name}")
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            self.tables.push(Table { name: name.trim().to_owned(), columns, rows: Vec::new() });
            return Ok(DBOutput::StatementComplete(0));
        }
        if let Some(rest) = sql.strip_prefix("INSERT INTO ") {
            let (name, values) = rest.split_once(" VALUES ").ok_or_else(wrong)?;
            let table = self.tables.iter_mut().find(|table| table.name == name.trim()).ok_or_else(wrong)?;
            let session = TableSession::new();
            let rows = session.sql(&format!("values {values}"))?;
            let width = rows.columns().len();
            let texts = (1..=WIDTH).map(|n| {
                if n <= width { format!("cast(column{n} as string) as c{n}") } else { format!("cast(null as string) as c{n}") }
            });
            let texts = texts.collect::<Vec<_>>().join(", ");
            let rows: Vec<Texts> = session.sql(&format!("select {texts} from (values {values}) t"))?.collect()?;
            table.rows.extend(rows);
            return Ok(DBOutput::StatementComplete(table.rows.len() as u64));
        }
        self.seed += 1;
        let (types, rows) = self.answer(sql)?;
        let (_, mut expected) = self.over_tables(sql)?;
        let mut same = rows.clone();
        same.sort();
        expected.sort();
        assert_eq!(same, expected, "{sql}: over {:?} and over tables", self.kind);
        Ok(DBOutput::Rows { types, rows })
    }
}

impl Database {
    fn answer(&self, sql: &str) -> Result<(Vec<DefaultColumnType>, Vec<Vec<String>>), Failed> {
        let mut random = Random::new(self.seed);
        let mut events: Vec<Event> = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            events.extend(table.rows.iter().map(|row| (number, row.clone(), 1)));
        }
        shuffle(&mut events, &mut random);
        if let Kind::Views = self.kind {
            // Each of these comes once more, and leaves in a later batch.
            let extra: Vec<Event> = events.iter().filter(|_| random.below(2) == 0).cloned().collect();
            events.splice(0..0, extra.clone());
            events.extend(extra.into_iter().map(|(number, row, _)| (number, row, -1)));
        }
        let mut batches: Vec<Vec<Event>> = vec![Vec::new(); 4];
        let each = events.len().div_ceil(3).max(1);
        events.into_iter().enumerate().for_each(|(n, event)| batches[n / each].push(event));
        let seen: Arc<Mutex<BTreeMap<u64, Vec<RecordBatch>>>> = Arc::default();
        let (log, tables, kind, query) = (seen.clone(), self.tables.clone(), self.kind, sql.to_owned());
        // The job would end with the error of a query that is refused: it is planned once before.
        let refused: Arc<Mutex<Option<(String, bool)>>> = Arc::default();
        let told = refused.clone();
        run(1 + random.below(2) as u16, batches, move |s: &DStream<'_, Event>| {
            let log = log.clone();
            let started = started(s, &tables, kind).and_then(|streams| {
                let frame = streams.sql(&query)?;
                let changes = frame.changes()?;
                *told.lock().unwrap() = Some((String::new(), changes));
                frame.foreach_batch(if changes { OutputMode::Complete } else { OutputMode::Append }, move |time, table| {
                    log.lock().unwrap().insert(time.millis(), table.record_batches()?);
                    Ok(())
                })
            });
            if let Err(e) = started {
                *told.lock().unwrap() = Some((e.to_string(), false));
            }
            s.map(|_| 0_u8)
        });
        let outcome = refused.lock().unwrap().take();
        let Some((reason, changes)) = outcome else { return Err(Failed(format!("{sql}: the query was not planned"))) };
        if !reason.is_empty() {
            return Err(Failed(reason));
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let batches: Vec<RecordBatch> = match changes {
            true => seen.into_values().next_back().unwrap_or_default(),
            false => seen.into_values().flatten().collect(),
        };
        Ok(shown(&batches))
    }

    /// DataFusion's answer over all rows.
    fn over_tables(&self, sql: &str) -> Result<(Vec<DefaultColumnType>, Vec<Vec<String>>), Failed> {
        let session = TableSession::new();
        for table in &self.tables {
            session.create_data_frame(&table.rows)?.create_or_replace_temp_view("raw")?;
            let typed = session.sql(&format!("select {} from raw", table.columns))?.record_batches()?;
            let schema = typed.first().expect("a table of a file has rows").schema();
            session.table_of(schema, typed)?.create_or_replace_temp_view(&table.name)?;
        }
        Ok(shown(&session.sql(sql)?.record_batches()?))
    }
}

/// The tables of a file over a stream of their rows.
fn started<'s>(s: &DStream<'s, Event>, tables: &[Table], kind: Kind) -> tidemill_sql::Result<StreamTables<'s>> {
    let streams = StreamTables::new(&TableSession::new());
    for (number, table) in tables.iter().enumerate() {
        let rows = s.filter(move |(of, ..)| *of == number);
        let raw = format!("raw_{}", table.name);
        match kind {
            Kind::Streams => streams.register_stream(&raw, &rows.map(|(_, row, _)| row))?,
            Kind::Views => {
                streams.register_view(&raw, &present(&rows.map(|(_, row, n)| (row, n))))?;
            }
        }
        streams.create_view(&table.name, &format!("select {} from {raw}", table.columns))?;
    }
    Ok(streams)
}

/// The types of columns, and each row as texts.
fn shown(batches: &[RecordBatch]) -> (Vec<DefaultColumnType>, Vec<Vec<String>>) {
    let kind = |kind: &DataType| match kind {
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => DefaultColumnType::FloatingPoint,
        kind if kind.is_integer() => DefaultColumnType::Integer,
        _ => DefaultColumnType::Text,
    };
    let types = batches.first().map(|batch| batch.schema().fields().iter().map(|f| kind(f.data_type())).collect());
    let mut rows = texts(batches);
    rows.iter_mut().flatten().filter(|text| text.is_empty()).for_each(|text| *text = "(empty)".to_owned());
    (types.unwrap_or_default(), rows)
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for n in (1..all.len()).rev() {
        let other = random.below(n + 1);
        all.swap(n, other);
    }
}

fn files(kind: Kind) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "the files of {folder}");
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Database { kind, tables: Vec::new(), seed: 1 }) });
        runner.run_file(&file).unwrap_or_else(|e| panic!("{}, over {kind:?}: {e}", file.display()));
    }
}

#[test]
fn the_files_hold_over_streams() {
    files(Kind::Streams);
}

#[test]
fn the_files_hold_over_views_whose_rows_leave() {
    files(Kind::Views);
}
