//! The accepted connections of each peer, shared by the threads of a handshake.

use std::io;
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::hello::{Hello, Kind, Run, Verdict};
use crate::cluster::secret::Secret;
use crate::core::lock::lock;
use crate::metrics::refused::Refusals;

/// A socket whose peer has passed the handshake.
struct Connection {
    stream: TcpStream,
    instance: u64,
}

/// One peer process, and the connections it has so far.
#[derive(Default)]
pub(super) struct Peer {
    data: Option<Connection>,
    link: Option<Connection>,
    /// It has reported that it is connected to all its peers.
    pub ready: bool,
    /// Why it is not connected, if known.
    pub why: Option<String>,
}

impl Peer {
    fn connection(&mut self, kind: Kind) -> &mut Option<Connection> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Link => &mut self.link,
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.data.is_some() && self.link.is_some()
    }

    /// The kind of socket that is not connected yet, data first.
    pub(super) fn missing(&self) -> Option<Kind> {
        let open = [(Kind::Data, self.data.is_none()), (Kind::Link, self.link.is_none())];
        open.into_iter().find(|(_, open)| *open).map(|(kind, _)| kind)
    }

    /// Drops the connections that the peer has closed. `true`: there was one.
    pub(super) fn drop_closed(&mut self) -> bool {
        let gone = |known: &Option<Connection>| known.as_ref().is_some_and(|known| !alive(&known.stream));
        let lost = gone(&self.data) || gone(&self.link);
        if lost {
            // Both belong together: a peer that starts again opens both.
            (self.data, self.link, self.ready) = (None, None, false);
            self.why = Some("it was connected and has gone".into());
        }
        lost
    }

    pub(super) fn link(&self) -> Option<&TcpStream> {
        self.link.as_ref().map(|connection| &connection.stream)
    }

    fn verdict(&mut self, hello: &Hello) -> Verdict {
        for kind in [Kind::Data, Kind::Link] {
            let Some(known) = self.connection(kind) else { continue };
            if known.instance != hello.instance && alive(&known.stream) {
                return Verdict::Taken(known.stream.peer_addr().map_or_else(|e| e.to_string(), |a| a.to_string()));
            }
        }
        Verdict::Welcome
    }
}

/// All peers, and the state of the handshake.
pub(super) struct Members {
    pub peers: Vec<Peer>,
    /// The run that process 0 starts, once known.
    pub run: Option<Run>,
    /// All peers were connected at the same time. No more callers are accepted.
    pub whole: bool,
    /// The handshake is over: threads that call peers end.
    pub closed: bool,
    /// Why this cluster cannot form.
    pub fatal: Option<String>,
    /// The last caller that could not prove its membership: perhaps the missing peer.
    pub stranger: Option<String>,
}

/// The peers behind a lock, and a condition variable for changes.
pub(super) struct Roster {
    members: Mutex<Members>,
    changed: Condvar,
    pub own: Hello,
    pub secret: Option<Secret>,
    /// The callers that were refused.
    pub refused: Refusals,
}

impl Roster {
    pub(super) fn new(own: Hello, secret: Option<Secret>) -> Self {
        let peers = (0..own.processes).map(|_| Peer::default()).collect();
        let members = Members { peers, run: own.run, whole: false, closed: false, fatal: None, stranger: None };
        Roster { members: Mutex::new(members), changed: Condvar::new(), own, secret, refused: Refusals::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    /// Waits for a change, or for `time`.
    pub(super) fn wait<'a>(&self, members: MutexGuard<'a, Members>, time: Duration) -> MutexGuard<'a, Members> {
        self.changed.wait_timeout(members, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The hello of this process on a socket of this kind.
    pub(super) fn own(&self, kind: Kind) -> Hello {
        Hello { kind, run: self.lock().run, ..self.own.clone() }
    }

    /// Ends the wait of all threads: this cluster cannot form.
    pub(super) fn fatal(&self, why: String) {
        self.lock().fatal.get_or_insert(why);
        self.changed.notify_all();
    }

    /// A caller differs from this process. Fatal without a secret. With one it is only logged: an unproved caller can claim anything.
    pub(super) fn differs(&self, why: String) {
        if self.secret.is_none() {
            return self.fatal(why);
        }
        tracing::warn!("a caller was refused: {why}");
        self.lock().stranger = Some(why);
    }

    /// Ends the wait of the threads that call peers.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Records why a peer is not connected yet.
    pub(super) fn absent(&self, process: usize, why: String) {
        tracing::debug!(process, why, "not connected");
        self.lock().peers[process].why = Some(why);
    }

    /// The answer to a hello.
    pub(super) fn verdict(&self, hello: &Hello) -> Verdict {
        let mut members = self.lock();
        if members.whole {
            return Verdict::Whole;
        }
        // Only a process that knows a generation can belong to an older one.
        if let Some(own) = members.run.filter(|own| hello.run.is_some_and(|run| run.generation < own.generation)) {
            return Verdict::Over(own.generation);
        }
        members.peers.get_mut(hello.process).map_or(Verdict::Welcome, |peer| peer.verdict(hello))
    }

    /// Keeps the connection of a peer. `false`: it has one already, and the new socket is closed.
    pub(super) fn keep(&self, hello: &Hello, stream: TcpStream) -> bool {
        let mut members = self.lock();
        if members.whole || members.closed || members.fatal.is_some() {
            return false;
        }
        if hello.process == 0 {
            members.run = hello.run;
        }
        let peer = &mut members.peers[hello.process];
        if peer.verdict(hello) != Verdict::Welcome {
            return false;
        }
        for kind in [Kind::Data, Kind::Link] {
            // A connection of an earlier start of that process, and its report that it was ready.
            if peer.connection(kind).take_if(|known| known.instance != hello.instance).is_some() {
                peer.ready = false;
            }
        }
        // The peer may have reported that it is ready already: the two sockets arrive in any order.
        *peer.connection(hello.kind) = Some(Connection { stream, instance: hello.instance });
        self.changed.notify_all();
        true
    }

    /// Takes the sockets of all peers: data, link.
    pub(super) fn sockets(&self) -> (Vec<Option<TcpStream>>, Vec<Option<TcpStream>>) {
        let mut members = self.lock();
        members.peers.iter_mut().map(|peer| (peer.data.take().map(|s| s.stream), peer.link.take().map(|s| s.stream))).unzip()
    }
}

/// Whether the peer has not closed the socket. Reads no byte.
fn alive(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let peeked = stream.peek(&mut [0]);
    let blocking = stream.set_nonblocking(false).is_ok();
    match peeked {
        Ok(n) => n > 0 && blocking,
        Err(e) => e.kind() == io::ErrorKind::WouldBlock && blocking,
    }
}

/// Whether bytes wait to be read.
pub(super) fn waiting(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    stream.set_nonblocking(false).is_ok() && matches!(peeked, Ok(n) if n > 0)
}
