//! The shape of the source tree: who may use whom, who may read the clock, how long a file and a function may be.
//!
//! Textual, on purpose: a rule that one can read here is a rule that one can keep. What is under `#[cfg(test)]` is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rooms of the house, from the ground up: a file uses its own floor and those below. The longest prefix of a path decides.
const FLOORS: &[&[&str]] = &[
    &["core"],
    &["metrics", "checkpoint", "cluster", "replay::request"],
    &["format", "connector::source", "connector::sink", "connector::message"],
    &["engine"],
    &["api"],
    &["operator", "arrangement"],
    &["connector", "replay"],
    &["job", "replay::verify"],
    &["testing", "logging", "cli", "prelude"],
];

/// Ways up, each with its reason. `(file or folder, room)`.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("src/checkpoint/mod.rs", "replay", "a directory gives the plans that run again"),
    ("src/checkpoint/store/mod.rs", "api", "the place of a directory is a setting"),
    ("src/cluster/rescale.rs", "api", "the numbers of a job are settings"),
    ("src/replay/request.rs", "api", "a replay is asked for by settings"),
];

/// Crates that only some files may name.
const CRATES: &[(&str, &[&str], &str)] = &[
    (
        "timely",
        &["src/connector/", "src/format/", "src/checkpoint/", "src/metrics/", "src/replay/", "src/sql/", "src/cli/"],
        "not in",
    ),
    (
        "differential_dataflow",
        &["src/connector/", "src/format/", "src/checkpoint/", "src/metrics/", "src/replay/", "src/sql/", "src/cli/"],
        "not in",
    ),
    ("tokio", &["src/checkpoint/store/objects/requests.rs"], "only in"),
    ("object_store", &["src/checkpoint/store/objects/"], "only in"),
    ("rdkafka", &["src/connector/kafka/"], "only in"),
    ("rdkafka_sys", &["src/connector/kafka/"], "only in"),
];

/// Words that only some files may use, and why they may.
const WORDS: &[(&str, &[&str])] = &[
    // One file reads the wall clock.
    ("SystemTime::now", &["src/core/clock.rs"]),
    ("Timestamp::now", &[]),
    ("Zoned::now", &[]),
    // Exit is for programs, not for a library: the host decides.
    ("process::exit", &["src/cli/"]),
    // librdkafka's batch call has no safe form (decision 7).
    ("unsafe ", &["src/connector/kafka/"]),
    ("allow(unsafe_code)", &["src/connector/kafka/"]),
    // Nothing half done.
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that are longer, each with its reason: `(file, function, why)`.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// A file without its tests: its path, and its lines with their numbers.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

impl Source {
    /// The first folder or file under `src/`.
    fn module(&self) -> &str {
        self.path.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Its path inside the crate: `connector::kafka::reader`.
    fn place(&self) -> String {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
    }

    fn within(&self, places: &[&str]) -> bool {
        places.iter().any(|p| self.path.starts_with(p))
    }

    /// Code: no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.lines.iter().map(|(n, l)| (*n, l.split("//").next().unwrap_or_default()));
        code.filter(|(_, l)| !l.trim().is_empty())
    }
}

fn collect(dir: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path.to_str().unwrap().to_owned());
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(Path::new("src"), &mut paths);
    paths.sort();
    let is_test = |p: &String| p.contains("/tests/") || p.ends_with("/tests.rs");
    let read = |path: String| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source { lines: without_tests(&text), path }
    };
    paths.into_iter().filter(|p| !is_test(p)).map(read).collect()
}

/// Drops each item under `#[cfg(test)]`: rustfmt ends it at the brace, or the semicolon, of its own indentation.
fn without_tests(text: &str) -> Vec<(usize, String)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, n)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push((n, line.to_owned()));
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        for (line, _) in lines.by_ref() {
            let one_line = line.ends_with(';') && line.starts_with(indent) && !line[indent.len()..].starts_with(' ');
            if one_line || line == end {
                break;
            }
        }
    }
    kept
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The floor and the room of a path inside the crate, like `connector::kafka::reader`.
fn room(path: &str) -> Option<(usize, &'static str)> {
    let within = |room: &str| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::"));
    let rooms = FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |r| (floor, *r)));
    rooms.filter(|(_, r)| within(r)).max_by_key(|(_, r)| r.len())
}

/// The paths inside this crate that a line names, without `crate::`.
fn named(line: &str) -> BTreeSet<String> {
    let paths = line.split("crate::").skip(1);
    let name = |p: &str| p.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect::<String>();
    paths.map(name).map(|p| p.trim_end_matches(':').to_owned()).filter(|m| !m.is_empty()).collect()
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|f| f.path != "src/lib.rs") {
        let Some((floor, from)) = room(&file.place()) else {
            wrong.push(format!("{}: \"{}\" is on no floor: give it one in tests/tidy.rs", file.path, file.place()));
            continue;
        };
        for (n, line) in file.code() {
            for (up, to) in named(line).iter().filter_map(|path| room(path)).filter(|(up, _)| *up > floor) {
                if !ALLOWED.iter().any(|(path, room, _)| file.path.starts_with(path) && *room == to) {
                    wrong.push(format!("{}:{n}: {from} (floor {floor}) may not use {to} (floor {up})", file.path));
                }
            }
        }
    }
    report(wrong);
}

