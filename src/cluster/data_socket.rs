//! The data socket as timely sees it: a socket without errors.
//!
//! Timely's network threads panic at an error, and at an end of the stream without timely's end message. The panic poisons the
//! queues of the workers, which panic in turn. Two panics at once abort the process. So the threads see neither. When a peer is
//! lost, its socket reports that to [`FailureLatch`]. Reading then waits until the workers have dropped their dataflows and
//! returned. After that it returns zeros, which complete the current message and are an end message. No worker reads the queues that
//! get these bytes. Written bytes are dropped. Both threads end without an error, and no panic hook is needed.
//!
//! *Invariant*: a byte that the peer did not send is read only after the last worker has returned.
//! *Invariant*: timely sees the head of a message only when it is complete and valid for this peer. A forged head would make timely
//! buffer without end, or index workers that do not exist.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use crate::cluster::failure::FailureLatch;

/// Time after which a waiting read or write checks whether the run has failed.
const CHECK: Duration = Duration::from_millis(200);
/// Longer than any message of timely.
pub(super) const LONGEST: u64 = 1 << 32;
/// The bytes of timely's `MessageHeader`: channel, source, target from, target until, length of what follows, number.
const HEAD: usize = 48;

/// A socket to one peer, under timely's network threads.
pub(super) struct DataSocket {
    stream: TcpStream,
    peer: usize,
    latch: Arc<FailureLatch>,
    frames: Frames,
    /// The peer sends nothing any more.
    pub(super) lost: bool,
}

impl DataSocket {
    /// The socket of `process` to `peer`. Each has this number of `workers`.
    pub(super) fn new(
        stream: TcpStream,
        process: usize,
        peer: usize,
        workers: usize,
        latch: Arc<FailureLatch>,
    ) -> io::Result<Self> {
        let of = |p: usize| (p * workers) as u64..((p + 1) * workers) as u64;
        Self::with(stream, peer, latch, Frames::new(of(peer), of(process)))
    }

    fn with(stream: TcpStream, peer: usize, latch: Arc<FailureLatch>, frames: Frames) -> io::Result<Self> {
        stream.set_read_timeout(Some(CHECK))?;
        stream.set_write_timeout(Some(CHECK))?;
        Ok(DataSocket { stream, peer, latch, frames, lost: false })
    }

    /// Reads the bytes that have arrived. `None`: there is none for timely yet.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, String> {
        if let Some(wrong) = self.frames.wrong.take() {
            return Err(wrong);
        }
        let Frames { head, have, closed, .. } = &mut self.frames;
        let split = *have > 0;
        let target = if split { &mut head[*have..] } else { &mut *buffer };
        let n = match self.stream.read(target) {
            // Bytes after the end message are ignored.
            _ if *closed => return Ok(Some(0)),
            Ok(0) => return Err("the connection was closed".into()),
            Ok(n) => n,
            Err(e) if passing(&e) && !self.latch.overdue(self.peer) => return Ok(None),
            Err(e) if passing(&e) => return Err("it did not end in time".into()),
            Err(e) => return Err(e.to_string()),
        };
        if split {
            self.frames.more(n);
            return Ok(None);
        }
        let n = self.frames.pass(&buffer[..n]);
        Ok((n > 0).then_some(n))
    }

    fn lose(&mut self, why: String) {
        self.lost = true;
        self.latch.broken(self.peer, why);
        self.latch.await_workers();
        // This ends the writing half too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Read for DataSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.frames.give(buffer);
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if self.lost {
                return Ok(self.frames.complete(buffer));
            }
            match self.receive(buffer) {
                Ok(Some(n)) => return Ok(n),
                Ok(None) => {}
                Err(why) => self.lose(why),
            }
        }
    }
}

impl Write for DataSocket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        while !self.lost {
            match self.stream.write(buffer) {
                Ok(n) if n > 0 || buffer.is_empty() => return Ok(n),
                Err(e) if passing(&e) && !self.latch.overdue(self.peer) => {}
                ended => {
                    // The reading half notices it, and reports it.
                    tracing::debug!(peer = self.peer, ?ended, "the peer no longer reads");
                    let _ = self.stream.shutdown(Shutdown::Both);
                    self.lost = true;
                }
            }
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for DataSocket {
    fn try_clone(&self) -> io::Result<Self> {
        let Frames { from, to, .. } = &self.frames;
        let frames = Frames::new(from.clone(), to.clone());
        DataSocket::with(self.stream.try_clone()?, self.peer, self.latch.clone(), frames)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // It fails if the peer has gone, which the reading half reports.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Follows timely's framing: where the next message begins, and whether the end message has arrived.
struct Frames {
    /// The workers of the peer, and those of this process.
    from: Range<u64>,
    to: Range<u64>,
    /// The bytes of an incomplete head, or those of a complete head that timely has not read yet.
    head: [u8; HEAD],
    have: usize,
    due: usize,
    /// Bytes left of the current body.
    body: u64,
    closed: bool,
    /// Why no more bytes are taken from the peer.
    wrong: Option<String>,
}

impl Frames {
    fn new(from: Range<u64>, to: Range<u64>) -> Self {
        Frames { from, to, head: [0; HEAD], have: 0, due: 0, body: 0, closed: false, wrong: None }
    }

    /// How many of `bytes` timely may read now. An incomplete head at their end is kept.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.closed {
            let rest = &bytes[at..];
            if self.body > 0 {
                let n = self.body.min(rest.len() as u64);
                (self.body, at) = (self.body - n, at + n as usize);
            } else if let Some(head) = rest.first_chunk() {
                if !self.begins(head) {
                    break;
                }
                at += HEAD;
            } else {
                self.head[..rest.len()].copy_from_slice(rest);
                self.have = rest.len();
                break;
            }
        }
        at
    }

    /// `n` more bytes were read of a head that arrived in parts.
    fn more(&mut self, n: usize) {
        self.have += n;
        if self.have == HEAD {
            self.have = 0;
            let head = self.head;
            self.due = if self.begins(&head) { HEAD } else { 0 };
        }
    }

    /// Whether a head is valid: a message of the peer to workers of this process, or the end message.
    fn begins(&mut self, head: &[u8; HEAD]) -> bool {
        let word = |i: usize| u64::from_be_bytes(*head[8 * i..].first_chunk().expect("eight bytes"));
        let (source, lower, upper, length) = (word(1), word(2), word(3), word(4));
        let to = self.to.start <= lower && lower < upper && upper <= self.to.end;
        if length >= LONGEST || length > 0 && !(to && self.from.contains(&source)) {
            let what = format!("{length} bytes from worker {source} to workers {lower}..{upper}");
            self.wrong = Some(format!("it sent an invalid message ({what}): something on the network changes the data"));
            return false;
        }
        (self.body, self.closed) = (length, length == 0);
        true
    }

    /// Gives timely the rest of a head that arrived in parts.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.due.min(buffer.len());
        let at = HEAD - self.due;
        buffer[..n].copy_from_slice(&self.head[at..at + n]);
        self.due -= n;
        n
    }

