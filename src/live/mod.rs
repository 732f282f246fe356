//! Computations that are added to a running job: `authors | top 10`.
//!
//! `description` is what such a text says, and `parse` reads it. Its rows are `json`: what `tidemill query` shows of a view. Every worker
//! makes a dataflow of the description (`build`) while the job runs: `import` reads the arrangement of a queryable view, `group` and
//! `window` have the verbs that views do not have. The result is a queryable view again, so all that asks views asks it too.
//!
//! *Invariant:* nothing here panics, whatever the rows are. Rows that a verb cannot take are left out: docs/guide/live.md says which.

pub(crate) mod build;
pub(crate) mod description;
mod group;
mod import;
pub(crate) mod json;
pub(crate) mod parse;
mod window;

pub(crate) use import::Stop;
