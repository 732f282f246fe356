//! For fuzzers: the decoders of commands and events, of `--plans` files, and of corrections.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::checkpoint::{ChunkFile, ChunkRef, Lease};
use crate::core::correction::letters;
use crate::core::data::{BadRecord, encoded};
use crate::core::plan::{RunId, Split};
use crate::core::time::{BatchTime, Interval};
use crate::job::plan_file::parse;
use crate::job::protocol::{Command, Event, Restore, WorkerSnapshot};

/// Decodes a command to the workers, or an event from one.
pub(crate) fn command(bytes: &[u8]) -> bool {
    postcard::from_bytes::<Command>(bytes).is_ok() | postcard::from_bytes::<Event>(bytes).is_ok()
}

pub(crate) fn commands() -> Vec<Vec<u8>> {
    let file = ChunkFile { time: BatchTime::from_millis(9), generation: 1, worker: 2 };
    let chunk = ChunkRef { file, offset: 70, len: 90, checksum: 1 << 60 };
    let states = BTreeMap::from([("count#1".to_owned(), BTreeMap::from([(7, vec![chunk, chunk])]))]);
    let (replaced, expired) = (vec![("count#1".into(), 9, file.time)], vec![("window#1".into(), file.time)]);
    let snapshot = WorkerSnapshot { index: vec![("count#1".into(), 7, chunk)], replaced, expired };
    let lease = Lease { generation: 1, pid: 7, host: "here".into(), since_ms: 9 };
    let restore = |lease| {
        let (run, what) = (RunId { directory: 5, generation: 1 }, Restore { lease, states: states.clone() });
        encoded(&Command::Restore { time: Some(file.time), run, what })
    };
    let written = |written| encoded(&Event::Snapshot { worker: 2, time: file.time, written });
    vec![restore(Some(lease)), restore(None), written(Ok(snapshot)), written(Err("the disk is full".into()))]
}

/// Decodes the records of a correction of one record, as a plan has them.
pub(crate) fn correction(bytes: &[u8]) -> bool {
    letters(&Split::Correction {
        of: BatchTime::from_millis(9),
        name: "words".into(),
        partition: 0,
        count: 1,
        records: bytes.into(),
    })
    .is_ok()
}

pub(crate) fn corrections() -> Vec<Vec<u8>> {
    let letter = BadRecord {
        origin: "words".into(),
        partition: 0,
        offset: 7,
        time: BatchTime::from_millis(9),
        raw: b"tide".to_vec(),
        key: Some(b"k".to_vec()),
        headers: vec![("unit".into(), b"words".to_vec())],
        verb: "decode (main.rs:7)".into(),
        reason: "bad".into(),
    };
    vec![encoded(&vec![letter])]
}

/// Parses the text of a file of plans.
pub(crate) fn plans(bytes: &[u8]) -> bool {
    let interval = Interval::new(Duration::from_secs(1)).expect("an interval");
    std::str::from_utf8(bytes).is_ok_and(|text| parse(text, Path::new("plans"), interval).is_ok())
}

pub(crate) fn given() -> Vec<Vec<u8>> {
    let text = r#"{"time":2000,"ranges":[{"topic":"words","partition":1,"from":0,"until":10},{"source":1,"path":"/dev/null","from":0,"until":9}]}
{"time":4000,"ranges":[{"received":"127.0.0.1:9","from":0,"until":3}]}
{"time":7000}
"#;
    vec![text.into()]
}
