//! Tables of PostgreSQL and SQLite as a sink: Spark's `jdbc`, over the library's tables of databases.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use datafusion::arrow::error::ArrowError;
use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};
use tidemill::connector::database::Table;
use tidemill::core::http_url::percent_encoded;
use tidemill::prelude::{Change, DStream};

use super::by_key::by_key;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::streaming::OutputMode;
use crate::streaming::Windows;
use crate::streaming::codec::{Codec, Row};
use crate::streaming::frame::StreamingDataFrame;

const OPTIONS: [&str; 8] =
    ["url", "user", "password", "dbtable", "primaryKey", "deadLetters", "numPartitions", "sink.delivery-guarantee"];

/// Writes rows, or keeps a table equal to a result.
pub(super) fn write(frame: &StreamingDataFrame<'_>, options: &Options, mode: OutputMode) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream, format jdbc: {reason}"));
    if mode == OutputMode::Changes {
        let remedy = "mode complete keeps it equal to the result, so that rows leave, and mode update replaces rows";
        return Err(fault(format!("a table has the rows that are there, so mode changes has no meaning for it; {remedy}")));
    }
    options.only("jdbc", &OPTIONS).map_err(fault)?;
    let database = Database::of(options).map_err(fault)?;
    let codec = frame.codec_in(mode)?;
    let columns = Arc::new(Columns::of(codec.schema()).map_err(fault)?);
    let table = table(options, codec.schema(), &columns).map_err(fault)?;
    let keyed = options.get("primaryKey").is_some();
    if mode != OutputMode::Append && frame.changes_in(mode)? && !keyed {
        let remedy = "name the columns that find a row by option primaryKey, as `word` or `word, hour`";
        return Err(fault(format!("rows of this result change, so they need a key: {remedy}")));
    }
    let places: Vec<usize> = key_names(options).into_iter().filter_map(|name| codec.schema().index_of(name).ok()).collect();
    let query = frame.query.clone();
    let read = move |rows: &[&Row]| columns.read(&codec, rows).unwrap_or_else(|e| panic!("{query}: {e}"));
    if let (OutputMode::Complete, Some(view)) = (mode, frame.result(Windows::All)?) {
        // What leaves the result leaves the table.
        let changes = view.changes().map_partitions(move |changes: Vec<Change<Row>>| {
            let rows = read(&changes.iter().map(|change| &change.row).collect::<Vec<_>>());
            rows.into_iter().zip(changes).map(|(row, change)| Change { row, diff: change.diff }).collect::<Vec<_>>()
        });
        database.take_changes(&changes, table);
        return Ok(());
    }
    let rows = frame.leaving(mode)?.map_partitions(move |rows: Vec<Row>| read(&rows.iter().collect::<Vec<_>>()));
    let shards = options.get("numPartitions").is_some();
    let rows = match keyed && shards && frame.changes_in(mode)? {
        true => by_key(&rows, move |row: &Values| row.key(&places)),
        false => rows,
    };
    database.take(&rows, table);
    Ok(())
}

/// Where the table is. A URL may have a password.
enum Database {
    #[cfg(feature = "postgres")]
    Postgres(String),
    #[cfg(feature = "sqlite")]
    Sqlite(String),
}

impl Database {
    fn of(options: &Options) -> std::result::Result<Database, String> {
        let url = options.needed("jdbc", "url")?;
        let login = [("user", options.get("user")), ("password", options.get("password"))];
        let login: Vec<String> =
            login.iter().filter_map(|(name, value)| Some(format!("{name}={}", percent_encoded((*value)?)))).collect();
        let place = url.strip_prefix("jdbc:").unwrap_or(url);
        if let Some(path) = place.strip_prefix("sqlite:") {
            return match login.is_empty() {
                true => Database::sqlite(path),
                false => Err("a file of SQLite has no user and no password".to_owned()),
            };
        }
        if !matches!(place.split_once("://"), Some(("postgresql" | "postgres", _))) {
            return Err("option url: say jdbc:postgresql://HOST/DATABASE or jdbc:sqlite:FILE".to_owned());
        }
        let separator = if place.contains('?') { '&' } else { '?' };
        Database::postgres(match login.is_empty() {
            true => place.to_owned(),
            false => format!("{place}{separator}{}", login.join("&")),
        })
    }

