//! What a job had read when it failed, and had not planned: `unplanned-PROCESS.json` in the checkpoint directory. `tidemill replay --find-poison`
//! looks for a record there on which the program panics. Nothing else reads it.

use std::path::Path;

use super::directory::Directory;
use super::store;
use crate::core::error::{Error, Result};
use crate::core::plan::Plan;

/// The most bytes of such a file.
const BYTES: u64 = 64 << 20;

fn name(process: u16) -> String {
    format!("unplanned-{process}.json")
}

/// Whether this is the name of such a file.
pub(super) fn is_name(file: &str) -> bool {
    let process = file.strip_prefix("unplanned-").and_then(|name| name.strip_suffix(".json"));
    process.is_some_and(|process| process.parse::<u16>().is_ok())
}

/// Writes what a process had read, in place of what it wrote before. Nothing, if it had read nothing, or if this is not a checkpoint
/// directory: a job that failed at its start leaves no trace.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn write(dir: &Path, process: u16, plans: &[Plan]) -> Result<()> {
    if plans.is_empty() || Directory::open(dir).is_err() {
        return Ok(());
    }
    let store = store::open(dir)?;
    store.delete(&[name(process)])?;
    let text = serde_json::to_vec(plans).map_err(|e| Error::bug(format!("plans have no JSON: {e}")))?;
    store.put_new(&name(process), &text).map(drop)
}

impl Directory {
    /// What the processes of failed jobs had read and not planned.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn unplanned(&self) -> Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for entry in self.store().list("")?.into_iter().filter(|entry| is_name(&entry.name)) {
            let bytes = self.store().read(&entry.name, BYTES)?.unwrap_or_default();
            let read: Vec<Plan> = serde_json::from_slice(&bytes).map_err(|e| {
                Error::checkpoint(entry.name.clone(), format!("it is not what a failed job wrote: {e}; delete it"))
            })?;
            plans.extend(read);
        }
        Ok(plans)
    }
}
