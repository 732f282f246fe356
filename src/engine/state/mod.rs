//! State of verbs, which is saved and restored by key group.
//!
//! `keyed` is the interface of a stateful verb. `handle` guards its state: every batch goes through it, so that snapshots are exact.
//! `chunk_list` decides how much of a key group a snapshot saves.

mod chunk_list;
mod handle;
mod keyed;

pub(crate) use handle::{SavedChunk, State, StateHandle, UnbuiltState};
#[cfg(any(test, feature = "testing"))]
pub(crate) use keyed::take_any;
pub(crate) use keyed::{Changes, Groups, KeyedState};
