//! Where a job listens for readers, and who may read. *Invariant:* an address that is not a loopback address needs a secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::cluster::secret::Secret;
use crate::core::error::{Error, Result};

/// An address that was checked.
pub(crate) struct Listen {
    /// The first address to try.
    pub address: SocketAddr,
    /// Set if readers must show the token of this secret.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the server reads it"))]
    pub secret: Option<Secret>,
}

/// Reads `ADDR:PORT`, where ADDR is an IP address or `localhost`.
///
/// # Errors
/// Anything else, with the form.
pub(crate) fn parse(text: &str) -> Result<SocketAddr> {
    let local = text.strip_prefix("localhost:").and_then(|port| Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()));
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        Error::config(format!("\"{text}\" is not ADDR:PORT; write for example 127.0.0.1:4040, or [::1]:4040 for IPv6"))
    })
}

/// The address for process `process` of a job: each further process begins one port higher.
///
/// # Errors
/// An address that others can reach, without a secret; a secret that cannot be read; a port above the last one.
pub(crate) fn checked(first: SocketAddr, process: u16, secret_file: Option<&Path>) -> Result<Listen> {
    let Some(port) = first.port().checked_add(if first.port() == 0 { 0 } else { process }) else {
        return Err(Error::config(format!(
            "--listen {first}: process {process} would need a port above 65535; give a lower one"
        )));
    };
    let address = SocketAddr::new(first.ip(), port);
    if first.ip().is_loopback() {
        return Ok(Listen { address, secret: None });
    }
    match Secret::find(secret_file)? {
        Some(secret) => Ok(Listen { address, secret: Some(secret) }),
        None => {
            let what = format!("--listen {first}: everybody who reaches this address could read the job");
            Err(Error::config(format!(
                "{what}; set a secret by --secret-file FILE or {}, or listen on 127.0.0.1:{}",
                crate::cluster::secret::VARIABLE,
                first.port()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_others_need_a_secret() {
        assert_eq!(parse("localhost:4040").unwrap(), parse("127.0.0.1:4040").unwrap());
        assert!(parse("[::1]:4040").unwrap().ip().is_loopback());
        for wrong in ["4040", "localhost", "job.example:4040", "127.0.0.1:70000", ""] {
            let e = parse(wrong).unwrap_err().to_string();
            assert!(e.contains(&format!("\"{wrong}\" is not ADDR:PORT")) && e.contains("127.0.0.1:4040"), "{e}");
        }
        let checked = |text: &str, process| checked(parse(text).unwrap(), process, None).map(|l| l.address.to_string());
        assert_eq!(checked("127.0.0.1:4040", 2).unwrap(), "127.0.0.1:4042");
        assert_eq!(checked("127.0.0.1:0", 2).unwrap(), "127.0.0.1:0", "the system chooses");
        let e = checked("127.0.0.1:65535", 1).unwrap_err().to_string();
        assert!(e.contains("above 65535"), "{e}");
        for open in ["0.0.0.0:4040", "10.0.0.1:4040", "[::]:4040"] {
            let e = checked(open, 0).unwrap_err().to_string();
            assert!(
                e.contains(&format!("--listen {open}")) && e.contains("--secret-file") && e.contains("127.0.0.1:4040"),
                "{e}"
            );
        }
    }
}
