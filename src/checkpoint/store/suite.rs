//! The test suite of every store: the disk in unit tests, S3 over the network in `tests/programs/s3`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;

use super::{Lock, Store, UNFINISHED};

/// Opens the same, initially empty store at each call, for several runs.
pub(crate) type Place<'a> = &'a dyn Fn() -> Arc<dyn Store>;

/// Runs all tests. Each has its own files.
pub(crate) fn all(place: Place<'_>) {
    let store = place();
    store.probe().unwrap();
    files(&*store);
    drafts(&*store);
    one_of_many(place);
    listed(&*store);
    ["plans", "received"].iter().for_each(|folder| logs(&*store, folder));
    deleted(&*store);
    ["plans", "received"].iter().for_each(|folder| closed(place, folder));
    closed_in_a_race(place);
}

fn names(store: &dyn Store, folder: &str) -> Vec<(String, u64)> {
    store.list(folder).unwrap().into_iter().filter(|e| !e.name.ends_with(UNFINISHED)).map(|e| (e.name, e.bytes)).collect()
}

/// A file is created once, complete, and can be read in parts.
fn files(store: &dyn Store) {
    let bytes: Vec<u8> = (0..1_000u32).map(|i| i as u8).collect();
    assert_eq!(store.read("genesis", 1 << 20).unwrap(), None);
    assert_eq!(store.read_range("genesis", 0, 10).unwrap(), None);
    assert!(store.put_new("genesis", &bytes).unwrap());
    assert!(!store.put_new("genesis", b"another").unwrap(), "a name is used once");
    assert_eq!(store.read("genesis", 1_000).unwrap().as_deref(), Some(&bytes[..]), "the first file stays");
    let long = store.read("genesis", 999).unwrap_err().to_string();
    assert!(long.contains("1000 bytes") && long.contains("999"), "{long}");
    for (from, len, is) in
        [(0, 10, 0..10), (990, 10, 990..1_000), (990, 50, 990..1_000), (1_000, 5, 0..0), (7_000, 5, 0..0), (5, 0, 0..0)]
    {
        assert_eq!(store.read_range("genesis", from, len).unwrap().unwrap(), bytes[is], "{len} bytes from {from} on");
    }
}

/// A file appears only when it is complete. A long one is uploaded in parts.
fn drafts(store: &dyn Store) {
    let file = |n: u32| format!("pieces/00000000000{n}000-g00000001-w0000");
    let mut dropped = store.create(&file(1)).unwrap();
    dropped.write(b"half").unwrap();
    drop(dropped);
    // A store with parts uploads several, and a shorter last one.
    let chunk: Vec<u8> = (0..(5u32 << 20)).map(|i| (i * 7 + i / 1_000) as u8).collect();
    let mut draft = store.create(&file(2)).unwrap();
    for _ in 0..4 {
        draft.write(&chunk).unwrap();
        assert_eq!(names(store, "pieces"), []);
        assert_eq!(store.read(&file(2), 1 << 30).unwrap(), None);
    }
    assert!(draft.publish().unwrap());
    let len = 4 * chunk.len() as u64;
    assert_eq!(names(store, "pieces"), [(file(2), len)], "a dropped draft leaves nothing");
    let (block, behind) = (4u64 << 20, len - 3);
    for (from, n) in [(0, 40), (block - 5, 10), (block, 7), (block - 1, block + 2), (behind, 3), (behind, 30), (len, 5), (3, len)]
    {
        let read = store.read_range(&file(2), from, n).unwrap().unwrap();
        let is = (from..(from + n).min(len)).map(|i| chunk[(i % chunk.len() as u64) as usize]);
        assert!(read.iter().copied().eq(is), "{n} bytes from {from} on");
    }
    for bytes in [&b"short"[..], &chunk] {
        let mut late = store.create(&file(2)).unwrap();
        late.write(bytes).unwrap();
        late.write(bytes).unwrap();
        assert!(!late.publish().unwrap(), "a name is given once");
    }
    assert_eq!(store.read(&file(2), 1 << 30).unwrap().unwrap().len() as u64, len);
}

