//! The word counts from a socket: with given batches, compared byte for byte, and live.
//!
//! A socket cannot be read twice. But with `--plans` the batches are given: a range `received` waits for a number of lines. The test
//! sends the same lines to each run.

use std::io::Write as _;
use std::net::TcpListener;

use serde_json::json;

use crate::broker::Value;
use crate::child::{Program, Signal};
use crate::golden::{self, Layout};
use crate::model::{Batch, Counts, Input, block, by_text, counts, last, ranked, shown};

const fn line(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// Sends lines to the first client. The connection stays open until the server is dropped.
struct Server {
    port: u16,
    _thread: std::thread::JoinHandle<()>,
    _open: std::sync::mpsc::Sender<()>,
}

impl Server {
    fn new(bytes: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, until) = std::sync::mpsc::channel();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&bytes).unwrap();
            let _ = until.recv();
        };
        Server { port, _thread: std::thread::spawn(serve), _open: open }
    }
}

/// Lines, among them one with CR, one that is not UTF-8, and an empty one.
const LINES: &[Value] = &[
    line("The quality of mercy is not strained,"),
    line("It droppeth as the gentle rain from heaven\r"),
    line("Upon the place beneath: it is twice blest;"),
    Some(b"no \xe9 text"),
    line(""),
    line("It blesseth  him that gives and him that takes"),
    line("\u{c9}tranger \u{2014} \u{e9}tranger, the TIDE"),
    line("mercy mercy it"),
];

const PLAY: Input = Input {
    partitions: &[LINES],
    batches: &[
        Batch { time: "1999-12-31 23:59:50", ranges: Some(&[(0, 0, 2)]) },
        Batch { time: "1999-12-31 23:59:55", ranges: Some(&[(0, 2, 5)]) },
        Batch { time: "2000-01-01 00:00:00", ranges: Some(&[(0, 5, 5)]) },
        Batch { time: "2000-01-01 00:00:05", ranges: None },
        Batch { time: "2000-01-01 00:00:10", ranges: Some(&[(0, 5, 8)]) },
    ],
};

/// A greeting in each of ten scripts, and words with quotes, a tab and a backslash.
const SCRIPTS: Input = Input {
    partitions: &[&[
        line("नमस्ते สวัสดี مَرْحَبًا שָׁלוֹם வணக்கம்"),
        line("Γειά Привіт こんにちは 안녕 e\u{301}t\u{e9} 👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}"),
        line("\"quoted\" it's a\tb C:\\new"),
    ]],
    batches: &[
        Batch { time: "2000-01-01 00:00:00", ranges: Some(&[(0, 0, 1)]) },
        Batch { time: "2000-01-01 00:00:05", ranges: Some(&[(0, 1, 2)]) },
        Batch { time: "2000-01-01 00:00:10", ranges: Some(&[(0, 2, 3)]) },
    ],
};

/// The words of each batch. `words` splits a line.
fn words_of(input: &Input, words: impl Fn(&str) -> Vec<String>) -> Vec<(&'static str, Counts)> {
    let line = |record: &Value| std::str::from_utf8((*record)?).ok().map(|line| line.strip_suffix('\r').unwrap_or(line));
    let batches = input.records();
    batches.map(|(time, records)| (time, counts(records.iter().filter_map(line).flat_map(&words)))).collect()
}

/// Runs a program that reads the lines of an input from a socket.
fn played(input: &Input, program: &str, layout: Layout, args: &[&str]) -> String {
    let all: Vec<u8> = input.partitions[0].iter().flat_map(|line| [line.unwrap(), b"\n"].concat()).collect();
    let server = Server::new(all);
    let port = server.port.to_string();
    let plans = input.plans(|_| json!({ "received": format!("127.0.0.1:{port}") }));
    let given = ["127.0.0.1", &port, "--interval", "5s", "--plans", plans.path(), "--time-zone", "UTC"];
    layout.run(program, &[&given, args].concat())
}

