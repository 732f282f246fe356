//! Tests of a cluster. Its processes are threads in the tests of the handshake, child processes in those of the run, and programs in
//! those of the launcher.

mod cut;
mod flood;
mod handshake;
mod launch;
mod run;
mod secret;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Free addresses. Their ports are below those that the system assigns, so no other program gets them meanwhile.
pub(super) fn free(n: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // tests/programs/child.rs uses the ports from 10,000 to 19,999.
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
