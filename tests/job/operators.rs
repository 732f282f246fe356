//! What a job says of its operators: rows that add up, and the slow one by name.

use std::time::Duration;

use super::*;

/// The last batch of a job of one batch, in which worker 2 is slow if there are four. Partition i is on worker i.
fn batch_with_a_slow_filter(workers: u16) -> BatchInfo {
    let numbers = QueueSource::from_batches([(0..12).collect::<Vec<i64>>()]);
    let job = job(workers).start(move |ssc| {
        let dealt = ssc.queue_stream(&numbers).repartition(4).map(|n| n);
        let slow = dealt.filter(|n| {
            if n % 4 == 2 {
                std::thread::sleep(Duration::from_millis(100));
            }
            n % 2 == 0
        });
        slow.map(|n| (n % 4, n)).reduce_by_key(|a, b| a + b).to_memory(&MemorySink::new());
        Ok(())
    });
    let job = job.unwrap();
    assert!(job.await_termination_or_timeout(crate::harness::PATIENCE).unwrap());
    job.statistics().last.unwrap()
}

#[test]
fn the_slow_operator_is_named_with_its_worker() {
    for (workers, slow) in [(1, 0), (4, 2)] {
        let batch = batch_with_a_slow_filter(workers);
        for found in [batch.slowest(), batch.waited_for()] {
            let (operator, worker) = found.unwrap();
            assert!(operator.name.starts_with("filter (operators.rs:"), "{operator:?}");
            assert_eq!(worker, slow, "of {workers} workers: {operator:?}");
            let work = operator.workers[worker];
            assert!(work.time >= millis(300) && work.waited >= millis(300), "{work:?}");
        }
    }
}

#[test]
fn rows_in_and_out_of_operators_add_up_to_the_input() {
    for workers in [1, 4] {
        let batch = batch_with_a_slow_filter(workers);
        let rows = |verb: &str| {
            let of = |operator: &&tidemill::metrics::OperatorInfo| operator.name.starts_with(&format!("{verb} ("));
            let found = batch.operators.iter().filter(of).map(|operator| operator.total());
            found.map(|work| (work.rows_in, work.rows_out)).collect::<Vec<_>>()
        };
        let verbs = ["queue_stream", "repartition", "map", "filter", "reduce_by_key", "to_memory"];
        let found = verbs.map(rows);
        let expected = [vec![(0, 12)], vec![(12, 12)], vec![(12, 12), (6, 6)], vec![(12, 6)], vec![(6, 2)], vec![(2, 0)]];
        assert_eq!(found, expected, "{workers} workers");
        assert!(batch.operators.iter().all(|operator| operator.workers.len() == usize::from(workers)));
    }
}
