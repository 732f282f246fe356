//! The kernels under the verbs: combine rows by key, combine to one result, gather a batch on worker 0, deliver it to an output,
//! choose partitions; sketches; the origins of rows and their positions; the limit of bad records.

pub(crate) mod bad_limit;
pub(crate) mod bad_runs;
pub(crate) mod combine;
pub(crate) mod deliver;
pub(crate) mod gather;
pub(crate) mod hyperloglog;
pub(crate) mod origins;
pub(crate) mod partial_table;
pub(crate) mod partitioned;
pub(crate) mod positions;
pub(crate) mod to_one;
