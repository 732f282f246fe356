//! Recovery from an intact directory, and the right to write it.

use super::*;

#[test]
fn a_job_continues_where_it_stopped() {
    let dir = Place::new("goes-on");
    let mut job = Job::start(&dir).unwrap();
    assert_eq!(job.checkpoints.lease().generation, 1);
    for _ in 0..3 {
        job.step();
    }
    job.checkpoint().unwrap();
    job.step();
    drop(job);
    let (checkpoints, recovered) = open(&dir).unwrap();
    assert_eq!(recovered.generation, 2);
    assert_eq!(recovered.genesis.as_ref().unwrap().origin, origin());
    let manifest = recovered.checkpoint.as_ref().unwrap();
    assert_eq!((manifest.time, manifest.generation, manifest.split_ids), (at(3), 1, 2));
    assert_eq!(manifest.memory["source 0"], b"memory");
    assert_eq!(recovered.replay, [plan(4)]);
    assert_eq!(check(&checkpoints, &recovered), 4);
    assert_eq!(recovered.warnings, [""; 0]);
}

#[test]
fn segments_follow_one_another_over_generations() {
    let dir = Place::new("segments");
    let mut last = 0;
    for generation in 1..=4u64 {
        let mut job = Job::start(&dir).unwrap();
        assert_eq!((job.checkpoints.lease().generation, job.now), (generation, last));
        job.plans = job.plans.with_segments_of(120);
        for _ in 0..5 {
            job.step();
        }
        last = job.now;
    }
    assert!(dir.files("plans").len() > 8, "{:?}", dir.files("plans"));
    assert_eq!(Job::start(&dir).unwrap().now, 20);
}

/// The text of an error.
fn error_text<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{error}: \"{word}\" is missing");
    }
}

#[test]
fn a20_a_second_run_on_a_directory_is_refused_until_the_first_has_ended() {
    let dir = Place::new("two-runs");
    let job = Job::start(&dir).unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let me = format!("process {} on host {host} since 20", std::process::id());
    let e = error_text(open(&dir));
    says(&e, &["in use", &me, "(generation 1)", &dir.display().to_string()]);
    assert!(matches!(open(&dir), Err(Error::CheckpointInUse { .. })));
    says(&error_text(Directory::open(&dir).unwrap().prune(1)), &["in use", &me]);
    // The plan log alone also holds the right to write.
    let Job { checkpoints, plans, .. } = job;
    drop(checkpoints);
    assert!(open(&dir).is_err());
    drop(plans);
    assert_eq!(open(&dir).unwrap().1.generation, 2);
    assert_eq!(open(&dir).unwrap().1.generation, 3);
}

#[test]
fn b8_a_directory_of_another_job_is_not_changed() {
    let dir = Place::new("other-job");
    drop(Job::start(&dir).unwrap());
    let before = dir.all();
    let second = Duration::from_secs(1);
    says(
        &error_text(Checkpoints::open(&dir, Settings::new("other", second))),
        &["genesis", "\"job\"", "\"other\"", "another directory"],
    );
    let e = error_text(Checkpoints::open(&dir, Settings::new("job", second / 2)));
    says(&e, &["1000 ms", "500 ms"]);
    assert_eq!(dir.all(), before, "no generation was taken");
}

#[test]
fn b9_a_newer_format_is_refused_whichever_file_has_it() {
    let dir = Place::new("newer");
    let mut job = Job::start(&dir).unwrap();
    for _ in 0..2 {
        job.step();
        job.checkpoint().unwrap();
    }
    drop(job);
    for file in dir.all().into_iter().filter(|f| !f.starts_with("leases") && !f.starts_with("pieces")) {
        let right = std::fs::read(dir.path(&file)).unwrap();
        let mut newer = right.clone();
        newer[15] = 2;
        let check = xxhash_rust::xxh3::xxh3_64(&newer[..32]).to_be_bytes();
        newer[32..40].copy_from_slice(&check);
        std::fs::write(dir.path(&file), newer).unwrap();
        // An older checkpoint is usable, but files of a newer program are not ignored.
        if !file.contains(&at(1).millis().to_string()) {
            says(&error_text(open(&dir)), &[&file, "format 2", "format 1", "newer"]);
        }
        std::fs::write(dir.path(&file), right).unwrap();
    }
    assert_eq!(Job::start(&dir).unwrap().now, 2);
}

