//! The thread that reads shards: one in each process, with a task for each shard.
//!
//! A task asks for an iterator, then for records again and again. It gives up only when nothing can be read any more: the shard has ended,
//! the record from which to go on is gone, or access is denied. All else is trouble, and is tried again.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::Record;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::connector::kinesis::aggregated::{HashKeys, is_packed, unpacked};
use crate::connector::kinesis::client::{Backoff, Client, Problem};
use crate::connector::kinesis::number::Place;
use crate::connector::kinesis::shard_buffer::{Chunk, Item, Left, ShardBuffer};
use crate::connector::kinesis::source::{BETWEEN_READS, KinesisSource};
use crate::connector::message::{Block, Raw};
use crate::core::clock::wall_ms;
use crate::core::error::{Error, Result};
use crate::core::thread::spawn;

/// How much the clock of this machine may be ahead of the service's, before the trouble is shown.
const CLOCK_IS_AHEAD: &str = "the clock of this machine is ahead of the service's, and it waits for that time";

/// Reads a shard from a place on, until its buffer has another epoch.
pub(super) struct Follow {
    pub buffer: Arc<ShardBuffer>,
    pub epoch: u64,
    pub partition: i32,
    /// The position after `after`.
    pub position: i64,
    /// As a [`ShardSpan`](crate::core::plan::ShardSpan) writes it.
    pub after: Arc<str>,
}

/// The thread. It ends when the last reader is gone.
pub(super) struct Fetcher {
    commands: UnboundedSender<Follow>,
}

impl Fetcher {
    pub fn start(source: &KinesisSource) -> Result<Fetcher> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("start of the runtime of Kinesis", e))?;
        let (commands, receiver) = unbounded_channel();
        let source = source.clone();
        spawn("tm-kinesis", move || {
            runtime.block_on(serve(source, receiver));
            // A name may be looked up by a thread that cannot be ended.
            runtime.shutdown_background();
        })?;
        Ok(Fetcher { commands })
    }

    pub fn follow(&self, follow: Follow) {
        // After its end nobody reads any more.
        let _ = self.commands.send(follow);
    }
}

async fn serve(source: KinesisSource, mut commands: UnboundedReceiver<Follow>) {
    let mut client = None;
    while let Some(follow) = commands.recv().await {
        let client = match &client {
            Some(client) => Client::clone(client),
            None => match Client::new(&source).await {
                Ok(new) => client.insert(new).clone(),
                Err(problem) => {
                    follow.buffer.push(follow.epoch, Item::Fault(problem.text().into()));
                    continue;
                }
            },
        };
        let idle = source.idle;
        tokio::spawn(async move {
            let (buffer, epoch) = (follow.buffer.clone(), follow.epoch);
            let task = tokio::spawn(async move { Shard::new(client, follow, idle).run().await });
            if let Err(e) = task.await
                && e.is_panic()
            {
                buffer.push(epoch, Item::Fault(format!("{}: the task that reads it ended by a panic", buffer.place())));
            }
        });
    }
}

/// What reads one shard.
struct Shard {
    client: Client,
    buffer: Arc<ShardBuffer>,
    epoch: u64,
    partition: i32,
    position: i64,
    after: Arc<str>,
    /// Whether the next record must be `after`: then nothing was lost since it was read.
    checks: bool,
    iterator: Option<String>,
    /// `None`: they were not asked for yet.
    hash_keys: Option<Option<HashKeys>>,
    idle: Duration,
    backoff: Backoff,
}

impl Shard {
    fn new(client: Client, follow: Follow, idle: Duration) -> Self {
        let Follow { buffer, epoch, partition, position, after } = follow;
        let backoff = Backoff::default();
        Shard { client, buffer, epoch, partition, position, after, checks: false, iterator: None, hash_keys: None, idle, backoff }
    }

    fn over(&self) -> bool {
        self.buffer.state(self.epoch).0
    }

