//! `tidemill checkpoint diff`: the differences between two checkpoints.

use std::collections::BTreeMap;

use serde_json::json;

use super::table::Table;
use super::{Report, inspect, utc};
use crate::checkpoint::Manifest;

/// Lists the positions and sizes that differ.
pub fn diff(a: &Manifest, b: &Manifest) -> Report {
    let (from, to) = (a.time.millis(), b.time.millis());
    let positions = |m: &Manifest| -> BTreeMap<String, i64> {
        m.positions.iter().map(|p| (format!("{}: {}", p.source, inspect::split(p)), p.next)).collect()
    };
    let sizes = |m: &Manifest| -> BTreeMap<String, i64> {
        m.operators.iter().map(|o| (o.id.name.clone(), i64::try_from(o.bytes()).unwrap_or(i64::MAX))).collect()
    };
    let (moved, moved_json) = changes("source: split", &positions(a), &positions(b));
    let (grown, grown_json) = changes("operator", &sizes(a), &sizes(b));
    let head = format!("from {from} ms ({}) to {to} ms ({})\n", utc(from), utc(to));
    let json = json!({ "from": from, "to": to, "positions": moved_json, "operators": grown_json });
    Report { text: format!("{head}\n{moved}\n{grown}"), json, bad: false }
}

/// The entries in which two lists differ, as text and as JSON.
fn changes(what: &str, a: &BTreeMap<String, i64>, b: &BTreeMap<String, i64>) -> (String, serde_json::Value) {
    let mut table = Table::new(&[what, ">from", ">to", ">change"]);
    let mut all = Vec::new();
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let (from, to) = (a.get(name), b.get(name));
        if from == to {
            continue;
        }
        let shown = |n: Option<&i64>| n.map_or("-".into(), ToString::to_string);
        let change = from.zip(to).map_or("-".into(), |(from, to)| format!("{:+}", i128::from(*to) - i128::from(*from)));
        table.row([name.clone(), shown(from), shown(to), change]);
        all.push(json!({ "name": name, "from": from, "to": to }));
    }
    let text = if all.is_empty() { format!("{what}: no change\n") } else { table.text() };
    (text, all.into())
}
