//! A producer for generators: it fills a stream by `PutRecords`, and sends again what was refused.

use std::time::Instant;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use tokio::runtime::{Builder, Runtime};

use crate::connector::kinesis::client::{Backoff, Client, Problem, START_DEADLINE};
use crate::connector::kinesis::source::KinesisSource;
use crate::core::error::{Error, Result};

/// The most records and bytes of one call.
const AT_ONCE: (usize, usize) = (500, 4 << 20);
/// How often records are sent again that are refused, before it gives up: for about two minutes.
const TRIES: u32 = 16;

/// Sends records to one stream.
pub(crate) struct StreamWriter {
    source: KinesisSource,
    runtime: Runtime,
    client: Client,
    waiting: Vec<PutRecordsRequestEntry>,
    bytes: usize,
    delivered: u64,
}

impl StreamWriter {
    /// Makes the stream with this number of shards if it is not there, and waits until it can be written.
    ///
    /// # Errors
    /// The description is wrong, or the service refuses.
    pub fn new(source: KinesisSource, shards: i32) -> Result<Self> {
        source.check()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("start of the runtime of Kinesis", e))?;
        let client = runtime.block_on(Client::new(&source)).map_err(|e| source.fault(e.text()))?;
        let writer = StreamWriter { source, runtime, client, waiting: Vec::new(), bytes: 0, delivered: 0 };
        writer.made(shards)?;
        Ok(writer)
    }

    fn made(&self, shards: i32) -> Result<()> {
        let (begun, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let asked = self.runtime.block_on(self.client.is_active());
            match asked {
                Ok(true) => return Ok(()),
                Ok(false) | Err(Problem::Passing(_)) if begun.elapsed() < START_DEADLINE * 3 => {}
                Ok(false) => return Err(self.source.fault("the stream is not active after a minute")),
                Err(Problem::Missing(_)) => match self.runtime.block_on(self.client.create(shards)) {
                    Ok(()) | Err(Problem::Passing(_)) => {}
                    Err(problem) => return Err(self.source.fault(problem.text())),
                },
                Err(problem) => return Err(self.source.fault(problem.text())),
            }
            std::thread::sleep(backoff.next());
        }
    }

    /// Sends a record, with earlier ones.
    ///
    /// # Errors
    /// The service has refused records for minutes, or for good.
    pub fn send(&mut self, key: &str, data: &[u8]) -> Result<()> {
        let size = key.len() + data.len();
        if self.waiting.len() == AT_ONCE.0 || self.bytes + size > AT_ONCE.1 {
            self.flush()?;
        }
        let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build();
        self.waiting.push(entry.map_err(|e| self.source.fault(e))?);
        self.bytes += size;
        Ok(())
    }

    /// Sends what waits. Records that were refused are sent again, alone: a call may fail half.
    ///
    /// # Errors
    /// As `send`.
    pub fn flush(&mut self) -> Result<()> {
        let mut backoff = Backoff::default();
        self.bytes = 0;
        let mut left = std::mem::take(&mut self.waiting);
        let mut why = String::new();
        for _ in 0..TRIES {
            if left.is_empty() {
                return Ok(());
            }
            match self.runtime.block_on(self.client.put(left.clone())) {
                Ok(refused) => {
                    let all = left.len();
                    let refused = |i: usize| refused.iter().find(|(at, _)| *at == i).map(|(_, text)| text);
                    let mut again = Vec::new();
                    for (i, entry) in left.into_iter().enumerate() {
                        if let Some(text) = refused(i) {
                            why.clone_from(text);
                            again.push(entry);
                        }
                    }
                    self.delivered += (all - again.len()) as u64;
                    left = again;
                }
                Err(Problem::Passing(text)) => why = text,
                Err(problem) => return Err(self.source.fault(problem.text())),
            }
            if !left.is_empty() {
                std::thread::sleep(backoff.next());
            }
        }
        Err(self.source.fault(format!("it refuses records, again and again: {why}")))
    }

    /// Sends what waits. Returns the number of all records that the service has taken.
    ///
    /// # Errors
    /// As `send`.
    pub fn settle(mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.delivered)
    }
}
