//! Rescaling a launched job: `tidemill launch` listens on a Unix socket beside the checkpoint directory.
//!
//! A request is one line, `scale N W`. The reply is one line, `ok …` or `no …`. Whether a user may send requests is decided by the
//! permissions of the socket's file.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{Builder, sleep};
use std::time::Duration;

use crate::core::error::{Error, Result};
use crate::core::path::{local, url};

/// How long a caller may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
const LINE: u64 = 200;
/// How often, and after which pauses, a socket is tried before it counts as left by a launch that was killed.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// What a supervisor is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    /// This process has received a signal.
    Signal(i32),
    /// Continue with other numbers of processes and workers.
    Scale(Scale),
}

/// The requested processes and workers per process, and the caller that waits for the result.
#[derive(Debug)]
pub(super) struct Scale {
    pub processes: usize,
    pub workers: usize,
    reply: UnixStream,
}

impl Scale {
    /// Sends the result to the caller.
    pub fn reply(mut self, done: bool, text: &str) {
        let result = if done { "ok" } else { "no" };
        // The caller may have gone. The request is carried out all the same.
        let _ = writeln!(self.reply, "{result} {text}");
    }
}

/// The path of the socket: `DIR.launch`, beside the directory, because all files in it belong to the job. For a directory in an
/// object store it is in the temporary directory of this machine.
fn socket_path(dir: &Path) -> PathBuf {
    if let Some(url) = url(dir) {
        return std::env::temp_dir().join(format!("tidemill-{:016x}.launch", xxhash_rust::xxh3::xxh3_64(url.as_bytes())));
    }
    // A wrong path is an error of the program that opens it.
    let dir = local(dir).unwrap_or_else(|_| dir.into());
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let mut name = dir.file_name().map_or_else(|| OsString::from("checkpoint"), OsString::from);
    name.push(".launch");
    dir.with_file_name(name)
}

/// Whether a launch listens on a socket. One that was made just now may not listen yet.
fn is_heard(path: &Path) -> bool {
    (0..TRIES).any(|again| {
        sleep(PAUSE * again.min(1));
        UnixStream::connect(path).is_ok()
    })
}

/// Listens until dropped.
pub(super) struct Control {
    path: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Control {
    /// # Errors
    /// Another launch uses the directory, or the socket cannot be created.
    pub fn open(dir: &Path, requests: Sender<Request>) -> Result<Control> {
        let path = socket_path(dir);
        let failed = |e| Error::io(format!("cannot listen on {}", path.display()), e);
        let listener = match UnixListener::bind(&path) {
            Err(e) if e.kind() == ErrorKind::AddrInUse => {
                if is_heard(&path) {
                    let dir = dir.display();
                    return Err(Error::config(format!(
                        "another `tidemill launch` uses the checkpoint directory {dir}: stop it first"
                    )));
                }
                // A launch that was killed has left the socket.
                std::fs::remove_file(&path).map_err(failed)?;
                UnixListener::bind(&path).map_err(failed)?
            }
            bound => bound.map_err(failed)?,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let listen = move || {
            loop {
                let accepted = listener.accept();
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // Without a caller, this process has no file descriptors left. It listens again when it has some.
                let request = accepted.ok().and_then(|(stream, _)| Some((read_request(&stream)?, stream)));
                match request {
                    Some(((processes, workers), reply)) => {
                        drop(requests.send(Request::Scale(Scale { processes, workers, reply })))
                    }
                    None => sleep(Duration::from_millis(10)),
                }
            }
        };
        Builder::new().name("tm-rescale".into()).spawn(listen).map_err(failed)?;
        Ok(Control { path, stop })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn read_request(stream: &UnixStream) -> Option<(usize, usize)> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line).ok()?;
    let mut numbers = line.strip_prefix("scale ")?.split_whitespace().map(|w| w.parse::<u16>().ok().filter(|n| *n > 0));
    let (n, w) = (numbers.next()??, numbers.next()??);
    Some((n.into(), w.into()))
}

/// Asks the `tidemill launch` of a checkpoint directory to stop the job with a checkpoint, and to continue it with other numbers
/// of processes and workers. Returns its answer when the job runs in the new processes.
///
/// # Errors
/// No `tidemill launch` runs for this directory; the job is ending; or the new processes have failed before the job ran. Then the launch
/// starts them again, as after any failure.
pub fn rescale(dir: &Path, processes: u16, workers: u16) -> Result<String> {
    let path = socket_path(dir);
    let mut stream = UnixStream::connect(&path).map_err(|e| {
        let (path, dir) = (path.display(), dir.display());
        Error::config(format!("nobody listens on {path} ({e}): is `tidemill launch --checkpoint {dir}` running?"))
    })?;
    let failed = |e| Error::io(format!("cannot talk to `tidemill launch` at {}", path.display()), e);
    writeln!(stream, "scale {processes} {workers}").map_err(failed)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(failed)?;
    match line.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.into()),
        Some(("no", text)) => Err(Error::config(format!("the job was not rescaled: {text}"))),
        _ => Err(Error::config("`tidemill launch` ended without an answer")),
    }
}