#[test]
fn b14_foreign_files_are_named_once_and_not_touched() {
    let dir = Place::new("besides");
    let mut job = Job::start(&dir).unwrap();
    job.step();
    job.checkpoint().unwrap();
    drop(job);
    let ours =
        ["pieces/000000000002000-g00000001-w0000.4711-0.tmp", "manifests/000000000002000-g00000001.4711-3.tmp", "probe-12.tmp"];
    let others =
        ["notes.txt", "plans/g1-1", "pieces/../x", "manifests/000000000001000-g00000001.bak", "pieces/mine.tmp", "plans/g9x"];
    for file in ours.iter().chain(&others) {
        std::fs::write(dir.path(file), "?").unwrap();
    }
    let (checkpoints, recovered) = open(&dir).unwrap();
    assert_eq!(check(&checkpoints, &recovered), 1);
    assert_eq!(recovered.warnings.len(), 1);
    says(&recovered.warnings[0], &["left alone", "notes.txt", "and 1 more"]);
    assert!(ours.iter().all(|f| !dir.path(f).exists()) && others.iter().all(|f| dir.path(f).exists()));
    checkpoints.clean().unwrap();
    assert!(others.iter().all(|f| dir.path(f).exists()));
}

#[test]
fn b11_an_unusable_path_is_an_error_at_once() {
    let dir = Place::new("no-place");
    std::fs::write(&*dir, "a file").unwrap();
    says(&error_text(open(&dir)), &[&dir.display().to_string(), "cannot be created"]);
    says(&error_text(Directory::open(&dir)), &["is not a directory"]);
    std::fs::remove_file(&*dir).unwrap();
    says(&error_text(Directory::open(&dir)), &["cannot be read"]);
    std::fs::create_dir(&*dir).unwrap();
    says(&error_text(Directory::open(&dir)), &["is not a checkpoint directory"]);
    std::fs::remove_dir(&*dir).unwrap();
    drop(Job::start(&dir).unwrap());
    std::fs::remove_file(dir.path("genesis")).unwrap();
    says(&error_text(open(&dir)), &["genesis", "missing", "plans/g00000001-000001"]);
}

#[test]
fn plans_must_follow_one_another() {
    let dir = Place::new("follow");
    let mut job = Job::start(&dir).unwrap();
    let with = |s, f: &dyn Fn(&mut PlanRecord)| {
        let mut record = plan(s);
        f(&mut record);
        record
    };
    for (wrong, words) in [
        (with(1, &|r| r.plan.ranges[1].from = 1), "[1, 10) of words/1, but the next offset is 0: a gap"),
        (with(1, &|r| r.plan.ranges[0].from = -5), "[-5, 10) of words/0, but the next offset is 0: an overlap"),
        (with(1, &|r| r.plan.time = BatchTime::from_millis(1_500)), "multiple of the batch interval, 1000 ms"),
        (with(1, &|r| r.plan.time = at(0)), "does not come after"),
    ] {
        says(&error_text(job.plans.append(&wrong)), &["plans/g00000001-000001", words]);
    }
    // A record covers all its overdue times. A new split may begin at any offset.
    let mut run = plan(1);
    run.run = 3;
    let split = Split::Received { from: "here".into() };
    run.plan.ranges.push(Range { source: 1, split_id: 2, split: split.clone(), from: 40, until: 50 });
    assert_eq!(job.plans.append(&run).unwrap(), run.checksum());
    assert_eq!((job.plans.end(), run.end(1_000)), (at(4), at(4)));
    says(&error_text(job.plans.append(&plan(4))), &[&format!("does not come after {}", at(4))]);
    drop(job);
    // Records received before a crash are lost. The next run starts its own numbering.
    let (checkpoints, recovered) = open(&dir).unwrap();
    assert_eq!((recovered.replay, recovered.planned), (vec![run], at(4)));
    let mut again = plan(2);
    again.plan.time = at(5);
    again.plan.ranges.push(Range { source: 1, split_id: 2, split, from: 0, until: 1 });
    let mut plans = checkpoints.plan_log().unwrap();
    plans.append(&again).unwrap();
    assert!(checkpoints.plan_log().is_err(), "a generation has one plan log");
    drop((plans, checkpoints));
    assert_eq!(open(&dir).unwrap().1.replay.len(), 2);
}

