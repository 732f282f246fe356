//! Which entries a source of files sees: those of one directory, those that match a pattern with what is in them, or whole trees.
//!
//! Names are paths below the root. For a plain directory they are the names of its entries, as older checkpoints have them.

use std::ffi::OsStr;
use std::fs::FileType;
use std::io::{ErrorKind, Result};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::connector::files::identity::{Found, list, version};
use crate::connector::files::pattern::{Fit, MARKS, Patterns};
use crate::connector::files::sink_log_reader::SinkLogReader;
use crate::core::lock::lock;
use crate::core::path::real;

/// The directories of a source.
#[derive(Debug)]
pub(super) struct Listing {
    /// The longest part of the path without a pattern.
    root: PathBuf,
    /// The patterns of what is below the root.
    below: Patterns,
    /// Whether sub-directories of these directories are read too.
    recursive: bool,
    /// The log of an output in the root, if it may say which files there are.
    log: Option<Mutex<SinkLogReader>>,
}

impl Listing {
    /// The directories that a path means. A part with `*`, `?`, `[` or `{` is a pattern, unless there is a directory of exactly this path.
    ///
    /// # Errors
    /// A pattern that cannot be read.
    pub fn of(dir: &Path, recursive: bool) -> std::result::Result<Self, String> {
        let is_pattern = |part: &OsStr| part.to_string_lossy().contains(MARKS);
        let parts: Vec<Component<'_>> = dir.components().collect();
        let first = parts.iter().position(|part| is_pattern(part.as_os_str())).filter(|_| !dir.is_dir());
        let (root, patterns) = parts.split_at(first.unwrap_or(parts.len()));
        let mut root: PathBuf = root.iter().collect();
        if root.as_os_str().is_empty() {
            root.push(".");
        }
        // A path without a pattern keeps how it is written: names of files in plans begin with it.
        let root = if patterns.is_empty() { dir.to_owned() } else { root };
        let patterns: Vec<_> = patterns.iter().map(|part| part.as_os_str().to_string_lossy()).collect();
        let below = Patterns::of(patterns.iter().map(|part| &**part))?;
        Ok(Listing { root, below, recursive, log: None })
    }

    /// One directory.
    pub fn plain(dir: &Path) -> Self {
        Listing { root: dir.to_owned(), below: Patterns::default(), recursive: false, log: None }
    }

    /// The same directories. If there is one, and it has the log of an output, only the files that this names are there.
    pub fn by_log(self, by_log: bool) -> Self {
        let log = (by_log && self.below.is_empty()).then(|| Mutex::new(SinkLogReader::new(&self.root)));
        Listing { log, ..self }
    }

    /// Whether a log says which files there are.
    pub fn has_log(&self) -> bool {
        self.log.as_ref().is_some_and(|log| lock(log).is_there())
    }

    /// The directory under which all files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All entries, in the order of their names.
    ///
    /// # Errors
    /// The root cannot be read. Another directory that cannot be read is an entry with its reason.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        if let Some(paths) = self.logged()? {
            let absolute = std::path::absolute(&self.root)?;
            found.extend(paths.iter().map(|path| self.logged_file(&absolute, path)));
        } else if self.below.is_empty() {
            let here = list(&self.root)?;
            self.add("", here, &mut found);
        } else {
            for (name, is_dir) in entries(&self.root)? {
                self.descend(&name, is_dir, &mut found);
            }
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        Ok(found)
    }

    /// The files that the log names; `None`: there is no log, or nobody wants it.
    fn logged(&self) -> Result<Option<Arc<[PathBuf]>>> {
        match &self.log {
            Some(log) => lock(log).files().map_err(std::io::Error::other),
            None => Ok(None),
        }
    }

    /// A file that the log names.
    fn logged_file(&self, absolute: &Path, path: &Path) -> Found {
        // The writer may have named the directory in another way.
        let below = path.strip_prefix(absolute).map(Path::to_owned);
        let below = below.or_else(|_| real(path).strip_prefix(real(&self.root)).map(Path::to_owned));
        match below.map(|name| name.into_os_string().into_string()) {
            Ok(Ok(name)) => {
                let gone = || Err("the log of the directory names it, and it is not there".to_owned());
                (name, version(path).unwrap_or_else(gone))
            }
            _ => {
                let reason = "the log of the directory names it, and it is not below the directory, or not UTF-8";
                (path.to_string_lossy().into_owned(), Err(reason.to_owned()))
            }
        }
    }

    /// Adds what matches the patterns, at `name` and below it: files, and what is in directories.
    fn descend(&self, name: &str, is_dir: bool, found: &mut Vec<Found>) {
        let path = self.root.join(name);
        match (self.below.fit(name), is_dir) {
            (Fit::No, _) | (Fit::Partly, false) => {}
            (Fit::Partly, true) => match entries(&path) {
                Ok(all) => all.iter().for_each(|(sub, is_dir)| self.descend(&format!("{name}/{sub}"), *is_dir, found)),
                Err(e) => skipped(name, &e, found),
            },
            (Fit::Wholly | Fit::Below, true) => match list(&path) {
                Ok(here) => self.add(name, here, found),
                Err(e) => skipped(name, &e, found),
            },
            (Fit::Wholly | Fit::Below, false) => found.extend(version(&path).map(|version| (name.to_owned(), version))),
        }
    }

    /// Adds the entries of one directory, and those of its sub-directories if they are read.
    fn add(&self, dir: &str, here: Vec<Found>, found: &mut Vec<Found>) {
        for (name, entry) in here {
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            let is_dir = || std::fs::symlink_metadata(self.root.join(&path)).is_ok_and(|meta| meta.is_dir());
            if !self.recursive || entry.is_ok() || !is_dir() {
                found.push((path, entry));
            } else if !name.starts_with(['.', '_']) {
                match list(&self.root.join(&path)) {
                    Ok(below) => self.add(&path, below, found),
                    Err(e) => skipped(&path, &e, found),
                }
            }
        }
    }
}

