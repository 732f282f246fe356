//! Several processes share a topic by their consumer group: `cargo run --example kafka_receiver -- BROKERS TOPIC GROUP DIR`
//!
//! Start it twice, with another DIR each. Each process prints the records of its partitions, as `partition@offset value`. End one, and the
//! other takes its partitions over: at once after Ctrl-C, and after six seconds when it was killed. A record is in the log of DIR before
//! the group knows of it, so no record is missing. Those that a killed process had logged and not committed come twice.

use tidemill::prelude::*;

fn main() -> tidemill::Result<Summary> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, group, dir] = &args[..] else {
        eprintln!("usage: kafka_receiver BROKERS TOPIC GROUP DIR");
        return Err(Error::Build("four arguments are needed".into()));
    };
    let kafka = KafkaSource::brokers(brokers).topic(topic).group_id(group).start(StartFrom::earliest());
    let kafka = kafka.set("session.timeout.ms", "6000");
    let job = StreamingContext::builder("kafka_receiver", millis(100)).checkpoint(dir).checkpoint_interval(millis(200));
    job.run(move |ssc| {
        let records = ssc.kafka_receiver_stream(kafka.clone());
        let line = |m: Message| format!("{}@{} {}", m.partition(), m.offset(), String::from_utf8_lossy(m.raw()));
        records.map(line).print(usize::MAX);
        Ok(())
    })
}
