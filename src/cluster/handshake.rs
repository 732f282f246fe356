//! Brings the processes of a cluster together: each listens on its address and calls every process with a lower index.
//!
//! A pair of processes has two sockets: `data` is handed to timely, `link` is ours (failures and goodbyes). Both ends of
//! each compare what they run; a difference is an error on both. When a process has all its peers it says so on every
//! link, and goes on when all have said it: all start, or none.

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
/// Which part of the time for one handshake a process asks again for a place that is taken: a second by default. The process that had
/// the place may have been cancelled, and its sockets not quite closed.
const TAKEN: u32 = 5;

/// The peers of this process, ready to run.
pub(crate) struct Peers {
    pub(super) process: usize,
    pub(super) workers: usize,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) data: Vec<Option<TcpStream>>,
    pub(super) link: Vec<Option<TcpStream>>,
    pub(super) heartbeat: Duration,
    /// Held, so that latecomers get an answer and no other program takes the address.
    pub(super) door: Option<Listener>,
}

impl Peers {
    /// No peers: one process with `workers` workers.
    pub(crate) fn alone(workers: usize) -> Self {
        let nobody = || vec![None];
        Peers { process: 0, workers, addresses: Vec::new(), data: nobody(), link: nobody(), heartbeat: Duration::MAX, door: None }
    }
}

/// Finds and checks all peers, or says who is missing or differs. `cancel` ends the wait.
///
/// # Errors
/// `Error::Cluster`: the own address is taken, a peer differs or does not come, or the wait was cancelled.
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
    let roster = Arc::new(Roster::new(Hello::new(spec, instance()), spec.secret.clone()));
    let door = Listener::open(listener, roster.clone(), spec.limit)?;
    let gathered = callers(spec, &roster).and_then(|()| gather(spec, &roster, cancel));
    roster.close();
    if let Err(error) = gathered {
        // Who is cancelled while others are missing may be started again: those who wait go on waiting.
        if !cancel.load(Ordering::SeqCst) || roster.lock().whole {
            give_up(&roster, &error);
        }
        return Err(error);
    }
    let (data, link) = roster.sockets();
    for stream in data.iter().chain(&link).flatten() {
        settle(stream, spec.heartbeat).map_err(|e| Error::io("cannot set up a socket to a peer", e))?;
    }
    let (addresses, heartbeat) = (spec.addresses.clone(), spec.heartbeat);
    Ok(Peers { process: spec.process, workers: spec.workers, addresses, data, link, heartbeat, door: Some(door) })
}

/// The link says who is lost; that the system gives up too, after twice that time, is for what hangs in it.
fn settle(stream: &TcpStream, heartbeat: Duration) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, heartbeat.max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(stream, (heartbeat / 4).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(2 * heartbeat.as_millis()).unwrap_or(u32::MAX))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

/// A number no other start of a process is likely to have.
fn instance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// One thread for each process that is to be called.
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

/// Calls until both sockets are there, and again when they are lost before all have come.
fn keep_calling(process: usize, address: SocketAddr, limit: Duration, roster: &Roster) {
    let mut taken: Option<Instant> = None;
    let mut members = roster.lock();
    while !members.closed && members.fatal.is_none() {
        let Some(kind) = members.peers[process].wants() else {
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
    /// Another process has this one's place.
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
    let said = challenge::call(&stream, &own, roster.secret.as_ref(), until);
    let answer = said.map_err(|refusal| match refusal.difference() {
        Some(why) => Call::Fatal(format!("process {process} at {address} {why}")),
        None => Call::Again(refusal.to_string()),
    })?;
    take(process, address, &own, answer, stream, roster)
}

/// What follows from an answer.
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
        // Perhaps an older run on its way out: call again.
        Verdict::Whole => {
            let also = difference.map(|d| format!(" ({d})")).unwrap_or_default();
            Err(Call::Again(format!("it belongs to a cluster that is whole and runs: end that run first{also}")))
        }
        Verdict::Over(_) | Verdict::Taken(_) | Verdict::Welcome if difference.is_some() => {
            Err(Call::Fatal(difference.unwrap_or_default()))
        }
        Verdict::Over(generation) => Err(Call::Fatal(older(process, address, own, generation))),
        Verdict::Welcome if own.generation() > 0 && hello.generation() > own.generation() => {
            Err(Call::Fatal(older(process, address, own, hello.generation())))
        }
        Verdict::Welcome if hello.run.is_some() && hello.generation() < own.generation() => {
            Err(Call::Again(format!("it belongs to generation {}, which is over: end it", hello.generation())))
        }
        Verdict::Taken(from) => Err(Call::Taken(format!(
            "process {process} at {address} is connected to another process {} already (it called from {from}): \
             two processes were started with -p {}; stop one of them",
            own.process, own.process
        ))),
        Verdict::Welcome if hello.process != process => Err(Call::Fatal(format!(
            "process {} answers at {address}, the address of process {process}: start each with its own -p",
            hello.process
        ))),
        Verdict::Welcome if roster.seat(&hello, stream) => Ok(()),
        Verdict::Welcome => Err(Call::Again("it started again while it was called".into())),
    }
}

