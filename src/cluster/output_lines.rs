//! The output of launched processes: it is copied line by line, so that lines of several processes do not mix.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use crate::core::error::{Error, Result};
use crate::core::lock::lock;

/// A line longer than this is written in pieces.
const LINE: u64 = 1 << 20;

/// Where the lines of all processes go: one for stdout, one for stderr.
pub(super) struct Output<W> {
    to: Arc<Mutex<W>>,
    /// Whether lines begin with the name of their process.
    prefix: bool,
    closed: Arc<AtomicBool>,
}

impl<W> Clone for Output<W> {
    fn clone(&self) -> Self {
        Output { to: self.to.clone(), prefix: self.prefix, closed: self.closed.clone() }
    }
}

impl<W: Write + Send + 'static> Output<W> {
    pub fn new(to: W, prefix: bool) -> Self {
        Output { to: Arc::new(Mutex::new(to)), prefix, closed: Arc::default() }
    }

    /// Whether nobody reads the output any more.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Writes a line of the launch itself.
    pub fn say(&self, text: &str) {
        let _ = self.put("launch", text.as_bytes(), true);
    }

    /// Writes one line in one call. Without a prefix the bytes stay as they are.
    fn put(&self, name: &str, bytes: &[u8], prefix: bool) -> io::Result<()> {
        let mut to = lock(&self.to);
        if !prefix {
            return to.write_all(bytes).and_then(|()| to.flush());
        }
        let mut line = format!("[{name}] ").into_bytes();
        line.extend_from_slice(bytes.strip_suffix(b"\n").unwrap_or(bytes));
        line.push(b'\n');
        to.write_all(&line).and_then(|()| to.flush())
    }

    /// Copies the output of one process, line by line, until its end, and then drops `reading`. If the reader of the copy has closed its
    /// pipe, the pipe of the process is closed too. The process notices this as it would without a launcher.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn copy(&self, process: usize, pipe: Option<impl Read + Send + 'static>, reading: &Sender<()>) -> Result<()> {
        let Some(pipe) = pipe else { return Ok(()) };
        let (output, reading, name) = (self.clone(), reading.clone(), process.to_string());
        let body = move || {
            let _reading = reading;
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while matches!(pipe.by_ref().take(LINE).read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
                if output.put(&name, &bytes, output.prefix).is_err_and(|e| e.kind() == ErrorKind::BrokenPipe) {
                    output.closed.store(true, Ordering::SeqCst);
                    return;
                }
                bytes.clear();
            }
        };
        let spawned = Builder::new().name(format!("tm-lines-{process}")).spawn(body);
        spawned.map(|_| ()).map_err(|e| Error::io("cannot start the thread that copies output", e))
    }
}
