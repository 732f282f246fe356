//! Flips every byte of every file, and truncates files. An error names the damaged file, and no state is loaded in part.

use proptest::prelude::*;

use super::super::recover::recover;
use super::super::store::read_only;
use super::*;

/// A directory with two generations, three checkpoints, and plans after the last one.
fn grown(name: &str) -> Place {
    let dir = Place::new(name);
    for _ in 0..2 {
        let mut job = Job::start(&dir).unwrap();
        job.plans = job.plans.with_segments_of(400);
        for checkpoint in [false, true, false] {
            job.step();
            if checkpoint {
                job.checkpoint().unwrap();
            }
        }
    }
    dir
}

/// Recovers without the writes of a start. Returns the last second and the warnings.
fn recovered(dir: &Path) -> Result<(u64, Vec<String>)> {
    let store = read_only(dir)?;
    let genesis = Genesis::read(&*store)?.expect("a genesis");
    let chunks = Chunks::new(store.clone(), genesis.id, 9);
    let found = recover(&*store, &genesis, &chunks)?;
    let mut now = found.manifest.as_ref().map_or(0, |m| m.time.millis() / 1_000);
    if let Some(m) = &found.manifest {
        assert_eq!(m.positions, positions(now));
        for (group, list) in &m.operators[0].groups {
            assert_eq!(chunks.read("sum#1", *group, &list[0]).unwrap(), state(*group, now));
        }
    }
    for record in &found.replay {
        now += 1;
        assert_eq!(*record, plan(now));
    }
    Ok((now, found.warnings))
}

/// The faults that `verify` reports.
fn faults(dir: &Path) -> Vec<String> {
    match Directory::open(dir) {
        Ok(d) => d.verify().unwrap().bad.iter().map(ToString::to_string).collect(),
        Err(e) => vec![e.to_string()],
    }
}

