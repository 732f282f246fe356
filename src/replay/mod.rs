//! Replay: runs batches of an earlier run again, to examine or to verify them.

pub(crate) mod find_poison;
pub(crate) mod history;
pub(crate) mod request;
pub(crate) mod verify;

#[cfg(test)]
mod tests;
