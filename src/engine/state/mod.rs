//! State that goes out and comes in by key group, whatever a verb keeps.
//!
//! `keyed` is what a stateful verb offers. `handle` guards its state: each batch goes through it, so that a snapshot is of its batch.
//! `chunk_list` decides how much of a key group a snapshot saves.

mod chunk_list;
mod handle;
mod keyed;

pub(crate) use handle::{SavedChunk, State, StateHandle};
#[cfg(any(test, feature = "testing"))]
pub(crate) use keyed::take_any;
pub(crate) use keyed::{ALL, Changes, Groups, KeyedState};
