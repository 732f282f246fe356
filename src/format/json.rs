//! JSON, by serde.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::core::data::Data;
use crate::core::error::BoxError;
use crate::format::Decode;

/// JSON by serde: `decode(Json::<Tweet>::new())`.
///
/// ```
/// use tidemill::prelude::*;
/// let pair = Json::<(String, i64)>::new();
/// assert_eq!(pair.decode(br#"["tide", 3]"#).unwrap(), ("tide".to_owned(), 3));
/// assert!(pair.decode(b"tide").is_err());
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// Reads `T` from JSON.
    pub fn new() -> Self {
        Json(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Json::new()
    }
}

impl<T: DeserializeOwned + Data> Decode for Json<T> {
    type Out = T;

    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
