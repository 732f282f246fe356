//! Rows as lines of text that keep every value: what `save_as_object_files` writes.

use std::fmt::Write;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::data::{Data, encoded};
use crate::core::error::BoxError;
use crate::format::Decode;

/// A row of an object file: its encoded bytes ([`encoded`]) in hexadecimal.
///
/// ```
/// use tidemill::format::{Decode, Object};
/// let pair = Object::<(String, i64)>::new();
/// assert_eq!(pair.decode(b"047469646506").unwrap(), ("tide".to_owned(), 3));
/// assert!(pair.decode(b"0474").is_err() && pair.decode(b"tide").is_err());
/// ```
pub struct Object<T>(PhantomData<fn() -> T>);

impl<T> Object<T> {
    /// Reads `T` from its encoded bytes.
    pub fn new() -> Self {
        Object(PhantomData)
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Object::new()
    }
}

impl<T: DeserializeOwned + Data> Decode for Object<T> {
    type Out = T;

    fn decode(&self, text: &[u8]) -> Result<T, BoxError> {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let byte = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8);
        let bytes: Option<Vec<u8>> = text.chunks(2).map(byte).collect();
        let bytes = bytes.ok_or("a line of an object file is not hexadecimal; was it written by save_as_object_files?")?;
        match postcard::take_from_bytes(&bytes)? {
            (row, []) => Ok(row),
            (_, rest) => Err(format!("{} bytes follow the row: it was saved from rows of another type", rest.len()).into()),
        }
    }
}

/// A row as a line of an object file.
pub(crate) fn object_text<T: Serialize>(row: &T) -> String {
    let bytes = encoded(row);
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
