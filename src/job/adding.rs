//! How the planner adds computations to the job and removes them.
//!
//! *Invariant:* a computation is complete as of the last batch that was closed before its command: no worker has computed a later one then.

use crate::api::config::Config;
use crate::core::added::Added;
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;
use crate::job::additions::{MOST, check_print};
use crate::job::planner::Planner;
use crate::job::protocol::Command;
use crate::live::description::{Description, Verb};
use crate::live::parse::parse;

/// The name under which operators of added computations are measured together.
const OPERATORS: &str = "added computations";

impl Planner {
    /// The first batch is about to open. Computations that are kept, and those of the program, run from the start. `restored`: the time of
    /// the checkpoint that was loaded.
    pub(super) fn begin_added(&mut self, restored: Option<BatchTime>) -> Result<()> {
        self.inputs.additions.closed(restored.unwrap_or_default());
        let given = self.config.added.clone();
        let kept =
            self.coordinator.as_ref().map_or_else(|| Ok(Vec::new()), |coordinator| coordinator.checkpoints().kept_added())?;
        let is_given = |name: &str| given.iter().any(|text| parse(text).is_ok_and(|d| d.name.as_deref() == Some(name)));
        for (name, text) in kept.into_iter().filter(|(name, _)| !is_given(name)) {
            if let Err(why) = self.start_added(&format!("{name} = {text}"), true, false) {
                tracing::warn!(
                    "the added computation {name} is kept and does not run: {why}; tidemill remove ADDR {name} forgets it"
                );
            }
        }
        for text in given {
            self.start_added(&text, false, false).map_err(|reason| Error::Added { what: text, reason })?;
        }
        self.inputs.additions.adders.open();
        Ok(())
    }

    /// Somebody adds a computation.
    pub(super) fn add(&mut self, id: u64, text: &str, keep: bool) {
        let said = self.start_added(text, keep, keep);
        if let Ok(added) = &said {
            tracing::info!("added: {added}");
        }
        self.inputs.additions.adders.reply(id, said);
    }

    /// Adds a computation. `kept`: whether it runs again after a restart; `store`: whether that must be stored now.
    fn start_added(&mut self, text: &str, kept: bool, store: bool) -> Result<Added, String> {
        let (views, running) = (self.inputs.questions.views(), self.inputs.additions.adders.running());
        let description = parse(text)?;
        check(&description, &views, self.config.interval.millis())?;
        if running.len() >= MOST {
            return Err(format!("{MOST} computations run already: remove one by `tidemill remove`"));
        }
        let taken = |name: &str| views.iter().any(|view| view == name);
        let name = description.free_name(taken);
        let added = Added { name: name.clone(), text: description.text(), kept, since: self.inputs.additions.newest };
        if store {
            let coordinator = self.coordinator.as_ref();
            let coordinator =
                coordinator.ok_or("only a job with a checkpoint directory can keep it: start the job with --checkpoint DIR")?;
            coordinator.checkpoints().keep_added(&name, &added.text).map_err(|e| e.to_string())?;
        }
        self.workers.send(Command::Add { name: name.clone(), text: added.text.clone(), base: added.since });
        self.inputs.questions.answers(&name);
        if self.inputs.operators.last().is_none_or(|last| &**last != OPERATORS) {
            self.inputs.operators.push(OPERATORS.into());
            self.metrics.operator_added(OPERATORS);
        }
        self.inputs.additions.adders.runs(added.clone());
        Ok(added)
    }

    /// Somebody removes a computation.
    pub(super) fn remove(&mut self, id: u64, name: &str) {
        let said = self.removed(name);
        if said.is_ok() {
            tracing::info!("removed: {name}");
        }
        self.inputs.additions.adders.reply(id, said);
    }

    fn removed(&mut self, name: &str) -> Result<Added, String> {
        let running = self.inputs.additions.adders.running();
        let kept_only = |all: &[(String, String)]| all.iter().find(|(kept, _)| kept == name).cloned();
        let Some(added) = running.iter().find(|added| added.name == name) else {
            // One that is kept and cannot run is forgotten.
            let checkpoints = self.coordinator.as_ref().map(|coordinator| coordinator.checkpoints());
            let kept = checkpoints.and_then(|checkpoints| kept_only(&checkpoints.kept_added().ok()?));
            if let (Some((_, text)), Some(checkpoints)) = (kept, checkpoints) {
                checkpoints.drop_added(name).map_err(|e| e.to_string())?;
                return Ok(Added { name: name.into(), text, kept: false, since: BatchTime::default() });
            }
            return Err(none(name, &self.inputs.questions.views(), &running));
        };
        let reads =
            |other: &&Added| parse(&other.text).is_ok_and(|description| description.views().any(|view| view.name == name));
        if let Some(reader) = running.iter().find(reads) {
            return Err(format!("{} reads it: remove that first", reader.name));
        }
        if let Some(coordinator) = self.coordinator.as_ref().filter(|_| added.kept) {
            coordinator.checkpoints().drop_added(name).map_err(|e| e.to_string())?;
        }
        self.workers.send(Command::Remove { name: name.into() });
        self.inputs.questions.removed(name);
        self.inputs.additions.adders.remove(name);
        Ok(added.clone())
    }
}

/// There is no such computation.
fn none(name: &str, views: &[String], running: &[Added]) -> String {
    if views.iter().any(|view| view == name) {
        return format!("the program has the view {name:?}: only what was added can be removed");
    }
    let names: Vec<&str> = running.iter().map(|added| added.name.as_str()).collect();
    let names = if names.is_empty() { "none".into() } else { names.join(", ") };
    format!("no computation was added as {name:?}; there are: {names}")
}

/// Checks a computation against the views of the job.
fn check(description: &Description, views: &[String], interval: u64) -> Result<(), String> {
    for view in description.views() {
        if !views.contains(&view.name) {
            let names = if views.is_empty() { "none; the program calls View::queryable".into() } else { views.join(", ") };
            return Err(format!("character {}: no view {:?}; there are: {names}", view.at, view.name));
        }
    }
    if let Some(name) = description.name.as_ref().filter(|name| views.contains(name)) {
        return Err(format!("another view is called {name:?} already: choose another name"));
    }
    for verb in &description.verbs {
        let Verb::Window { length, slide } = verb else { continue };
        for time in [Some(*length), *slide].into_iter().flatten().map(|time| time.as_millis() as u64) {
            if !time.is_multiple_of(interval) {
                let nearest = (time / interval).max(1) * interval;
                return Err(format!(
                    "{verb}: {time} ms is not a multiple of the batch interval, {interval} ms; the nearest below is {nearest}ms"
                ));
            }
        }
    }
    Ok(())
}

/// Checks the computations that a program adds at its start, before any data is touched. `views`: those of the program.
///
/// # Errors
/// [`Error::Added`] with the first one that cannot be.
pub(crate) fn check_given(config: &Config, views: &[String]) -> Result<()> {
    let mut views = views.to_vec();
    for text in &config.added {
        let fault = |reason| Error::Added { what: text.clone(), reason };
        let description = parse(text).map_err(fault)?;
        check_print(&description).and_then(|()| check(&description, &views, config.interval.millis())).map_err(fault)?;
        views.push(description.free_name(|name| views.iter().any(|view| view == name)));
    }
    if config.added.len() > MOST {
        return Err(Error::config(format!(
            "{} computations are added at the start, and at most {MOST} can be",
            config.added.len()
        )));
    }
    Ok(())
}
