//! Files on a disk: what a reader gives, and what a job reads.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::api::context::StreamingContext;
use crate::connector::files::cut::LineCut;
use crate::connector::files::identity::FileVersion;
use crate::connector::files::identity::{FileStamp, Head, list};
use crate::connector::files::options::TextFileSource;
use crate::connector::files::place::Place;
use crate::connector::files::reader::{CHUNK, FileReader};
use crate::connector::memory::MemorySink;
use crate::connector::source::{SourceReader, SplitRange};
use crate::core::error::Result;
use crate::core::plan::Split;
use crate::core::time::{millis, secs};
use crate::format::lines::LINE_LIMIT;
use crate::format::lines::{LINES_A_CALL, Line};
use crate::job::ManualClock;
use crate::testing::temp_dir::TempDir;

/// Moves a whole file into a directory.
pub fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let (hidden, path) = (dir.join(format!(".{name}")), dir.join(name));
    std::fs::write(&hidden, bytes).unwrap();
    std::fs::rename(hidden, &path).unwrap();
    path.to_str().unwrap().into()
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < secs(300), "waited too long until {what}");
        std::thread::sleep(millis(1));
    }
}

fn reader() -> FileReader<LineCut> {
    let place = Arc::new(Place::plain(Path::new("d")));
    FileReader::new("files of d".into(), place, LineCut::new(LINE_LIMIT, false), Arc::new(|| ()))
}

/// The whole file as a range, in its present version.
pub fn range(path: &str) -> SplitRange {
    let stamp = FileStamp::of(&std::fs::metadata(path).unwrap());
    let split = Split::File { path: path.into(), size: stamp.size, modified_ms: stamp.modified_ms };
    SplitRange { split, from: 0, until: stamp.size as i64 }
}

fn read_all(range: &SplitRange) -> Result<(Vec<Line>, usize)> {
    let (mut reader, mut lines, mut calls) = (reader(), Vec::new(), 1);
    let mut emit = |split_id, rows: Vec<Line>, _| {
        assert_eq!(split_id, 7);
        assert!(rows.len() <= LINES_A_CALL + CHUNK);
        lines.extend(rows);
    };
    while !reader.read_range(7, range, &mut emit)? {
        calls += 1;
    }
    Ok((lines, calls))
}

#[test]
fn f1_f2_a_range_is_read_in_short_calls_and_bad_lines_have_their_offset() {
    let dir = TempDir::made("files-reads");
    let text = "línea\r\n".repeat(50_000) + "last";
    let (lines, calls) = read_all(&range(&put(&dir, "long", &text))).unwrap();
    assert!(calls > 5, "{calls}");
    assert_eq!(lines.len(), 50_001);
    assert!(lines[..50_000].iter().all(|l| matches!(l, Line::Text(text, _) if text == "línea")));
    assert_eq!(lines[50_000], Line::Text("last".into(), 50_000 * 8));

    let path = put(&dir, "bad", [b"ok\n\xff\xfe\n", &[b'x'; 3 * LINE_LIMIT][..], b"\nend\n"].concat());
    let (lines, _) = read_all(&range(&path)).unwrap();
    let bad = |n: usize| match &lines[n] {
        Line::Bad(bad) => (&*bad.origin, bad.offset, bad.raw.len()),
        line => panic!("{line:?}"),
    };
    assert_eq!(lines.len(), 4);
    assert_eq!((bad(1), bad(2)), ((&*path, 3, 2), (&*path, 6, LINE_LIMIT)));
    assert_eq!(lines[3], Line::Text("end".into(), 6 + 3 * LINE_LIMIT as i64 + 1));

    let part = SplitRange { from: 3, until: 6, ..range(&path) };
    let (lines, _) = read_all(&part).unwrap();
    assert!(matches!(&lines[..], [Line::Bad(bad)] if bad.offset == 3), "{lines:?}");
}

#[test]
fn f7_a_file_that_changed_after_its_plan_stops_the_job_and_a_deleted_one_does_not() {
    let dir = TempDir::made("files-changes");
    let path = put(&dir, "f", "abc\n");
    let planned = range(&path);
    std::fs::write(&path, "abc\ndef\n").unwrap();
    let e = read_all(&planned).unwrap_err().to_string();
    assert!(e.contains(&path) && e.contains("4 bytes") && e.contains("now 8 bytes"), "{e}");
    let longer = SplitRange { until: 99, ..range(&path) };
    let e = read_all(&longer).unwrap_err().to_string();
    assert!(e.contains(&path) && e.contains("ends at byte 8"), "{e}");
    std::fs::remove_file(&path).unwrap();
    let (lines, _) = read_all(&planned).unwrap();
    assert!(
        matches!(&lines[..], [Line::Bad(bad)] if *bad.origin == *path && bad.offset == 0 && bad.reason.contains("gone")),
        "{lines:?}"
    );
    let e = read_all(&SplitRange { split: Split::Received { from: "x:1".into() }, ..planned }).unwrap_err().to_string();
    assert!(e.contains("x:1"), "{e}");
}

