//! A bucket of S3, or of another store with its protocol: checkpoint directories, sources and outputs of files use it.
//!
//! Keys, region and endpoint are those of the environment, and no error shows them. All calls here block until the store answers, and a
//! failed request is sent again for a minute. So workers make none.

mod object;
mod requests;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig};

pub(crate) use self::requests::{Answer, all, is_transient, pause, reason, start, wait};

/// How long a request is retried after transient errors, with growing pauses.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// A prefix of a bucket. Names of objects are relative to it.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub store: Arc<dyn ObjectStore>,
    pub root: Path,
    pub place: String,
}

/// Shows only the location, because the client contains secrets.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.place).finish()
    }
}

/// An object, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub name: String,
    pub size: u64,
    /// When it was put, in milliseconds since the epoch.
    pub modified_ms: i64,
    /// What the store says of its content. Another content has another one.
    pub etag: String,
}

impl Bucket {
    /// Opens `s3://bucket/prefix`, with the settings of the environment: `AWS_REGION`, `AWS_ENDPOINT` and others. Asks no server.
    ///
    /// `what` is to be there, such as "a checkpoint directory".
    ///
    /// # Errors
    /// The URL has another scheme or contains settings, or the settings of the environment are invalid.
    pub fn open(url: &str, what: &str) -> Result<Bucket, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if scheme != "s3" {
            return Err(format!("{what} cannot be at {scheme}://: use a path, or s3://BUCKET/PREFIX"));
        }
        if bucket.is_empty() || rest.contains(['@', '?', '#', '%', ' ', ':']) {
            let remedy = "keys, region and endpoint are read from the environment, AWS_…";
            return Err(format!("{what} in S3 is s3://BUCKET/PREFIX, without settings: {remedy}"));
        }
        let place = format!("s3://{bucket}/{prefix}");
        let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let settings = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let built = settings.with_conditional_put(S3ConditionalPut::ETagMatch).build();
        let wrong = |e| format!("{place} cannot be opened with the settings AWS_… of the environment: {}", reason(&e));
        Bucket::within(Arc::new(built.map_err(wrong)?), prefix, place)
    }

    fn within(store: Arc<dyn ObjectStore>, prefix: &str, place: String) -> Result<Bucket, String> {
        let place = place.trim_end_matches('/').to_owned();
        match Path::parse(prefix) {
            Ok(root) => Ok(Bucket { store, root, place }),
            Err(_) => Err(format!("{place}: no part of a prefix may be empty, `.` or `..`")),
        }
    }

    /// A store in memory, for tests.
    #[cfg(test)]
    pub fn in_memory() -> Bucket {
        let store = Arc::new(object_store::memory::InMemory::new());
        Bucket::within(store, "a/b", "memory://a/b".into()).expect("a prefix")
    }

    /// Where an object is, for messages.
    pub fn at(&self, name: &str) -> String {
        if name.is_empty() { self.place.clone() } else { format!("{}/{name}", self.place) }
    }

    fn failed(&self, name: &str, e: &StoreError) -> String {
        format!("{}: {}", self.at(name), reason(e))
    }

    /// The key of an object.
    fn key(&self, name: &str) -> Result<Path, String> {
        let key = format!("{}/{name}", self.root);
        Path::parse(&key).map_err(|e| format!("{}: no object can have this name: {e}", self.at(name)))
    }

    /// The name of an object below the prefix.
    fn name<'k>(&self, key: &'k Path) -> &'k str {
        let (key, root): (&str, &str) = (key.as_ref(), self.root.as_ref());
        key.strip_prefix(root).unwrap_or(key).trim_start_matches('/')
    }

    /// Puts these objects, several at a time. An object of the same name is replaced. Each is there as a whole or not at all.
    ///
    /// # Errors
    /// The store refuses one, or does not answer. Others may be there then.
    pub fn put(&self, objects: Vec<(String, Vec<u8>)>) -> Result<(), String> {
        let keyed = objects.into_iter().map(|(name, bytes)| Ok((self.key(&name)?, bytes)));
        let (keyed, store) = (keyed.collect::<Result<Vec<_>, String>>()?, self.store.clone());
        let put = move |(key, bytes): (Path, Vec<u8>)| {
            let store = store.clone();
            async move { store.put_opts(&key, bytes.into(), PutOptions::default()).await.map(drop) }
        };
        wait(all(keyed, put)).map(drop).map_err(|e| format!("{} cannot be written: {}", self.place, reason(&e)))
    }

    /// The bytes of a small object; `None` if it does not exist.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let (key, store) = (self.key(name)?, self.store.clone());
        let read: Answer<Vec<u8>> = wait(async move { Ok(store.get(&key).await?.bytes().await?.to_vec()) });
        or_gone(read).map_err(|e| self.failed(name, &e))
    }

    /// Removes objects. One that does not exist is not an error.
    ///
    /// # Errors
    /// The store refuses it, or does not answer.
    pub fn remove(&self, names: Vec<String>) -> Result<(), String> {
        let keys = names.iter().map(|name| self.key(name)).collect::<Result<Vec<_>, String>>()?;
        let store = self.store.clone();
        let remove = move |key: Path| {
            let store = store.clone();
            async move { or_gone(store.delete(&key).await).map(drop) }
        };
        wait(all(keys, remove)).map(drop).map_err(|e| format!("{} cannot be deleted from: {}", self.place, reason(&e)))
    }

    /// The objects of a folder, in the order of their names; with `recursive` also those of all folders below, except folders whose names
    /// begin with `.` or `_`.
    ///
    /// # Errors
    /// The store refuses it, or does not answer.
    pub fn list(&self, folder: &str, recursive: bool) -> Result<Vec<Object>, String> {
        let none = || format!("{}: the listing has ended without an answer", self.place);
        self.begin_list(folder, move |below| recursive && !is_hidden(below)).recv().unwrap_or_else(|_| Err(none()))
    }

    /// Begins the listing of a folder and of the folders below that it `enters`. Their names have no slash at the end. The result is received
    /// when it is there.
    pub fn begin_list(
        &self,
        folder: &str,
        enters: impl Fn(&str) -> bool + Send + 'static,
    ) -> Receiver<Result<Vec<Object>, String>> {
        let (bucket, folder, (sender, receiver)) = (self.clone(), folder.to_owned(), sync_channel(1));
        start(async move {
            let listed = bucket.listed(&folder, enters).await;
            // Whoever asked may have given up.
            let _ = sender.send(listed);
        });
        receiver
    }

    async fn listed(&self, folder: &str, enters: impl Fn(&str) -> bool + Send) -> Result<Vec<Object>, String> {
        let (mut found, mut folders) = (Vec::new(), vec![self.key(folder)?]);
        while let Some(folder) = folders.pop() {
            let prefix = (folder != Path::default()).then_some(&folder);
            let listed = self.store.list_with_delimiter(prefix).await.map_err(|e| self.failed(self.name(&folder), &e))?;
            found.extend(listed.objects.iter().filter(|meta| meta.location != folder).map(|meta| self.object(meta)));
            folders.extend(listed.common_prefixes.into_iter().filter(|folder| enters(self.name(folder))));
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn object(&self, meta: &ObjectMeta) -> Object {
        let modified_ms = meta.last_modified.timestamp_millis();
        let etag = meta.e_tag.clone().unwrap_or_else(|| format!("{modified_ms}-{}", meta.size));
        Object { name: self.name(&meta.location).to_owned(), size: meta.size, modified_ms, etag }
    }
}

/// Whether the name of a folder says that a listing of all folders leaves it out.
pub(crate) fn is_hidden(folder: &str) -> bool {
    folder.rsplit('/').next().unwrap_or(folder).starts_with(['.', '_'])
}

/// `None`: there is no such object.
fn or_gone<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Ok(t) => Ok(Some(t)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(objects: Vec<Object>) -> Vec<String> {
        objects.into_iter().map(|object| object.name).collect()
    }

    #[test]
    fn objects_are_put_whole_listed_read_and_removed() {
        let bucket = Bucket::in_memory();
        let object = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
        bucket.put(["one", "deep/two", "deep/er/a b", "_tmp/x", ".hidden"].map(object).into()).unwrap();
        assert_eq!(names(bucket.list("", false).unwrap()), [".hidden", "one"]);
        assert_eq!(names(bucket.list("", true).unwrap()), [".hidden", "deep/er/a b", "deep/two", "one"]);
        assert_eq!(names(bucket.list("deep", false).unwrap()), ["deep/two"]);
        assert_eq!(names(bucket.list("dee", true).unwrap()), Vec::<String>::new(), "a folder is a whole name");
        assert_eq!(bucket.read("deep/er/a b").unwrap().as_deref(), Some(&b"deep/er/a b"[..]));
        assert_eq!(bucket.read("none").unwrap(), None);
        bucket.remove(vec!["one".into(), "none".into()]).unwrap();
        assert_eq!(names(bucket.list("", false).unwrap()), [".hidden"]);
        let before = bucket.list("deep", false).unwrap();
        bucket.put(vec![("deep/two".into(), b"another".to_vec())]).unwrap();
        let after = bucket.list("deep", false).unwrap();
        assert!(after[0].size == 7 && after[0].etag != before[0].etag, "{before:?} {after:?}");
    }

    #[test]
    fn a_name_that_no_object_can_have_is_an_error() {
        let bucket = Bucket::in_memory();
        for name in ["../x", "a//b"] {
            let e = bucket.read(name).unwrap_err();
            assert!(e.contains("no object can have this name"), "{e}");
        }
        assert!(
            Bucket::open("gs://bucket/x", "a directory of files")
                .unwrap_err()
                .starts_with("a directory of files cannot be at gs://")
        );
    }
}
