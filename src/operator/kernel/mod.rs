//! The kernels under the verbs: combine rows by key, combine to one result, gather a batch on worker 0, deliver it to an output;
//! and the origins of rows.

pub(crate) mod combine;
pub(crate) mod deliver;
pub(crate) mod gather;
pub(crate) mod origins;
pub(crate) mod partial_table;
pub(crate) mod to_one;
