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
    /// The bytes are not a record. The error becomes the reason of a [`BadRecord`](crate::core::data::BadRecord). After [`Unavailable`] the
    /// job ends instead.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Out, BoxError>;
}

/// An error of a format that is not one of the record: what the format needs is away, such as a registry of schemas. The job ends with
/// it, and after a restart from its checkpoint it reads the same records again.
///
/// ```
/// use tidemill::format::Unavailable;
/// use tidemill::prelude::*;
///
/// /// Numbers that a table turns into names.
/// struct Names(Option<Vec<String>>);
///
/// impl Decode for Names {
///     type Out = String;
///     fn decode(&self, bytes: &[u8]) -> Result<String, BoxError> {
///         let names = self.0.as_ref().ok_or(Unavailable("the table of names is not there".into()))?;
///         let number: usize = std::str::from_utf8(bytes)?.parse()?;
///         Ok(names.get(number).ok_or("no name has this number")?.clone())
///     }
/// }
///
/// let run = |names: Option<Vec<String>>| {
///     let (lines, bad) = (QueueSource::from_batches([vec!["0".to_owned(), "x".to_owned()]]), MemorySink::new());
///     let out = bad.clone();
///     let job = StreamingContext::builder("names", millis(5)).without_checkpoint().run(move |ssc| {
///         ssc.queue_stream(&lines).decode(Names(names.clone())).errors().to_memory(&out);
///         Ok(())
///     });
///     job.map(|_| bad.rows().len())
/// };
/// assert_eq!(run(Some(vec!["tide".into()])).unwrap(), 1);
/// assert!(run(None).unwrap_err().to_string().contains("the table of names is not there"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);
