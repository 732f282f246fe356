//! `tidemill checkpoint verify`: checks every byte of every file.

use serde_json::json;

use super::Report;
use crate::checkpoint::Directory;
use crate::core::error::Result;

/// Counts files, plans and chunks, and lists faults.
pub fn verify(dir: &Directory) -> Result<Report> {
    let v = dir.verify()?;
    let mut text: String = v.bad.iter().map(|e| format!("bad      {e}\n")).collect();
    text.extend(v.notes.iter().map(|n| format!("note     {n}\n")));
    text.extend(v.foreign.iter().map(|f| format!("foreign  {f}: not a file of a checkpoint directory\n")));
    let found = if v.bad.is_empty() { "all as they were written".into() } else { format!("{} bad", v.bad.len()) };
    text += &format!("{} files, {} plans, {} pieces: {found}\n", v.files, v.plans, v.chunks);
    let bad: Vec<String> = v.bad.iter().map(ToString::to_string).collect();
    let json =
        json!({ "files": v.files, "plans": v.plans, "pieces": v.chunks, "bad": bad, "notes": v.notes, "foreign": v.foreign });
    Ok(Report { text, json, bad: !bad.is_empty() })
}
