//! Brings the processes of a cluster together: each listens on its address and calls every process with a lower index.
//!
//! A pair of processes has two sockets: timely uses `data`, and tidemill uses `link` for failures and ends. Both ends of each
//! socket compare what they run; a difference is an error on both. When a process is connected to all its peers, it sends
//! `Ready` on every link. It starts when all have sent it: all start, or none.

use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::challenge;
use super::frame;
use super::hello::{Answer, Hello, Kind, Spec, Verdict, clip};
use super::link::Frame;
use super::listener::{Listener, bind};
use super::roster::{Members, Roster, waiting};
use crate::core::error::{Error, Result};

/// How long one handshake may take by default.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(5);
/// A process whose index is taken retries for this part of the handshake limit: 1 s by default. The process that had the index
/// may have been cancelled, and its sockets are about to be closed.
const TAKEN: u32 = 5;

/// The peers of this process, ready to run.
pub(crate) struct Peers {
    pub(super) process: usize,
    pub(super) workers: usize,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) data: Vec<Option<TcpStream>>,
    pub(super) link: Vec<Option<TcpStream>>,
    pub(super) heartbeat: Duration,
    /// Kept open, so that late callers get an answer and no other program takes the address.
    pub(super) listener: Option<Listener>,
}

impl Peers {
    /// No peers: one process with `workers` workers.
    pub(crate) fn alone(workers: usize) -> Self {
        let none = || vec![None];
        Peers { process: 0, workers, addresses: Vec::new(), data: none(), link: none(), heartbeat: Duration::MAX, listener: None }
    }
}

/// Connects to all peers and checks them. The error names the peers that are missing or differ. `cancel` ends the wait.
///
/// # Errors
/// `Error::Cluster`: the own address is taken, a peer differs or does not connect in time, or the wait was cancelled.
pub(crate) fn connect(spec: &Spec, cancel: &AtomicBool) -> Result<Peers> {
    if spec.process >= spec.processes || spec.addresses.len() != spec.processes {
        return Err(Error::config(format!(
            "-p {} of -n {} with {} addresses: -p counts from 0 and each process has one address",
            spec.process,
            spec.processes,
            spec.addresses.len()
        )));
    }
    if spec.processes == 1 {
        return Ok(Peers::alone(spec.workers));
    }
    let listener = bind(spec.process, spec.addresses[spec.process])?;
    let mut roster = Roster::new(Hello::new(spec, instance()), spec.secret.clone());
    roster.refused = spec.refused.clone();
    let roster = Arc::new(roster);
    let listener = Listener::open(listener, roster.clone(), spec.limit)?;
    let gathered = callers(spec, &roster).and_then(|()| gather(spec, &roster, cancel));
    roster.close();
    if let Err(error) = gathered {
        // A process that is cancelled while others are missing may be started again, so the others keep waiting.
        if !cancel.load(Ordering::SeqCst) || roster.lock().whole {
            give_up(&roster, &error);
        }
        return Err(error);
    }
    let (data, link) = roster.sockets();
    for stream in data.iter().chain(&link).flatten() {
        configure(stream, spec.heartbeat).map_err(|e| Error::io("cannot set up a socket to a peer", e))?;
    }
    let (addresses, heartbeat) = (spec.addresses.clone(), spec.heartbeat);
    Ok(Peers { process: spec.process, workers: spec.workers, addresses, data, link, heartbeat, listener: Some(listener) })
}

/// Sets the options of a socket. The link notices a lost peer; the system gives up after twice that time, which ends calls that
/// are stuck in it.
fn configure(stream: &TcpStream, heartbeat: Duration) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, heartbeat.max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(stream, (heartbeat / 4).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(2 * heartbeat.as_millis()).unwrap_or(u32::MAX))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

/// A random number that tells two starts of one process apart.
fn instance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Starts a thread for each process with a lower index, which calls it.
fn callers(spec: &Spec, roster: &Arc<Roster>) -> Result<()> {
    for process in 0..spec.process {
        let (address, limit, roster) = (spec.addresses[process], spec.limit, roster.clone());
        Builder::new()
            .name(format!("tm-call-{process}"))
            .spawn(move || keep_calling(process, address, limit, &roster))
            .map_err(|e| Error::io("cannot start the thread that calls a peer", e))?;
    }
    Ok(())
}

