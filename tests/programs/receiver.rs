//! The example `examples/receiver.rs` is killed at any point and started again, while a sender sends again what was not acknowledged. No
//! acknowledged line is missing, other lines come at most once more for each time that they were sent, and batches run again with the
//! same lines.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::child::{Ended, Program, Signal, TempDir, path};

/// Lines that are sent together.
const BLOCK: u64 = 20;

/// A plain `cargo test` builds the examples.
fn start(dir: &TempDir, env: &[(&str, &str)]) -> Program {
    let program = path("examples/receiver");
    assert!(program.exists(), "{} does not exist: cargo build --example receiver", program.display());
    Program::spawn("receiver", Command::new(program).arg(dir.path()), env)
}

/// Numbers its lines, and sends those again that were not acknowledged.
#[derive(Default)]
struct Sender {
    acknowledged: u64,
    /// How often each line was sent.
    sent: BTreeMap<u64, usize>,
}

impl Sender {
    /// Sends until the connection breaks, or this many blocks are acknowledged.
    fn send(&mut self, program: &mut Program, blocks: u64) {
        // A line is written in parts: only a whole one has the whole address.
        let listens = |err: &str| {
            let whole = err.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            whole.filter_map(|line| line.strip_prefix("listening on ")).next().map(str::to_owned)
        };
        let mut address = None;
        let ended = |program: &mut Program| program.has_ended();
        while address.is_none() && !ended(program) {
            address = listens(&program.said().1);
        }
        let Some(mut peer) = address.and_then(|address| TcpStream::connect(address).ok()) else { return };
        let mut answers = BufReader::new(peer.try_clone().unwrap());
        for block in 1..=blocks {
            let numbers = self.acknowledged..self.acknowledged + BLOCK;
            numbers.clone().for_each(|n| *self.sent.entry(n).or_default() += 1);
            let lines: String = numbers.map(|n| format!("{n}\n")).collect();
            if peer.write_all(lines.as_bytes()).is_err() {
                return;
            }
            // The receiver may store a block in parts.
            let mut safe = 0;
            while safe < block * BLOCK {
                let mut answer = String::new();
                if answers.read_line(&mut answer).is_err() || !answer.ends_with('\n') {
                    return;
                }
                safe = answer.trim_end().parse().unwrap();
            }
            self.acknowledged += BLOCK;
        }
    }
}

/// The lines of each printed batch, by its time.
type Batches = BTreeMap<String, Vec<u64>>;

/// The batches of a run. A batch that another run printed before has the same lines.
fn add(all: &mut Batches, out: &str) {
    // The last batch of a killed program may be cut off.
    let complete = out.rfind("\n\n").map_or("", |end| &out[..end]);
    for block in complete.split("\n\n") {
        let Some(time) = block.lines().find_map(|line| line.strip_prefix("Time: ")) else { continue };
        let lines: Vec<u64> = block.lines().filter_map(|line| line.parse().ok()).collect();
        let known = all.entry(time.to_owned()).or_insert_with(|| lines.clone());
        assert_eq!(*known, lines, "the batch of {time} ran again with other lines");
    }
}

#[test]
fn e1_acknowledged_lines_survive_kills() {
    let dir = TempDir::new("lesson-receiver");
    let (mut sender, mut all) = (Sender::default(), Batches::new());
    let points = ["received.before:3", "received.written:3", "received.after:1", "received.after:9", "plan.written:2"];
    let points =
        points.into_iter().chain(["plan.after:3", "output:2", "manifest.before:1", "manifest.after:2", "restore.before:1"]);
    for point in points {
        let mut program = start(&dir, &[("TIDEMILL_CRASH_AT", point)]);
        sender.send(&mut program, u64::MAX);
        let Ended { code, out, err } = program.end();
        assert_eq!(code, None, "{point}: the run should have died there\n{out}{err}");
        add(&mut all, &out);
    }
    let mut program = start(&dir, &[]);
    sender.send(&mut program, 10);
    program.signal(Signal::TERM);
    let Ended { code, out, err } = program.end();
    assert_eq!(code, Some(0), "{err}");
    // The end of a program completes its last batch.
    add(&mut all, &format!("{out}\n\n"));
    let mut printed = BTreeMap::<u64, usize>::new();
    all.values().flatten().for_each(|line| *printed.entry(*line).or_default() += 1);
    let missing: Vec<u64> = (0..sender.acknowledged).filter(|line| !printed.contains_key(line)).collect();
    assert!(missing.is_empty(), "acknowledged and not printed: {missing:?} of {}", sender.acknowledged);
    for (line, times) in printed {
        let sent = sender.sent.get(&line).copied().unwrap_or(0);
        assert!(times <= sent, "line {line} was sent {sent} times and printed {times} times");
    }
    assert!(sender.acknowledged > 10 * BLOCK, "{}", sender.acknowledged);
}

#[test]
fn e5_a_full_disk_ends_the_job_before_the_acknowledgement() {
    let dir = TempDir::new("receiver-full");
    let mut program = start(&dir, &[("TIDEMILL_FAIL_AT", "received.append.sync:2-2:28")]);
    let mut sender = Sender::default();
    sender.send(&mut program, u64::MAX);
    let Ended { code, err, .. } = program.end();
    assert!(code == Some(1) && err.contains("received/") && err.contains("make room on that disk"), "{code:?} {err}");
    assert_eq!(sender.acknowledged, BLOCK);
}
