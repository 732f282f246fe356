//! The cost of checkpoints: how long batches take meanwhile, how long a restart takes, and how much a window writes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill::checkpoint::Directory;
use tidemill::prelude::*;

use crate::results::{head, row};
use crate::shared::random;
use crate::{Input, Size, batches, nowhere, words};

/// A million keys, and 50,000 records per one-second batch. Measures how long batches take with and without a checkpoint every five
/// seconds, and how long a restart takes.
pub fn checkpoints(size: Size) {
    let (words, seconds) = (words(1_000_000), if size.part == 1 { SECONDS } else { 6 });
    let dir = std::env::temp_dir().join(format!("tidemill-bench-checkpoints-{}", std::process::id()));
    let mut seed = 3;
    let mut batches: Vec<Vec<u32>> = vec![(0..1_000_000).collect()];
    batches.extend((0..seconds).map(|_| (0..50_000).map(|_| (random(&mut seed) % 1_000_000) as u32).collect()));
    let run = |batches: Vec<Vec<u32>>, checkpoint: bool| {
        let (queue, batches_done) = (QueueSource::new(), Arc::new(Processed::default()));
        let count = batches.len();
        batches.into_iter().for_each(|b| queue.push(b));
        let builder = StreamingContext::builder("checkpoints", secs(1)).without_logging();
        let builder = match checkpoint {
            true => builder.checkpoint(&dir).checkpoint_interval(secs(5)),
            false => builder.without_checkpoint(),
        };
        let start = Instant::now();
        let job = builder.start(move |ssc| {
            let rows = ssc.queue_stream(&queue);
            nowhere(&rows.count_by::<str>(|i, out| out.push(&words[*i as usize])).sum_by_key().update());
            Ok(())
        });
        let job = job.expect("the job of the benchmark");
        job.add_streaming_listener(batches_done.clone());
        while batches_done.0.lock().unwrap().len() < count {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = start.elapsed();
        job.stop_gracefully().expect("the job of the benchmark");
        // The first batches make the keys and fill the caches.
        let mut times: Vec<f64> = batches_done.0.lock().unwrap().iter().skip(3).map(|d| d.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        (times, took)
    };
    head(&["checkpoints", "batch, ms: median", "p95", "max"]);
    for checkpoint in [false, true] {
        let (times, _) = run(batches.clone(), checkpoint);
        let at = |q: usize| times[(times.len() - 1) * q / 100];
        let what = if checkpoint { "a checkpoint every 5 s" } else { "without checkpoints" };
        row([what.to_owned(), format!("{:.1}", at(50)), format!("{:.1}", at(95)), format!("{:.1}", at(100))]);
    }
    let (_, took) = run(vec![vec![7]], true);
    println!("\nA restart with a million keys, to the end of its first batch: {:.2} s.", took.as_secs_f64());
    let _ = std::fs::remove_dir_all(dir);
}

/// Bytes that a checkpoint of a window writes: 10,000 records per one-second batch over 100,000 words, two workers, a window of 60 s.
pub fn written(size: Size) {
    let words = words(100_000);
    head(&["written", "a checkpoint every", "KiB"]);
    let input = batches(if size.part == 1 { 130 } else { 72 }, 10_000 / size.part, |s| (random(s) % 100_000) as u32);
    for every in [1, 10] {
        let counts = saved(&input, every, move |s| {
            let words = s.map(|i| words[i as usize].clone());
            nowhere(&words.count_by_value_and_window(secs(60), secs(1)).changes());
        });
        row(["sliding counts", &format!("{every} s"), &counts]);
        let most = saved(&input, every, move |s| {
            let words = s.map(|i| (words[i as usize].clone(), u64::from(i)));
            nowhere(&words.reduce_by_key_and_window(u64::max, secs(60), secs(1)).changes());
        });
        row(["sliding maximum", &format!("{every} s"), &most]);
    }
}

/// Bytes in each checkpoint of a job, once its window is full.
fn saved<F>(batches: &Input, every: u64, program: F) -> String
where
    F: for<'s> Fn(&DStream<'s, u32>) + Send + Sync + 'static,
{
    let dir = std::env::temp_dir().join(format!("tidemill-bench-written-{}", std::process::id()));
    let (queue, clock) = (QueueSource::new(), tidemill::job::ManualClock::at(0));
    let rows = queue.clone();
    let builder = StreamingContext::builder("bench", secs(1))
        .without_logging()
        .workers(2)
        .checkpoint(&dir)
        .checkpoint_interval(secs(every));
    let job = builder.start_on_clock(clock.clone(), move |ssc| {
        program(&ssc.queue_stream(&rows));
        Ok(())
    });
    let job = job.expect("the job of the benchmark");
    let (mut checkpoints, mut chunks, mut manifests, mut all) = (0, 0, 0, 0);
    for (second, batch) in (1u64..).zip(batches.iter()) {
        queue.push(batch.clone());
        clock.set(second * 1_000);
        while job.statistics().batches < second {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !second.is_multiple_of(every) {
            continue;
        }
        let newest = || Directory::open(&dir).ok()?.checkpoints().ok()?.into_iter().next()?.1.ok();
        let made = loop {
            match newest() {
                Some(m) if m.time.millis() == second * 1_000 => break m,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if second > 60 {
            let new: BTreeSet<_> = made.files().into_iter().filter(|f| f.time == made.time).collect();
            let size = |name: String| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
            checkpoints += 1;
            chunks += new.into_iter().map(|f| size(f.to_string())).sum::<u64>();
            manifests += size(made.file().to_string());
            all += made.bytes();
        }
    }
    job.stop_now().expect("the job of the benchmark");
    let stay: Vec<u64> = std::fs::read_dir(dir.join("pieces"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|f| Some(f.metadata().ok()?.len()))
        .collect();
    let _ = std::fs::remove_dir_all(&dir);
    let mean = |bytes: u64| bytes / checkpoints / 1024;
    format!(
        "{checkpoints} checkpoints of {} KiB, each with {} KiB of new chunks and {} KiB of manifest; {} KiB in {} files stay",
        mean(all),
        mean(chunks),
        mean(manifests),
        stay.iter().sum::<u64>() / 1024,
        stay.len()
    )
}

/// One-second batches of the benchmark of checkpoints.
const SECONDS: usize = 30;

/// How long each batch took.
#[derive(Default)]
struct Processed(Mutex<Vec<Duration>>);

impl StreamingListener for Processed {
    fn on_batch_completed(&self, info: &BatchInfo) {
        self.0.lock().unwrap().push(info.processing_time);
    }
}
