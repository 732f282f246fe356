//! What a query keeps, node by node: the text of `explain`.

use std::collections::BTreeSet;

/// What a node keeps from batch to batch.
pub(crate) struct Kept {
    /// The kind of state.
    pub state: String,
    /// What makes it grow.
    pub grows: String,
}

impl Kept {
    pub const NOTHING: Kept = Kept { state: String::new(), grows: String::new() };

    pub fn of(state: &str, grows: &str) -> Self {
        Kept { state: state.to_owned(), grows: grows.to_owned() }
    }
}

/// The lines of the nodes, from the result to the streams.
#[derive(Default)]
pub(crate) struct Notes {
    depth: usize,
    /// The lines of the nodes that are being rendered, by their place in `lines`.
    open: Vec<usize>,
    lines: Vec<(usize, String)>,
    /// Whether a watermark may close windows of the query.
    pub has_watermark: bool,
    /// The operators that make the watermarks of the query.
    pub watermarks: BTreeSet<usize>,
    /// The name that the query has for the rows that are being rendered.
    pub name: Option<String>,
}

impl Notes {
    pub fn enter(&mut self) {
        self.open.push(self.lines.len());
        self.lines.push((self.depth, String::new()));
        self.depth += 1;
    }

    pub fn leave(&mut self) {
        self.open.pop();
        self.depth -= 1;
    }

    /// The line of the node that is being rendered.
    pub fn set(&mut self, verb: &str, Kept { state, grows }: Kept) {
        let line = match state.is_empty() {
            true => verb.to_owned(),
            false => format!("{verb}: keeps {state}; grows with {grows}"),
        };
        if let Some(open) = self.open.last() {
            let text = &mut self.lines[*open].1;
            if !text.is_empty() {
                text.push_str(", over ");
            }
            text.push_str(&line);
        }
    }

    pub fn text(&self) -> String {
        let lines = self.lines.iter().filter(|(_, line)| !line.is_empty());
        lines.map(|(depth, line)| format!("{}{line}\n", "  ".repeat(*depth))).collect()
    }
}
