//~ error[E0515]: cannot return value referencing function parameter
use tidemill::prelude::*;

fn program(lines: DStream<'_, String>) {
    lines.flat_map(|line| line.split(' ')).print(10);
}

fn main() {}
