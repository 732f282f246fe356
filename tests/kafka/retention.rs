//! Records that expire before they are read. The job ends with an error that says how many, or skips, counts and logs them beside
//! the plans.

use std::path::Path;
use std::time::Duration;

use tidemill::api::config::RuntimeArgs;
use tidemill::checkpoint::Directory;
use tidemill::connector::source::SourceReader;
use tidemill::core::plan::Range;
use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{ReaderFixture, brokers, delete_before, produce, range, split, topic, values};
use crate::recorder::{Recorder, earliest, eventually};

#[test]
fn c5_a_reader_skips_and_reports_expired_records_if_data_loss_is_allowed() {
    let t = topic("passed", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    delete_before(&t, 0, 2);
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).fail_on_data_loss(false));
    fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["c"]);
    assert_eq!((fixture.sealed(), fixture.reader.data_loss()), ((0, 3), vec![(0, 0..2)]));
    produce(&t, 0, &["d"]);
    assert_eq!(values(&fixture.live(|r| r.len() == 1)), ["d"]);
    assert_eq!((fixture.sealed(), fixture.reader.data_loss()), ((3, 4), vec![]), "said once");

    delete_before(&t, 0, 4);
    produce(&t, 0, &["e", "f"]);
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).fail_on_data_loss(false));
    fixture.reader.assign(0, &split(&t, 0), None).unwrap();
    let ranges = [(0, 2, vec![]), (2, 3, vec![]), (3, 5, vec!["e"]), (5, 6, vec!["f"])];
    let lost = [vec![(0, 2)], vec![(2, 3)], vec![(3, 4)], vec![]];
    for ((from, until, want), lost) in ranges.iter().zip(lost) {
        assert_eq!(fixture.range(&range(&t, 0, *from, *until)).unwrap(), *want, "[{from}, {until})");
        assert_eq!(
            fixture.reader.data_loss().iter().map(|(_, at)| (at.start, at.end)).collect::<Vec<_>>(),
            lost,
            "[{from}, {until})"
        );
    }
    // An offset that never existed is always an error.
    let text = fixture.range(&range(&t, 0, 9, 10)).unwrap_err().to_string();
    assert!(text.contains("offset 9") && text.contains("4 to 6"), "{text}");
}

