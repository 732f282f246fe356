//! The custom source of `examples/custom_source.rs`, which uses only public items, through restarts and kills.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tidemill::checkpoint::Directory;
use tidemill::connector::source::{
    MaxRate, ReaderContext, Source, SourceReader, Split, SplitEnumerator, SplitOffset, SplitRange,
};
use tidemill::prelude::*;

use crate::harness::eventually;

#[allow(dead_code, reason = "the example's own main")]
#[path = "../../examples/custom_source.rs"]
mod example;
use crate::temp_dir::TempDir;
use example::Numbers;

const SPLITS: i32 = 3;

/// The output of one run: the numbers of each batch, and the counts by remainder after it.
#[derive(Clone)]
struct Run {
    numbers: MemorySink<i64>,
    counts: MemorySink<(i64, i64)>,
}

/// Starts the job. It fails when it meets `poison`.
fn start(dir: &Path, workers: u16, poison: Option<i64>) -> (JobHandle, Run) {
    let run = Run { numbers: MemorySink::new(), counts: MemorySink::new() };
    let out = run.clone();
    let runtime = RuntimeArgs { checkpoint: Some(dir.into()), workers, keep_plans: Some(mins(60)), ..RuntimeArgs::default() };
    let job = StreamingContext::builder("numbers", millis(20)).runtime(runtime).checkpoint_interval(millis(60)).output_tries(1);
    let job = job.start(move |ssc| {
        let numbers = ssc.from_source(Numbers { splits: SPLITS, per_second: 5_000 });
        numbers.to_memory(&out.numbers);
        numbers.map(|n: i64| n % 5).count_by_value().sum_by_key().complete().to_memory(&out.counts);
        numbers.foreach_batch(move |batch| match batch.iter().any(|n| Some(*n) == poison) {
            true => Err("poisoned".into()),
            false => Ok(()),
        });
        Ok(())
    });
    (job.unwrap(), run)
}

/// The numbers of each batch in the plan log. Checks that the ranges of each split begin at 0 and have no gap.
fn planned(dir: &Path) -> BTreeMap<BatchTime, BTreeSet<i64>> {
    let mut next = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for record in Directory::open(dir).unwrap().plans().unwrap() {
        let mut numbers = BTreeSet::new();
        for r in &record.plan.ranges {
            let position = next.entry(r.split.clone()).or_insert(0);
            assert_eq!(r.from, *position, "{}", r.split);
            *position = r.until;
            numbers.extend((r.from..r.until).map(|k| k * i64::from(SPLITS) + i64::from(r.split.partition())));
        }
        assert!(batches.insert(record.plan.time, numbers).is_none(), "{} is planned twice", record.plan.time);
    }
    assert_eq!(next.len(), SPLITS as usize);
    batches
}

/// Checks that a run wrote what was planned, batch by batch. Returns the counts after its last batch.
fn check_against_plans(run: &Run, planned: &BTreeMap<BatchTime, BTreeSet<i64>>) -> Vec<(i64, i64)> {
    for (time, rows) in run.numbers.batches() {
        // Overdue batches are empty and have no plan of their own.
        let expected = planned.get(&time).cloned().unwrap_or_default();
        assert_eq!(rows.len(), expected.len(), "{time}");
        assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expected, "{time}");
    }
    run.counts.batches().pop().map(|(_, rows)| rows).unwrap_or_default()
}

