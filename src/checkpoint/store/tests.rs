//! Tests of the stores that need no server.

use super::*;
use crate::testing::temp_dir::TempDir;

#[test]
fn a_disk_passes_the_tests_of_a_store() {
    let dir = TempDir::new("store");
    suite::all(&|| open(&dir).unwrap());
}

#[cfg(feature = "object-store")]
#[test]
fn an_object_store_passes_the_tests_of_a_store() {
    let objects = objects::Objects::in_memory();
    suite::all(&|| Arc::new(objects.clone()));
}

#[cfg(not(feature = "object-store"))]
#[test]
fn without_the_feature_the_error_names_it() {
    let e = open(Path::new("s3://bucket/prefix")).unwrap_err().to_string();
    assert!(e.contains("s3://") && e.contains("--features object-store"), "{e}");
}

#[test]
fn a_file_url_is_a_directory() {
    let dir = TempDir::made("store-url");
    let url = format!("file://{}/states", dir.display());
    let store = open(Path::new(&url)).unwrap();
    assert!(store.put_new("genesis", b"x").unwrap());
    assert_eq!(read_only(&dir.join("states")).unwrap().read("genesis", 9).unwrap().as_deref(), Some(&b"x"[..]));
}

#[test]
fn b11_a_dangling_link_is_named_with_its_target() {
    let dir = TempDir::made("store-link");
    std::os::unix::fs::symlink(dir.join("nowhere"), dir.join("link")).unwrap();
    for opened in [open(&dir.join("link")), read_only(&dir.join("link"))] {
        let e = opened.err().unwrap().to_string();
        assert!(e.contains("is a link to") && e.contains("nowhere, which cannot be reached"), "{e}");
    }
}

/// Errors about addresses contain no secrets.
#[cfg(feature = "object-store")]
#[test]
fn invalid_addresses_are_errors() {
    for (url, says) in [
        ("gs://bucket/x", "gs://"),
        ("hdfs://name/x", "use a path, or s3://BUCKET/PREFIX"),
        ("file://host/x", "file:///PATH"),
        ("s3:///x", "s3://BUCKET/PREFIX"),
        ("s3://me:SECRET@bucket/x", "environment"),
        ("s3://bucket/x?key=SECRET", "environment"),
        ("s3://bucket/a/../b", "empty, `.` or `..`"),
        ("s3://bucket/a//b", "empty, `.` or `..`"),
    ] {
        let e = read_only(Path::new(url)).unwrap_err().to_string();
        assert!(e.contains(says) && !e.contains("SECRET"), "{url}: {e}");
    }
    for url in ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "s3://bucket/a/b/"] {
        assert_eq!(read_only(Path::new(url)).unwrap().place(), url.trim_end_matches('/'), "{url}");
    }
}