/// A fetch of an expired offset may fail at any moment. A seek at that moment must still take effect.
#[test]
fn c6_a_seek_takes_effect_while_a_fetch_fails_on_an_expired_offset() {
    let t = topic("elsewhere", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    delete_before(&t, 0, 2);
    for wait in (0..60).step_by(3) {
        let mut fixture = ReaderFixture::of(&t, None);
        assert!(!fixture.reader.read_range(0, &range(&t, 0, 0, 3), &mut |_, _, _| panic!("the record has expired")).unwrap());
        std::thread::sleep(Duration::from_millis(wait));
        assert_eq!(fixture.range(&range(&t, 0, 2, 3)).unwrap(), ["c"], "after {wait} ms");
    }
}

/// A job over one partition. It makes a checkpoint only when it is stopped gracefully.
struct Aged {
    topic: String,
    dir: TempDir,
}

impl Aged {
    fn new(name: &str) -> Aged {
        Aged { topic: topic(name, 1, &[]), dir: TempDir::new(name) }
    }

    fn start(&self, stops: bool) -> (JobHandle, Recorder) {
        let seen = Recorder::default();
        let kafka = earliest(&self.topic).fail_on_data_loss(stops);
        let job = StreamingContext::builder("aged", millis(50)).workers(2).checkpoint(self.dir.path());
        let job = job.checkpoint_interval(secs(3_600)).start(seen.slowly(kafka, Duration::ZERO)).unwrap();
        (job, seen)
    }

    fn read(&self, stops: bool, records: usize) -> (JobHandle, Vec<String>) {
        let (job, seen) = self.start(stops);
        eventually("the records", || {
            let ended = job.await_termination_or_timeout(Duration::ZERO);
            assert!(matches!(ended, Ok(false)), "the job ended too early: {ended:?}");
            seen.records() >= records
        });
        let values = seen.checked().remove(&0).unwrap_or_default().into_iter().map(|(_, value)| value).collect();
        (job, values)
    }

    fn fails(&self) -> String {
        self.start(true).0.await_termination().unwrap_err().to_string()
    }

    /// Replays all planned batches, and returns the records that they read.
    fn replay(&self, stops: bool) -> Result<Vec<String>, String> {
        let plans = self.directory().plans().unwrap();
        let [from, to] = [plans.first(), plans.last()].map(|p| p.map(|p| p.plan.time));
        let runtime = RuntimeArgs {
            checkpoint: Some(self.dir.path().into()),
            replay_from: from,
            replay_to: to,
            replay_foreach: true,
            ..RuntimeArgs::default()
        };
        let (seen, kafka) = (Recorder::default(), earliest(&self.topic).fail_on_data_loss(stops));
        let job = StreamingContext::builder("aged", millis(50)).runtime(runtime);
        job.run(seen.slowly(kafka, Duration::ZERO)).map_err(|e| e.to_string())?;
        Ok(seen.checked().remove(&0).unwrap_or_default().into_iter().map(|(_, value)| value).collect())
    }

    fn directory(&self) -> Directory {
        Directory::open(Path::new(self.dir.path())).unwrap()
    }

    /// The lost offsets in the plan log, with their batch.
    fn losses(&self) -> Vec<(BatchTime, i64, i64)> {
        let all = self.directory().losses().unwrap();
        all.iter().flat_map(|l| l.ranges.iter().map(|r: &Range| (l.time, r.from, r.until))).collect()
    }
}

#[test]
fn c5_expired_records_end_the_job_or_are_counted_and_logged_beside_the_plans() {
    let aged = Aged::new("aged-job");
    produce(&aged.topic, 0, &["a", "b"]);
    aged.read(true, 2).0.stop_gracefully().unwrap();
    produce(&aged.topic, 0, &["c", "d", "e", "f", "g"]);
    delete_before(&aged.topic, 0, 5);

    let text = aged.fails();
    let names = [&*aged.topic, "partition 0", "offset 2", "5 to 7", "3 offsets aged out", "fail_on_data_loss(false)"];
    assert!(names.iter().all(|name| text.contains(name)), "{text}");

    let (job, seen) = aged.read(false, 2);
    assert_eq!(seen, ["f", "g"]);
    eventually("the count", || job.statistics().lost == 3);
    job.stop_now().unwrap();
    let [(time, from, until)] = aged.losses()[..] else { panic!("{:?}", aged.losses()) };
    assert_eq!((from, until), (2, 5));
    let plans = aged.directory().plans().unwrap();
    let plan = plans.iter().find(|p| p.plan.time == time).unwrap();
    assert!(
        plan.plan.ranges[0].from <= 2 && plan.plan.ranges[0].until >= 5,
        "the range of the batch includes the lost offsets: {plan:?}"
    );

    // The batch runs again with the same ranges. Its loss is known, so it neither stops the job nor counts again.
    let (job, seen) = aged.read(true, 2);
    assert_eq!(seen, ["f", "g"]);
    assert_eq!(job.statistics().lost, 0);
    job.stop_gracefully().unwrap();
    assert_eq!(aged.losses().len(), 1);
    assert!(aged.directory().verify().unwrap().bad.is_empty());
}

#[test]
fn c6_records_that_expired_after_their_plan_end_the_job_or_are_logged_beside_it() {
    let aged = Aged::new("aged-plan");
    produce(&aged.topic, 0, &["a", "b", "c"]);
    aged.read(true, 3).0.stop_now().unwrap();
    assert!(aged.directory().checkpoints().unwrap().is_empty(), "all batches are planned only, and run again");
    produce(&aged.topic, 0, &["d"]);
    delete_before(&aged.topic, 0, 2);
    for _ in 0..2 {
        let text = aged.fails();
        assert!(text.contains("2 offsets aged out") && text.contains("given range [0, 3)"), "{text}");
        assert!(
            aged.directory().checkpoints().unwrap().is_empty() && aged.losses().is_empty(),
            "the refused start wrote nothing"
        );
    }
    let (job, seen) = aged.read(false, 2);
    assert_eq!(seen, ["c", "d"]);
    eventually("the count", || job.statistics().lost == 2);
    job.stop_now().unwrap();
    assert_eq!(aged.losses().iter().map(|(_, from, until)| (*from, *until)).collect::<Vec<_>>(), [(0, 2)]);
    // All planned records have aged out, and later ones too.
    delete_before(&aged.topic, 0, 4);
    produce(&aged.topic, 0, &["e"]);
    let (job, seen) = aged.read(false, 1);
    assert_eq!(seen, ["e"]);
    eventually("the count", || job.statistics().lost == 2);
    job.stop_now().unwrap();
    let (job, seen) = aged.read(true, 1);
    assert_eq!(seen, ["e"], "the log already has all lost offsets");
    job.stop_gracefully().unwrap();
}

#[test]
fn c6_a_replay_omits_lost_records_and_refuses_newly_expired_ones() {
    let aged = Aged::new("aged-replay");
    produce(&aged.topic, 0, &["a", "b", "c"]);
    aged.read(true, 3).0.stop_now().unwrap();
    assert_eq!(aged.replay(true).unwrap(), ["a", "b", "c"]);
    produce(&aged.topic, 0, &["d"]);
    delete_before(&aged.topic, 0, 2);
    let gone = |offset: &str, log: &str| {
        for stops in [true, false] {
            let text = aged.replay(stops).unwrap_err();
            let names = [&*aged.topic, "partition 0", offset, log, "aged out since their batch ran", "later checkpoint"];
            assert!(names.iter().all(|name| text.contains(name)), "{text}");
        }
    };
    gone("offset 0", "2 to 4");
    assert!(aged.losses().is_empty(), "a replay records no loss");

    aged.read(false, 2).0.stop_now().unwrap();
    let losses = aged.losses();
    assert_eq!(losses.iter().map(|(_, from, until)| (*from, *until)).collect::<Vec<_>>(), [(0, 2)]);
    for stops in [true, false] {
        assert_eq!(aged.replay(stops).unwrap(), ["c", "d"], "the same rows as in the last run");
    }
    delete_before(&aged.topic, 0, 3);
    gone("offset 2", "3 to 4");
    assert_eq!(aged.losses(), losses);
}
