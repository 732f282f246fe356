//! The output of `filtered_tweets`, and the topic of its matches.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::broker::{Broker, Value};
use crate::child::{TempFile, run};
use crate::golden;
use crate::model::{Batch, Counts, Input, block, counts, last, ranked};

const fn tweet(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// A tweet with a link.
macro_rules! linked {
    ($id:literal, $author:literal, $text:literal, $url:literal) => {
        tweet(concat!(
            "{\"id\":",
            $id,
            ",\"text\":\"",
            $text,
            "\",\"user\":{\"screen_name\":\"",
            $author,
            "\"},\"entities\":{\"urls\":[{\"expanded_url\":\"",
            $url,
            "\"}]}}"
        ))
    };
}

/// Terms in any case and script, links of many forms, and retweets of both kinds. Some records are no tweets.
const PARTITIONS: &[&[Value]] = &[
    &[
        linked!(1, "anna", "The TIDE comes in", "https://news.example/a?b=c"),
        linked!(2, "bo", "rain and tide", "http://user:pw@WWW.news.example:8080#top"),
        linked!(3, "cy", "RT @anna: The TIDE comes in", "https://news.example/a"),
        linked!(4, "dee", "no such word", "https://news.example/d"),
        linked!(5, "eve", "tide", "https://other.example/news.example"),
        linked!(6, "fin", "tide", "https://badnews.example/"),
        linked!(7, "gus", "rainy", "https://video.example"),
        linked!(8, "anna", "tide again", "https://news.example/b"),
        linked!(9, "anna", "tide once more", "https://news.example/c"),
    ],
    &[
        tweet("this is not JSON"),
        tweet(r#"{"id":21,"text":"tide without a link","user":{"screen_name":"ida"}}"#),
        tweet(
            r#"{"id":22,"text":"tide","user":{"screen_name":"jo"},"retweeted_status":{"id":1},"entities":{"urls":[{"expanded_url":"https://news.example"}]}}"#,
        ),
        tweet(
            r#"{"id":23,"text":"a tide of rain","user":{"screen_name":"kim"},"entities":{"urls":[{"expanded_url":"https://t.example"},{"expanded_url":null},{},{"expanded_url":"https://news.example/x"},{"expanded_url":"https://video.example/y"}]}}"#,
        ),
        None,
        tweet(
            "{\"id\":24,\"text\":\"\u{c9}T\u{c9} tide\",\"user\":{\"screen_name\":\"lou\"},\"entities\":{\"urls\":[{\"expanded_url\":\"https://a.b.video.example/\"}]}}",
        ),
        linked!(25, "mo", "tide", "news.example/without/a/scheme"),
    ],
];

const TERMS: [&str; 3] = ["tide", "rain", "\u{e9}t\u{e9}"];
const BEFORE: &str = "news.example\n";
const AFTER: &str = "Video.example\n\nnews.example\n";

/// The author and the matching tweet, if the record is one.
fn found(record: &Value, domains: &str) -> Option<(String, Json)> {
    let tweet: Json = serde_json::from_slice((*record)?).ok()?;
    let text = tweet["text"].as_str()?;
    if text.starts_with("RT @") || !tweet["retweeted_status"].is_null() {
        return None;
    }
    let terms: Vec<&str> = TERMS.into_iter().filter(|term| text.to_lowercase().contains(term)).collect();
    let host = |link: &Json| {
        let url = link["expanded_url"].as_str()?.to_lowercase();
        let (_, rest) = url.split_once("//")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = rest[..end].rsplit('@').next()?;
        Some(format!(".{}", host.split(':').next()?))
    };
    let hosts: Vec<String> = tweet["entities"]["urls"].as_array().into_iter().flatten().filter_map(host).collect();
    let known: Vec<String> = domains.to_lowercase().split_whitespace().map(|domain| format!(".{domain}")).collect();
    let domains = hosts.iter().filter_map(|host| known.iter().find(|domain| host.ends_with(domain.as_str())));
    let domains: Vec<&str> = domains.map(|domain| &domain[1..]).collect();
    let author = tweet["user"]["screen_name"].as_str()?;
    let row = json!({"id": tweet["id"], "author": author, "text": text, "terms": terms, "domains": domains});
    (!terms.is_empty() && !domains.is_empty()).then(|| (author.to_owned(), row))
}

/// The domains of each batch: the third one has the new version.
fn domains_of(batch: usize) -> &'static str {
    if batch < 2 { BEFORE } else { AFTER }
}

/// The printed page, and the sorted records of the topic.
fn model(input: &Input, panes: usize) -> (String, Vec<(String, String)>) {
    let (mut page, mut all, mut found_of, mut terms_of) = (String::new(), Vec::new(), Vec::new(), Vec::<Counts>::new());
    for (n, (time, records)) in input.records().enumerate() {
        let tweets = records.iter().filter(|r| r.is_some_and(|r| serde_json::from_slice::<Json>(r).is_ok())).count();
        let matches: Vec<(String, Json)> = records.iter().filter_map(|record| found(record, domains_of(n))).collect();
        let terms = matches.iter().flat_map(|(_, row)| row["terms"].as_array().unwrap()).map(|term| term.as_str().unwrap());
        terms_of.push(counts(terms));
        found_of.push(matches.len());
        let mut rows = vec![format!("Tweets this batch: {tweets}"), format!("Matches this batch: {}", matches.len())];
        if found_of.iter().any(|n| *n > 0) {
            let total: usize = found_of.iter().rev().take(panes).sum();
            rows.push(format!("Matches in the last 60s: {total}"));
        }
        page += &block(time, &rows, 10);
        for (when, counts) in [("this batch", last(1, &terms_of)), ("in the last 60s", last(panes, &terms_of))] {
            let line = |(term, n)| format!("Term counts {when}:\tValue {term}\tCount {n}");
            page += &block(time, &ranked(&counts).into_iter().map(line).collect::<Vec<_>>(), 10);
        }
        all.extend(matches.into_iter().map(|(author, row)| (author, row.to_string())));
    }
    all.sort();
    (page, all)
}

/// The batches as a file for `--plans`. The file of domains is the second source; its versions are in the first and the third batch.
fn plans(input: &Input, versions: [&TempFile; 2]) -> TempFile {
    let mut text = String::new();
    for (n, batch) in input.batches.iter().enumerate() {
        let topic = |(partition, from, until): &(i32, i64, i64)| json!({"topic": "tweets-in", "partition": partition, "from": from, "until": until});
        let mut ranges: Vec<Json> = batch.ranges.unwrap_or_default().iter().map(topic).collect();
        let version = [Some((versions[0], BEFORE)), None, Some((versions[1], AFTER))].get(n).copied().flatten();
        ranges.extend(version.map(|(file, text)| json!({"source": 1, "path": file.path(), "from": 0, "until": text.len()})));
        let time: jiff::Timestamp = format!("{}Z", batch.time).parse().unwrap();
        writeln!(text, "{}", json!({"time": time.as_millisecond(), "ranges": ranges})).unwrap();
    }
    TempFile::new("plans", &text)
}

#[test]
fn tweets_about_terms_with_links_to_known_domains_go_to_a_topic_and_are_counted() {
    let input = Input {
        partitions: PARTITIONS,
        batches: &[
            Batch { time: "2017-01-11 17:08:20", ranges: Some(&[(0, 0, 6), (1, 0, 3)]) },
            Batch { time: "2017-01-11 17:08:40", ranges: Some(&[(0, 6, 7), (1, 3, 5)]) },
            Batch { time: "2017-01-11 17:09:00", ranges: Some(&[(1, 5, 7), (0, 7, 8)]) },
            Batch { time: "2017-01-11 17:09:20", ranges: Some(&[]) },
            Batch { time: "2017-01-11 17:09:40", ranges: Some(&[(0, 8, 9)]) },
        ],
    };
    let (expected, rows) = model(&input, 3);
    for row in ["Matches this batch: 2", "Matches in the last 60s: 5", "Value \u{e9}t\u{e9}\tCount 1", "Tweets this batch: 8"] {
        assert!(expected.contains(row), "{row} is not in {expected}");
    }
    let ids: BTreeSet<u64> =
        rows.iter().map(|(_, row)| serde_json::from_str::<Json>(row).unwrap()["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 8, 9, 23, 24].into());

    let broker = Broker::start();
    broker.topic("tweets-in", input.partitions);
    let versions = [TempFile::new("domains", BEFORE), TempFile::new("domains", AFTER)];
    let (plans, mut number) = (plans(&input, [&versions[0], &versions[1]]), 0);
    let terms: Vec<String> = TERMS.iter().flat_map(|term| ["--term".to_owned(), term.to_uppercase()]).collect();
    golden::check("filtered_tweets", &expected, |layout| {
        number += 1;
        let to = format!("matches-{number}");
        broker.topic(&to, &[&[], &[]]);
        let mut args = vec!["--brokers", &broker.address, "--topic", "tweets-in", "--to", &to, "--domains", versions[0].path()];
        args.extend(["--interval", "20s", "--window", "60s", "--plans", plans.path(), "--time-zone", "UTC"]);
        args.extend(terms.iter().map(String::as_str));
        let out = layout.run("filtered_tweets", &args);
        let record = |(author, row): (String, String)| (author, serde_json::from_str::<Json>(&row).unwrap().to_string());
        let mut written: Vec<(String, String)> = broker.read(&to, 2).into_iter().flatten().map(record).collect();
        written.sort();
        assert_eq!(written, rows, "{layout:?}");
        out
    });
}

#[test]
fn a_term_and_a_file_of_domains_are_needed() {
    let broker = Broker::start();
    ["twitter", "matches"].into_iter().for_each(|topic| broker.topic(topic, &[&[]]));
    let file = TempFile::new("domains", "https://news.example/\n");
    let given = ["--brokers", &broker.address, "--to", "matches", "--domains", file.path()];
    let ended = run("filtered_tweets", given);
    assert!(ended.code == Some(2) && ended.err.contains("--term"), "{}", ended.err);
    let ended = run("filtered_tweets", given.into_iter().chain(["--term", " "]));
    assert!(ended.code == Some(2) && ended.err.contains("write a word"), "{}", ended.err);
    let ended = run("filtered_tweets", given.into_iter().chain(["--term", "tide"]));
    let expected = "\"https://news.example/\" is not a domain name; write one a line, such as example.com";
    assert!(ended.code == Some(1) && ended.err.contains(expected), "{}", ended.err);
}
