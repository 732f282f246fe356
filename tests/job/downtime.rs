//! Jobs with a checkpoint directory that were down for a while, and clocks that jump. Planned batches run as planned, each batch
//! time comes once, and each window has the records of its own time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tidemill::checkpoint::Directory;

use super::*;
use crate::harness::PATIENCE;
use crate::temp_dir::TempDir;

const INTERVAL: u64 = 1_000;
const WINDOW: u64 = 60_000;
const START: u64 = 10_000_000;

/// A directory with the input files of a job and its checkpoints.
struct Place(TempDir);

impl Place {
    fn new(name: &str) -> Self {
        let place = Place(TempDir::new(&format!("downtime-{name}")));
        std::fs::create_dir_all(place.0.join("in")).unwrap();
        place
    }

    /// Adds a file with one word.
    fn word(&self, word: &str) {
        std::fs::write(self.0.join(word), format!("{word}\n")).unwrap();
        std::fs::rename(self.0.join(word), self.0.join("in").join(word)).unwrap();
    }

    fn states(&self) -> PathBuf {
        self.0.join("states")
    }

    /// The time of the newest checkpoint.
    fn checkpoint(&self) -> u64 {
        let made = Directory::open(&self.states()).and_then(|d| d.checkpoints());
        made.unwrap_or_default().first().map_or(0, |(file, _)| file.time.millis())
    }
}

type Counts = MemorySink<(String, i64)>;

/// One run. Once `fails` is set, its output fails at the first batch with words.
struct Run {
    clock: ManualClock,
    now: u64,
    totals: Counts,
    windows: Counts,
    fails: Arc<AtomicBool>,
    job: JobHandle,
}

impl Run {
    fn start(place: &Place, now: u64, catch_up: CatchUp) -> tidemill::Result<Run> {
        let (clock, totals, windows) = (ManualClock::at(now), Counts::new(), Counts::new());
        let fails = Arc::new(AtomicBool::new(false));
        let (out, fail, files) = ((totals.clone(), windows.clone()), fails.clone(), place.0.join("in"));
        let builder = StreamingContext::builder("downtime", millis(INTERVAL)).workers(2).catch_up(catch_up).output_tries(1);
        let builder = builder.checkpoint(place.states()).checkpoint_interval(millis(INTERVAL));
        let job = builder.start_on_clock(clock.clone(), move |ssc| {
            let words = ssc.text_file_stream(&files).oks();
            let fail = fail.clone();
            words.foreach_batch(move |b| match fail.load(Ordering::SeqCst) && b.iter().next().is_some() {
                true => Err("pulled out".into()),
                false => Ok(()),
            });
            words.count_by_value().sum_by_key().complete().to_memory(&out.0);
            words.count_by_value_and_window(millis(WINDOW), millis(INTERVAL)).complete().to_memory(&out.1);
            Ok(())
        })?;
        Ok(Run { clock, now, totals, windows, fails, job })
    }

    /// Advances the clock batch by batch until the condition holds.
    fn until(&mut self, what: &str, is: impl Fn(&Run) -> bool) {
        for _ in 0..20_000 {
            self.now += INTERVAL;
            self.batch();
            if is(self) {
                return;
            }
        }
        panic!("never: {what}");
    }

    /// Runs the batches that are due. An hour of overdue batches may take a while.
    fn batch(&self) {
        let before = self.job.statistics().batches;
        self.clock.set(self.now);
        let begun = Instant::now();
        while self.job.statistics().batches == before && !self.is_over() {
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for the next batch");
            std::thread::sleep(millis(1));
        }
    }

    fn is_over(&self) -> bool {
        !matches!(self.job.await_termination_or_timeout(millis(0)), Ok(false))
    }

    fn has(&self, word: &str) -> bool {
        first(&self.totals).contains_key(word)
    }
}

/// When each word was counted first.
fn first(totals: &Counts) -> BTreeMap<String, u64> {
    let mut first = BTreeMap::new();
    for (t, rows) in totals.batches() {
        rows.iter().for_each(|(word, _)| _ = first.entry(word.clone()).or_insert(t.millis()));
    }
    first
}

fn times(counts: &Counts) -> Vec<u64> {
    counts.batches().iter().map(|(t, _)| t.millis()).collect()
}

/// Checks that each window has exactly the words of its time, and that each word was counted once.
fn check(windows: &Counts, totals: &Counts, at: &BTreeMap<String, u64>) {
    for (t, rows) in windows.batches() {
        let inside = at.iter().filter(|(_, at)| **at <= t.millis() && **at + WINDOW > t.millis());
        let inside: BTreeMap<String, i64> = inside.map(|(word, _)| (word.clone(), 1)).collect();
        assert_eq!(rows.len(), inside.len(), "the window at {t}: {rows:?}");
        assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), inside, "the window at {t}");
    }
    assert!(totals.rows().iter().all(|(_, n)| *n == 1), "{:?}", totals.batches().last());
}

