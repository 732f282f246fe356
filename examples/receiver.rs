//! A receiver that acknowledges: nothing that a sender was told to be safe is lost. `cargo run --example receiver -- DIR`
//!
//! It listens on a port of loopback and says which on stderr. A sender writes lines, and reads how many of its lines are safe:
//! `printf 'to be\nor not\n' | nc -q1 127.0.0.1 PORT` prints 2. The number is sent after the lines are synced to the log in DIR. Kill the
//! program at any moment (`kill -9`), and start it again with the same DIR: every acknowledged line is printed. A sender that got no
//! answer sends its lines again, and those may be printed twice.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use tidemill::connector::receiver::{Receiver, ReceiverHandle};
use tidemill::prelude::*;

/// Receives lines from every program that connects.
#[derive(Default)]
struct Lines {
    listens: Option<SocketAddr>,
}

impl Receiver for Lines {
    type Item = String;

    fn name(&self) -> String {
        "acknowledged lines".into()
    }

    fn on_start(&mut self, to: ReceiverHandle<String>) -> Result<(), BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        eprintln!("listening on {address}");
        self.listens = Some(address);
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                if to.is_stopped() {
                    return;
                }
                let to = to.clone();
                std::thread::spawn(move || {
                    if let Err(e) = peer.map_err(BoxError::from).and_then(|peer| serve(peer, &to)) {
                        to.report_error(e.to_string());
                    }
                });
            }
        });
        Ok(())
    }

    fn on_stop(&mut self) {
        // The thread waits for a connection.
        let _ = self.listens.take().map(TcpStream::connect);
    }
}

/// Stores the lines of one sender, and tells it how many are safe. An unfinished line is not a line.
fn serve(peer: TcpStream, to: &ReceiverHandle<String>) -> Result<(), BoxError> {
    let mut answers = peer.try_clone()?;
    let mut bytes = BufReader::new(peer);
    let mut safe = 0;
    loop {
        // All lines that have arrived are stored together, so one sync covers them.
        let (mut block, mut line) = (Vec::new(), String::new());
        while (block.is_empty() || bytes.buffer().contains(&b'\n')) && bytes.read_line(&mut line)? > 0 && line.ends_with('\n') {
            block.push(line.trim_end().to_owned());
            line.clear();
        }
        if block.is_empty() {
            return Ok(());
        }
        safe += block.len();
        to.store_many(block)?;
        writeln!(answers, "{safe}")?;
    }
}

fn main() -> tidemill::Result<Summary> {
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("tidemill-receiver"), Into::into);
    let job = StreamingContext::builder("receiver", millis(100)).checkpoint(dir).checkpoint_interval(millis(200));
    job.run(|ssc| {
        ssc.receiver_stream(Lines::default()).print(usize::MAX);
        Ok(())
    })
}
