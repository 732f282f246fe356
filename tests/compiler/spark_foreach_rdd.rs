//~ foreach_rdd`: tidemill calls it `foreach_batch`
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    words.foreach_rdd(|batch| {
        println!("{}", batch.len());
        Ok(())
    });
}

fn main() {}
