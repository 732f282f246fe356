//! Directories as sources: trees, patterns, packed files, records of a fixed length, and the order of files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::harness::eventually;
use crate::temp_dir::TempDir;

/// "to be\nor not\n" by zstd 1.5.
const PACKED: &str = "28b52ffd0458690000746f2062650a6f72206e6f740a01894f5e";

/// Moves a whole file into a tree.
fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let hidden = path.with_file_name(".new");
    std::fs::write(&hidden, bytes).unwrap();
    std::fs::rename(hidden, path).unwrap();
}

fn aged(dir: &Path, name: &str, seconds: u64) {
    put(dir, name, format!("{name}\n"));
    let file = std::fs::File::options().append(true).open(dir.join(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn builder(workers: u16, checkpoint: &Path) -> tidemill::api::context::Builder {
    StreamingContext::builder("files", millis(100)).workers(workers).checkpoint(checkpoint)
}

/// The lines of everything that is there when the job stops gracefully, and the bad records.
fn read(builder: tidemill::api::context::Builder, files: TextFileSource) -> (Vec<String>, Vec<BadRecord>) {
    let (rows, bad) = (MemorySink::new(), MemorySink::new());
    let (out, wrong) = (rows.clone(), bad.clone());
    let job = builder.start(move |ssc| {
        let lines = ssc.text_file_stream_with(files.clone());
        lines.to_memory(&out);
        lines.errors().to_memory(&wrong);
        Ok(())
    });
    job.unwrap().stop_gracefully().unwrap();
    (rows.rows(), bad.rows())
}

#[test]
fn trees_and_patterns_are_read_once_through_restarts_and_new_directories_are_found() {
    for workers in [1, 2, 4] {
        let (dir, checkpoint) = (TempDir::made("file-trees"), TempDir::made("file-trees-checkpoint"));
        put(&dir, "2025-12/a.log", "a\n");
        put(&dir, "2026-01/b.log", "b\n");
        put(&dir, "2026-01/deep/c.log", "c\n");
        put(&dir, "other/d.log", "d\n");
        let tree = || TextFileSource::new(format!("file://{}/2026-*", dir.display())).existing(true).recursive(true);
        let now = || read(builder(workers, &checkpoint), tree().accept(|path| path.ends_with(".log"))).0;
        assert_eq!(BTreeSet::from_iter(now()), BTreeSet::from(["b".into(), "c".into()]));
        put(&dir, "2026-02/deep/er/e.log", "e\n");
        put(&dir, "2026-02/f.txt", "f\n");
        assert_eq!(now(), ["e"]);
        // A directory appears while the job runs.
        let (rows, files) = (MemorySink::new(), tree());
        let out = rows.clone();
        let job = builder(workers, &checkpoint).start(move |ssc| {
            ssc.text_file_stream_with(files.clone()).to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        put(&dir, "2026-03/a.log", "g\n");
        eventually("the new file is read", || rows.rows().contains(&"g".to_owned()));
        job.stop_gracefully().unwrap();
        assert_eq!(now(), Vec::<String>::new());
    }
}

#[test]
fn a_pattern_that_is_not_closed_and_a_missing_root_are_errors() {
    let dir = TempDir::made("file-patterns");
    for (path, says) in [("x-[a", "bracket is not closed"), ("none/x-*", "cannot be read")] {
        let path = dir.join(path);
        let started = StreamingContext::builder("files", millis(100)).without_checkpoint().start(move |ssc| {
            ssc.text_file_stream(&path).to_memory(&MemorySink::new());
            Ok(())
        });
        let e = started.map(drop).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn zstandard_is_unpacked_and_damage_is_a_bad_record() {
    let dir = TempDir::made("file-zstd");
    let byte = |at: usize| u8::from_str_radix(&PACKED[at..at + 2], 16).unwrap();
    let packed: Vec<u8> = (0..PACKED.len()).step_by(2).map(byte).collect();
    put(&dir, "a", &packed);
    put(&dir, "b.zst", [&packed[..], &packed].concat());
    put(&dir, "c", &packed[..packed.len() - 6]);
    let mut broken = packed.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    put(&dir, "d", broken);
    let files = TextFileSource::new(&*dir).existing(true);
    let (rows, bad) = read(StreamingContext::builder("zstd", millis(100)).without_checkpoint(), files);
    // The damaged files give what is before the damage.
    assert!(rows.len() >= 6 && rows[..6].chunks(2).all(|two| two == ["to be", "or not"]), "{rows:?}");
    assert!(rows.iter().all(|row| ["to be", "or not"].contains(&&**row)), "{rows:?}");
    let origins: BTreeSet<&str> = bad.iter().map(|bad| bad.origin.rsplit('/').next().unwrap()).collect();
    assert_eq!(origins, BTreeSet::from(["c", "d"]));
    assert!(bad.iter().all(|bad| bad.reason.contains("damaged")), "{bad:?}");
}

#[test]
fn the_newest_files_come_first_and_old_ones_not_at_all() {
    let dir = TempDir::made("file-ages");
    for (name, age) in [("old", 10_000), ("c", 30), ("a", 60), ("b", 90)] {
        aged(&dir, name, age);
    }
    let files = || TextFileSource::new(&*dir).existing(true).max_age(secs(5_000));
    let job = || StreamingContext::builder("ages", millis(100)).without_checkpoint();
    assert_eq!(read(job(), files()).0, ["b", "a", "c"]);
    // One file a batch, so that the order of files is that of batches.
    assert_eq!(read(job().batch_bytes(1), files().newest_first(true)).0, ["c", "a", "b"]);
}

#[test]
fn records_of_a_fixed_length_are_read_once_through_restarts() {
    for workers in [1, 2, 4] {
        let (dir, checkpoint) = (TempDir::made("file-records"), TempDir::made("file-records-checkpoint"));
        let now = || {
            let (rows, bad) = (MemorySink::new(), MemorySink::new());
            let (out, wrong, files) = (rows.clone(), bad.clone(), TextFileSource::new(&*dir).existing(true));
            let job = builder(workers, &checkpoint).start(move |ssc| {
                let records = ssc.binary_records_stream_with(files.clone(), 4);
                records.map(|r| u32::from_be_bytes(r.try_into().unwrap())).to_memory(&out);
                records.errors().map(|bad| (bad.offset, bad.raw)).to_memory(&wrong);
                Ok(())
            });
            job.unwrap().stop_gracefully().unwrap();
            (rows.rows(), bad.rows())
        };
        let bytes: Vec<u8> = (0..50_000u32).flat_map(u32::to_be_bytes).collect();
        put(&dir, "a", &bytes);
        assert_eq!(now(), ((0..50_000).collect(), vec![]));
        // What looks packed is not unpacked, and a byte order mark is part of a record.
        put(&dir, "b", [0x1f, 0x8b, 0, 1, 0xef, 0xbb, 0xbf, 0, 9, 9]);
        assert_eq!(now(), (vec![0x1f8b_0001, 0xefbb_bf00], vec![(8, vec![9, 9])]));
    }
}

#[test]
fn packed_parts_are_read_again_and_written_once() {
    for workers in [1, 2, 4] {
        let (dir, checkpoint) = (TempDir::made("file-gzip"), TempDir::made("file-gzip-checkpoint"));
        let (queue, out) = (QueueSource::from_batches([vec!["tide", "mill"], vec!["race"]]), dir.join("words"));
        let job = builder(workers, &checkpoint).start(move |ssc| {
            let words = ssc.queue_stream(&queue).map(str::to_owned);
            words.save_as_text_files_with(TextFileSink::new(&out).suffix("txt").skip_empty().gzip());
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        let files = TextFileSource::new(&*dir).existing(true).recursive(true).accept(|name| name.ends_with(".gz"));
        let (rows, bad) = read(StreamingContext::builder("gzip", millis(100)).without_checkpoint(), files);
        assert_eq!(
            (rows.into_iter().collect::<BTreeSet<_>>(), bad.len()),
            (["mill", "race", "tide"].map(str::to_owned).into(), 0)
        );
    }
}

#[test]
fn whole_files_are_read_once_through_restarts() {
    for workers in [1, 2, 4] {
        let (dir, checkpoint) = (TempDir::made("file-whole"), TempDir::made("file-whole-checkpoint"));
        let now = || {
            let rows = MemorySink::new();
            let (out, files) = (rows.clone(), TextFileSource::new(&*dir).existing(true));
            let job = builder(workers, &checkpoint).start(move |ssc| {
                let files = ssc.binary_files_stream_with(files.clone());
                files.map(|(path, bytes)| (path.rsplit('/').next().unwrap().to_owned(), bytes)).to_memory(&out);
                Ok(())
            });
            job.unwrap().stop_gracefully().unwrap();
            let mut rows = rows.rows();
            rows.sort();
            rows
        };
        // More than one call of the reader takes.
        let long: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        put(&dir, "a", &long);
        put(&dir, "b", [0x1f, 0x8b, 10]);
        assert_eq!(now(), [("a".to_owned(), long), ("b".to_owned(), vec![0x1f, 0x8b, 10])], "{workers} workers");
        put(&dir, "c", [1]);
        assert_eq!(now(), [("c".to_owned(), vec![1])], "{workers} workers");
    }
}

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Sale {
    item: String,
    amount: i64,
}

#[test]
fn csv_files_have_headers_and_lines_that_are_no_record_are_bad_records() {
    let dir = TempDir::made("file-csv");
    put(&dir, "a.csv", "amount,item,note\n3,\"nuts, mixed\",\n-4,\"a \"\"b\"\"\",x\r\n");
    put(&dir, "b.csv", "amount,item,note\nx,oil,\n5,salt\n\"6\",rye,y");
    for workers in [1, 2, 4] {
        let (rows, bad) = (MemorySink::new(), MemorySink::new());
        let (out, wrong, files) = (rows.clone(), bad.clone(), TextFileSource::new(&*dir).existing(true).header(true));
        let job = StreamingContext::builder("csv", millis(100)).workers(workers).without_checkpoint().start(move |ssc| {
            let lines = ssc.text_file_stream_with(files.clone());
            let sales = lines.decode(Csv::<Sale>::new().columns(["amount", "item", "note"]));
            sales.to_memory(&out);
            sales.errors().map(|bad| (bad.offset, bad.reason)).to_memory(&wrong);
            Ok(())
        });
        job.unwrap().stop_gracefully().unwrap();
        let sale = |item: &str, amount| Sale { item: item.into(), amount };
        let mut seen = rows.rows();
        seen.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(seen, [sale("a \"b\"", -4), sale("nuts, mixed", 3), sale("rye", 6)]);
        let mut bad = bad.rows();
        bad.sort();
        assert_eq!(bad.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [17, 24]);
        assert!(bad[0].1.contains("field amount") && bad[1].1.contains("2 fields, and there are 3 columns"), "{bad:?}");
    }
}

/// The last batches of a graceful stop are sealed before their time. They have all files that waited, however few one of them may have.
#[test]
fn a_graceful_stop_reads_all_files_that_wait_however_few_a_batch_takes() {
    for workers in [1, 2] {
        let (dir, checkpoint) = (TempDir::made("file-few"), TempDir::made("file-few-checkpoint"));
        let files = TextFileSource::new(dir.display().to_string()).max_files(1);
        let (rows, clock) = (MemorySink::new(), ManualClock::at(0));
        let (out, source) = (rows.clone(), files.clone());
        let job = builder(workers, &checkpoint).start_on_clock(clock.clone(), move |ssc| {
            ssc.text_file_stream_with(source.clone()).to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        clock.set(100);
        eventually("the first batch is over", || job.statistics().batches == 1);
        ["a", "b", "c"].iter().for_each(|name| put(&dir, name, format!("{name}\n")));
        clock.set(200);
        eventually("the second batch has seen the files", || job.statistics().batches == 2);
        // They have settled, and the third batch has not ended.
        clock.set(295);
        job.stop_gracefully().unwrap();
        let batches: Vec<Vec<String>> =
            rows.batches().into_iter().map(|(_, rows)| rows).filter(|rows| !rows.is_empty()).collect();
        assert_eq!(batches, [["a"], ["b"], ["c"]], "{workers} workers");
    }
}
