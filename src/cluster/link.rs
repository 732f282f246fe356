//! The socket of ours between each pair of processes: failures, and goodbyes.
//!
//! A peer that closes its end without a goodbye is lost.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame;
use super::hello::{Run, clip};
use crate::error::{Error, Result};

/// How long a word may take to leave: a peer that does not read must not hold up the one who fails.
const WRITE: Duration = Duration::from_secs(2);
const MESSAGE_BYTES: usize = 16 << 10;

/// What failed on another process, as far as it can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureReport {
    /// The operator, where one ran.
    pub operator: Option<String>,
    /// The worker, of all in the cluster.
    pub worker: Option<usize>,
    /// The batch, in milliseconds since the epoch.
    pub batch: Option<u64>,
    /// The whole error, in words.
    pub message: String,
}

impl From<&Error> for FailureReport {
    fn from(error: &Error) -> Self {
        let message = clip(&error.to_string(), MESSAGE_BYTES).to_owned();
        let none = FailureReport { operator: None, worker: None, batch: None, message };
        match error {
            Error::WorkerPanicked { operator, worker, batch, .. } => FailureReport {
                operator: Some(clip(operator, 1024).to_owned()),
                worker: Some(*worker),
                batch: batch.map(|t| t.millis()),
                ..none
            },
            Error::Output { output, time, .. } => {
                FailureReport { operator: Some(clip(output, 1024).to_owned()), batch: Some(time.millis()), ..none }
            }
            Error::GatherCap { operator, time, .. } => {
                FailureReport { operator: Some(clip(operator, 1024).to_owned()), batch: Some(time.millis()), ..none }
            }
            _ => none,
        }
    }
}

impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What travels on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// All my peers are with me, for this run.
    Ready(Run),
    /// I leave before the start.
    GaveUp(String),
    /// I failed.
    Failed(FailureReport),
    /// I stop because of what I heard or saw of another.
    Stopped(String),
    /// I am done: the end of this connection is no loss.
    Done,
}

/// What is heard of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// It failed, and said why.
    Failed {
        /// Its index.
        process: usize,
        /// Why.
        report: FailureReport,
    },
    /// It stops because of a third one.
    Stopped {
        /// Its index.
        process: usize,
        /// Why.
        why: String,
    },
    /// It went without a goodbye.
    Lost {
        /// Its index.
        process: usize,
        /// What was seen.
        why: String,
    },
    /// It said goodbye.
    Done {
        /// Its index.
        process: usize,
    },
}

/// Is told what is heard, on the thread of the peer it is heard of.
pub(crate) type OnEvent = Arc<dyn Fn(LinkEvent) + Send + Sync>;

/// The links to all peers.
pub(crate) struct Link {
    peers: Vec<Option<Mutex<TcpStream>>>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Link {
    /// Listens on each socket, position i the one to process i.
    ///
    /// # Errors
    /// The system has no thread or no file left.
    pub(crate) fn start(sockets: Vec<Option<TcpStream>>, on_event: &OnEvent) -> Result<Self> {
        let failed = |e| Error::io("cannot start the link to a peer", e);
        let mut link = Link { peers: Vec::with_capacity(sockets.len()), closing: Arc::default(), threads: Mutex::default() };
        for (process, socket) in sockets.into_iter().enumerate() {
            let reader = socket.as_ref().map(TcpStream::try_clone).transpose().map_err(failed)?;
            link.peers.push(socket.map(Mutex::new));
            let Some(reader) = reader else { continue };
            let (on_event, closing) = (on_event.clone(), link.closing.clone());
            let thread = Builder::new()
                .name(format!("tidemill:link-{process}"))
                .spawn(move || hear(process, &reader, &closing, &*on_event))
                .map_err(failed)?;
            link.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(link)
    }

    /// Tells all peers that this process failed.
    pub(crate) fn fail(&self, report: FailureReport) {
        self.say(&Frame::Failed(report));
    }

    /// Tells all peers that this process stops because of a third.
    pub(crate) fn stopped(&self, why: &str) {
        self.say(&Frame::Stopped(clip(why, MESSAGE_BYTES).to_owned()));
    }

    /// Says goodbye: that this process goes is no loss.
    pub(crate) fn done(&self) {
        self.say(&Frame::Done);
    }

    fn say(&self, frame: &Frame) {
        for (process, socket) in self.peers.iter().enumerate().filter_map(|(p, s)| Some((p, s.as_ref()?))) {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(trouble) = frame::write(&socket, frame, Instant::now() + WRITE) {
                tracing::debug!(process, %trouble, "a word to a peer was lost");
            }
        }
    }

    /// Closes all links and waits for their threads. What was said before still arrives.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for socket in self.peers.iter().flatten() {
            let _ = socket.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let me = std::thread::current().id();
        for thread in threads.into_iter().filter(|t| t.thread().id() != me) {
            let _ = thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// Hears one peer until its end of the socket closes.
fn hear(process: usize, socket: &TcpStream, closing: &AtomicBool, on_event: &(dyn Fn(LinkEvent) + Send + Sync)) {
    let mut ended = false;
    loop {
        let event = match frame::read::<Frame>(socket, None) {
            Ok(Frame::Ready(_) | Frame::GaveUp(_)) => continue,
            Ok(Frame::Failed(report)) => LinkEvent::Failed { process, report },
            Ok(Frame::Stopped(why)) => LinkEvent::Stopped { process, why },
            Ok(Frame::Done) => LinkEvent::Done { process },
            Err(trouble) => {
                if !ended && !closing.load(Ordering::SeqCst) {
                    on_event(LinkEvent::Lost { process, why: trouble.to_string() });
                }
                return;
            }
        };
        ended = true;
        on_event(event);
    }
}
