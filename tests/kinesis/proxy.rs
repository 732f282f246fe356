//! A proxy in front of a server, which answers errors that the servers of the tests never give, and takes records away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// What the proxy does with a call.
pub enum Deal {
    Pass,
    /// The server does not get the call. The proxy answers with this error.
    Refuse(&'static str),
    /// The server answers, and this changes its answer.
    Change(Box<dyn FnOnce(serde_json::Value) -> serde_json::Value>),
}

/// Starts a proxy that listens until the process ends. `deal` gets the name of the operation, and what is asked. Returns its address.
pub fn start(to: &str, deal: impl Fn(&str, &serde_json::Value) -> Deal + Send + Sync + 'static) -> String {
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

/// Reads the head of a message, and its body by the length that the head has.
fn message(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = field(&head, "content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn field(head: &str, name: &str) -> Option<String> {
    let of = |line: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().find_map(of)
}

/// Serves one call per connection. The answer says that the connection is closed.
fn serve(mut caller: TcpStream, to: &str, deal: &dyn Fn(&str, &serde_json::Value) -> Deal) -> Option<()> {
    let (head, body) = message(&mut caller)?;
    let target = field(&head, "x-amz-target")?;
    let operation = target.rsplit('.').next()?;
    let deal = deal(operation, &serde_json::from_slice(&body).ok()?);
    if let Deal::Refuse(error) = deal {
        let status = if error == "InternalFailure" { 500 } else { 400 };
        let body = serde_json::json!({ "__type": error, "message": "said by the proxy" }).to_string();
        return answer(caller, status, body.as_bytes());
    }
    let mut server = TcpStream::connect(to).ok()?;
    let (first, rest) = head.split_once("\r\n")?;
    server.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    let (head, body) = message(&mut server)?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    match deal {
        Deal::Change(change) if status == 200 => {
            answer(caller, status, change(serde_json::from_slice(&body).ok()?).to_string().as_bytes())
        }
        _ => answer(caller, status, &body),
    }
}

fn answer(mut caller: TcpStream, status: u16, body: &[u8]) -> Option<()> {
    let kind = "Content-Type: application/x-amz-json-1.1";
    let head = format!("HTTP/1.1 {status} said\r\n{kind}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    caller.write_all(head.as_bytes()).ok()?;
    caller.write_all(body).ok()
}
