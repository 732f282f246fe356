//! Reads from the port of a running job (`--listen`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::secret::Secret;
use crate::core::error::{BoxError, Error, Result};
use crate::core::time::{BatchTime, counted};

/// How long the job may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const BYTES: u64 = 64 << 20;

/// Where a job listens.
#[derive(Clone, Debug, clap::Args)]
pub struct JobArgs {
    /// Where the job listens, such as 127.0.0.1:4040
    #[arg(value_name = "ADDR:PORT", value_parser = crate::http::address::parse)]
    pub address: SocketAddr,
    /// File with the secret of the job, if it listens on another address than loopback [default: TIDEMILL_SECRET]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

impl JobArgs {
    /// The job.
    ///
    /// # Errors
    /// The file of the secret cannot be read.
    pub fn job(&self) -> Result<RunningJob> {
        RunningJob::at(self.address, self.secret_file.as_deref())
    }
}

/// `/api/v1/views`.
#[derive(Deserialize)]
struct Views {
    views: Vec<String>,
}

/// Says on stderr as of which batch an answer is, and how many rows it has.
pub fn say_rows(time: BatchTime, rows: u64) {
    eprintln!("batch {time}: {}", counted(rows, "row"));
}

/// A job that listens.
pub struct RunningJob {
    address: SocketAddr,
    /// What it wants to be shown, if it listens on another address than loopback.
    token: Option<String>,
}

impl RunningJob {
    /// The job at an address. Its secret is in the file, or in `TIDEMILL_SECRET`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn at(address: SocketAddr, secret_file: Option<&Path>) -> Result<Self> {
        let token = Secret::find(secret_file)?.map(|secret| secret.token());
        Ok(RunningJob { address, token })
    }

    /// The names of the views that can be asked.
    ///
    /// # Errors
    /// As `get`.
    pub fn views(&self) -> Result<Vec<String>> {
        Ok(self.get::<Views>("/api/v1/views")?.views)
    }

    /// What the job answers, read from JSON.
    ///
    /// # Errors
    /// No job answers there, it refuses, or it answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(&format!("GET {path}"), "", "", Some(ANSWER))
    }

    /// What the job answers to a text of this type, read from JSON. Waits until it answers.
    ///
    /// # Errors
    /// As `get`.
    pub fn post<T: DeserializeOwned>(&self, path: &str, kind: &str, body: &str) -> Result<T> {
        let head = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        self.ask(&format!("POST {path}"), &head, body, None)
    }

    /// What the job answers to the removal of something, read from JSON.
    ///
    /// # Errors
    /// As `get`.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(&format!("DELETE {path}"), "", "", Some(ANSWER))
    }

    /// Calls `each` for each line of an answer that goes on, until it returns `false` or the answer ends. Empty lines are signs of life.
    ///
    /// # Errors
    /// No job answers there, it refuses, it is silent, or the error of `each`.
    pub fn lines(&self, path: &str, mut each: impl FnMut(&str) -> Result<bool, BoxError>) -> Result<(), BoxError> {
        let failed = |e| Error::io(format!("the job at {}", self.address), e);
        // Of version 1.0 the body of the answer is the lines alone.
        let mut answer = BufReader::new(self.send(&format!("GET {path} HTTP/1.0"), "", "", Some(ANSWER))?);
        let mut next = || -> Result<Option<String>> {
            let mut line = String::new();
            let read = (&mut answer).take(BYTES).read_line(&mut line).map_err(failed)?;
            Ok((read > 0).then(|| line.trim_end().to_owned()))
        };
        let head = next()?.unwrap_or_default();
        while next()?.is_some_and(|line| !line.is_empty()) {}
        if head.split(' ').nth(1) != Some("200") {
            let why = next()?.unwrap_or_else(|| "it is not the page of a job".into());
            return Err(Error::config(format!("{}: {why}", self.address)).into());
        }
        while let Some(line) = next()? {
            if !line.is_empty() && !each(&line)? {
                break;
            }
        }
        Ok(())
    }

    fn ask<T: DeserializeOwned>(&self, request: &str, head: &str, body: &str, patience: Option<Duration>) -> Result<T> {
        let address = self.address;
        let failed = |e| Error::io(format!("no job answers at {address}; it needs --listen {address}"), e);
        let stream = self.send(&format!("{request} HTTP/1.1"), head, body, patience)?;
        let mut answer = String::new();
        stream.take(BYTES).read_to_string(&mut answer).map_err(failed)?;
        if answer.len() as u64 == BYTES {
            return Err(Error::config(format!(
                "the answer of the job at {address} has more than {BYTES} bytes: ask for fewer rows"
            )));
        }
        let strange = |what: &str| Error::config(format!("what answers at {address} is not the page of a job: {what}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| strange("its answer has no body"))?;
        match head.split(' ').nth(1) {
            Some("200") => serde_json::from_str(body).map_err(|e| strange(&e.to_string())),
            _ => Err(Error::config(format!("{address}: {}", body.trim()))),
        }
    }

    /// Sends a request. The answer comes from the stream.
    fn send(&self, request: &str, head: &str, body: &str, patience: Option<Duration>) -> Result<TcpStream> {
        let address = self.address;
        let failed = |e| Error::io(format!("no job answers at {address}; it needs --listen {address}"), e);
        let mut stream = TcpStream::connect_timeout(&address, CONNECT).map_err(failed)?;
        stream.set_read_timeout(patience).map_err(failed)?;
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        write!(stream, "{request}\r\nHost: {address}\r\n{token}{head}Connection: close\r\n\r\n{body}").map_err(failed)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request, and what was asked of it.
    fn server(answer: &'static str) -> (RunningJob, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            head.join("\n")
        });
        (RunningJob { address, token: Some("t".into()) }, asked)
    }

    fn lines(answer: &'static str, most: usize) -> (Result<(), String>, Vec<String>, String) {
        let (job, asked) = server(answer);
        let mut heard = Vec::new();
        let end = job.lines("/changes", |line| {
            heard.push(line.to_owned());
            Ok(heard.len() < most)
        });
        (end.map_err(|e| e.to_string()), heard, asked.join().unwrap())
    }

    #[test]
    fn lines_come_until_the_answer_ends_and_a_refusal_says_why() {
        let answer = "HTTP/1.0 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n{\"a\":1}\n\n{\"b\":2}\n";
        let (end, heard, asked) = lines(answer, 9);
        assert_eq!((end, heard), (Ok(()), vec!["{\"a\":1}".to_owned(), "{\"b\":2}".into()]));
        assert!(asked.starts_with("GET /changes HTTP/1.0") && asked.contains("Authorization: Bearer t"), "{asked}");
        assert_eq!(lines(answer, 1).1, ["{\"a\":1}"]);
        let (end, heard, _) = lines("HTTP/1.0 404 Not Found\r\n\r\nno view is queryable as x\n", 9);
        assert!(end.unwrap_err().ends_with(": no view is queryable as x") && heard.is_empty());
    }
}
