//! The verbs of batches on a view do not compile: the compiler's message lists the output modes.
//!
//! Without these methods, it would say "no method", and propose another one.

use std::path::Path;

use crate::api::dstream::DStream;
use crate::api::view::View;
#[cfg(feature = "kafka")]
use crate::connector::kafka::{producer_record::ProducerRecord, sink::KafkaSink};
use crate::connector::memory::MemorySink;
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::operator::Batch;

/// A DStream of the rows of a view. Nothing implements it: the program chooses the output mode.
#[diagnostic::on_unimplemented(
    message = "a View has no batches until an output mode chooses rows of it",
    label = "write `.complete()`, `.update()`, `.append()` or `.changes()` first",
    note = "`.complete()` has all rows of the view in each batch, and `.update()` those that are new or changed"
)]
#[doc(hidden)]
pub trait ChosenMode<'s, T: 'static> {
    /// The rows.
    fn rows(&self) -> DStream<'s, T>;
}

impl<'s, T: Exchange> View<'s, T> {
    #[doc(hidden)]
    pub fn to_memory(&self, memory: &MemorySink<T>)
    where
        Self: ChosenMode<'s, T>,
    {
        ChosenMode::rows(self).to_memory(memory);
    }

    #[doc(hidden)]
    pub fn foreach_batch(&self, f: impl FnMut(&Batch<T>) -> Result<(), BoxError> + Send + 'static)
    where
        Self: ChosenMode<'s, T>,
    {
        ChosenMode::rows(self).foreach_batch(f);
    }

    #[doc(hidden)]
    pub fn save_as_text_files(&self, prefix: impl AsRef<Path>, suffix: impl AsRef<str>)
    where
        Self: ChosenMode<'s, T>,
        T: std::fmt::Debug,
    {
        ChosenMode::rows(self).save_as_text_files(prefix, suffix);
    }

    #[cfg(feature = "kafka")]
    #[doc(hidden)]
    pub fn to_kafka(&self, sink: KafkaSink, fill: impl FnMut(&T, &mut ProducerRecord) + Send + 'static)
    where
        Self: ChosenMode<'s, T>,
    {
        ChosenMode::rows(self).to_kafka(sink, fill);
    }

    #[doc(hidden)]
    pub fn transform<U: Exchange, I: IntoIterator<Item = U>>(&self, f: impl FnMut(Batch<T>) -> I + 'static) -> DStream<'s, U>
    where
        Self: ChosenMode<'s, T>,
    {
        ChosenMode::rows(self).transform(f)
    }

    #[doc(hidden)]
    pub fn take(&self, n: usize) -> DStream<'s, T>
    where
        Self: ChosenMode<'s, T>,
    {
        ChosenMode::rows(self).take(n)
    }
}
