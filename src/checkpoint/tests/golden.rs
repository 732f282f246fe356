//! A directory in format 1, kept forever in tests/data/checkpoint-v1. Every version opens it, with the same content.

use super::super::frame::{Kind, frame, unframe};
use super::*;

/// A directory with every kind of split, overdue runs, both values of `fill`, several sinks and operators, and two generations.
fn made(dir: &Path) {
    let file = |size| Split::File { path: "/data/in.txt".into(), size, modified_ms: -5 };
    let range = |source, split_id, split, from, until| Range { source, split_id, split, from, until };
    let plan = |s, ranges, shown| Plan { time: at(s), ranges, shown };
    let id = |name: &str| StateId { name: name.into(), fingerprint: format!("{name} of (String, i64)") };
    let at_lane = |split_id: u32, split, next| Position { source: split_id / 2, split_id, split, next };
    let origin = Origin {
        shards: [("to_kafka#1".to_owned(), 8), ("print#1".to_owned(), 1)].into(),
        operators: vec![id("sum_by_key#1"), id("windows & more")],
        starts: vec![at_lane(0, kafka(0), 3), at_lane(1, kafka(1), 1 << 40)],
    };
    let settings = Settings::new("golden job", Duration::from_secs(1));
    let (checkpoints, _) = Checkpoints::open(dir, settings.clone()).unwrap();
    checkpoints.begin(origin).unwrap();
    let mut plans = checkpoints.plan_log().unwrap();
    let first = vec![range(0, 0, kafka(0), 3, 10), range(0, 1, kafka(1), 1 << 40, 1 << 40), range(1, 2, file(500), 0, 500)];
    plans.append(&PlanRecord { plan: plan(100, first, true), run: 0, fill: true }).unwrap();
    let last = PlanRecord { plan: plan(101, vec![range(0, 0, kafka(0), 10, 300)], true), run: 4, fill: false };
    let checksum = plans.append(&last).unwrap();
    let mut files = Vec::new();
    for worker in 0..2 {
        let mut file = checkpoints.chunks().unwrap().write(at(105), worker).unwrap();
        for group in (worker..128).step_by(16) {
            file.put("sum_by_key#1", group, format!("sums of {group}").as_bytes()).unwrap();
            file.put("windows & more", group, &[group as u8; 300]).unwrap();
            file.put("windows & more", group, b"a second pane").unwrap();
        }
        files.push(file.finish().unwrap());
    }
    let operators = collect(files).into_iter().map(|(name, groups)| OperatorState { id: id(&name), groups });
    let manifest = Manifest {
        time: at(105),
        plan: checksum,
        positions: vec![at_lane(0, kafka(0), 300), at_lane(1, kafka(1), 1 << 40), at_lane(2, file(500), 500)],
        split_ids: 3,
        memory: [("source 1".to_owned(), vec![1, 2, 255])].into(),
        operators: operators.collect(),
        workers: 2,
        processes: 1,
        ..Manifest::default()
    };
    checkpoints.publish(manifest).unwrap();
    let more = vec![range(0, 0, kafka(0), 300, 301), range(1, 3, Split::Received { from: "127.0.0.1:9999".into() }, 0, 7)];
    plans.append(&PlanRecord { plan: plan(106, more, false), run: 0, fill: true }).unwrap();
    drop((checkpoints, plans));
    let (checkpoints, _) = Checkpoints::open(dir, settings).unwrap();
    let mut plans = checkpoints.plan_log().unwrap();
    plans
        .append(&PlanRecord { plan: plan(107, vec![range(0, 1, kafka(1), 1 << 40, (1 << 40) + 9)], true), run: 0, fill: true })
        .unwrap();
}

fn golden() -> Place {
    let (kept, copy) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoint-v1"), Place::new("golden"));
    std::fs::create_dir(&*copy).unwrap();
    std::fs::copy(kept.join("genesis"), copy.path("genesis")).unwrap();
    for folder in ["leases", "manifests", "pieces", "plans"] {
        std::fs::create_dir(copy.path(folder)).unwrap();
        for file in std::fs::read_dir(kept.join(folder)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path(folder).join(file.file_name())).unwrap();
        }
    }
    copy
}

/// The content of a directory, without the parts that differ between two creations.
fn contents(dir: &Path) -> (Genesis, Manifest, Vec<PlanRecord>, Vec<Vec<u8>>) {
    let found = Directory::open(dir).unwrap();
    let verified = found.verify().unwrap();
    assert!(verified.bad.is_empty() && verified.notes.is_empty(), "{verified:?}");
    assert_eq!((verified.chunks, verified.plans), (48, 4));
    let (checkpoints, recovered) = Checkpoints::open(dir, Settings::new("golden job", Duration::from_secs(1))).unwrap();
    assert_eq!((recovered.generation, recovered.warnings), (3, vec![]));
    let mut genesis = recovered.genesis.unwrap();
    let mut manifest = recovered.checkpoint.unwrap();
    let chunks = checkpoints.chunks().unwrap();
    let mut bytes = Vec::new();
    for state in &mut manifest.operators {
        for (group, list) in &mut state.groups {
            bytes.extend(list.iter().map(|p| chunks.read(&state.id.name, *group, p).unwrap()));
            // The encoded directory id varies in length, and is before the chunks.
            list.iter_mut().for_each(|p| (p.offset, p.checksum) = (0, 0));
        }
    }
    (genesis.id, genesis.written_ms) = Default::default();
    (manifest.directory, manifest.written_ms) = Default::default();
    (genesis, manifest, recovered.replay, bytes)
}

#[test]
fn b9_every_version_opens_format_1() {
    let (golden, today) = (golden(), Place::new("today"));
    made(&today);
    assert_eq!(contents(&golden), contents(&today));
}

/// Directories of versions without `max_parallelism` have 128 key groups.
#[test]
fn an_old_directory_has_128_key_groups() {
    let dir = golden();
    assert_eq!(Directory::open(&dir).unwrap().genesis().key_groups, 128);
    let of = |groups| Settings { groups: KeyGroups::new(groups).unwrap(), ..Settings::new("golden job", Duration::from_secs(1)) };
    let e = Checkpoints::open(&dir, of(1_000)).err().unwrap().to_string();
    for part in ["was made with max_parallelism 128", "this start has 1000", "--max-parallelism 128", "an empty directory"] {
        assert!(e.contains(part), "{e}");
    }
    Checkpoints::open(&dir, of(128)).unwrap();
}

/// Read values are encoded to the same bytes. So a program of the first version can read files of this one.
#[test]
fn this_version_writes_format_1() {
    let dir = golden();
    let bytes = |file: &str| std::fs::read(dir.path(file)).unwrap();
    let genesis = Directory::open(&dir).unwrap().genesis().clone();
    assert_eq!(frame(Kind::Genesis, &genesis), bytes("genesis"));
    let (file, manifest) = Directory::open(&dir).unwrap().checkpoints().unwrap().remove(0);
    assert_eq!(frame(Kind::Manifest, &manifest.unwrap()), bytes(&file.to_string()));
    for file in dir.files("leases") {
        let (lease, _): (Lease, usize) = unframe(Kind::Lease, &file, &bytes(&file)).unwrap();
        assert_eq!(frame(Kind::Lease, &lease), bytes(&file));
    }
    for file in dir.files("plans") {
        let (head, at): (super::super::plan_log::Head, usize) = unframe(Kind::Plans, &file, &bytes(&file)).unwrap();
        assert_eq!(frame(Kind::Plans, &head), bytes(&file)[..at]);
    }
}