    async fn run(mut self) {
        let mut next = Instant::now();
        while !self.over() {
            if !self.buffer.state(self.epoch).1 {
                self.buffer.changed.notified().await;
                continue;
            }
            let pause = next.saturating_duration_since(Instant::now());
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.buffer.changed.notified() => {}
                }
                continue;
            }
            let wait = match self.step().await {
                Ok(None) => return,
                Ok(Some(wait)) => {
                    self.backoff.reset();
                    self.buffer.set_trouble(None);
                    wait
                }
                Err(problem) => match self.failed(problem) {
                    Some(wait) => wait,
                    None => return,
                },
            };
            next = Instant::now() + wait;
        }
    }

    /// Gets an iterator, or records. Returns how long to wait before the next call; `None` at the end.
    async fn step(&mut self) -> Result<Option<Duration>, Problem> {
        let Some(iterator) = &self.iterator else {
            let place = Place::of(&self.after);
            self.iterator = Some(self.client.iterator(&self.buffer.shard, place).await?);
            self.checks = matches!(place, Place::After(_));
            return Ok(Some(Duration::ZERO));
        };
        let answer = self.client.records(iterator).await?;
        if self.hash_keys.is_none() && answer.records.iter().any(|record| is_packed(record.data.as_ref())) {
            // If this fails, the same records are asked for again.
            self.hash_keys = Some(self.client.hash_keys(&self.buffer.shard).await?);
        }
        Ok(self.take(answer))
    }

    fn push(&self, item: Item) {
        self.buffer.push(self.epoch, item);
    }

    fn take(&mut self, answer: GetRecordsOutput) -> Option<Duration> {
        let GetRecordsOutput { records, next_shard_iterator, millis_behind_latest, .. } = answer;
        let (mut records, behind) = (&records[..], millis_behind_latest.unwrap_or(0));
        let nothing_left = next_shard_iterator.is_none() || behind == 0;
        if self.checks {
            match records.split_first() {
                Some((first, rest)) if *first.sequence_number == *self.after => (records, self.checks) = (rest, false),
                // An answer may be empty although records follow.
                None if !nothing_left => {}
                _ => {
                    self.push(Item::Trimmed("the service begins with a later record".into()));
                    return None;
                }
            }
        }
        if !records.is_empty() {
            self.give(records);
        }
        self.buffer.set_left(if behind > 0 { Left::Since(wall_ms() as i64 - behind) } else { Left::Nothing });
        self.iterator = next_shard_iterator;
        if self.iterator.is_none() {
            self.push(Item::End);
            return None;
        }
        let more = behind > 0 || !records.is_empty();
        Some(if more { self.idle.min(BETWEEN_READS) } else { self.idle })
    }

    fn give(&mut self, records: &[Record]) {
        let bytes = records.iter().map(|r| r.data.as_ref().len() + r.partition_key.len() + 2).sum();
        let new = |first| Block::new(self.buffer.stream.clone(), self.partition, first, records.len(), bytes);
        let (mut block, mut places) = (new(self.position), Vec::with_capacity(records.len()));
        let mut position = self.position;
        for record in records {
            let time = record.approximate_arrival_timestamp.and_then(|time| time.to_millis().ok());
            let data = record.data.as_ref();
            let mut put = |key: &str, value: &[u8]| {
                let raw = Raw { offset: position, time, key: Some(key.as_bytes()), value: Some(value), headers: &[] };
                if !block.push(&raw) {
                    let full = std::mem::replace(&mut block, new(position));
                    let records = std::mem::take(&mut places).into();
                    self.push(Item::Chunk(Chunk { block: Arc::new(full), records }));
                    assert!(block.push(&raw), "a record of Kinesis is smaller than 4 GiB");
                }
                position += 1;
            };
            match unpacked(data, self.hash_keys.flatten()) {
                None => put(&record.partition_key, data),
                Some(several) => several.iter().for_each(|(key, value)| put(key, value)),
            }
            places.push((position, Arc::from(record.sequence_number.as_str())));
        }
        self.position = position;
        if let Some((_, number)) = places.last() {
            self.after = number.clone();
        }
        self.push(Item::Chunk(Chunk { block: Arc::new(block), records: places.into() }));
    }

    /// What a problem means for this shard: how long to wait before the next try, or `None` if there is none.
    fn failed(&mut self, problem: Problem) -> Option<Duration> {
        // The first iterator of a place is refused if the place is gone. Later ones expire, or belong to a server that was started again.
        let place = Place::of(&self.after);
        let trouble = match (problem, place) {
            (Problem::Expired, _) => {
                self.iterator = None;
                tracing::debug!("{}: its iterator has expired, and it gets another one", self.buffer.place());
                return Some(self.backoff.next());
            }
            (Problem::Missing(text) | Problem::Refused(text), Place::After(_)) if self.iterator.is_none() => {
                self.push(Item::Trimmed(text));
                return None;
            }
            (Problem::Missing(text), _) if self.iterator.is_none() => {
                self.push(Item::Gone(text));
                return None;
            }
            (Problem::Refused(_), Place::Time(ms)) if self.iterator.is_none() && ms > wall_ms() as i64 - 60_000 => {
                CLOCK_IS_AHEAD.to_owned()
            }
            (Problem::Missing(text) | Problem::Refused(text), _) if self.iterator.is_some() => {
                self.iterator = None;
                text
            }
            (Problem::Passing(text), _) => text,
            (problem, _) => {
                self.push(Item::Fault(format!("{}: {}", self.buffer.place(), problem.text())));
                return None;
            }
        };
        self.buffer.set_trouble(Some(format!("{}: {trouble}", self.buffer.place())));
        self.buffer.set_left(Left::Unknown);
        Some(self.backoff.next())
    }
}