#[test]
fn f7_a_file_that_was_renamed_after_its_plan_is_read() {
    let dir = TempDir::made("files-rotated");
    let path = put(&dir, "app.log", "abc\n");
    let planned = range(&path);
    std::fs::rename(&path, dir.join("app.log.1")).unwrap();
    let read = |planned| read_all(planned).map(|(lines, _)| lines);
    assert_eq!(read(&planned).unwrap(), [Line::Text("abc".into(), 0)]);
    put(&dir, "app.log", "the next\n");
    assert_eq!(read(&planned).unwrap(), [Line::Text("abc".into(), 0)]);
    // Two files of this version: nothing tells which one was planned.
    let time = std::fs::metadata(dir.join("app.log.1")).unwrap().modified().unwrap();
    File::options().write(true).open(put(&dir, "other", "xyz\n")).unwrap().set_modified(time).unwrap();
    assert!(read(&planned).unwrap_err().to_string().contains("changed between the plan"));
}

#[test]
fn f9_gzip_and_byte_order_marks_are_read_as_text() {
    let dir = TempDir::made("files-content");
    let packed = |text: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    // Positions are those of other tests.
    let without_place = |line| if let Line::Text(text, _) = line { Line::Text(text, 0) } else { line };
    let read = |name: &str, bytes: Vec<u8>| read_all(&range(&put(&dir, name, bytes))).unwrap().0;
    let lines = |name: &str, bytes| read(name, bytes).into_iter().map(without_place).collect::<Vec<_>>();
    let texts = |texts: &[&str]| texts.iter().map(|t| Line::Text((*t).into(), 0)).collect::<Vec<_>>();
    assert_eq!(lines("bom", b"\xef\xbb\xbfa\r\nb".to_vec()), texts(&["a", "b"]));
    assert_eq!(lines("only-bom", b"\xef\xbb\xbf".to_vec()), texts(&[]));
    assert_eq!(lines("short", b"a".to_vec()), texts(&["a"]));
    let long = "tide\n".repeat(100_000);
    let members = [packed("\u{feff}one\ntwo\n"), packed(&long)].concat();
    let read = lines("two-members.log", members.clone());
    assert_eq!((read.len(), &read[..3]), (100_002, &texts(&["one", "two", "tide"])[..]));
    assert_eq!(lines("empty.gz", packed("")), texts(&[]));

    let bad = |lines: &[Line]| match lines.last() {
        Some(Line::Bad(bad)) => (bad.offset, bad.reason.clone()),
        line => panic!("{line:?}"),
    };
    let cut = lines("cut.gz", members[..members.len() - 20].to_vec());
    assert_eq!(cut[..3], texts(&["one", "two", "tide"]));
    let (offset, reason) = bad(&cut);
    assert!(offset > 11 && reason.contains("damaged from here on"), "{offset}: {reason}");
    let (offset, reason) = bad(&lines("utf-16", b"\xff\xfea\0\n\0".to_vec()));
    assert!(offset == 0 && reason.contains("UTF-16"), "{reason}");
    let part = SplitRange { from: 5, ..range(&put(&dir, "part.gz", packed("abc\n"))) };
    let (_, reason) = bad(&read_all(&part).unwrap().0);
    assert!(reason.contains("gzip") && reason.contains("from its beginning"), "{reason}");
}

#[test]
fn f6_a_name_is_not_an_identity() {
    let dir = TempDir::made("files-identity");
    let version = |name: &str| -> FileVersion {
        let found = list(&dir).unwrap();
        *found.iter().find(|(n, _)| n == name).unwrap().1.as_ref().unwrap()
    };
    put(&dir, "a", "abc\n");
    let first = version("a");
    std::fs::rename(dir.join("a"), dir.join("a.1")).unwrap();
    put(&dir, "a", "abc\n");
    std::fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
    assert_eq!((version("a.1"), version("b")), (first, version("a")));
    assert_ne!(version("a").id, first.id);
    let head = Head::read(&dir.join("a"), Head::MAX).unwrap();
    File::options().append(true).open(dir.join("a")).unwrap().write_all(b"more\n").unwrap();
    assert_eq!(version("a").id, version("b").id, "an appended file is the same");
    assert_eq!(Head::read(&dir.join("a"), head.len).unwrap(), head);
    std::fs::write(dir.join("a"), "other\n").unwrap();
    assert_ne!(Head::read(&dir.join("a"), head.len).unwrap(), head, "and one that is written again is not");
}

