//! How bytes become a record: the trait of all formats.

use crate::core::data::Data;
use crate::core::error::BoxError;

/// A format: how bytes become a record. It is built on every worker, and called once for each record.
///
/// ```
/// use tidemill::prelude::*;
///
/// /// Four bytes, big-endian.
/// struct Id;
///
/// impl Decode for Id {
///     type Out = u32;
///     fn decode(&self, bytes: &[u8]) -> Result<u32, BoxError> {
///         Ok(u32::from_be_bytes(bytes.try_into()?))
///     }
/// }
///
/// assert_eq!(Id.decode(&[0, 0, 1, 2]).unwrap(), 258);
/// assert!(Id.decode(b"abc").is_err());
/// ```
pub trait Decode: 'static {
    /// The record.
    type Out: Data;

    /// Reads one record.
    ///
    /// # Errors
    /// Why the bytes are not a record: the reason of a [`BadRecord`](crate::core::data::BadRecord).
    fn decode(&self, bytes: &[u8]) -> Result<Self::Out, BoxError>;
}
