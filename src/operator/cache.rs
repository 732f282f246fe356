//! `cache`: Spark's word for what is so here anyway.

use crate::api::dstream::DStream;

impl<T> DStream<'_, T> {
    /// This stream. Nothing is ever computed twice here: all verbs on one handle read the same rows, and only verbs that
    /// take rows by value clone them, and only if somebody else reads them too.
    #[doc(alias = "persist")]
    pub fn cache(&self) -> Self {
        self.clone()
    }
}
