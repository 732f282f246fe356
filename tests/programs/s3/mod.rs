//! Checkpoint directories and files in S3. The tests run in child processes, which find the address of an S3 server in their environment.

mod faults;
mod files;
mod job;
mod proxy;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The secret key of the server of `scripts/s3`.
pub const SECRET: &str = "of-the-tests";

/// The address of the server that all tests share. It ends with this process, which holds its stdin.
pub fn server() -> &'static str {
    static SERVER: OnceLock<(Child, String)> = OnceLock::new();
    let start = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3");
        let mut child = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "scripts/s3 did not start: its output is above");
        (child, address.trim().to_owned())
    };
    &SERVER.get_or_init(start).1
}

/// The environment of a program that uses the server at this address.
pub fn environment(address: &str) -> Vec<(&'static str, &str)> {
    let keys = [("AWS_ACCESS_KEY_ID", "tidemill"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", "us-east-1")];
    [&keys[..], &[("AWS_ENDPOINT", address), ("AWS_ALLOW_HTTP", "true")]].concat()
}

/// A new prefix of the bucket.
pub fn new_prefix(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("s3://bucket/{name}/{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// In a child process of a test: the directory to use.
pub fn given() -> Option<PathBuf> {
    std::env::var_os("TIDEMILL_TEST_S3").map(PathBuf::from)
}

/// Runs a test of this program in a child process with these environment variables.
pub fn run(test: &str, dir: &str, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("TIDEMILL_TEST_S3", dir);
    command.envs(env.iter().copied()).output().unwrap()
}

/// The output on both streams.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn s3_passes_the_tests_of_a_store() {
    if let Some(dir) = given() {
        return tidemill::testing::store(&dir);
    }
    let ran = run("s3::s3_passes_the_tests_of_a_store", &new_prefix("suite"), &environment(server()));
    assert!(ran.status.success() && said(&ran).contains("1 passed"), "{}", said(&ran));
}
