//! The secret of a cluster, from a file or the environment. With it, processes prove that they belong together. It is never shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::error::{Error, Result};

/// The environment variable with the secret, used if no file is named.
pub const VARIABLE: &str = "TIDEMILL_SECRET";
/// The shortest secret. Somebody who records a handshake can try secrets on it, and would find a shorter one.
const LEAST: usize = 16;
const MOST: u64 = 4_096;
const MAKE_ONE: &str = "make one with: (umask 077; openssl rand -hex 32 > FILE)";

/// A number that is used once.
pub(super) type Nonce = [u8; 32];
/// Proves that the sender knows the secret, for one handshake and one direction.
pub(super) type Proof = [u8; 32];

/// The secret. Its `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The side that proves. So a proof of the called process cannot be sent back to it as one of a caller.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Caller,
    Called,
}

impl Secret {
    /// The secret of the file, if one is named; otherwise that of the environment, if it is set.
    ///
    /// # Errors
    /// A file that cannot be read, or that others can read; a secret that is too short.
    pub(crate) fn find(file: Option<&Path>) -> Result<Option<Secret>> {
        match (file, std::env::var_os(VARIABLE)) {
            (Some(file), _) => Self::read(file).map(Some),
            (None, Some(value)) => Self::new(value.as_encoded_bytes(), VARIABLE).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Secret> {
        let name = format!("the secret file {}", path.display());
        let failed = |e| Error::io(format!("cannot read {name}"), e);
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o007 != 0 {
            let mode = mode & 0o777;
            return Err(Error::config(format!(
                "{name} has mode {mode:03o}: everybody can read or write it; run chmod 600 {}",
                path.display()
            )));
        }
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::new(&bytes, &name)
    }

    /// `from` is named in errors.
    pub(crate) fn new(bytes: &[u8], from: &str) -> Result<Secret> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < LEAST || bytes.len() as u64 > MOST {
            let n = bytes.len();
            return Err(Error::config(format!("{from} has {n} bytes, and a secret needs {LEAST} to {MOST}; {MAKE_ONE}")));
        }
        Ok(Secret(bytes.to_vec()))
    }

    /// What readers of the job's page show. It is made from the secret, and does not show it to who sees it on the network.
    #[cfg(all(feature = "http", any(test, feature = "cli", feature = "testing")))]
    pub(crate) fn token(&self) -> String {
        self.token_mac().finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the token, in constant time.
    #[cfg(feature = "http")]
    pub(crate) fn is_token(&self, shown: &str) -> bool {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = shown.as_bytes().chunks(2).map(byte).collect();
        bytes.is_some_and(|bytes| self.token_mac().verify_slice(&bytes).is_ok())
    }

    #[cfg(feature = "http")]
    fn token_mac(&self) -> Hmac<Sha256> {
        keyed(&self.0, b"tidemill page")
    }
}

/// A random nonce from the system.
pub(super) fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    let failed = |e| Error::Cluster(format!("the system gives no random numbers: {e}"));
    getrandom::fill(&mut nonce).map_err(failed)?;
    Ok(nonce)
}

/// An HMAC that begins with its purpose, so that one for another purpose proves nothing here.
fn keyed(key: &[u8], purpose: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(purpose);
    mac
}

/// The HMAC over both nonces and all messages. Without a secret the key is empty: then it proves nothing, and only loopback
/// addresses are allowed.
fn mac(secret: Option<&Secret>, side: Side, messages: &[&[u8]]) -> Hmac<Sha256> {
    let purpose = match side {
        Side::Caller => b"tidemill handshake, caller",
        Side::Called => b"tidemill handshake, called",
    };
    let mut mac = keyed(secret.map_or(&[][..], |s| &s.0), purpose);
    for part in messages {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

pub(super) fn prove(secret: Option<&Secret>, side: Side, messages: &[&[u8]]) -> Proof {
    mac(secret, side, messages).finalize().into_bytes().into()
}

/// Checks a proof, in constant time.
pub(super) fn proves(secret: Option<&Secret>, side: Side, messages: &[&[u8]], proof: &Proof) -> bool {
    mac(secret, side, messages).verify_slice(proof).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    const CANARY: &[u8] = b"hunter2-canary-hunter2";

    fn file(name: &str, mode: u32, bytes: &[u8]) -> std::path::PathBuf {
        use std::io::Write;
        let path = std::env::temp_dir().join(format!("tidemill-secret-{}-{name}", std::process::id()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_no_message_shows_a_secret() {
        for (mode, fine) in [(0o600, true), (0o440, true), (0o644, false), (0o602, false)] {
            let path = file(&format!("{mode:o}"), mode, &[CANARY, b"\n"].concat());
            let read = Secret::find(Some(&path));
            std::fs::remove_file(&path).unwrap();
            match read {
                Ok(secret) => {
                    let secret = secret.unwrap();
                    assert!(fine && secret.0 == CANARY && format!("{secret:?}") == "Secret");
                }
                Err(e) => {
                    let text = format!("{e} {e:?}");
                    assert!(!fine && text.contains(&format!("mode {mode:03o}")) && text.contains("chmod 600"), "{text}");
                    assert!(!text.contains("hunter2"), "{text}");
                }
            }
        }
        let path = file("short", 0o600, b"hunter2\n");
        let error = Secret::find(Some(&path)).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("has 7 bytes") && error.contains("openssl") && !error.contains("hunter2"), "{error}");
        assert!(Secret::find(Some(Path::new("/no/such/secret"))).unwrap_err().to_string().contains("/no/such/secret"));
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_token_is_of_one_secret_and_does_not_show_it() {
        let (one, two) = (Secret::new(CANARY, "").unwrap(), Secret::new(b"another-of-sixteen", "").unwrap());
        let token = one.token();
        assert!(one.is_token(&token) && !two.is_token(&token) && !token.contains("hunter2") && token.len() == 64);
        for wrong in ["", "00", &token[1..], &format!("{token}00"), "\u{e9}\u{e9}", "zz"] {
            assert!(!one.is_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_proof_is_for_one_secret_one_direction_and_one_text() {
        let (one, two) = (Secret::new(CANARY, "").unwrap(), Secret::new(b"another-of-sixteen", "").unwrap());
        let said: [&[u8]; 2] = [b"nonce", b"hello"];
        let proof = prove(Some(&one), Side::Caller, &said);
        assert!(proves(Some(&one), Side::Caller, &said, &proof));
        assert!(!proves(Some(&two), Side::Caller, &said, &proof) && !proves(None, Side::Caller, &said, &proof));
        assert!(!proves(Some(&one), Side::Called, &said, &proof));
        assert!(!proves(Some(&one), Side::Caller, &[b"nonceh", b"ello"], &proof));
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }
}
