//! The command `tidemill`: arguments, `gen` on stdout, `launch`, and the form of errors.

use crate::child::{Ended, TempDir, TempFile, run};

fn tidemill(args: &[&str]) -> Ended {
    run("tidemill", args)
}

#[test]
fn the_same_seed_gives_the_same_lines() {
    for kind in ["tweets", "words", "weblogs", "nexmark"] {
        let of = |seed| tidemill(&["gen", kind, "--count", "50", "--seed", seed]);
        let (a, b, c) = (of("3"), of("3"), of("4"));
        assert_eq!(a.out.lines().count(), 50, "{kind}");
        assert!(a.code == Some(0) && a.out == b.out && a.out != c.out, "{kind}");
        assert!(a.err.is_empty(), "{}", a.err);
    }
    let lines = tidemill(&["gen", "words", "--line", "5", "--count", "2"]);
    assert!(lines.out.lines().all(|l| l.split(' ').count() == 5));
}

#[test]
fn gen_writes_a_file_line_by_line() {
    let file = TempFile::new("gen", "one\r\ntwo\n\nlast");
    assert_eq!(tidemill(&["gen", "words", "--file", file.path()]).out, "one\ntwo\n\nlast\n");
    let none = tidemill(&["gen", "words", "--file", "-"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""), "stdin is empty here");
    let gzip = TempFile::new("gzip", "");
    // `printf 'one\ntwo\n' | gzip --no-name`
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\xcf\x4b\xe5\x2a\x29\xcf\xe7\x02\0\xe6\x0b\xba\x12\x08\0\0\0";
    std::fs::write(gzip.path(), packed).unwrap();
    assert_eq!(tidemill(&["gen", "words", "--file", gzip.path()]).out, "one\ntwo\n");
    // Cut off, and with another checksum.
    let mut other = *packed;
    other[packed.len() - 8] ^= 1;
    for damaged in [&packed[..packed.len() - 12], &other] {
        std::fs::write(gzip.path(), damaged).unwrap();
        let end = tidemill(&["gen", "words", "--file", gzip.path()]);
        assert!(end.code == Some(1) && end.err.contains(gzip.path()) && end.err.lines().count() == 1, "{}", end.err);
    }
}

#[test]
fn gen_writes_a_file_for_each_day_of_the_records_own_times() {
    let dir = TempDir::new("gen-days");
    let args = ["gen", "weblogs", "--rate", "0.001", "--replay-speed", "max", "--count", "150", "--by-day", dir.path()];
    let end = tidemill(&args);
    assert_eq!((end.code, end.out.as_str()), (Some(0), ""), "{}", end.err);
    assert!(end.err.contains("150 requests in") && end.err.contains(dir.path()), "{}", end.err);
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["2017-01-11.log", "2017-01-12.log", "2017-01-13.log"]);
    let read = |name: &String| std::fs::read_to_string(std::path::Path::new(dir.path()).join(name)).unwrap();
    for (name, day) in names.iter().zip(["11/Jan/2017", "12/Jan/2017", "13/Jan/2017"]) {
        assert!(read(name).lines().all(|line| line.contains(day)), "{name}");
    }
    let whole = names.iter().map(read).collect::<String>();
    assert_eq!(whole, tidemill(&["gen", "weblogs", "--rate", "0.001", "--replay-speed", "max", "--count", "150"]).out);
    // The same directory again, and the log of a day replayed.
    let again = tidemill(&args);
    assert!(again.code == Some(1) && again.err.contains("2017-01-11.log is there"), "{}", again.err);
    let log = std::path::Path::new(dir.path()).join("2017-01-12.log");
    let replayed = tidemill(&["gen", "weblogs", "--file", log.to_str().unwrap(), "--replay-speed", "1000000"]);
    assert_eq!((replayed.code, replayed.out), (Some(0), read(&names[1])), "{}", replayed.err);
}

#[test]
fn wrong_arguments_end_with_2_and_failures_with_1_in_one_line() {
    for args in [&["gen", "tweets", "--rate", "fast"][..], &["demo", "--batches", "0"], &["demo", "--interval", "0"], &["no"]] {
        assert_eq!(tidemill(args).code, Some(2), "{args:?}");
    }
    for (args, why) in [
        (&["gen", "words", "--file", "/no/such/file"][..], "/no/such/file"),
        (&["gen", "tweets", "--line", "3"], "words only"),
        (&["gen", "words", "--file", "f", "--replay-speed", "2"], "--time FIELD"),
        (&["launch", "--", "/no/such/program"], "/no/such/program"),
    ] {
        let out = tidemill(args);
        let err = out.err;
        assert_eq!(out.code, Some(1), "{args:?}: {err}");
        assert!(err.starts_with("tidemill: ") && err.lines().count() == 1 && err.contains(why), "{err}");
    }
}

#[test]
fn help_lists_options_of_the_program_before_those_of_every_job() {
    for (program, own) in [
        ("tweets", "--mode"),
        ("weblog", "--dir"),
        ("mentions", "--rounds"),
        ("reachability", "--root"),
        ("kafka_wordcount", "--exactly-once"),
        #[cfg(feature = "postgres")]
        ("posted_wordcount", "--interval"),
        #[cfg(feature = "postgres")]
        ("kafka_to_postgres", "--earliest"),
        ("direct_kafka_wordcount", "--earliest"),
        ("filtered_tweets", "--window"),
        ("kafka_to_files", "--for"),
        ("receiver_kafka_wordcount", "--group"),
        ("stateful_network_wordcount", "--view"),
        ("network_wordcount", "--interval"),
    ] {
        let help = run(program, ["--help"]).out;
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{program} has no {text}: {help}"));
        assert!(at("\nOptions:\n") < at(own) && at(own) < at("\nRuntime options:\n"), "{program}: {help}");
        assert!(at("\nRuntime options:\n") < at("--checkpoint <DIR>") && at("--checkpoint <DIR>") < at("\nReplay:\n"), "{help}");
    }
}

#[test]
fn launch_starts_every_process_and_returns_the_exit_code_of_a_failed_one() {
    let out = tidemill(&["launch", "-n", "2", "-w", "3", "--", "sh", "-c", "echo p $3 of $1, $5 workers"]);
    let mut lines: Vec<&str> = out.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["p 0 of 2, 3 workers", "p 1 of 2, 3 workers"]);
    let out = tidemill(&["launch", "--prefix", "-n", "1", "--", "sh", "-c", "echo p $3 of $1; echo why >&2"]);
    assert_eq!((out.out.as_str(), out.err.as_str()), ("[0] p 0 of 1\n", "[0] why\n"));
    assert_eq!(out.code, Some(0));
    assert_eq!(tidemill(&["launch", "--", "sh", "-c", "exit $((3 + $3))"]).code.map(|c| c == 3 || c == 4), Some(true));
}
