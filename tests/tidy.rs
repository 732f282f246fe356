//! Rules of the source tree: which module may use which, how large import circles may be, and who may read the clock. Files and
//! functions have a maximum length.
//!
//! The rules look at text only, so that they stay easy to read. They skip items under `#[cfg(test)]`.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_files;

/// The layers of the source tree, lowest first. A file uses its own layer and those below. The longest prefix of a path decides.
const LAYERS: &[&[&str]] = &[
    &["core"],
    &[
        "logging",
        "metrics",
        "bucket",
        "checkpoint",
        "cluster",
        "replay::request",
        "live::description",
        "live::json",
        "live::parse",
    ],
    &["http", "format", "connector::source", "connector::sink", "connector::message", "engine::tick"],
    &["engine", "job::protocol"],
    &["api"],
    &["operator", "arrangement"],
    &["connector", "graph", "live", "replay"],
    &["job", "replay::find_poison", "replay::verify"],
    &["testing", "cli", "prelude"],
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
    (
        "tokio",
        &[
            "src/bucket/requests.rs",
            "src/format/avro/registry.rs",
            "src/http/",
            "src/connector/http_receiver.rs",
            "src/connector/kinesis/",
            "src/connector/mqtt_receiver.rs",
        ],
        "only in",
    ),
    ("hyper", &["src/http/", "src/connector/http_receiver.rs", "src/format/avro/registry.rs"], "only in"),
    ("apache_avro", &["src/format/avro/"], "only in"),
    ("object_store", &["src/bucket/", "src/checkpoint/store/objects/"], "only in"),
    ("rusqlite", &["src/connector/database/sqlite.rs"], "only in"),
    ("postgres", &["src/connector/database/postgres.rs"], "only in"),
    ("prost", &["src/connector/kinesis/aggregated.rs", "src/format/protobuf.rs", "src/http/otlp/"], "only in"),
    ("opentelemetry_proto", &["src/http/otlp/"], "only in"),
    ("md5", &["src/connector/kinesis/aggregated.rs"], "only in"),
    ("aws_config", &["src/connector/kinesis/client.rs"], "only in"),
    ("aws_sdk_kinesis", &["src/connector/kinesis/"], "only in"),
    ("aws_smithy_http_client", &["src/connector/kinesis/client.rs"], "only in"),
    ("rumqttc", &["src/connector/mqtt_receiver.rs"], "only in"),
    ("rdkafka", &["src/connector/kafka/"], "only in"),
    ("rdkafka_sys", &["src/connector/kafka/"], "only in"),
];

/// Words that only some files may use, and why they may.
const WORDS: &[(&str, &[&str])] = &[
    // One file reads the wall clock.
    ("SystemTime::now", &["src/core/clock.rs"]),
    ("Timestamp::now", &[]),
    ("Zoned::now", &[]),
    // Only a program may exit. A library leaves this to its host.
    ("process::exit", &["src/cli/"]),
    // librdkafka's batch call has no safe form (decision 7).
    ("unsafe ", &["src/connector/kafka/"]),
    ("allow(unsafe_code)", &["src/connector/kafka/"]),
    // Unfinished code does not stay in the tree.
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

fn sources() -> Vec<Source> {
    let is_test = |p: &String| p.contains("/tests/") || p.ends_with("/tests.rs");
    let read = |path: String| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source { lines: without_tests(&text), path }
    };
    rust_files::below("src").into_iter().filter(|p| !is_test(p)).map(read).collect()
}

/// Drops each item under `#[cfg(test)]`. rustfmt ends it with a brace or a semicolon at its own indentation.
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

/// The layer and its entry for a path inside the crate, like `connector::kafka::reader`.
fn entry(path: &str) -> Option<(usize, &'static str)> {
    let within = |entry: &str| path == entry || path.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::"));
    let entries = LAYERS.iter().enumerate().flat_map(|(layer, names)| names.iter().map(move |r| (layer, *r)));
    entries.filter(|(_, r)| within(r)).max_by_key(|(_, r)| r.len())
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
        let Some((layer, from)) = entry(&file.place()) else {
            wrong.push(format!("{}: \"{}\" is in no layer: give it one in tests/tidy.rs", file.path, file.place()));
            continue;
        };
        for (n, line) in file.code() {
            for (up, to) in named(line).iter().filter_map(|path| entry(path)).filter(|(up, _)| *up > layer) {
                wrong.push(format!("{}:{n}: {from} (layer {layer}) may not use {to} (layer {up})", file.path));
            }
        }
    }
    report(wrong);
}

/// At most this many files may need one another.
const CIRCLE_FILES: usize = 3;

