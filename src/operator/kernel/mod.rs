//! What verbs stand on: combine rows by key, gather a batch in one place, deliver it to an output.

pub(crate) mod combine;
pub(crate) mod deliver;
pub(crate) mod gather;
pub(crate) mod partial_table;