/// Three words: the first is in a checkpoint. The second is planned but not written when the job fails. The third comes while
/// the job is down.
fn after_ten_minutes(catch_up: CatchUp) -> (Run, u64, u64) {
    let place = Place::new(if catch_up == CatchUp::Fill { "fill" } else { "skip" });
    let mut run = Run::start(&place, START, catch_up).unwrap();
    run.until("the job runs", |run| run.job.statistics().batches > 1);
    place.word("saved");
    run.until("the first word is in a checkpoint", |run| {
        first(&run.totals).get("saved").is_some_and(|at| place.checkpoint() >= *at)
    });
    run.fails.store(true, Ordering::SeqCst);
    place.word("planned");
    run.until("the output fails", Run::is_over);
    assert!(run.job.await_termination().unwrap_err().to_string().contains("pulled out"));
    let saved = place.checkpoint();
    let plans = Directory::open(&place.states()).unwrap().plans().unwrap();
    let with = |name: &str| {
        let found = plans.iter().find(|p| p.plan.ranges.iter().any(|r| r.split.name().ends_with(name)));
        found.map(|p| p.plan.time.millis())
    };
    let planned = with("planned").expect("the word was planned");
    assert!(planned > saved && with("meanwhile").is_none(), "{saved} {planned}");
    let (before, last) = (first(&run.totals), plans.last().unwrap().plan.time.millis());
    place.word("meanwhile");

    let down = run.now;
    let mut run = Run::start(&place, down + 600_000, catch_up).unwrap();
    run.until("the third word is counted", |run| run.has("meanwhile"));
    let at = first(&run.totals);
    assert_eq!(at["planned"], planned, "the batch has the planned range, and so the planned time");
    let mut all = at.clone();
    all.extend(before);
    assert_eq!(all["planned"], planned);
    check(&run.windows, &run.totals, &all);
    let plans = Directory::open(&place.states()).unwrap().plans().unwrap();
    let overdue: Vec<_> = plans.iter().filter(|p| p.plan.time.millis() > last).map(|p| (p.plan.time.millis(), p.run)).collect();
    assert_eq!(overdue[0].0, last + INTERVAL, "no time is skipped or repeated");
    assert!(u64::from(overdue[0].1) * INTERVAL >= 590_000, "the ten minutes are one record of the plan log: {overdue:?}");
    (run, saved, overdue[0].0)
}

#[test]
fn a21_ten_minutes_of_downtime_are_filled() {
    let (run, saved, _) = after_ten_minutes(CatchUp::Fill);
    let times = times(&run.windows);
    assert_eq!(times[0], saved + INTERVAL, "the run continues after the checkpoint");
    assert!(times.windows(2).all(|w| w[1] == w[0] + INTERVAL) && times.len() > 590, "every time, once: {}", times.len());
    run.job.stop_now().unwrap();
}

#[test]
fn a21_ten_minutes_of_downtime_are_skipped() {
    let (run, _, overdue) = after_ten_minutes(CatchUp::Skip);
    let shown: Vec<u64> = times(&run.windows).into_iter().filter(|t| *t > overdue).collect();
    assert!(shown[0] >= overdue + 590_000, "the last of the ten minutes: {shown:?}");
    // On a busy machine more times are overdue, and the run skips those too.
    assert!(shown.windows(2).all(|w| w[1] > w[0]), "{shown:?}");
    run.job.stop_now().unwrap();
}

/// The clock jumps an hour ahead and an hour back, and a run starts on a clock that is behind. No batch time is repeated or
/// skipped. If the clock is far behind the last planned batch, the job does not start.
#[test]
fn a21_a_clock_that_jumps_takes_no_batch_time_twice() {
    const HOUR: u64 = 3_600_000;
    let place = Place::new("jumps");
    let mut run = Run::start(&place, START, CatchUp::Fill).unwrap();
    run.until("the job runs", |run| run.job.statistics().batches > 1);
    place.word("early");
    run.until("the first word", |run| run.has("early"));
    run.now += HOUR;
    run.until("a batch after the jump", |_| true);
    run.clock.set(run.now - HOUR);
    place.word("late");
    run.until("the second word", |run| run.has("late"));
    let mut at = first(&run.totals);
    assert!(at["late"] > at["early"] + HOUR);
    check(&run.windows, &run.totals, &at);
    let mut seen = times(&run.windows);
    assert!(seen.windows(2).all(|w| w[1] == w[0] + INTERVAL), "every time, once");
    let now = run.now;
    run.job.stop_gracefully().unwrap();
    let planned = place.checkpoint();
    assert!(planned >= now, "a graceful stop has a checkpoint of its last batch");
    seen.push(planned);

    let refused = Run::start(&place, now - HOUR, CatchUp::Fill).and_then(|run| run.job.await_termination().map(drop));
    let e = refused.expect_err("an hour behind what was planned").to_string();
    assert!(e.contains("the last batch was planned for ") && e.contains("set the clock right"), "{e}");

    // Half a minute behind: the job waits for the clock.
    place.word("last");
    let mut run = Run::start(&place, now - 30_000, CatchUp::Fill).unwrap();
    run.clock.set(planned);
    std::thread::sleep(millis(60));
    assert_eq!(times(&run.windows), [0; 0], "no batch is due");
    run.now = planned;
    run.until("the last word", |run| run.has("last"));
    at.extend(first(&run.totals).into_iter().filter(|(word, _)| word == "last"));
    check(&run.windows, &run.totals, &at);
    let again = times(&run.windows);
    assert!(again[0] == planned + INTERVAL && again.windows(2).all(|w| w[1] == w[0] + INTERVAL), "{again:?}");
    run.job.stop_now().unwrap();
}