/// Starts a job that watches a directory, on a clock that the test moves.
fn watching(dir: &Path, clock: &ManualClock, checkpoint: &Path, seen: &MemorySink<String>) -> crate::job::JobHandle {
    let (watched, out) = (format!("file://{}", dir.display()), seen.clone());
    let builder = StreamingContext::builder("watching", secs(5)).checkpoint(checkpoint).checkpoint_interval(secs(5));
    let job = builder.start_on_clock(clock.clone(), move |ssc| {
        ssc.text_file_stream(&watched).oks().to_memory(&out);
        Ok(())
    });
    job.unwrap()
}

/// Nothing waits for the job: `start` has returned, so a file is new. Its time is of another century.
#[test]
fn f6_a_file_that_is_written_right_after_the_start_is_read_by_the_clock_of_the_job() {
    let (dir, states) = (TempDir::made("files-start"), TempDir::made("files-start-states"));
    put(&dir, "old", "old\n");
    let (clock, seen) = (ManualClock::at(1_000_000), MemorySink::new());
    let job = watching(&dir, &clock, &states, &seen);
    let path = put(&dir, "new", "new\n");
    File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH + secs(1)).unwrap();
    for ms in [1_005_000, 1_010_000] {
        clock.set(ms);
        until("the batch is written", || seen.batches().last().is_some_and(|(t, _)| t.millis() == ms));
    }
    job.stop_gracefully().unwrap();
    let batches: Vec<_> = seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect();
    assert_eq!(batches[..2], [(1_005_000, vec![]), (1_010_000, vec!["new".to_owned()])]);
}

#[test]
fn f6_a_log_is_rotated_while_the_job_runs_and_while_it_is_stopped() {
    let (dir, states) = (TempDir::made("files-rotate"), TempDir::made("files-rotate-states"));
    let (clock, seen) = (ManualClock::at(1_000_000), MemorySink::new());
    let mut ms = 1_000_000;
    let mut batches = |n: u64| {
        for _ in 0..n {
            ms += 5_000;
            clock.set(ms);
            until("the batch is written", || seen.batches().last().is_some_and(|(t, _)| t.millis() == ms));
        }
    };
    let rotate = |text: &str| {
        for n in (1..4).rev() {
            let _ = std::fs::rename(dir.join(format!("app.log.{n}")), dir.join(format!("app.log.{}", n + 1)));
        }
        std::fs::rename(dir.join("app.log"), dir.join("app.log.1")).unwrap();
        std::fs::write(dir.join("app.log"), text).unwrap();
    };
    let job = watching(&dir, &clock, &states, &seen);
    put(&dir, "app.log", "first\n");
    batches(2);
    rotate("second\n");
    batches(3);
    job.stop_gracefully().unwrap();
    rotate("third\n");
    let job = watching(&dir, &clock, &states, &seen);
    batches(3);
    rotate("fourth\n");
    batches(3);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.rows(), ["first", "second", "third", "fourth"]);
}

#[test]
fn f8_each_kind_of_directory_entry_is_recognised() {
    let dir = TempDir::made("files-kinds");
    put(&dir, "plain", "x");
    std::fs::create_dir(dir.join("sub")).unwrap();
    std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
    std::os::unix::fs::symlink("plain", dir.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap().success());
    let name = std::ffi::OsStr::from_bytes(b"\xff");
    std::fs::write(dir.join(name), "x").unwrap();
    let found = list(&dir).unwrap();
    let sizes: Vec<_> = found.iter().map(|(name, v)| (name.as_str(), v.as_ref().map(|v| v.stamp.size).ok())).collect();
    let expected = [
        ("dangling", None),
        ("link", Some(1)),
        ("loop", None),
        ("pipe", None),
        ("plain", Some(1)),
        ("socket", None),
        ("sub", None),
        ("\u{fffd}", None),
    ];
    assert_eq!(sizes, expected);
    assert!(found[5].1.as_ref().unwrap_err().contains("not a plain file"));
    assert!(found[6].1.as_ref().unwrap_err().contains("sub-directories"));
    assert!(found[7].1.as_ref().unwrap_err().contains("not UTF-8"));
    let id = |at: usize| found[at].1.as_ref().unwrap().id;
    assert_eq!(id(1), id(4), "a link is the file that it names");
}

