//! The Rust files below a folder, for the tests that read source text.

use std::path::Path;

/// The paths of all Rust files below `dir`, or `dir` itself if it is one; sorted.
pub fn below(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(dir).to_path_buf()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}
