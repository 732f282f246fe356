//! Programs whose reader has closed the pipe, as in `weblog ... | head`. They stop gracefully, without a message.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::{PATIENCE, TempDir};

/// Starts `weblog` on an empty directory. It writes its output to `out` and its log to `err`.
fn weblog(workers: u16, out: impl Into<Stdio>, err: impl Into<Stdio>) -> Child {
    let dir = std::env::temp_dir();
    let args = ["--interval", "20ms", "--window", "40ms", "-w", &workers.to_string(), "--dir", dir.to_str().unwrap()];
    let mut program = Command::new(env!("CARGO_BIN_EXE_weblog"));
    program.args(args).env_remove("RUST_LOG").stdout(out).stderr(err).spawn().unwrap()
}

/// Waits for the exit code.
fn code(mut program: Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = program.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    program.kill().unwrap();
    panic!("weblog still runs after {PATIENCE:?}");
}

#[test]
fn a_program_ends_when_nobody_reads_its_output() {
    for workers in [1, 4] {
        let (mut reader, out) = std::io::pipe().unwrap();
        let mut program = weblog(workers, out, Stdio::piped());
        let mut first = [0; 100];
        reader.read_exact(&mut first).unwrap();
        drop(reader);
        let mut said = String::new();
        program.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(code(program), Some(0), "{said}");
        assert!(!said.contains(" ERROR ") && !said.contains("output print") && said.contains("weblog has ended: "), "{said}");
    }
}

/// With `2>&1 | head`, the program cannot log the failure of its output either.
#[test]
fn a_program_ends_when_nobody_reads_its_log_either() {
    for workers in [1, 4] {
        let (reader, out) = std::io::pipe().unwrap();
        let err = out.try_clone().unwrap();
        drop(reader);
        assert_eq!(code(weblog(workers, out, err)), Some(0));
    }
}

/// Runs the command with a stdout that nobody reads, and returns its stderr.
fn unread(args: &[&str]) -> String {
    let (reader, out) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let mut program = command.args(args).env("RUST_LOG", "warn").stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    program.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code(program), Some(0), "{args:?}: {said}");
    said
}

#[test]
fn the_command_ends_quietly_when_nobody_reads_its_output() {
    let dir = TempDir::new("pipes-states");
    let weblog = env!("CARGO_BIN_EXE_weblog");
    let input = TempDir::new("pipes-input");
    std::fs::create_dir_all(input.path()).unwrap();
    let job = ["--interval", "20ms", "--window", "40ms", "--dir", input.path()];
    let launch = [&["launch", "-n", "2", "--checkpoint", dir.path(), "--", weblog][..], &job].concat();
    assert_eq!(unread(&launch), "", "a launched job");
    for args in [
        &["checkpoint", "list", dir.path()][..],
        &["checkpoint", "list", "--json", dir.path()],
        &["checkpoint", "verify", dir.path()],
        &["gen", "tweets"],
        &["gen", "words", "--rate", "100"],
        &["--help"],
        &["launch", "--", "sh", "-c", "yes"],
    ] {
        assert_eq!(unread(args), "", "{args:?}");
    }
    let said = unread(&["demo", "--batches", "12", "--interval", "100ms", "--rate", "100"]);
    assert!(said.contains("counted twice 0") && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
}
