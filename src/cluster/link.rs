//! The socket of ours between each pair of processes: failures, goodbyes, and a beat while there is nothing to say.
//!
//! A peer that closes its end without a goodbye is lost, and so is one that says nothing for too long: it is stopped, or the
//! network is cut, and TCP would notice after a quarter of an hour. Silence is counted in looks of this process, so that its
//! own pauses are not taken for those of others.

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
    /// I am here.
    Beat,
    /// The sender is done: the end of this connection is not a loss.
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
    /// The peer continues without this process, which was stopped for too long.
    Stood {
        /// Its index.
        process: usize,
        /// For how long.
        time: Duration,
        /// What it said, or how it went.
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
    peers: Arc<Vec<Option<Mutex<TcpStream>>>>,
    closing: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Link {
    /// Listens on each socket, position i the one to process i. Who is silent for `limit` is lost.
    ///
    /// # Errors
    /// The system has no thread or no file left.
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
                .spawn(move || hear(process, &reader, limit, &closing, &*on_event))
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

    /// Says goodbye, so that the peers do not count this process as lost.
    pub(crate) fn done(&self) {
        self.say(&Frame::Done);
    }

    fn say(&self, frame: &Frame) {
        say(&self.peers, frame);
    }

    /// Closes all links and waits for their threads. What was said before still arrives.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        for socket in self.peers.iter().flatten() {
            let _ = lock(socket).shutdown(Shutdown::Both);
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        let me = std::thread::current().id();
        for thread in threads.into_iter().filter(|t| t.thread().id() != me) {
            // The one that beats sleeps.
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

fn say(peers: &[Option<Mutex<TcpStream>>], frame: &Frame) {
    for (process, socket) in peers.iter().enumerate().filter_map(|(p, s)| Some((p, s.as_ref()?))) {
        let socket = lock(socket);
        if let Err(trouble) = frame::write(&socket, frame, Instant::now() + WRITE) {
            tracing::debug!(process, %trouble, "a word to a peer was lost");
        }
    }
}

/// Says that this process is there, until the links close.
fn beat(peers: &[Option<Mutex<TcpStream>>], closing: &AtomicBool, every: Duration) {
    while !closing.load(Ordering::SeqCst) {
        say(peers, &Frame::Beat);
        std::thread::park_timeout(every);
    }
}

/// How long a peer has said nothing, and whether this process ran all the while.
struct Silence {
    limit: Duration,
    look: Duration,
    quiet: Duration,
    looked: Instant,
    /// When this process last stood still, and for how long.
    stood: Option<(Instant, Duration)>,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        let look = (limit / 10).clamp(Duration::from_millis(10), Duration::from_millis(500));
        Silence { limit, look, quiet: Duration::ZERO, looked: Instant::now(), stood: None }
    }

    /// Waits for the next word, or the end of the connection. `false`: it has been silent for too long.
    fn wait(&mut self, socket: &TcpStream) -> bool {
        loop {
            let waits = socket.set_read_timeout(Some(self.look)).and_then(|()| socket.peek(&mut [0]));
            let passed = self.looked.elapsed();
            self.looked = Instant::now();
            if passed > self.limit / 2 {
                self.stood = Some((self.looked, passed));
            }
            let quiet =
                waits.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted));
            self.quiet = if quiet { self.quiet + passed.min(2 * self.look) } else { Duration::ZERO };
            if !quiet || self.quiet >= self.limit {
                return !quiet;
            }
        }
    }

    /// What went wrong after this process had stood still is most likely its own.
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

/// Hears one peer until its end of the socket closes.
pub(super) fn hear(
    process: usize,
    socket: &TcpStream,
    limit: Duration,
    closing: &AtomicBool,
    on_event: &(dyn Fn(LinkEvent) + Send + Sync),
) {
    let (mut ended, mut silence) = (false, Silence::new(limit));
    loop {
        // Who has said the last word may be silent.
        if !ended && !silence.wait(socket) {
            let why = format!("it was silent for {limit:?}; it is stopped, or the network between is cut");
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
