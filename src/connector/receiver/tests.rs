use std::sync::mpsc::{self, channel};

use super::*;
use crate::checkpoint::received_log::ReceivedLog;
use crate::checkpoint::{Checkpoints, Origin, Settings};
use crate::core::plan::{Limits, RunId, SplitRange};
use crate::core::time::secs;
use crate::testing::temp_dir::TempDir;

/// Hands its handle to the test.
struct Pushed(mpsc::Sender<ReceiverHandle<String>>);

impl Receiver for Pushed {
    type Item = String;

    fn name(&self) -> String {
        "words".into()
    }

    fn on_start(&mut self, to: ReceiverHandle<String>) -> Result<(), BoxError> {
        Ok(self.0.send(to)?)
    }
}

/// A reader without an engine, on split 3 from this record on, and what it waits for.
struct Alone {
    reader: ReceiverReader<Pushed>,
    handles: mpsc::Receiver<ReceiverHandle<String>>,
    woken: mpsc::Receiver<()>,
    rows: Vec<String>,
}

impl Alone {
    fn new(log: Option<(&TempDir, RunId)>, from: Option<i64>) -> Self {
        let ((starts, handles), (wakes, woken)) = (channel(), channel());
        let split = Own::new("words", log.is_some());
        let waker: crate::connector::source::Waker = Arc::new(move || {
            let _ = wakes.send(());
        });
        let mut reader = ReceiverReader::new(Pushed(starts), split.clone(), log.map(|(dir, _)| dir.to_path_buf()), waker);
        reader.assign(3, &split.0, from).unwrap();
        if let Some((_, run)) = log {
            reader.begin(run).unwrap();
        }
        reader.limit(Limits::default());
        Alone { reader, handles, woken, rows: Vec::new() }
    }

    fn read(&mut self) -> bool {
        let rows = &mut self.rows;
        self.reader.read(&mut |split, new, _| rows.extend((split == 3).then_some(new).into_iter().flatten())).unwrap()
    }

    /// Reads until this many rows have come.
    fn read_until(&mut self, rows: usize) {
        while self.rows.len() < rows {
            if !self.read() && self.rows.len() < rows {
                self.woken.recv_timeout(secs(300)).expect("a row wakes the worker");
            }
        }
    }
}

/// A checkpoint directory, and its next run.
fn run(dir: &TempDir) -> (Checkpoints, RunId) {
    let (checkpoints, recovered) = Checkpoints::open(dir, Settings::new("words", secs(1))).unwrap();
    if recovered.genesis.is_none() {
        checkpoints.begin(Origin::default()).unwrap();
    }
    let (directory, generation) = checkpoints.chunks().unwrap().id();
    (checkpoints, RunId { directory: directory.0, generation })
}

/// The sender offers four times what may wait. It goes on only as the worker reads.
#[test]
fn e7_a_slow_worker_slows_the_sender_and_the_bound_holds() {
    let dir = TempDir::new("receiver-bound");
    let (_held, run) = run(&dir);
    for log in [None, Some((&dir, run))] {
        let mut alone = Alone::new(log, Some(0));
        alone.read();
        let handle = alone.handles.recv().unwrap();
        let (row, rows) = ("x".repeat(1 << 10), 4 * (shared::BUFFER >> 10));
        let sender = std::thread::spawn(move || (0..rows / 64).try_for_each(|_| handle.store_many(vec![row.clone(); 64])));
        while alone.rows.len() < rows {
            assert!(alone.reader.held() < shared::BUFFER + (128 << 10), "{}", alone.reader.held());
            alone.read();
        }
        sender.join().unwrap().unwrap();
        assert_eq!(alone.reader.held(), 0);
    }
}

