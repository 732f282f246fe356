//! Which files a watch reads while other programs create, change and rename files. There is no disk, and the tests set the clock.

use std::path::Path;
use std::time::Duration;

use crate::connector::files::identity::{FileId, FileStamp, FileVersion, Head};
use crate::connector::files::options::TextFileSource;
use crate::connector::files::saved;
use crate::connector::files::watch::DirectoryWatch;
use crate::connector::source::SplitOffset;
use crate::core::plan::Split;
use crate::core::time::secs;

const SECOND: Duration = secs(1);
/// The clock of the first scan.
const START_MS: u64 = 1_000_000;

/// A file of a directory. Its inode and its content derive from its first name, unless a test sets them.
#[derive(Clone, Copy)]
struct OnDisk {
    name: &'static str,
    size: u64,
    modified_s: i64,
    inode: u64,
    born_ns: u64,
    content: u64,
}

fn file(name: &'static str, size: u64, modified_s: i64) -> OnDisk {
    let inode = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    OnDisk { name, size, modified_s, inode, born_ns: 7, content: inode }
}

impl OnDisk {
    fn renamed(self, name: &'static str) -> Self {
        OnDisk { name, ..self }
    }

    fn changed(self, size: u64, modified_s: i64) -> Self {
        OnDisk { size, modified_s, ..self }
    }

    /// The inode of a deleted file, given to a new one.
    fn reborn(self, born_ns: u64) -> Self {
        OnDisk { born_ns, content: self.content + 1, ..self }
    }

    fn with_content(self, content: u64) -> Self {
        OnDisk { content, ..self }
    }

    fn version(self) -> FileVersion {
        let id = FileId { inode: self.inode, born_ns: self.born_ns, device: 0 };
        FileVersion { id, stamp: FileStamp { size: self.size, modified_ms: self.modified_s * 1_000 } }
    }
}

/// A watch with a clock of the test: one scan per second.
struct ManualWatch {
    watch: DirectoryWatch,
    now_ms: u64,
}

impl ManualWatch {
    fn new(files: TextFileSource, batch_bytes: u64) -> Self {
        let mut watch = DirectoryWatch::new(files, SECOND, batch_bytes);
        watch.last_ms = START_MS;
        ManualWatch { watch, now_ms: START_MS }
    }

    /// A watch that has already scanned this directory once, at the start.
    fn started(files: &[OnDisk]) -> Self {
        let mut w = ManualWatch::new(TextFileSource::new("d"), 1_000);
        assert_eq!(w.ready(files), NONE);
        w
    }

    /// The watch after a restart from a snapshot. `read`: the files that were planned after it.
    fn restarted(&self, snapshot: &[u8], read: &[OnDisk]) -> Self {
        let mut w = ManualWatch::new(self.watch.files.clone(), self.watch.batch_bytes);
        let offset = |f: &OnDisk| {
            let stamp = f.version().stamp;
            let path = format!("d/{}", f.name).into();
            SplitOffset { split: Split::File { path, size: stamp.size, modified_ms: stamp.modified_ms }, from: 0 }
        };
        w.now_ms = self.now_ms;
        saved::restore(&mut w.watch, Path::new("d"), snapshot, &read.iter().map(offset).collect::<Vec<_>>(), w.now_ms).unwrap();
        w
    }

    /// The ready files and the warnings of a scan.
    fn scan(&mut self, files: &[OnDisk]) -> (Vec<String>, Vec<String>) {
        self.scan_at(files, &[], &[])
    }

    fn scan_at(&mut self, files: &[OnDisk], others: &[&str], closed: &[&str]) -> (Vec<String>, Vec<String>) {
        let plain = files.iter().map(|f| (f.name.to_string(), Ok(f.version())));
        let others = others.iter().map(|n| (n.to_string(), Err("it is a directory".to_string())));
        let mut found: Vec<_> = plain.chain(others).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let heads = |name: &str, len: u32| {
            let file = files.iter().find(|f| f.name == name).unwrap();
            let head = Head { len: len.min(file.size as u32), hash: file.content };
            if closed.contains(&name) { Err("permission denied".into()) } else { Ok(head) }
        };
        let scan = self.watch.scan(found, self.now_ms, &heads);
        self.now_ms += 1_000;
        (scan.ready.into_iter().map(|(name, _)| name).collect(), scan.warnings)
    }

    fn ready(&mut self, files: &[OnDisk]) -> Vec<String> {
        let (ready, warnings) = self.scan(files);
        assert_eq!(warnings, NONE);
        ready
    }

    /// The files that are read when the directory stays like this.
    fn settle(&mut self, files: &[OnDisk]) -> Vec<String> {
        (0..3).flat_map(|_| self.ready(files)).collect()
    }
}

