//! Streams of Kinesis.

use tidemill::prelude::DStream;

use super::Build;
use crate::call::Site;
use crate::program::Kinesis;
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The rows of a stream of Kinesis.
    #[cfg(feature = "kinesis")]
    pub(super) fn kinesis_source(&self, kinesis: &Kinesis, site: &Site) -> DStream<'s, Value> {
        use super::{containers, utf8};

        let messages = self.ssc.kinesis_stream(kinesis.source());
        let (as_text, site, failure) = (kinesis.text, site.clone(), self.failure.clone());
        containers(&messages, site.clone().text(), move |batch, messages| {
            let row = |message: &tidemill::prelude::Message| {
                let bytes = message.value_opt().unwrap_or_default();
                if !as_text {
                    return Value::Bytes(bytes.into());
                }
                let place = || format!("{}, shard {}, position {}", message.topic(), message.partition(), message.offset());
                utf8::text(bytes, place, batch, &site, &failure)
            };
            messages.iter().map(row).collect()
        })
    }

    /// A description of such a stream is refused.
    #[cfg(not(feature = "kinesis"))]
    pub(super) fn kinesis_source(&self, _: &Kinesis, _: &Site) -> DStream<'s, Value> {
        unreachable!("this build has no Kinesis")
    }
}
