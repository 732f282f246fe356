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
    ($($name:ident: $($new:ident($($argument:ident),*))*; $($set:ident($($setting:ident),*))*;)*) => {
        $(
        #[doc(hidden)]
        pub struct $name;

        impl $name {
            $(pub fn $new<$($argument: FeatureKafka),*>($(_: $argument),*) -> Self {
                $name
            })*
            $(pub fn $set<$($setting),*>(self, $(_: $setting),*) -> Self {
                self
            })*
        })*
    };
}

types! {
    KafkaSource: brokers(A) params(A); topic(A) topics(A) pattern(A) group_id(A) commit_offsets(A) start(A) set(A, B)
        allow_own_output(A) max_rate_per_partition(A) first_batch_cap(A) tombstones(A) include_headers() fail_on_data_loss(A)
        discover_every(A);
    KafkaSink: new(A, B) by_record(A); set(A, B) topics(A) marks() shards(A) exactly_once();
    StartFrom: latest() earliest() from_offsets(A) from_timestamp(A);;
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
