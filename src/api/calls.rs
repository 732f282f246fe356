//! Calls of a builder that contradict each other. They are an error at the start: otherwise the last one would win in silence.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use crate::api::config::RuntimeArgs;
use crate::core::error::{Error, Result};

/// What is lost if these arguments replace the option that a call has set.
type Lost = Box<dyn Fn(&mut RuntimeArgs) -> Option<String> + Send>;

/// What the calls of a builder have said so far.
#[derive(Default)]
pub(crate) struct Calls {
    /// The runtime options that were set, by their names.
    options: BTreeMap<&'static str, Lost>,
    /// Each checkpoint directory, or that there is none, with the words that say so.
    directories: Vec<(String, Option<PathBuf>)>,
    contradictions: Vec<String>,
}

impl Calls {
    /// A call has set a runtime option, which the command line has too.
    pub fn option<T>(&mut self, name: &'static str, value: T, field: fn(&mut RuntimeArgs) -> &mut T)
    where
        T: Debug + PartialEq + Send + 'static,
    {
        let lost = move |args: &mut RuntimeArgs| {
            let now = &*field(args);
            let (said, replaced) = (shown(&value), shown(now));
            (*now != value)
                .then(|| format!("{name} is {said}, and runtime(..) after it sets it to {replaced}: call runtime(..) first"))
        };
        self.options.insert(name, Box::new(lost));
    }

    /// A call, or the command line, has said where checkpoints are. `None`: nowhere.
    pub fn directory(&mut self, says: String, dir: Option<PathBuf>) {
        if let Some((before, _)) = self.directories.iter().find(|(_, other)| *other != dir) {
            let remedy = "a job has one checkpoint directory or none; leave one of the two out";
            self.contradictions.push(format!("{before} and {says}: {remedy}"));
        }
        self.directories.push((says, dir));
    }

    /// `runtime` has replaced all runtime options.
    pub fn runtime(&mut self, args: &RuntimeArgs) {
        let mut args = args.clone();
        self.contradictions.extend(self.options.values().filter_map(|lost| lost(&mut args)));
        if let Some(dir) = args.checkpoint {
            return self.directory(format!("--checkpoint {}", dir.display()), Some(dir));
        }
        let lost = self.directories.iter().filter(|(_, dir)| dir.is_some());
        self.contradictions
            .extend(lost.map(|(says, _)| format!("{says}, and runtime(..) after it has no directory: call runtime(..) first")));
    }

    /// # Errors
    /// Calls contradict each other. The error has a line for each two.
    pub fn check(&self) -> Result<()> {
        if self.contradictions.is_empty() { Ok(()) } else { Err(Error::config(self.contradictions.join("\n"))) }
    }
}

/// A value as people write it.
fn shown(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text == "None" {
        return "the default".into();
    }
    text.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::builder::Builder;
    use crate::core::time::secs;

    fn error(calls: impl FnOnce(Builder) -> Builder) -> Option<String> {
        calls(Builder::new("j".into(), secs(1))).config().err().map(|e| e.to_string())
    }

    fn at(dir: &str) -> RuntimeArgs {
        RuntimeArgs { checkpoint: Some(dir.into()), ..RuntimeArgs::default() }
    }

    #[test]
    fn a_job_has_one_checkpoint_directory_or_none() {
        fn says(calls: fn(Builder) -> Builder, parts: [&str; 3]) {
            let e = error(calls).expect("the calls contradict each other");
            assert!(parts.iter().all(|part| e.contains(part)), "{e}");
        }
        let remedy = "leave one of the two out";
        says(|b| b.checkpoint("/a").without_checkpoint(), ["checkpoint(\"/a\")", "without_checkpoint()", remedy]);
        says(|b| b.without_checkpoint().checkpoint("/a"), ["checkpoint(\"/a\")", "without_checkpoint()", remedy]);
        says(|b| b.checkpoint("/a").checkpoint("/b"), ["checkpoint(\"/a\")", "checkpoint(\"/b\")", remedy]);
        says(|b| b.runtime(at("/a")).checkpoint("/b"), ["--checkpoint /a", "checkpoint(\"/b\")", remedy]);
        says(|b| b.checkpoint("/b").runtime(at("/a")), ["--checkpoint /a", "checkpoint(\"/b\")", remedy]);
        says(|b| b.runtime(at("/a")).without_checkpoint(), ["--checkpoint /a", "without_checkpoint()", remedy]);
        says(
            |b| b.checkpoint("/a").runtime(RuntimeArgs::default()),
            ["checkpoint(\"/a\")", "no directory", "call runtime(..) first"],
        );
        // What says the same does not contradict.
        assert_eq!(error(|b| b.runtime(at("/a")).checkpoint("/a").checkpoint("/a")), None);
        assert_eq!(error(|b| b.without_checkpoint().runtime(RuntimeArgs::default()).without_checkpoint()), None);
    }

    #[test]
    fn a_call_that_runtime_would_undo_is_an_error() {
        let e = error(|b| b.workers(4).checkpoint_interval(secs(3)).runtime(RuntimeArgs::default())).unwrap();
        let lines: Vec<&str> = e.lines().collect();
        assert_eq!(lines.len(), 2, "{e}");
        assert!(lines[0].contains("checkpoint_interval is 3s, and runtime(..) after it sets it to the default"), "{e}");
        assert!(lines[1].contains("workers is 4, and runtime(..) after it sets it to 1: call runtime(..) first"), "{e}");
        let two = || RuntimeArgs { workers: 2, ..RuntimeArgs::default() };
        assert_eq!(error(|b| b.workers(2).runtime(two())), None, "nothing is lost");
        assert_eq!(error(|b| b.workers(4).workers(2).runtime(two())), None, "the later call counts");
        assert_eq!(error(|b| b.runtime(two()).workers(4)), None, "a later call replaces an option");
    }
}
