//! The tutorials' programs over a socket, as processes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Starts a program that reads a line from a socket, and returns what it writes.
fn started(program: &str) -> (Child, TcpStream, impl Iterator<Item = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut program =
        Command::new(program).args(["127.0.0.1", &port, "--interval", "200ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.write_all(b"to be or not to be\n").unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    (program, socket, lines)
}

fn killed(mut program: Child) {
    program.kill().unwrap();
    program.wait().unwrap();
}

#[test]
fn sql_network_wordcount_prints_the_tables_of_each_batch() {
    let (program, _socket, mut lines) = started(env!("CARGO_BIN_EXE_sql_network_wordcount"));
    // Batches before the line are empty tables. Rows without an order are written in that of their encoded bytes.
    let words: Vec<String> =
        lines.by_ref().skip_while(|l| !l.starts_with("|  be|")).take_while(|l| !l.starts_with("+-")).collect();
    assert_eq!(words, ["|  be|  2|", "|  or|  1|", "|  to|  2|", "| not|  1|"]);
    let total: Vec<String> = lines.by_ref().skip_while(|l| !l.starts_with("|total|")).take(4).collect();
    assert_eq!(total, ["|total|", "+-----+", "|    6|", "+-----+"]);
    assert!(lines.any(|l| l.starts_with("========= ") && l.ends_with(" =========")));
    killed(program);
}

#[test]
fn structured_network_wordcount_prints_the_whole_result_after_each_batch() {
    let (program, mut socket, mut lines) = started(env!("CARGO_BIN_EXE_structured_network_wordcount"));
    let table = |lines: &mut dyn Iterator<Item = String>, first: &str| -> Vec<String> {
        lines.skip_while(|l| l != first).take_while(|l| !l.starts_with("+-")).collect()
    };
    assert_eq!(table(&mut lines, "|  be|    2|"), ["|  be|    2|", "|  to|    2|", "| not|    1|", "|  or|    1|"]);
    assert!(lines.any(|l| l.starts_with("Batch: ")));
    socket.write_all(b"to do\n").unwrap();
    assert_eq!(
        table(&mut lines, "|  to|    3|"),
        ["|  to|    3|", "|  be|    2|", "|  do|    1|", "| not|    1|", "|  or|    1|"]
    );
    killed(program);
}
