//! A network that is slow, is cut, or works in one direction only. A proxy connects two processes, which are threads here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use timely::WorkerConfig;

use super::super::failure::FailureLatch;
use super::super::handshake::Peers;
use super::super::run::execute;
use super::handshake::LONG;
use super::run::{HEARTBEAT, WORKERS, job};
use super::{free, has};
use crate::core::error::Error;

/// The proxy: the faults that it injects from now on, and counters of past faults.
#[derive(Default)]
struct Network {
    /// Drops the bytes of a direction without closing the connection. The first direction is from process 0 to process 1.
    cut: [AtomicBool; 2],
    /// Delays all bytes until this is false again, as TCP does when packets are lost for a while.
    held: AtomicBool,
    delay_ms: AtomicU64,
    /// Whether any byte was delayed.
    waited: AtomicBool,
    passed: AtomicU64,
    swallowed: [AtomicU64; 2],
    /// The proxy's ends of each connection, towards process 0 and process 1.
    beside: Mutex<Vec<[TcpStream; 2]>>,
}

impl Network {
    /// A connection through the network: the ends of process 0 and of process 1.
    fn pair(self: &Arc<Self>) -> [TcpStream; 2] {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (near, far) = (listen(), listen());
        let zero = TcpStream::connect(near.local_addr().unwrap()).unwrap();
        let beside_zero = near.accept().unwrap().0;
        let beside_one = TcpStream::connect(far.local_addr().unwrap()).unwrap();
        let one = far.accept().unwrap().0;
        for (way, from, to) in [(0, &beside_zero, &beside_one), (1, &beside_one, &beside_zero)] {
            let (network, from, to) = (self.clone(), from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || network.carry(way, from, to));
        }
        for end in [&zero, &one, &beside_zero, &beside_one] {
            end.set_nodelay(true).unwrap();
        }
        self.beside.lock().unwrap().push([beside_zero, beside_one]);
        [zero, one]
    }

    fn carry(&self, way: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = vec![0; 1 << 16];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            thread::sleep(Duration::from_millis(self.delay_ms.load(SeqCst)));
            while self.held.load(SeqCst) {
                self.waited.store(true, SeqCst);
                thread::sleep(Duration::from_millis(5));
            }
            if self.cut[way].load(SeqCst) {
                self.swallowed[way].fetch_add(n as u64, SeqCst);
            } else if to.write_all(&chunk[..n]).is_ok() {
                self.passed.fetch_add(n as u64, SeqCst);
            }
        }
        if !self.cut[way].load(SeqCst) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

type Ends = [JoinHandle<Result<Vec<u64>, Error>>; 2];

/// Two processes over a network.
fn start(network: &Arc<Network>, variant: &'static str) -> Ends {
    start_with(network, variant, HEARTBEAT)
}

fn start_with(network: &Arc<Network>, variant: &'static str, heartbeat: Duration) -> Ends {
    let addresses = free(2);
    let (data, link) = (network.pair(), network.pair());
    let mut ends = data.into_iter().zip(link).enumerate();
    [(); 2].map(|()| {
        let (process, (data, link)) = ends.next().unwrap();
        let to_other = |stream| if process == 0 { vec![None, Some(stream)] } else { vec![Some(stream), None] };
        let (data, link, addresses) = (to_other(data), to_other(link), addresses.clone());
        let peers = Peers { process, workers: WORKERS, addresses, data, link, heartbeat, listener: None };
        thread::spawn(move || {
            execute(peers, WorkerConfig::default(), &Arc::new(FailureLatch::new()), move |w, latch| {
                job(w, latch, variant, process)
            })
        })
    })
}

fn working(network: &Network) {
    let until = Instant::now() + LONG;
    while network.passed.load(SeqCst) < 1 << 20 {
        assert!(Instant::now() < until, "no bytes arrive");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn d4_a_slow_network_is_survived() {
    let network = Arc::new(Network::default());
    network.delay_ms.store(20, SeqCst);
    let begin = Instant::now();
    let counts = start(&network, "clean").map(|end| end.join().unwrap().unwrap().iter().sum::<u64>());
    assert_eq!(counts.iter().sum::<u64>(), 40_000 * 2 * WORKERS as u64);
    assert!(begin.elapsed() > Duration::from_millis(200), "the network was slow");
}

#[test]
fn d3_a_cut_network_ends_both_sides_in_time() {
    let network = Arc::new(Network::default());
    let ends = start(&network, "endless");
    working(&network);
    let begin = Instant::now();
    network.cut.iter().for_each(|way| way.store(true, SeqCst));
    let errors = ends.map(|end| end.join().unwrap().unwrap_err().to_string());
    assert!(begin.elapsed() > HEARTBEAT / 2 && begin.elapsed() < LONG, "{:?}", begin.elapsed());
    for (p, error) in errors.iter().enumerate() {
        has(error, &[&format!("process {} at", 1 - p), "was lost: it was silent for 4s", "the network is cut"]);
    }
    assert!(network.swallowed.iter().all(|n| n.load(SeqCst) > 0), "the proxy dropped no bytes");
}

#[test]
fn d4_a_network_in_one_direction_ends_both_sides_in_time() {
    for way in [0, 1] {
        let network = Arc::new(Network::default());
        let ends = start(&network, "endless");
        working(&network);
        let begin = Instant::now();
        network.cut[way].store(true, SeqCst);
        let errors = ends.map(|end| end.join().unwrap().unwrap_err().to_string());
        assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
        // The side that still receives learns from the other that its messages are lost.
        let words = format!("process {way} at");
        assert!(errors.iter().all(|e| e.contains(&words) && e.contains("was lost: it was silent for 4s")), "{errors:?}");
        assert!(network.swallowed[way].load(SeqCst) > 0 && network.swallowed[1 - way].load(SeqCst) == 0);
    }
}

#[test]
fn d3_a_short_cut_is_survived() {
    let network = Arc::new(Network::default());
    // The network is slow, so that the cut is in the middle of the work.
    network.delay_ms.store(1, SeqCst);
    // The cut is far shorter than the heartbeat, even on a busy machine.
    let heartbeat = 10 * HEARTBEAT;
    let ends = start_with(&network, "clean", heartbeat);
    while network.passed.load(SeqCst) == 0 {
        thread::yield_now();
    }
    network.held.store(true, SeqCst);
    let begin = Instant::now();
    while !network.waited.load(SeqCst) || begin.elapsed() < HEARTBEAT / 3 {
        assert!(begin.elapsed() < heartbeat, "no bytes were sent during the cut");
        thread::sleep(Duration::from_millis(5));
    }
    network.held.store(false, SeqCst);
    let counts = ends.map(|end| end.join().unwrap().unwrap().iter().sum::<u64>());
    assert_eq!(counts.iter().sum::<u64>(), 40_000 * 2 * WORKERS as u64);
}

/// The connection of one end is closed, and the other end receives nothing more, as after a router's restart.
#[test]
fn d3_a_half_open_connection_ends_both_sides_in_time() {
    for told in [0, 1] {
        let network = Arc::new(Network::default());
        let ends = start(&network, "endless");
        working(&network);
        let begin = Instant::now();
        network.cut.iter().for_each(|way| way.store(true, SeqCst));
        network.beside.lock().unwrap().iter().for_each(|pair| pair[told].shutdown(Shutdown::Both).unwrap());
        let errors = ends.map(|end| end.join().unwrap().unwrap_err().to_string());
        assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
        has(&errors[told], &[&format!("process {} at", 1 - told), "was lost: the connection was closed"]);
        has(&errors[1 - told], &[&format!("process {told} at"), "was lost: it was silent for 4s"]);
    }
}
