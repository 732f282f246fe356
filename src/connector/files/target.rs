//! Where batches are saved: in directories, or in a bucket.

use std::path::{Path, PathBuf};

use crate::core::path::{local, s3};

/// What comes before the batch times.
pub(super) enum Target {
    /// The prefix of the directories.
    Disk(PathBuf),
    #[cfg(feature = "object-store")]
    Bucket(BatchFolder),
}

/// A prefix of a bucket, and how the names of batches begin in it.
#[cfg(feature = "object-store")]
pub(super) struct BatchFolder {
    /// The folder in which batches are.
    pub bucket: crate::bucket::Bucket,
    pub prefix: PathBuf,
    /// The whole prefix.
    pub url: String,
}

impl Target {
    /// Reads the prefix of a program. It contacts no server.
    ///
    /// # Errors
    /// The prefix is empty or of an unknown kind, or nothing can be written there.
    pub fn of(prefix: &Path) -> Result<Target, String> {
        if let Some(url) = s3(prefix) {
            return Target::in_s3(url).map_err(|e| format!("prefix {e}"));
        }
        let prefix = local(prefix).map_err(|e| format!("prefix {e}"))?;
        check(&prefix)?;
        Ok(Target::Disk(prefix))
    }

    #[cfg(feature = "object-store")]
    fn in_s3(url: &str) -> Result<Target, String> {
        // A wrong URL may have a key in it.
        let wrong = "in S3: name a bucket and what batches begin with, as in s3://BUCKET/out/words";
        let parts = url.rsplit_once('/').filter(|(folder, prefix)| !folder.ends_with('/') && !prefix.is_empty());
        let (folder, prefix) = parts.ok_or(wrong)?;
        let bucket = crate::bucket::Bucket::open(folder, "a directory of files")?;
        Ok(Target::Bucket(BatchFolder { bucket, prefix: prefix.into(), url: url.to_owned() }))
    }

    #[cfg(not(feature = "object-store"))]
    fn in_s3(url: &str) -> Result<Target, String> {
        Err(crate::core::path::without_s3(url))
    }

    /// The prefix, in the folder of a bucket.
    pub fn prefix(&self) -> &Path {
        match self {
            Target::Disk(prefix) => prefix,
            #[cfg(feature = "object-store")]
            Target::Bucket(folder) => &folder.prefix,
        }
    }

    /// The directory in which batches are.
    pub fn folder(&self) -> PathBuf {
        match self {
            Target::Disk(prefix) => Path::new(".").join(prefix.parent().unwrap_or(prefix)),
            #[cfg(feature = "object-store")]
            Target::Bucket(folder) => folder.bucket.place.clone().into(),
        }
    }

    /// The same text for the same place, however it is written.
    pub fn place(&self) -> String {
        match self {
            Target::Disk(prefix) => std::path::absolute(prefix).unwrap_or_else(|_| prefix.into()).display().to_string(),
            #[cfg(feature = "object-store")]
            Target::Bucket(folder) => folder.url.clone(),
        }
    }
}

/// Checks that batches can have directories here: the nearest parent that exists must be a directory.
fn check(prefix: &Path) -> Result<(), String> {
    if prefix.as_os_str().is_empty() {
        return Err("the prefix is empty: write one such as out/words".into());
    }
    match prefix.ancestors().skip(1).find(|a| a.exists()) {
        Some(above) if !above.is_dir() => {
            Err(format!("prefix {}: {} is not a directory, so none can be made in it", prefix.display(), above.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(prefix: &str) -> String {
        Target::of(Path::new(prefix)).err().unwrap()
    }

    #[cfg(feature = "object-store")]
    #[test]
    fn a_prefix_in_s3_is_a_folder_and_how_names_begin() {
        for (url, folder, begin) in
            [("s3://bucket/out/words", "s3://bucket/out", "words"), ("s3://bucket/words", "s3://bucket", "words")]
        {
            let target = Target::of(Path::new(url)).unwrap();
            assert_eq!((target.folder().to_str(), target.prefix().to_str(), &*target.place()), (Some(folder), Some(begin), url));
        }
        for (url, says) in [
            ("s3://bucket", "s3://BUCKET/out/words"),
            ("s3://bucket/out/", "s3://BUCKET/out/words"),
            ("s3://key:SECRET@bucket/out/x", "environment"),
            ("s3://bucket/a//b", "s3://BUCKET/out/words"),
            ("s3://bucket/a//b/c", "may be empty"),
        ] {
            let e = wrong(url);
            assert!(e.starts_with("prefix ") && e.contains(says) && !e.contains("SECRET"), "{e}");
        }
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn without_the_feature_the_error_names_it() {
        assert!(wrong("s3://bucket/out/words").contains("--features object-store"));
    }

    #[test]
    fn other_urls_are_errors() {
        assert!(wrong("hdfs://name/out").contains("prefix hdfs://name/out is a URL"));
    }
}
