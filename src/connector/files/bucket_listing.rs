//! The objects of a prefix of a bucket, as files of a source.
//!
//! An object is what its name and the mark of its content (its ETag) say. An object that is put again with the same content is the same
//! file, and one that is put with another content under the name is a new file.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::bucket::{Bucket, Object};
use crate::connector::files::identity::{FileId, FileStamp, FileVersion, Found, Head};
use crate::core::lock::lock;

/// A listing that is under way.
type Pending = Receiver<std::result::Result<Vec<Object>, String>>;

/// A prefix whose objects are read.
#[derive(Debug)]
pub(super) struct BucketListing {
    bucket: Bucket,
    /// Its URL.
    root: PathBuf,
    recursive: bool,
    pending: Mutex<Option<Pending>>,
}

impl BucketListing {
    /// The prefix of a URL.
    ///
    /// # Errors
    /// It is no URL of a prefix, or a pattern.
    pub fn of(url: &str, recursive: bool) -> std::result::Result<Self, String> {
        if url.contains(['*', '?', '[', '{']) {
            return Err(
                "a prefix in S3 is no pattern: name one that has all objects, and say recursive(true) and accept(..)".into()
            );
        }
        Ok(BucketListing::within(Bucket::open(url, "a directory of files")?, recursive))
    }

    pub(super) fn within(bucket: Bucket, recursive: bool) -> Self {
        let root = bucket.place.clone().into();
        BucketListing { bucket, root, recursive, pending: Mutex::new(None) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The name of the object that has this path in a plan.
    pub fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.bucket.place.as_str())?.strip_prefix('/')
    }

    /// All objects. Waits for the store.
    ///
    /// # Errors
    /// The store refuses it, or does not answer.
    pub fn list(&self) -> Result<Vec<Found>> {
        found(self.bucket.list("", self.recursive))
    }

    /// All objects, of a listing that began at this call or an earlier one. `None`: it is not complete.
    ///
    /// # Errors
    /// As `list`.
    pub fn list_soon(&self, patience: Duration) -> Option<Result<Vec<Found>>> {
        let mut pending = lock(&self.pending);
        let listing = pending.take().unwrap_or_else(|| self.bucket.begin_list("", self.recursive));
        match listing.recv_timeout(patience) {
            Ok(listed) => Some(found(listed)),
            Err(RecvTimeoutError::Timeout) => {
                *pending = Some(listing);
                None
            }
            Err(RecvTimeoutError::Disconnected) => Some(Err(Error::other("the listing has ended without an answer"))),
        }
    }
}

fn found(listed: std::result::Result<Vec<Object>, String>) -> Result<Vec<Found>> {
    let version = |object: Object| {
        let inode = xxh3_64(format!("{}\0{}", object.name, object.etag).as_bytes());
        let stamp = FileStamp { size: object.size, modified_ms: object.modified_ms };
        (object.name, Ok(FileVersion { id: FileId { inode, born_ns: 0, device: 0 }, stamp }))
    };
    Ok(listed.map_err(Error::other)?.into_iter().map(version).collect())
}

/// In the place of the beginning of a file: what an object is.
pub(super) fn heads(found: &[Found]) -> impl Fn(&str, u32) -> std::result::Result<Head, String> + use<> {
    let known = |(name, version): &Found| Some((name.clone(), version.as_ref().ok()?.id.inode));
    let known: HashMap<String, u64> = found.iter().filter_map(known).collect();
    move |name, _| {
        let hash = known.get(name).ok_or_else(|| "it is not there any more".to_owned())?;
        Ok(Head { len: Head::MAX, hash: *hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::files::options::TextFileSource;
    use crate::connector::files::saved;
    use crate::connector::files::watch::DirectoryWatch;

    fn put(bucket: &Bucket, name: &str, text: &str) {
        bucket.put(vec![(name.to_owned(), text.as_bytes().to_vec())]).unwrap();
    }

    fn watch() -> DirectoryWatch {
        let mut watch = DirectoryWatch::new(TextFileSource::new("memory://a/b").existing(true), Duration::ZERO, 1 << 20);
        watch.whole = true;
        watch
    }

    /// What a scan finds ready.
    fn ready(watch: &mut DirectoryWatch, place: &BucketListing, now_ms: u64) -> Vec<String> {
        let found = place.list().unwrap();
        let heads = heads(&found);
        let scan = watch.scan(found, now_ms, &heads);
        scan.ready.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn an_object_is_ready_at_once_and_read_once_also_after_a_restart() {
        let place = BucketListing::within(Bucket::in_memory(), false);
        let mut before = watch();
        assert_eq!(ready(&mut before, &place, 0), Vec::<String>::new(), "the first scan is the start of the job");
        put(&place.bucket, "a.log", "one");
        put(&place.bucket, "_SUCCESS", "");
        put(&place.bucket, "deep/b.log", "two");
        assert_eq!(ready(&mut before, &place, 10), ["a.log"]);
        assert_eq!(ready(&mut before, &place, 20), Vec::<String>::new());
        let snapshot = saved::snapshot(&before, Vec::new());
        put(&place.bucket, "c.log", "three");
        // Another content is a new object under the name.
        put(&place.bucket, "a.log", "four");
        let mut after = watch();
        saved::restore(&mut after, place.root(), &snapshot, &[], 30).unwrap();
        let mut again = ready(&mut after, &place, 30);
        again.sort();
        assert_eq!(again, ["a.log", "c.log"]);
        assert_eq!(ready(&mut after, &place, 40), Vec::<String>::new());
    }

    /// Without a checkpoint, the plans alone tell which objects were read. They have no marks.
    #[test]
    fn an_object_that_is_only_in_a_plan_is_known_by_its_size_and_time() {
        use crate::connector::source::SplitOffset;
        use crate::core::plan::Split;
        let place = BucketListing::within(Bucket::in_memory(), true);
        ["deep/a.log", "b.log"].iter().for_each(|name| put(&place.bucket, name, "text"));
        let read = |name: &str| {
            let object = place.bucket.list("", true).unwrap().into_iter().find(|object| object.name == name).unwrap();
            let path = place.bucket.at(name).into();
            let split = Split::File { path, size: object.size, modified_ms: object.modified_ms };
            SplitOffset { split, from: object.size as i64 }
        };
        let planned = [read("deep/a.log"), read("b.log")];
        // Longer, but not the same file that has grown.
        put(&place.bucket, "b.log", "another text");
        let mut watch = watch();
        saved::restore(&mut watch, place.root(), &[], &planned, 30).unwrap();
        assert_eq!(ready(&mut watch, &place, 30), ["b.log"]);
    }

    #[test]
    fn a_listing_that_takes_long_is_received_later() {
        let place = BucketListing::within(Bucket::in_memory(), false);
        put(&place.bucket, "a", "x");
        let listed = loop {
            if let Some(listed) = place.list_soon(Duration::ZERO) {
                break listed.unwrap();
            }
        };
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (place.name("memory://a/b/deep/c"), place.name("memory://a/bc"), place.name("/x")),
            (Some("deep/c"), None, None)
        );
        let e = BucketListing::of("s3://bucket/2026-*", false).unwrap_err();
        assert!(e.contains("recursive(true)"), "{e}");
    }
}
