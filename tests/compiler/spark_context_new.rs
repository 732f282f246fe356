//~ `StreamingContext::builder(name, interval)`
use tidemill::prelude::*;

fn main() {
    let ssc = StreamingContext::new("words", secs(1));
    let _ = ssc.run(|_| Ok(()));
}