/// Whether a line names a crate: in a path or a `use`.
fn names_crate(line: &str, name: &str) -> bool {
    let before = |i: usize| i == 0 || !line[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '"');
    line.match_indices(&format!("{name}::")).any(|(i, _)| before(i)) || line.trim() == format!("use {name};")
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (name, places, how) in CRATES {
            if file.within(places) == (*how == "only in") {
                continue;
            }
            let lines = file.code().filter(|(_, l)| names_crate(l, name));
            wrong.extend(lines.map(|(n, _)| format!("{}:{n}: {name} is {how} {}", file.path, places.join(", "))));
        }
    }
    report(wrong);
}

#[test]
fn words_that_only_some_files_may_use() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (word, places) in WORDS.iter().filter(|(_, places)| !file.within(places)) {
            let lines = file.code().filter(|(_, l)| l.contains(word));
            let only = if places.is_empty() { "nowhere".into() } else { format!("only in {}", places.join(", ")) };
            wrong.extend(lines.map(|(n, _)| format!("{}:{n}: `{}` {only}", file.path, word.trim())));
        }
    }
    report(wrong);
}

/// Only the planner, and what carries its word, moves time: operators get it from ticks.
#[test]
fn only_job_gives_orders() {
    let gives = |l: &str| ["Order::Close {", "Order::Seal {", "Order::Open {", "Order::End"].iter().any(|o| l.contains(o));
    let elsewhere = sources().into_iter().filter(|f| f.module() != "job");
    report(
        elsewhere
            .flat_map(|f| {
                f.code()
                    .filter(|(_, l)| gives(l))
                    .map(|(n, _)| format!("{}:{n}: only job/ moves time", f.path))
                    .collect::<Vec<_>>()
            })
            .collect(),
    );
}

/// A checkpoint directory may lie elsewhere than on a local disk: one folder knows where it does.
#[test]
fn one_folder_touches_checkpoint_directories() {
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|f| f.within(&["src/checkpoint/"]) && !f.within(&["src/checkpoint/store/"])) {
        let touches = |l: &str| ["std::fs", "std::io", " fs::", "(fs::", "rustix::fs"].iter().any(|w| l.contains(w));
        let lines = file.code().filter(|(_, l)| touches(l));
        wrong.extend(lines.map(|(n, _)| format!("{}:{n}: only store/ touches the directory", file.path)));
    }
    report(wrong);
}

#[test]
fn every_module_says_what_it_is() {
    let silent = sources().into_iter().filter(|f| !f.lines.first().is_some_and(|(n, l)| *n == 1 && l.starts_with("//! ")));
    report(silent.map(|f| format!("{}: its first line is no `//!`", f.path)).collect());
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|f| f.lines.len() > FILE_LINES && !LONG_FILES.iter().any(|(p, _)| *p == f.path));
    report(long.map(|f| format!("{}: {} lines, tests not counted; at most {FILE_LINES}", f.path, f.lines.len())).collect());
}

/// The functions of a file with their lengths: from `fn` to the brace of the same indentation.
fn functions(file: &Source) -> BTreeMap<(usize, String), usize> {
    let mut open: Vec<(usize, usize, String)> = Vec::new();
    let mut found = BTreeMap::new();
    for (n, line) in &file.lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let words = ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "];
        let bare = words.iter().fold(text, |t, w| t.strip_prefix(w).unwrap_or(t));
        if let Some(rest) = bare.strip_prefix("fn ") {
            let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            open.push((*n, indent, name));
        }
        let ends =
            text.starts_with('}') || (text.ends_with('}') || text.ends_with(';')) && open.last().is_some_and(|o| o.0 == *n);
        if ends && open.last().is_some_and(|o| o.1 == indent) {
            let (start, _, name) = open.pop().unwrap();
            found.insert((start, name), n + 1 - start);
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let mut wrong = Vec::new();
    for file in sources() {
        for ((n, name), lines) in functions(&file).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES) {
            if !LONG_FUNCTIONS.iter().any(|(p, f, _)| *p == file.path && *f == name) {
                wrong.push(format!("{}:{n}: {name} has {lines} lines; at most {FUNCTION_LINES}", file.path));
            }
        }
    }
    report(wrong);
}

/// The rules above see what they are to see.
#[test]
fn the_rules_bite() {
    let text = "use crate::connector::sink::Part;\n#[cfg(test)]\nmod tests {\n    fn x() {}\n}\n#[cfg(test)]\nmod more;\nfn after() {\n}\n";
    let file = Source { path: "src/source/x.rs".into(), lines: without_tests(text) };
    assert_eq!(file.lines.iter().map(|l| l.0).collect::<Vec<_>>(), [1, 8, 9]);
    assert_eq!(functions(&file).into_iter().collect::<Vec<_>>(), [((8, "after".to_owned()), 2)]);
    assert_eq!(named(&file.lines[0].1).into_iter().collect::<Vec<_>>(), ["connector::sink::Part"]);
    assert!(names_crate("    let c: rdkafka::ClientConfig;", "rdkafka") && !names_crate("crate::timely::x", "timely"));
    assert!(!names_crate("my_timely::x", "timely"));
}
