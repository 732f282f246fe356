//! `cache`: a verb of Spark that changes nothing here.

use crate::api::dstream::DStream;

impl<T> DStream<'_, T> {
    /// This stream. The verb exists for programs that come from Spark, and has no effect, because no stream is computed twice. All
    /// verbs on one handle read the same rows. A verb that takes rows by value clones them only if another verb reads them too.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| { let s = s.map(|n| n + 1).cache(); s.union(&s.count().map(|n| n as i32)) }, [vec![2, 3, 2]]);
    /// ```
    #[doc(alias = "persist")]
    pub fn cache(&self) -> Self {
        self.clone()
    }
}
