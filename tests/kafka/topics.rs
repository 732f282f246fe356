//! Topics that are deleted while a job runs, and topics that were deleted and made again.

use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{PATIENCE, delete_topic, make_again, produce, topic};
use crate::recorder::{Recorder, builder, earliest, eventually};

/// librdkafka keeps asking for it and reports nothing.
#[test]
fn c8_a_topic_that_is_deleted_ends_the_job_by_name() {
    let t = topic("deleted", 1, &[]);
    produce(&t, 0, &["a"]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&t), 1);
    eventually("the record", || seen.records() == 1);
    delete_topic(&t);
    let text = job.await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    assert!(text.contains(&t) && text.contains("was deleted"), "{text}");
}

#[test]
fn c9_a_topic_that_is_made_again_under_its_name_ends_the_job() {
    let t = topic("again", 1, &[]);
    produce(&t, 0, &["a", "b", "c"]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&t).fail_on_data_loss(false), 1);
    eventually("the records", || seen.records() == 3);
    delete_topic(&t);
    make_again(&t, 1);
    let text = job.await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    // Whichever is seen first: that it is another topic, or that it is shorter.
    assert!(text.contains(&t) && text.contains("made again"), "{text}");
}

/// The old offsets are in the new log too, and mean something else.
#[test]
fn c9_c11_a_job_goes_on_in_no_topic_that_was_made_again_meanwhile() {
    for partitions in [2, 1] {
        let (t, dir) = (topic("meanwhile", 2, &[]), TempDir::new("meanwhile"));
        (0..2).for_each(|p| produce(&t, p, &["a", "b"]));
        let start = |seen: &Recorder| {
            let program = seen.slowly(earliest(&t).fail_on_data_loss(false), millis(0));
            builder(2).checkpoint(dir.path()).start(program).unwrap()
        };
        let seen = Recorder::default();
        let job = start(&seen);
        eventually("the records", || seen.records() == 4);
        job.stop_gracefully().unwrap();
        delete_topic(&t);
        make_again(&t, partitions);
        produce(&t, 0, &["x", "y", "z"]);
        let seen = Recorder::default();
        let text = start(&seen).await_termination().unwrap_err().to_string();
        assert!(text.contains(&t) && text.contains("made again") && text.contains("checkpoint directory"), "{text}");
        assert_eq!(seen.batches(), 0, "nothing was planned");
    }
}
