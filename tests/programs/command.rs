//! The command `tidemill`: arguments, `gen` on stdout, `launch`, and how errors look.

use std::process::{Command, Output};

fn tidemill(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill")).args(args).env_remove("RUST_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_lines() {
    for kind in ["tweets", "words", "weblogs"] {
        let of = |seed| tidemill(&["gen", kind, "--count", "50", "--seed", seed]);
        let (a, b, c) = (of("3"), of("3"), of("4"));
        assert_eq!(text(&a.stdout).lines().count(), 50, "{kind}");
        assert!(a.status.success() && a.stdout == b.stdout && a.stdout != c.stdout, "{kind}");
        assert!(a.stderr.is_empty(), "{}", text(&a.stderr));
    }
    let lines = tidemill(&["gen", "words", "--line", "5", "--count", "2"]);
    assert!(text(&lines.stdout).lines().all(|l| l.split(' ').count() == 5));
}

#[test]
fn a_file_goes_out_line_by_line() {
    let path = std::env::temp_dir().join(format!("tidemill-gen-{}", std::process::id()));
    std::fs::write(&path, "one\r\ntwo\n\nlast").unwrap();
    let out = tidemill(&["gen", "words", "--file", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text(&out.stdout), "one\ntwo\n\nlast\n");
}

#[test]
fn wrong_arguments_end_with_2_and_failures_with_1_in_one_line() {
    for args in [&["gen", "tweets", "--rate", "fast"][..], &["demo", "--batches", "3"], &["demo", "--interval", "0"], &["no"]] {
        assert_eq!(tidemill(args).status.code(), Some(2), "{args:?}");
    }
    for (args, why) in [
        (&["gen", "words", "--file", "/no/such/file"][..], "/no/such/file"),
        (&["gen", "tweets", "--line", "3"], "words only"),
        (&["launch", "--", "/no/such/program"], "/no/such/program"),
    ] {
        let out = tidemill(args);
        let err = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.starts_with("tidemill: ") && err.lines().count() == 1 && err.contains(why), "{err}");
    }
}

#[test]
fn launch_starts_every_process_and_gives_back_what_failed() {
    let out = tidemill(&["launch", "-n", "2", "-w", "3", "--", "sh", "-c", "echo p $3 of $1, $5 workers"]);
    let mut lines: Vec<&str> = text(&out.stdout).lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0] p 0 of 2, 3 workers", "[1] p 1 of 2, 3 workers"]);
    assert!(out.status.success());
    assert_eq!(tidemill(&["launch", "--", "sh", "-c", "exit $((3 + $3))"]).status.code().map(|c| c == 3 || c == 4), Some(true));
}