    #[cfg(feature = "postgres")]
    fn postgres(url: String) -> std::result::Result<Database, String> {
        Ok(Database::Postgres(url))
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: String) -> std::result::Result<Database, String> {
        Err("this build has no PostgreSQL; add the feature `postgres` of tidemill-sql".to_owned())
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(path: &str) -> std::result::Result<Database, String> {
        Ok(Database::Sqlite(path.to_owned()))
    }

    #[cfg(not(feature = "sqlite"))]
    fn sqlite(_: &str) -> std::result::Result<Database, String> {
        Err("this build has no SQLite; add the feature `sqlite` of tidemill-sql".to_owned())
    }

    fn take(&self, rows: &DStream<'_, Values>, table: Table) {
        match self {
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => rows.to_postgres(url, table),
            #[cfg(feature = "sqlite")]
            Database::Sqlite(path) => rows.to_sqlite(path, table),
        }
    }

    fn take_changes(&self, rows: &DStream<'_, Change<Values>>, table: Table) {
        match self {
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => rows.changes_to_postgres(url, table),
            #[cfg(feature = "sqlite")]
            Database::Sqlite(path) => rows.changes_to_sqlite(path, table),
        }
    }
}

fn table(options: &Options, schema: &Schema, columns: &Columns) -> std::result::Result<Table, String> {
    let mut table = Table::new(options.needed("jdbc", "dbtable")?);
    for (field, kind) in schema.fields().iter().zip(&columns.0) {
        table = match kind {
            DataType::Int64 => table.integer(field.name()),
            DataType::Float64 => table.float(field.name()),
            DataType::Boolean => table.boolean(field.name()),
            DataType::Binary => table.bytes(field.name()),
            _ => table.text(field.name()),
        };
    }
    let names = key_names(options);
    if let Some(name) = names.iter().find(|name| schema.column_with_name(name).is_none()) {
        let known = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!("option primaryKey: the result has no column {name}; there are: {known}"));
    }
    table = table.key(names);
    if let Some(letters) = options.get("deadLetters") {
        table = table.dead_letters(letters);
    }
    if let Some(shards) = options.number("numPartitions")? {
        table = table.shards(u32::try_from(shards).unwrap_or(u32::MAX));
    }
    Ok(if options.exactly_once()? { table.exactly_once() } else { table })
}

/// The columns of the primary key.
fn key_names(options: &Options) -> Vec<&str> {
    options.get("primaryKey").map_or_else(Vec::new, |key| key.split(',').map(str::trim).collect())
}

/// For each column the type by which it is written: whole numbers, floats, booleans, bytes or text.
struct Columns(Vec<DataType>);

impl Columns {
    fn of(schema: &Schema) -> std::result::Result<Columns, String> {
        let kind = |kind: &DataType| {
            Some(match kind {
                kind if kind.is_integer() => DataType::Int64,
                kind if kind.is_floating() => DataType::Float64,
                DataType::Boolean | DataType::Null => DataType::Boolean,
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                    DataType::Binary
                }
                kind if kind.is_nested() => return None,
                _ => DataType::Utf8,
            })
        };
        let all = schema.fields().iter().map(|field| {
            kind(field.data_type()).ok_or_else(|| {
                format!("the column {} of type {} has no place in a table; write to_json({0})", field.name(), field.data_type())
            })
        });
        Ok(Columns(all.collect::<std::result::Result<_, _>>()?))
    }

    fn read(&self, codec: &Codec, rows: &[&Row]) -> std::result::Result<Vec<Values>, ArrowError> {
        let batch = codec.decode(rows.iter().copied())?;
        let columns = batch.columns().iter().zip(&self.0).map(|(column, kind)| cast(column, kind));
        let columns: Vec<ArrayRef> = columns.collect::<std::result::Result<_, _>>()?;
        Ok((0..rows.len()).map(|row| Values(columns.iter().map(|column| value(column, row)).collect())).collect())
    }
}

fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::Boolean(column.as_boolean().value(row)),
        DataType::Binary => Value::Bytes(column.as_binary::<i32>().value(row).to_vec()),
        _ => Value::Text(column.as_string::<i32>().value(row).to_owned()),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The values of a row, in the order of the columns. A table takes it as a tuple of them; between workers each has its kind.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Values(Vec<Value>);

impl Values {
    /// The values of a key as a text, which is the same for equal ones.
    fn key(&self, places: &[usize]) -> String {
        places.iter().map(|place| format!("{:?}\n", self.0[*place])).collect()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_newtype_struct("Values", &self.0);
        }
        let mut row = serializer.serialize_tuple(self.0.len())?;
        for value in &self.0 {
            match value {
                Value::Null => row.serialize_element(&None::<bool>)?,
                Value::Boolean(value) => row.serialize_element(value)?,
                Value::Integer(value) => row.serialize_element(value)?,
                Value::Float(value) => row.serialize_element(value)?,
                Value::Text(value) => row.serialize_element(value)?,
                Value::Bytes(value) => row.serialize_element(&Bytes(value))?,
            }
        }
        row.end()
    }
}

/// Bytes that are not a list of numbers.
struct Bytes<'v>(&'v [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ddl::parsed;

    fn options(given: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        given.iter().for_each(|(name, value)| options.set(name, (*value).to_owned()));
        options
    }

    #[test]
    fn a_url_is_a_database_and_shows_no_password() {
        let of = |given: &[(&str, &str)]| match Database::of(&options(given)) {
            #[cfg(feature = "postgres")]
            Ok(Database::Postgres(url)) => url,
            #[cfg(feature = "sqlite")]
            Ok(Database::Sqlite(path)) => path,
            Err(e) => e,
        };
        assert_eq!(of(&[("url", "jdbc:sqlite:/tmp/a.db")]), "/tmp/a.db");
        let login = [("url", "jdbc:postgresql://h:5/d?x=1"), ("user", "m"), ("password", "a b&c")];
        assert_eq!(of(&login), "postgresql://h:5/d?x=1&user=m&password=a%20b%26c");
        assert!(of(&[]).contains("needs the option url"));
        let wrong = of(&[("url", "jdbc:oracle:secret@h")]);
        assert!(wrong.contains("jdbc:sqlite:FILE") && !wrong.contains("secret"), "{wrong}");
        assert!(of(&[("url", "sqlite:a"), ("user", "m")]).contains("no user"));
    }

    #[test]
    fn columns_are_those_of_a_table() {
        let schema = parsed("a INT, b STRING, c DOUBLE, d BOOLEAN, e BINARY, f DECIMAL(5,2), g TIMESTAMP").unwrap();
        let columns = Columns::of(&schema).unwrap();
        let given =
            [("dbtable", "t"), ("primaryKey", "a , b"), ("numPartitions", "2"), ("sink.delivery-guarantee", "exactly-once")];
        let described = format!("{:?}", table(&options(&given), &schema, &columns).unwrap());
        for part in ["Integer", "Text", "Float", "Boolean", "Bytes", r#"key: ["a", "b"]"#, "shards: 2", "exactly_once: true"] {
            assert!(described.contains(part), "{part}: {described}");
        }
        let wrong = |given: &[(&str, &str)]| table(&options(given), &schema, &columns).unwrap_err();
        assert!(wrong(&[]).contains("needs the option dbtable"));
        assert!(wrong(&[("dbtable", "t"), ("primaryKey", "z")]).contains("no column z; there are: a, b"));
        assert!(wrong(&[("dbtable", "t"), ("sink.delivery-guarantee", "once")]).contains("exactly-once"));
        let nested = parsed("xs ARRAY<INT>").unwrap();
        assert!(Columns::of(&nested).err().unwrap().contains("to_json(xs)"));
    }

    #[test]
    fn values_keep_their_kinds_between_workers() {
        let row = Values(vec![
            Value::Null,
            Value::Boolean(true),
            Value::Integer(-7),
            Value::Float(0.5),
            Value::Text("tide".into()),
            Value::Bytes(vec![0, 255]),
        ]);
        let bytes = tidemill::core::data::encoded(&row);
        assert_eq!(tidemill::core::data::decoded::<Values>(&bytes).unwrap(), row);
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"[null,true,-7,0.5,"tide",[0,255]]"#);
    }
}
