//~ error[E0277]: `Rc<i32>` cannot be sent between threads safely
use std::rc::Rc;
use tidemill::prelude::*;

fn main() {
    let (lines, prefix) = (QueueSource::from_batches([vec![1, 2]]), Rc::new(10));
    let _ = StreamingContext::builder("numbers", secs(1)).run(move |ssc| {
        let prefix = prefix.clone();
        ssc.queue_stream(&lines).map(move |n| n * *prefix).print(10);
        Ok(())
    });
}
