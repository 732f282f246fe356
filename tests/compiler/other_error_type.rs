//~ help: use `?` to coerce and return an appropriate `Err`
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    words.try_map(|word| word.parse::<i64>()).print(10);
}

fn main() {}
