//! The kernel under verbs that keep rows in their partition: the origins of the rows that they make.

use std::any::Any;
use std::rc::Rc;

use crate::connector::message::Message;
use crate::core::data::Rows;
use crate::core::origin::{Origins, OriginsWanted, Records};

/// The origins of the rows of a container, if they are wanted and known.
pub(crate) fn origins<T: 'static>(rows: &Rows<T>, wanted: &OriginsWanted) -> Option<Origins> {
    if wanted.get() { known(rows) } else { None }
}

/// Messages know where they are from; of other rows the container knows it.
pub(crate) fn known<T: 'static>(rows: &Rows<T>) -> Option<Origins> {
    let any: Rc<dyn Any> = rows.rows.clone();
    let messages = any.downcast::<Vec<Message>>().ok();
    messages.map(|messages| Origins::of(messages as Rc<dyn Records>)).or_else(|| rows.origins.clone())
}

/// Notes, row by row, how many rows a verb makes of each.
pub(crate) struct Trail {
    origins: Option<Origins>,
    next: u32,
    rows: Vec<u32>,
}

impl Trail {
    pub fn new<T: 'static>(rows: &Rows<T>, wanted: &OriginsWanted) -> Self {
        Trail { origins: origins(rows, wanted), next: 0, rows: Vec::new() }
    }

    /// Whether the origins of the result are wanted and known.
    pub fn is_wanted(&self) -> bool {
        self.origins.is_some()
    }

    /// The next row became `made` rows.
    pub fn step(&mut self, made: usize) {
        if self.origins.is_some() {
            self.rows.extend(std::iter::repeat_n(self.next, made));
            self.next += 1;
        }
    }

    /// The origins of the result.
    pub fn origins(self) -> Option<Origins> {
        self.origins.map(|origins| origins.at(self.rows))
    }
}