/// A directory that cannot be read. One that was deleted since it was listed is no entry.
fn skipped(name: &str, e: &std::io::Error, found: &mut Vec<Found>) {
    if e.kind() != ErrorKind::NotFound {
        found.push((name.to_owned(), Err(e.to_string())));
    }
}

/// The names in a directory, and whether each is that of a directory, or of a link to one.
fn entries(dir: &Path) -> Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_dir = |t: FileType| t.is_dir() || t.is_symlink() && entry.path().is_dir();
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.file_type().is_ok_and(is_dir)));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::files::sink_log::FileStreamSinkLog;
    use crate::testing::temp_dir::TempDir;

    fn tree(paths: &[&str]) -> TempDir {
        let dir = TempDir::made("listing");
        for path in paths {
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.join(path), "x").unwrap();
        }
        dir
    }

    fn files(dir: &TempDir, path: &str, recursive: bool) -> Vec<String> {
        let found = Listing::of(&dir.join(path), recursive).unwrap().list().unwrap();
        found.into_iter().filter(|(_, entry)| entry.is_ok()).map(|(name, _)| name).collect()
    }

    #[test]
    fn a_pattern_means_what_matches_it_and_recursion_whole_trees() {
        let dir = tree(&["a", "2025-01/x", "2025-02/y", "2025-02/deep/z", "2026-01/w", "2025-02/_tmp/v", ".hidden/u"]);
        assert_eq!(files(&dir, "", false), ["a"]);
        assert_eq!(files(&dir, "", true), ["2025-01/x", "2025-02/deep/z", "2025-02/y", "2026-01/w", "a"]);
        assert_eq!(files(&dir, "2025-*", false), ["2025-01/x", "2025-02/y"]);
        assert_eq!(files(&dir, "2025-*", true), ["2025-01/x", "2025-02/deep/z", "2025-02/y"]);
        assert_eq!(files(&dir, "202?-0[12]/de{ep,af}", false), ["2025-02/deep/z"]);
        assert_eq!(files(&dir, "none-*", false), Vec::<String>::new());
        assert_eq!(files(&dir, "[ab]", false), ["a"], "a file matches, too");
        assert_eq!(files(&dir, "2025-*/[x-z]", false), ["2025-01/x", "2025-02/y"]);
        assert_eq!(files(&dir, "2025-02/d*", true), ["deep/z"], "the part before the pattern is the root");
        let e = Listing::of(&dir.join("none/x-*"), false).unwrap().list().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound, "the part without a pattern must be there");
    }

    #[test]
    fn a_directory_with_the_name_of_a_pattern_is_that_directory() {
        let dir = tree(&["odd[1]/x", "odd1/y"]);
        assert_eq!(files(&dir, "odd[1]", false), ["x"]);
        assert_eq!(files(&dir, "odd[1]*", false), ["odd1/y"]);
    }

    #[test]
    fn a_link_to_a_directory_is_not_followed_by_recursion() {
        let dir = tree(&["sub/x"]);
        std::os::unix::fs::symlink(&*dir, dir.join("sub/loop")).unwrap();
        assert_eq!(files(&dir, "", true), ["sub/x"]);
    }

    #[test]
    fn a_log_says_which_files_there_are() {
        let dir = tree(&["batch-1/part-00000", "batch-1/part-00001", "batch-2/part-00000", "x"]);
        let link = dir.with_extension("link");
        std::os::unix::fs::symlink(&*dir, &link).unwrap();
        let names = |path: &Path| -> Vec<(String, bool)> {
            let found = Listing::of(path, false).unwrap().by_log(true).list().unwrap();
            found.into_iter().map(|(name, entry)| (name, entry.is_ok())).collect()
        };
        assert!(names(&dir).contains(&("x".to_owned(), true)), "there is no log yet");
        let mut log = FileStreamSinkLog::new(&*dir);
        log.add("batch-1", ["part-00001"]).unwrap();
        log.add("batch-2", ["part-00000"]).unwrap();
        let all = [("batch-1/part-00001".to_owned(), true), ("batch-2/part-00000".to_owned(), true)];
        assert_eq!((names(&dir), names(&link)), (all.to_vec(), all.to_vec()));
        assert!(names(&dir.join("batch-[12]")).len() == 3, "a pattern does not look for logs");
        assert_eq!(files(&dir, "", true).len(), 4, "nor does a listing that was not asked to");
        std::fs::remove_file(dir.join("batch-1/part-00001")).unwrap();
        assert_eq!(names(&dir), [(all[0].0.clone(), false), all[1].clone()]);
        std::fs::remove_file(link).unwrap();
    }
}
