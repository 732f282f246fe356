//~ error[E0277]: `f64` cannot be a key, or a row of a View
//~ = note: for a float use `F64`: `F64::from(x)`
use tidemill::prelude::*;

fn program(prices: DStream<'_, f64>) {
    prices.count_by_value().print(10);
}

fn main() {}
