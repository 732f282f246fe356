//~ no method named `reduce_by_key` found for struct `tidemill::prelude::DStream<'_, String>`
//~ - `tidemill::prelude::DStream<'s, (K, V)>`
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    words.reduce_by_key(|a, _| a).print(10);
}

fn main() {}
