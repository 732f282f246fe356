//! The states of a program, by the names that a checkpoint finds them by.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::engine::operator_id::OperatorId;
use crate::engine::state::{State, StateHandle};

/// States in build order.
#[derive(Default)]
pub(super) struct RegisteredStates {
    states: Vec<State>,
    /// The operator that keeps each state.
    operators: Vec<OperatorId>,
    /// Whether each is known by what it is of.
    of_parts: Vec<bool>,
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
                let name = format!("{verb} of {of}");
                operator.rename(&name);
                name
            }
        };
        self.of_parts.push(self.of.is_some());
        self.states.push(State { name, fingerprint, handle });
        self.operators.push(operator.clone());
        self.states.len() - 1
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

    /// The states whose operator is built. Branches that no output reads are not. Equal parts are numbered here, from the second one on: a part
    /// that is not built has no number.
    pub fn built(&mut self) -> Vec<State> {
        let mut equal: BTreeMap<String, u32> = BTreeMap::new();
        let all = self.states.drain(..).zip(self.operators.drain(..)).zip(self.of_parts.drain(..));
        let mut built = Vec::new();
        for ((mut state, operator), of_part) in all.filter(|((state, _), _)| state.handle.is_built()) {
            if of_part {
                let n = equal.entry(state.name.clone()).and_modify(|n| *n += 1).or_insert(1);
                if *n > 1 {
                    state.name = format!("{}#{n}", state.name);
                    operator.rename(&state.name);
                }
            }
            built.push(state);
        }
        built
    }
}
