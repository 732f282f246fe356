//! A checkpoint directory in an object store: S3, or another store with its protocol. Such a store has no append, rename or lock.
//!
//! * A file is one object, put only if its name is free (`If-None-Match: *`). Each put has a unique number, in the metadata of the
//!   object. If the answer to a put is lost, the number shows whether the put succeeded.
//! * A log has one object for each append: see `log`. A newer run closes the logs of older runs. So an older run notices at its
//!   next append that it has lost the directory.
//! * Small reads are served from blocks that stay in memory.

mod log;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload,
};

use super::{Draft, Entry, Lock, Log, Store, UNFINISHED};
use crate::bucket::{Answer, Bucket, is_transient, pause, reason, start, wait};
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::lock::lock;

/// Size of the parts of an upload, in bytes. A shorter file is one request.
const PART: usize = 8 << 20;
/// Size of the blocks for small reads, in bytes, and how many stay in memory.
const BLOCK: u64 = 4 << 20;
const BLOCKS: usize = 8;
/// How often the outcome of a failed put is checked before it is an error.
const LOOKS: u32 = 5;

/// A block: the name of the file, the number of the block, and its bytes.
type Block = (String, u64, Arc<[u8]>);

/// A prefix of a bucket.
#[derive(Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: Path,
    place: String,
    /// Blocks in memory, the newest first.
    blocks: Arc<Mutex<VecDeque<Block>>>,
}

/// Shows only the location, because the client contains secrets.
impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.place).finish()
    }
}

/// The metadata attribute with the number of a put.
fn writer() -> Attribute {
    Attribute::Metadata("tidemill-writer".into())
}

/// A unique number for a put.
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
    /// Opens `s3://bucket/prefix`, with the settings of the environment: `AWS_REGION`, `AWS_ENDPOINT` and others.
    ///
    /// # Errors
    /// The URL has another scheme or contains settings, or the settings of the environment are invalid.
    pub fn new(url: &str) -> Result<Objects> {
        Ok(Objects::of(Bucket::open(url, "a checkpoint directory").map_err(Error::config)?))
    }

    fn of(Bucket { store, root, place }: Bucket) -> Objects {
        Objects { store, root, place, blocks: Arc::default() }
    }

    /// A store in memory, for tests.
    #[cfg(test)]
    pub fn in_memory() -> Objects {
        Objects::of(Bucket::in_memory())
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    /// The error of a request for a file.
    fn error(&self, name: &str, what: &str, e: &StoreError) -> Error {
        let place = if name.is_empty() { self.place.clone() } else { format!("{}/{name}", self.place) };
        Error::checkpoint(place, format!("{what}: {}", reason(e)))
    }

    /// Sends a request, and waits for the answer.
    fn ask<T, F>(&self, request: impl FnOnce(Objects) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        wait(request(self.clone()))
    }

    /// Puts an object if its name is free. Returns whether this put created the object, even if answers were lost.
    async fn put_if_free(self, path: Path, bytes: Vec<u8>) -> Answer<bool> {
        let (mine, payload) = (number(), PutPayload::from(bytes));
        let (mut looks, mut wait) = (0, Duration::from_millis(100));
        loop {
            let options = PutOptions { mode: PutMode::Create, attributes: of(&mine), ..PutOptions::default() };
            let Err(failed) = self.store.put_opts(&path, payload.clone(), options).await else { return Ok(true) };
            looks += 1;
            // The answer may be lost, or belong to a retry: only the object itself is reliable.
            match self.writer_of(&path).await {
                Ok(Some(theirs)) => return Ok(theirs == mine),
                Ok(None) if looks < LOOKS && is_transient(&failed) => {}
                _ => return Err(failed),
            }
            tracing::warn!(object = %path, error = reason(&failed), "a put failed, and is retried");
            pause(wait).await;
            wait *= 2;
        }
    }

    /// The number of the put that created an object; `None` if it does not exist.
    async fn writer_of(&self, path: &Path) -> Answer<Option<String>> {
        let found = found(self.store.get_opts(path, GetOptions::new().with_head(true)).await)?;
        Ok(found.map(|f| f.attributes.get(&writer()).map(|v| v.to_string()).unwrap_or_default()))
    }

    /// At most `len` bytes of an object from `offset`; fewer, or none, at its end.
    async fn range(&self, path: &Path, offset: u64, len: u64) -> Answer<Option<Vec<u8>>> {
        let failed = match found(self.store.get_range(path, offset..offset.saturating_add(len)).await) {
            Ok(bytes) => return Ok(bytes.map(Vec::from)),
            Err(e) => e,
        };
        // The object may end before `offset`: servers answer that in different ways.
        match found(self.store.head(path).await)? {
            Some(meta) if meta.size > offset && len > 0 => Err(failed),
            meta => Ok(meta.map(|_| Vec::new())),
        }
    }

    /// The same from blocks, for a file that never changes.
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
        let blocks = || lock(&self.blocks);
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

    /// The direct entries of a folder.
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

/// `None` if the object does not exist.
fn found<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Ok(t) => Ok(Some(t)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

impl Store for Objects {
    fn place(&self) -> String {
        self.place.clone()
    }

    /// Puts the same name twice. A store that accepts both would let two runs write one directory.
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
                let what = "cannot hold a checkpoint directory, because it replaces existing objects";
                Err(Error::checkpoint(&self.place, format!("{what}; use a store that supports `If-None-Match: *`")))
            }
            Err(e) => Err(self.error("", "cannot be written", &e)),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn Draft>> {
        Ok(Box::new(Upload { to: self.clone(), name: name.into(), number: number(), buffer: Vec::new(), parts: None }))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let (path, bytes) = (self.path(name), bytes.to_vec());
        fault::point(fault::FaultPoint::FileSynced);
        let put = self.ask(|o| o.put_if_free(path, bytes)).map_err(|e| self.error(name, "cannot be put", &e))?;
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
        match read.map_err(|e| self.error(name, "cannot be read", &e))? {
            Some((size, _)) if size > limit => Err(super::too_long(name, size, limit)),
            found => Ok(found.map(|(_, bytes)| bytes.into())),
        }
    }

    fn read_range(&self, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        if log::is_one(name) {
            return log::read_range(self, name, offset, len);
        }
        let file = name.to_owned();
        self.ask(|o| o.by_blocks(file, offset, len)).map_err(|e| self.error(name, "cannot be read", &e))
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let of = folder.to_owned();
        let entries = self.ask(|o| o.entries(of)).map_err(|e| self.error(folder, "cannot be listed", &e))?;
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
            gone.map_err(|e| self.error(name, "cannot be deleted", &e))?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        Ok(Lock::None)
    }
}

/// An upload of a file, in parts if it is long. Only one process writes files of a generation. So checking that the name of a long
/// file is free and taking it may be two steps.
struct Upload {
    to: Objects,
    name: String,
    number: String,
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    fn failed(&self, e: &StoreError) -> Error {
        self.to.error(&self.name, "cannot be put", e)
    }

    /// Uploads one part.
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
        // Some servers require parts of equal length, except for the last one.
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
            if o.writer_of(&path).await?.is_some() {
                let _ = parts.abort().await;
                return Ok(false);
            }
            match parts.complete().await {
                Ok(_) => Ok(true),
                // An earlier try may have succeeded, with its answer lost.
                Err(e) => {
                    if o.writer_of(&path).await? == Some(mine) {
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
