//! Where the files of a source are: in directories, or in a bucket.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "object-store")]
use crate::connector::files::bucket_listing::BucketListing;
use crate::connector::files::cleaner::checked;
use crate::connector::files::identity::{Found, Head};
use crate::connector::files::listing::Listing;
use crate::connector::files::options::CleanSource;
use crate::core::path::{local, s3};

/// The directories of a source, or its prefix of a bucket.
#[derive(Debug)]
pub(super) enum Place {
    Disk(Listing),
    #[cfg(feature = "object-store")]
    Bucket(BucketListing),
}

/// Reads the beginning of a file; `Err`: why the file cannot be opened.
type Heads<'a> = Box<dyn Fn(&str, u32) -> std::result::Result<Head, String> + 'a>;

impl Place {
    /// The place that a program names. It contacts no server.
    ///
    /// # Errors
    /// A URL or a pattern that cannot be read.
    pub fn of(dir: &Path, recursive: bool) -> std::result::Result<Self, String> {
        match s3(dir) {
            None => Listing::of(&local(dir)?, recursive).map(Place::Disk),
            Some(url) => Place::in_s3(url, recursive),
        }
    }

    #[cfg(feature = "object-store")]
    fn in_s3(url: &str, recursive: bool) -> std::result::Result<Self, String> {
        BucketListing::of(url, recursive).map(Place::Bucket)
    }

    #[cfg(not(feature = "object-store"))]
    fn in_s3(url: &str, _: bool) -> std::result::Result<Self, String> {
        Err(crate::core::path::without_s3(url))
    }

    /// One directory, as it is written.
    pub fn plain(dir: &Path) -> Self {
        Place::Disk(Listing::plain(dir))
    }

    /// The directory under which all files are.
    pub fn root(&self) -> &Path {
        match self {
            Place::Disk(listing) => listing.root(),
            #[cfg(feature = "object-store")]
            Place::Bucket(listing) => listing.root(),
        }
    }

    /// The same place. Of one directory that has the log of an output, only the files that this names are there.
    pub fn by_log(self, by_log: bool) -> Self {
        match self {
            Place::Disk(listing) => Place::Disk(listing.by_log(by_log)),
            #[cfg(feature = "object-store")]
            bucket @ Place::Bucket(_) => bucket,
        }
    }

    /// Whether a log says which files there are.
    pub fn has_log(&self) -> bool {
        match self {
            Place::Disk(listing) => listing.has_log(),
            #[cfg(feature = "object-store")]
            Place::Bucket(_) => false,
        }
    }

    /// What becomes of files that were read, with the path of the archive.
    ///
    /// # Errors
    /// It cannot be done here.
    pub fn cleaning(&self, how: &CleanSource) -> std::result::Result<CleanSource, String> {
        match self {
            Place::Disk(listing) => checked(how, listing.root()),
            #[cfg(feature = "object-store")]
            Place::Bucket(_) if *how == CleanSource::Off => Ok(CleanSource::Off),
            #[cfg(feature = "object-store")]
            Place::Bucket(listing) => Err(format!(
                "clean_source is {how:?}: the job does not delete or move the objects of {}; leave it out, and use a lifecycle rule of the bucket",
                listing.root().display()
            )),
        }
    }

    /// How long a file must stay unchanged. An object is there as a whole.
    pub fn settled(&self, settled: Duration) -> Duration {
        match self {
            Place::Disk(_) => settled,
            #[cfg(feature = "object-store")]
            Place::Bucket(_) => Duration::ZERO,
        }
    }

    /// Whether a name can only have another content if the file is another one.
    pub fn is_whole(&self) -> bool {
        match self {
            Place::Disk(_) => false,
            #[cfg(feature = "object-store")]
            Place::Bucket(_) => true,
        }
    }

    /// All entries, in the order of their names. Waits for a store.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn list(&self) -> Result<Vec<Found>> {
        match self {
            Place::Disk(listing) => listing.list(),
            #[cfg(feature = "object-store")]
            Place::Bucket(listing) => listing.list(),
        }
    }

    /// The same, but waits for a store no longer than `patience`. `None`: its answer comes with a later call.
    ///
    /// # Errors
    /// As `list`.
    #[cfg_attr(not(feature = "object-store"), allow(unused_variables, reason = "only a store is waited for"))]
    pub fn list_soon(&self, patience: Duration) -> Option<Result<Vec<Found>>> {
        match self {
            Place::Disk(listing) => Some(listing.list()),
            #[cfg(feature = "object-store")]
            Place::Bucket(listing) => listing.list_soon(patience),
        }
    }

    /// The beginnings of files that were found. A listing of a bucket has the marks of whole objects.
    #[cfg_attr(not(feature = "object-store"), allow(unused_variables, reason = "only a listing of a bucket has them"))]
    pub fn heads<'a>(&'a self, found: &[Found]) -> Heads<'a> {
        match self {
            Place::Disk(listing) => {
                Box::new(move |name: &str, len: u32| Head::read(&listing.root().join(name), len).map_err(|e| e.to_string()))
            }
            #[cfg(feature = "object-store")]
            Place::Bucket(_) => Box::new(crate::connector::files::bucket_listing::heads(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_kind_is_no_place() {
        assert!(Place::of(Path::new("hdfs://name/in"), false).unwrap_err().contains("hdfs://name/in is a URL"));
        #[cfg(not(feature = "object-store"))]
        assert!(Place::of(Path::new("s3://bucket/in"), false).unwrap_err().contains("--features object-store"));
        #[cfg(feature = "object-store")]
        {
            let place = Place::of(Path::new("s3://bucket/in/"), false).unwrap().by_log(true);
            assert_eq!((place.root(), place.has_log()), (Path::new("s3://bucket/in"), false));
            assert_eq!(place.cleaning(&CleanSource::Off), Ok(CleanSource::Off));
            for (how, value) in [(CleanSource::Delete, "Delete"), (CleanSource::Archive("/old".into()), "Archive(\"/old\")")] {
                let e = place.cleaning(&how).unwrap_err();
                assert!(e.starts_with(&format!("clean_source is {value}: ")), "{e}");
                assert!(e.contains("s3://bucket/in; leave it out, and use a lifecycle rule of the bucket"), "{e}");
            }
        }
    }
}
