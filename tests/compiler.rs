//! Programs of `tests/compiler/` that must not compile, and the messages that rustc must print for them; those of
//! `tests/compiler_without_kafka/` in a build without the feature `kafka`.
//!
//! rustc must print the text of each line `//~ text` of a program. Warnings count as errors, so a deprecated name fails too.
//! trybuild is not used: it would build all dependencies again, with librdkafka, in its own directory. These tests use the
//! library that cargo has just built for this test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::rust_files;
use crate::temp_dir::TempDir;

/// The crates that the programs may use.
const CRATES: &[&str] = &["tidemill", "serde"];

/// The library file of each crate in [`CRATES`].
type Libraries = Vec<(&'static str, PathBuf)>;

/// As cargo has built them for this test.
fn libraries() -> &'static Libraries {
    static BUILT: OnceLock<Libraries> = OnceLock::new();
    BUILT.get_or_init(built)
}

fn built() -> Libraries {
    let features = [
        ("default", cfg!(feature = "default")),
        ("kafka", cfg!(feature = "kafka")),
        ("zstd", cfg!(feature = "zstd")),
        ("http", cfg!(feature = "http")),
        ("cli", cfg!(feature = "cli")),
        ("dataflows", cfg!(feature = "dataflows")),
        ("ssl", cfg!(feature = "ssl")),
        ("object-store", cfg!(feature = "object-store")),
        ("kinesis", cfg!(feature = "kinesis")),
        ("sqlite", cfg!(feature = "sqlite")),
        ("mqtt", cfg!(feature = "mqtt")),
        ("otlp", cfg!(feature = "otlp")),
        ("avro", cfg!(feature = "avro")),
        ("protobuf", cfg!(feature = "protobuf")),
        ("postgres", cfg!(feature = "postgres")),
        ("testing", true),
        ("abomonation", cfg!(feature = "abomonation")),
    ];
    // With other features cargo would build the library and these tests a second time, for minutes.
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let (_, table) = manifest.split_once("\n[features]\n").unwrap();
    let names = table.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "));
    for (name, _) in names.filter(|(name, _)| !name.starts_with('#')) {
        assert!(features.iter().any(|(known, _)| *known == name), "add the feature {name} to the list above");
    }
    let features: Vec<&str> = features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
    let mut cargo = cargo(&["test", "--no-run", "--test", "main"]);
    if !cfg!(feature = "default") {
        cargo.arg("--no-default-features");
    }
    cargo.args(["--features", &features.join(",")]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    files(cargo, "rlib")
}

/// The library without Kafka, checked and not compiled: rustc needs no more to check a program. `scripts/test` has done this before,
/// in the step "the core alone".
fn without_kafka() -> Libraries {
    files(cargo(&["check", "--lib", "--no-default-features"]), "rmeta")
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(arguments).args(["--locked", "--offline", "--message-format=json"]);
    cargo
}

/// Runs cargo, and finds the library file of each crate with this extension.
fn files(mut cargo: Command, kind: &str) -> Libraries {
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut found = Vec::new();
    for line in String::from_utf8(built.stdout).unwrap().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = CRATES.iter().find(|name| message["target"]["name"] == **name);
        let is_library = message["target"]["kind"] == serde_json::json!(["lib"]) && message["profile"]["test"] == false;
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
        let file = files.map(PathBuf::from).find(|file| file.extension().is_some_and(|e| e == kind));
        if let (Some(name), true, Some(file)) = (name, is_library, file) {
            found.push((*name, file));
        }
    }
    found
}

/// What rustc prints about a program that must not compile. `None`: it compiles.
pub fn printed(program: &Path, out: &Path, options: &[&str]) -> Option<String> {
    printed_with(libraries(), program, out, options)
}

fn printed_with(libraries: &Libraries, program: &Path, out: &Path, options: &[&str]) -> Option<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition=2024", "--emit=metadata", "--color=never", "--out-dir"]).arg(out).args(options).arg(program);
    for (name, file) in libraries {
        rustc.arg("-L").arg(format!("dependency={}", file.parent().unwrap().display()));
        rustc.arg("--extern").arg(format!("{name}={}", file.display()));
    }
    let compiled = rustc.output().unwrap();
    (!compiled.status.success()).then(|| String::from_utf8(compiled.stderr).unwrap())
}

/// Which `//~` lines rustc does not print for this program, with its full output. An error also if the program compiles.
fn missing(libraries: &Libraries, program: &str, out: &Path) -> Option<String> {
    let options = ["--crate-type=bin", "--deny=warnings", "--allow=dead_code"];
    let Some(printed) = printed_with(libraries, program.as_ref(), out, &options) else {
        return Some(format!("{program} compiles"));
    };
    let text = std::fs::read_to_string(program).unwrap();
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
    assert!(!expected.is_empty(), "{program} expects nothing: write //~ and a part of the compiler's message");
    let missing: Vec<&str> = expected.into_iter().filter(|text| !printed.contains(text)).collect();
    (!missing.is_empty()).then(|| format!("{program}: not printed: {missing:#?}\nbut this:\n{printed}"))
}

#[test]
fn the_compiler_says_what_to_write() {
    let (programs, libraries, out) = (rust_files::below("tests/compiler"), libraries(), TempDir::made("compiler"));
    assert!(programs.len() >= 12 && libraries.len() == CRATES.len(), "{programs:?}, {libraries:?}");
    let (half, rest) = programs.split_at(programs.len() / 2);
    let check = |programs: &[String]| programs.iter().filter_map(|p| missing(libraries, p, &out)).collect::<Vec<_>>();
    let wrong = std::thread::scope(|scope| {
        let first = scope.spawn(|| check(half));
        [check(rest), first.join().unwrap()].concat()
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn without_kafka_the_compiler_names_the_feature() {
    let (programs, libraries, out) =
        (rust_files::below("tests/compiler_without_kafka"), without_kafka(), TempDir::made("feature"));
    assert!(programs.len() >= 2 && libraries.len() == CRATES.len(), "{programs:?}, {libraries:?}");
    let wrong: Vec<String> = programs.iter().filter_map(|p| missing(&libraries, p, &out)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
