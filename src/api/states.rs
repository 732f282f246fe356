//! The states of a program, by the names that a checkpoint finds them by.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::engine::operator_id::OperatorId;
use crate::engine::state::{State, StateHandle};

/// States in build order.
#[derive(Default)]
pub(super) struct RegisteredStates {
    all: Vec<Registered>,
    /// What the states are of that are registered now. `None`: each is the one of its verb and ordinal.
    of: Option<Rc<str>>,
}

struct Registered {
    state: State,
    /// The operator that keeps it.
    operator: OperatorId,
    /// Whether it is known by what it is of.
    of_part: bool,
}

impl Registered {
    fn rename(&mut self, name: &str) {
        self.state.name = name.into();
        self.operator.rename(name);
    }
}

impl RegisteredStates {
    /// Adds the state of an operator. `line`: its arguments and types. Returns its number.
    pub fn register(&mut self, operator: &OperatorId, line: &str, handle: Rc<StateHandle>) -> usize {
        let name = operator.name();
        let verb = name.split('#').next().unwrap_or_default();
        let (fingerprint, of) = (format!("{verb} {line}"), self.of.as_ref().map(|of| format!("{verb} of {of}")));
        let state = State { name, fingerprint, handle };
        let mut registered = Registered { state, operator: operator.clone(), of_part: of.is_some() };
        of.iter().for_each(|name| registered.rename(name));
        self.all.push(registered);
        self.all.len() - 1
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
        if self.all.iter().any(|one| one.state.name == name) {
            return Err(format!("\"{name}\" is taken by another verb that keeps state; names must differ"));
        }
        self.all[state].rename(name);
        Ok(())
    }

    pub fn set_of(&mut self, what: Option<Rc<str>>) -> Option<Rc<str>> {
        std::mem::replace(&mut self.of, what)
    }

    /// The states whose operator is built. Branches that no output reads are not. Equal parts are numbered here, from the second one on: a part
    /// that is not built has no number.
    pub fn built(&mut self) -> Vec<State> {
        self.all.retain(|one| one.state.handle.is_built());
        let mut equal: BTreeMap<String, u32> = BTreeMap::new();
        for one in self.all.iter_mut().filter(|one| one.of_part) {
            let n = equal.entry(one.state.name.clone()).and_modify(|n| *n += 1).or_insert(1);
            if *n > 1 {
                one.rename(&format!("{}#{n}", one.state.name));
            }
        }
        self.all.drain(..).map(|one| one.state).collect()
    }
}