#[test]
fn b5_a_flipped_byte_is_an_error_with_its_file() {
    let dir = grown("flips");
    assert_eq!((recovered(&dir).unwrap().0, faults(&dir).len()), (6, 0));
    let newest = ["manifests/000000000005000-g00000002", "pieces/000000000005000-g00000002-w0000"];
    for file in dir.all() {
        let right = std::fs::read(dir.path(&file)).unwrap();
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1 << (at % 8);
            std::fs::write(dir.path(&file), wrong).unwrap();
            let bad = faults(&dir);
            assert!(bad.iter().any(|e| e.contains(&file)), "byte {at} of {file}: {bad:?}");
            match recovered(&dir) {
                Ok((now, warnings)) => {
                    assert_eq!(now, 6, "byte {at} of {file}");
                    assert!(
                        warnings.is_empty() || warnings.iter().any(|w| w.contains(&file)),
                        "byte {at} of {file}: {warnings:?}"
                    );
                    // Only `verify` reads the head and the last record of a chunk file.
                    let unseen = file.starts_with("pieces") && (at < 70 || at + 20 > right.len());
                    assert!(
                        unseen || !newest.contains(&file.as_str()) || !warnings.is_empty(),
                        "the flip of byte {at} of {file} was not noticed"
                    );
                }
                Err(e) => assert!(e.to_string().contains(&file), "byte {at} of {file}: {e}"),
            }
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
}

#[test]
fn b4_a_truncated_file_is_an_error_or_an_interrupted_append() {
    let dir = grown("cuts");
    let last = dir.files("plans").pop().unwrap();
    for file in dir.all() {
        let right = std::fs::read(dir.path(&file)).unwrap();
        for len in 0..right.len() {
            std::fs::write(dir.path(&file), &right[..len]).unwrap();
            let (bad, came) = (faults(&dir), recovered(&dir));
            if file == last {
                // Only a later checkpoint shows that a record is missing. The head was durable before the first record.
                match came {
                    Ok((now, warnings)) => {
                        assert!((5..=6).contains(&now) && bad.is_empty(), "{len}: {now} {bad:?}");
                        assert!(
                            warnings.iter().all(|w| w.contains(&file) && w.contains("a crash interrupted")),
                            "{len}: {warnings:?}"
                        );
                    }
                    Err(e) => assert!(e.to_string().contains(&file) || e.to_string().contains("plans are lost"), "{len}: {e}"),
                }
                continue;
            }
            assert!(bad.iter().any(|e| e.contains(&file)), "{file} cut at {len}: {bad:?}");
            match came {
                Ok((now, _)) => assert_eq!(now, 6, "{file} cut at {len}"),
                Err(e) => assert!(e.to_string().contains(&file), "{file} cut at {len}: {e}"),
            }
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
}

#[test]
fn b6_b7_a_missing_file_is_named_or_not_needed() {
    let dir = grown("missing");
    let plans = dir.files("plans");
    for file in dir.all() {
        if file == "genesis" {
            continue;
        }
        let right = std::fs::read(dir.path(&file)).unwrap();
        std::fs::remove_file(dir.path(&file)).unwrap();
        match recovered(&dir) {
            Ok((now, warnings)) => {
                // Nothing shows that the last segment ever existed.
                let last = now == 5 && Some(&file) == plans.last();
                assert!(now == 6 || last, "{file}: {now}, {warnings:?}");
            }
            Err(e) => {
                let text = e.to_string();
                assert!(file.starts_with("plans") && (text.contains(&file) || text.contains("plans are lost")), "{file}: {text}");
            }
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
    // All checkpoints are damaged, and the first plans were deleted: a start reports it, and does not begin with empty states.
    let mut job = Job::start(&dir).unwrap();
    for _ in 0..3 {
        job.step();
        job.checkpoint().unwrap();
        job.checkpoints.clean().unwrap();
    }
    drop(job);
    for file in dir.files("manifests") {
        std::fs::write(dir.path(&file), "gone wrong").unwrap();
    }
    let text = recovered(&dir).unwrap_err().to_string();
    assert!(dir.files("manifests").iter().all(|f| text.contains(f)) && text.contains("no checkpoint can be used"), "{text}");
}

#[test]
fn b7_a_file_of_another_directory_or_name_is_refused() {
    let (dir, other) = (grown("own"), grown("foreign"));
    for file in dir.all() {
        if file == "genesis" || file.starts_with("leases") {
            continue;
        }
        let right = std::fs::read(dir.path(&file)).unwrap();
        std::fs::copy(other.path(&file), dir.path(&file)).unwrap();
        let bad = faults(&dir);
        assert!(bad.iter().any(|e| e.contains(&file)), "{file}: {bad:?}");
        match recovered(&dir) {
            Ok((now, _)) => assert_eq!(now, 6, "{file}"),
            Err(e) => assert!(e.to_string().contains(&file) && e.to_string().contains("checkpoint directory"), "{file}: {e}"),
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
    let chunks = dir.files("pieces");
    let swapped = std::fs::read(dir.path(&chunks[0])).unwrap();
    std::fs::write(dir.path(chunks.last().unwrap()), swapped).unwrap();
    assert!(faults(&dir)[0].contains("renamed"));
    assert_eq!(recovered(&dir).unwrap().0, 6);
}

/// A length in a file does not cause an allocation: these would not fit.
#[test]
fn b5_an_impossible_length_is_not_read() {
    let dir = grown("endless");
    let last = dir.files("plans").pop().unwrap();
    for file in dir.all() {
        let right = std::fs::read(dir.path(&file)).unwrap();
        std::fs::OpenOptions::new().write(true).open(dir.path(&file)).unwrap().set_len(1 << 42).unwrap();
        let bad = faults(&dir);
        assert!(bad.iter().any(|e| e.contains(&file)), "{file}: {bad:?}");
        match recovered(&dir) {
            Ok((now, _)) => assert_eq!(now, 6, "{file}"),
            Err(e) => assert!(e.to_string().contains(&file), "{file}: {e}"),
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
    // A power failure may leave zeros after the last plan.
    let right = std::fs::read(dir.path(&last)).unwrap();
    std::fs::write(dir.path(&last), [&right[..], &[0; 5_000]].concat()).unwrap();
    assert_eq!(recovered(&dir).unwrap().0, 6);
}

#[test]
fn an_interrupted_append_is_one_warning() {
    let dir = grown("once");
    let last = dir.files("plans").pop().unwrap();
    let right = std::fs::read(dir.path(&last)).unwrap();
    std::fs::write(dir.path(&last), &right[..right.len() - 1]).unwrap();
    let (checkpoints, first) = open(&dir).unwrap();
    assert_eq!((check(&checkpoints, &first), first.warnings.len()), (5, 1));
    assert!(first.warnings[0].contains(&last) && first.warnings[0].contains("a crash interrupted"), "{:?}", first.warnings);
    // The warning repeats until a later generation has written a segment.
    checkpoints.plan_log().unwrap().append(&plan(6)).unwrap();
    drop(checkpoints);
    let (checkpoints, second) = open(&dir).unwrap();
    assert_eq!((check(&checkpoints, &second), second.warnings.len()), (6, 0));
}

fn any_damage() -> impl Strategy<Value = Vec<(prop::sample::Index, prop::sample::Index, u8, bool)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1u8.., any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Damages several files at once. The result is an error or an earlier state, never another state or a panic.
    #[test]
    fn b5_any_damage_gives_an_error_or_an_earlier_state(damage in any_damage()) {
        thread_local!(static GROWN: Place = grown("any"));
        GROWN.with(|dir| {
            let files = dir.all();
            let mut right = std::collections::BTreeMap::new();
            for (file, at, xor, cut) in &damage {
                let file = &files[file.index(files.len())];
                let bytes = std::fs::read(dir.path(file)).unwrap();
                right.entry(file).or_insert_with(|| bytes.clone());
                let mut wrong = bytes;
                if !wrong.is_empty() {
                    let at = at.index(wrong.len());
                    if *cut { wrong.truncate(at) } else { wrong[at] ^= xor }
                }
                std::fs::write(dir.path(file), wrong).unwrap();
            }
            faults(dir);
            if let Ok((now, _)) = recovered(dir) {
                assert!((5..=6).contains(&now), "{now}");
            }
            for (file, bytes) in right {
                std::fs::write(dir.path(file), bytes).unwrap();
            }
        });
    }
}
