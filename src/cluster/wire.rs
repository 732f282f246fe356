//! The data socket as timely sees it: one on which nothing ever goes wrong.
//!
//! Timely's network threads answer an error, and an end of the stream without timely's closing word, with a panic: it
//! poisons the queues of the workers, which panic in turn, perhaps twice at once, which aborts the process, and the guard
//! that joins the threads panics last. So they see neither. When a peer is lost its socket tells [`Fate`]; reading then waits
//! until the workers have dropped their dataflows and returned, and goes on with zeros up to and including a closing
//! word. These bytes reach queues that nobody reads. Writing goes on into nothing. Both threads end as on a good day,
//! and no panic hook is needed.
//!
//! *Invariant*: a byte that the peer did not send is read only after the last worker has returned.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::fate::Fate;

/// How often a waiting read or write looks whether it should go on.
const LOOK: Duration = Duration::from_millis(200);

/// A socket to one peer, under timely's network threads.
pub(super) struct DataSocket {
    stream: TcpStream,
    peer: usize,
    fate: Arc<Fate>,
    frames: Frames,
    lost: bool,
}

impl DataSocket {
    pub(super) fn new(stream: TcpStream, peer: usize, fate: Arc<Fate>) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        Ok(DataSocket { stream, peer, fate, frames: Frames::default(), lost: false })
    }

    /// The bytes that make a lost peer's stream whole.
    fn complete(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.frames.left().min(buffer.len() as u64) as usize;
        buffer[..n].fill(0);
        self.frames.pass(&buffer[..n]);
        n
    }

    fn lose(&mut self, why: String) {
        self.lost = true;
        self.fate.broken(self.peer, why);
        self.fate.await_workers();
        // The writing half ends too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Read for DataSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.lost {
            let why = match self.stream.read(buffer) {
                Ok(n) if n > 0 => {
                    self.frames.pass(&buffer[..n]);
                    return Ok(n);
                }
                _ if self.frames.closed => return Ok(0),
                Ok(_) => "the connection was closed".into(),
                Err(e) if passing(&e) && !self.fate.overdue(self.peer) => continue,
                Err(e) if passing(&e) => "it did not end in time".into(),
                Err(e) => e.to_string(),
            };
            self.lose(why);
        }
        Ok(self.complete(buffer))
    }
}

impl Write for DataSocket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        while !self.lost {
            match self.stream.write(buffer) {
                Ok(n) if n > 0 || buffer.is_empty() => return Ok(n),
                Err(e) if passing(&e) && !self.fate.overdue(self.peer) => {}
                ended => {
                    // The reading half hears of it, and tells.
                    tracing::debug!(peer = self.peer, ?ended, "the peer does not read any more");
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
        DataSocket::new(self.stream.try_clone()?, self.peer, self.fate.clone())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // It fails when the peer is gone, which the reading half knows.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Follows timely's framing: where the next message ends, and whether the closing word has come.
#[derive(Default)]
struct Frames {
    /// Of the head at hand: how many bytes have passed, and the length as far as it is known.
    have: usize,
    length: u64,
    body: u64,
    closed: bool,
}

impl Frames {
    /// The bytes of timely's `MessageHeader`: six big-endian words, the fifth the length of what follows.
    const HEAD: usize = 48;
    const LENGTH: std::ops::Range<usize> = 32..40;

    /// The bytes to the end of the head or body at hand.
    fn left(&self) -> u64 {
        match (self.closed, self.body) {
            (true, _) => 0,
            (false, 0) => (Self::HEAD - self.have) as u64,
            (false, body) => body,
        }
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closed {
            let n = self.left().min(bytes.len() as u64) as usize;
            let (now, rest) = bytes.split_at(n);
            bytes = rest;
            if self.body > 0 {
                self.body -= n as u64;
                continue;
            }
            for byte in now {
                if Self::LENGTH.contains(&self.have) {
                    self.length = self.length << 8 | u64::from(*byte);
                }
                self.have += 1;
            }
            if self.have == Self::HEAD {
                (self.body, self.have, self.length) = (self.length, 0, 0);
                self.closed = self.body == 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use timely::communication::networking::MessageHeader;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 3, source: 1, target_lower: 0, target_upper: 1, length, seqno: 9 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.extend(std::iter::repeat_n(7, length));
        bytes
    }

    #[test]
    fn frames_follow_messages_cut_anywhere() {
        let mut bytes = message(5);
        bytes.extend(message(300));
        let end = bytes.len() as u64;
        bytes.extend(message(0));
        for step in [1, 7, 47, 48, 49, 1000] {
            let mut frames = Frames::default();
            bytes.chunks(step).for_each(|chunk| frames.pass(chunk));
            assert!(frames.closed);
            let mut frames = Frames::default();
            bytes[..end as usize].chunks(step).for_each(|chunk| frames.pass(chunk));
            assert_eq!((frames.closed, frames.left()), (false, 48));
        }
    }

    #[test]
    fn a_lost_peer_ends_with_a_closing_word_after_the_workers_returned() {
        let whole = message(100);
        for sent in [0, 20, 36, 48, 90, 148] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().unwrap().0;
            let fate = Arc::new(Fate::new(vec![listener.local_addr().unwrap(); 2]));
            let mut socket = DataSocket::new(stream, 1, fate.clone()).unwrap();
            peer.write_all(&whole[..sent]).unwrap();
            drop(peer);
            let reader = std::thread::spawn(move || {
                let mut bytes = Vec::new();
                socket.read_to_end(&mut bytes).unwrap();
                (bytes, socket.frames.closed)
            });
            while !fate.failed() {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(!reader.is_finished(), "nothing is made up before the workers have returned");
            fate.workers_returned();
            let (bytes, closed) = reader.join().unwrap();
            assert!(closed && bytes[..sent] == whole[..sent], "{sent}: {}", bytes.len());
            assert!(bytes[bytes.len() - 8..].iter().all(|b| *b == 0));
        }
    }
}
