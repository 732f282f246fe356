//! `mentions` and `reachability` to the byte.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::broker::{Broker, Value};
use crate::child::TempFile;
use crate::golden;
use crate::model::{Batch, Counts, Input, block, counts, ranked};

const fn tweet(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// Retweets and mentions, some twice; names that end at a sign, that are empty, that are the author's.
const PARTITIONS: &[&[Value]] = &[
    &[
        tweet(r#"{"text":"RT @bo: to be","user":{"screen_name":"anna"}}"#),
        tweet(r#"{"text":"@cy and @bo, hello","user":{"screen_name":"anna"}}"#),
        tweet("this is not JSON"),
        tweet(r#"{"text":"@ @anna me@home","user":{"screen_name":"anna"}}"#),
        tweet(r#"{"text":"@bo","user":{"screen_name":"cy"}}"#),
        None,
        tweet(r#"{"text":"RT @z_9: late","user":{"screen_name":"bo"}}"#),
    ],
    &[
        tweet("{\"text\":\"@Zo\u{eb} \u{2615}\",\"user\":{\"screen_name\":\"dee\"}}"),
        tweet(r#"{"text":"@dee","user":{"screen_name":"Zo\u00eb"}}"#),
        tweet(r#"{"text":"RT @anna: RT @bo: to be","user":{"screen_name":"dee"}}"#),
        tweet(r#"{"text":"@e @f @g @h","user":{"screen_name":"e"}}"#),
    ],
];

type Edges = BTreeSet<(String, String)>;

/// Who is mentioned by whom in a record.
fn edges(record: &Value) -> Vec<(String, String)> {
    let read = || serde_json::from_slice::<serde_json::Value>((*record)?).ok();
    let Some(json) = read() else { return Vec::new() };
    let (author, text) = (json["user"]["screen_name"].as_str().unwrap(), json["text"].as_str().unwrap());
    let mentioned = text.split(' ').filter(|word| word.starts_with('@'));
    let names = mentioned.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_'));
    names.filter(|name| !name.is_empty() && *name != author).map(|name| (author.to_owned(), name.to_owned())).collect()
}

/// The component of each node, by flooding from the least.
fn components(edges: &Edges) -> BTreeMap<String, String> {
    let nodes: BTreeSet<&String> = edges.iter().flat_map(|(a, b)| [a, b]).collect();
    let mut named = BTreeMap::new();
    for first in nodes {
        let mut open = vec![first];
        while let Some(node) = open.pop() {
            if !named.contains_key(node) {
                named.insert(node.clone(), first.clone());
                open.extend(edges.iter().filter(|(a, _)| a == node).map(|(_, b)| b));
                open.extend(edges.iter().filter(|(_, b)| b == node).map(|(a, _)| a));
            }
        }
    }
    named
}

fn ranks(edges: &Edges, rounds: usize) -> Counts {
    let nodes: BTreeSet<&String> = edges.iter().flat_map(|(a, b)| [a, b]).collect();
    let mut ranks: Counts = nodes.iter().map(|node| (node.to_string(), 1_000_000)).collect();
    let degree = |from| edges.iter().filter(|(a, _)| *a == from).count() as i64;
    for _ in 0..rounds {
        let mut next: Counts = nodes.iter().map(|node| (node.to_string(), 150_000)).collect();
        for (from, to) in edges {
            *next.get_mut(to).unwrap() += ranks[from] * 85 / (100 * degree(from.clone()));
        }
        ranks = next;
    }
    ranks
}

fn mentions(input: &Input) -> String {
    let (mut page, mut batches) = (String::new(), Vec::<Vec<(String, String)>>::new());
    for (time, records) in input.records() {
        batches.push(records.iter().flat_map(edges).collect());
        let edges: Edges = batches.iter().rev().take(3).flatten().cloned().collect();
        let sizes = ranked(&counts(components(&edges).into_values())).into_iter().take(5);
        page += &block(time, &sizes.map(|(name, n)| format!("Component of {name}: {n} accounts")).collect::<Vec<_>>(), 5);
        let highest = ranked(&ranks(&edges, 10)).into_iter().take(5);
        let line = |(name, rank)| format!("Rank of {name}: {:.3}", rank as f64 / 1e6);
        page += &block(time, &highest.map(line).collect::<Vec<_>>(), 5);
    }
    page
}

#[test]
fn mentions_of_the_last_minute() {
    let input = Input {
        partitions: PARTITIONS,
        batches: &[
            Batch { time: "2017-01-11 23:59:00", ranges: Some(&[(0, 0, 3), (1, 0, 1)]) },
            Batch { time: "2017-01-11 23:59:20", ranges: Some(&[(0, 3, 5), (1, 1, 2)]) },
            Batch { time: "2017-01-11 23:59:40", ranges: Some(&[(1, 2, 4)]) },
            Batch { time: "2017-01-12 00:00:00", ranges: None },
            Batch { time: "2017-01-12 00:00:20", ranges: Some(&[(0, 5, 7)]) },
        ],
    };
    let broker = Broker::start();
    broker.topic("tweets-in", input.partitions);
    let plans = input.plans_of("tweets-in");
    let args = ["--brokers", &broker.address, "--topic", "tweets-in", "--interval", "20s", "--plans", plans.path()];
    let args = [&args[..], &["--time-zone", "UTC"]].concat();
    golden::check("mentions", &mentions(&input), |layout| layout.run("mentions", &args));
}

/// Messages of twelve days among twenty people, a quiet day among them.
fn messages() -> Vec<(u32, u32, i64)> {
    let mut seed = 11u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % n) as u32
    };
    let day = |day: i64| 1_082_040_961 + day * 86_400;
    (0..12).filter(|d| *d != 5).flat_map(|d| (0..9).map(|_| (below(20), below(20), day(d))).collect::<Vec<_>>()).collect()
}

/// A step: its name, and its edges.
type Step = (String, Vec<(u32, u32)>);

fn days(messages: &[(u32, u32, i64)]) -> Vec<Step> {
    let day = |day: i64| {
        let edges = messages.iter().filter(|(_, _, at)| at / 86_400 == day).map(|(from, to, _)| (*from, *to));
        let date = jiff::Timestamp::from_second(day * 86_400).unwrap().strftime("%F").to_string();
        (date, edges.collect())
    };
    (messages[0].2 / 86_400..=messages.last().unwrap().2 / 86_400).map(day).collect()
}

fn reached(steps: &[Step], window: usize) -> String {
    let root = steps[0].1[0].0;
    let mut page = String::new();
    for (n, (name, _)) in steps.iter().enumerate() {
        let inside = &steps[(n + 1).saturating_sub(window)..=n];
        let edges: Vec<(u32, u32)> = inside.iter().flat_map(|(_, edges)| edges.clone()).collect();
        let (mut far, mut open) = (BTreeMap::from([(root, 0u64)]), VecDeque::from([root]));
        while let Some(node) = open.pop_front() {
            for (_, to) in edges.iter().filter(|(from, _)| *from == node) {
                if !far.contains_key(to) {
                    far.insert(*to, far[&node] + 1);
                    open.push_back(*to);
                }
            }
        }
        let mut by_distance = BTreeMap::<u64, u32>::new();
        far.into_values().for_each(|distance| *by_distance.entry(distance).or_default() += 1);
        let lines = by_distance.into_iter().map(|(distance, people)| format!("distance {distance}: {people}"));
        page += &[name.clone()].into_iter().chain(lines).collect::<Vec<_>>().join(", ");
        page.push('\n');
    }
    page
}

#[test]
fn people_reached_by_the_messages_of_a_week() {
    let messages = messages();
    let lines: String = messages.iter().map(|(from, to, at)| format!("{from} {to} {at}\n")).collect();
    let file = TempFile::new("messages", &format!("src dst time\n{lines}"));
    golden::check("reachability", &reached(&days(&messages), 7), |layout| layout.run("reachability", &[file.path()]));
}

#[test]
fn people_reached_by_the_last_edges() {
    let edges: Vec<(u32, u32)> = messages().iter().map(|(from, to, _)| (*from, *to)).collect();
    let lines: String = edges.iter().map(|(from, to)| format!("{from}\t{to}\n")).collect();
    let file = TempFile::new("edges", &format!("# a graph\n{lines}"));
    let step = |(n, edges): (usize, &[(u32, u32)])| (format!("{} edges", n * 20 + edges.len()), edges.to_vec());
    let steps: Vec<Step> = edges.chunks(20).enumerate().map(step).collect();
    let args = [file.path(), "--edges", "20", "--days", "2"];
    golden::check("reachability_edges", &reached(&steps, 2), |layout| layout.run("reachability", &args));
}

#[test]
fn a_line_that_is_no_edge_is_named() {
    let file = TempFile::new("messages", "src dst time\n1 2 3\n4 five 6\n");
    let end = crate::child::run("reachability", [file.path()]);
    assert_eq!(end.code, Some(1));
    assert!(end.err.contains("line 3 is not FROM TO SECONDS: 4 five 6"), "{}", end.err);
}
