//! Programs with unusual input: very many partitions, very many files, a very large file, and no input at all.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::Broker;
use crate::child::{PATIENCE, Program, Signal, TempDir};

const LINE: &str = "10.0.0.7 - - [01/Aug/1995:00:00:02 -0400] \"GET /a HTTP/1.1\" 200 1\n";
const MIB: u64 = 1 << 20;

/// The peak memory of a process, in bytes.
fn most_memory(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The lines that `weblog` has counted so far.
fn counted(out: &str) -> u64 {
    let counts = out.lines().filter_map(|l| l.strip_prefix("method this batch:\tValue GET\tCount "));
    counts.map(|n| n.parse::<u64>().unwrap()).sum()
}

/// Runs `weblog` over files that `make` puts into its directory, until it has counted all their lines. Returns the number of
/// batches with lines, and the peak memory.
fn files(name: &str, patience: Duration, make: impl FnOnce(&Path) -> u64) -> (usize, u64) {
    let dir = TempDir::new(name);
    fs::create_dir_all(dir.path()).unwrap();
    let args = ["--dir", dir.path(), "--interval", "100ms", "--window", "100ms", "--time-zone", "UTC", "-w", "2"];
    let mut job = Program::start("weblog", args);
    // The job does not read files that exist when it starts.
    job.until("its first batch", |out, _| out.contains("Time: "));
    let lines = make(Path::new(dir.path()));
    let begun = Instant::now();
    while counted(&job.said().0) < lines {
        assert!(begun.elapsed() < patience, "{} of {lines} lines", counted(&job.said().0));
        std::thread::sleep(Duration::from_millis(50));
    }
    let most = most_memory(job.id());
    job.signal(Signal::INT);
    let end = job.end();
    assert_eq!((end.code, counted(&end.out)), (Some(0), lines), "each line once: {}", end.err);
    (end.out.lines().filter(|l| l.starts_with("method this batch")).count(), most)
}

/// Writes a file with this many lines, and renames it when it is complete.
fn file(dir: &Path, name: &str, lines: u64) {
    let path = dir.join(format!(".{name}"));
    let mut out = std::io::BufWriter::with_capacity(1 << 20, fs::File::create(&path).unwrap());
    (0..lines).for_each(|_| out.write_all(LINE.as_bytes()).unwrap());
    out.flush().unwrap();
    fs::rename(path, dir.join(name)).unwrap();
}

#[test]
fn e10_many_small_files_are_all_read() {
    let (batches, most) = files("small", PATIENCE, |dir| {
        (0..3_000).for_each(|n| file(dir, &format!("{n:05}.log"), 2));
        6_000
    });
    println!("{batches} batches, {} MiB", most / MIB);
    assert!(most < 200 * MIB, "{} MiB", most / MIB);
}

/// The size of the smaller of two files.
const SMALLER: u64 = 96 * MIB;

/// Reads a file of about this size, with less memory than the size of the smaller file.
fn large(bytes: u64, patience: Duration) {
    let lines = bytes / LINE.len() as u64;
    let (_, most) = files("large", patience, |dir| {
        file(dir, "large.log", lines);
        lines
    });
    println!("{} MiB for a file of {} MiB", most / MIB, bytes / MIB);
    assert!(most < SMALLER, "{} MiB for a file of {} MiB", most / MIB, bytes / MIB);
}

#[test]
fn e10_a_large_file_is_read_in_little_memory() {
    large(SMALLER, PATIENCE);
}

#[test]
#[ignore = "nightly: a gigabyte"]
fn e10_a_file_of_a_gigabyte_is_read_in_little_memory() {
    large(1024 * MIB, 4 * PATIENCE);
}

#[test]
fn e9_a_thousand_partitions_of_one_record_beside_a_full_one() {
    const PARTITIONS: i32 = 1_000;
    const FULL: usize = 50_000;
    let broker = Broker::start();
    broker.topic("words", &[&[][..]; PARTITIONS as usize]);
    broker.topic("counts", &[&[]]);
    let p: BaseProducer = ClientConfig::new().set("bootstrap.servers", &broker.address).create().unwrap();
    let send = |partition, word: &str| {
        let value = format!("{{\"word\":\"{word}\"}}");
        while p.send(BaseRecord::<[u8], str>::to("words").payload(&value).partition(partition)).is_err() {
            p.poll(Duration::from_millis(10));
        }
    };
    (0..PARTITIONS).for_each(|partition| send(partition, "one"));
    (0..FULL).for_each(|_| send(7, "full"));
    p.flush(PATIENCE).unwrap();
    let topics = ["--in", "words", "--out", "counts", "--interval", "200ms", "-w", "2"];
    let args = [&["--brokers", &broker.address][..], &topics].concat();
    let mut job = Program::start("kafka_wordcount", args);
    let last = |word: &str| {
        let records = broker.read("counts", 1).remove(0);
        records.into_iter().rev().find(|(key, _)| key == word).map(|(_, value)| value)
    };
    let ends = [r#"{"word":"one","count":1000}"#, r#"{"word":"full","count":50000}"#];
    job.until("every record of every partition", |_, _| {
        (last("one").as_deref(), last("full").as_deref()) == (Some(ends[0]), Some(ends[1]))
    });
    job.signal(Signal::INT);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert_eq!(
        (last("one").unwrap(), last("full").unwrap()),
        (ends[0].to_owned(), ends[1].to_owned()),
        "no record was counted twice"
    );
}

/// User and system time of a process, in seconds.
fn cpu(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    // Fields 14 and 15 of the file, in hundredths of a second (proc_pid_stat(5)).
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[test]
#[ignore = "nightly: it watches an idle job for a minute"]
fn e8_an_idle_job_needs_little_cpu_time() {
    let broker = Broker::start();
    broker.topic("weblogs", &[&[][..]; 4]);
    let args = ["--brokers", &broker.address, "--interval", "1s", "--window", "60s", "--time-zone", "UTC"];
    let mut job = Program::start("weblog", args);
    job.until("its first batch", |out, _| out.contains("Time: "));
    let batches = |out: &str| out.matches("Server errors this batch: 0").count();
    let (begun, before, until) = (Instant::now(), cpu(job.id()), batches(&job.said().0) + 60);
    job.until("sixty more batches", |out, _| batches(out) >= until);
    let share = (cpu(job.id()) - before) / begun.elapsed().as_secs_f64();
    println!("{:.2} % of a core", 100.0 * share);
    assert!(share < 0.02, "{:.2} % of a core", 100.0 * share);
    job.signal(Signal::INT);
    assert_eq!(job.end().code, Some(0));
}
