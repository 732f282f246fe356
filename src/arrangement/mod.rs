//! 4. What is remembered: keys by number, arrangements of ids, rings of panes.
//!
//! `keyed.rs` gives rows ids on the workers that own them and names them again; `count.rs` counts an arrangement of ids;
//! `pairs.rs` joins and reduces arrangements of pairs; `ring.rs` lets panes (`pane.rs`) enter and leave windows. What is remembered by a user's function is in `operator/state` and `window`.

pub(crate) mod count;
pub(crate) mod keyed;
pub(crate) mod pairs;
pub(crate) mod ring;
