//! Helpers for tests of checkpoint directories: a job that writes one, and checks of its recovery.

mod basics;
mod cleaning;
mod crash;
mod damage;
mod frame;
mod golden;
mod received;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::core::plan::{Plan, Range, Split};
use crate::testing::temp_dir::TempDir;

/// The directory of a test, deleted at its end.
pub(crate) struct Place(TempDir);

impl Place {
    pub fn new(name: &str) -> Self {
        Place(TempDir::new(&format!("checkpoint-{name}")))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The files of a folder, by name.
    pub fn files(&self, folder: &str) -> Vec<String> {
        files_in(&self.0, folder)
    }

    /// Every file in it.
    pub fn all(&self) -> Vec<String> {
        let folders = store::FOLDERS.iter().flat_map(|f| self.files(f));
        ["genesis".to_owned()].into_iter().chain(folders).collect()
    }
}

/// The files of a folder, by name.
fn files_in(dir: &Path, folder: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(dir.join(folder)) else { return Vec::new() };
    let mut names: Vec<_> = files.map(|e| format!("{folder}/{}", e.unwrap().file_name().to_str().unwrap())).collect();
    names.sort();
    names
}

impl std::ops::Deref for Place {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

pub(crate) fn settings() -> Settings {
    Settings { keep_plans: Duration::ZERO, ..Settings::new("job", Duration::from_secs(1)) }
}

pub(crate) fn open(dir: &Path) -> Result<(Checkpoints, Recovered)> {
    Checkpoints::open(dir, settings())
}

pub(crate) fn at(s: u64) -> BatchTime {
    BatchTime::from_millis(s * 1_000)
}

pub(crate) fn kafka(partition: i32) -> Split {
    Split::Kafka { topic: "words".into(), partition }
}

/// The plan of second `s`, from 1: ten records from each of two partitions.
pub(crate) fn plan(s: u64) -> PlanRecord {
    let range =
        |p: i32| Range { source: 0, split_id: p as u32, split: kafka(p), from: 10 * (s as i64 - 1), until: 10 * s as i64 };
    PlanRecord { plan: Plan { time: at(s), ranges: vec![range(0), range(1)], shown: true }, run: 0, fill: true }
}

pub(crate) fn positions(s: u64) -> Vec<Position> {
    (0..2).map(|p| Position { source: 0, split_id: p as u32, split: kafka(p), next: 10 * s as i64 }).collect()
}

pub(crate) fn origin() -> Origin {
    Origin { shards: [("print#1".to_owned(), 8)].into(), operators: vec![operator()], starts: positions(0) }
}

pub(crate) fn operator() -> StateId {
    StateId { name: "sum#1".into(), fingerprint: "(String, i64)".into() }
}

/// The state of a key group after second `s`. It depends on `s`, except for the group `STILL`.
pub(crate) fn state(group: u32, s: u64) -> Vec<u8> {
    if group == STILL { b"as ever".to_vec() } else { format!("group {group} after {s} seconds").into_bytes() }
}

/// A job whose only state is a number: enough to check a recovery.
pub(crate) struct Job {
    pub checkpoints: Checkpoints,
    pub plans: PlanLog,
    pub now: u64,
    /// The chunk that never changes, once it is in a checkpoint.
    still: Option<ChunkRef>,
}

/// The key group whose state never changes.
const STILL: u32 = 9;

impl Job {
    /// Opens the directory, initializes it if it is new, and replays its plans.
    pub fn start(dir: &Path) -> Result<Job> {
        Job::start_with(dir, settings())
    }

    pub fn start_with(dir: &Path, settings: Settings) -> Result<Job> {
        let (checkpoints, recovered) = Checkpoints::open(dir, settings)?;
        let now = check(&checkpoints, &recovered);
        if recovered.genesis.is_none() {
            checkpoints.begin(origin())?;
        }
        let plans = checkpoints.plan_log()?;
        let still = recovered.checkpoint.as_ref().map(|m| m.operators[0].groups[&STILL][0]);
        Ok(Job { checkpoints, plans, now, still })
    }

    /// Plans and computes the next second.
    pub fn step(&mut self) -> u64 {
        self.now += 1;
        self.plans.append(&plan(self.now)).unwrap()
    }

    /// Writes a checkpoint of two workers and three key groups. The last group never changes, and is written once. Returns the size
    /// of the chunk files in bytes.
    pub fn checkpoint(&mut self) -> Result<u64> {
        let chunks = self.checkpoints.chunks()?;
        let mut files = Vec::new();
        for worker in 0..2 {
            let mut file = chunks.write(at(self.now), worker)?;
            file.put("sum#1", worker, &state(worker, self.now))?;
            if worker == 1 && self.still.is_none() {
                file.put("sum#1", STILL, &state(STILL, self.now))?;
            }
            files.push(file.finish()?);
        }
        let mut groups = collect(files).remove("sum#1").unwrap();
        if let Some(still) = self.still {
            groups.insert(STILL, vec![still]);
        }
        let still = groups[&STILL][0];
        let held = self.checkpoints.publish(Manifest {
            time: at(self.now),
            plan: plan(self.now).checksum(),
            positions: positions(self.now),
            split_ids: 2,
            memory: [("source 0".to_owned(), b"memory".to_vec())].into(),
            operators: vec![OperatorState { id: operator(), groups }],
            workers: 2,
            processes: 1,
            ..Manifest::default()
        })?;
        self.still = Some(still);
        Ok(held)
    }
}

/// Checks that a run without crashes had the recovered state, and returns its second.
pub(crate) fn check(checkpoints: &Checkpoints, recovered: &Recovered) -> u64 {
    let mut now = 0;
    if let Some(manifest) = &recovered.checkpoint {
        now = manifest.time.millis() / 1_000;
        assert_eq!(manifest.positions, positions(now));
        let chunks = checkpoints.chunks().unwrap();
        for (group, list) in &manifest.operators[0].groups {
            assert_eq!(list.len(), 1);
            assert_eq!(chunks.read("sum#1", *group, &list[0]).unwrap(), state(*group, now));
        }
    }
    for record in &recovered.replay {
        now += 1;
        assert_eq!(*record, plan(now), "the same ranges again, none left out");
    }
    assert_eq!(recovered.planned, at(now));
    now
}
