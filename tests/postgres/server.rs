//! A PostgreSQL of the tests, on a free port of loopback. It runs as an unprivileged user, because it refuses to run as root.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, getuid, kill_process};

use super::PATIENCE;

/// The user `nobody` of Debian.
const NOBODY: u32 = 65_534;
pub const PASSWORD: &str = "hunter2";

pub struct Server {
    dir: PathBuf,
    port: u16,
    /// Settings beside those of every server.
    settings: &'static [&'static str],
    process: Option<Child>,
}

/// A program of the newest version that is installed.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.exists()).max();
    let mut command =
        Command::new(newest.unwrap_or_else(|| panic!("{name} of PostgreSQL is missing: apt-get install postgresql")));
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    /// A server that loses data with its machine, which is faster.
    pub fn start(name: &str) -> Server {
        Server::start_with(name, &["fsync=off"])
    }

    pub fn start_with(name: &str, settings: &'static [&'static str]) -> Server {
        // TMPDIR may be below a directory that only root passes.
        let base = if getuid().is_root() { "/tmp".into() } else { std::env::temp_dir() };
        let dir = base.join(format!("tidemill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("password"), PASSWORD).unwrap();
        if getuid().is_root() {
            [dir.clone(), dir.join("password")].iter().for_each(|p| chown(p, Some(NOBODY), Some(NOBODY)).unwrap());
        }
        let mut make = program("initdb");
        make.current_dir(&dir).args([
            "--pgdata=data",
            "--auth=scram-sha-256",
            "--pwfile=password",
            "--username=writer",
            "--no-sync",
        ]);
        assert!(make.status().unwrap().success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Server { dir, port, settings, process: None };
        server.run();
        server
    }

    /// Starts it, and waits until it answers. After a kill, it first repairs its files.
    pub fn run(&mut self) {
        let port = self.port.to_string();
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
        let settings = settings.iter().chain(self.settings);
        let mut run = program("postgres");
        run.current_dir(&self.dir).args(["-D", "data", "-p", &port]).args(settings.flat_map(|s| ["-c", s]));
        self.process = Some(run.spawn().unwrap());
        let begun = Instant::now();
        while Client::connect(&self.url(), NoTls).is_err() {
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not answer");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Ends it at once, in the middle of all transactions.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id() as i32).unwrap();
        kill_process(pid, Signal::QUIT).unwrap();
        process.wait().unwrap();
    }

    pub fn url(&self) -> String {
        format!("postgres://writer:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