/// The paths that a file names, written out from the root of the crate, each with its line. `use` trees are expanded.
/// `reexports`: only those of `pub use`, or only the others.
fn paths(file: &Source, reexports: bool) -> Vec<(usize, Vec<String>)> {
    let mut text = String::new();
    let mut starts = Vec::new();
    for (n, line) in file.code() {
        starts.push((text.len(), n));
        text.push_str(line);
        text.push('\n');
    }
    let here: Vec<String> = file.place().split("::").map(str::to_owned).filter(|s| !s.is_empty()).collect();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(word).map(|i| at + i) {
        let end = text[begin..].find(|c| !word(c)).map_or(text.len(), |i| begin + i);
        at = end;
        if text[..begin].ends_with("::") || text[..begin].ends_with('"') {
            continue;
        }
        let statement = text[..begin].rsplit([';', '}', '\n']).next().unwrap().trim_start();
        let uses = statement.ends_with("use ");
        let is_reexport = uses && statement.starts_with("pub");
        let rooted = ["crate", "super", "self"].contains(&&text[begin..end]);
        if !text[end..].starts_with("::") || !(rooted || uses) || is_reexport != reexports {
            continue;
        }
        let line = starts[starts.partition_point(|(start, _)| *start <= begin) - 1].1;
        let mut tree = &text[begin..];
        let mut leaves = Vec::new();
        leaves_of(&mut tree, &[], &mut leaves);
        for leaf in leaves {
            let mut full = match leaf[0].as_str() {
                "crate" => Vec::new(),
                _ => here.clone(),
            };
            for part in &leaf {
                match part.as_str() {
                    "crate" | "self" => {}
                    "super" => drop(full.pop()),
                    _ => full.push(part.clone()),
                }
            }
            found.push((line, full));
        }
        if uses {
            at = text.len() - tree.len();
        }
    }
    found
}

/// Expands a `use` tree, or a plain path: `a::{b, c::D}` gives `a::b` and `a::c::D`.
fn leaves_of(text: &mut &str, before: &[String], into: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        *text = text.trim_start();
        let len = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        if len > 0 {
            path.push(text[..len].to_owned());
            *text = &text[len..];
        }
        let Some(rest) = text.strip_prefix("::") else { break };
        *text = rest;
        if let Some(rest) = text.strip_prefix('{') {
            *text = rest;
            while !text.trim_start().starts_with('}') && !text.is_empty() {
                leaves_of(text, &path, into);
                // `as Name`, and the comma.
                let next = text.find([',', '}']).unwrap_or(text.len());
                *text = &text[next..];
                *text = text.strip_prefix(',').unwrap_or(text);
            }
            *text = text.trim_start().strip_prefix('}').unwrap_or("");
            return;
        }
    }
    into.push(path);
}

/// Finds the file that defines the item of a path. It follows the `pub use` of a folder.
struct Definitions {
    /// By their place in the crate.
    files: BTreeMap<String, usize>,
    /// By file and name.
    reexported: BTreeMap<(usize, String), Vec<String>>,
}

impl Definitions {
    fn new(files: &[Source]) -> Self {
        let place = |f: &Source| if f.path == "src/lib.rs" { String::new() } else { f.place() };
        let places = files.iter().enumerate().map(|(i, f)| (place(f), i)).collect();
        let mut reexported = BTreeMap::new();
        for (i, file) in files.iter().enumerate().filter(|(_, f)| f.path.ends_with("/mod.rs") || f.path == "src/lib.rs") {
            for (_, path) in paths(file, true) {
                reexported.insert((i, path.last().unwrap().clone()), path);
            }
        }
        Definitions { files: places, reexported }
    }

    /// The file that defines the item of this path. `None`: the item is not in this crate.
    fn of(&self, path: &[String]) -> Option<usize> {
        let known = |len: &usize| self.files.get(&path[..*len].join("::")).copied();
        let len = (0..=path.len()).rev().find(|len| known(len).is_some())?;
        let file = known(&len)?;
        match path.get(len).and_then(|name| self.reexported.get(&(file, name.clone()))) {
            Some(further) if further != path => self.of(further),
            _ => Some(file),
        }
    }
}

/// Sets of files that all need one another, largest first.
fn circles(files: &[Source], ties: &BTreeMap<(usize, usize), Vec<String>>) -> Vec<Vec<usize>> {
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for ((_, to), _) in ties.range((at, 0)..(at + 1, 0)) {
                if seen.insert(*to) {
                    open.push(*to);
                }
            }
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(reached).collect();
    let circle = |i: usize| reached[i].iter().copied().filter(|j| reached[*j].contains(&i)).collect::<Vec<_>>();
    let all: BTreeSet<Vec<usize>> = (0..files.len()).map(circle).filter(|c| c.len() > 1).collect();
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.len()));
    all
}

