//! A proxy between a program and the server. It forwards requests, answers them itself, or loses their answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// What the proxy does with a request.
pub enum Deal {
    Pass,
    /// The server processes the request, and its answer is dropped.
    Lose,
    /// The server does not get the request. The proxy answers with this status and body.
    Say(u16, &'static str),
}

/// The parts of a request that may decide what the proxy does.
pub struct Request {
    pub method: String,
    pub path: String,
    pub bytes: usize,
}

/// Starts a proxy that listens until the process ends. Returns its address.
pub fn start(to: &str, deal: impl Fn(&Request) -> Deal + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (to, deal) = (to.trim_start_matches("http://").to_owned(), Arc::new(deal));
    std::thread::spawn(move || {
        for caller in listener.incoming().map_while(Result::ok) {
            let (to, deal) = (to.clone(), deal.clone());
            std::thread::spawn(move || serve(caller, &to, &*deal));
        }
    });
    address
}

/// Serves one request per connection. The answer says that the connection is closed.
fn serve(mut caller: TcpStream, to: &str, deal: &dyn Fn(&Request) -> Deal) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        caller.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).ok()?;
    let mut words = text.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length = text.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok());
    let request = Request { method, path, bytes: length.unwrap_or(0) };
    let mut body = vec![0; request.bytes];
    caller.read_exact(&mut body).ok()?;
    let deal = deal(&request);
    if let Deal::Say(status, text) = deal {
        let head =
            format!("HTTP/1.1 {status} said\r\nETag: \"said\"\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
        caller.write_all(format!("{head}{text}").as_bytes()).ok()?;
        return caller.shutdown(Shutdown::Write).ok();
    }
    let mut server = TcpStream::connect(to).ok()?;
    let (first, rest) = text.split_once("\r\n")?;
    server.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    match deal {
        Deal::Lose => caller.shutdown(Shutdown::Both).ok(),
        _ => caller.write_all(&answer).ok(),
    }
}