const NONE: [&str; 0] = [];

#[test]
fn a_stopping_job_reads_the_waiting_files_that_do_not_change() {
    let mut w = ManualWatch::new(TextFileSource::new("d"), 10);
    assert_eq!(w.ready(&[]), NONE);
    let (a, b, c, empty) = (file("a", 8, 1_001), file("b", 8, 1_001), file("c", 1, 1_001), file("empty", 0, 1_001));
    assert_eq!(w.ready(&[a, b, c, empty]), NONE);
    assert_eq!(w.watch.begin_drain(w.now_ms - 250), SECOND / 4, "until they are unchanged for a second");
    let (c, late) = (c.changed(2, 1_002), file("late", 1, 1_001));
    assert_eq!(w.ready(&[a, b, c, late, empty]), ["a"]);
    assert_eq!(w.watch.pending(w.now_ms - 1_000), (true, vec!["c"]), "b is ready and did not fit");
    // A file that is renamed while the job stops is read all the same.
    let b = b.renamed("b.1");
    assert_eq!(w.ready(&[a, b, c.changed(3, 1_003), late]), ["b.1"]);
    assert_eq!(w.watch.pending(w.now_ms - 1_000), (false, vec!["c"]), "it is being written");
    w.watch.end_drain();
    assert_eq!(w.watch.pending(w.now_ms), (false, vec![]));
}

#[test]
fn f5_f6_new_files_are_read_once_they_stay_unchanged() {
    let (old, a, b, empty) = (file("old", 5, 999), file("a", 1, 1_001), file("b", 1, 1_001), file("empty", 0, 1_001));
    let mut w = ManualWatch::started(&[old]);
    assert_eq!(w.ready(&[old, b]), NONE);
    assert_eq!(w.ready(&[old, b, a, empty]), ["b"]);
    // Moved in with a time before the start, and before what is remembered. It did not exist at the start, so it is new.
    let moved = file("moved", 1, -5_000_000);
    assert_eq!(w.ready(&[old, b, a, moved]), ["a"]);
    let old = old.changed(6, 1_004);
    assert_eq!(w.ready(&[old, moved, empty]), ["moved"]);
    assert_eq!(w.ready(&[old, moved, empty]), ["old"]);
    let empty = empty.changed(3, 1_006);
    assert_eq!(w.ready(&[empty]), NONE);
    assert_eq!(w.ready(&[empty]), ["empty"]);
    // Moved away and back it is the same file. Deleted and written again it is another one, also with the same inode and time.
    assert_eq!(w.settle(&[]), NONE);
    assert_eq!(w.settle(&[empty]), NONE);
    assert_eq!(w.settle(&[empty.reborn(8)]), ["empty"]);
}

#[test]
fn f5_a_growing_file_waits_and_a_file_that_grows_later_is_one_warning() {
    let mut w = ManualWatch::started(&[]);
    let g = file("g", 1, 1_000);
    for n in 1..5 {
        assert_eq!(w.ready(&[g.changed(n, 1_000)]), NONE, "it grows");
    }
    assert_eq!(w.ready(&[g.changed(4, 1_001)]), NONE, "its time changed");
    assert_eq!(w.ready(&[g.changed(4, 1_001)]), ["g"]);
    let (ready, warnings) = w.scan(&[g.changed(9, 1_002)]);
    assert_eq!(ready, NONE);
    assert!(matches!(&warnings[..], [w] if w.contains("g changed after it was read (4 bytes then, 9 now)")), "{warnings:?}");
    assert_eq!(w.ready(&[g.changed(10, 1_003)]), NONE, "the warning is not repeated");
}

#[test]
fn f6_a_rotated_log_is_read_once_and_its_successor_too() {
    let mut w = ManualWatch::started(&[]);
    let first = file("app.log", 100, 1_001);
    assert_eq!(w.settle(&[first]), ["app.log"]);
    // mv app.log app.log.1, and a new app.log with a line that begins alike.
    let second = OnDisk { inode: 2, modified_s: 1_010, ..first };
    let (first, third) = (first.renamed("app.log.1"), OnDisk { inode: 3, modified_s: 1_020, ..first });
    assert_eq!(w.settle(&[second, first]), ["app.log"]);
    let (first, second) = (first.renamed("app.log.2"), second.renamed("app.log.1"));
    assert_eq!(w.settle(&[third, second, first]), ["app.log"]);
    assert_eq!(w.settle(&[third, second]), NONE, "the oldest is deleted");
}

