//! Where each process listens. Line i of the hostfile is the `host:port` of process i.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::core::error::{Error, Result};
use crate::core::time::human_duration;

/// Time between two attempts to resolve a name.
const PAUSE: Duration = Duration::from_millis(200);
/// Time between two log lines about a name that does not resolve.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// The default port of process 0. Process i listens on this plus i, as in timely.
pub const FIRST_PORT: u16 = 2101;

/// The addresses of `processes` processes on this machine, if there is no hostfile: `127.0.0.1:2101+i`.
///
/// # Errors
/// More processes than there are ports.
///
/// ```
/// let hosts = tidemill::cluster::hosts::local(2).unwrap();
/// assert_eq!(hosts[1].to_string(), "127.0.0.1:2102");
/// ```
pub fn local(processes: usize) -> Result<Vec<SocketAddr>> {
    let ports = usize::from(u16::MAX - FIRST_PORT) + 1;
    if processes > ports {
        return Err(Error::config(format!(
            "-n {processes}: there are ports for {ports} processes from {FIRST_PORT} on; start fewer"
        )));
    }
    Ok((FIRST_PORT..=u16::MAX).take(processes).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect())
}

/// Reads the addresses of the first `processes` processes from a hostfile. Blank lines and lines that begin with `#` are
/// skipped. `secured`: the processes share a secret, so they may be on several machines.
///
/// # Errors
/// A file that cannot be read or has too few lines; an address that is malformed, unknown, given twice, has port 0, or,
/// without a secret, is not a loopback address.
pub fn read(path: &Path, processes: usize, secured: bool) -> Result<Vec<SocketAddr>> {
    read_within(path, processes, secured, Duration::ZERO, &AtomicBool::new(false))
}

/// Like [`read`], but tries for `limit` to resolve names: containers start before their names are known. `cancel` ends the wait.
pub(crate) fn read_within(
    path: &Path,
    processes: usize,
    secured: bool,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(format!("cannot read the hostfile {}", path.display()), e))?;
    let (begun, mut logged) = (Instant::now(), Instant::now());
    parse(&text, &path.display().to_string(), processes, secured, lookup, |why| {
        if cancel.load(Ordering::SeqCst) || begun.elapsed() >= limit {
            return false;
        }
        if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            tracing::info!("{why}; waiting for it, at most {} in all", human_duration(limit));
        }
        sleep(PAUSE.min(limit));
        true
    })
}

fn lookup(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    name.to_socket_addrs().map(Iterator::collect)
}

/// `lookup` resolves a `host:port`. If it fails, `again` gets the reason and returns whether to try again.
fn parse(
    text: &str,
    file: &str,
    processes: usize,
    secured: bool,
    lookup: impl Fn(&str) -> std::io::Result<Vec<SocketAddr>>,
    mut again: impl FnMut(&str) -> bool,
) -> Result<Vec<SocketAddr>> {
    let mut found: Vec<(usize, SocketAddr)> = Vec::with_capacity(processes);
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).take(processes) {
        let wrong = |what: String| Error::config(format!("hostfile {file}, line {number}: {what}"));
        let port = port(line).map_err(wrong)?;
        let addresses = loop {
            match lookup(line) {
                Ok(addresses) => break addresses,
                Err(e) => {
                    let what = wrong(format!("\"{line}\" cannot be resolved: {e}; correct the name, or write its address"));
                    if !again(&what.to_string()) {
                        return Err(what);
                    }
                }
            }
        };
        let address = choose(line, port, addresses, secured).map_err(wrong)?;
        if let Some((first, _)) = found.iter().find(|(_, other)| *other == address) {
            return Err(wrong(format!("\"{line}\" is the address of line {first} too; give each process its own port")));
        }
        found.push((number, address));
    }
    if found.len() < processes {
        return Err(Error::config(format!(
            "hostfile {file} has {} of the {processes} addresses that -n {processes} needs; write one host:port a line, or start fewer processes",
            found.len()
        )));
    }
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// The port of a `host:port`. The text of an error names the value and the remedy.
fn port(text: &str) -> std::result::Result<u16, String> {
    let malformed =
        || format!("\"{text}\" is not host:port; write for example 127.0.0.1:{FIRST_PORT}, or [::1]:{FIRST_PORT} for IPv6");
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // Without brackets, the last group of an IPv6 address would be taken for a port.
    if bracketed.unwrap_or(host).is_empty() || host.contains(char::is_whitespace) || bracketed.is_none() && host.contains(':') {
        return Err(malformed());
    }
    if port == 0 {
        return Err(format!("\"{text}\" has port 0, which no peer can call; name a port from 1 to 65535"));
    }
    Ok(port)
}

