//! A Kafka that one test starts for itself, to kill it or to use other settings.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A Kafka that only this test uses.
pub struct Broker {
    pub dir: PathBuf,
    pub address: String,
}

impl Broker {
    /// Starts it with these settings and those of `scripts/kafka`.
    pub fn start(port: &str, properties: &[String]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tidemill-kafka-{}-{number}", std::process::id()));
        let mut args = vec!["start", "--dir", dir.to_str().unwrap(), "--port", port];
        properties.iter().for_each(|p| args.extend(["--property", p]));
        let address = script(&args);
        Broker { dir, address }
    }

    /// Runs a command of `scripts/kafka`, for example `kill` or `again`.
    pub fn script(&self, command: &str) -> String {
        script(&[command, "--dir", self.dir.to_str().unwrap()])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.script("kill");
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn script(args: &[&str]) -> String {
    let path = std::env::var("TIDEMILL_KAFKA_SCRIPT").expect("TIDEMILL_KAFKA_SCRIPT is the path of scripts/kafka");
    let out = Command::new(path).args(args).env("TIDEMILL_KAFKA_HEAP", "256m").output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_string()
}
