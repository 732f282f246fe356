//! Which entries a source of files sees: those of one directory, of all directories that match a pattern, or of whole trees.
//!
//! Names are paths below the root. For a plain directory they are the names of its entries, as older checkpoints have them.

use std::ffi::OsStr;
use std::fs::FileType;
use std::io::{ErrorKind, Result};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use regex::Regex;

use crate::connector::files::identity::{Found, list, version};
use crate::connector::files::sink_log_reader::SinkLogReader;
use crate::core::lock::lock;
use crate::core::path::real;

/// The directories of a source.
#[derive(Debug)]
pub(super) struct Listing {
    /// The longest part of the path without a pattern.
    root: PathBuf,
    /// The patterns of the directories below the root.
    below: Vec<Regex>,
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
        let is_pattern = |part: &OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
        let parts: Vec<Component<'_>> = dir.components().collect();
        let first = parts.iter().position(|part| is_pattern(part.as_os_str())).filter(|_| !dir.is_dir());
        let (root, patterns) = parts.split_at(first.unwrap_or(parts.len()));
        let mut root: PathBuf = root.iter().collect();
        if root.as_os_str().is_empty() {
            root.push(".");
        }
        // A path without a pattern keeps how it is written: names of files in plans begin with it.
        let root = if patterns.is_empty() { dir.to_owned() } else { root };
        let below = patterns.iter().map(|part| compiled(&part.as_os_str().to_string_lossy())).collect::<Compiled<_>>()?;
        Ok(Listing { root, below, recursive, log: None })
    }

    /// One directory.
    pub fn plain(dir: &Path) -> Self {
        Listing { root: dir.to_owned(), below: Vec::new(), recursive: false, log: None }
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
                self.descend(&name, is_dir, 0, &mut found);
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

    /// Adds what is in the directories below `name` that match the patterns from `at` on.
    fn descend(&self, name: &str, is_dir: bool, at: usize, found: &mut Vec<Found>) {
        if !self.below[at].is_match(name.rsplit('/').next().unwrap_or(name)) {
            return;
        }
        let (dir, last) = (self.root.join(name), at + 1 == self.below.len());
        if !is_dir {
            let reason = "it is a file, and a pattern names directories; TextFileSource::accept selects files by their names";
            found.extend(last.then(|| (name.to_owned(), Err(reason.to_owned()))));
            return;
        }
        match last {
            true => match list(&dir) {
                Ok(here) => self.add(name, here, found),
                Err(e) => skipped(name, &e, found),
            },
            false => match entries(&dir) {
                Ok(all) => all.iter().for_each(|(sub, is_dir)| self.descend(&format!("{name}/{sub}"), *is_dir, at + 1, found)),
                Err(e) => skipped(name, &e, found),
            },
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

type Compiled<T> = std::result::Result<T, String>;

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

/// The expression of a pattern as Hadoop has it: `*`, `?`, `[a-c]`, `[^a]`, `{one,two}`, and `\` before a plain character.
fn compiled(pattern: &str) -> Compiled<Regex> {
    let (mut text, mut open, mut class) = (String::from("^"), 0, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            ']' if class => {
                class = false;
                text.push(']');
            }
            '-' if class => text.push('-'),
            c if class => text.push_str(&regex::escape(&c.to_string())),
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => {
                class = true;
                text.push('[');
                if let Some('^' | '!') = chars.peek() {
                    chars.next();
                    text.push('^');
                }
            }
            '{' => {
                open += 1;
                text.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                text.push(')');
            }
            ',' if open > 0 => text.push('|'),
            c => text.push_str(&regex::escape(&c.to_string())),
        }
    }
    let wrong = |e: &dyn std::fmt::Display| format!("\"{pattern}\" is no pattern of directories: {e}");
    if class || open > 0 {
        return Err(wrong(&"a bracket is not closed; write \\[ or \\{ for the character"));
    }
    Regex::new(&(text + "$")).map_err(|e| wrong(&e))
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
    fn a_pattern_means_directories_and_recursion_whole_trees() {
        let dir = tree(&["a", "2025-01/x", "2025-02/y", "2025-02/deep/z", "2026-01/w", "2025-02/_tmp/v", ".hidden/u"]);
        assert_eq!(files(&dir, "", false), ["a"]);
        assert_eq!(files(&dir, "", true), ["2025-01/x", "2025-02/deep/z", "2025-02/y", "2026-01/w", "a"]);
        assert_eq!(files(&dir, "2025-*", false), ["2025-01/x", "2025-02/y"]);
        assert_eq!(files(&dir, "2025-*", true), ["2025-01/x", "2025-02/deep/z", "2025-02/y"]);
        assert_eq!(files(&dir, "202?-0[12]/de{ep,af}", false), ["2025-02/deep/z"]);
        assert_eq!(files(&dir, "none-*", false), Vec::<String>::new());
        let found = Listing::of(&dir.join("[ab]"), false).unwrap().list().unwrap();
        assert!(matches!(&found[..], [(name, Err(why))] if name == "a" && why.contains("accept")), "{found:?}");
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

    #[test]
    fn patterns_are_those_of_hadoop() {
        for (pattern, yes, no) in [
            ("a*", &["a", "abc"][..], &["ba"][..]),
            ("?b", &["ab"], &["b", "aab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "-x"]),
            ("[^a]", &["b"], &["a"]),
            ("{jan,feb}-{1,2?}", &["jan-1", "feb-23"], &["mar-1", "jan-2"]),
            (r"\*.log", &["*.log"], &["a.log", "*xlog"]),
        ] {
            let pattern = compiled(pattern).unwrap();
            assert!(yes.iter().all(|name| pattern.is_match(name)) && !no.iter().any(|name| pattern.is_match(name)), "{pattern}");
        }
        for wrong in ["[a", "{a", "a{b,c"] {
            assert!(compiled(wrong).unwrap_err().contains("is not closed"), "{wrong}");
        }
    }
}
