//! Challenge and response: each side sends a nonce, then the caller signs its hello, then the called process signs its answer.
//!
//! ```text
//! caller  Challenge { nonce, secret: yes/no }                  ->
//!                                                              <-  Challenge { nonce, secret: yes/no }   called
//!         Signed { Hello, HMAC(nonces, Hello) }                ->
//!                                                              <-  Signed { Answer, HMAC(nonces, Hello, Answer) }
//! ```
//!
//! *Invariant*: with a secret, a called process reveals nothing to a caller that does not know it, and believes nothing that it sends.

use std::net::TcpStream;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cluster::frame::{self, Trouble};
use crate::cluster::hello::{Answer, Hello};
use crate::cluster::secret::{Nonce, Proof, Secret, Side, nonce, prove, proves};

/// The first message of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Challenge {
    pub nonce: Nonce,
    /// Whether this side has a secret.
    pub secret: bool,
}

/// An encoded message and its HMAC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Signed {
    pub body: Vec<u8>,
    pub proof: Proof,
}

/// The reply of the called process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Answer(Signed),
    /// The signature of the caller is wrong.
    Unproven,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The text continues a sentence that begins with "process P at A".
    #[error("{0}")]
    Secret(&'static str),
    #[error("{0}")]
    System(crate::core::error::Error),
}

impl HandshakeError {
    /// What differs there, to continue a sentence that begins with "process P at A". `None`: it failed for another reason.
    pub(super) fn difference(&self) -> Option<String> {
        match self {
            HandshakeError::Trouble(Trouble::Protocol(theirs)) => {
                Some(format!("uses protocol {theirs}, and this one {}: start all with the same build", frame::PROTOCOL))
            }
            HandshakeError::Secret(why) => Some((*why).into()),
            _ => None,
        }
    }
}

const REMEDY_THEIRS: &str =
    "has a secret, and this one has none: give all processes the same, by --secret-file or TIDEMILL_SECRET";
const REMEDY_OWN: &str = "has no secret, and this one has one: give all processes the same, by --secret-file or TIDEMILL_SECRET";
const REMEDY_OTHER: &str = "has another secret than this one: give all processes the same, by --secret-file or TIDEMILL_SECRET";

/// Checks that both sides have a secret, or neither.
fn both_or_none(own: bool, theirs: bool) -> Result<(), HandshakeError> {
    match (own, theirs) {
        (false, true) => Err(HandshakeError::Secret(REMEDY_THEIRS)),
        (true, false) => Err(HandshakeError::Secret(REMEDY_OWN)),
        _ => Ok(()),
    }
}

/// The handshake on the caller's side.
pub(super) fn call(stream: &TcpStream, own: &Hello, secret: Option<&Secret>, until: Instant) -> Result<Answer, HandshakeError> {
    let mine = nonce().map_err(HandshakeError::System)?;
    frame::write(stream, &Challenge { nonce: mine, secret: secret.is_some() }, until)?;
    let theirs: Challenge = frame::read(stream, Some(until))?;
    both_or_none(secret.is_some(), theirs.secret)?;
    let hello = frame::body(own)?;
    let proof = prove(secret, Side::Caller, &[&mine, &theirs.nonce, &hello]);
    frame::write(stream, &Signed { body: hello.clone(), proof }, until)?;
    match frame::read(stream, Some(until))? {
        Reply::Answer(Signed { body, proof }) if proves(secret, Side::Called, &[&mine, &theirs.nonce, &hello, &body], &proof) => {
            Ok(frame::decode(&body)?)
        }
        Reply::Answer(_) | Reply::Unproven => Err(HandshakeError::Secret(REMEDY_OTHER)),
    }
}

/// A caller that has proved its hello, and waits for the answer.
pub(super) struct Caller<'a> {
    pub hello: Hello,
    body: Vec<u8>,
    nonces: (Nonce, Nonce),
    secret: Option<&'a Secret>,
}

/// The handshake on the side of the called process, up to the caller's hello.
pub(super) fn receive<'a>(stream: &TcpStream, secret: Option<&'a Secret>, until: Instant) -> Result<Caller<'a>, HandshakeError> {
    let first = frame::read::<Challenge>(stream, Some(until));
    // A caller with another protocol gets an answer, to see which protocol this is.
    if let Err(trouble @ (Trouble::Silent | Trouble::Closed | Trouble::Foreign | Trouble::TooLong(_))) = first {
        return Err(trouble.into());
    }
    let mine = nonce().map_err(HandshakeError::System)?;
    frame::write(stream, &Challenge { nonce: mine, secret: secret.is_some() }, until)?;
    let theirs = first?;
    both_or_none(secret.is_some(), theirs.secret)?;
    let Signed { body, proof } = frame::read(stream, Some(until))?;
    if !proves(secret, Side::Caller, &[&theirs.nonce, &mine, &body], &proof) {
        let _ = frame::write(stream, &Reply::Unproven, until);
        return Err(HandshakeError::Secret(REMEDY_OTHER));
    }
    let hello = frame::decode(&body)?;
    Ok(Caller { hello, body, nonces: (theirs.nonce, mine), secret })
}

impl Caller<'_> {
    /// Sends the reply.
    pub(super) fn answer(&self, stream: &TcpStream, answer: &Answer, until: Instant) -> Result<(), Trouble> {
        let body = frame::body(answer)?;
        let (theirs, mine) = &self.nonces;
        let proof = prove(self.secret, Side::Called, &[theirs, mine, &self.body, &body]);
        frame::write(stream, &Reply::Answer(Signed { body, proof }), until)
    }
}
