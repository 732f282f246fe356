//! A log in a store without appends. Each append is an object `NAME.OFFSET`, put only if that name is free.
//!
//! An empty object closes the log. It has the name of the next append, so that this append fails in every process. It stays when
//! the log is deleted, so that a run that was suspended for a long time fails too. A run may append faster than another can close the
//! log. Then the other puts an object `NAME.closing`, and the first run gives up when it sees it.

use std::collections::BTreeMap;

use object_store::ObjectStoreExt;

use super::super::{Entry, Log, Store, append_points};
use super::{Objects, found};
use crate::bucket::{Answer, all};
use crate::core::error::{Error, Result};
use crate::core::fault;

/// The folders of logs.
const FOLDERS: [&str; 2] = ["plans/", "received/"];
/// A log with this many objects is followed by a new one.
const LONG: usize = 1_000;

/// A log checks for its `.closing` object once in this many appends.
const LOOK: usize = 16;
const CLOSING: &str = ".closing";

pub(super) fn is_one(name: &str) -> bool {
    FOLDERS.iter().any(|folder| name.starts_with(folder))
}

/// The object of the append at `offset`.
fn part(log: &str, offset: u64) -> String {
    format!("{log}.{offset:010}")
}

/// The object that asks the writer of a log to give up.
fn closing(log: &str) -> String {
    format!("{log}{CLOSING}")
}

/// The log of an object, and the object's offset in it.
fn parse(name: &str) -> Option<(&str, u64)> {
    let (log, offset) = name.rsplit_once('.')?;
    let offset = offset.parse().ok()?;
    (is_one(name) && part(log, offset) == name).then_some((log, offset))
}

/// The sizes of a log's objects in bytes, by offset.
type Parts = BTreeMap<u64, u64>;

/// The end of the objects before the first gap, and whether the last one closes the log.
fn reach(parts: &Parts) -> (u64, bool) {
    let (mut end, mut closed) = (0, false);
    while let Some(bytes) = parts.get(&end).filter(|_| !closed) {
        closed = *bytes == 0;
        end += bytes;
    }
    (end, closed)
}

/// Replaces the objects of each log in a listing with one entry. A log without a first object was not created, or was deleted.
pub(super) fn gathered(entries: Vec<Entry>) -> Vec<Entry> {
    let mut gathered: Vec<Entry> = Vec::new();
    for entry in entries {
        match parse(&entry.name) {
            None if entry.name.ends_with(CLOSING) => {}
            None => gathered.push(entry),
            Some((log, 0)) if entry.bytes > 0 => gathered.push(Entry { name: log.into(), ..entry }),
            Some((log, _)) => {
                let begun = gathered.last_mut().filter(|e| e.name == log);
                begun.into_iter().for_each(|e| e.bytes += entry.bytes);
            }
        }
    }
    gathered
}

fn parts(store: &Objects, log: &str) -> Result<Parts> {
    let folder = log.split('/').next().unwrap_or_default().to_owned();
    let listed = store.ask(|o| o.entries(folder));
    let listed = listed.map_err(|e| store.error(log, "cannot be listed", &e))?;
    let own = listed.iter().filter_map(|e| parse(&e.name).filter(|(l, _)| *l == log).map(|(_, offset)| (offset, e.bytes)));
    Ok(own.collect())
}

pub(super) fn begin(store: &Objects, name: &str, head: &[u8]) -> Result<Box<dyn Log>> {
    if !store.put_new(&part(name, 0), head)? {
        return Err(lost(store, name));
    }
    Ok(Box::new(Appends { store: store.clone(), name: name.into(), at: head.len() as u64, objects: 1 }))
}

/// The size of an object in bytes; `None` if it does not exist.
fn size(store: &Objects, name: &str) -> Result<Option<u64>> {
    let path = store.path(name);
    let there = store.ask(|o| async move { found(o.store.head(&path).await) });
    Ok(there.map_err(|e| store.error(name, "cannot be examined", &e))?.map(|object| object.size))
}

