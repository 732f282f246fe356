//! The JSON of `/api/v1/state` and `/api/v1/errors`: what a job keeps, and what went wrong.

use serde_json::{Value, json};

use crate::core::time::BatchTime;
use crate::http::json::{bad_streams, ms};
use crate::http::reader::Reader;
use crate::metrics::Now;
use crate::metrics::held::Held;
use crate::metrics::process::Process;
use crate::metrics::refused::Refused;
use crate::metrics::state::{StateSize, Tried};

/// `/api/v1/state`: the views that can be asked, what workers hold in memory, the checkpoints, the states in the newest one, and what a restart would do.
pub(super) fn state(reader: &Reader) -> String {
    let now = reader.metrics.now();
    let saved = &now.saved;
    let tried = |t: &Tried| {
        let (time, took) = (t.time.millis(), ms(t.took));
        json!({ "time": time, "ms": took, "bytes": t.bytes, "failure": t.failure })
    };
    let state = |s: &StateSize| json!({ "name": s.name, "kind": s.kind, "bytes": s.bytes, "chunks": s.chunks });
    let checkpoint = reader.about.checkpoint.as_ref().map(|directory| {
        json!({
            "directory": directory,
            "generation": saved.generation,
            "began_with": saved.began.map(BatchTime::millis),
            "ran_again": saved.again,
            "tried": saved.tried.iter().rev().map(tried).collect::<Vec<_>>(),
            "states": saved.states.iter().map(state).collect::<Vec<_>>(),
            "restart": restart(&now),
        })
    });
    json!({ "views": (reader.views.names)(), "memory": memory(&now), "checkpoint": checkpoint }).to_string()
}

/// What the workers hold in memory, as each has told last: by state, and the dictionaries and arrangements of all.
fn memory(now: &Now) -> Value {
    let size = |held: Held| json!({ "keys": held.keys, "panes": held.panes, "bytes": held.bytes });
    let states = now.states.iter().enumerate().map(|(number, (name, kind))| {
        let workers: Vec<Held> = now.held_of(number).collect();
        let mut state = size(workers.iter().copied().sum());
        state["name"] = name.as_str().into();
        state["kind"] = kind.as_str().into();
        state["workers"] = workers.into_iter().map(size).collect();
        state
    });
    let dictionaries = now.dictionaries();
    json!({
        "states": states.collect::<Vec<_>>(),
        "dictionaries": { "keys": dictionaries.keys, "bytes": dictionaries.bytes },
        "processes": processes(now),
        "arrangements": { "bytes": now.arrangements() },
    })
}

/// What each process uses, as it has told last.
fn processes(now: &Now) -> Vec<Value> {
    let one = |(process, (used, _)): (&usize, &(Process, Refused))| json!({ "process": process, "cpu_seconds": used.cpu_seconds, "resident_bytes": used.resident_bytes });
    now.processes.iter().map(one).collect()
}

/// What a restart would load, and which batches it would run again: those after the newest checkpoint. The time is that for which the
/// workers and the outputs had them. It is less than all if `complete` is false: of long ago, only some batches are kept.
fn restart(now: &Now) -> Value {
    let from = now.statistics.checkpoints.last.or(now.saved.began);
    let after = now.history.batches().rev().take_while(|b| from.is_none_or(|from| b.time > from));
    let (batches, records, busy) =
        after.fold((0_u64, 0_u64, 0.0), |(n, records, busy), b| (n + 1, records + b.records, busy + ms(b.processing_time)));
    let complete = (batches as usize) < now.history.batches().count() || now.statistics.batches <= batches;
    let bytes = now.saved.states.iter().map(|s| s.bytes).sum::<u64>();
    json!({
        "from": from.map(BatchTime::millis), "bytes": bytes, "batches": batches, "records": records, "ms": busy, "complete": complete
    })
}

/// `/api/v1/errors`: problems of sources now, bad records, outputs that were tried again, failed checkpoints, restarts, and who was
/// refused: readers at this port, and callers at the ports of the cluster.
pub(super) fn errors(reader: &Reader) -> String {
    let now = reader.metrics.now();
    let bad = now.last_bad.newest().map(|(time, stream, what)| json!({ "time": time.millis(), "stream": stream, "what": what }));
    let again = now.history.batches().rev().flat_map(|b| {
        let failed = b.outputs.iter().filter(|o| o.tries > 1);
        failed.map(|o| json!({ "time": b.time.millis(), "output": *o.name, "tries": o.tries, "ms": ms(o.time) }))
    });
    let failed =
        now.saved.tried.iter().rev().filter_map(|t| Some(json!({ "time": t.time.millis(), "why": t.failure.as_ref()? })));
    let restarts = reader.about.restarts.iter().rev().map(|r| json!({ "at_ms": r.at_ms, "why": r.why }));
    let Refused { count, last_ms, why } = reader.metrics.readers.now();
    let callers = now.processes.iter().filter(|(_, (_, refused))| refused.count > 0);
    let callers = callers.map(|(process, (_, Refused { count, last_ms, why }))| {
        json!({ "process": process, "connections": count, "last_ms": last_ms, "why": why })
    });
    json!({
        "trouble": now.statistics.trouble,
        "bad_by_stream": bad_streams(&now),
        "bad": bad.collect::<Vec<_>>(),
        "lost": now.statistics.lost,
        "outputs": again.take(MOST).collect::<Vec<_>>(),
        "checkpoints": failed.collect::<Vec<_>>(),
        "restarts": restarts.collect::<Vec<_>>(),
        "refused": { "requests": count, "last_ms": last_ms, "why": why },
        "refused_connections": callers.collect::<Vec<_>>(),
    })
    .to_string()
}

/// At most this many outputs that were tried again are told.
const MOST: usize = 50;
