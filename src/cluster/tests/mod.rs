//! The processes of a cluster as threads of one (the handshake), as processes (the run), as programs (the launch).

mod handshake;
mod launch;
mod run;
mod secret;

use std::net::{SocketAddr, TcpListener};

/// Addresses that were free a moment ago, all different.
pub(super) fn free(n: usize) -> Vec<SocketAddr> {
    let held: Vec<_> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap()).collect()
}

#[track_caller]
pub(super) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}
