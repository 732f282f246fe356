//! A checkpoint directory in an object store, S3 or what speaks its protocol. There is no append, no rename, no lock:
//!
//! * A file is an object that is put if its name is free (`If-None-Match: *`). Who does not know what became of a put looks
//!   whose object is there: each put has a number of its own.
//! * A log is an object for each append: see `log`. A newer run closes the logs of older ones, which so learn, before they do
//!   anything more, that they have lost the directory.
//! * What is read a little at a time is fetched in blocks.

mod log;
mod requests;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error as Said, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, RetryConfig,
};

use self::requests::{Answer, passes, pause, start, wait, why};
use super::{Draft, Entry, Lock, Log, Store, UNFINISHED};
use crate::core::error::{Error, Result};
use crate::core::fault;

/// A file goes up in parts of so many bytes; a shorter one at once.
const PART: usize = 8 << 20;
/// Files that are read a little at a time are read in blocks of so many bytes, of which a few stay.
const BLOCK: u64 = 4 << 20;
const BLOCKS: usize = 8;
/// A request that fails for a reason that may pass is tried again for so long, with growing pauses.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often it is looked what became of a put, before that is an error.
const LOOKS: u32 = 5;

/// A block of a file: its name, its number, its bytes.
type Block = (String, u64, Arc<[u8]>);

/// A prefix of a bucket.
#[derive(Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: Path,
    place: String,
    /// Blocks that were read, the last one first.
    blocks: Arc<Mutex<VecDeque<Block>>>,
}

/// Only where it is: what is in the client is secret.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.place).finish()
    }
}

/// Where the number of a put is, in the metadata of its object.
fn writer() -> Attribute {
    Attribute::Metadata("tidemill-writer".into())
}

/// A number that no other put has.
fn number() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static RUN: OnceLock<u64> = OnceLock::new();
    // std seeds its hash maps from the system's randomness.
    let run = RUN.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    format!("{run:016x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn of(number: &str) -> Attributes {
    Attributes::from_iter([(writer(), number.to_owned())])
}

