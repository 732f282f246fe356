//! Rows of a table as lines of CSV and JSON, as Spark writes them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use serde_json::{Number, Value as Json};

use super::csv::Csv;
use crate::show;

type Result<T> = std::result::Result<T, String>;

/// Lines of CSV. Times are in ISO 8601.
pub(crate) fn csv_lines(format: &Csv, batch: &RecordBatch) -> Result<Vec<String>> {
    each(batch, |row| {
        let cells = batch.columns().iter().map(|c| text(c, row)).collect::<Result<Vec<_>>>()?;
        Ok(format.line(cells.iter().map(|cell| cell.as_deref())))
    })
}

/// The one column of a table, as lines. A null is an empty line.
pub(crate) fn texts(_: &Csv, batch: &RecordBatch) -> Result<Vec<String>> {
    each(batch, |row| Ok(text(batch.column(0), row)?.unwrap_or_default()))
}

/// Lines of JSON. A null is left out, as in Spark.
pub(crate) fn json_lines(batch: &RecordBatch) -> Result<Vec<String>> {
    each(batch, |row| {
        let mut line = String::new();
        object(&mut line, batch.schema().fields().iter().zip(batch.columns()), row)?;
        Ok(line)
    })
}

/// A value as JSON. `None` is a null.
pub(crate) fn json_text(column: &ArrayRef, row: usize) -> Result<Option<String>> {
    if is_null(column, row) {
        return Ok(None);
    }
    let mut text = String::new();
    json(&mut text, column, row)?;
    Ok(Some(text))
}

/// The fields of an object in their order, without those that are null.
fn object<'c>(text: &mut String, parts: impl Iterator<Item = (&'c Arc<Field>, &'c ArrayRef)>, row: usize) -> Result<()> {
    let there = parts.filter(|(_, part)| !is_null(part, row));
    listed(text, ['{', '}'], there, |text, (field, part)| {
        named(text, field.name());
        json(text, part, row)
    })
}

/// The name of a value in an object.
fn named(text: &mut String, name: &str) {
    text.push_str(&Json::from(name).to_string());
    text.push(':');
}

/// Items between two signs, with commas between them.
fn listed<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T) -> Result<()>,
) -> Result<()> {
    text.push(open);
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        each(text, item)?;
    }
    text.push(close);
    Ok(())
}

/// A column of the type of nulls has no mask of them.
fn is_null(column: &ArrayRef, row: usize) -> bool {
    column.is_null(row) || column.data_type() == &DataType::Null
}

fn each<T>(batch: &RecordBatch, f: impl Fn(usize) -> Result<T>) -> Result<Vec<T>> {
    (0..batch.num_rows()).map(f).collect()
}

/// A value as a text. `None` is a null.
pub(crate) fn text(column: &ArrayRef, row: usize) -> Result<Option<String>> {
    if is_null(column, row) {
        return Ok(None);
    }
    let text = show::cell(column, row).map_err(|e| e.to_string())?;
    Ok(Some(match column.data_type() {
        // Spark's form of times in files: 2026-11-29T16:45:00.500Z.
        DataType::Timestamp(..) => match text.split_once('.') {
            Some((seconds, fraction)) => format!("{}.{fraction:0<3}Z", seconds.replace(' ', "T")),
            None => format!("{}.000Z", text.replace(' ', "T")),
        },
        _ => text,
    }))
}

fn json(text: &mut String, column: &ArrayRef, row: usize) -> Result<()> {
    match column.data_type() {
        _ if is_null(column, row) => text.push_str("null"),
        DataType::List(_) => array(text, &column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => array(text, &column.as_list::<i64>().value(row))?,
        DataType::Struct(fields) => object(text, fields.iter().zip(column.as_struct().columns()), row)?,
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            listed(text, ['{', '}'], 0..entries.len(), |text, i| {
                named(text, &self::text(entries.column(0), i)?.unwrap_or_default());
                json(text, entries.column(1), i)
            })?;
        }
        _ => text.push_str(&single(column, row)?.to_string()),
    }
    Ok(())
}

fn array(text: &mut String, items: &ArrayRef) -> Result<()> {
    listed(text, ['[', ']'], 0..items.len(), |text, i| json(text, items, i))
}

/// A value without parts. It is not null.
fn single(column: &ArrayRef, row: usize) -> Result<Json> {
    let real = |x: f64| match Number::from_f64(x) {
        Some(n) => Json::Number(n),
        // JSON has no number for it; Spark writes "NaN".
        None => Json::String(x.to_string().replace("inf", "Infinity")),
    };
    Ok(match column.data_type() {
        DataType::Boolean => Json::Bool(column.as_boolean().value(row)),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float32 => real(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => real(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            let digits = column.as_primitive::<Decimal128Type>().value_as_string(row);
            // Digits beyond those of a double stay a text.
            match digits.parse::<f64>().ok().filter(|_| digits.len() < 16).and_then(Number::from_f64) {
                Some(n) => Json::Number(n),
                None => Json::String(digits),
            }
        }
        DataType::Binary => Json::String(base64(column.as_binary::<i32>().value(row))),
        _ => Json::String(text(column, row)?.unwrap_or_default()),
    })
}

/// The text of bytes in JSON, by RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;
    use crate::TableSession;

    #[test]
    fn rows_are_lines() {
        let sql = "select 1 as n, cast(null as string) as nothing, 'a,\"b\"' as s, 1.5e0 as x, \
                   timestamp '2026-11-29 16:45:00.5' as t, date '2026-11-29' as d, true as yes";
        let batch = TableSession::new().sql(sql).unwrap().record_batches().unwrap().remove(0);
        let csv = csv_lines(&Csv::new(&Options::default()).unwrap(), &batch).unwrap();
        assert_eq!(csv, ["1,,\"a,\"\"b\"\"\",1.5,2026-11-29T16:45:00.500Z,2026-11-29,true"]);
        let json = json_lines(&batch).unwrap();
        let expected = r#"{"n":1,"s":"a,\"b\"","x":1.5,"t":"2026-11-29T16:45:00.500Z","d":"2026-11-29","yes":true}"#;
        assert_eq!(json, [expected]);
    }

    #[test]
    fn nested_values_are_json() {
        let sql =
            "select array(1, 2) as l, named_struct('a', 1, 'b', null) as o, X'616263' as bytes, cast(1.25 as decimal(5,2)) as p";
        let batch = TableSession::new().sql(sql).unwrap().record_batches().unwrap().remove(0);
        assert_eq!(json_lines(&batch).unwrap(), [r#"{"l":[1,2],"o":{"a":1},"bytes":"YWJj","p":1.25}"#]);
        assert_eq!((base64(b"a"), base64(b"ab")), ("YQ==".to_owned(), "YWI=".to_owned()));
    }
}
