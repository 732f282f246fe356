//~ error[E0277]: `Visit` cannot be a key, or a row of a View
//~ = note: a type of your own derives `Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize`
use tidemill::prelude::*;

#[derive(Clone)]
struct Visit {
    page: String,
}

fn program(pages: DStream<'_, String>) {
    pages.map(|page| Visit { page }).count_by_value().map(|(visit, n)| (visit.page, n)).print(10);
}

fn main() {}
