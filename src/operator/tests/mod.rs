//! Verbs that remember, against models that do not: at 1, 2 and 4 workers, every mode.

mod books;
mod churn;
mod laws;
mod model;
mod views;
mod windows;
