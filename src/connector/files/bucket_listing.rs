//! The objects of a prefix of a bucket, or those that match a pattern below it, as files of a source.
//!
//! An object is what its name and the mark of its content (its ETag) say. An object that is put again with the same content is the same
//! file, and one that is put with another content under the name is a new file.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::bucket::{Bucket, Object, is_hidden};
use crate::connector::files::identity::{FileId, FileStamp, FileVersion, Found, Head};
use crate::connector::files::pattern::{Fit, MARKS, Patterns};
use crate::core::lock::lock;

/// A listing that is under way.
type Pending = Receiver<Result<Vec<Object>, String>>;

/// A prefix whose objects are read.
#[derive(Debug)]
pub(super) struct BucketListing {
    bucket: Bucket,
    /// Its URL: the longest part of the path without a pattern.
    root: PathBuf,
    /// The patterns of what is below the root.
    below: Patterns,
    recursive: bool,
    pending: Mutex<Option<Pending>>,
}

impl BucketListing {
    /// The prefix of a URL, or the pattern that it is from its first part with `*`, `?`, `[` or `{` on.
    ///
    /// # Errors
    /// The URL does not name a prefix, or the pattern cannot be read.
    pub fn of(url: &str, recursive: bool) -> Result<Self, String> {
        let (prefix, parts) = parted(url)?;
        let bucket = Bucket::open(prefix, "a directory of files")?;
        if parts.iter().any(|part| ["", ".", ".."].contains(part)) {
            return Err(format!("{}: no part of a pattern below it may be empty, `.` or `..`", bucket.place));
        }
        Ok(BucketListing::within(bucket, Patterns::of(parts)?, recursive))
    }

    pub(super) fn within(bucket: Bucket, below: Patterns, recursive: bool) -> Self {
        let root = bucket.place.clone().into();
        BucketListing { bucket, root, below, recursive, pending: Mutex::new(None) }
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
    pub fn list(&self) -> io::Result<Vec<Found>> {
        self.begin().recv().map_or_else(|_| Err(ended()), |listed| self.found(listed))
    }

    /// All objects, of a listing that began at this call or an earlier one. `None`: it is not complete.
    ///
    /// # Errors
    /// As `list`.
    pub fn list_soon(&self, patience: Duration) -> Option<io::Result<Vec<Found>>> {
        let mut pending = lock(&self.pending);
        let listing = pending.take().unwrap_or_else(|| self.begin());
        match listing.recv_timeout(patience) {
            Ok(listed) => Some(self.found(listed)),
            Err(RecvTimeoutError::Timeout) => {
                *pending = Some(listing);
                None
            }
            Err(RecvTimeoutError::Disconnected) => Some(Err(ended())),
        }
    }

    /// Begins to list the folders that have objects of the source: only these cost requests.
    fn begin(&self) -> Pending {
        let (below, recursive) = (self.below.clone(), self.recursive);
        self.bucket.begin_list("", move |folder| match below.fit(folder) {
            Fit::No => false,
            Fit::Partly | Fit::Wholly => true,
            Fit::Below => recursive && !is_hidden(folder),
        })
    }

    /// The objects of a listing that belong to the source.
    fn found(&self, listed: Result<Vec<Object>, String>) -> io::Result<Vec<Found>> {
        let version = |object: Object| {
            let inode = xxh3_64(format!("{}\0{}", object.name, object.etag).as_bytes());
            let stamp = FileStamp { size: object.size, modified_ms: object.modified_ms };
            (object.name, Ok(FileVersion { id: FileId { inode, born_ns: 0, device: 0 }, stamp }))
        };
        let mut objects = listed.map_err(io::Error::other)?;
        objects.retain(|object| matches!(self.below.fit(&object.name), Fit::Wholly | Fit::Below));
        Ok(objects.into_iter().map(version).collect())
    }
}

/// A URL before its first part with a pattern, and the parts from there on.
///
/// # Errors
/// The bucket is a pattern, or a setting follows a question mark. No error shows it, because it may be a secret.
fn parted(url: &str) -> Result<(&str, Vec<&str>), String> {
    let Some(mark) = url.find(MARKS) else { return Ok((url, Vec::new())) };
    let begin = url[..mark].rfind('/').unwrap_or_default();
    if begin < "s3://".len() {
        return Err(
            "the name of a bucket in S3 cannot be a pattern: write s3://BUCKET/PATTERN, and one source for each bucket".into()
        );
    }
    let parts: Vec<&str> = url[begin + 1..].trim_end_matches('/').split('/').collect();
    if parts.iter().any(|part| part.split_once('?').is_some_and(|(_, rest)| rest.contains('='))) {
        let remedy = "keys, region and endpoint are read from the environment, AWS_…";
        return Err(format!(
            "a pattern in S3 has no settings, such as `?region=`: {remedy}; write `*` in the place of a `?` before `=`"
        ));
    }
    Ok((&url[..begin], parts))
}

fn ended() -> io::Error {
    io::Error::other("the listing has ended without an answer")
}

/// In the place of the beginning of a file: what an object is.
pub(super) fn heads(found: &[Found]) -> impl Fn(&str, u32) -> Result<Head, String> + use<> {
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
        let place = BucketListing::within(Bucket::in_memory(), Patterns::default(), false);
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
        let place = BucketListing::within(Bucket::in_memory(), Patterns::default(), true);
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
        let place = BucketListing::within(Bucket::in_memory(), Patterns::default(), false);
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
    }