/// The job is stopped, is killed and fails, each time on another number of workers. Each number is in one batch. State continues.
#[test]
fn a_custom_source_is_read_once_through_stops_and_kills() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("custom-source");
        let others = 5 - workers;
        let mut runs = Vec::new();
        let (job, run) = start(&dir, workers, None);
        eventually("some batches are written", || run.counts.batches().len() > 5);
        job.stop_gracefully().unwrap();
        runs.push(run);
        for workers in [others, workers] {
            let (job, run) = start(&dir, workers, None);
            eventually("the next run writes batches", || run.counts.batches().len() > 5);
            job.stop_now().unwrap();
            runs.push(run);
        }
        let poison = planned(&dir).values().flatten().max().unwrap() + 300;
        let (job, run) = start(&dir, others, Some(poison));
        let e = job.await_termination().unwrap_err().to_string();
        assert!(e.contains("poisoned"), "{e}");
        runs.push(run);
        let (job, run) = start(&dir, workers, None);
        eventually("the poisoned batch is written", || run.numbers.batches().iter().any(|(_, rows)| rows.contains(&poison)));
        job.stop_gracefully().unwrap();
        runs.push(run);

        let planned = planned(&dir);
        let totals: Vec<_> = runs.iter().map(|run| check_against_plans(run, &planned)).collect();
        let mut expected = BTreeMap::new();
        planned.values().flatten().for_each(|n| *expected.entry(n % 5).or_insert(0) += 1);
        assert_eq!(totals[4], expected.into_iter().collect::<Vec<_>>(), "{workers} workers");
    }
}

/// The checkpoint directory of a child, whether its program panics when the batch has its plan, and the batch in which it looks for poison,
/// 0 for records without a plan.
const DIR: &str = "TIDEMILL_TEST_NUMBERS_DIR";
const LATE: &str = "TIDEMILL_TEST_NUMBERS_LATE";
const FIND: &str = "TIDEMILL_TEST_NUMBERS_FIND";

/// Position 1333 of split 2 of 3.
const POISON: i64 = 4_001;

#[test]
#[ignore = "the child of the test below"]
fn the_job_that_panics() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (late, find) = (std::env::var_os(LATE).is_some(), std::env::var(FIND).ok());
    let batch = find.as_ref().and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0).map(BatchTime::from_millis);
    let (find_poison, replay_from, replay_to) = (find.is_some(), batch, batch);
    let runtime =
        RuntimeArgs { checkpoint: Some(dir.into()), workers: 2, find_poison, replay_from, replay_to, ..RuntimeArgs::default() };
    let job = StreamingContext::builder("numbers", millis(20)).runtime(runtime).checkpoint_interval(millis(60)).run(move |ssc| {
        let numbers = ssc.from_source(Numbers { splits: SPLITS, per_second: 5_000 });
        let numbers = numbers.map(move |n: i64| if n == POISON && !late { panic!("{n} is poison") } else { (n % 5, n) });
        let sum = |new: &[i64], sum: Option<i64>| {
            assert!(!new.contains(&POISON), "{POISON} is poison");
            Some(sum.unwrap_or(0) + new.iter().sum::<i64>())
        };
        numbers.update_state_by_key(sum).to_memory(&MemorySink::new());
        Ok(())
    });
    if let Err(e) = job {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

/// A record on which a program panics is named, whether its batch had a plan or not.
#[test]
fn a_poisoned_record_is_found() {
    let module = module_path!().split_once("::").unwrap().1;
    for late in [false, true] {
        let dir = TempDir::made("poisoned");
        let child = |find: Option<u64>| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", &format!("{module}::the_job_that_panics"), "--ignored", "--nocapture"]).env(DIR, &*dir);
            child.envs(late.then_some((LATE, "yes"))).envs(find.map(|find| (FIND, find.to_string())));
            let output = child.output().unwrap();
            (output.status.success(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()))
        };
        let (ended, [_, err]) = child(None);
        assert!(!ended && err.contains("4001 is poison"), "{err}");
        let directory = Directory::open(&dir).unwrap();
        assert!(directory.verify().unwrap().foreign.is_empty());
        let of_poison = |plan: &&tidemill::checkpoint::PlanRecord| {
            plan.plan.ranges.iter().any(|r| r.split.partition() == 2 && (r.from..r.until).contains(&1_333))
        };
        let planned = directory.plans().unwrap().iter().find(of_poison).map(|record| record.plan.time.millis());
        assert_eq!(planned.is_some(), late);
        let hint = planned.map_or("--find-poison -- PROGRAM".into(), |ms| format!("--find-poison --from {ms} -- PROGRAM"));
        assert!(err.contains(&hint), "{err}");
        let (ended, [out, err]) = child(Some(planned.unwrap_or(0)));
        let found = out.lines().find(|line| line.contains("poison in the batch of")).unwrap_or_else(|| panic!("{out}{err}"));
        assert!(ended && found.contains("numbers/2, position 1333: worker "), "{found}");
        assert!(found.ends_with("4001 is poison; alone it does so too"), "{found}");
        // The directory is only read, and what is asked for must be there.
        let (ended, [out, err]) = child(Some(if late { 0 } else { 20 }));
        assert!(!ended, "{out}");
        assert!(err.contains(if late { "look in an earlier batch" } else { "no batch was planned for" }), "{err}");
    }
}

