//! The ear of a supervisor: a Unix socket beside the checkpoint directory, where it is asked for other numbers.
//!
//! One line in, `scale N W`; one line back, `ok …` or `no …`. A user who may write the socket's file may ask.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{Builder, sleep};
use std::time::Duration;

use crate::checkpoint::url;
use crate::core::error::{Error, Result};

/// How long somebody may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(5);
const LINE: u64 = 200;

/// What a supervisor hears.
#[derive(Debug)]
pub(super) enum Word {
    /// A signal came.
    Signal(i32),
    /// Somebody wants other numbers.
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
    /// The last word on it.
    pub fn reply(mut self, done: bool, text: &str) {
        let word = if done { "ok" } else { "no" };
        // Who asked may have gone: it is done all the same.
        let _ = writeln!(self.reply, "{word} {text}");
    }
}

/// `DIR.launch`, beside the directory: what is in it belongs to the job. Of a directory in an object store it is among the
/// temporary files of this machine.
fn place(dir: &Path) -> PathBuf {
    if let Some(url) = url(dir) {
        return std::env::temp_dir().join(format!("tidemill-{:016x}.launch", xxhash_rust::xxh3::xxh3_64(url.as_bytes())));
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    let mut name = dir.file_name().map_or_else(|| OsString::from("checkpoint"), OsString::from);
    name.push(".launch");
    dir.with_file_name(name)
}

/// Listens until dropped.
pub(super) struct Control {
    path: PathBuf,
    stop: Arc<AtomicBool>,
}

impl Control {
    /// # Errors
    /// Another supervisor has the directory; the socket cannot be made.
    pub fn open(dir: &Path, words: Sender<Word>) -> Result<Control> {
        let path = place(dir);
        let failed = |e| Error::io(format!("cannot listen on {}", path.display()), e);
        let listener = match UnixListener::bind(&path) {
            Err(e) if e.kind() == ErrorKind::AddrInUse => {
                if UnixStream::connect(&path).is_ok() {
                    let dir = dir.display();
                    return Err(Error::config(format!(
                        "another `tidemill launch` has the checkpoint directory {dir}: stop it first"
                    )));
                }
                // One that was killed has left it.
                std::fs::remove_file(&path).map_err(failed)?;
                UnixListener::bind(&path).map_err(failed)?
            }
            bound => bound.map_err(failed)?,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let ear = move || {
            loop {
                let accepted = listener.accept();
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // No caller, because this process has no file descriptors left. Callers are heard when it has some again.
                let heard = accepted.ok().and_then(|(stream, _)| Some((hear(&stream)?, stream)));
                match heard {
                    Some(((processes, workers), reply)) => drop(words.send(Word::Scale(Scale { processes, workers, reply }))),
                    None => sleep(Duration::from_millis(10)),
                }
            }
        };
        Builder::new().name("tm-rescale".into()).spawn(ear).map_err(failed)?;
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

fn hear(stream: &UnixStream) -> Option<(usize, usize)> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE)).read_line(&mut line).ok()?;
    let mut words = line.strip_prefix("scale ")?.split_whitespace().map(|w| w.parse::<u16>().ok().filter(|n| *n > 0));
    let (n, w) = (words.next()??, words.next()??);
    Some((n.into(), w.into()))
}

/// Asks the supervisor of a checkpoint directory to stop the job with a checkpoint and to go on with other numbers; gives its
/// answer when the processes have been started.
///
/// # Errors
/// There is no supervisor, or it says no.
pub fn rescale(dir: &Path, processes: u16, workers: u16) -> Result<String> {
    let place = place(dir);
    let mut stream = UnixStream::connect(&place).map_err(|e| {
        let (place, dir) = (place.display(), dir.display());
        Error::config(format!("nobody listens on {place} ({e}): is `tidemill launch --checkpoint {dir}` running?"))
    })?;
    let failed = |e| Error::io(format!("cannot speak with the supervisor at {}", place.display()), e);
    writeln!(stream, "scale {processes} {workers}").map_err(failed)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(failed)?;
    match line.trim_end().split_once(' ') {
        Some(("ok", text)) => Ok(text.into()),
        Some(("no", text)) => Err(Error::config(format!("the supervisor says: {text}"))),
        _ => Err(Error::config("the supervisor ended without an answer")),
    }
}
