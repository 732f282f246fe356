//! Checkpoint directories in S3: a server that speaks it, and tests that run in processes with its address in their environment.

mod faults;
mod job;
mod proxy;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the server of `scripts/s3` knows its callers by.
pub const SECRET: &str = "of-the-tests";

/// The address of the server: one for all tests. It ends with this process, which holds its stdin.
pub fn server() -> &'static str {
    static SERVER: OnceLock<(Child, String)> = OnceLock::new();
    let start = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3");
        let mut child = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "scripts/s3 did not start: what it needs is above");
        (child, address.trim().to_owned())
    };
    &SERVER.get_or_init(start).1
}

/// The environment of a program that uses it, at this address.
pub fn environment(address: &str) -> Vec<(&'static str, &str)> {
    let keys = [("AWS_ACCESS_KEY_ID", "tidemill"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", "us-east-1")];
    [&keys[..], &[("AWS_ENDPOINT", address), ("AWS_ALLOW_HTTP", "true")]].concat()
}

/// A prefix of the bucket that nobody else has.
pub fn new_prefix(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("s3://bucket/{name}/{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// In the process that a test started to have an environment: the directory to use.
pub fn given() -> Option<PathBuf> {
    std::env::var_os("TIDEMILL_TEST_S3").map(PathBuf::from)
}

/// Runs a test of this program again, in a process that finds the server at this address.
pub fn run(test: &str, dir: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("TIDEMILL_TEST_S3", dir);
    command.envs(env.iter().copied()).output().unwrap()
}

/// What it said, both streams.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn s3_does_what_a_store_must() {
    if let Some(dir) = given() {
        return tidemill::testing::store(&dir);
    }
    let ran = run("s3::s3_does_what_a_store_must", &new_prefix("suite"), &environment(server()));
    assert!(ran.status.success() && said(&ran).contains("1 passed"), "{}", said(&ran));
}