/// The address of a `host:port` that all processes choose, of those that it resolves to.
fn choose(text: &str, port: u16, found: Vec<SocketAddr>, secured: bool) -> std::result::Result<SocketAddr, String> {
    if let Some(none) = found.iter().find(|a| a.ip().is_unspecified() || a.ip().is_multicast()) {
        let ip = none.ip();
        return Err(format!("\"{text}\" is {ip}, which no peer can call; write the address at which the others reach it"));
    }
    if let Some(outside) = found.iter().find(|a| !a.ip().is_loopback() && !secured) {
        return Err(format!(
            "\"{text}\" is {}, not a loopback address: without a secret all processes must run on one machine; give all the \
             same secret by --secret-file or TIDEMILL_SECRET, or use 127.0.0.1:{port}",
            outside.ip()
        ));
    }
    // `localhost` has two addresses: every process must choose the same.
    found
        .iter()
        .find(|a| a.is_ipv4())
        .or(found.first())
        .copied()
        .ok_or_else(|| format!("\"{text}\" has no address; correct the name, or write its address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, n: usize, secured: bool) -> Result<Vec<SocketAddr>> {
        parse(text, "hosts.txt", n, secured, lookup, |_| false)
    }

    fn refused(text: &str, n: usize) -> String {
        match parsed(text, n, false) {
            Err(Error::Config(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn d14_blank_lines_and_comments_are_skipped() {
        let text = "# the first\n\n127.0.0.1:2101\n  [::1]:2102  \r\nlocalhost:2103\nnot used: beyond n\n";
        let hosts = parsed(text, 3, false).unwrap();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["127.0.0.1:2101", "[::1]:2102", "127.0.0.1:2103"]);
    }

    #[test]
    fn d14_each_mistake_names_file_line_value_and_remedy() {
        for (text, n, parts) in [
            ("127.0.0.1:1\n", 2, ["hosts.txt has 1 of the 2", "-n 2", "one host:port a line"]),
            ("\n127.0.0.1\n", 1, ["line 2", "\"127.0.0.1\" is not host:port", "write for example"]),
            ("127.0.0.1:99999", 1, ["line 1", "\"127.0.0.1:99999\"", "not host:port"]),
            ("127.0.0.1:1 127.0.0.1:2", 1, ["line 1", "127.0.0.1:1 127.0.0.1:2", "not host:port"]),
            ("::1:2101", 1, ["line 1", "\"::1:2101\"", "[::1]:2101 for IPv6"]),
            ("[]:2101", 1, ["line 1", "\"[]:2101\"", "not host:port"]),
            (":2101", 1, ["line 1", "\":2101\"", "not host:port"]),
            ("127.0.0.1:0", 1, ["line 1", "port 0", "1 to 65535"]),
            ("127.0.0.1:7\n#\nlocalhost:7", 2, ["line 3", "\"localhost:7\"", "line 1 too"]),
            ("192.0.2.7:2101", 1, ["line 1", "192.0.2.7, not a loopback", "--secret-file"]),
            ("0.0.0.0:2101", 1, ["line 1", "0.0.0.0, which no peer", "others reach it"]),
            ("no-such-host.invalid:2101", 1, ["line 1", "cannot be resolved", "correct the name"]),
        ] {
            let error = refused(text, n);
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn d14_with_a_secret_every_address_is_accepted_that_a_peer_can_call() {
        assert_eq!(parsed("192.0.2.7:2101", 1, true).unwrap()[0].to_string(), "192.0.2.7:2101");
        assert_eq!(parsed("[2001:db8::7]:2101", 1, true).unwrap()[0].to_string(), "[2001:db8::7]:2101");
        assert!(parsed("[::]:2101", 1, true).unwrap_err().to_string().contains("no peer can call"));
    }

    #[test]
    fn a_name_that_resolves_after_a_while_is_waited_for() {
        let known = std::cell::Cell::new(false);
        let late = |name: &str| match name {
            "worker-1:2102" if !known.get() => Err(std::io::Error::other("Name or service not known")),
            "worker-1:2102" => lookup("127.0.0.1:2102"),
            name => lookup(name),
        };
        let mut reasons = Vec::new();
        let hosts = parse("127.0.0.1:2101\nworker-1:2102\n", "hosts.txt", 2, false, late, |why| {
            reasons.push(why.to_owned());
            known.set(reasons.len() == 3);
            true
        });
        assert_eq!(hosts.unwrap()[1].to_string(), "127.0.0.1:2102");
        assert!(
            reasons.len() == 3 && reasons[0].contains("line 2: \"worker-1:2102\" cannot be resolved: Name or"),
            "{reasons:?}"
        );
    }

    #[test]
    fn waiting_for_a_name_ends_at_the_limit_and_when_the_job_is_stopped() {
        let dir = crate::testing::temp_dir::TempDir::made("hosts-wait");
        let file = dir.join("hosts");
        std::fs::write(&file, "no-such-host.invalid:2101\n").unwrap();
        let ends = |limit, stopped| {
            let e = read_within(&file, 1, false, limit, &AtomicBool::new(stopped)).unwrap_err().to_string();
            assert!(e.contains("cannot be resolved"), "{e}");
        };
        let begun = Instant::now();
        ends(Duration::from_millis(300), false);
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        ends(Duration::from_secs(3_600), true);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/no/such/hosts.txt"), 2, false).unwrap_err().to_string();
        assert!(error.contains("/no/such/hosts.txt"), "{error}");
    }

    #[test]
    fn the_default_runs_out_of_ports() {
        assert_eq!(local(3).unwrap()[2].to_string(), "127.0.0.1:2103");
        assert!(local(70_000).unwrap_err().to_string().contains("start fewer"));
    }
}
