//~ error[E0277]: `f64` cannot be a key, or a row of a View
//~ = note: for a float use `F64`: `F64::from(x)`
use tidemill::prelude::*;

fn program(prices: DStream<'_, (String, f64)>) {
    prices.reduce_by_key_and_window(|a, b| a + b, secs(60), secs(5)).print(10);
}

fn main() {}
