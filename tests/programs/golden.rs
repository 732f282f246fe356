//! One expected file per program, compared byte for byte with its output on every layout.
//!
//! `TIDEMILL_BLESS=1 cargo test --features testing,dataflows --test programs` writes the files again, but no wrong ones. All layouts
//! must first agree with one another, and with a small model in the test.

use std::path::{Path, PathBuf};

use crate::child::{Ended, Program, TempFile, addresses, hostfile};

/// The number of processes, and of workers in each.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub processes: usize,
    pub workers: usize,
}

pub const LAYOUTS: [Layout; 3] =
    [Layout { processes: 1, workers: 1 }, Layout { processes: 1, workers: 4 }, Layout { processes: 2, workers: 2 }];

impl Layout {
    fn name(self) -> String {
        format!("{} x {} workers", self.processes, self.workers)
    }

    /// Starts all processes of a job with the environment variables `all`, and process 0 also with `first`.
    pub fn start_with(
        self,
        program: &str,
        args: &[&str],
        all: &[(&str, &str)],
        first: &[(&str, &str)],
    ) -> (Vec<Program>, Option<TempFile>) {
        let hosts = (self.processes > 1).then(|| hostfile(&addresses(self.processes)));
        let flags = |p: usize| {
            let numbers = [("-n", self.processes), ("-p", p), ("-w", self.workers)];
            let mut flags: Vec<String> = numbers.iter().flat_map(|(f, n)| [f.to_string(), n.to_string()]).collect();
            flags.extend(hosts.iter().flat_map(|h| ["--hostfile".into(), h.path().into()]));
            flags
        };
        let env_of = |p| [all, if p == 0 { first } else { &[] }].concat();
        let start = |p| Program::start_in(program, args.iter().map(ToString::to_string).chain(flags(p)), &env_of(p));
        ((0..self.processes).map(start).collect(), hosts)
    }

    /// Runs a job to its end, which must be a success. Returns the output of process 0. The others must print nothing.
    pub fn run(self, program: &str, args: &[&str]) -> String {
        self.run_in(program, args, &[])
    }

    /// Like `run`, with these environment variables.
    pub fn run_in(self, program: &str, args: &[&str], env: &[(&str, &str)]) -> String {
        let (programs, _hosts) = self.start_with(program, args, env, &[]);
        let ended: Vec<Ended> = programs.into_iter().map(Program::end).collect();
        for (p, end) in ended.iter().enumerate() {
            assert_eq!(end.code, Some(0), "{program}, process {p} of {self:?}: {}{}", end.out, end.err);
            assert!(!end.err.contains("panicked"), "{}", end.err);
            assert!(p == 0 || end.out.is_empty(), "process {p} printed: {}", end.out);
        }
        ended.into_iter().next().unwrap().out
    }
}

/// Checks that `output` is the same on every layout, and equals the model and the file.
pub fn check(name: &str, model: &str, output: impl FnMut(Layout) -> String) {
    check_at(&LAYOUTS, name, model, output);
}

/// Like `check`, on some layouts.
pub fn check_at(layouts: &[Layout], name: &str, model: &str, mut output: impl FnMut(Layout) -> String) {
    let outputs: Vec<(String, String)> = layouts.iter().map(|layout| (layout.name(), output(*layout))).collect();
    for (layout, out) in &outputs {
        same(&format!("{name} at {layout}, against the model in the test"), model, out);
    }
    let path = path(name);
    if std::env::var("TIDEMILL_BLESS").is_ok_and(|v| v == "1") {
        std::fs::write(&path, model).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let how = "if the new output is right, TIDEMILL_BLESS=1 writes it there";
    for (layout, out) in &outputs {
        same(&format!("{name} at {layout}, against {} ({how})", path.display()), &expected, out);
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/golden").join(name).with_extension("out")
}

/// The content of an expected file.
pub fn expected(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

#[track_caller]
pub fn same(what: &str, expected: &str, found: &str) {
    assert!(expected == found, "{what}:\n{}", diff(expected, found));
}

/// Lines that are only expected (`-`) or only found (`+`), with some lines around them.
fn diff(expected: &str, found: &str) -> String {
    fn lines(text: &str) -> Vec<String> {
        let shown = |line: &str| match line.strip_suffix('\n') {
            Some(line) => format!("{line:?}"),
            None => format!("{line:?} without an end"),
        };
        text.split_inclusive('\n').map(shown).collect()
    }
    let (a, b) = (lines(expected), lines(found));
    // `common[i][j]`: the length of the longest common subsequence of `a[i..]` and `b[j..]`.
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut all) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            all.push((' ', &a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            all.push(('-', &a[i]));
            i += 1;
        } else {
            all.push(('+', &b[j]));
            j += 1;
        }
    }
    const AROUND: usize = 4;
    let near = |n: usize| all[n.saturating_sub(AROUND)..all.len().min(n + AROUND + 1)].iter().any(|(sign, _)| *sign != ' ');
    let mut text = String::new();
    for (n, (sign, line)) in all.iter().enumerate() {
        match (near(n), n > 0 && near(n - 1)) {
            (true, _) => text += &format!("{:>5} {sign} {line}\n", n + 1),
            (false, true) => text += "      ...\n",
            _ => {}
        }
    }
    text
}

#[test]
fn a_diff_shows_differences_with_little_context() {
    let lines = |range: std::ops::Range<u32>| range.map(|n| format!("line {n}\n")).collect::<String>();
    let text = diff(&lines(0..40), &lines(0..40).replace("line 20\n", "line twenty\nanother \u{e9}\n"));
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 4 + 3 + 4 + 1, "{text}");
    assert_eq!(
        rows[3..7],
        ["   20   \"line 19\"", "   21 - \"line 20\"", "   22 + \"line twenty\"", "   23 + \"another \u{e9}\""]
    );
    assert_eq!(diff("a\r\nb", "a\nb"), "    1 - \"a\\r\"\n    2 + \"a\"\n    3   \"b\" without an end\n");
}
