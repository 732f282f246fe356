//! Errors as a user sees them. The program ends soon with exit code 1. Its last line names the thing, the value and the remedy.
//!
//! Errors that no flag of a program can cause (a refused Kafka setting, a start offset outside the log) are in
//! `tests/kafka/job.rs`.

use std::net::TcpListener;

use crate::broker::Broker;
use crate::child::{Ended, Program, TempFile, addresses, hostfile};

/// An address that no program may use, because it must report the error first.
const NOBODY: &str = "127.0.0.1:1";

/// The last line, without the program's name. Only log lines may precede it, for example of librdkafka or of a second try.
#[track_caller]
fn last_words(program: &str, end: &Ended) -> String {
    let Ended { code, out, err } = end;
    assert_eq!((*code, out.as_str()), (Some(1), ""), "{program}: {err}");
    let lines: Vec<&str> = err.lines().filter(|l| !l.contains(" ERROR librdkafka: ") && !l.contains("  WARN ")).collect();
    let [line] = lines[..] else { panic!("{program}: not one line: {err}") };
    assert!(!line.contains("panicked"), "{line}");
    line.strip_prefix(&format!("{program}: "))
        .unwrap_or_else(|| panic!("the line does not begin with {program}: {line}"))
        .to_owned()
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

/// Runs a program that must fail.
#[track_caller]
fn refused(program: &str, args: &[&str]) -> String {
    last_words(program, &Program::start(program, args).end())
}

#[test]
fn g1_a_window_that_is_not_a_multiple_of_the_batch_interval() {
    for program in ["tweets", "weblog"] {
        let line = refused(program, &["--brokers", NOBODY, "--interval", "5s", "--window", "7s"]);
        has(&line, &["count_by_value_and_window (", "7000 ms", "multiple of the batch interval, 5000 ms", "nearest is 5000 ms"]);
        assert_eq!(line.matches("count_by_value_and_window").count(), 1, "the line names each error once: {line}");
    }
}

#[test]
fn c22_a_missing_topic() {
    let broker = Broker::start();
    broker.topic("words", &[&[]]);
    let line = refused("tweets", &["--brokers", &broker.address, "--topic", "twiter"]);
    has(&line, &[&broker.address, "there is no topic twiter", "create it first"]);
    let line = refused("kafka_wordcount", &["--brokers", &broker.address, "--in", "words", "--out", "cuonts"]);
    has(&line, &[&broker.address, "there is no topic cuonts", "create it first"]);
}

#[test]
fn c1_brokers_that_cannot_be_reached() {
    // A port without a listener, and a name that does not resolve.
    let refuses = addresses(1).remove(0);
    let names = [(refuses.as_str(), "Connection refused"), ("no-such-host.invalid:9092", "Failed to resolve")];
    let start = |(brokers, _)| Program::start("tweets", ["--brokers", brokers]);
    let programs = names.map(start);
    for (program, (brokers, why)) in programs.into_iter().zip(names) {
        let line = last_words("tweets", &program.end());
        has(&line, &[&format!("Kafka at {brokers}"), why, "check the address", "that a broker listens there"]);
    }
}

#[test]
fn invalid_plans() {
    let broker = Broker::start();
    broker.topic("lines", &[&[Some(b"one"), Some(b"two")]]);
    let plans = |text: &str| {
        let file = TempFile::new("plans", text);
        refused("direct_kafka_wordcount", &[&broker.address, "lines", "--plans", file.path()])
    };
    let range = |from, until| format!(r#"{{"topic":"lines","partition":0,"from":{from},"until":{until}}}"#);
    // An offset outside the log, a missing partition, a missing topic, a missing source, and a range of another kind.
    let line = plans(&format!(r#"{{"time":2000,"ranges":[{}]}}"#, range(0, 3)));
    has(&line, &[&broker.address, "topic lines, partition 0", "[0, 3)", "the log holds 0 to 2"]);
    let line = plans(r#"{"time":2000,"ranges":[{"topic":"lines","partition":1,"from":0,"until":1}]}"#);
    has(&line, &[&broker.address, "topic lines, partition 1", "partitions are 0 to 0"]);
    let line = plans(r#"{"time":2000,"ranges":[{"topic":"lnes","partition":0,"from":0,"until":1}]}"#);
    has(&line, &[&broker.address, "there is no topic lnes", "create it first"]);
    has(&plans(r#"{"time":2000,"ranges":[{"received":"x:1","from":0,"until":1}]}"#), &["x:1 is not a Kafka partition"]);
    has(&plans(r#"{"time":2000,"ranges":[{"source":1,"topic":"lines","from":0,"until":1}]}"#), &["source 1 does not exist"]);
    let line = plans("{\"time\":2000}\n{\"time\":3000}\n");
    has(&line, &["line 2", "time 3000", "batch interval, 2000 ms"]);
    let line = plans(&format!(r#"{{"time":2000,"ranges":[{}]}}"#, range(2, 1)));
    has(&line, &["line 1", "[2, 1)"]);
    let line = refused("network_wordcount", &["--plans", "/no/such/file"]);
    has(&line, &["--plans /no/such/file", "No such file"]);
}

#[test]
fn invalid_hostfiles() {
    let hosts = |text: &str| {
        let file = TempFile::new("hosts", text);
        let line = refused("tweets", &["--brokers", NOBODY, "-n", "2", "-p", "1", "--hostfile", file.path()]);
        has(&line, &[file.path()]);
        line
    };
    has(&hosts("127.0.0.1:2101\nlocalhost\n"), &["line 2", "\"localhost\"", "host:port", "127.0.0.1:2101"]);
    has(&hosts("127.0.0.1:2101\n\n10.1.2.3:2102\n"), &["line 3", "\"10.1.2.3:2102\"", "not a loopback", "127.0.0.1:2102"]);
    has(&hosts("127.0.0.1:2101\n127.0.0.1:2101\n"), &["line 2", "127.0.0.1:2101", "its own port"]);
    has(&hosts("127.0.0.1:2101\n"), &["1 of the 2 addresses", "one host:port a line"]);
    has(&hosts("127.0.0.1:2101\n::1:2102\n"), &["line 2", "\"::1:2102\"", "[::1]:2101 for IPv6"]);
    let unknown = TempFile::new("hosts", "127.0.0.1:2101\nno-such-host.invalid:2102\n");
    let args = ["-n", "2", "-p", "0", "--hostfile", unknown.path(), "--connect-timeout", "500ms"];
    has(&refused("network_wordcount", &args), &["line 2", "no-such-host.invalid:2102", "cannot be resolved", "correct the name"]);
    let line = refused("tweets", &["--brokers", NOBODY, "-n", "2", "-p", "1", "--hostfile", "/no/such/file"]);
    has(&line, &["hostfile /no/such/file", "No such file"]);
    let line = refused("tweets", &["--brokers", NOBODY, "-n", "2", "-p", "2"]);
    has(&line, &["-p 2", "-n 2", "from 0 to 1"]);
}

#[test]
fn d7_secrets_that_differ_and_files_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let secret = |text: &str, mode| {
        let file = TempFile::new("secret", text);
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        file
    };
    let (one, two) = (secret("hunter2-canary-number-one\n", 0o600), secret("hunter2-canary-number-two\n", 0o600));
    let all = addresses(2);
    let start =
        |p, file: &TempFile| process(p, &all, "network_wordcount", &["--secret-file", file.path(), "--connect-timeout", "3s"]);
    let ((zero, _hosts), (other, _also)) = (start("0", &one), start("1", &two));
    for (program, of) in [(other, "process 0 at"), (zero, "a process at")] {
        let end = program.end();
        assert!(!format!("{}{}", end.out, end.err).contains("hunter2"), "{}", end.err);
        has(
            &last_words("network_wordcount", &end),
            &[of, "has another secret than this one", "--secret-file or TIDEMILL_SECRET"],
        );
    }
    let open = secret("hunter2-canary-number-one\n", 0o644);
    let line = refused("network_wordcount", &["-n", "2", "--secret-file", open.path()]);
    has(&line, &[open.path(), "mode 644", "chmod 600"]);
    // With a secret, the hostfile may have addresses of other machines. But a process cannot listen on one.
    let hosts = TempFile::new("hosts", "192.0.2.7:2101\n192.0.2.8:2101\n");
    let line = refused("network_wordcount", &["-n", "2", "--hostfile", hosts.path(), "--secret-file", one.path()]);
    has(&line, &["process 0 cannot listen on 192.0.2.7:2101", "an address of this machine"]);
}

/// Process `p` of two with these addresses.
fn process(p: &str, addresses: &[String], program: &str, args: &[&str]) -> (Program, TempFile) {
    let hosts = hostfile(addresses);
    let flags = ["-n", "2", "-p", p, "--hostfile", hosts.path()];
    (Program::start(program, args.iter().chain(&flags)), hosts)
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = taken.local_addr().unwrap().to_string();
    let (program, _hosts) = process("0", &[own.clone(), addresses(1).remove(0)], "network_wordcount", &[]);
    let line = last_words("network_wordcount", &program.end());
    has(&line, &["process 0", &own, "taken", "-p 0", "another port in the hostfile"]);
}

#[test]
fn two_processes_with_the_same_index() {
    let all = addresses(2);
    let (mut first, _hosts) = process("1", &all, "network_wordcount", &[]);
    let listening = |address: &str| std::net::TcpStream::connect(address).is_ok();
    first.until("it listens", |_, _| listening(&all[1]));
    let (second, _hosts) = process("1", &all, "network_wordcount", &[]);
    let line = last_words("network_wordcount", &second.end());
    has(&line, &["process 1", &all[1], "taken", "another process was started with -p 1", "stop one of them"]);
    first.until("it still waits", |_, err| err.is_empty());
}

#[test]
fn different_programs_and_different_graphs() {
    let both = |a: (&str, &[&str]), b: (&str, &[&str])| {
        let all = addresses(2);
        let (first, _hosts) = process("0", &all, a.0, a.1);
        let (second, _hosts) = process("1", &all, b.0, b.1);
        [(a.0, first), (b.0, second)].map(|(name, program)| last_words(name, &program.end()))
    };
    for line in both(("network_wordcount", &[]), ("stateful_network_wordcount", &[])) {
        has(&line, &["process ", "(program ", "start all with the same build"]);
    }
    // The same program with other arguments.
    let lines = both(("stateful_network_wordcount", &[]), ("stateful_network_wordcount", &["--view"]));
    for (p, line) in ["process 1", "process 0"].iter().zip(&lines) {
        has(line, &[p, "another graph: line", "update_state_by_key", "the same program from the same arguments"]);
    }
    for line in both(("network_wordcount", &["localhost", "9999"]), ("network_wordcount", &["localhost", "9998"])) {
        has(&line, &["localhost:9999", "localhost:9998", "the same program from the same arguments"]);
    }
    for line in both(("network_wordcount", &["-w", "2"]), ("network_wordcount", &["-w", "3"])) {
        has(&line, &["-w 2", "-w 3", "start all with the same"]);
    }
}
