//! How commands of the planner reach operators, how events of a worker reach the planner, and the planner's halves of sources.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use timely::dataflow::Scope;
use timely::scheduling::Activator;

use crate::connector::source::SplitEnumerator;
use crate::core::error::{Error, Result};
use crate::core::plan::Split;
use crate::core::time::BatchTime;
use crate::job::protocol::{Command, Event};

/// How commands of the planner reach an operator.
pub(crate) trait Port {
    fn command(&self, command: &Command);
}

/// Commands on their way to one operator, which they wake.
#[derive(Clone)]
pub(crate) struct CommandQueue {
    pub commands: Rc<RefCell<VecDeque<Command>>>,
    pub activator: Rc<Activator>,
}

impl Port for CommandQueue {
    fn command(&self, command: &Command) {
        self.commands.borrow_mut().push_back(command.clone());
        self.activator.activate();
    }
}

impl CommandQueue {
    /// The queue of the operator with this address.
    pub fn new(scope: Scope<'_, BatchTime>, address: Rc<[usize]>) -> Self {
        let activator = Rc::new(scope.activator_for(address));
        activator.activate();
        CommandQueue { commands: Rc::default(), activator }
    }
}

/// Where workers put events; the control dataflow takes them to the planner.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    events: Rc<RefCell<Vec<Event>>>,
    activator: Rc<RefCell<Option<Activator>>>,
}

impl Outbox {
    pub fn send(&self, event: Event) {
        self.events.borrow_mut().push(event);
        self.wake();
    }

    pub fn wake(&self) {
        if let Some(a) = &*self.activator.borrow() {
            a.activate();
        }
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.borrow_mut())
    }

    pub fn wake_with(&self, activator: Activator) {
        *self.activator.borrow_mut() = Some(activator);
    }
}

/// The planner's half of a registered source.
pub(crate) struct SourceHalf {
    pub name: String,
    /// Only in the rehearsal. The planner takes them from there.
    pub enumerator: Option<Box<dyn SplitEnumerator>>,
    /// Whether an output operation reads it. Else it keeps its number, and nothing of it is opened.
    pub read: bool,
    /// Whether its rows can be made of raw records, so that it takes corrections.
    pub takes_records: bool,
}

impl SourceHalf {
    /// Checks a split against `SplitEnumerator::replayable`, on which exactly-once outputs rely before there are splits.
    ///
    /// # Errors
    /// The split is not replayable, but its enumerator returned `true`.
    pub fn check(&self, split: &Split) -> Result<()> {
        if split.replayable() || self.enumerator.as_ref().is_none_or(|e| !e.replayable()) {
            return Ok(());
        }
        let reason = format!("its split {split} is not replayable; return false from the enumerator's `replayable`");
        Err(Error::source(self.name.as_str(), reason))
    }
}
