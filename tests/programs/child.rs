//! Runs programs as child processes. A test collects the output of a child and waits for its end with a deadline. No child outlives
//! its test.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
pub use temp_dir::TempDir;
use temp_dir::unique;

/// How long a test waits for an event before it fails. It is long because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(5);

/// The path of a program of this package.
pub fn path(program: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_tidemill")).with_file_name(program)
}

/// The exit code and the output of a program.
pub struct Ended {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    out: Text,
    err: Text,
}

/// Text that grows, and the thread that reads it.
struct Text {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Text {
    fn of(mut pipe: impl Read + Send + 'static) -> Text {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let to = bytes.clone();
        let read = move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                to.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        };
        Text { bytes, reader: Some(std::thread::spawn(read)) }
    }

    fn now(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// The complete text. The pipe ends when the last process with a handle of it has ended.
    fn whole(&mut self) -> String {
        self.reader.take().map(JoinHandle::join);
        self.now()
    }
}

impl Program {
    /// Starts a program of this package.
    pub fn start<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Program {
        Program::start_in(program, args, &[])
    }

    /// Like `start`, with these environment variables.
    pub fn start_in<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>, env: &[(&str, &str)]) -> Program {
        Program::spawn(program, Command::new(path(program)).args(args), env)
    }

    /// Starts a command that is called `name` in messages.
    pub fn spawn(name: &str, command: &mut Command, env: &[(&str, &str)]) -> Program {
        // The time zone is far from UTC, so a test notices a time that is printed in the zone of the machine. Colours have their
        // default. Only warnings and errors are logged, so that a test can check that there are none. `("RUST_LOG", "")` restores
        // the default.
        command.env("TZ", "Asia/Kathmandu").env("RUST_LOG", "warn").env_remove("NO_COLOR").envs(env.iter().copied());
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{name}: {e}"));
        let (out, err) = (Text::of(child.stdout.take().unwrap()), Text::of(child.stderr.take().unwrap()));
        Program { name: name.into(), child, out, err }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process and all of its threads have ended. Only then its files and sockets are closed.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The output on stdout and stderr so far.
    pub fn said(&self) -> (String, String) {
        (self.out.now(), self.err.now())
    }

    /// The output, and what each thread waits for. A test that waits in vain shows this.
    fn told(&self) -> String {
        let (out, err) = self.said();
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let line = |thread: std::fs::DirEntry| {
            let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            format!("{} {} {}\n", read("comm").trim(), read("wchan"), read("syscall").trim())
        };
        format!("-- stdout\n{out}\n-- stderr\n{err}\n-- threads\n{}", threads.map(line).collect::<String>())
    }

    pub fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Waits until `is` returns true for the output on stdout and stderr. `what` names the condition in the failure.
    pub fn until(&mut self, what: &str, mut is: impl FnMut(&str, &str) -> bool) {
        let begun = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let (out, err) = self.said();
            if is(&out, &err) {
                return;
            }
            let now = ended.map_or_else(|| "runs".into(), |status| status.to_string());
            let waits = ended.is_none() && begun.elapsed() < PATIENCE;
            assert!(waits, "{} ({now}) did not reach this: {what}\n{}", self.name, self.told());
            std::thread::sleep(LOOK);
        }
    }

    /// Kills the program as soon as `is` returns true for its stdout and stderr. The program may also end before.
    pub fn kill_when(mut self, what: &str, mut is: impl FnMut(&str, &str) -> bool) -> Ended {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() && !is(&self.out.now(), &self.err.now()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} neither ended nor reached this: {what}
{}",
                self.name,
                self.told()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        self.signal(Signal::KILL);
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended { code: status.code(), out: self.out.whole(), err: self.err.whole() };
            }
            assert!(begun.elapsed() < PATIENCE, "{} still runs after {PATIENCE:?}\n{}", self.name, self.told());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Program {
    /// Signals the program twice, because `launch` must first end its processes. Then kills it.
    fn drop(&mut self) {
        for _ in 0..2 {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(2) {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                if begun.elapsed() < LOOK {
                    self.signal(Signal::TERM);
                }
                std::thread::sleep(LOOK);
            }
        }
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Runs a program to its end.
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Ended {
    Program::start(program, args).end()
}

/// Sends a signal to a process.
pub fn send(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process number");
    // The process may already have ended.
    let _ = kill_process(pid, signal);
}

/// The children of a process, and their command lines.
pub fn children(process: u32) -> Vec<(u32, String)> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let started = |number: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // The state and the parent follow the name. The name may contain any character.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()) == Some(process)
    };
    let line = |number| std::fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default().replace('\0', " ");
    numbers.filter(started).map(|number| (number, line(number))).collect()
}

/// A file of this test. It is removed on drop.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new(name: &str, text: &str) -> TempFile {
        let path = unique(name);
        std::fs::File::create_new(&path).unwrap().write_all(text.as_bytes()).unwrap();
        TempFile(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Addresses for processes. Their ports are below those that the system assigns, so no other program gets them meanwhile.
pub fn addresses(n: usize) -> Vec<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // The unit tests of `cluster` use the ports from 20,000 on.
    let first = (std::process::id() % 500) as u16 * 20;
    let ports = std::iter::repeat_with(|| 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.take(n).map(|port| format!("127.0.0.1:{port}")).collect()
}

/// A hostfile for these addresses.
pub fn hostfile(addresses: &[String]) -> TempFile {
    TempFile::new("hosts", &format!("{}\n", addresses.join("\n")))
}