#[test]
fn f6_a_log_that_grew_before_it_was_rotated_is_a_warning_and_not_read_twice() {
    let mut w = ManualWatch::started(&[]);
    let log = file("app.log", 100, 1_001);
    assert_eq!(w.settle(&[log]), ["app.log"]);
    let rotated = log.changed(150, 1_005).renamed("app.log.1");
    let (ready, warnings) = w.scan(&[rotated]);
    assert_eq!(ready, NONE);
    assert!(warnings[0].contains("app.log.1 changed after it was read (100 bytes then, 150 now)"), "{warnings:?}");
    assert_eq!(w.settle(&[rotated]), NONE);
}

#[test]
fn f6_a_replaced_file_is_read() {
    let mut w = ManualWatch::started(&[]);
    let a = file("a", 5, 1_001);
    assert_eq!(w.settle(&[a]), ["a"]);
    let other = OnDisk { inode: 2, ..a.with_content(9) };
    assert_eq!(w.settle(&[other]), ["a"], "moved over it, with the same size and time");
    assert_eq!(w.settle(&[other.changed(5, 1_009).with_content(10)]), ["a"], "emptied and written again in place");
    let emptied = other.changed(0, 1_010).with_content(10);
    assert_eq!(w.settle(&[emptied]), NONE);
    assert_eq!(w.settle(&[emptied.changed(2, 1_011)]), ["a"], "emptied first");
    // A copy with the same content, size and time, as of a restored backup, is the same file.
    let copy = OnDisk { inode: 4, ..emptied.changed(2, 1_011) };
    assert_eq!(w.settle(&[copy]), NONE);
}

#[test]
fn f6_a_file_that_got_the_inode_of_a_deleted_one_is_new() {
    let mut w = ManualWatch::started(&[]);
    let a = file("a", 5, 1_001);
    assert_eq!(w.settle(&[a]), ["a"]);
    let b = a.changed(6, 1_003).renamed("b").reborn(8);
    assert_eq!(w.settle(&[b]), ["b"]);
    // Without times of creation, as on network file systems, the time and the beginning tell them apart.
    let c = OnDisk { born_ns: 0, ..file("c", 5, 1_001) };
    assert_eq!(w.settle(&[b, c]), ["c"]);
    assert_eq!(w.settle(&[b, c.changed(5, 1_009).renamed("d")]), ["d"]);
}

#[test]
fn f8_a_second_name_of_a_file_is_not_read() {
    let mut w = ManualWatch::started(&[]);
    let (a, b) = (file("a", 5, 1_001), file("a", 5, 1_001).renamed("b"));
    assert_eq!(w.ready(&[a]), NONE);
    let (ready, warnings) = w.scan(&[a, b]);
    assert_eq!(ready, ["a"]);
    assert_eq!(warnings, ["b is not read: it is the same file as a"]);
    assert_eq!(w.settle(&[a, b]), NONE, "the warning is not repeated");
    assert_eq!(w.settle(&[b]), NONE, "the first name is deleted");
    // A hidden name does not matter: a program writes .x, links it to x, and removes .x.
    let x = file(".x", 5, 1_002);
    assert_eq!(w.settle(&[b, x, x.renamed("x")]), ["x"]);
}

#[test]
fn f8_some_names_and_kinds_of_files_are_not_read() {
    let mut w = ManualWatch::new(TextFileSource::new("d").existing(true).accept(|n| n != "no"), 1_000);
    let files = [".h", "_SUCCESS", "a.tmp", "a._COPYING_", "no", "yes", "shut"].map(|n| file(n, 1, 1));
    let (ready, warnings) = w.scan_at(&files, &["sub"], &["shut"]);
    assert_eq!(ready, NONE);
    assert_eq!(warnings, ["sub is not read: it is a directory"]);
    let (ready, warnings) = w.scan_at(&files, &["sub"], &["shut"]);
    assert_eq!(ready, ["yes"]);
    assert_eq!(warnings, ["shut is not read until it can be opened: permission denied"]);
    assert_eq!(w.scan_at(&files, &["sub"], &["shut"]), (vec![], vec![]), "the warning is not repeated");
    assert_eq!(w.ready(&files), ["shut"]);
}

#[test]
fn a_batch_is_ordered_and_bounded_and_has_at_least_one_file() {
    let mut w = ManualWatch::new(TextFileSource::new("d").existing(true), 10);
    let files = [("c", 6, 1), ("b", 4, 2), ("a", 4, 2), ("big", 90, 3), ("z", 1, 4)].map(|(n, size, s)| file(n, size, s));
    assert_eq!(w.ready(&files), NONE);
    assert_eq!(w.ready(&files), ["c", "a"], "10 bytes");
    assert_eq!(w.ready(&files), ["b"], "the big one does not fit, and nothing overtakes it");
    assert_eq!(w.ready(&files), ["big"]);
    assert_eq!(w.ready(&files), ["z"]);
    assert_eq!(w.ready(&files), NONE);
}