/// Many threads store single rows. Each is in the log before its `store` returns, and the worker reads the order of the log.
#[test]
fn rows_of_many_threads_are_logged_together_and_read_in_the_order_of_the_log() {
    let dir = TempDir::new("receiver-group");
    let (held, first) = run(&dir);
    let mut alone = Alone::new(Some((&dir, first)), Some(0));
    alone.read();
    let handle = alone.handles.recv().unwrap();
    let logged = || {
        let log = ReceivedLog::open(&dir, first, "receiver words").unwrap();
        let (mut rows, mut blocks) = (Vec::new(), 0);
        log.read(0, |block| {
            blocks += 1;
            let (new, _) = supervisor::decoded::<String>("words", &block, 0)?;
            rows.extend(new);
            Ok(true)
        })
        .unwrap();
        (rows, blocks)
    };
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (handle, logged) = (handle.clone(), &logged);
            scope.spawn(move || {
                for n in 0..20 {
                    let row = format!("{thread} {n}");
                    handle.store(row.clone()).unwrap();
                    assert!(n % 10 > 0 || logged().0.contains(&row), "{row} is not in the log");
                }
            });
        }
    });
    alone.read_until(320);
    let (rows, blocks) = logged();
    assert_eq!(alone.rows, rows);
    assert!(blocks < 320, "no two rows shared a sync");
    // The next run begins anywhere, also inside a block.
    drop((alone, held));
    let (_held, second) = run(&dir);
    let mut again = Alone::new(Some((&dir, second)), Some(101));
    again.read_until(219);
    assert_eq!(again.rows, rows[101..]);
    again.handles.recv().unwrap().store("new".into()).unwrap();
    again.read_until(220);
    assert_eq!(again.reader.seal(&mut |_, _, _| ()).unwrap().ranges, [(3, 101..321)].into());
}

#[test]
fn given_ranges_beyond_the_log_or_out_of_order_are_errors() {
    let dir = TempDir::new("receiver-ranges");
    let (held, run) = run(&dir);
    let mut alone = Alone::new(Some((&dir, run)), Some(0));
    alone.read();
    alone.handles.recv().unwrap().store_many(["a", "b", "c"].map(String::from)).unwrap();
    drop((alone, held));
    let (_held, run) = self::run(&dir);
    let range = |from, until| SplitRange { split: Own::new("words", true).0, from, until };
    let mut alone = Alone::new(Some((&dir, run)), Some(0));
    let mut rows = Vec::new();
    while !alone.reader.read_range(3, &range(0, 2), &mut |_, new, _| rows.extend(new)).unwrap() {
        alone.woken.recv().unwrap();
    }
    assert_eq!(rows, ["a", "b"]);
    let e = alone.reader.read_range(3, &range(1, 3), &mut |_, _, _| ()).unwrap_err().to_string();
    assert!(e.contains("records from 1 on are planned, but its next record is 2"), "{e}");
    // The receiver starts when the log is read.
    let _handle = alone.handles.recv().unwrap();
    let e = alone.reader.read_range(3, &range(2, 4), &mut |_, _, _| ()).unwrap_err().to_string();
    assert!(e.contains("up to 4 are planned, but its log ends before record 3"), "{e}");
}

#[test]
fn given_plans_name_a_receiver_without_a_log_as_they_name_a_socket() {
    let given = |from: &str| Split::Received { from: from.into() };
    Own::new("words", false).check(&given("receiver words")).unwrap();
    let e = Own::new("words", false).check(&given("receiver lines")).unwrap_err().to_string();
    assert!(e.contains("receivers keep their names"), "{e}");
    let e = Own::new("words", true).check(&given("receiver words")).unwrap_err().to_string();
    assert!(e.contains("writeAheadLog.enable=false"), "{e}");
}

#[test]
fn a_limit_holds_for_the_open_batch_and_a_long_row_is_refused() {
    let mut alone = Alone::new(None, Some(0));
    alone.reader.limit(Limits::each(2));
    alone.read();
    let handle = alone.handles.recv().unwrap();
    handle.store_many(["a", "b", "c"].map(String::from)).unwrap();
    let long = "x".repeat(17 << 20);
    assert!(matches!(handle.store(long), Err(StoreError::TooLong(_))));
    alone.read_until(2);
    assert!(!alone.read());
    assert_eq!(alone.reader.seal(&mut |_, _, _| ()).unwrap().lag, [(3, 1)].into());
    alone.reader.limit(Limits::each(2));
    alone.read_until(3);
    assert_eq!(alone.rows, ["a", "b", "c"]);
}
