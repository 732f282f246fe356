//~ error[E0277]: a View has no batches until an output mode chooses rows of it
//~ write `.complete()`, `.update()`, `.append()` or `.changes()` first
use tidemill::prelude::*;

fn program(words: DStream<'_, String>, rows: MemorySink<(String, i64)>) {
    words.count_by_value().sum_by_key().to_memory(&rows);
}

fn main() {}