    #[test]
    fn a_pattern_means_the_objects_that_match_it_and_those_of_folders_that_do() {
        let bucket = Bucket::in_memory();
        let names = ["a", "2025-01/x.gz", "2025-01/y.log", "2025-01/deep/z.gz", "2025-01/_tmp/v.gz", "2026-01/w.gz", "2025.gz"];
        names.iter().for_each(|name| put(&bucket, name, "text"));
        let files = |pattern: &str, recursive: bool| -> Vec<String> {
            let place = BucketListing::within(bucket.clone(), Patterns::of(pattern.split('/')).unwrap(), recursive);
            place.list().unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(files("202?-0[1-3]/*.gz", false), ["2025-01/x.gz", "2026-01/w.gz"]);
        assert_eq!(files("2025*", false), ["2025-01/x.gz", "2025-01/y.log", "2025.gz"]);
        assert_eq!(files("2025-*", true), ["2025-01/deep/z.gz", "2025-01/x.gz", "2025-01/y.log"]);
        assert_eq!(files("2025-*/d{eep,own}", false), ["2025-01/deep/z.gz"]);
        assert_eq!(files("2025-*/[a-e]*/z.gz", false), ["2025-01/deep/z.gz"], "a part without a mark is a name");
        assert_eq!(files("none-*", true), Vec::<String>::new());
    }

    #[test]
    fn an_object_in_a_folder_that_appears_later_is_read() {
        let place = BucketListing::within(Bucket::in_memory(), Patterns::of(["2026-*", "part-*"]).unwrap(), false);
        let mut watch = watch();
        assert_eq!(ready(&mut watch, &place, 0), Vec::<String>::new());
        ["2026-12/part-1", "2026-12/other", "2027-01/part-1"].iter().for_each(|name| put(&place.bucket, name, "text"));
        assert_eq!(ready(&mut watch, &place, 10), ["2026-12/part-1"]);
        assert_eq!(ready(&mut watch, &place, 20), Vec::<String>::new());
    }

    #[test]
    fn the_prefix_of_a_pattern_ends_before_its_first_part_and_what_cannot_be_is_refused() {
        for (url, prefix, parts) in [
            ("s3://bucket/logs", "s3://bucket/logs", &[][..]),
            ("s3://bucket/logs/2026-*/part-*.gz", "s3://bucket/logs", &["2026-*", "part-*.gz"]),
            ("s3://bucket/logs/2026-??/day=1/", "s3://bucket/logs", &["2026-??", "day=1"]),
            ("s3://bucket/{a,b}", "s3://bucket", &["{a,b}"]),
        ] {
            assert_eq!(parted(url), Ok((prefix, parts.to_vec())), "{url}");
        }
        for (url, why) in [
            ("s3://buck*/logs", "the name of a bucket in S3 cannot be a pattern"),
            ("s3://bucket/logs?secret=abc", "are read from the environment"),
            ("s3://user:abc@bucket/logs/*", "are read from the environment"),
            ("s3://bucket/logs/*//x", "s3://bucket/logs: no part of a pattern below it may be empty"),
            ("s3://bucket/logs/*/../x", "no part of a pattern below it may be empty, `.` or `..`"),
            ("s3://bucket/logs/2026-[01/x", "is not closed"),
        ] {
            let e = BucketListing::of(url, false).unwrap_err();
            assert!(e.contains(why) && !e.contains("abc"), "{url}: {e}");
        }
    }
}
