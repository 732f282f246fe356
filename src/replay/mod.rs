//! Replay: batches of an earlier run are run again, to look at them or to verify them.

pub(crate) mod history;
pub(crate) mod request;
pub(crate) mod verify;