pub(super) fn close(store: &Objects, name: &str) -> Result<bool> {
    let (mut end, mut closed) = reach(&parts(store, name)?);
    while !closed && !store.put_new(&part(name, end), &[])? {
        // The writer has just appended, and may always be faster: ask it to give up. Or another process has closed the log.
        store.put_new(&closing(name), CLOSING.as_bytes())?;
        let there = size(store, &part(name, end))?;
        closed = there == Some(0);
        end += there.unwrap_or(0);
    }
    Ok(end > 0)
}

pub(super) fn read(store: &Objects, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let parts = parts(store, name)?;
    if parts.get(&0).is_none_or(|bytes| *bytes == 0) {
        return Ok(None);
    }
    let (end, _) = reach(&parts);
    if let Some((after, _)) = parts.range(end..).find(|(_, bytes)| **bytes > 0) {
        return Err(Error::damaged(
            name,
            format!("the object {} is missing, but there is one for byte {after}", part(name, end)),
        ));
    }
    if end > limit {
        return Err(super::super::too_long(name, end, limit));
    }
    let full = parts.range(..end).map(|(offset, _)| store.path(&part(name, *offset))).collect();
    let read = store.ask(|o| async move {
        let get = |path| {
            let store = o.store.clone();
            async move { store.get(&path).await?.bytes().await }
        };
        Answer::Ok(all(full, get).await?.concat())
    });
    Ok(Some(read.map_err(|e| store.error(name, "cannot be read", &e))?))
}

/// Most reads are of the head, which is the first object.
pub(super) fn read_range(store: &Objects, name: &str, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    let path = store.path(&part(name, 0));
    let first = store.ask(|o| async move { o.range(&path, offset, len).await });
    match first.map_err(|e| store.error(name, "cannot be read", &e))? {
        Some(bytes) if bytes.len() as u64 == len => Ok(Some(bytes)),
        None => Ok(None),
        Some(_) => {
            let whole = read(store, name, u64::MAX)?;
            let until = |w: &Vec<u8>| (offset.saturating_add(len) as usize).min(w.len());
            Ok(whole.map(|w| w.get(offset as usize..until(&w)).unwrap_or_default().to_vec()))
        }
    }
}

/// Deletes the last object first, so that after a crash the beginning of the log remains.
pub(super) fn delete(store: &Objects, name: &str) -> Result<()> {
    let mut parts = parts(store, name)?;
    parts.retain(|_, bytes| *bytes > 0);
    let first = parts.remove(&0);
    let mut rest: Vec<_> = parts.into_keys().map(|offset| store.path(&part(name, offset))).collect();
    rest.reverse();
    let first: Vec<_> = first.into_iter().map(|_| store.path(&part(name, 0))).collect();
    let gone = store.ask(|o| async move {
        let delete = |path| {
            let store = o.store.clone();
            async move { found(store.delete(&path).await) }
        };
        all(rest, delete).await?;
        all(first, delete).await
    });
    gone.map(drop).map_err(|e| store.error(name, "cannot be deleted", &e))
}

struct Appends {
    store: Objects,
    name: String,
    at: u64,
    objects: usize,
}

impl Log for Appends {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let [before, written, durable] = append_points(&self.name);
        fault::point(before);
        let wanted = self.objects.is_multiple_of(LOOK) && size(&self.store, &closing(&self.name))?.is_some();
        if wanted || !self.store.put_new(&part(&self.name, self.at), bytes)? {
            return Err(lost(&self.store, &self.name));
        }
        fault::point(written);
        (self.at, self.objects) = (self.at + bytes.len() as u64, self.objects + 1);
        fault::point(durable);
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.objects >= LONG
    }
}

/// The error of a log that is closed: only a newer generation closes logs.
fn lost(store: &Objects, name: &str) -> Error {
    let what = "a newer run has this directory and has closed this log: two runs cannot share a directory";
    Error::checkpoint(format!("{}/{name}", store.place), what)
}
