//! `tidemill checkpoint list`: one line for each checkpoint, newest first.

use serde_json::json;

use super::table::{Table, age, size};
use super::{Report, utc};
use crate::checkpoint::Directory;
use crate::core::clock::wall_ms;
use crate::core::error::Result;

/// Lists all checkpoints, with the errors of unusable ones.
pub fn list(dir: &Directory) -> Result<Report> {
    let mut table = Table::new(&["time (ms)", "UTC", ">generation", ">operators", ">key groups", ">size", ">age"]);
    let (mut all, mut bad) = (Vec::new(), Vec::new());
    for (file, read) in dir.checkpoints()? {
        let ms = file.time.millis();
        match read {
            Ok(m) => {
                let groups: usize = m.operators.iter().map(|o| o.groups.len()).sum();
                let operators = m.operators.len();
                all.push(json!({
                    "time": ms, "utc": utc(ms), "generation": m.generation, "operators": operators,
                    "key_groups": groups, "bytes": m.bytes(), "written_ms": m.written_ms,
                }));
                let old = age(wall_ms().saturating_sub(m.written_ms));
                let numbers = [m.generation as usize, operators, groups].map(|n| n.to_string());
                let [generation, operators, groups] = numbers;
                table.row([ms.to_string(), utc(ms), generation, operators, groups, size(m.bytes()), old]);
            }
            Err(e) => {
                all.push(json!({ "time": ms, "utc": utc(ms), "generation": file.generation, "error": e.to_string() }));
                bad.push(format!("cannot be used: {e}\n"));
            }
        }
    }
    let genesis = dir.genesis();
    let (id, interval, groups) = (genesis.id.to_string(), genesis.interval_ms, genesis.key_groups);
    let head = format!("job {}, batch interval {interval} ms, max_parallelism {groups}, directory {id}\n", genesis.job);
    let text = if all.is_empty() { head + "no checkpoint yet\n" } else { head + &table.text() + &bad.concat() };
    let json = json!({ "job": genesis.job, "interval_ms": interval, "max_parallelism": groups, "id": id, "checkpoints": all });
    Ok(Report { text, json, bad: false })
}
