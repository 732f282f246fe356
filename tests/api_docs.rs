//! Checks that every public item that a user calls has an example, or is on the list below.
//!
//! The test reads the source as text, like tidy: the doc comment above each `pub` item. Accessors without arguments, trait impls
//! and fields need no example. An example of a type counts for the methods that it calls. An example of a method counts for its type.

use std::collections::BTreeSet;

use crate::rust_files;

/// Modules whose public items are for users. The others are public for programs of this package.
const MODULES: &[&str] = &[
    "src/api",
    "src/operator",
    "src/graph",
    "src/connector",
    "src/format",
    "src/arrangement",
    "src/job",
    "src/metrics",
    "src/core",
];

/// Items without an example: `file: Type::name`.
const WITHOUT: &[&str] = &[
    "connector/kafka/enumerator.rs: KafkaEnumerator",
    "connector/kafka/enumerator.rs: KafkaEnumerator::new",
    "connector/kafka/group_offsets.rs: CommitOffsets",
    "connector/kafka/producer_record.rs: ProducerRecord::partition",
    "connector/kafka/producer_record.rs: ProducerRecord::tombstone",
    "connector/kafka/producer_record.rs: ProducerRecord::value",
    "connector/kafka/reader.rs: KafkaReader",
    "connector/kafka/reader.rs: KafkaReader::new",
    "connector/kafka/sink.rs: KafkaOutput",
    "connector/kafka/sink.rs: KafkaOutput::new",
    "connector/kafka/sink.rs: KafkaOutput::open",
    "connector/kafka/sink.rs: KafkaOutput::write_and_wait",
    "connector/kafka/sink.rs: KafkaSink::shards",
    "connector/kafka/source.rs: Tombstones",
    "connector/kafka/start_from.rs: StartFrom::earliest",
    "connector/kafka/start_from.rs: StartFrom::latest",
    "connector/message.rs: Headers",
    "connector/sink.rs: BatchId",
    "connector/sink.rs: CommitGroup",
    "connector/sink.rs: Committed",
    "connector/sink.rs: Distribution",
    "connector/sink.rs: Part",
    "connector/sink.rs: SinkBatch::with_id",
    "connector/sink.rs: SinkContext",
    "connector/sink.rs: TransactionalSink",
    "connector/sink_to.rs: DStream::sink_to",
    "connector/source.rs: MaxRate",
    "connector/source.rs: Sealed",
    "connector/source.rs: SourceReader",
    "connector/source.rs: SplitEnumerator",
    "core/data.rs: Data",
    "core/data.rs: PartitionId",
    "core/data.rs: Rows",
    "core/plan.rs: Limits::new",
    "core/plan.rs: Limits::of",
    "core/plan.rs: Range",
    "core/plan.rs: Range::new",
    "core/plan.rs: RunId",
    "core/plan.rs: Split::custom_received",
    "core/plan.rs: SplitOffset",
    "core/plan.rs: SplitRange",
];

/// A public item: its name, `Type::name` for a method, and its example.
struct Item {
    name: String,
    /// The type of a method.
    owner: Option<String>,
    /// The last part of its name.
    method: String,
    /// The programs in its documentation.
    example: String,
    needs_one: bool,
}

/// The type of an `impl` line, `DStream` of `impl<'s, T: Data> DStream<'s, T> {`; `None` for the impl of a trait.
fn implemented(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl")?;
    let mut depth = 0;
    let end = rest.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '<') - i32::from(*c == '>');
        depth == 0 && *c != '>'
    });
    let of = &rest[end?.0..];
    let of = if rest.starts_with('<') { of } else { rest }.trim_start_matches('>').trim();
    if of.contains(" for ") {
        return None;
    }
    Some(of.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// The public items of a file, without its tests.
fn items(text: &str) -> Vec<Item> {
    let mut found = Vec::new();
    let (mut docs, mut hidden, mut of) = (String::new(), false, None::<Option<String>>);
    let lines: Vec<&str> = text.lines().take_while(|l| l.trim() != "mod tests {").collect();
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if line.starts_with("impl") {
            // The signature may have several lines. rustfmt ends it with a brace.
            let head: Vec<&str> = lines[i..].iter().copied().take_while(|l| !l.starts_with('}')).collect();
            let end = head.iter().position(|l| l.ends_with('{')).unwrap_or(0);
            of = Some(implemented(&head[..=end].join(" ")));
        }
        if *line == "}" {
            of = None;
        }
        if let Some(doc) = code.strip_prefix("///") {
            docs.push_str(doc);
            docs.push('\n');
            continue;
        }
        if code.starts_with("#[") || code.starts_with("#![") {
            hidden |= code.contains("doc(hidden)") || code.contains("cfg(test)") || code.contains("feature = \"testing\"");
            continue;
        }
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
        let item = code.strip_prefix("pub ").map(|_| words[1]).filter(|w| ["fn", "struct", "enum", "trait", "const"].contains(w));
        if let (Some(kind), false) = (item, hidden) {
            let name = words.iter().skip(2).find(|w| **w != "fn").copied().unwrap_or_default();
            let (owner, trait_impl) = match &of {
                Some(Some(owner)) => (Some(owner.as_str()), false),
                Some(None) => (None, true),
                None => (None, false),
            };
            let end = lines[i..].iter().position(|l| l.contains('{') || l.ends_with(';')).unwrap_or(0);
            let signature: String = lines[i..=i + end].iter().map(|l| l.trim()).collect();
            let accessor = kind == "fn" && signature.contains("(&self)") || kind == "const";
            let mut example = docs.split("```").skip(1).step_by(2).collect::<String>();
            // A trait that users implement has its example in a program under `examples/`.
            example.push_str(docs.split("examples/").nth(1).unwrap_or_default());
            let full = owner.map_or_else(|| name.to_owned(), |o| format!("{o}::{name}"));
            let owner = owner.map(str::to_owned);
            let (name, method) = (full, name.to_owned());
            found.push(Item { name, method, owner, example, needs_one: !trait_impl && !accessor });
        }
        docs.clear();
        hidden = false;
    }
    found
}

