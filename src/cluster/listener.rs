//! The listening socket of a process. It performs the handshake with each caller on a separate thread, for a limited time.
//!
//! It stays open while the job runs: late callers get an answer, and stray bytes do no harm.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::cluster::challenge;
use crate::cluster::hello::{Answer, Verdict};
use crate::cluster::roster::Roster;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;

/// At most this many callers may be in the handshake; beyond that the oldest is disconnected. A real peer needs a millisecond,
/// so silent callers do not push it out.
const PENDING: usize = 64;
/// How long to retry while the address is in use: a previous process may be shutting down.
const TAKEN: Duration = Duration::from_millis(500);

/// Listens until dropped.
pub(super) struct Listener {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Listens on the address of this process.
pub(super) fn bind(process: usize, address: SocketAddr) -> Result<TcpListener> {
    let until = Instant::now() + TAKEN;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => sleep(TAKEN / 10),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                return Err(Error::Cluster(format!(
                    "process {process} cannot listen on {address}: the address is taken; if another process was started with \
                     -p {process} stop one of them, else give process {process} another port in the hostfile"
                )));
            }
            Err(e) => {
                return Err(Error::Cluster(format!(
                    "process {process} cannot listen on {address}: {e}; give it an address of this machine in the hostfile"
                )));
            }
        }
    }
}

impl Listener {
    /// Starts to accept callers; `limit` is the time for one handshake.
    pub(super) fn open(listener: TcpListener, roster: Arc<Roster>, limit: Duration) -> Result<Self> {
        let failed = |e| Error::io("cannot start the thread that accepts connections", e);
        let address = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread =
            Builder::new().name("tm-listen".into()).spawn(move || accept(&listener, &roster, limit, &stopped)).map_err(failed)?;
        Ok(Listener { address, stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The thread waits in accept: call it.
        let called = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let (Ok(_), Some(thread)) = (called, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, roster: &Arc<Roster>, limit: Duration, stop: &AtomicBool) {
    let pending = Arc::new(Mutex::new(VecDeque::<(u64, TcpStream)>::new()));
    for ticket in 0.. {
        let accepted = listener.accept();
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let entry = accepted.and_then(|(stream, from)| Ok((stream.try_clone()?, stream, from)));
        let Ok((clone, stream, from)) = entry else {
            // Most likely there is no file descriptor left. The handshakes under way end soon.
            sleep(Duration::from_millis(20));
            continue;
        };
        {
            let mut pending = lock(&pending);
            if pending.len() >= PENDING
                && let Some((_, oldest)) = pending.pop_front()
            {
                let _ = oldest.shutdown(Shutdown::Both);
            }
            pending.push_back((ticket, clone));
        }
        let (roster, list) = (roster.clone(), pending.clone());
        let spawned = Builder::new().name("tm-caller".into()).spawn(move || {
            receive(&roster, stream, from, limit);
            lock(&list).retain(|(t, _)| *t != ticket);
        });
        if spawned.is_err() {
            lock(&pending).pop_back();
        }
    }
    for (_, stream) in lock(&pending).iter() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Performs the handshake with one caller, and keeps its connection.
pub(super) fn receive(roster: &Roster, stream: TcpStream, from: SocketAddr, limit: Duration) {
    let until = Instant::now() + limit;
    let caller = match challenge::receive(&stream, roster.secret.as_ref(), until) {
        Ok(caller) => caller,
        Err(refusal) => {
            let difference = refusal.difference();
            roster.refused.add(&difference.clone().unwrap_or_else(|| refusal.to_string()));
            let Some(why) = difference else {
                return tracing::debug!(%from, %refusal, "a caller was refused");
            };
            // When all are connected, no process is missing.
            if roster.lock().whole {
                return tracing::debug!(%from, why, "a caller was refused");
            }
            return roster.differs(format!("a process at {from} {why}"));
        }
    };
    let hello = &caller.hello;
    let verdict = roster.verdict(hello);
    let own = roster.own(hello.kind);
    let difference = own.difference(hello);
    let answer = Answer { hello: own, verdict: verdict.clone() };
    let answered = caller.answer(&stream, &answer, until);
    match (verdict, difference) {
        (Verdict::Welcome, None) if answer.hello.run.is_some() && answer.hello.generation() < hello.generation() => roster.fatal(format!(
            "this process belongs to generation {} of the job, and process {} to generation {}: a newer run has started; end this process",
            answer.hello.generation(),
            hello.process,
            hello.generation()
        )),
        (Verdict::Welcome, Some(difference)) => roster.fatal(difference),
        (Verdict::Welcome, None) if hello.process < roster.own.process => {
            tracing::warn!(%from, "process {} called, though it should be called", hello.process);
        }
        (Verdict::Welcome, None) => {
            let kept = answered.is_ok() && roster.keep(hello, stream);
            tracing::debug!(%from, kept, "process {} called", hello.process);
        }
        (verdict, _) => {
            roster.refused.add(&format!("it says that it is process {}: {verdict:?}", hello.process));
            tracing::warn!(%from, ?verdict, "process {} was refused", hello.process);
        }
    }
}
