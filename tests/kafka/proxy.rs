//! A proxy in front of a broker. It can be slow, drop bytes, or change them. In the answers of the broker it replaces
//! the broker's address by its own, so that clients keep using the proxy.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The proxy of one test. It closes its connections on drop.
pub struct Proxy {
    pub address: String,
    state: Arc<State>,
}

struct State {
    broker: String,
    /// The address in the broker's answers, and its replacement.
    own: (Vec<u8>, Vec<u8>),
    over: AtomicBool,
    cut: AtomicBool,
    hang: AtomicBool,
    bytes_per_second: AtomicU64,
    spoil: Mutex<Option<Vec<u8>>>,
    /// How many answers were delayed, how many bytes were dropped, and how many answers were changed.
    slowed: AtomicU64,
    swallowed: AtomicU64,
    spoiled: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts a proxy for a broker on 127.0.0.1.
    pub fn before(broker: &str) -> Proxy {
        Proxy::renamed(broker, "127.0.0.1")
    }

    /// Like `before`, but the broker's answers name this host. Its name must be as long as 127.0.0.1.
    pub fn renamed(broker: &str, host: &str) -> Proxy {
        assert_eq!(host.len(), "127.0.0.1".len(), "the length of an answer must not change");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |address: &str| address.rsplit(':').next().unwrap().parse::<u32>().unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let named = |host: &str, address: &str| [host.as_bytes(), &port(address).to_be_bytes()].concat();
        let own = (named("127.0.0.1", broker), named(host, &address));
        let state = Arc::new(State {
            broker: broker.into(),
            own,
            over: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            hang: AtomicBool::new(false),
            bytes_per_second: AtomicU64::new(0),
            spoil: Mutex::default(),
            slowed: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            spoiled: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().take_while(|_| !shared.over.load(Ordering::SeqCst)) {
                // If the broker is down, the client sees that its connection is closed.
                let _ = client.and_then(|client| connect(&shared, client));
            }
        });
        Proxy { address, state }
    }

    /// Ends all connections, and each new one until `cut(false)`.
    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::SeqCst);
        self.close();
    }

    fn close(&self) {
        self.state.open.lock().unwrap().drain(..).for_each(|s| _ = s.shutdown(Shutdown::Both));
    }

    /// Drops all bytes in both directions from now on, without closing a connection. Existing connections stay dead for ever. New
    /// ones work after `hang(false)`.
    pub fn hang(&self, hang: bool) {
        self.state.hang.store(hang, Ordering::SeqCst);
    }

    /// Limits the speed of answers. 0: no limit.
    pub fn slow(&self, bytes_per_second: u64) {
        self.state.bytes_per_second.store(bytes_per_second, Ordering::SeqCst);
    }

    /// In each answer that contains these bytes, flips a bit of the last one.
    pub fn spoil(&self, bytes: &str) {
        *self.state.spoil.lock().unwrap() = Some(bytes.into());
    }

    pub fn slowed(&self) -> u64 {
        self.state.slowed.load(Ordering::SeqCst)
    }

    pub fn swallowed(&self) -> u64 {
        self.state.swallowed.load(Ordering::SeqCst)
    }

    pub fn spoiled(&self) -> u64 {
        self.state.spoiled.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        self.close();
    }
}

fn connect(state: &Arc<State>, client: TcpStream) -> Result<()> {
    let broker = TcpStream::connect(&state.broker)?;
    let mut open = state.open.lock().unwrap();
    if state.cut.load(Ordering::SeqCst) {
        return Ok(());
    }
    open.extend([client.try_clone()?, broker.try_clone()?]);
    drop(open);
    let (mut from, mut to) = (client.try_clone()?, broker.try_clone()?);
    let dead = Arc::new(AtomicBool::new(false));
    let (there, back) = ((state.clone(), dead.clone()), (state.clone(), dead));
    std::thread::spawn(move || {
        let mut bytes = [0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if !lives(&there.0, &there.1, n) {
                continue;
            }
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (broker, client);
    std::thread::spawn(move || {
        while let Ok(mut answer) = answer(&mut from) {
            if lives(&back.0, &back.1, answer.len()) && pass(&back.0, &mut answer, &mut to).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
    Ok(())
}

/// Whether these bytes are forwarded. A connection that hung once stays dead.
fn lives(state: &State, dead: &AtomicBool, bytes: usize) -> bool {
    let dies = state.hang.load(Ordering::SeqCst) && !dead.swap(true, Ordering::SeqCst);
    let lives = !dies && !dead.load(Ordering::SeqCst);
    if !lives {
        state.swallowed.fetch_add(bytes as u64, Ordering::SeqCst);
    }
    lives
}

/// Reads one answer of a broker: four bytes with the length, then the content.
fn answer(from: &mut TcpStream) -> Result<Vec<u8>> {
    let mut answer = vec![0; 4];
    from.read_exact(&mut answer)?;
    let len = u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]) as usize;
    answer.resize(4 + len, 0);
    from.read_exact(&mut answer[4..])?;
    Ok(answer)
}

fn pass(state: &State, answer: &mut [u8], to: &mut TcpStream) -> Result<()> {
    let (theirs, ours) = &state.own;
    while let Some(at) = find(answer, theirs) {
        answer[at..at + ours.len()].copy_from_slice(ours);
    }
    if let Some(bytes) = &*state.spoil.lock().unwrap()
        && let Some(at) = find(answer, bytes)
    {
        answer[at + bytes.len() - 1] ^= 1;
        state.spoiled.fetch_add(1, Ordering::SeqCst);
    }
    let rate = state.bytes_per_second.load(Ordering::SeqCst);
    if rate == 0 {
        return to.write_all(answer);
    }
    for piece in answer.chunks(1_000) {
        state.slowed.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(piece.len() as u64 * 1_000_000 / rate));
        to.write_all(piece)?;
    }
    Ok(())
}

fn find(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|w| w == of)
}