/// Calls until both sockets are open, and again if they are lost before all peers are connected.
fn keep_calling(process: usize, address: SocketAddr, limit: Duration, roster: &Roster) {
    let mut taken: Option<Instant> = None;
    let mut members = roster.lock();
    while !members.closed && members.fatal.is_none() {
        let Some(kind) = members.peers[process].missing() else {
            members = roster.wait(members, PAUSE);
            continue;
        };
        drop(members);
        let Err(failed) = call(process, address, kind, limit, roster) else {
            taken = None;
            members = roster.lock();
            continue;
        };
        taken = matches!(failed, Call::Taken(_)).then(|| taken.unwrap_or_else(Instant::now));
        match failed {
            Call::Fatal(why) => return roster.fatal(why),
            Call::Taken(why) if taken.is_some_and(|since| since.elapsed() >= limit / TAKEN) => return roster.fatal(why),
            Call::Again(why) | Call::Taken(why) => roster.absent(process, why),
        }
        members = roster.lock();
        if !members.closed {
            members = roster.wait(members, PAUSE);
        }
    }
}

/// Why a call failed.
pub(super) enum Call {
    Again(String),
    /// Another process with this index is connected there.
    Taken(String),
    Fatal(String),
}

/// Opens one socket to one process.
fn call(process: usize, address: SocketAddr, kind: Kind, limit: Duration, roster: &Roster) -> Result<(), Call> {
    let until = Instant::now() + limit;
    let stream = TcpStream::connect_timeout(&address, limit).map_err(|e| Call::Again(e.to_string()))?;
    // On one machine, a call to a port without a listener can reach itself.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err(Call::Again("nobody listens".into()));
    }
    let own = roster.own(kind);
    let answer = challenge::call(&stream, &own, roster.secret.as_ref(), until);
    let answer = answer.map_err(|refusal| match refusal.difference() {
        Some(why) => Call::Fatal(format!("process {process} at {address} {why}")),
        None => Call::Again(refusal.to_string()),
    })?;
    take(process, address, &own, answer, stream, roster)
}

/// Acts on the answer of a called process: keeps the socket, or says why not.
pub(super) fn take(
    process: usize,
    address: SocketAddr,
    own: &Hello,
    answer: Answer,
    stream: TcpStream,
    roster: &Roster,
) -> Result<(), Call> {
    let Answer { hello, verdict } = answer;
    let difference = own.difference(&hello);
    match verdict {
        // Perhaps an older run that is ending: call again.
        Verdict::Whole => {
            let also = difference.map(|d| format!(" ({d})")).unwrap_or_default();
            Err(Call::Again(format!("it belongs to a job that runs already: end that run first{also}")))
        }
        Verdict::Over(_) | Verdict::Taken(_) | Verdict::Welcome if difference.is_some() => {
            Err(Call::Fatal(difference.unwrap_or_default()))
        }
        Verdict::Over(generation) => Err(Call::Fatal(older(process, address, own, generation))),
        Verdict::Welcome if own.generation() > 0 && hello.generation() > own.generation() => {
            Err(Call::Fatal(older(process, address, own, hello.generation())))
        }
        Verdict::Welcome if hello.run.is_some() && hello.generation() < own.generation() => Err(Call::Again(format!(
            "it belongs to generation {} of the job, which has been replaced: end it",
            hello.generation()
        ))),
        Verdict::Taken(from) => Err(Call::Taken(format!(
            "process {process} at {address} is connected to another process {} already (it called from {from}): \
             two processes were started with -p {}; stop one of them",
            own.process, own.process
        ))),
        Verdict::Welcome if hello.process != process => Err(Call::Fatal(format!(
            "process {} answers at {address}, the address of process {process}: start each with its own -p",
            hello.process
        ))),
        Verdict::Welcome if roster.keep(&hello, stream) => Ok(()),
        Verdict::Welcome => Err(Call::Again("it started again while it was called".into())),
    }
}

/// The error if a newer generation has begun since this process joined its own.
fn older(process: usize, address: SocketAddr, own: &Hello, generation: u64) -> String {
    format!(
        "process {process} at {address} belongs to generation {generation} of the job, and this one to generation {}, which has been \
         replaced by a newer run; start this process again",
        own.generation()
    )
}

