//! The state of views and counting windows: dictionary-encoded rows, counts over arrangements, arrangements of pairs, rings of panes.
//!
//! `interned.rs` encodes rows as codes on the workers that own them, and decodes codes. `count.rs` reads the arrangement of a view.
//! `pairs.rs` joins and reduces arrangements of pairs, and `rounds.rs` does so inside a loop. `totals.rs` keeps sums of views by key,
//! and `accumulated.rs` what a function adds up.
//! `ring.rs` adds panes to windows and removes them. The state of verbs with a user's function is in `operator/state/` and `operator/window/`.

pub(crate) mod accumulated;
pub(crate) mod count;
pub(crate) mod interned;
pub(crate) mod pairs;
pub(crate) mod ring;
pub(crate) mod rounds;
pub(crate) mod totals;
