//! The planner's half of a Kinesis source: it finds the shards, and where each begins.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::Shard;
use tokio::runtime::{Builder, Runtime};

use crate::connector::kinesis::client::{Backoff, Client, Problem, START_DEADLINE};
use crate::connector::kinesis::lineage::{Lineage, Listed};
use crate::connector::kinesis::source::KinesisSource;
use crate::connector::source::{ShardSpan, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::clock::wall_ms;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::plan::Split;
use crate::core::thread::spawn;

/// The job gives up on a stream that does not exist for this many looks, and at least for this time.
const GONE: (u32, Duration) = (6, Duration::from_secs(10));

/// The planner's half: lists the shards on its own thread.
pub(super) struct KinesisEnumerator {
    kinesis: KinesisSource,
    lineage: Arc<Mutex<Lineage>>,
    restored: bool,
    /// New shards, and what wakes the thread: a shard was read to its end.
    news: Option<(Receiver<Result<SplitOffset>>, Sender<()>)>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl KinesisEnumerator {
    pub fn new(kinesis: &KinesisSource) -> Result<Self> {
        kinesis.check()?;
        let (lineage, trouble) = (Arc::default(), Arc::default());
        Ok(KinesisEnumerator { kinesis: kinesis.clone(), lineage, restored: false, news: None, trouble })
    }

    /// Takes over which of these shards were read to their ends. Returns whether one of them is news.
    fn ended<'s>(&self, splits: impl Iterator<Item = &'s Split>) -> bool {
        let mut lineage = lock(&self.lineage);
        let mut news = false;
        for split in splits {
            if let Split::Shard { shard, span, .. } = split {
                if span.ended {
                    news |= lineage.ended(shard, &span.through);
                } else {
                    lineage.reads(shard);
                }
            }
        }
        news
    }
}

/// What lists the shards.
struct Lister {
    kinesis: KinesisSource,
    runtime: Runtime,
    client: Client,
}

impl Lister {
    /// Waits for the service, at most until the deadline of a start.
    fn start(kinesis: &KinesisSource) -> Result<(Lister, Vec<Listed>)> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("start of the runtime of Kinesis", e))?;
        let begun = Instant::now();
        let client = runtime.block_on(Client::new(kinesis)).map_err(|e| kinesis.fault(e.text()))?;
        let lister = Lister { kinesis: kinesis.clone(), runtime, client };
        let mut backoff = Backoff::default();
        loop {
            match lister.list() {
                Ok(listed) => return Ok((lister, listed)),
                Err(Problem::Passing(_)) if begun.elapsed() < START_DEADLINE => std::thread::sleep(backoff.next()),
                Err(problem) => return Err(kinesis.fault(problem.text())),
            }
        }
    }

    fn list(&self) -> Result<Vec<Listed>, Problem> {
        let listed = |shard: Shard| {
            let closed = shard.sequence_number_range.is_some_and(|range| range.ending_sequence_number.is_some());
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten().collect();
            Listed { shard: shard.shard_id, parents, closed }
        };
        Ok(self.runtime.block_on(self.client.shards())?.into_iter().map(listed).collect())
    }

    fn offset(&self, (shard, place): (String, String)) -> SplitOffset {
        let stream = self.kinesis.stream.as_str().into();
        SplitOffset { split: Split::Shard { stream, shard: shard.into(), span: ShardSpan::at(0, place) }, from: 0 }
    }
}

