//! Where a job begins: at its sources' starts, at given plans, or where the last run of it stopped.

use std::collections::{BTreeSet, VecDeque};

use crate::checkpoint::Position;
use crate::core::error::{Error, Result};
use crate::core::plan::{Order, Plan, Split};
use crate::core::time::BatchTime;
use crate::job::checkpoint_coordinator::{self, Ledger, Resumed, progress_fits};
use crate::job::planner::Planner;

/// How far the last planned batch may lie ahead of the clock: more, and the clock was set back, or the directory is not ours.
const AHEAD_MS: u64 = 60_000;

impl Planner {
    /// Takes the checkpoint directory if there is one, assigns every split, and opens the first batch.
    pub(crate) fn start(&mut self, plans: Option<Vec<Plan>>) -> Result<()> {
        std::mem::take(&mut self.kit.checks).into_iter().try_for_each(|check| check())?;
        let mut resumed = self.resume()?;
        let mut starts = Vec::new();
        for p in &resumed.positions {
            self.known(p.source, &p.split, p.split_id, p.next);
        }
        // SplitEnumerator that appeared after the checkpoint: the plans know them.
        for r in resumed.replay.iter().flat_map(|r| &r.plan.ranges).filter(|r| !r.split.read_at_once()) {
            self.known(r.source, &r.split, r.split_id, r.from);
        }
        // A replay has given batches only, all of which are known by now.
        if let Some(plans) = plans.or_else(|| self.config.replay.as_ref().map(|_| Vec::new())) {
            let plans = plans.into_iter().filter(|p| p.time > resumed.planned).collect();
            let given = self.given(plans)?;
            self.check(given.iter().chain(resumed.replay.iter().map(|r| &r.plan)))?;
            self.given = Some(given);
        } else {
            for source in 0..self.kit.sources.len() {
                let Some(enumerator) = &mut self.kit.sources[source].enumerator else { continue };
                if resumed.known {
                    let memory = resumed.memory.get(&memory_of(source)).map_or(&[][..], Vec::as_slice);
                    enumerator.restore(resumed.read(source as u32), memory)?;
                }
                let new = enumerator.start()?;
                for s in self.assign(source as u32, new)? {
                    starts.push(Position {
                        source: source as u32,
                        split_id: self.split_ids.of(source as u32, &s.split).0,
                        split: s.split,
                        next: s.from,
                    });
                }
            }
        }
        let first = self.given.as_ref().and_then(|g| g.front()).map(|p| p.time);
        self.next = first.unwrap_or_else(|| self.config.interval.at_or_after(self.time.anchor() + 1));
        if resumed.planned > BatchTime::default() {
            self.not_ahead(resumed.planned)?;
            self.next = first.unwrap_or_else(|| self.config.interval.after(resumed.planned));
        }
        let open = resumed.replay.front().map_or(self.next, |r| r.plan.time);
        let live = self.given.is_none() && resumed.replay.is_empty();
        if let Some(ledger) = &mut self.ledger {
            ledger.begin(starts, resumed.known, open)?;
            let (run, what) = ledger.restore()?;
            self.send(Order::Restore { time: resumed.time, run, what });
            if !self.kit.shards.is_empty() {
                self.sinks_are_ready()?;
                if self.aborted {
                    return Ok(());
                }
                progress_fits(run, self.config.interval.millis(), &resumed, &self.kit.shards, &self.progress)?;
            }
        }
        self.replay = std::mem::take(&mut resumed.replay);
        self.losses = std::mem::take(&mut resumed.losses);
        let limits = self.paces.limits(open);
        self.send(Order::Open { time: open, live, limits });
        Ok(())
    }

    /// Waits until every process has said how far its exactly-once sinks are: before that, nothing is planned.
    fn sinks_are_ready(&mut self) -> Result<()> {
        while self.unready > 0 && !self.aborted {
            match self.reports.recv() {
                Ok(report) => self.take(report)?,
                // The workers are gone: they have said why.
                Err(_) => self.aborted = true,
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<Resumed> {
        let states = std::mem::take(&mut self.kit.states);
        if let Some(replay) = &self.config.clone().replay {
            return self.resume_replay(replay, &states);
        }
        let Some(dir) = self.config.runtime.checkpoint.clone() else {
            if !states.is_empty() && self.config.warns {
                let names: Vec<&str> = states.iter().map(|s| s.name.as_str()).collect();
                tracing::warn!(
                    "The checkpoint directory has not been set: the states of {} are lost when this job ends. Please set it by --checkpoint DIR or checkpoint(dir)",
                    names.join(", ")
                );
            }
            return Ok(Resumed::default());
        };
        let opened = self.opened.take().unwrap_or_else(|| checkpoint_coordinator::open(&dir, &self.config))?;
        let (ledger, resumed) = Ledger::new(opened, &self.config, self.kit.checkpoint_every, states, &self.kit.shards)?;
        self.ledger = Some(ledger);
        self.split_ids.go_on(resumed.split_ids);
        if resumed.known {
            let (replays, at) = (resumed.replay.len(), resumed.time.unwrap_or_default());
            tracing::info!(checkpoint = at.millis(), replays, "goes on where the last run stopped");
        }
        Ok(resumed)
    }

    /// A split keeps the split id it had.
    fn known(&mut self, source: u32, split: &Split, split_id: u32, from: i64) {
        if self.split_ids.keep(source, split, split_id) {
            self.paces.split(source, split_id);
            self.send(Order::Assign { source, split_id, split: split.clone(), from: Some(from) });
        }
    }

    fn not_ahead(&mut self, planned: BatchTime) -> Result<()> {
        let now = self.time.now();
        if self.given.is_some() || planned.millis() <= now + AHEAD_MS {
            return Ok(());
        }
        let what = format!("the last batch was planned for {planned}, and the clock shows {now} ms since the epoch");
        Err(Error::checkpoint("plans", format!("{what}: set the clock right; batch times do not go back")))
    }

    /// Gives plans from a file their source numbers and split ids.
    fn given(&mut self, plans: Vec<Plan>) -> Result<VecDeque<Plan>> {
        let mut given = VecDeque::new();
        for mut plan in plans {
            self.split_ids.batch();
            for range in &mut plan.ranges {
                if range.source as usize >= self.kit.sources.len() {
                    return Err(Error::config(format!(
                        "plan of {}: source {} does not exist, the program has {}",
                        plan.time,
                        range.source,
                        self.kit.sources.len()
                    )));
                }
                range.split_id = self.split_id(range.source, &range.split, None);
            }
            given.push_back(plan);
        }
        Ok(given)
    }

    /// Asks each source whether the splits are there that are given it.
    fn check<'a>(&mut self, given: impl Iterator<Item = &'a Plan> + Clone) -> Result<()> {
        for (source, half) in self.kit.sources.iter_mut().enumerate() {
            let ranges = given.clone().flat_map(|p| &p.ranges).filter(|r| r.source as usize == source);
            let splits: BTreeSet<&Split> = ranges.map(|r| &r.split).collect();
            if let Some(enumerator) = &mut half.enumerator {
                enumerator.check(&splits.into_iter().cloned().collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }
}

/// The name under which a checkpoint has what a source remembers.
pub(crate) fn memory_of(source: usize) -> String {
    format!("source {source}")
}