    /// The bytes that complete the stream of a lost peer: the rest of a body, and an end message, which is all zeros.
    fn complete(&mut self, buffer: &mut [u8]) -> usize {
        if self.body == 0 && !self.closed {
            (self.head, self.due, self.closed) = ([0; HEAD], HEAD, true);
            return self.give(buffer);
        }
        let n = self.body.min(buffer.len() as u64) as usize;
        buffer[..n].fill(0);
        self.body -= n as u64;
        n
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use timely::communication::networking::MessageHeader;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 3, source: 3, target_lower: 0, target_upper: 2, length, seqno: 9 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.extend(std::iter::repeat_n(7, length));
        bytes
    }

    /// A socket of process 0 to process 1, each with two workers, and what the other end is.
    fn socket() -> (DataSocket, TcpStream, Arc<FailureLatch>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let latch = Arc::new(FailureLatch::new());
        latch.meet(vec![listener.local_addr().unwrap(); 2]);
        (DataSocket::new(listener.accept().unwrap().0, 0, 1, 2, latch.clone()).unwrap(), peer, latch)
    }

    #[test]
    fn messages_arrive_whole_wherever_they_are_cut() {
        let mut bytes = message(5);
        bytes.extend(message(300));
        bytes.extend(message(0));
        for (sent, space) in [(1, 1), (7, 1000), (47, 3), (48, 48), (49, 13), (1000, 1), (1000, 1000)] {
            let (mut socket, mut peer, _) = socket();
            let mut read = Vec::new();
            for chunk in bytes.chunks(sent) {
                peer.write_all(chunk).unwrap();
            }
            let mut buffer = vec![0; space];
            while let n @ 1.. = socket.read(&mut buffer).unwrap() {
                read.extend_from_slice(&buffer[..n]);
                drop(peer.shutdown(Shutdown::Write));
            }
            assert!(socket.frames.closed && read == bytes, "{sent} {space}: {}", read.len());
        }
    }

    /// The bytes that timely reads after a peer has sent `bytes` and closed the connection, and why it was lost.
    fn after(bytes: &[u8]) -> (Vec<u8>, String) {
        let (mut socket, mut peer, latch) = socket();
        peer.write_all(bytes).unwrap();
        drop(peer);
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).unwrap();
            assert!(socket.frames.closed);
            bytes
        });
        while !latch.failed() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!reader.is_finished(), "no byte is added before the workers have returned");
        latch.workers_returned();
        (reader.join().unwrap(), latch.why().unwrap().to_string())
    }

    #[test]
    fn a_lost_peer_ends_with_an_end_message_after_the_workers_returned() {
        let whole = message(100);
        for sent in [0, 20, 36, 48, 90, 148] {
            let (bytes, why) = after(&whole[..sent]);
            // Timely does not see an incomplete head.
            let seen = if sent < HEAD { 0 } else { sent };
            let end = if sent < HEAD { 0 } else { whole.len() };
            assert!(bytes.len() == end + HEAD && bytes[..seen] == whole[..seen], "{sent}: {}", bytes.len());
            assert!(bytes[seen..].iter().all(|b| *b == 0) && why.contains("was lost: the connection was closed"), "{why}");
        }
    }

    #[test]
    fn d11_a_forged_length_does_not_reach_timely() {
        let fine = MessageHeader { channel: 3, source: 2, target_lower: 1, target_upper: 2, length: 9, seqno: 9 };
        for forged in [
            MessageHeader { length: 1 << 40, ..fine },
            MessageHeader { length: usize::MAX, ..fine },
            MessageHeader { target_upper: 3, ..fine },
            MessageHeader { target_lower: 2, ..fine },
            MessageHeader { source: 1, ..fine },
            MessageHeader { source: 4, ..fine },
        ] {
            let mut head = Vec::new();
            forged.write_to(&mut head).unwrap();
            for (before, more) in [(0, 0), (1, 0), (1, 4_000)] {
                let sent = [message(50).repeat(before), head.clone(), vec![1; more]].concat();
                let (bytes, why) = after(&sent);
                assert_eq!(bytes[..], [message(50).repeat(before), vec![0; HEAD]].concat());
                assert!(why.contains("was lost: it sent an invalid message"), "{why}");
            }
        }
    }
}
