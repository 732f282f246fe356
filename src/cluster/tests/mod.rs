//! The processes of a cluster as threads of one (the handshake), as processes (the run), as programs (the launch).

mod cut;
mod flood;
mod handshake;
mod launch;
mod run;
mod secret;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Addresses that are free and stay so: below the ports that the system gives away by itself, as a caller's or to others.
pub(super) fn free(n: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another part of the range than tests/programs/child.rs takes: 10,000 to 19,999.
    let first = (std::process::id() % 1_000) as u16 * 9;
    let ports = std::iter::repeat_with(|| 22_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 9_000);
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.filter(|a| TcpListener::bind(a).is_ok()).take(n).collect()
}

#[track_caller]
pub(super) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}
