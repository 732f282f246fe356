//~ error: lifetime may not live long enough
//~ = note: closure implements `Fn`, so references to captured variables can't escape the closure
use tidemill::prelude::*;

fn main() -> tidemill::Result<Summary> {
    let stop = vec!["the".to_owned()];
    let lines = QueueSource::from_batches([vec!["the".to_owned(), "tide".to_owned()]]);
    StreamingContext::builder("words", secs(1)).run(move |ssc| {
        ssc.queue_stream(&lines).filter(|word| !stop.contains(word)).print(10);
        Ok(())
    })
}
