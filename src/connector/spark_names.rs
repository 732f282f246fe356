//! Spark's names as deprecated methods. The warning of rustc has tidemill's name.
//!
//! There are only names for which rustc proposes nothing, or another verb. For `flatMap` it proposes `flat_map` itself.
#![allow(non_snake_case, reason = "Spark's names")]

use std::path::Path;
use std::time::Duration;

use crate::api::builder::Builder;
use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::{Exchange, Key};
use crate::core::error::BoxError;
use crate::operator::Batch;

impl StreamingContext<'_> {
    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `StreamingContext::builder(name, interval)`, and `run` takes the program")]
    #[allow(clippy::new_ret_no_self, reason = "Spark's name")]
    pub fn new(name: impl Into<String>, interval: Duration) -> Builder {
        StreamingContext::builder(name, interval)
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `foreach_batch`")]
    #[track_caller]
    pub fn foreach_rdd(&self, f: impl FnMut(&Batch<T>) -> Result<(), BoxError> + Send + 'static)
    where
        T: Exchange,
    {
        self.foreach_batch(f);
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `foreach_batch`")]
    #[track_caller]
    pub fn foreachRDD(&self, f: impl FnMut(&Batch<T>) -> Result<(), BoxError> + Send + 'static)
    where
        T: Exchange,
    {
        self.foreach_batch(f);
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `print`, and it takes the number of rows: `print(10)`")]
    #[track_caller]
    pub fn pprint(&self)
    where
        T: std::fmt::Debug,
    {
        self.print(10);
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `save_as_text_files`")]
    #[track_caller]
    pub fn saveAsTextFiles(&self, prefix: impl AsRef<Path>, suffix: impl AsRef<str>)
    where
        T: Exchange + std::fmt::Debug,
    {
        self.save_as_text_files(prefix, suffix);
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `count_by_value_and_window`")]
    #[track_caller]
    pub fn countByValueAndWindow(&self, length: Duration, slide: Duration) -> View<'s, (T, i64)>
    where
        T: Key,
    {
        self.count_by_value_and_window(length, slide)
    }
}

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `reduce_by_key`")]
    #[track_caller]
    pub fn reduceByKey(&self, f: impl Fn(V, V) -> V + Clone + 'static) -> DStream<'s, (K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.reduce_by_key(f)
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `group_by_key`")]
    #[track_caller]
    pub fn groupByKey(&self) -> DStream<'s, (K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.group_by_key()
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `reduce_by_key_and_window`; with an inverse, `reduce_by_key_and_window_inverse`")]
    #[track_caller]
    pub fn reduceByKeyAndWindow(
        &self,
        f: impl Fn(V, V) -> V + Clone + 'static,
        length: Duration,
        slide: Duration,
    ) -> View<'s, (K, V)>
    where
        K: Key,
        V: Key,
    {
        self.reduce_by_key_and_window(f, length, slide)
    }

    #[doc(hidden)]
    #[deprecated(note = "tidemill calls it `update_state_by_key`")]
    #[track_caller]
    pub fn updateStateByKey<S: Exchange>(&self, f: impl FnMut(&[V], Option<S>) -> Option<S> + 'static) -> DStream<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        self.update_state_by_key(f)
    }
}