impl SplitEnumerator for KinesisEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, _snapshot: &[u8]) -> Result<()> {
        self.restored = true;
        self.ended(read.iter().map(|s| &s.split));
        Ok(())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        let (lister, listed) = Lister::start(&self.kinesis)?;
        if listed.is_empty() {
            return Err(self.kinesis.fault("it has no shard"));
        }
        let starts = match self.restored {
            true => lock(&self.lineage).next(&listed),
            false => lock(&self.lineage).first(&listed, self.kinesis.start, wall_ms() as i64),
        };
        let starts = starts.into_iter().map(|start| lister.offset(start)).collect();
        let watch = ShardWatch { lister, lineage: self.lineage.clone(), trouble: self.trouble.clone(), gone: None };
        self.news = Some(watch.spawn()?);
        Ok(starts)
    }

    fn check(&mut self, given: &[Split]) -> Result<()> {
        let shards = given.iter().filter_map(|s| if let Split::Shard { shard, .. } = s { Some(&**shard) } else { None });
        let shards: Vec<&str> = shards.collect();
        if shards.is_empty() {
            return Ok(());
        }
        let (_, listed) = Lister::start(&self.kinesis)?;
        match shards.into_iter().find(|shard| !listed.iter().any(|l| l.shard == **shard)) {
            None => Ok(()),
            Some(shard) => Err(self.kinesis.fault(format!("a range of {shard} is given, and the stream has no such shard now"))),
        }
    }

    fn discover(&mut self) -> Result<Vec<SplitOffset>> {
        let Some((news, _)) = &self.news else { return Ok(Vec::new()) };
        let mut starts = Vec::new();
        loop {
            match news.try_recv() {
                Ok(start) => starts.push(start?),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(starts),
            }
        }
    }

    fn on_committed(&mut self, ranges: &[SplitRange]) {
        if self.ended(ranges.iter().map(|r| &r.split))
            && let Some((_, wake)) = &self.news
        {
            let _ = wake.send(());
        }
    }

    fn health(&self) -> Result<(), String> {
        lock(&self.trouble).clone().map_or(Ok(()), Err)
    }
}

/// Looks for new shards from time to time, and when a shard was read to its end.
struct ShardWatch {
    lister: Lister,
    lineage: Arc<Mutex<Lineage>>,
    trouble: Arc<Mutex<Option<String>>>,
    /// Since when the stream does not exist, and how often it did not.
    gone: Option<(Instant, u32)>,
}

impl ShardWatch {
    fn spawn(mut self) -> Result<(Receiver<Result<SplitOffset>>, Sender<()>)> {
        let (say, news) = channel();
        let (wake, woken) = channel::<()>();
        let run = move || {
            let every = self.lister.kinesis.every;
            // The thread is not joined, because it may be waiting for the service.
            while woken.recv_timeout(every) != Err(RecvTimeoutError::Disconnected) {
                match self.look() {
                    Ok(starts) => starts.into_iter().for_each(|s| _ = say.send(Ok(s))),
                    Err(e) => {
                        let _ = say.send(Err(e));
                        return;
                    }
                }
            }
        };
        spawn("tm-kinesis-list", run)?;
        Ok((news, wake))
    }

    fn look(&mut self) -> Result<Vec<SplitOffset>> {
        let listed = match self.lister.list() {
            Ok(listed) => listed,
            Err(Problem::Missing(text)) => {
                let (since, times) = self.gone.unwrap_or((Instant::now(), 0));
                self.gone = Some((since, times + 1));
                if times >= GONE.0 && since.elapsed() >= GONE.1 {
                    return Err(self.lister.kinesis.fault(text));
                }
                *lock(&self.trouble) = Some(text);
                return Ok(Vec::new());
            }
            Err(Problem::Fatal(text)) => return Err(self.lister.kinesis.fault(text)),
            Err(problem) => {
                *lock(&self.trouble) = Some(format!("its shards are not listed: {}", problem.text()));
                return Ok(Vec::new());
            }
        };
        (self.gone, *lock(&self.trouble)) = (None, None);
        let mut lineage = lock(&self.lineage);
        if let Some(shard) = lineage.lost(&listed) {
            tracing::debug!("{}: shard {shard} is no longer listed", self.lister.kinesis.name());
        }
        Ok(lineage.next(&listed).into_iter().map(|start| self.lister.offset(start)).collect())
    }
}