/// For each pair of files, why the first needs the second: lines, and the paths in them.
fn ties(files: &[Source]) -> BTreeMap<(usize, usize), Vec<String>> {
    let definitions = Definitions::new(files);
    let mut ties: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for (from, file) in files.iter().enumerate().filter(|(_, f)| f.path != "src/lib.rs") {
        for (n, path) in paths(file, false) {
            if let Some(to) = definitions.of(&path).filter(|to| *to != from) {
                ties.entry((from, to)).or_default().push(format!("{n}: {}", path.join("::")));
            }
        }
    }
    ties
}

#[test]
fn no_circle_of_imports_is_large() {
    let files = sources();
    let ties = ties(&files);
    let mut wrong = Vec::new();
    for circle in circles(&files, &ties).into_iter().filter(|c| c.len() > CIRCLE_FILES) {
        wrong.push(format!("{} files need one another; at most {CIRCLE_FILES}:", circle.len()));
        for ((from, to), lines) in ties.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to)) {
            wrong.push(format!("    {} needs {}, in line {}", files[*from].path, files[*to].path, lines.join("; ")));
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

/// Only the planner and the code that carries its commands advance time. Operators get time from ticks.
#[test]
fn only_job_gives_commands() {
    let gives =
        |l: &str| ["Command::Close {", "Command::Seal {", "Command::Open {", "Command::End"].iter().any(|c| l.contains(c));
    let elsewhere = sources().into_iter().filter(|f| f.module() != "job");
    report(
        elsewhere
            .flat_map(|f| {
                f.code()
                    .filter(|(_, l)| gives(l))
                    .map(|(n, _)| format!("{}:{n}: only job/ advances time", f.path))
                    .collect::<Vec<_>>()
            })
            .collect(),
    );
}

/// A checkpoint directory may be on a disk or in an object store. Only `store/` knows which.
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

/// Cargo builds and links a program a second time for its unit tests, also if it has none.
#[test]
fn only_programs_with_unit_tests_are_built_for_them() {
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let mut wrong = Vec::new();
    for program in manifest.split("\n[").filter_map(|section| section.strip_prefix("[bin]]\n")) {
        let path = program.lines().find_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"')).unwrap();
        let files = match path.strip_suffix("/main.rs") {
            Some(folder) if path != "src/cli/main.rs" => rust_files::below(folder),
            _ => vec![path.to_owned()],
        };
        let tested = files.iter().any(|file| std::fs::read_to_string(file).unwrap().contains("#[test]"));
        if tested == program.contains("\ntest = false") {
            wrong.push(format!("{path}: `test = false` in Cargo.toml is for programs without unit tests"));
        }
    }
    report(wrong);
}

/// Guards the helpers of the rules: if they missed lines, the rules would pass for the wrong reason.
#[test]
fn the_rules_find_violations() {
    let text = "use crate::connector::sink::Part;\n#[cfg(test)]\nmod tests {\n    fn x() {}\n}\n#[cfg(test)]\nmod more;\nfn after() {\n}\n";
    let file = Source { path: "src/source/x.rs".into(), lines: without_tests(text) };
    assert_eq!(file.lines.iter().map(|l| l.0).collect::<Vec<_>>(), [1, 8, 9]);
    assert_eq!(functions(&file).into_iter().collect::<Vec<_>>(), [((8, "after".to_owned()), 2)]);
    assert_eq!(named(&file.lines[0].1).into_iter().collect::<Vec<_>>(), ["connector::sink::Part"]);
    assert!(names_crate("    let c: rdkafka::ClientConfig;", "rdkafka") && !names_crate("crate::timely::x", "timely"));
    assert!(!names_crate("my_timely::x", "timely"));
}

#[test]
fn circles_are_found_and_reexports_make_none() {
    let source = |path: &str, text: &str| Source { path: path.into(), lines: without_tests(text) };
    let files = [
        source("src/a/mod.rs", "mod one;\npub use one::{Deep, Other as Else};\n"),
        source("src/a/one.rs", "use crate::{b::{self, Thing}, c::X as Y};\npub struct Deep;\n"),
        source("src/b.rs", "fn f() -> crate::a::Deep { super::c::g() }\n"),
        source("src/c.rs", "// crate::a::Deep\n#[cfg(test)]\nmod tests {\n    use crate::a::Deep;\n}\n"),
    ];
    let ties = ties(&files);
    assert_eq!(ties.keys().copied().collect::<Vec<_>>(), [(1, 2), (1, 3), (2, 1), (2, 3)]);
    assert_eq!(ties[&(1, 2)], ["1: b", "1: b::Thing"]);
    assert_eq!(circles(&files, &ties), [[1, 2]]);
}
