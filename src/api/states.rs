//! The states of a program, by the names that a checkpoint finds them by.

use std::rc::Rc;

use crate::engine::operator_id::OperatorId;
use crate::engine::state::{State, StateHandle};

/// States in build order.
#[derive(Default)]
pub(super) struct RegisteredStates {
    states: Vec<State>,
    /// The operator that keeps each state.
    operators: Vec<OperatorId>,
    /// What the states are of that are registered now. `None`: each is the one of its verb and ordinal.
    of: Option<Rc<str>>,
}

impl RegisteredStates {
    /// Adds the state of an operator. `line`: its arguments and types. Returns its number.
    pub fn register(&mut self, operator: &OperatorId, line: &str, handle: Rc<StateHandle>) -> usize {
        let name = operator.name();
        let verb = name.split('#').next().unwrap_or_default();
        let fingerprint = format!("{verb} {line}");
        let name = match &self.of {
            None => name,
            Some(of) => {
                let name = self.free(&format!("{verb} of {of}"));
                operator.rename(&name);
                name
            }
        };
        self.states.push(State { name, fingerprint, handle });
        self.operators.push(operator.clone());
        self.states.len() - 1
    }

    /// The name, numbered from the second one on.
    fn free(&self, name: &str) -> String {
        let taken = |name: &str| self.states.iter().any(|state| state.name == name);
        match taken(name) {
            false => name.to_owned(),
            true => (2..).map(|n| format!("{name}#{n}")).find(|name| !taken(name)).expect("numbers have no end"),
        }
    }

    /// Gives a state and its operator another name.
    ///
    /// # Errors
    /// Why it cannot have this name.
    pub fn rename(&mut self, state: Option<usize>, name: &str) -> Result<(), String> {
        let Some(state) = state else {
            return Err(format!(
                "\"{name}\" names nothing: this chain has no verb that keeps state, or two with state meet in it; name each before they meet"
            ));
        };
        if self.states.iter().any(|s| s.name == name) {
            return Err(format!("\"{name}\" is taken by another verb that keeps state; names must differ"));
        }
        self.states[state].name = name.into();
        self.operators[state].rename(name);
        Ok(())
    }

    pub fn set_of(&mut self, what: Option<Rc<str>>) -> Option<Rc<str>> {
        std::mem::replace(&mut self.of, what)
    }

    /// The states whose operator is built. Branches that no output reads are not.
    pub fn built(&mut self) -> Vec<State> {
        self.states.retain(|state| state.handle.is_built());
        std::mem::take(&mut self.states)
    }
}
