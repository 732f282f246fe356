//! One message between two processes of a cluster: magic, protocol, length, postcard bytes. It is read within a deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first bytes of every message, which tell it from those of other programs.
pub(super) const MAGIC: [u8; 8] = *b"tidemill";
/// The version of the protocol. It is incremented with every change of the messages.
pub(super) const PROTOCOL: u32 = 3;
/// The longest message. The length is sent by a peer that is not yet trusted.
pub(super) const CAP: usize = 256 << 10;

const HEAD: usize = 16;

/// Why no message arrived, or could be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The deadline passed.
    #[error("no complete message within the time limit")]
    Silent,
    /// The other end closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The bytes are not those of tidemill.
    #[error("another program than tidemill answers there")]
    Foreign,
    /// A tidemill process with another version of the protocol.
    #[error("protocol {0} there, {PROTOCOL} here")]
    Protocol(u32),
    /// The length is above the limit.
    #[error("a message of {0} bytes: the limit is {CAP}")]
    TooLong(usize),
    /// The head is right, but the body is not.
    #[error("a message that cannot be decoded: {0}")]
    Garbled(postcard::Error),
    /// An error of the system.
    #[error("{0}")]
    Io(io::Error),
}

/// Reads one message, until `until` at the latest, even if its bytes arrive slowly.
pub(super) fn read<T: DeserializeOwned>(stream: &TcpStream, until: Option<Instant>) -> Result<T, Trouble> {
    let mut head = [0; HEAD];
    fill(stream, &mut head[..8], until)?;
    if head[..8] != MAGIC {
        return Err(Trouble::Foreign);
    }
    fill(stream, &mut head[8..], until)?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (protocol, length) = (word(8), word(12) as usize);
    if length > CAP {
        return Err(Trouble::TooLong(length));
    }
    let mut body = vec![0; length];
    fill(stream, &mut body, until)?;
    if protocol != PROTOCOL {
        return Err(Trouble::Protocol(protocol));
    }
    decode(&body)
}

/// Writes one message, until `until` at the latest.
pub(super) fn write<T: Serialize>(stream: &TcpStream, message: &T, until: Instant) -> Result<(), Trouble> {
    let bytes = encode(message)?;
    let mut rest = &bytes[..];
    let mut writer = stream;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?)).map_err(Trouble::Io)?;
        match writer.write(rest) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(n) => rest = &rest[n..],
            Err(e) => again(e)?,
        }
    }
    Ok(())
}

/// A value as it travels in a message.
pub(super) fn body<T: Serialize>(value: &T) -> Result<Vec<u8>, Trouble> {
    postcard::to_stdvec(value).map_err(Trouble::Garbled)
}

/// The value in a message.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    postcard::from_bytes(body).map_err(Trouble::Garbled)
}

/// The bytes of one message.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Trouble> {
    let body = body(message)?;
    let length = u32::try_from(body.len()).ok().filter(|n| *n as usize <= CAP).ok_or(Trouble::TooLong(body.len()))?;
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&PROTOCOL.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn fill(stream: &TcpStream, mut buffer: &mut [u8], until: Option<Instant>) -> Result<(), Trouble> {
    let mut reader = stream;
    while !buffer.is_empty() {
        let wait = until.map(left).transpose()?;
        stream.set_read_timeout(wait).map_err(Trouble::Io)?;
        match reader.read(buffer) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(n) => buffer = &mut buffer[n..],
            Err(e) => again(e)?,
        }
    }
    Ok(())
}

fn left(until: Instant) -> Result<Duration, Trouble> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Trouble::Silent) } else { Ok(left) }
}

/// A timeout of the socket is not an error: the deadline decides.
fn again(error: io::Error) -> Result<(), Trouble> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(Trouble::Closed),
        _ => Err(Trouble::Io(error)),
    }
}