impl Objects {
    /// `s3://bucket/prefix`, with the settings that the environment has: `AWS_REGION`, `AWS_ENDPOINT` and their like.
    ///
    /// # Errors
    /// Another scheme; settings in the URL; settings that do not go together.
    pub fn new(url: &str) -> Result<Objects> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if scheme != "s3" {
            return Err(Error::config(format!("no checkpoint directory can be at {scheme}://, only at s3://BUCKET/PREFIX")));
        }
        if bucket.is_empty() || rest.contains(['@', '?', '#', '%', ' ', ':']) {
            let what = "a checkpoint directory in S3 is s3://BUCKET/PREFIX and nothing else";
            return Err(Error::config(format!("{what}: keys, region and endpoint are read from the environment, AWS_…")));
        }
        let place = format!("s3://{bucket}/{prefix}");
        let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
        let settings = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let built = settings.with_conditional_put(S3ConditionalPut::ETagMatch).build();
        let store = built
            .map_err(|e| Error::checkpoint(&place, format!("cannot be reached as the environment says, AWS_…: {}", why(&e))))?;
        Objects::within(Arc::new(store), prefix, place)
    }

    fn within(store: Arc<dyn ObjectStore>, prefix: &str, place: String) -> Result<Objects> {
        let place = place.trim_end_matches('/').to_owned();
        match Path::parse(prefix) {
            Ok(root) => Ok(Objects { store, root, place, blocks: Arc::default() }),
            Err(_) => Err(Error::config(format!("{place}: no part of a prefix may be empty, `.` or `..`"))),
        }
    }

    /// One that is nowhere, for tests.
    #[cfg(test)]
    pub fn in_memory() -> Objects {
        let store = Arc::new(object_store::memory::InMemory::new());
        Objects::within(store, "a/b", "memory://a/b".into()).expect("a prefix")
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    /// What went wrong with a file.
    fn said(&self, name: &str, what: &str, e: &Said) -> Error {
        let place = if name.is_empty() { self.place.clone() } else { format!("{}/{name}", self.place) };
        Error::checkpoint(place, format!("{what}: {}", why(e)))
    }

    /// Asks the store, and waits for what it says.
    fn ask<T, F>(&self, request: impl FnOnce(Objects) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        wait(request(self.clone()))
    }

    /// Puts an object if its name is free. Whatever became of the answers: true if it is there, false if another one is.
    async fn put_if_free(self, path: Path, bytes: Vec<u8>) -> Answer<bool> {
        let (mine, payload) = (number(), PutPayload::from(bytes));
        let (mut looks, mut wait) = (0, Duration::from_millis(100));
        loop {
            let options = PutOptions { mode: PutMode::Create, attributes: of(&mine), ..PutOptions::default() };
            let Err(failed) = self.store.put_opts(&path, payload.clone(), options).await else { return Ok(true) };
            looks += 1;
            // An answer may be lost, or be that to a second try: what is there decides.
            match self.whose(&path).await {
                Ok(Some(theirs)) => return Ok(theirs == mine),
                Ok(None) if looks < LOOKS && passes(&failed) => {}
                _ => return Err(failed),
            }
            tracing::warn!(object = %path, error = why(&failed), "a put failed; it is tried again");
            pause(wait).await;
            wait *= 2;
        }
    }

    /// The number of the put that made an object.
    async fn whose(&self, path: &Path) -> Answer<Option<String>> {
        let found = found(self.store.get_opts(path, GetOptions::new().with_head(true)).await)?;
        Ok(found.map(|f| f.attributes.get(&writer()).map(|v| v.to_string()).unwrap_or_default()))
    }

    /// Bytes of an object from `offset` on, at most `len`; fewer, or none, where it ends.
    async fn range(&self, path: &Path, offset: u64, len: u64) -> Answer<Option<Vec<u8>>> {
        let failed = match found(self.store.get_range(path, offset..offset.saturating_add(len)).await) {
            Ok(bytes) => return Ok(bytes.map(Vec::from)),
            Err(e) => e,
        };
        // It may have ended before: each server says so in its own words.
        match found(self.store.head(path).await)? {
            Some(meta) if meta.size > offset && len > 0 => Err(failed),
            meta => Ok(meta.map(|_| Vec::new())),
        }
    }

    /// The same by blocks, of a file that is never changed.
    async fn by_blocks(self, name: String, offset: u64, len: u64) -> Answer<Option<Vec<u8>>> {
        let (mut bytes, mut at, end) = (Vec::new(), offset, offset.saturating_add(len));
        loop {
            let number = at / BLOCK;
            let Some(block) = self.block(&name, number).await? else { return Ok(None) };
            let begin = number * BLOCK;
            let until = block.len().min((end - begin).min(BLOCK) as usize);
            bytes.extend_from_slice(block.get((at - begin) as usize..until).unwrap_or_default());
            at = begin + BLOCK;
            if at >= end || (block.len() as u64) < BLOCK {
                return Ok(Some(bytes));
            }
        }
    }

    async fn block(&self, name: &str, number: u64) -> Answer<Option<Arc<[u8]>>> {
        let blocks = || self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = blocks().iter().find(|(n, i, _)| *i == number && n == name).map(|b| b.2.clone());
        if known.is_some() {
            return Ok(known);
        }
        let Some(bytes) = self.range(&self.path(name), number * BLOCK, BLOCK).await? else { return Ok(None) };
        let (bytes, mut blocks): (Arc<[u8]>, _) = (bytes.into(), blocks());
        blocks.push_front((name.to_owned(), number, bytes.clone()));
        blocks.truncate(BLOCKS);
        Ok(Some(bytes))
    }

    /// What is directly in a folder.
    async fn entries(self, folder: String) -> Answer<Vec<Entry>> {
        let path = self.path(&folder);
        let listed = self.store.list_with_delimiter(Some(&path)).await?;
        let name = |path: &Path| match folder.as_str() {
            "" => path.filename().unwrap_or_default().to_owned(),
            folder => format!("{folder}/{}", path.filename().unwrap_or_default()),
        };
        let files = listed.objects.iter().map(|o| Entry { name: name(&o.location), bytes: o.size, folder: false });
        let folders = listed.common_prefixes.iter().map(|p| Entry { name: name(p), bytes: 0, folder: true });
        let mut entries: Vec<_> = files.chain(folders).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// `None` where there is no object.
fn found<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Ok(t) => Ok(Some(t)),
        Err(Said::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

impl Store for Objects {
    fn place(&self) -> String {
        self.place.clone()
    }

    /// A store that does not look whether a name is free would let two runs write one directory: so it is asked twice.
    fn probe(&self) -> Result<()> {
        let name = format!("probe-{}{UNFINISHED}", number());
        let path = self.path(&name);
        let tried = self.ask(|o| async move {
            let first = o.clone().put_if_free(path.clone(), vec![0; 64]).await;
            let second = if first.is_ok() { o.clone().put_if_free(path.clone(), vec![1; 64]).await } else { Ok(false) };
            let cleared = found(o.store.delete(&path).await);
            first.and(second).and_then(|again| cleared.map(|_| again))
        });
        match tried {
            Ok(false) => Ok(()),
            Ok(true) => {
                let what = "cannot hold a checkpoint directory: it puts an object though its name is taken";
                Err(Error::checkpoint(&self.place, format!("{what}; a store is needed that heeds `If-None-Match: *`")))
            }
            Err(e) => Err(self.said("", "cannot be written", &e)),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn Draft>> {
        Ok(Box::new(Upload { to: self.clone(), name: name.into(), number: number(), buffer: Vec::new(), parts: None }))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let (path, bytes) = (self.path(name), bytes.to_vec());
        fault::point(fault::FaultPoint::FileSynced);
        let put = self.ask(|o| o.put_if_free(path, bytes)).map_err(|e| self.said(name, "cannot be put", &e))?;
        fault::point(fault::FaultPoint::FileNamed);
        Ok(put)
    }

    fn begin_log(&self, name: &str, head: &[u8]) -> Result<Box<dyn Log>> {
        log::begin(self, name, head)
    }

    fn close_log(&self, name: &str) -> Result<bool> {
        log::close(self, name)
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        if log::is_one(name) {
            return log::read(self, name, limit);
        }
        let path = self.path(name);
        let read = self.ask(|o| async move {
            let Some(object) = found(o.store.get(&path).await)? else { return Ok(None) };
            let size = object.meta.size;
            Ok(Some((size, if size > limit { Default::default() } else { object.bytes().await? })))
        });
        match read.map_err(|e| self.said(name, "cannot be read", &e))? {
            Some((size, _)) if size > limit => Err(super::too_long(name, size, limit)),
            found => Ok(found.map(|(_, bytes)| bytes.into())),
        }
    }

    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        if log::is_one(name) {
            return log::read_range(self, name, offset, len);
        }
        let file = name.to_owned();
        self.ask(|o| o.by_blocks(file, offset, len)).map_err(|e| self.said(name, "cannot be read", &e))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let of = folder.to_owned();
        let entries = self.ask(|o| o.entries(of)).map_err(|e| self.said(folder, "cannot be listed", &e))?;
        Ok(log::gathered(entries))
    }

    fn delete(&self, names: &[String]) -> Result<()> {
        for name in names {
            fault::point(fault::FaultPoint::CleanDelete);
            if log::is_one(name) {
                log::delete(self, name)?;
                continue;
            }
            let path = self.path(name);
            let gone = self.ask(|o| async move { found(o.store.delete(&path).await) });
            gone.map_err(|e| self.said(name, "cannot be deleted", &e))?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        Ok(Lock::None)
    }
}

/// A file that goes up: in parts if it is long. Its name holds a generation, and one process writes each: so looking whether a
/// long one's name is free, and taking it, may be two steps.
struct Upload {
    to: Objects,
    name: String,
    number: String,
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    fn failed(&self, e: &Said) -> Error {
        self.to.said(&self.name, "cannot be put", e)
    }

    /// Sends one more part.
    fn part(&mut self, bytes: Vec<u8>) -> Result<()> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => {
                let (path, attributes) = (self.to.path(&self.name), of(&self.number));
                let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
                let begun = self.to.ask(|o| async move { o.store.put_multipart_opts(&path, options).await });
                begun.map_err(|e| self.failed(&e))?
            }
        };
        let part = parts.put_part(bytes.into());
        self.parts = Some(parts);
        wait(part).map_err(|e| self.failed(&e))
    }
}

impl Draft for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        // Some servers want all parts but the last of one length.
        let rest = self.buffer.split_off(self.buffer.len() / PART * PART);
        let full = std::mem::replace(&mut self.buffer, rest);
        full.chunks(PART).try_for_each(|part| self.part(part.to_vec()))
    }

    fn publish(mut self: Box<Self>) -> Result<bool> {
        if self.parts.is_none() {
            return self.to.put_new(&self.name, &std::mem::take(&mut self.buffer));
        }
        if !self.buffer.is_empty() {
            let last = std::mem::take(&mut self.buffer);
            self.part(last)?;
        }
        let Some(mut parts) = self.parts.take() else { return Ok(false) };
        let (path, mine) = (self.to.path(&self.name), self.number.clone());
        fault::point(fault::FaultPoint::FileSynced);
        let put = self.to.ask(|o| async move {
            if o.whose(&path).await?.is_some() {
                let _ = parts.abort().await;
                return Ok(false);
            }
            match parts.complete().await {
                Ok(_) => Ok(true),
                // The answer to an earlier try may be lost.
                Err(e) => {
                    if o.whose(&path).await? == Some(mine) {
                        Ok(true)
                    } else {
                        Err(e)
                    }
                }
            }
        });
        fault::point(fault::FaultPoint::FileNamed);
        put.map_err(|e| self.failed(&e))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            start(async move { _ = parts.abort().await });
        }
    }
}
