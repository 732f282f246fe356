//~ error[E0277]: Kafka needs the feature `kafka` of tidemill
//~ in Cargo.toml, add it to the features of tidemill: `features = ["kafka"]`
use tidemill::prelude::*;

fn main() -> tidemill::Result<Summary> {
    let words = QueueSource::from_batches([vec!["tide".to_owned()]]);
    StreamingContext::builder("words", secs(1)).run(move |ssc| {
        ssc.queue_stream(&words).to_kafka(KafkaSink::new("localhost:9092", "words").exactly_once(), |word| word.clone());
        Ok(())
    })
}
