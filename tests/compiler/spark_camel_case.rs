//~ reduceByKey`: tidemill calls it `reduce_by_key`
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    words.map(|word| (word, 1i64)).reduceByKey(|a, b| a + b).print(10);
}

fn main() {}