#[test]
fn a_published_checkpoint_has_the_size_of_its_files() {
    let dir = Place::new("held");
    let mut job = Job::start(&dir).unwrap();
    let bytes = |files: &[String]| files.iter().map(|f| std::fs::metadata(dir.path(f)).unwrap().len()).sum::<u64>();
    job.step();
    let first = job.checkpoint().unwrap();
    let mut files = dir.files("pieces");
    assert_eq!((files.len(), first), (2, bytes(&files)));
    job.step();
    let second = job.checkpoint().unwrap();
    // The unchanged chunk is in the second file of the first checkpoint. All of that file counts, and the first file does not.
    let gone = files.remove(0);
    let files: Vec<_> = dir.files("pieces").into_iter().filter(|f| *f != gone).collect();
    assert_eq!((files.len(), second), (3, bytes(&files)));
}

#[test]
fn a_checkpoint_names_only_existing_chunks() {
    let dir = Place::new("names");
    let mut job = Job::start(&dir).unwrap();
    job.step();
    job.checkpoint().unwrap();
    says(&error_text(job.checkpoint()), &["pieces/", "already exists"]);
    let good = Directory::open(&dir).unwrap().checkpoints().unwrap().remove(0).1.unwrap();
    says(&error_text(job.checkpoints.publish(good.clone())), &["not written", &at(1).to_string()]);
    let mut far = Manifest { time: at(2), ..good.clone() };
    far.operators[0].groups.get_mut(&0).unwrap()[0].len = 1_000;
    says(&error_text(job.checkpoints.publish(far)), &["not written", "pieces/", "up to byte"]);
    let mut gone = Manifest { time: at(2), ..good };
    gone.operators[0].groups.get_mut(&0).unwrap()[0].file.worker = 7;
    says(&error_text(job.checkpoints.publish(gone)), &["not written", "w0007 is missing"]);
    // Another run took the directory, in a store without locks.
    std::fs::copy(dir.path("leases/00000001"), dir.path("leases/00000002")).unwrap();
    job.step();
    says(&error_text(job.checkpoint()), &["leases/00000002", "newer run"]);
    says(&error_text(job.checkpoints.clean()), &["newer run"]);
    std::fs::remove_dir_all(dir.path("leases")).unwrap();
    says(&error_text(job.checkpoints.clean()), &["is missing"]);
}

