//! A row as bytes whose order is that of its values: what exchanges and views hold.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use serde::{Deserialize, Serialize};

/// Values of some columns, in the encoding of `arrow::row`: two rows compare as their bytes do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Row(Box<[u8]>);

impl Row {
    /// A row of bytes that a codec made.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Row(bytes.into())
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of {} bytes", self.0.len())
    }
}

/// The rows of some columns as bytes in one piece of memory: what is compared and hashed, and seldom kept.
pub(crate) struct Encoded {
    /// `None`: without columns all rows are the same, the one group of an aggregate without keys.
    rows: Option<Rows>,
    len: usize,
}

impl Encoded {
    /// The bytes of each row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len).map(|row| self.bytes(row))
    }

    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())
    }

    /// All rows, each to keep.
    pub(crate) fn kept(&self) -> Vec<Row> {
        self.iter().map(Row::of).collect()
    }
}

/// Encodes and decodes the rows of one schema.
pub(crate) struct Codec {
    schema: Arc<Schema>,
    converter: RowConverter,
}

impl Codec {
    pub(crate) fn new(schema: &Arc<Schema>) -> Result<Self, ArrowError> {
        if let Some(map) = schema.fields().iter().find(|f| matches!(f.data_type(), DataType::Map(..))) {
            let remedy = "select its values, as in m['key']";
            return Err(ArrowError::NotYetImplemented(format!(
                "the column {} is a MAP, which has no order; {remedy}",
                map.name()
            )));
        }
        let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Codec { schema: schema.clone(), converter: RowConverter::new(fields)? })
    }

    /// Rows that sort as an ORDER BY wants it.
    pub(crate) fn sorted(schema: &Arc<Schema>, fields: Vec<SortField>) -> Result<Self, ArrowError> {
        Ok(Codec { schema: schema.clone(), converter: RowConverter::new(fields)? })
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// One row for each row of the columns.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Row>, ArrowError> {
        Ok(self.bytes(columns, rows)?.kept())
    }

    /// The same, without memory of its own for each row.
    pub(crate) fn bytes(&self, columns: &[ArrayRef], rows: usize) -> Result<Encoded, ArrowError> {
        let converted = (!columns.is_empty()).then(|| self.converter.convert_columns(columns)).transpose()?;
        Ok(Encoded { rows: converted, len: rows })
    }

    /// The rows of a record batch that has these columns.
    pub(crate) fn encoded(&self, batch: &RecordBatch) -> Vec<Row> {
        // Types were checked when the codec was made, and values of them have bytes.
        self.encode(batch.columns(), batch.num_rows()).unwrap_or_else(|e| panic!("rows as bytes: {e}"))
    }

    /// The rows of record batches, one after another.
    pub(crate) fn all_encoded(&self, batches: &[RecordBatch]) -> Vec<Row> {
        batches.iter().flat_map(|batch| self.encoded(batch)).collect()
    }

    pub(crate) fn decode<'r>(&self, rows: impl ExactSizeIterator<Item = &'r Row>) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = if self.schema.fields().is_empty() {
            Vec::new()
        } else {
            let parser = self.converter.parser();
            // The parser checks nothing but UTF-8, and the bytes are those of `encode`.
            self.converter.convert_rows(rows.map(|row| parser.parse(&row.0)))?
        };
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    /// The columns of rows, with nulls where there is none.
    pub(crate) fn decode_with_nulls(&self, rows: &[Option<&Row>]) -> Result<Vec<ArrayRef>, ArrowError> {
        let decoded = self.decode(rows.iter().flatten().copied().collect::<Vec<_>>().into_iter())?;
        let mut next = 0;
        let place = |row: &Option<&Row>| match row {
            None => (1, 0),
            Some(_) => {
                next += 1;
                (0, next - 1)
            }
        };
        let places: Vec<(usize, usize)> = rows.iter().map(place).collect();
        let with_nulls =
            |column: &ArrayRef| interleave(&[column.as_ref(), new_null_array(column.data_type(), 1).as_ref()], &places);
        decoded.columns().iter().map(with_nulls).collect()
    }
}