#[test]
fn f6_a_file_is_known_while_it_is_in_the_directory_and_for_a_time_after_it_left() {
    let mut w = ManualWatch::new(TextFileSource::new("d").remember(secs(10)), 1_000);
    let (ancient, a) = (file("ancient", 1, 1), file("a", 5, 1_001));
    assert_eq!(w.ready(&[ancient]), NONE);
    assert_eq!(w.settle(&[ancient, a]), ["a"]);
    w.now_ms += 1_000_000;
    assert_eq!(w.settle(&[ancient, a]), NONE, "a known file is not read, whatever its age");
    assert_eq!(w.settle(&[]), NONE);
    assert_eq!(w.settle(&[ancient, a]), NONE, "moved away and back");
    assert_eq!(w.settle(&[]), NONE);
    w.now_ms += 10_000;
    assert_eq!(w.settle(&[]), NONE);
    assert_eq!((w.watch.known.len(), w.watch.gone.len()), (0, 0));
    assert_eq!(w.settle(&[ancient, a]), ["ancient", "a"], "both are forgotten");
}

#[test]
fn f6_identities_survive_a_restart() {
    let mut w = ManualWatch::started(&[file("old", 5, 999)]);
    let (old, log, away) = (file("old", 5, 999), file("app.log", 100, 1_001), file("away", 5, 1_001));
    assert_eq!(w.settle(&[old, log, away]), ["app.log", "away"]);
    assert_eq!(w.ready(&[old, log]), NONE);
    let snapshot = saved::snapshot(&w.watch, Vec::new());
    // After the snapshot one file is read. Then the job ends, and every file gets another name.
    let after = file("after", 7, 1_002);
    let mut again = w.restarted(&snapshot, &[after]);
    let (log, after) = (log.renamed("app.log.1"), after.renamed("after.1"));
    let next = OnDisk { inode: 2, modified_s: 1_050, ..file("app.log", 100, 1_001) };
    assert_eq!(again.settle(&[old.renamed("old.1"), log, after, next, away]), ["app.log"]);
    // A file that existed at the start is read when it changes, also in the next run.
    let old = old.renamed("old.1").changed(6, 1_060);
    assert_eq!(again.settle(&[old, log, after, next, away]), ["old.1"]);
}

/// The first version wrote names, sizes and times.
#[test]
fn f6_the_checkpoint_of_an_older_version_is_read() {
    // (1_000_000, [("app.log", 100, 1_001_000), ("grown", 4, 1_001_000)])
    let snapshot =
        [&[0xc0, 0x84, 0x3d, 2, 7][..], b"app.log", &[100, 0xd0, 0x98, 0x7a, 5], b"grown", &[4, 0xd0, 0x98, 0x7a]].concat();
    let files = vec![("app.log", 100u64, 1_001_000i64), ("grown", 4, 1_001_000)];
    assert_eq!(snapshot, crate::core::data::encoded(&(START_MS, files)));
    let w = ManualWatch::started(&[]);
    let (log, grown) = (file("app.log", 100, 1_001), file("grown", 4, 1_001));
    assert_eq!(w.restarted(&snapshot, &[]).settle(&[log, grown]), NONE);
    let next = OnDisk { inode: 2, ..file("app.log", 120, 1_050) };
    assert_eq!(w.restarted(&snapshot, &[]).settle(&[log.renamed("app.log.1"), next, grown]), ["app.log"], "rotated meanwhile");
    let (ready, warnings) = w.restarted(&snapshot, &[]).scan(&[log, grown.changed(9, 1_009)]);
    assert_eq!(ready, NONE);
    assert!(warnings[0].contains("grown changed after it was read"), "{warnings:?}");
}

/// Such a job does not know which files existed when it was first started.
#[test]
fn f6_a_job_that_ended_before_its_first_checkpoint_leaves_old_files_with_a_warning() {
    let mut w = ManualWatch::started(&[]);
    w.now_ms += 100_000_000;
    let (old, young, read) = (file("old", 5, 999), file("young", 5, 100_000), file("read", 5, 100_001));
    let mut again = w.restarted(&[], &[read]);
    let (ready, warnings) = again.scan(&[old, young, read]);
    assert_eq!(ready, NONE);
    assert!(matches!(&warnings[..], [w] if w.contains("1 files are not read") && w.contains("1.0 days")), "{warnings:?}");
    assert_eq!(again.settle(&[old, young, read]), ["young"]);
}
