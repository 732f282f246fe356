//! The word count over Kinesis, and the generator that fills its stream.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::child::{Program, Signal, TempFile};
use crate::model::{block, by_text, counts};

/// A server of `scripts/kinesis`.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kinesis");
        let mut process = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "scripts/kinesis did not start: its output is above");
        Server { process, address: address.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIATIDEMILL"), ("AWS_SECRET_ACCESS_KEY", "of-the-tests")];

#[test]
fn kinesis_wordcount_counts_the_words_of_a_generated_stream() {
    const LINES: [&str; 4] = ["to be or not to be", "that is the question", "", "to die to sleep"];
    let server = Server::start();
    let file = TempFile::new("kinesis-lines", &LINES.map(|line| format!("{line}\n")).concat().repeat(100));
    let at = ["--endpoint-url", &server.address, "--region", "us-east-1"];
    let gen_args = ["gen", "words", "--file", file.path(), "--kinesis", "lines", "--partitions", "1"];
    let filled = Program::start_in("tidemill", gen_args.iter().chain(&at), &KEYS).end();
    assert!(filled.code == Some(0) && filled.err.contains("400 lines in stream lines"), "{}{}", filled.out, filled.err);
    // An answer has all records of the shard, so one batch has them.
    let args = ["wordcount", "lines", &server.address, "us-east-1", "--initial-position", "TRIM_HORIZON", "--interval", "300ms"];
    let mut program = Program::start_in("kinesis_wordcount", args, &KEYS);
    let words = LINES.iter().flat_map(|line| line.split(' ')).map(|word| (word, 100));
    let words = counts(words.flat_map(|(word, n)| std::iter::repeat_n(word, n)));
    let page = block("", &by_text(&words), 10);
    let rows = page.split("Time: ").nth(1).unwrap().split_once('\n').unwrap().1;
    program.until("all words are printed", |out, _| out.contains(rows));
    program.signal(Signal::TERM);
    let ended = program.end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn a_generator_says_what_it_needs() {
    let said = |args: &[&str]| {
        let ended = Program::start_in("tidemill", ["gen", "words"].iter().chain(args), &KEYS).end();
        assert_ne!(ended.code, Some(0), "{args:?}");
        ended.err
    };
    assert!(said(&["--key", "word"]).contains("--brokers or --kinesis"));
    assert!(said(&["--kinesis", "s", "--endpoint-url", "127.0.0.1:1"]).contains("neither http:// nor https://"));
    assert!(said(&["--kinesis", "s", "--brokers", "h:1"]).contains("cannot be used with"));
}
