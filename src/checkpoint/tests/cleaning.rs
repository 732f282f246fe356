//! Cleaning deletes the files that no recovery needs, and no others.

use proptest::prelude::*;

use super::*;

#[test]
fn old_checkpoints_chunks_plans_and_leases_are_deleted() {
    let dir = Place::new("go");
    for generation in 1..=3u64 {
        let mut job = Job::start(&dir).unwrap();
        job.plans = job.plans.with_segments_of(200);
        for _ in 0..4 {
            job.step();
            job.checkpoint().unwrap();
        }
        let cleaned = job.checkpoints.clean().unwrap();
        assert!(cleaned.bytes > 0 && !cleaned.removed.is_empty());
        assert!(cleaned.removed.iter().all(|f| !dir.path(f).exists()));
        assert_eq!(job.checkpoints.clean().unwrap(), Cleaned::default());
        assert_eq!(dir.files("leases"), [format!("leases/{generation:08}")]);
    }
    assert_eq!(dir.files("manifests"), ["manifests/000000000011000-g00000003", "manifests/000000000012000-g00000003"]);
    // Two files of each of two checkpoints, and the first file, which has the unchanged chunk.
    assert_eq!(dir.files("pieces").len(), 5);
    assert_eq!(dir.files("pieces")[0], "pieces/000000000001000-g00000001-w0001");
    assert!(dir.files("plans").len() <= 4, "{:?}", dir.files("plans"));
    assert_eq!(Job::start(&dir).unwrap().now, 12);
}

#[test]
fn plans_stay_for_the_configured_time() {
    let dir = Place::new("stay");
    let keep = |s| Settings { keep_plans: Duration::from_secs(s), ..settings() };
    let mut job = Job::start_with(&dir, keep(6)).unwrap();
    job.plans = job.plans.with_segments_of(100);
    for _ in 0..10 {
        job.step();
        job.checkpoint().unwrap();
    }
    job.checkpoints.clean().unwrap();
    // One record for each segment of seconds 4 to 10, and the empty last segment.
    assert_eq!(dir.files("plans").len(), 8);
    drop(job);
    let pruned = Directory::open(&dir).unwrap().prune(1).unwrap();
    assert!(pruned.removed.iter().any(|f| f.starts_with("plans")));
    assert_eq!((dir.files("plans").len(), dir.files("manifests").len()), (2, 1));
    assert_eq!(Job::start(&dir).unwrap().now, 10);
}

#[test]
fn files_of_dead_generations_are_deleted_and_those_being_written_stay() {
    let dir = Place::new("left");
    let mut job = Job::start(&dir).unwrap();
    job.step();
    let dead = job.checkpoints.chunks().unwrap();
    let mut orphan = dead.write(at(1), 7).unwrap();
    orphan.put("sum#1", 3, b"of a checkpoint that never was").unwrap();
    orphan.finish().unwrap();
    drop(job);
    let mut job = Job::start(&dir).unwrap();
    job.step();
    // A process that has not noticed that its generation is over.
    let zombie = dead.write(at(3), 8).unwrap();
    let writing = job.checkpoints.chunks().unwrap().write(at(3), 9).unwrap();
    let removed = job.checkpoints.clean().unwrap().removed;
    assert_eq!(removed, ["leases/00000001"], "without a checkpoint no file that may be needed is deleted");
    job.checkpoint().unwrap();
    let removed = job.checkpoints.clean().unwrap().removed;
    assert_eq!(removed.iter().filter(|f| f.starts_with("pieces")).count(), 2, "{removed:?}");
    assert!(zombie.finish().unwrap().is_empty());
    let mut writing = writing;
    writing.put("sum#1", 1, b"x").unwrap();
    assert_eq!(writing.finish().unwrap().len(), 1);
    assert_eq!(check_again(&dir, job), 2);
}

fn check_again(dir: &Path, job: Job) -> u64 {
    drop(job);
    let (checkpoints, recovered) = open(dir).unwrap();
    check(&checkpoints, &recovered)
}

#[derive(Clone, Debug)]
enum Act {
    Step,
    Checkpoint,
    /// Chunks without a manifest.
    Orphan,
    Clean,
    Restart,
    /// Damages the newest manifest, then restarts.
    Spoil,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Step),
        4 => Just(Act::Checkpoint),
        1 => Just(Act::Orphan),
        3 => Just(Act::Clean),
        2 => Just(Act::Restart),
        1 => Just(Act::Spoil),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    /// After any sequence of events, the job recovers its state, and does so again from the previous checkpoint.
    #[test]
    fn cleaning_never_deletes_files_that_recovery_needs(acts in prop::collection::vec(act(), 1..25), keep in 1usize..4) {
        let dir = Place::new("never");
        let settings = Settings { keep, ..settings() };
        let start = || {
            let mut job = Job::start_with(&dir, settings.clone()).unwrap();
            job.plans = job.plans.with_segments_of(250);
            job
        };
        let (mut job, mut last, mut spoiled) = (start(), 0, 0);
        for act in acts {
            match act {
                Act::Step => drop(job.step()),
                Act::Checkpoint if job.now > last => {
                    job.checkpoint().unwrap();
                    last = job.now;
                    spoiled = 0;
                }
                Act::Orphan => {
                    let worker = 50 + job.now as u32;
                    let mut file = job.checkpoints.chunks().unwrap().write(at(job.now), worker).unwrap();
                    file.put("sum#1", 0, b"orphan").unwrap();
                    let _ = file.finish();
                }
                Act::Clean => drop(job.checkpoints.clean().unwrap()),
                Act::Restart => {
                    let now = job.now;
                    drop(job);
                    job = start();
                    prop_assert_eq!(job.now, now);
                }
                // Damage a checkpoint only if another one is kept.
                Act::Spoil if keep > 1 && spoiled == 0 && last > 0 => {
                    let now = job.now;
                    drop(job);
                    let newest = dir.files("manifests").pop().unwrap();
                    std::fs::write(dir.path(&newest), "spoiled").unwrap();
                    spoiled = 1;
                    job = start();
                    prop_assert_eq!(job.now, now);
                    // The next checkpoint replaces the damaged one.
                    if job.now > 0 {
                        job.checkpoint().unwrap();
                        (last, spoiled) = (job.now, 0);
                    }
                }
                _ => {}
            }
        }
        let now = job.now;
        drop(job);
        let found = Directory::open(&dir).unwrap().verify().unwrap();
        prop_assert!(found.bad.len() <= dir.files("manifests").len() && found.foreign.is_empty(), "{:?}", found);
        prop_assert_eq!(start().now, now);
    }
}
