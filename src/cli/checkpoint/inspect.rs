//! `tidemill checkpoint inspect`: the content of one checkpoint.

use serde_json::json;

use super::table::{Table, size};
use super::{Report, utc};
use crate::checkpoint::{Manifest, Position};

/// Positions and operators with sizes.
pub fn inspect(m: &Manifest) -> Report {
    let (ms, written) = (m.time.millis(), utc(m.written_ms));
    let mut text = format!(
        "checkpoint of {ms} ms, {}\nwritten {written} by generation {}, {} workers in {} processes; plan {:016x}\n",
        utc(ms),
        m.generation,
        m.workers,
        m.processes,
        m.plan
    );
    let mut positions = Table::new(&[">source", ">lane", "split", ">next"]);
    for p in &m.positions {
        positions.row([p.source.to_string(), p.split_id.to_string(), split(p), p.next.to_string()]);
    }
    let mut operators = Table::new(&["operator", ">key groups", ">pieces", ">size", "state of"]);
    for o in &m.operators {
        let chunks: usize = o.groups.values().map(Vec::len).sum();
        let (groups, bytes) = (o.groups.len().to_string(), size(o.bytes()));
        operators.row([o.id.name.clone(), groups, chunks.to_string(), bytes, o.id.fingerprint.clone()]);
    }
    if !m.positions.is_empty() {
        text += &format!("\n{}", positions.text());
    }
    if !m.operators.is_empty() {
        text += &format!("\n{}", operators.text());
    }
    for (name, bytes) in &m.memory {
        text += &format!("\nmemory of {name}: {}\n", size(bytes.len() as u64));
    }
    Report { text, json: as_json(m), bad: false }
}

fn as_json(m: &Manifest) -> serde_json::Value {
    let operator = |o: &crate::checkpoint::OperatorState| {
        let groups: Vec<_> = o
            .groups
            .iter()
            .map(|(g, chunks)| {
                json!({ "group": g, "pieces": chunks.len(),
            "bytes": chunks.iter().map(|p| p.len).sum::<u64>() })
            })
            .collect();
        json!({ "name": o.id.name, "fingerprint": o.id.fingerprint, "bytes": o.bytes(), "key_groups": groups })
    };
    json!({
        "time": m.time.millis(), "utc": utc(m.time.millis()), "generation": m.generation, "written_ms": m.written_ms,
        "workers": m.workers, "processes": m.processes, "plan": format!("{:016x}", m.plan), "lanes": m.split_ids,
        "positions": m.positions,
        "memory": m.memory.iter().map(|(name, bytes)| (name.clone(), bytes.len().into())).collect::<serde_json::Map<_, _>>(),
        "operators": m.operators.iter().map(operator).collect::<Vec<_>>(),
        "files": m.files().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// A split, as messages name it.
pub fn split(p: &Position) -> String {
    p.split.to_string()
}
