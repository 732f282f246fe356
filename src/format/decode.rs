//! The trait of all formats: it decodes bytes into a record.

use crate::core::data::Data;
use crate::core::error::BoxError;

/// A format decodes bytes into a record. Each worker builds its own, and calls it once for each record.
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
    /// The type of a record.
    type Out: Data;

    /// Decodes one record.
    ///
    /// # Errors
    /// The bytes are not a record. The error becomes the reason of a [`BadRecord`](crate::core::data::BadRecord).
    fn decode(&self, bytes: &[u8]) -> Result<Self::Out, BoxError>;
}
