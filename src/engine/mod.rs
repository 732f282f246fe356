//! The toolkit over timely and differential: batched operators, ticks, keyed state, dictionaries and panes.

pub(crate) mod accumulators;
pub(crate) mod dense;
pub(crate) mod dictionary;
pub(crate) mod flow;
pub(crate) mod meter;
pub(crate) mod operator_id;
pub(crate) mod output;
pub(crate) mod pane;
pub(crate) mod rounds;
pub(crate) mod state;
pub(crate) mod tick;
