//! What the states of a node of a query are known by in a checkpoint.

use datafusion::logical_expr::LogicalPlan;
use tidemill::prelude::StreamingContext;

/// The longest text of a node, in characters.
const LONGEST: usize = 80;

/// The node in words, and a number of all that its rows depend on: its plan, down to the streams with their columns. So a query that has
/// changed does not take the state of what it was before, and the order of queries in a program does not matter.
pub(super) fn identity(plan: &LogicalPlan) -> String {
    // A stream without a name is numbered by its place in the program.
    let whole = without_numbers(&plan.display_indent_schema().to_string());
    let node = without_numbers(&plan.display().to_string());
    let short: String = node.chars().take(LONGEST).collect();
    format!("{short} [{:08x}]", fnv(whole.as_bytes()) as u32)
}

/// Builds a part whose states are known by what it is. `context`: none, if the program has no stream, and so no state.
pub(super) fn known<R>(context: Option<&StreamingContext<'_>>, part: &str, build: impl FnOnce() -> R) -> R {
    match context {
        Some(context) => context.states_of(part, build),
        None => build(),
    }
}

/// The text without the numbers of streams that have no name.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(UNNAMED);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + UNNAMED + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The name of a stream that stands for the rows of a plan after this step: its number in the program, and what it is.
pub(super) fn unnamed(number: usize, step: &str, plan: &LogicalPlan) -> String {
    format!("{UNNAMED}{number}_{:08x}", fnv(format!("{step} {}", identity(plan)).as_bytes()) as u32)
}

/// How the name of a stream begins that the program gave none.
pub(super) const UNNAMED: &str = "__stream_";

/// FNV-1a, which stays the same in every version.
pub(super) fn fnv(bytes: &[u8]) -> u128 {
    let start = 0x6c62272e07bb014262b821756295c58d;
    bytes.iter().fold(start, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(0x0000000001000000000000000000013b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_by_all_that_its_rows_depend_on() {
        let session = crate::TableSession::new();
        session.create_data_frame(&["to"]).unwrap().create_or_replace_temp_view("words").unwrap();
        let of = |sql: &str| identity(session.sql(sql).unwrap().logical_plan());
        let counts = "select value, count(*) from words group by value";
        assert_eq!(of(counts), of(counts));
        assert_ne!(of(counts), of("select value, count(*) from words where value > 'a' group by value"));
        assert_ne!(of(counts), of("select value, sum(length(value)) from words group by value"));
        assert_eq!(without_numbers("Scan: __stream_12_ab of __stream_3"), "Scan: __stream__ab of __stream_");
    }
}