#[test]
fn f11_a_job_continues_after_its_directory_was_missing() {
    let dir = TempDir::made("files-job");
    put(&dir, "old", "old\n");
    let (oks, errors) = (MemorySink::new(), MemorySink::new());
    let (watched, good, bad) = (dir.to_path_buf(), oks.clone(), errors.clone());
    let job = StreamingContext::builder("files", millis(20)).workers(2).start(move |ssc| {
        let lines = ssc.text_file_stream(&watched);
        lines.oks().to_memory(&good);
        lines.errors().to_memory(&bad);
        Ok(())
    });
    let job = job.unwrap();
    until("the job runs", || job.statistics().batches > 0);
    let path = put(&dir, "new", b"a\r\n\xff\nb");
    put(&dir, "_hidden", "hidden\n");
    until("the file is read", || oks.rows().len() == 2);
    // The directory disappears and returns with another file.
    let aside = dir.with_extension("aside");
    std::fs::rename(&*dir, &aside).unwrap();
    until("the trouble is reported", || job.statistics().trouble.iter().any(|t| t.contains("cannot be read")));
    std::fs::rename(&aside, &*dir).unwrap();
    put(&dir, "newer", "c\n");
    until("the next file is read", || oks.rows().len() == 3);
    until("no trouble is reported", || job.statistics().trouble.is_empty());
    job.stop_gracefully().unwrap();
    assert_eq!(oks.rows(), ["a", "b", "c"]);
    let errors = errors.rows();
    assert_eq!(errors.len(), 1);
    assert_eq!((&errors[0].origin, errors[0].offset, &errors[0].raw[..]), (&path, 3, &b"\xff"[..]));
}

#[test]
fn a_graceful_stop_reads_all_existing_files_in_several_batches() {
    for workers in [1, 2] {
        let dir = TempDir::made(&format!("files-stop-{workers}"));
        let (seen, watched) = (MemorySink::new(), dir.to_path_buf());
        let out = seen.clone();
        // 16 bytes a batch: two files.
        let builder = StreamingContext::builder("files", millis(300)).workers(workers).batch_bytes(16 / workers as usize);
        let job = builder.start(move |ssc| {
            ssc.text_file_stream(&watched).oks().to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        until("the job runs", || job.statistics().batches > 0);
        let lines: Vec<String> = (0..5).map(|n| format!("line  {n}")).collect();
        lines.iter().for_each(|line| drop(put(&dir, line, format!("{line}\n"))));
        job.stop_gracefully().unwrap();
        assert_eq!(seen.rows(), lines);
        assert!(seen.batches().iter().filter(|(_, rows)| !rows.is_empty()).count() >= 3, "two files a batch");
    }
}

#[test]
fn existing_files_are_read_in_order_of_time_on_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made(&format!("files-order-{workers}"));
        let now = std::time::SystemTime::now();
        for (name, age) in [("a", 10), ("b", 30), ("c", 20), ("d", 20), ("e", 99_999_999)] {
            let path = put(&dir, name, format!("{name}1\n{name}2\n"));
            let changed = now - secs(age);
            File::options().write(true).open(path).unwrap().set_modified(changed).unwrap();
        }
        // Modified last, so read last; and longer than one call.
        put(&dir, "long", [&vec![b'x'; 4 * LINE_LIMIT][..], b"\nend\n"].concat());
        let (seen, watched) = (MemorySink::new(), dir.to_path_buf());
        let out = seen.clone();
        let job = StreamingContext::builder("files", millis(20)).workers(workers).start(move |ssc| {
            ssc.text_file_stream_with(TextFileSource::new(&watched).existing(true)).oks().to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        until("all is read", || seen.rows().len() >= 11);
        job.stop_gracefully().unwrap();
        let mut rows = seen.rows();
        assert_eq!(rows.pop().unwrap(), "end");
        let names: Vec<String> = rows.chunks(2).map(|two| two[0].replace('1', "")).collect();
        assert_eq!(names, ["e", "b", "c", "d", "a"]);
    }
}

#[test]
fn f11_a_missing_directory_is_an_error_at_the_start() {
    let dir = TempDir::made("files-nowhere");
    std::os::unix::fs::symlink("none", dir.join("link")).unwrap();
    for (name, says) in [
        (format!("{}/none", dir.display()), "No such file"),
        (format!("file://{}/none", dir.display()), "No such file"),
        (format!("{}/none/*", dir.display()), "No such file"),
        (format!("{}/link", dir.display()), "a link to none, which cannot be reached"),
        ("hdfs://name/in".into(), "hdfs://name/in is a URL"),
    ] {
        let given = name.clone();
        let job = StreamingContext::builder("files", secs(1)).start(move |ssc| {
            ssc.text_file_stream(&given).oks().print(1);
            Ok(())
        });
        let e = job.err().unwrap().to_string();
        let path = name.trim_start_matches("file://").trim_end_matches("/*");
        assert!(e.contains(path) && e.contains("text_file_stream") && e.contains(says), "{name}: {e}");
    }
}
