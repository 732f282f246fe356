//~ error[E0277]: `(String, f64)` cannot be a key, or a row of a View
//~ = note: for a float use `F64`: `F64::from(x)`
use tidemill::prelude::*;

fn program(counts: View<'_, (String, i64)>) {
    counts.map(|(word, n)| (word, n as f64 / 60.0)).print(10);
}

fn main() {}
