//! `tidemill new`: the new program compiles without a warning, its test passes, and it counts words.
//!
//! The tests compile it with rustc, against the libraries that they are linked with themselves. `scripts/nightly readme` builds it
//! with cargo, as users do.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::{Program, Signal, TempDir, run};

/// The libraries with this name beside the test binary, newest first.
fn libraries(name: &str) -> Vec<PathBuf> {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let prefix = format!("lib{name}-");
    let is_library = |p: &PathBuf| {
        let file = p.file_name().unwrap().to_string_lossy();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    };
    let mut built: Vec<PathBuf> = std::fs::read_dir(&deps).unwrap().map(|e| e.unwrap().path()).filter(is_library).collect();
    built.sort_by_key(|p| std::cmp::Reverse(p.metadata().unwrap().modified().unwrap()));
    assert!(!built.is_empty(), "cargo builds {name} before these tests");
    built
}

/// Compiles `src/main.rs` of a new program, as a program or as its tests. Some libraries in the folder may have been built with other
/// features, so all are tried.
fn compile(folder: &Path, binary: &str, options: &[&str]) -> PathBuf {
    let made = folder.join(binary);
    let mut said = String::new();
    for tidemill in libraries("tidemill") {
        for clap in libraries("clap") {
            let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
            rustc
                .args(["--edition", "2024", "-D", "warnings"])
                .args(options)
                .arg(folder.join("src/main.rs"))
                .arg("-o")
                .arg(&made);
            rustc.arg("-L").arg(format!("dependency={}", tidemill.parent().unwrap().display()));
            for (name, library) in [("tidemill", &tidemill), ("clap", &clap)] {
                rustc.arg("--extern").arg(format!("{name}={}", library.display()));
            }
            let end = rustc.output().unwrap();
            if end.status.success() {
                return made;
            }
            said += &String::from_utf8_lossy(&end.stderr);
        }
    }
    panic!("{said}");
}

fn create(dir: &TempDir, name: &str) -> PathBuf {
    let folder = dir.join(name);
    let end = run("tidemill", ["new", folder.to_str().unwrap()]);
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert!(end.out.contains("cargo test") && end.out.contains("cargo run"), "{}", end.out);
    folder
}

#[test]
fn a_new_program_compiles_and_its_test_passes() {
    let dir = TempDir::made("new");
    let folder = create(&dir, "word-count");
    let end = Command::new(compile(&folder, "tests", &["--test"])).output().unwrap();
    let out = String::from_utf8_lossy(&end.stdout);
    assert!(end.status.success() && out.contains("1 passed; 0 failed"), "{out}");
}

#[test]
fn a_new_program_counts_the_words_of_a_socket() {
    let dir = TempDir::made("new");
    let program = compile(&create(&dir, "word_count"), "program", &[]);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let mut job = Program::spawn("word_count", Command::new(program).args(["--host", "127.0.0.1", "--port", &port]), &[]);
    server.set_nonblocking(true).unwrap();
    let mut lines = None;
    job.until("it connects", |_, _| {
        lines = server.accept().ok();
        lines.is_some()
    });
    let (mut lines, _) = lines.unwrap();
    lines.write_all(b"To be or\nnot to be\n").unwrap();
    let twice = |out: &str, word: &str| out.lines().any(|l| l.contains(word) && l.ends_with(", 2)"));
    job.until("it has counted the words of a batch", |out, _| twice(out, "be") && twice(out, "to"));
    job.signal(Signal::INT);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
}

/// cargo reads the manifest, and finds this library by its path.
#[test]
fn the_manifest_of_a_new_program_names_this_library() {
    let dir = TempDir::made("new");
    let manifest = create(&dir, "word-count").join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    let end = command.output().unwrap();
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&end.stdout).unwrap();
    let package = &metadata["packages"][0];
    let dependencies = package["dependencies"].as_array().unwrap();
    let paths: Vec<_> = dependencies.iter().filter(|d| d["name"] == "tidemill").map(|d| d["path"].as_str().unwrap()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    assert_eq!(package["name"], "word-count");
    assert_eq!(paths, [root.to_str().unwrap(); 2], "the program needs the library, and its tests need it with `testing`");
}

#[test]
fn an_invalid_name_or_folder_is_refused() {
    let dir = TempDir::made("new");
    let taken = create(&dir, "taken");
    let before = std::fs::read(taken.join("src/main.rs")).unwrap();
    let elsewhere = ["new", "x", "--tidemill", dir.path()];
    for (args, why) in [
        (&["new", "9lives"][..], "cannot name a program"),
        (&["new", "two words"], "cannot name a program"),
        (&["new", ".."], "cannot name a program"),
        (&["new", taken.to_str().unwrap()], "exists already"),
        (&elsewhere, "does not have the sources of tidemill"),
    ] {
        let end = run("tidemill", args);
        assert_eq!(end.code, Some(1), "{args:?}");
        assert!(end.err.lines().count() == 1 && end.err.contains(why), "{args:?}: {}", end.err);
    }
    assert_eq!(std::fs::read(taken.join("src/main.rs")).unwrap(), before);
}
