//! Paths as users write them: `in`, `/data/in` or `file:///data/in`. Every path of the API and of a command line is read here.
//!
//! A wrong path is an error that names the cause and the remedy. Only sources of files expand patterns such as `2026-*`.

use std::io;
use std::path::{Path, PathBuf};

/// The URL that a path is, if it begins with a scheme other than `file`: `s3://bucket/prefix`.
pub(crate) fn url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let known = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (known && scheme != "file").then_some(text)
}

/// The URL of a place in S3.
pub(crate) fn s3(path: &Path) -> Option<&str> {
    url(path).filter(|url| url.starts_with("s3://"))
}

/// The error of such a place in a program that cannot reach it.
#[cfg(not(feature = "object-store"))]
pub(crate) fn without_s3(url: &str) -> String {
    format!(
        "{url} needs the feature `object-store`, which this program does not have: build it with --features object-store, or use a path"
    )
}

/// The path in the file system. A `file:` URL is its path as it is written: `%20` is not a space, as in Hadoop.
///
/// # Errors
/// A `file:` URL with another host, or any other URL.
pub(crate) fn local(path: &Path) -> Result<PathBuf, String> {
    if let Some(url) = url(path) {
        return Err(format!("{url} is a URL, and only a path, such as /data/in or file:///data/in, is possible here"));
    }
    let Some(rest) = path.to_str().and_then(|text| text.strip_prefix("file:/")) else { return Ok(path.to_owned()) };
    let path = match rest.strip_prefix('/') {
        None => format!("/{rest}"),
        Some(rest) => match rest.strip_prefix("localhost").unwrap_or(rest) {
            path if path.starts_with('/') => path.to_owned(),
            _ => return Err(format!("file://{rest} names a host: write file:///PATH, with three slashes")),
        },
    };
    Ok(path.into())
}

/// The path without links and dots, as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?))).unwrap_or(path)
}

/// The error of a directory that cannot be opened, with the remedy where the system's error does not show it.
pub(crate) fn explained(dir: &Path, e: io::Error) -> io::Error {
    match hint(dir) {
        Some(hint) => io::Error::new(e.kind(), format!("{e}: {hint}")),
        None => e,
    }
}

/// What the user should know about a directory that cannot be opened.
fn hint(dir: &Path) -> Option<String> {
    // Without a slash at its end, which would follow the link.
    let dir: PathBuf = dir.components().collect();
    if let (Ok(target), Err(_)) = (std::fs::read_link(&dir), std::fs::metadata(&dir)) {
        let target = target.display();
        return Some(format!("it is a link to {target}, which cannot be reached; create that, or name another directory"));
    }
    if dir.is_file() {
        return Some("it is a file, and a directory is needed here".into());
    }
    let pattern = !dir.exists() && dir.to_str().is_some_and(|text| text.contains(['*', '?', '[', '{']));
    pattern.then(|| "patterns are not expanded; name one directory".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn a_file_url_is_its_path() {
        let path = |text: &str| local(Path::new(text)).map(|p| p.display().to_string());
        for (text, expected) in [
            ("in", "in"),
            ("/data/in", "/data/in"),
            ("file:///data/in", "/data/in"),
            ("file:/data/in", "/data/in"),
            ("file://localhost/data/in", "/data/in"),
            ("file:///a%20b", "/a%20b"),
            ("file", "file"),
            ("a:b/c", "a:b/c"),
        ] {
            assert_eq!(path(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, says) in [
            ("file://host/x", "file:///PATH"),
            ("file://", "file:///PATH"),
            ("hdfs://name/x", "hdfs://name/x is a URL"),
            ("s3a://bucket/x", "file:///data/in"),
        ] {
            let e = path(text).unwrap_err();
            assert!(e.contains(says), "{text}: {e}");
        }
        assert_eq!(url(Path::new("s3://b/p")), Some("s3://b/p"));
        for path in ["file:///x", "/x", "x", "://x", "a b://x"] {
            assert_eq!(url(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_opened_has_its_remedy() {
        let dir = TempDir::made("paths");
        std::fs::write(dir.join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
        for (name, says) in [
            ("link", "a link to nowhere"),
            ("link/", "a link to nowhere"),
            ("file", "a directory is needed here"),
            ("*.log", "patterns are not expanded"),
        ] {
            let path = dir.join(name);
            let e = explained(&path, std::fs::read_dir(&path).unwrap_err()).to_string();
            assert!(e.contains(says), "{name}: {e}");
        }
        assert_eq!(hint(&dir), None);
        assert_eq!(hint(&dir.join("none")), None);
    }
}
