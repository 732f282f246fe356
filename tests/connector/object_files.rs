//! `save_as_object_files`, read back by `object_file_stream`.

use std::path::Path;

use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::harness::bag;
use crate::temp_dir::TempDir;

type Pair = (String, i64);

/// The rows of the object files in a directory, and the reasons of those that are bad.
fn read<T: Exchange + Sync>(dir: &Path, workers: u16) -> (Vec<T>, Vec<String>) {
    let (good, bad) = (MemorySink::new(), MemorySink::new());
    let (rows, errors, dir) = (good.clone(), bad.clone(), dir.to_owned());
    let job = StreamingContext::builder("read", millis(20)).workers(workers).without_checkpoint();
    let build = move |ssc: &StreamingContext<'_>| {
        let (oks, bad) = ssc.object_file_stream::<T>(&dir).split();
        oks.to_memory(&rows);
        bad.map(|bad| bad.reason).to_memory(&errors);
        Ok(())
    };
    job.start(build).unwrap().stop_gracefully().unwrap();
    (good.rows(), bad.rows())
}

#[test]
fn rows_come_back_as_they_were() {
    let row = |text: &str, n| (text.to_owned(), n);
    let batches = vec![
        vec![row("", i64::MIN), row("a\nb\r", 0), row("नमस्ते", -1), row("b", 7), row("b", 7)],
        vec![],
        (0..100).map(|n| row("many", n)).collect::<Vec<Pair>>(),
    ];
    for workers in [1, 2, 4] {
        let dir = TempDir::made("objects");
        let (prefix, given) = (dir.join("rows"), batches.clone());
        let job = StreamingContext::builder("save", millis(1)).workers(workers).without_checkpoint();
        let build = move |ssc: &StreamingContext<'_>| {
            let rows = ssc.test_stream(given.clone());
            rows.save_as_object_files(&prefix, "");
            rows.reduce_by_key(|a, b| a + b).save_as_object_files(&prefix, "sums");
            Ok(())
        };
        job.start_on_clock(ManualClock::at(0), build).unwrap().await_termination().unwrap();
        for (n, batch) in (1..).zip(&batches) {
            let (rows, bad) = read::<Pair>(&dir.join(format!("rows-{n}")), workers);
            assert_eq!((bag(rows), bad), (bag(batch.clone()), vec![]), "batch {n} at {workers} workers");
        }
        let (sums, _) = read::<Pair>(&dir.join("rows-3.sums"), workers);
        assert_eq!(sums, [row("many", 4_950)]);
    }
}

#[test]
fn what_is_no_row_is_a_bad_record() {
    let dir = TempDir::made("objects");
    std::fs::write(dir.join("part-00000"), "0161000d\n0161zz\n016\n01\n0161ff\n").unwrap();
    let (rows, reasons) = read::<Pair>(&dir, 2);
    assert_eq!(rows, []);
    let said = ["1 bytes follow the row", "is not hexadecimal", "is not hexadecimal", "", ""];
    assert!(reasons.len() == said.len() && reasons.iter().zip(said).all(|(reason, said)| reason.contains(said)), "{reasons:?}");
}
