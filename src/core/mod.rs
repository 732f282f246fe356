//! The nouns: everything may name them, and they name nothing else.

pub(crate) mod clock;
pub mod data;
pub mod error;
pub(crate) mod fault;
pub(crate) mod lock;
pub mod plan;
pub mod time;