#[test]
fn every_public_item_has_an_example_or_is_listed() {
    let mut files: Vec<String> = MODULES.iter().flat_map(|module| rust_files::below(module)).collect();
    files.retain(|f| !f.contains("/tests"));
    let listed: BTreeSet<&str> = WITHOUT.iter().copied().collect();
    let (mut wrong, mut without) = (Vec::new(), BTreeSet::new());
    let mut all = 0;
    let read = |file: String| (std::fs::read_to_string(&file).map(|text| items(&text)).unwrap(), file);
    let files: Vec<(Vec<Item>, String)> = files.into_iter().map(read).collect();
    // Methods of a type that is not public are not public.
    let items = || files.iter().flat_map(|(items, _)| items);
    let types: BTreeSet<&String> = items().filter(|i| i.owner.is_none()).map(|i| &i.name).collect();
    let of_type = |owner: &str, shows: &dyn Fn(&str) -> bool| items().any(|i| i.name == owner && shows(&i.example));
    let shown = |i: &Item| {
        let calls =
            |example: &str| [format!(".{}(", i.method), format!("::{}(", i.method)].iter().any(|call| example.contains(call));
        let by_method = |m: &Item| m.owner.as_ref() == Some(&i.name) && !m.example.is_empty();
        !i.example.is_empty()
            || i.owner.as_ref().is_some_and(|o| of_type(o, &calls))
            || i.owner.is_none() && items().any(by_method)
    };
    for (items, file) in &files {
        let public = |i: &&Item| i.needs_one && i.owner.as_ref().is_none_or(|o| types.contains(o));
        for item in items.iter().filter(public) {
            all += 1;
            let key = format!("{}: {}", file.trim_start_matches("src/"), item.name);
            if shown(item) {
                if listed.contains(key.as_str()) {
                    wrong.push(format!("{key} has an example now: take it off the list in tests/api_docs.rs"));
                }
                continue;
            }
            if !listed.contains(key.as_str()) {
                wrong.push(format!("{key} has no example: write one in its doc, or list it in tests/api_docs.rs"));
            }
            without.insert(key);
        }
    }
    let stale = listed.iter().filter(|key| !without.contains(**key));
    wrong.extend(
        stale.map(|key| format!("\"{key}\" is listed in tests/api_docs.rs, and is not a public item without an example")),
    );
    assert!(wrong.is_empty(), "\n{}\n{} of {all} public items have an example", wrong.join("\n"), all - without.len());
}

/// Guards the scan itself: if it missed items, the test above would pass for the wrong reason.
#[test]
fn the_scan_finds_items_and_examples() {
    let text = "/// Doc.\n/// ```\n/// a(1);\n/// ```\npub fn a(x: u8) {}\nimpl<'s, T: Data> DStream<'s, T> {\n    /// Doc.\n    pub fn b(&self, n: u8) {}\n    \
                pub fn c(&self) {}\n}\nimpl<T> From<T> for X {\n    pub fn d(x: T) {}\n}\n#[doc(hidden)]\npub fn e(x: u8) {}\npub(crate) fn f(x: u8) {}\n";
    let found = items(text);
    let of = |i: &Item| (i.name.clone(), !i.example.is_empty(), i.needs_one);
    let expected = [("a", true, true), ("DStream::b", false, true), ("DStream::c", false, false), ("d", false, false)];
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), expected.map(|(n, e, m)| (n.to_owned(), e, m)));
}
