//! `tidemill checkpoint prune`: deletes old checkpoints.

use serde_json::json;

use super::Report;
use super::table::size;
use crate::checkpoint::Directory;
use crate::core::error::Result;

/// Deletes all but the newest `keep` checkpoints.
pub fn prune(dir: &Directory, keep: usize) -> Result<Report> {
    let cleaned = dir.prune(keep)?;
    let mut text: String = cleaned.removed.iter().map(|f| format!("deleted  {f}\n")).collect();
    text += &format!("{} files, {}\n", cleaned.removed.len(), size(cleaned.bytes));
    Ok(Report { text, json: json!({ "deleted": cleaned.removed, "bytes": cleaned.bytes }), bad: false })
}
