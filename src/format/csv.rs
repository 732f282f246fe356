//! CSV, by the crate csv and serde.

use std::fmt;
use std::marker::PhantomData;

use csv::{ByteRecord, ReaderBuilder};
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::core::data::Data;
use crate::core::error::BoxError;
use crate::format::Decode;

/// A record of CSV: `decode(Csv::<(String, i64)>::new())`.
///
/// Fields are read by their order, or by the names of [`columns`](Csv::columns). A field may be in double quotes, and then may have
/// delimiters and doubled quotes. The last field of a record in a Kafka message may also have line breaks; in a stream of lines each line
/// is a record. An empty field is `None` of an `Option`. Another number of fields than the type has, a field of another type, bytes that
/// are not UTF-8, and a second record are errors, which become bad records. The first line of files is left out by
/// [`TextFileSource::header`](crate::connector::files::source::TextFileSource::header).
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidemill::prelude::*;
///
/// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
/// struct Sale {
///     item: String,
///     amount: f64,
///     note: Option<String>,
/// }
///
/// let sales = Csv::<Sale>::new().columns(["amount", "item", "note"]).delimiter(b';');
/// let sale = sales.decode(br#"2.5;"nuts; ""large""";"#).unwrap();
/// assert_eq!(sale, Sale { item: r#"nuts; "large""#.into(), amount: 2.5, note: None });
/// let e = sales.decode(b"x;nuts;").unwrap_err().to_string();
/// assert!(e.contains("field amount") && e.contains("invalid float"), "{e}");
///
/// let pair = Csv::<(String, i64)>::new();
/// assert_eq!(pair.decode(b"tide,3").unwrap(), ("tide".to_owned(), 3));
/// assert_eq!(pair.decode(b"tide,3,4").unwrap_err().to_string(), "the record has 3 fields, and the type takes 2");
/// assert!(pair.decode(b"tide").is_err());
/// // A struct is read by the order of its fields, if no columns are named.
/// let sales = Csv::<Sale>::new();
/// assert_eq!(sales.decode(b"nuts,2.5,salted").unwrap().note.as_deref(), Some("salted"));
/// assert!(sales.decode(b"nuts,2.5,salted,7").is_err());
/// ```
pub struct Csv<T> {
    columns: Option<Vec<String>>,
    delimiter: u8,
    quote: Option<u8>,
    trim: bool,
    row: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    /// Reads `T` from fields in its order, with commas between them.
    pub fn new() -> Self {
        Csv { columns: None, delimiter: b',', quote: Some(b'"'), trim: false, row: PhantomData }
    }

    /// The names of the fields, in their order in a record. Fields of `T` are found by their names, and a column that `T` does not have is
    /// left out.
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The byte between fields. Default: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// The byte around fields that have delimiters; `None`: there is none. Default: a double quote.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let plain = Csv::<(String, String)>::new().delimiter(b'\t').quote(None);
    /// assert_eq!(plain.decode(b"5\" nail\tx").unwrap(), ("5\" nail".to_owned(), "x".to_owned()));
    /// ```
    pub fn quote(mut self, quote: Option<u8>) -> Self {
        self.quote = quote;
        self
    }

    /// Whether white space around fields is left out. Default: `false`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// assert_eq!(Csv::<(String, i64)>::new().trim(true).decode(b" tide , 3 ").unwrap(), ("tide".to_owned(), 3));
    /// ```
    pub fn trim(mut self, trim: bool) -> Self {
        self.trim = trim;
        self
    }
}

impl<T> Default for Csv<T> {
    fn default() -> Self {
        Csv::new()
    }
}

impl<T: DeserializeOwned + Data> Decode for Csv<T> {
    type Out = T;

    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(self.delimiter).buffer_capacity(bytes.len().clamp(64, 64 << 10));
        builder.quoting(self.quote.is_some()).quote(self.quote.unwrap_or(b'"'));
        builder.trim(if self.trim { csv::Trim::All } else { csv::Trim::None });
        let (mut reader, mut record) = (builder.from_reader(bytes), ByteRecord::new());
        if !reader.read_byte_record(&mut record)? {
            return Err("there is no record: the text is empty".into());
        }
        if reader.read_byte_record(&mut ByteRecord::new())? {
            return Err("a second record follows the first one".into());
        }
        let names = self.columns.as_ref();
        if let Some(names) = names.filter(|names| names.len() != record.len()) {
            return Err(format!("the record has {} fields, and there are {} columns", record.len(), names.len()).into());
        }
        if let Some(names) = names {
            let headers = ByteRecord::from(names.iter().map(String::as_bytes).collect::<Vec<_>>());
            return record.deserialize(Some(&headers)).map_err(|e| self.described(&e).into());
        }
        let Whole { row, more } = record.deserialize(None).map_err(|e| self.described(&e))?;
        if more > 0 {
            return Err(format!("the record has {} fields, and the type takes {}", record.len(), record.len() - more).into());
        }
        Ok(row)
    }
}

impl<T> Csv<T> {
    /// What is wrong with a record, by the name of its field.
    fn described(&self, e: &csv::Error) -> String {
        let csv::ErrorKind::Deserialize { err, .. } = e.kind() else { return e.to_string() };
        match err.field() {
            Some(field) => {
                let name = self.columns.as_ref().and_then(|names| names.get(field as usize).cloned());
                format!("field {}: {}", name.unwrap_or_else(|| (field + 1).to_string()), err.kind())
            }
            None => err.kind().to_string(),
        }
    }
}

/// A row, and how many fields follow those that it takes: the crate would leave them out in silence.
struct Whole<T> {
    row: T,
    more: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a record")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Whole<T>, A::Error> {
        let row = fields.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let mut more = 0;
        while fields.next_element::<IgnoredAny>()?.is_some() {
            more += 1;
        }
        Ok(Whole { row, more })
    }
}