/// Waits until all peers are connected, and each has sent `Ready`.
fn gather(spec: &Spec, roster: &Roster, cancel: &AtomicBool) -> Result<()> {
    let begin = Instant::now();
    let mut next_log = begin + PROGRESS;
    let mut members = roster.lock();
    loop {
        if cancel.load(Ordering::SeqCst) {
            return Err(Error::Cluster(format!("stopped while it waited for {}", missing(spec, &members))));
        }
        if let Some(why) = members.fatal.take() {
            return Err(Error::Cluster(why));
        }
        let others = (0..spec.processes).filter(|&p| p != spec.process);
        for process in others.clone() {
            check(spec, &mut members, process)?;
        }
        if !members.whole
            && let Some(run) = members.run
            && others.clone().all(|p| members.peers[p].connected())
        {
            for process in others.clone() {
                send(&members, process, &Frame::Ready(run), spec.limit);
            }
            members.whole = true;
        }
        if members.whole && others.clone().all(|p| members.peers[p].ready) {
            return Ok(());
        }
        let now = Instant::now();
        if now >= begin + spec.deadline {
            let (waited, who) = (spec.deadline, missing(spec, &members));
            return Err(Error::Cluster(format!(
                "process {} waited {waited:?} for {who}: start all -n {} processes, or let them wait longer by --connect-timeout",
                spec.process, spec.processes
            )));
        }
        if now >= next_log {
            next_log = now + PROGRESS;
            tracing::info!("waiting for {}", missing(spec, &members));
        }
        members = roster.wait(members, PAUSE / 2);
    }
}

/// Reads what one peer sends on its link before the start, and notices if its sockets are closed.
fn check(spec: &Spec, members: &mut Members, process: usize) -> Result<()> {
    let (whole, run) = (members.whole, members.run);
    let peer = &mut members.peers[process];
    let at = spec.addresses[process];
    // After `Ready` it may have started: what it sends now belongs to the run.
    if peer.ready {
        return Ok(());
    }
    let frame = match peer.link() {
        Some(link) if waiting(link) => Some(frame::read::<Frame>(link, Some(Instant::now() + spec.limit))),
        _ => None,
    };
    match frame {
        Some(Ok(Frame::Ready(theirs))) if run.is_none_or(|run| run == theirs) => peer.ready = true,
        Some(Ok(Frame::Ready(theirs))) => {
            let (there, here) = (theirs.generation, run.map_or(0, |run| run.generation));
            return Err(Error::Cluster(format!(
                "process {process} at {at} starts another run than this one (generation {there} there, {here} here): end all processes, and start all again"
            )));
        }
        Some(Ok(Frame::GaveUp(why))) => return Err(Error::Cluster(format!("process {process} at {at} gave up: {why}"))),
        Some(Ok(_) | Err(_)) | None => {
            if peer.drop_closed() && whole {
                return Err(Error::Cluster(format!("process {process} at {at} was lost before all processes were connected")));
            }
        }
    }
    Ok(())
}

/// Sends a message on a link. If it does not arrive, the loss of the peer is noticed later.
fn send(members: &Members, process: usize, frame: &Frame, limit: Duration) {
    if let Some(link) = members.peers[process].link()
        && let Err(trouble) = frame::write(link, frame, Instant::now() + limit)
    {
        tracing::debug!(process, %trouble, "a message before the start was lost");
    }
}

/// Tells the connected peers why this process gives up.
fn give_up(roster: &Roster, error: &Error) {
    let text = match error {
        Error::Cluster(why) => why.clone(),
        other => other.to_string(),
    };
    let members = roster.lock();
    for process in 0..members.peers.len() {
        send(&members, process, &Frame::GaveUp(clip(&text, 4096).to_owned()), PAUSE);
    }
}

/// The peers that are not connected, with their addresses and the reasons as far as they are known.
fn missing(spec: &Spec, members: &Members) -> String {
    let others = || (0..spec.processes).filter(|&p| p != spec.process);
    let absent: Vec<String> = others()
        .filter(|&p| !members.peers[p].connected())
        .map(|p| {
            let silent = if p < spec.process { "no answer yet" } else { "it has not called" };
            format!("process {p} at {} ({})", spec.addresses[p], members.peers[p].why.as_deref().unwrap_or(silent))
        })
        .collect();
    if !absent.is_empty() {
        let stranger = members.stranger.iter().map(|why| format!("{why} (it called, and was refused)"));
        return absent.into_iter().chain(stranger).collect::<Vec<_>>().join(", ");
    }
    let unready = others().filter(|&p| !members.peers[p].ready);
    let unready: Vec<String> = unready.map(|p| format!("process {p} at {} (it waits for others)", spec.addresses[p])).collect();
    unready.join(", ")
}
