//! `tidemill demo`: compares the blocks on stdout with the proof on stderr. The demo computes them in different ways.

use crate::child::{Ended, Program, Signal};

fn demo(args: &[&str]) -> Program {
    Program::start("tidemill", ["demo"].iter().chain(args))
}

/// The number after a word, without its commas.
fn number(text: &str, after: &str) -> u64 {
    let rest = text.split_once(after).unwrap_or_else(|| panic!("no {after:?} in {text}")).1;
    let digits: String =
        rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().unwrap_or_else(|_| panic!("no number after {after:?} in {text}"))
}

impl Ended {
    fn proof(&self) -> &str {
        let line = self.err.lines().find(|l| l.contains("counted twice"));
        line.unwrap_or_else(|| panic!("no proof in {}", self.err))
    }
}

/// The number of tweets in each batch, from complete blocks.
fn batches(out: &str) -> Vec<u64> {
    let lines = out.split_inclusive('\n').filter(|l| l.starts_with("Tweets this batch: ") && l.ends_with('\n'));
    lines.map(|l| number(l, "batch:")).collect()
}

#[test]
fn a_short_run_has_all_events_and_the_blocks_add_up_to_the_proof() {
    let run = demo(&["--batches", "12", "--rate", "400", "--interval", "500ms", "--window", "2"]).end();
    assert_eq!(run.code, Some(0), "{}", run.err);
    let proof = run.proof();
    let [sent, counted, bad] = ["tweets sent", "= counted", "+ bad"].map(|w| number(proof, w));
    assert_eq!(sent, counted + bad, "{proof}");
    assert_eq!((number(proof, "lost"), number(proof, "counted twice"), bad), (0, 0, 11), "{proof}");
    let batches = batches(&run.out);
    assert_eq!(batches.iter().sum::<u64>(), sent, "{}", run.out);
    assert_eq!(batches.len() as u64, number(proof, ""), "{proof}");
    assert!(batches.len() >= 12, "{batches:?}");
    blocks(&run.out, batches.len());
    for told in
        ["batch = twitter/0 [0,", "a burst: @tide_pool", "not JSON: kept apart", "the burst left the window", "broker back"]
    {
        assert!(run.err.contains(told), "{told}: {}", run.err);
    }
    assert!(!run.err.contains('\x1b') && !run.out.contains('\x1b'), "there is no terminal, so no colours");
}

/// A run that is too short for all events skips some.
#[test]
fn a_run_of_any_length_is_accounted_for() {
    for batches in ["1", "2", "5", "11"] {
        let run = demo(&["--batches", batches, "--rate", "400", "--interval", "100ms"]).end();
        assert_eq!(run.code, Some(0), "{batches}: {}", run.err);
        let proof = run.proof();
        assert_eq!((number(proof, "lost"), number(proof, "counted twice")), (0, 0), "{batches}: {proof}");
        assert!(number(proof, "tweets sent") > 0, "{batches}: {proof}");
    }
}

/// Stdout has only blocks in the form of the tutorial. The rolling count is the sum of the last four batches.
fn blocks(out: &str, batches: usize) {
    let rule = "-".repeat(43);
    let blocks: Vec<&str> = out.split("\n\n").filter(|b| !b.is_empty()).collect();
    assert_eq!(blocks.len(), 3 * batches, "{out}");
    let mut counts = Vec::new();
    for (n, block) in blocks.iter().enumerate() {
        let lines: Vec<&str> = block.lines().collect();
        assert!(lines[0] == rule && lines[1].starts_with("Time: 20") && lines[2] == rule, "{block}");
        match n % 3 {
            0 => {
                counts.push(number(lines[3], "batch:"));
                // There is no rolling count before the first tweet.
                if counts.iter().all(|n| *n == 0) {
                    assert_eq!(lines.len(), 4, "{block}");
                    continue;
                }
                let window = &counts[counts.len().saturating_sub(4)..];
                assert!(lines[4].starts_with("Tweets total (2 s rolling count): "), "{block}");
                assert_eq!(number(lines[4], "count):"), window.iter().sum::<u64>(), "{block}");
            }
            1 => assert!(lines[3..].iter().all(|l| *l == "..." || l.starts_with("Author counts this batch:\tValue ")), "{block}"),
            _ => assert!(
                lines[3..].iter().all(|l| *l == "..." || l.starts_with("Author counts (2 s rolling):\tValue ")),
                "{block}"
            ),
        }
    }
}

#[test]
fn page_only_prints_no_batch_and_goes_on_after_the_events() {
    let mut running = demo(&["--page-only", "--batches", "3", "--rate", "400", "--interval", "100ms"]);
    let mut page = None;
    running.until("the address of the page", |_, err| {
        page = err.lines().find_map(|l| Some(l.strip_prefix("page     http://")?.split('/').next()?.to_owned()));
        page.is_some()
    });
    let page = page.unwrap();
    running.until("20 batches, of which 3 have events", |_, _| {
        let top = crate::child::run("tidemill", ["top", &page, "--once"]).out;
        let batches = top.lines().find_map(|l| l.strip_prefix("batches ")?.trim().parse::<u64>().ok());
        batches.is_some_and(|n| n >= 20)
    });
    running.signal(Signal::INT);
    let run = running.end();
    assert_eq!((run.code, run.out.as_str()), (Some(0), ""), "{}", run.err);
    assert_eq!((number(run.proof(), "lost"), number(run.proof(), "counted twice")), (0, 0), "{}", run.err);
}

#[test]
fn an_interrupt_stops_the_demo_gracefully() {
    let mut running = demo(&["--rate", "400", "--interval", "200ms"]);
    running.until("200 tweets are counted", |out, _| batches(out).iter().sum::<u64>() > 200);
    running.signal(Signal::INT);
    let run = running.end();
    assert_eq!(run.code, Some(0), "{}", run.err);
    let proof = run.proof();
    let left = if proof.contains("not read") { number(proof, "when it was ended") } else { 0 };
    let [sent, counted, bad] = ["tweets sent", "= counted", "+ bad"].map(|w| number(proof, w));
    assert_eq!((number(proof, "lost"), sent), (0, counted + bad + left), "{proof}");
    assert!(counted > 200, "{proof}");
}
