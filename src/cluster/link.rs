//! The socket between each pair of processes that tidemill uses itself: failures, ends, and heartbeats.
//!
//! A peer is lost if it closes its socket without `Done`, or sends nothing for too long: then it is stopped, or the network is cut.
//! TCP would notice that after a quarter of an hour. Silence is counted in checks of this process, so that its own pauses are not
//! counted as those of others.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame;
use super::hello::{Run, clip};
use crate::core::error::{Error, Result};
use crate::core::lock::lock;

/// How long sending a message may take: a peer that does not read must not delay a process that fails.
const WRITE: Duration = Duration::from_secs(2);
const MESSAGE_BYTES: usize = 16 << 10;

/// The failure of another process, as far as it is known there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailureReport {
    /// The operator that ran, if any.
    pub operator: Option<String>,
    /// The worker's index among all workers of the job.
    pub worker: Option<usize>,
    /// The batch, in milliseconds since the epoch.
    pub batch: Option<u64>,
    /// The text of the error.
    pub message: String,
}

impl From<&Error> for FailureReport {
    fn from(error: &Error) -> Self {
        let message = clip(&error.to_string(), MESSAGE_BYTES).to_owned();
        let none = FailureReport { operator: None, worker: None, batch: None, message };
        match error {
            Error::WorkerPanicked { operator, worker, batch, .. } | Error::WorkerStuck { operator, worker, batch, .. } => {
                FailureReport {
                    operator: Some(clip(operator, 1024).to_owned()),
                    worker: Some(*worker),
                    batch: batch.map(|t| t.millis()),
                    ..none
                }
            }
            Error::Output { output, time, .. } => {
                FailureReport { operator: Some(clip(output, 1024).to_owned()), batch: Some(time.millis()), ..none }
            }
            Error::GatherCap { operator, time, .. }
            | Error::SumTooLarge { operator, time, .. }
            | Error::TooManyRounds { operator, time, .. } => {
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
    /// The sender is connected to all its peers, for this run.
    Ready(Run),
    /// The sender ends before the start.
    GaveUp(String),
    /// The sender has failed.
    Failed(FailureReport),
    /// The sender stops because another process failed or was lost.
    Stopped(String),
    /// The sender is alive.
    Beat,
    /// The sender has ended in order: the end of this connection is not a loss.
    Done,
}

/// What a link reports of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// It has failed, and has sent the reason.
    Failed {
        /// Its index.
        process: usize,
        /// Why.
        report: FailureReport,
    },
    /// It stops because of a third process.
    Stopped {
        /// Its index.
        process: usize,
        /// Why.
        why: String,
    },
    /// Its connection ended without `Done`, or it was silent for too long.
    Lost {
        /// Its index.
        process: usize,
        /// What was noticed.
        why: String,
    },
    /// The peer continues without this process, which was stopped for too long.
    Stood {
        /// Its index.
        process: usize,
        /// For how long.
        time: Duration,
        /// The reason it sent, or how its connection ended.
        why: String,
    },
    /// It has ended in order.
    Done {
        /// Its index.
        process: usize,
    },
}

/// Takes the events of the links. It is called on the thread of the peer.
pub(crate) type OnEvent = Arc<dyn Fn(LinkEvent) + Send + Sync>;

/// The links to all peers.
pub(crate) struct Link {
    peers: Arc<Vec<Option<Mutex<TcpStream>>>>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Link {
    /// Starts a thread for each socket; socket i leads to process i. A peer that is silent for `limit` is lost.
    ///
    /// # Errors
    /// The system has no thread or no file descriptor left.
    pub(crate) fn start(sockets: Vec<Option<TcpStream>>, limit: Duration, on_event: &OnEvent) -> Result<Self> {
        let failed = |e| Error::io("cannot start the link to a peer", e);
        let readers = sockets.iter().map(|s| s.as_ref().map(TcpStream::try_clone).transpose());
        let readers = readers.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
        let peers = Arc::new(sockets.into_iter().map(|s| s.map(Mutex::new)).collect());
        let mut link = Link { peers, closing: Arc::default(), threads: Mutex::default() };
        let (peers, closing) = (link.peers.clone(), link.closing.clone());
        let beat = Builder::new().name("tm-heartbeat".into()).spawn(move || beat(&peers, &closing, limit / 5)).map_err(failed)?;
        link.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(beat);
        for (process, reader) in readers.into_iter().enumerate() {
            let Some(reader) = reader else { continue };
            let (on_event, closing) = (on_event.clone(), link.closing.clone());
            let thread = Builder::new()
                .name(format!("tm-link-{process}"))
                .spawn(move || listen(process, &reader, limit, &closing, &*on_event))
                .map_err(failed)?;
            link.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(link)
    }

    /// Tells all peers that this process has failed.
    pub(crate) fn fail(&self, report: FailureReport) {
        self.send(&Frame::Failed(report));
    }

    /// Tells all peers that this process stops because of a third process.
    pub(crate) fn stopped(&self, why: &str) {
        self.send(&Frame::Stopped(clip(why, MESSAGE_BYTES).to_owned()));
    }

    /// Tells all peers that this process ends in order, so that they do not count it as lost.
    pub(crate) fn done(&self) {
        self.send(&Frame::Done);
    }

    fn send(&self, frame: &Frame) {
        send(&self.peers, frame);
    }

    /// Closes all links and waits for their threads. Messages that were sent before still arrive.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for socket in self.peers.iter().flatten() {
            let _ = lock(socket).shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        let me = std::thread::current().id();
        for thread in threads.into_iter().filter(|t| t.thread().id() != me) {
            // The thread that sends heartbeats sleeps.
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

fn send(peers: &[Option<Mutex<TcpStream>>], frame: &Frame) {
    for (process, socket) in peers.iter().enumerate().filter_map(|(p, s)| Some((p, s.as_ref()?))) {
        let socket = lock(socket);
        if let Err(trouble) = frame::write(&socket, frame, Instant::now() + WRITE) {
            tracing::debug!(process, %trouble, "a message to a peer was lost");
        }
    }
}

/// Sends heartbeats until the links close.
fn beat(peers: &[Option<Mutex<TcpStream>>], closing: &AtomicBool, every: Duration) {
    while !closing.load(Ordering::SeqCst) {
        send(peers, &Frame::Beat);
        std::thread::park_timeout(every);
    }
}

/// How long a peer has sent nothing, and whether this process ran meanwhile.
struct Silence {
    limit: Duration,
    check: Duration,
    quiet: Duration,
    checked: Instant,
    /// When this process was last paused, and for how long.
    stood: Option<(Instant, Duration)>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        let check = (limit / 10).clamp(Duration::from_millis(10), Duration::from_millis(500));
        Silence { limit, check, quiet: Duration::ZERO, checked: Instant::now(), stood: None }
    }

    /// Waits for the next message, or the end of the connection. `false`: the peer has been silent for too long.
    fn wait(&mut self, socket: &TcpStream) -> bool {
        loop {
            let waits = socket.set_read_timeout(Some(self.check)).and_then(|()| socket.peek(&mut [0]));
            let passed = self.checked.elapsed();
            self.checked = Instant::now();
            if passed > self.limit / 2 {
                self.stood = Some((self.checked, passed));
            }
            let quiet =
                waits.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted));
            self.quiet = if quiet { self.quiet + passed.min(2 * self.check) } else { Duration::ZERO };
            if !quiet || self.quiet >= self.limit {
                return !quiet;
            }
        }
    }

    /// A loss soon after this process was paused is most likely caused by that pause.
    fn explain(&self, event: LinkEvent) -> LinkEvent {
        match (event, self.stood) {
            (LinkEvent::Lost { process, why } | LinkEvent::Stopped { process, why }, Some((at, time)))
                if at.elapsed() < self.limit =>
            {
                LinkEvent::Stood { process, time, why }
            }
            (event, _) => event,
        }
    }
}

/// Reads the messages of one peer until its end of the socket closes.
pub(super) fn listen(
    process: usize,
    socket: &TcpStream,
    limit: Duration,
    closing: &AtomicBool,
    on_event: &(dyn Fn(LinkEvent) + Send + Sync),
) {
    let (mut ended, mut silence) = (false, Silence::new(limit));
    loop {
        // A peer that has sent its last message may be silent.
        if !ended && !silence.wait(socket) {
            let why = format!("it was silent for {limit:?}: it is stopped, or the network is cut");
            return on_event(silence.explain(LinkEvent::Lost { process, why }));
        }
        let until = (!ended).then(|| Instant::now() + limit);
        let event = match frame::read::<Frame>(socket, until) {
            Ok(Frame::Ready(_) | Frame::GaveUp(_) | Frame::Beat) => continue,
            Ok(Frame::Failed(report)) => LinkEvent::Failed { process, report },
            Ok(Frame::Stopped(why)) => LinkEvent::Stopped { process, why },
            Ok(Frame::Done) => LinkEvent::Done { process },
            Err(trouble) => {
                if !ended && !closing.load(Ordering::SeqCst) {
                    on_event(silence.explain(LinkEvent::Lost { process, why: trouble.to_string() }));
                }
                return;
            }
        };
        ended = true;
        on_event(silence.explain(event));
    }
}
