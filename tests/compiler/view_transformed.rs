//~ error[E0277]: a View has no batches until an output mode chooses rows of it
//~ write `.complete()`, `.update()`, `.append()` or `.changes()` first
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    let totals = words.count_by_value().sum_by_key();
    totals.transform(|batch| batch.take(5)).print(5);
    totals.foreach_batch(|batch| {
        println!("{}", batch.len());
        Ok(())
    });
}

fn main() {}