#[test]
fn b15_a_chunk_is_read_only_under_its_own_label() {
    let dir = Place::new("apart");
    let job = Job::start(&dir).unwrap();
    let chunks = job.checkpoints.chunks().unwrap();
    let mut file = chunks.write(at(1), 3).unwrap();
    let big: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    for (operator, group, bytes) in [("a", 5, &b"one"[..]), ("../../b\0", 127, &big), ("a", 5, b"two"), ("a", 0, b"")] {
        file.put(operator, group, bytes).unwrap();
    }
    says(&error_text(file.put("a", 4_096, b"x")), &["key group 4096"]);
    let index = file.finish().unwrap();
    assert_eq!(index.len(), 3, "an empty state has no chunk");
    for ((operator, group, chunk), bytes) in index.iter().zip([&b"one"[..], &big, b"two"]) {
        assert_eq!(chunks.read(operator, *group, chunk).unwrap(), bytes);
    }
    let first = &index[0].2;
    says(&error_text(chunks.read("a", 6, first)), &["w0003", "not key group 6 of a"]);
    says(&error_text(chunks.read("b", 5, first)), &["not key group 5 of b"]);
    says(&error_text(chunks.read("a", 5, &ChunkRef { checksum: 1, ..*first })), &["another chunk"]);
    says(&error_text(chunks.read("a", 5, &ChunkRef { offset: first.offset + 1, ..*first })), &["byte"]);
    says(&error_text(chunks.read("a", 5, &ChunkRef { len: u64::MAX, ..*first })), &["w0003"]);
    says(&error_text(chunks.read("a", 5, &ChunkRef { offset: u64::MAX, ..*first })), &["w0003"]);
    let by_group = collect([index.clone(), index.clone()]);
    assert_eq!(by_group["a"][&5].len(), 4);
    // An unfinished file, or one without chunks, leaves nothing.
    drop(chunks.write(at(2), 0).unwrap());
    assert!(chunks.write(at(2), 1).unwrap().finish().unwrap().is_empty());
    assert_eq!(dir.files("pieces").len(), 1);
}

/// Each process proves that it sees the directory of process 0. Refused: another directory, a missing one, an older copy, and a copy
/// in which another run has taken the same generation.
#[test]
fn processes_that_do_not_share_the_directory_are_refused() {
    let (dir, copy) = (Place::new("shared"), Place::new("copied"));
    let copied = || {
        let _ = std::fs::remove_dir_all(&*copy);
        let done = std::process::Command::new("cp").arg("-r").args([&*dir, &*copy]).status().unwrap();
        assert!(done.success());
    };
    drop(Job::start(&dir).unwrap());
    copied();
    let job = Job::start(&dir).unwrap();
    let (id, lease) = (job.checkpoints.chunks().unwrap().id().0, job.checkpoints.lease());
    Chunks::attach(&dir, id, lease).unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let remedy = ["all processes of a job need the same directory", &format!("process 0 runs on host {host}")];
    let refused = |place: &Path, id, says_too: &str| {
        let e = error_text(Chunks::attach(place, id, lease));
        says(&e, &[&remedy[..], &[says_too, &place.display().to_string()]].concat());
    };
    refused(&dir, DirectoryId(1), "00000001");
    refused(&dir.path("plans"), id, "it is not a checkpoint directory");
    refused(&dir.path("nowhere"), id, "it cannot be opened");
    refused(&copy, id, "the lease of generation 2 is not in it");
    std::thread::sleep(Duration::from_millis(2));
    drop(Job::start(&copy).unwrap());
    refused(&copy, id, "here by process");
    copied();
    Chunks::attach(&copy, id, lease).expect("a copy made after the lease was taken cannot be recognised");
}

#[test]
fn a_program_is_compared_with_the_saved_one() {
    let id = |name: &str, fingerprint: &str| StateId { name: name.into(), fingerprint: fingerprint.into() };
    let some = GroupChunks::from([(7, Vec::new())]);
    let saved = ["same", "other", "gone"].map(|n| OperatorState { id: id(n, "v1"), groups: some.clone() });
    let empty = ["empty and same", "empty and other", "empty and gone"];
    let empty = empty.map(|n| OperatorState { id: id(n, "v1"), groups: GroupChunks::new() });
    let manifest = Manifest { operators: saved.into_iter().chain(empty).collect(), ..Manifest::default() };
    let program = [("same", "v1"), ("other", "v2"), ("new", "v1"), ("empty and same", "v1"), ("empty and other", "v2")];
    let found = manifest.compare(&program.map(|(name, fingerprint)| id(name, fingerprint)));
    assert_eq!(found.changed, [(id("other", "v1"), id("other", "v2"))]);
    assert_eq!((found.dropped, found.new), (vec![id("gone", "v1")], vec![id("new", "v1")]));
}
