//! Kafka's names in a build without the feature `kafka`: a program that uses them does not compile, and the compiler names the feature.
//!
//! Without them it would say "no method" and "undeclared type".

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::message::Message;

/// Nothing implements it.
#[diagnostic::on_unimplemented(
    message = "Kafka needs the feature `kafka` of tidemill",
    label = "not there without the feature `kafka`",
    note = "in Cargo.toml, add it to the features of tidemill: `features = [\"kafka\"]`"
)]
#[doc(hidden)]
pub trait FeatureKafka {}

/// Types of Kafka, with the functions that make one and those that return it changed.
macro_rules! types {
    ($($name:ident: $($new:ident($($arg:ident $argument:ident),*))*; $($set:ident($($by:ident $setting:ident),*))*;)*) => {
        $(
        #[doc(hidden)]
        pub struct $name;

        impl $name {
            $(pub fn $new<$($argument: FeatureKafka),*>($($arg: $argument),*) -> Self {
                $(let _ = $arg;)*
                $name
            })*
            $(pub fn $set<$($setting),*>(self, $($by: $setting),*) -> Self {
                $(let _ = $by;)*
                self
            })*
        })*
    };
}

types! {
    KafkaSource: brokers(a A) params(a A); topic(a A) topics(a A) pattern(a A) group_id(a A) commit_offsets(a A) start(a A) set(a A, b B)
        max_rate_per_partition(a A) first_batch_cap(a A) tombstones(a A) include_headers() fail_on_data_loss(a A) discover_every(a A);
    KafkaSink: new(a A, b B); set(a A, b B) shards(a A) exactly_once();
    StartFrom: latest() earliest() from_offsets(a A) from_timestamp(a A);;
}

impl<'s> StreamingContext<'s> {
    #[doc(hidden)]
    pub fn kafka_direct_stream<K: FeatureKafka>(&self, _: K) -> DStream<'s, Message> {
        unreachable!("nothing implements FeatureKafka")
    }

    #[doc(hidden)]
    pub fn kafka_ranges<K: FeatureKafka, R>(&self, _: K, _: R) -> DStream<'s, Message> {
        unreachable!("nothing implements FeatureKafka")
    }
}

impl<T> DStream<'_, T> {
    #[doc(hidden)]
    pub fn to_kafka<K: FeatureKafka, F>(&self, _: K, _: F) {}
}
