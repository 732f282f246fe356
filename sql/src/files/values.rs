//! The values of a row, and columns of them.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

/// One value. Which variant goes with which type of a column: see [`column`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// Also days and microseconds since 1970.
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Decimal(i128),
    List(Vec<Value>),
    Struct(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// The values of one row, a value for each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Values(pub Vec<Value>);

static NULL: Value = Value::Null;

/// Rows as columns. Each row has a value of its type for each column.
pub(crate) fn batch(schema: &Arc<Schema>, rows: &[Values]) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().enumerate().map(|(place, field)| {
        let values: Vec<&Value> = rows.iter().map(|row| row.0.get(place).unwrap_or(&NULL)).collect();
        column(field.data_type(), &values)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows.len())))
}

fn column(kind: &DataType, values: &[&Value]) -> Result<ArrayRef, ArrowError> {
    let ints = || values.iter().map(|v| if let Value::Int(n) = v { Some(*n) } else { None });
    let floats = || values.iter().map(|v| if let Value::Float(x) = v { Some(*x) } else { None });
    Ok(match kind {
        DataType::Boolean => {
            Arc::new(values.iter().map(|v| if let Value::Bool(b) = v { Some(*b) } else { None }).collect::<BooleanArray>())
        }
        // The values were checked when they were read.
        DataType::Int8 => Arc::new(ints().map(|n| n.map(|n| n as i8)).collect::<Int8Array>()),
        DataType::Int16 => Arc::new(ints().map(|n| n.map(|n| n as i16)).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(ints().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(ints().collect::<Int64Array>()),
        DataType::Date32 => Arc::new(ints().map(|n| n.map(|n| n as i32)).collect::<Date32Array>()),
        DataType::Timestamp(..) => Arc::new(ints().collect::<TimestampMicrosecondArray>()),
        DataType::Float32 => Arc::new(floats().map(|x| x.map(|x| x as f32)).collect::<Float32Array>()),
        DataType::Float64 => Arc::new(floats().collect::<Float64Array>()),
        DataType::Utf8 => {
            Arc::new(values.iter().map(|v| if let Value::Text(t) = v { Some(t.as_str()) } else { None }).collect::<StringArray>())
        }
        DataType::Binary => {
            Arc::new(values.iter().map(|v| if let Value::Bytes(b) = v { Some(&b[..]) } else { None }).collect::<BinaryArray>())
        }
        DataType::Decimal128(precision, scale) => {
            let decimals = values.iter().map(|v| if let Value::Decimal(n) = v { Some(*n) } else { None });
            Arc::new(decimals.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale)?)
        }
        DataType::List(item) => {
            let lists = values.iter().map(|v| if let Value::List(items) = v { &items[..] } else { &[] });
            let (offsets, items) = flat(lists);
            let items = column(item.data_type(), &items)?;
            Arc::new(ListArray::try_new(item.clone(), offsets, items, there(values))?)
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return Err(unknown(kind)) };
            let maps: Vec<&[(Value, Value)]> =
                values.iter().map(|v| if let Value::Map(pairs) = v { &pairs[..] } else { &[] }).collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|m| m.len()));
            let keys: Vec<&Value> = maps.iter().flat_map(|m| m.iter().map(|(k, _)| k)).collect();
            let mapped: Vec<&Value> = maps.iter().flat_map(|m| m.iter().map(|(_, v)| v)).collect();
            let pairs = vec![column(pair[0].data_type(), &keys)?, column(pair[1].data_type(), &mapped)?];
            let pairs = StructArray::try_new(pair.clone(), pairs, None)?;
            Arc::new(MapArray::try_new(entries.clone(), offsets, pairs, there(values), *sorted)?)
        }
        DataType::Struct(fields) => structs(fields, values)?,
        other => return Err(unknown(other)),
    })
}

fn structs(fields: &Fields, values: &[&Value]) -> Result<ArrayRef, ArrowError> {
    let part = |(place, field): (usize, &Arc<Field>)| {
        let parts: Vec<&Value> =
            values.iter().map(|v| if let Value::Struct(parts) = v { parts.get(place).unwrap_or(&NULL) } else { &NULL }).collect();
        column(field.data_type(), &parts)
    };
    let columns = fields.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, there(values), values.len())?))
}

fn flat<'v>(lists: impl Iterator<Item = &'v [Value]>) -> (OffsetBuffer<i32>, Vec<&'v Value>) {
    let (mut lengths, mut items) = (Vec::new(), Vec::new());
    for list in lists {
        lengths.push(list.len());
        items.extend(list);
    }
    (OffsetBuffer::from_lengths(lengths), items)
}

fn there(values: &[&Value]) -> Option<NullBuffer> {
    Some(NullBuffer::from_iter(values.iter().map(|v| **v != Value::Null)))
}

fn unknown(kind: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("columns of the type {kind}"))
}

/// Whether a whole number fits a type.
pub(crate) fn fits(kind: &DataType, n: i64) -> bool {
    match kind {
        DataType::Int8 => i8::try_from(n).is_ok(),
        DataType::Int16 => i16::try_from(n).is_ok(),
        DataType::Int32 => i32::try_from(n).is_ok(),
        _ => true,
    }
}
