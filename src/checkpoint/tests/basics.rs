//! What a directory brings back when nothing is broken, and who may have it.

use super::*;

#[test]
fn a_job_goes_on_where_it_was() {
    let dir = Place::new("goes-on");
    let mut job = Job::start(&dir).unwrap();
    assert_eq!(job.checkpoints.lease().generation, 1);
    for _ in 0..3 {
        job.step();
    }
    job.checkpoint().unwrap();
    job.step();
    drop(job);
    let (checkpoints, recovered) = open(&dir).unwrap();
    assert_eq!(recovered.generation, 2);
    assert_eq!(recovered.genesis.as_ref().unwrap().origin, origin());
    let manifest = recovered.checkpoint.as_ref().unwrap();
    assert_eq!((manifest.time, manifest.generation, manifest.lanes), (at(3), 1, 2));
    assert_eq!(manifest.memory["source 0"], b"memory");
    assert_eq!(recovered.replay, [plan(4)]);
    assert_eq!(check(&checkpoints, &recovered), 4);
    assert_eq!(recovered.warnings, [""; 0]);
}

#[test]
fn segments_follow_one_another_over_generations() {
    let dir = Place::new("segments");
    let mut last = 0;
    for generation in 1..=4u64 {
        let mut job = Job::start(&dir).unwrap();
        assert_eq!((job.checkpoints.lease().generation, job.now), (generation, last));
        job.plans = job.plans.with_segments_of(200);
        for _ in 0..5 {
            job.step();
        }
        last = job.now;
    }
    assert!(dir.files("plans").len() > 8, "{:?}", dir.files("plans"));
    assert_eq!(Job::start(&dir).unwrap().now, 20);
}