/// If several writers want a name at the same time, one gets it.
fn one_of_many(place: Place<'_>) {
    for round in 0..5 {
        let name = format!("leases/0000000{round}");
        let stores: Vec<_> = (0..8).map(|_| place()).collect();
        let won: Vec<usize> = scope(|threads| {
            let put = |(i, store): (usize, &Arc<dyn Store>)| {
                let (store, name) = (store.clone(), name.clone());
                threads.spawn(move || store.put_new(&name, &[i as u8; 100]).unwrap().then_some(i))
            };
            let tries: Vec<_> = stores.iter().enumerate().map(put).collect();
            tries.into_iter().filter_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1, "{name}: {won:?}");
        assert_eq!(stores[0].read(&name, 100).unwrap().unwrap(), [won[0] as u8; 100]);
    }
}

fn listed(store: &dyn Store) {
    for name in ["manifests/b", "manifests/a", "manifests/c"] {
        assert!(store.put_new(name, name.as_bytes()).unwrap());
    }
    assert_eq!(names(store, "manifests"), ["a", "b", "c"].map(|n| (format!("manifests/{n}"), 11)));
    assert_eq!(names(store, "nowhere"), []);
    let top = store.list("").unwrap();
    let folder = |name: &str| top.iter().find(|e| e.name == name).map(|e| e.folder);
    assert_eq!((folder("genesis"), folder("manifests"), folder("b")), (Some(false), Some(true), None));
}

/// A log contains its appends in order.
fn logs(store: &dyn Store, folder: &str) {
    let (name, other) = (&*format!("{folder}/g00000001-000001"), &*format!("{folder}/g00000001-000002"));
    let mut log = store.begin_log(name, b"head").unwrap();
    assert!(store.begin_log(name, b"head").is_err(), "begun once");
    let mut whole = b"head".to_vec();
    // More than a store reads at a time.
    for i in 0..70u8 {
        let bytes = vec![i; 1 + usize::from(i) % 5];
        log.append(&bytes).unwrap();
        whole.extend(bytes);
    }
    assert_eq!(store.read(name, 1 << 20).unwrap().unwrap(), whole);
    assert!(store.read(name, 20).is_err());
    assert_eq!(names(store, folder), [(name.to_owned(), whole.len() as u64)]);
    for (from, len) in [(0, 4), (0, 3), (1, 9), (60, 500), (whole.len(), 4)] {
        let is = &whole[from..(from + len).min(whole.len())];
        assert_eq!(store.read_range(name, from as u64, len as u64).unwrap().unwrap(), is, "{len} bytes from {from} on");
    }
    assert_eq!(store.read(other, 9).unwrap(), None);
    assert_eq!(store.read_range(other, 0, 9).unwrap(), None);
}

fn deleted(store: &dyn Store) {
    let all = ["manifests/a", "manifests/gone", "plans/g00000001-000001", "manifests/c"].map(String::from);
    store.delete(&all).unwrap();
    store.delete(&all).unwrap();
    assert_eq!((names(store, "manifests").len(), names(store, "plans").len()), (1, 0));
    assert_eq!(store.read("plans/g00000001-000001", 1 << 20).unwrap(), None);
    assert!(store.put_new("manifests/a", b"again").unwrap(), "the name is free again");
}

/// A closed log accepts no append, even after it was deleted. A log that was closed before its creation cannot be created.
fn closed(place: Place<'_>, folder: &str) {
    let (older, newer) = (place(), place());
    if !matches!(older.lock().unwrap(), Lock::None) {
        return;
    }
    let (log, next) = (&*format!("{folder}/g00000002-000001"), &*format!("{folder}/g00000002-000002"));
    let mut appends = older.begin_log(log, b"head").unwrap();
    appends.append(b"one").unwrap();
    assert!(newer.close_log(log).unwrap() && !newer.close_log(next).unwrap());
    let lost = appends.append(b"two").unwrap_err().to_string();
    assert!(lost.contains(log) && lost.contains("a newer run has this directory"), "{lost}");
    assert!(older.begin_log(next, b"head").is_err());
    assert_eq!(newer.read(log, 99).unwrap().unwrap(), b"headone");
    assert!(newer.close_log(log).unwrap() && !newer.close_log(next).unwrap(), "closed once and for all");
    let own = || names(&*newer, folder).into_iter().find(|(name, _)| name == log);
    assert_eq!(own(), Some((log.to_owned(), 7)));
    newer.delete(&[log.to_owned()]).unwrap();
    assert!(appends.append(b"two").is_err(), "also after the log was deleted");
    assert_eq!(own(), None);
}

/// The process that closes a log reads every append that succeeded. Later appends fail.
fn closed_in_a_race(place: Place<'_>) {
    let (older, newer) = (place(), place());
    if !matches!(older.lock().unwrap(), Lock::None) {
        return;
    }
    let log = "plans/g00000003-000001";
    let appended = AtomicUsize::new(0);
    let mut appends = older.begin_log(log, &[0]).unwrap();
    scope(|threads| {
        let appender = threads.spawn(|| {
            while appends.append(&[1]).is_ok() {
                appended.fetch_add(1, Ordering::SeqCst);
            }
        });
        while appended.load(Ordering::SeqCst) < 5 {
            std::thread::yield_now();
        }
        assert!(newer.close_log(log).unwrap());
        let read = newer.read(log, 1 << 20).unwrap().unwrap();
        appender.join().unwrap();
        assert_eq!(read.len(), 1 + appended.load(Ordering::SeqCst), "every append that succeeded, and no other");
        assert_eq!(newer.read(log, 1 << 20).unwrap().unwrap(), read);
    });
}
