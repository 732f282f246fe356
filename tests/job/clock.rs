//! Batch times are aligned and monotonic, and none is missing.

use super::*;
use crate::harness::eventually;

/// Sets the clock and waits until the first batch is complete: the planner may read its first time after `start` returns.
fn first_batch(live: &Live, at: u64) {
    live.clock.set(at);
    started(&live.job);
}

#[test]
fn the_first_batch_is_the_next_aligned_time() {
    // 1,003 is not a multiple of 10, so the open batch is 1,010. At 1,010 the open batch would be 1,020.
    for (from, first) in [(1_003, 1_010), (1_009, 1_010), (0, 10)] {
        let live = sums(job(2), from);
        std::thread::sleep(millis(60));
        assert_eq!(live.times(), [0; 0], "the clock is at {from}: no batch is due");
        live.clock.set(first);
        eventually("the first batch", || !live.times().is_empty());
        assert_eq!(live.times(), [first]);
        live.job.stop_now().unwrap();
    }
}

/// Batch times are one interval apart, wherever the clock is between them.
#[test]
fn times_are_aligned() {
    let live = sums(job(1), 1_003);
    for (now, last) in [(1_014, 1_010), (1_021, 1_020), (1_029, 1_020), (1_030, 1_030)] {
        live.clock.set(now);
        eventually("the batch", || live.times().last() == Some(&last));
    }
    assert_eq!(live.times(), [1_010, 1_020, 1_030]);
    live.job.stop_now().unwrap();
}

/// After a jump the first overdue time takes the data, and the others are empty. `fill` shows each of them.
#[test]
fn a_jump_fills_the_overdue_times() {
    for workers in [1, 2, 4] {
        let live = sums(job(workers), 5);
        first_batch(&live, 10);
        live.queue.push(vec![1, 2, 3]);
        live.queue.push(vec![5]);
        live.clock.set(57);
        eventually("the overdue batches", || live.times().len() == 5);
        live.clock.set(60);
        eventually("the next batch", || live.times().len() == 6);
        let jump = vec![(0u8, 2i64), (1, 4)];
        let expected: Vec<(u64, Vec<(u8, i64)>)> = [20, 30, 40, 50].into_iter().map(|t| (t, jump.clone())).collect();
        let seen: Vec<_> = live.seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect();
        assert_eq!(seen[1..5], expected);
        assert_eq!(seen[5], (60, vec![(0, 2), (1, 9)]), "the queue's next batch is in the next batch");
        eventually("the last batch is complete", || live.job.statistics().batches == 6);
        let s = live.job.statistics();
        assert_eq!(s.records, 4);
        assert_eq!(s.last.map(|b| (b.time.millis(), b.overdue)), Some((60, 0)));
        live.job.stop_now().unwrap();
    }
}

/// `skip` shows only the last overdue time, and the first if there is data in it. State has seen all of them.
#[test]
fn a_jump_skips_the_overdue_times() {
    for workers in [1, 2] {
        let live = sums(job(workers).catch_up(CatchUp::Skip), 5);
        first_batch(&live, 10);
        live.queue.push(vec![1, 2, 3]);
        live.clock.set(57);
        eventually("the overdue batches", || live.job.statistics().batches == 5);
        live.clock.set(60);
        eventually("the next batch", || live.times().len() == 4);
        assert_eq!(live.times(), [10, 20, 50, 60]);
        assert_eq!(live.seen.batches()[1].1, [(0, 2), (1, 4)]);
        live.job.stop_now().unwrap();
    }
}

/// The state function counts its calls. It is called for each overdue time, whether outputs show it or not.
#[test]
fn state_is_called_for_every_overdue_time() {
    let (clock, queue, seen) = (ManualClock::at(5), QueueSource::new(), MemorySink::new());
    let (q, out) = (queue.clone(), seen.clone());
    queue.push(vec![7i64]);
    let program = move |ssc: &StreamingContext<'_>| {
        let keyed = ssc.queue_stream(&q).map(|n: i64| (n, ()));
        keyed.update_state_by_key(|_: &[()], batches: Option<u32>| Some(batches.unwrap_or(0) + 1)).to_memory(&out);
        Ok(())
    };
    let job = job(2).catch_up(CatchUp::Skip).start_on_clock(clock.clone(), program).unwrap();
    clock.set(10);
    started(&job);
    clock.set(1_000);
    eventually("the jump", || job.statistics().batches == 100);
    assert_eq!(seen.batches().last(), Some(&(BatchTime::from_millis(1_000), vec![(7, 100)])));
    job.stop_now().unwrap();
}

/// After the clock went back, no batch is repeated and none is early. When the clock has caught up, batches continue.
#[test]
fn a21_a_clock_that_goes_back() {
    let live = sums(job(2), 995);
    first_batch(&live, 1_000);
    live.clock.set(400);
    live.queue.push(vec![1]);
    std::thread::sleep(millis(60));
    assert_eq!(live.times(), [1_000]);
    live.clock.set(1_010);
    eventually("the clock is ahead again", || live.times().len() == 2);
    assert_eq!(live.times(), [1_000, 1_010]);
    live.job.stop_now().unwrap();
}

/// With the clock of the machine, batch times are consecutive multiples of the interval too.
#[test]
fn the_wall_clock() {
    let (queue, seen) = (QueueSource::new(), MemorySink::new());
    let out = seen.clone();
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream::<i64>(&queue).count().to_memory(&out);
        Ok(())
    };
    let job = job(2).start(program).unwrap();
    eventually("ten batches", || seen.batches().len() >= 10);
    job.stop_gracefully().unwrap();
    let times: Vec<u64> = seen.batches().iter().map(|(t, _)| t.millis()).collect();
    assert_eq!(times[0] % TICK, 0);
    assert!(times.windows(2).all(|w| w[1] == w[0] + TICK), "{times:?}");
    assert!(seen.rows().iter().all(|n| *n == 0), "an empty batch counts 0");
}
