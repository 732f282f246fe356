//! The tutorials' program over a socket, as a process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn sql_network_wordcount_prints_the_tables_of_each_batch() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_sql_network_wordcount"))
        .args(["127.0.0.1", &port, "--interval", "200ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.write_all(b"to be or not to be\n").unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Batches before the line are empty tables. Rows without an order are written in that of their encoded bytes.
    let words: Vec<String> =
        lines.by_ref().skip_while(|l| !l.starts_with("|  be|")).take_while(|l| !l.starts_with("+-")).collect();
    assert_eq!(words, ["|  be|  2|", "|  or|  1|", "|  to|  2|", "| not|  1|"]);
    let total: Vec<String> = lines.by_ref().skip_while(|l| !l.starts_with("|total|")).take(4).collect();
    assert_eq!(total, ["|total|", "+-----+", "|    6|", "+-----+"]);
    assert!(lines.any(|l| l.starts_with("========= ") && l.ends_with(" =========")));
    program.kill().unwrap();
    program.wait().unwrap();
}
