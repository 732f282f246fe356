//~ error[E0277]: `Visit` cannot move to another worker, or be written
//~ = note: derive serde's traits for it: `#[derive(Clone, serde::Serialize, serde::Deserialize)]`
use tidemill::prelude::*;

#[derive(Clone)]
struct Visit {
    page: String,
}

fn program(pages: DStream<'_, String>) {
    pages.map(|page| Visit { page }).foreach_batch(|batch| {
        batch.iter().for_each(|visit| drop(visit.page.clone()));
        Ok(())
    });
}

fn main() {}
