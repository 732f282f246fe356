//! A checkpoint directory of a job in which one file is replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::received_log::ReceivedLog;
use crate::checkpoint::{self, Checkpoints, Directory, Manifest, OperatorState, Origin, PlanRecord, Position, Settings, StateId};
use crate::core::error::Result;
use crate::core::plan::{Plan, Range, RunId, Split};
use crate::core::time::BatchTime;
use crate::testing::temp_dir::TempDir;

/// The directory, and the original bytes of its files.
struct Place {
    dir: TempDir,
    right: BTreeMap<String, Vec<u8>>,
}

thread_local!(static PLACE: Place = Place::new().expect("a checkpoint directory among temporary files"));

/// Replaces the newest file in `folder` by these bytes, and then by a file with these bytes and valid checksums. Recovers and verifies
/// the directory each time. Returns `true` if one of the two files is accepted.
pub(super) fn with(folder: &str, bytes: &[u8]) -> bool {
    PLACE.with(|place| {
        let name = place.name(folder);
        let forged = checkpoint::fuzz::forged(&name, &place.right[&name], bytes);
        place.good(&name, bytes) | place.good(&name, &forged)
    })
}

/// The original file, and its payload.
pub(super) fn seeds(folder: &str) -> Vec<Vec<u8>> {
    PLACE.with(|place| {
        let name = place.name(folder);
        let right = &place.right[&name];
        vec![right.clone(), checkpoint::fuzz::payload(&name, right)]
    })
}

fn at(s: u64) -> BatchTime {
    BatchTime::from_millis(1_000 * s)
}

/// Runs five seconds of two partitions, a file and a socket, with a checkpoint after the third second. A receiver stores three records.
fn job(dir: &std::path::Path) -> Result<()> {
    let kafka = |partition| Split::Kafka { topic: "words".into(), partition };
    let position =
        |s: i64, split_id: i32| Position { source: 0, split_id: split_id as u32, split: kafka(split_id), next: 10 * s };
    let plan = |s: u64| {
        let range = |split_id: i32| position(s as i64 - 1, split_id);
        let mut ranges: Vec<Range> = (0..2)
            .map(range)
            .map(|p| Range { source: p.source, split_id: p.split_id, split: p.split, from: p.next, until: p.next + 10 })
            .collect();
        let file = Split::File { path: "/in/a".into(), size: 100, modified_ms: 9 };
        ranges.extend((s == 2).then_some(Range { source: 1, split_id: 2, split: file, from: 0, until: 100 }));
        let socket = Split::Received { from: "127.0.0.1:9".into() };
        ranges.push(Range { source: 2, split_id: 3, split: socket, from: s as i64, until: s as i64 + 1 });
        PlanRecord { plan: Plan { time: at(s), ranges, shown: true }, run: 0, fill: true }
    };
    let id = StateId { name: "count#1".into(), fingerprint: "u64".into() };
    let (checkpoints, _) = Checkpoints::open(dir, Settings::new("job", Duration::from_secs(1)))?;
    let starts = (0..2).map(|split_id| position(0, split_id)).collect();
    checkpoints.begin(Origin { shards: [("out".into(), 8)].into(), operators: vec![id.clone()], starts })?;
    let mut plans = checkpoints.plan_log()?;
    for s in 1..=5 {
        let checksum = plans.append(&plan(s))?;
        if s == 3 {
            let mut chunks = checkpoints.chunks()?.write(at(s), 0)?;
            chunks.put("count#1", 17, b"state")?;
            chunks.put("count#1", 100, b"other state")?;
            let groups = checkpoint::collect([chunks.finish()?]).remove("count#1").unwrap_or_default();
            let mut positions: Vec<_> = (0..2).map(|split_id| position(3, split_id)).collect();
            positions.push(Position { source: 2, split_id: 3, split: Split::Received { from: "127.0.0.1:9".into() }, next: 4 });
            checkpoints.publish(Manifest {
                time: at(s),
                plan: checksum,
                positions,
                split_ids: 4,
                memory: [("source 1".into(), b"memory".to_vec())].into(),
                operators: vec![OperatorState { id: id.clone(), groups }],
                workers: 1,
                processes: 1,
                ..Manifest::default()
            })?;
        }
    }
    let (directory, generation) = checkpoints.chunks()?.id();
    let mut log = ReceivedLog::open(dir, RunId { directory: directory.0, generation }, "receiver orders")?.append()?;
    log.append(2, b"onetwo")?;
    log.append(1, b"three")
}

impl Place {
    fn new() -> Result<Place> {
        let dir = TempDir::new("fuzz");
        job(&dir)?;
        let mut right = BTreeMap::new();
        for folder in ["", "leases", "plans", "pieces", "manifests", "received"] {
            let failed = |e| crate::core::error::Error::io(format!("cannot read {}", dir.display()), e);
            for entry in std::fs::read_dir(dir.join(folder)).map_err(failed)?.flatten().filter(|e| e.path().is_file()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                right.insert(name, std::fs::read(entry.path()).map_err(failed)?);
            }
        }
        let place = Place { dir, right };
        assert!(place.look().is_some_and(|found| found == (2, 5)), "a directory is good as a job left it");
        Ok(place)
    }

    /// The name of the only file in a folder, or of the file with this name.
    fn name(&self, folder: &str) -> String {
        let of = |name: &&String| *name == folder || name.starts_with(&format!("{folder}/"));
        self.right.keys().find(of).expect("a file of each kind").clone()
    }

    fn good(&self, name: &str, bytes: &[u8]) -> bool {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes).expect("a file among temporary ones");
        let good = self.look();
        std::fs::write(&path, &self.right[name]).expect("a file among temporary ones");
        good.is_some()
    }

    /// The numbers of chunks and plans; `None` if the directory is not accepted.
    fn look(&self) -> Option<(u64, u64)> {
        let recovers = checkpoint::fuzz::recovers(&self.dir);
        let directory = Directory::open(&self.dir).ok()?;
        let _ = (directory.checkpoints(), directory.plans());
        let verified = directory.verify().ok()?;
        (recovers.is_ok() && verified.bad.is_empty()).then_some((verified.chunks, verified.plans))
    }
}
