//~ pprint`: tidemill calls it `print`
use tidemill::prelude::*;

fn program(words: DStream<'_, String>) {
    words.pprint();
}

fn main() {}