/// This process was told a generation, and another one has begun since.
fn older(process: usize, address: SocketAddr, own: &Hello, generation: u64) -> String {
    format!(
        "process {process} at {address} belongs to generation {generation} of the job, this one to generation {}, which is over: \
         a run was started while this process was of the one before; start it again",
        own.generation()
    )
}

/// Waits until all are here and each has said that all are.
fn gather(spec: &Spec, roster: &Roster, cancel: &AtomicBool) -> Result<()> {
    let begin = Instant::now();
    let mut next_word = begin + PROGRESS;
    let mut members = roster.lock();
    loop {
        if cancel.load(Ordering::SeqCst) {
            return Err(Error::Cluster(format!("stopped while waiting for {}", missing(spec, &members))));
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
            && others.clone().all(|p| members.peers[p].here())
        {
            for process in others.clone() {
                say(&members, process, &Frame::Ready(run), spec.limit);
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
        if now >= next_word {
            next_word = now + PROGRESS;
            tracing::info!("waiting for {}", missing(spec, &members));
        }
        members = roster.wait(members, PAUSE / 2);
    }
}

/// Hears what one peer says on its link before the start, and notices when it goes.
fn check(spec: &Spec, members: &mut Members, process: usize) -> Result<()> {
    let (whole, run) = (members.whole, members.run);
    let peer = &mut members.peers[process];
    let at = spec.addresses[process];
    // After its word it may have begun, and what it says now is for the run.
    if peer.ready {
        return Ok(());
    }
    let heard = match peer.link() {
        Some(link) if waiting(link) => Some(frame::read::<Frame>(link, Some(Instant::now() + spec.limit))),
        _ => None,
    };
    match heard {
        Some(Ok(Frame::Ready(theirs))) if run.is_none_or(|run| run == theirs) => peer.ready = true,
        Some(Ok(Frame::Ready(theirs))) => {
            let (there, here) = (theirs.generation, run.map_or(0, |run| run.generation));
            return Err(Error::Cluster(format!(
                "process {process} at {at} begins another run than this one (generation {there} there, {here} here): end all, and start all"
            )));
        }
        Some(Ok(Frame::GaveUp(why))) => return Err(Error::Cluster(format!("process {process} at {at} gave up: {why}"))),
        Some(Ok(_) | Err(_)) | None => {
            if peer.vacate() && whole {
                return Err(Error::Cluster(format!("process {process} at {at} was lost while the cluster came together")));
            }
        }
    }
    Ok(())
}

/// A word on a link; whether it arrives shows later.
fn say(members: &Members, process: usize, frame: &Frame, limit: Duration) {
    if let Some(link) = members.peers[process].link()
        && let Err(trouble) = frame::write(link, frame, Instant::now() + limit)
    {
        tracing::debug!(process, %trouble, "a word before the start was lost");
    }
}

/// Tells those who are here why this process leaves.
fn give_up(roster: &Roster, error: &Error) {
    let text = match error {
        Error::Cluster(why) => why.clone(),
        other => other.to_string(),
    };
    let members = roster.lock();
    for process in 0..members.peers.len() {
        say(&members, process, &Frame::GaveUp(clip(&text, 4096).to_owned()), PAUSE);
    }
}

/// Who is not here, where each should be, and why as far as is known.
fn missing(spec: &Spec, members: &Members) -> String {
    let others = || (0..spec.processes).filter(|&p| p != spec.process);
    let absent: Vec<String> = others()
        .filter(|&p| !members.peers[p].here())
        .map(|p| {
            let silent = if p < spec.process { "no answer yet" } else { "it has not called" };
            format!("process {p} at {} ({})", spec.addresses[p], members.peers[p].why.as_deref().unwrap_or(silent))
        })
        .collect();
    if !absent.is_empty() {
        let stranger = members.stranger.iter().map(|why| format!("{why} (it called, and was sent away)"));
        return absent.into_iter().chain(stranger).collect::<Vec<_>>().join(", ");
    }
    let unready = others().filter(|&p| !members.peers[p].ready);
    let unready: Vec<String> = unready.map(|p| format!("process {p} at {} (it waits for others)", spec.addresses[p])).collect();
    unready.join(", ")
}
