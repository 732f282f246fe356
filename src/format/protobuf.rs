//! Protocol Buffers, by prost.

use std::marker::PhantomData;

use prost::Message;

use crate::core::data::Data;
use crate::core::error::BoxError;
use crate::format::Decode;

/// The bytes before a message that a schema registry knows: a zero, and the number of the schema.
const HEAD: usize = 5;

/// A message of Protocol Buffers: `decode(Protobuf::<Sale>::new())`. Feature `protobuf`.
///
/// The type is one that prost makes: from a `.proto` file in the program's build script, or by its derive macro. Fields that the type does
/// not have are left out, and fields that are missing have their default, as the format says. So most bytes that are cut short or of
/// another type are errors, which become bad records, but some are read as a message.
///
/// ```
/// use prost::Message;
/// use tidemill::format::Protobuf;
/// use tidemill::prelude::*;
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Sale {
///     #[prost(string, tag = "1")]
///     item: String,
///     #[prost(sint64, tag = "2")]
///     amount: i64,
/// }
///
/// let nuts = Sale { item: "nuts".into(), amount: -3 };
/// let bytes = nuts.encode_to_vec();
/// assert_eq!(Protobuf::<Sale>::new().decode(&bytes).unwrap(), nuts);
/// assert!(Protobuf::<Sale>::new().decode(&bytes[..3]).is_err());
/// ```
pub struct Protobuf<T> {
    /// Which message of its file a registry's message is.
    indexes: Option<Vec<i64>>,
    message: PhantomData<fn() -> T>,
}

impl<T> Protobuf<T> {
    /// Reads `T` from the bytes of a message alone.
    pub fn new() -> Self {
        Protobuf { indexes: None, message: PhantomData }
    }

    /// Reads messages as the serializers of Confluent's schema registry write them: a zero, four bytes with the number of the schema, and
    /// the place of the message in its file. `indexes` is this place: `[0]` is the first message of the file, `[1, 0]` the first message in
    /// the second one. Another place is an error, because the bytes are another message. The registry itself is not asked.
    ///
    /// ```
    /// use prost::Message;
    /// use tidemill::format::Protobuf;
    /// use tidemill::prelude::*;
    ///
    /// #[derive(Clone, PartialEq, prost::Message)]
    /// struct Heat {
    ///     #[prost(int32, tag = "1")]
    ///     degrees: i32,
    /// }
    ///
    /// let first = Protobuf::<Heat>::new().confluent([0]);
    /// let mut bytes = vec![0, 0, 0, 0, 42, 0];
    /// Heat { degrees: 21 }.encode(&mut bytes).unwrap();
    /// assert_eq!(first.decode(&bytes).unwrap().degrees, 21);
    /// let e = Protobuf::<Heat>::new().confluent([1, 0]).decode(&bytes).unwrap_err().to_string();
    /// assert_eq!(e, "the bytes are the message at [0] of schema 42, and the type is the one at [1, 0]");
    /// ```
    pub fn confluent(mut self, indexes: impl IntoIterator<Item = i64>) -> Self {
        self.indexes = Some(indexes.into_iter().collect());
        self
    }
}

impl<T> Default for Protobuf<T> {
    fn default() -> Self {
        Protobuf::new()
    }
}

impl<T: Message + Default + Data> Decode for Protobuf<T> {
    type Out = T;

    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        let message = match &self.indexes {
            None => bytes,
            Some(indexes) => behind_head(bytes, indexes)?,
        };
        Ok(T::decode(message)?)
    }
}

/// The bytes behind the head of a registry's message.
fn behind_head<'b>(bytes: &'b [u8], expected: &[i64]) -> Result<&'b [u8], BoxError> {
    let (schema, mut rest) = match bytes {
        [0, schema @ ..] if schema.len() >= HEAD - 1 => schema.split_at(HEAD - 1),
        _ => return Err("the bytes do not begin with a zero and the number of a schema, as those of a registry do".into()),
    };
    let schema = u32::from_be_bytes(schema.try_into().expect("four bytes"));
    let mut next = || -> Result<i64, BoxError> {
        let zigzag = prost::encoding::decode_varint(&mut rest)?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    };
    // No number at all means the first message.
    let indexes = match next()? {
        0 => vec![0],
        count => (0..count).map(|_| next()).collect::<Result<_, _>>()?,
    };
    if indexes != expected {
        return Err(format!(
            "the bytes are the message at {indexes:?} of schema {schema}, and the type is the one at {expected:?}"
        )
        .into());
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_registry_is_read_to_its_end_or_refused() {
        let head = |bytes: &[u8], expected: &[i64]| behind_head(bytes, expected).map(<[u8]>::to_vec).map_err(|e| e.to_string());
        assert_eq!(head(&[0, 0, 0, 0, 7, 0, 9], &[0]), Ok(vec![9]));
        assert_eq!(head(&[0, 0, 0, 0, 7, 2, 0, 9], &[0]), Ok(vec![9]), "the list [0] in full");
        assert_eq!(head(&[0, 0, 0, 0, 7, 4, 2, 0, 9, 8], &[1, 0]), Ok(vec![9, 8]));
        assert_eq!(head(&[0, 0, 0, 0, 7, 0], &[0]), Ok(vec![]), "a message of defaults is empty");
        assert!(head(&[0, 0, 0, 0, 7, 2, 2, 9], &[0]).unwrap_err().contains("at [1] of schema 7"));
        for cut in 0..6 {
            assert!(head(&[0, 0, 0, 0, 7, 2, 0][..cut], &[0]).is_err(), "{cut}");
        }
        assert!(head(b"{\"n\": 1}", &[0]).unwrap_err().contains("do not begin with a zero"));
        // A huge count ends with the bytes.
        assert!(head(&[0, 0, 0, 0, 7, 0xfe, 0xff, 0xff, 0xff, 0x7f, 0], &[0]).is_err());
        assert!(head(&[0, 0, 0, 0, 7, 1, 0], &[0]).is_err(), "a count below zero");
    }
}