fn letters(line: &str) -> Vec<String> {
    let lower = line.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

#[test]
fn network_wordcount_counts_each_batch() {
    let batches = words_of(&PLAY, |line| line.split(' ').map(str::to_owned).collect());
    let page: String = batches.iter().map(|(time, words)| block(time, &by_text(words), 10)).collect();
    golden::check("network_wordcount", &page, |layout| played(&PLAY, "network_wordcount", layout, &[]));
}

#[test]
fn words_of_any_script_are_printed_as_they_were_written() {
    let batches = words_of(&SCRIPTS, |line| line.split(' ').map(str::to_owned).collect());
    let page: String = batches.iter().map(|(time, words)| block(time, &by_text(words), 10)).collect();
    golden::check("words_of_ten_scripts", &page, |layout| played(&SCRIPTS, "network_wordcount", layout, &[]));
}

#[test]
fn stateful_network_wordcount_counts_since_the_beginning() {
    let (times, words): (Vec<_>, Vec<_>) = words_of(&PLAY, letters).into_iter().unzip();
    let since = |n| last(n, &words[..n]);
    let page: String = (1..=5).map(|n| block(times[n - 1], &shown(ranked(&since(n))), 10)).collect();
    golden::check("stateful_network_wordcount", &page, |layout| played(&PLAY, "stateful_network_wordcount", layout, &[]));
}

#[test]
fn stateful_network_wordcount_with_a_view_prints_changes() {
    let (times, words): (Vec<_>, Vec<_>) = words_of(&PLAY, letters).into_iter().unzip();
    let changed = |n: usize| {
        let all = ranked(&last(n, &words[..n])).into_iter();
        all.filter(|(word, _)| words[n - 1].contains_key(word)).collect::<Vec<_>>()
    };
    let page: String = (1..=5).map(|n| block(times[n - 1], &shown(changed(n)), 10)).collect();
    golden::check("stateful_network_wordcount_view", &page, |layout| {
        played(&PLAY, "stateful_network_wordcount", layout, &["--view"])
    });
}

/// Live, as in the tutorial. The clock decides which lines a batch has, so the test checks only the form and the sum of all batches.
#[test]
fn network_wordcount_counts_lines_while_it_runs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let args = ["127.0.0.1", &port, "--interval", "100ms", "-w", "2", "--time-zone", "UTC"];
    let mut program = Program::start("network_wordcount", args);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"to be or not to be\nthat is the qu").unwrap();
    program.until("the first line is counted", |out, _| counted(out).values().sum::<i64>() == 6);
    stream.write_all(b"estion\r\n\xff\nto sleep: perchance to dream\nno end").unwrap();
    program.until("the others are counted", |out, _| counted(out).values().sum::<i64>() == 15);
    // All received bytes go into the last batch, even a line without an end.
    program.signal(Signal::INT);
    let end = program.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert_eq!(
        counted(&end.out),
        counts("to be or not to be that is the question to sleep: perchance to dream no end".split(' '))
    );
    let bad: Vec<&str> = end.err.lines().collect();
    assert!(bad.len() == 1 && bad[0].contains("WARN") && bad[0].contains(&format!("127.0.0.1:{port}")), "{}", end.err);
}

/// The sum of all complete blocks. Checks that their times are consecutive multiples of the interval.
fn counted(out: &str) -> Counts {
    let mut sum = Counts::new();
    let rule = "-".repeat(43);
    let mut before = None;
    for block in out.split_inclusive("\n\n").filter(|block| block.ends_with("\n\n")) {
        let lines: Vec<&str> = block.trim_end().lines().collect();
        assert!(lines[0] == rule && lines[2] == rule, "{block}");
        let time: jiff::Timestamp = format!("{}Z", lines[1].strip_prefix("Time: ").unwrap()).parse().unwrap();
        let time = time.as_millisecond();
        assert!(time % 100 == 0 && before.is_none_or(|before| before + 100 == time), "{block}");
        before = Some(time);
        for row in &lines[3..] {
            let (word, n) = row.strip_prefix("(\"").and_then(|r| r.strip_suffix(')')?.split_once("\", ")).unwrap();
            *sum.entry(word.into()).or_default() += n.parse::<i64>().unwrap();
        }
    }
    sum
}
