//~ error[E0277]: Kafka needs the feature `kafka` of tidemill
//~ not there without the feature `kafka`
//~ in Cargo.toml, add it to the features of tidemill: `features = ["kafka"]`
use tidemill::prelude::*;

fn main() -> tidemill::Result<Summary> {
    StreamingContext::builder("tweets", secs(1)).run(|ssc| {
        let kafka = KafkaSource::brokers("localhost:9092").topic("tweets").start(StartFrom::earliest());
        ssc.kafka_direct_stream(kafka).count().print(10);
        Ok(())
    })
}