/// A source that claims to be replayable, but has a split that is not.
struct FalseClaim;

impl Source for FalseClaim {
    type Item = i64;

    fn name(&self) -> String {
        "a false claim".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(FalseClaim))
    }

    fn reader(&self, context: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
        Numbers { splits: 1, per_second: 1 }.reader(context)
    }

    fn max_rate(&self) -> MaxRate {
        MaxRate { per_second: Some(1), first_batch: Some(1) }
    }
}

impl SplitEnumerator for FalseClaim {
    fn restore(&mut self, _: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Ok(vec![SplitOffset { split: Split::custom_received("once", 0), from: 0 }])
    }

    fn plan(&mut self) -> tidemill::Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_split_that_is_less_replayable_than_its_source_ends_the_job() {
    let e = StreamingContext::builder("false-claim", millis(10)).run(|ssc| {
        ssc.from_source(FalseClaim).print(1);
        Ok(())
    });
    let e = e.unwrap_err().to_string();
    assert!(e.contains("a false claim") && e.contains("once/0") && e.contains("replayable"), "{e}");
}

/// What a reader was told: its worker, the number of workers, its process, and what it shares.
type Told = (usize, usize, usize, Arc<Mutex<()>>);

/// Numbers whose readers note what they are told, and share something.
struct Noted(Arc<Mutex<Vec<Told>>>);

impl Source for Noted {
    type Item = i64;

    fn name(&self) -> String {
        "noted".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Numbers { splits: 1, per_second: 1 }.enumerator()
    }

    fn reader(&self, context: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
        let shared = context.shared(|| tidemill::Result::Ok(Mutex::new(())))?;
        self.0.lock().unwrap().push((context.worker(), context.workers(), context.process(), shared));
        Numbers { splits: 1, per_second: 1 }.reader(context)
    }
}

#[test]
fn the_readers_of_a_source_in_one_process_share_what_the_first_one_made() {
    let noted: [Arc<Mutex<Vec<Told>>>; 2] = Default::default();
    let own = noted.clone();
    let job = StreamingContext::builder("noted", millis(10)).workers(3).without_checkpoint().start(move |ssc| {
        own.iter().for_each(|told| ssc.from_source(Noted(told.clone())).print(1));
        Ok(())
    });
    let job = job.unwrap();
    eventually("all readers", || noted.iter().all(|told| told.lock().unwrap().len() == 3));
    job.stop_now().unwrap();
    let [mut one, mut two] = noted.map(|told| std::mem::take(&mut *told.lock().unwrap()));
    [&mut one, &mut two].into_iter().for_each(|told| told.sort_by_key(|(worker, ..)| *worker));
    for told in [&one, &two] {
        assert!(told.iter().map(|(worker, workers, process, _)| (*worker, *workers, *process)).eq([
            (0, 3, 0),
            (1, 3, 0),
            (2, 3, 0)
        ]));
        assert!(told.iter().all(|(.., shared)| Arc::ptr_eq(shared, &told[0].3)));
    }
    assert!(!Arc::ptr_eq(&one[0].3, &two[0].3), "another source shares something else");
}
