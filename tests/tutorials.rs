//! The programs of the five tutorials, written with tidemill. Here they must compile, and their graphs must build. Other tests
//! check their results.

use regex::Regex;
use serde::{Deserialize, Serialize};
use tidemill::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    screen_name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tweet {
    text: String,
    user: User,
}

fn kafka() -> KafkaSource {
    KafkaSource::params([("metadata.broker.list", "127.0.0.1:9092"), ("auto.offset.reset", "smallest")]).topic("twitter")
}

type Built = Result<(), BoxError>;
type Program = fn(&StreamingContext<'_>) -> Built;

/// S0: tweets, batch by batch.
fn batch_tweets(ssc: &StreamingContext<'_>) -> Built {
    let raw = ssc.kafka_direct_stream(kafka());
    let (tweets, _bad) = raw.decode(Json::<Tweet>::new()).split();
    tweets.count().map(|n| format!("Tweets in this batch: {n}")).print(10);
    let counts = tweets.map(|t| t.user.screen_name).count_by_value();
    counts.print(10);
    let sorted = counts.sort_by(|(_, n)| -n);
    sorted.print(10);
    sorted.take(5).print(10);
    counts.filter(|(a, n)| *n > 1 || a.to_lowercase().starts_with("rm")).sort_by(|(_, n)| -n).print(10);
    tweets.count_by::<str>(|t, out| t.text.split(' ').for_each(|w| out.push(w))).sort_by(|(_, n)| -n).print(10);
    Ok(())
}

/// S0: tweets, over windows.
fn windowed_tweets(ssc: &StreamingContext<'_>) -> Built {
    let raw = ssc.kafka_direct_stream(kafka());
    let authors = raw.decode(Json::<Tweet>::new()).oks().map(|t| t.user.screen_name);
    let total = raw.count_by_window(secs(60), secs(5)).complete();
    raw.count()
        .map(|n| format!("Tweets this batch: {n}"))
        .union(&total.map(|n| format!("Tweets total (One minute rolling count): {n}")))
        .print(10);
    authors
        .count_by_value()
        .sort_by(|(_, n)| -n)
        .map(|(a, n)| format!("Author counts this batch:\tValue {a}\tCount {n}"))
        .print(5);
    authors
        .count_by_value_and_window(secs(60), secs(5))
        .sort_by(|(_, n)| -n)
        .complete()
        .map(|(a, n)| format!("Author counts (One minute rolling):\tValue {a}\tCount {n}"))
        .print(5);
    Ok(())
}

/// S1, S3: word counts, with a helper of the program.
fn word_counts(ssc: &StreamingContext<'_>) -> Built {
    fn words<'s>(lines: &DStream<'s, String>) -> DStream<'s, String> {
        lines.flat_map_into(|l, out| out.extend(l.split(' ').map(str::to_owned)))
    }
    let lines = ssc.kafka_direct_stream(kafka()).values();
    lines.oks().print(10);
    let pairs = words(&lines.oks()).map(|w| (w, 1i64));
    pairs.reduce_by_key(|a, b| a + b).print(10);
    lines.oks().count_by::<str>(|l, out| l.split(' ').for_each(|w| out.push(w))).foreach_batch(|b| {
        println!("========= {} =========\n{}", b.time(), b.iter().map(|(_, n)| n).sum::<i64>());
        Ok(())
    });
    Ok(())
}

/// S2: sockets, state, windows, trips.
fn chapter_seven(ssc: &StreamingContext<'_>) -> Built {
    let lines = ssc.socket_text_stream("localhost", 9999);
    let re = Regex::new(r"\W+")?;
    let words = lines.oks().count_by::<str>(move |l, out| re.split(&l.to_lowercase()).for_each(|w| out.push(w)));
    words.print(10);
    lines.oks().foreach_batch(|b| {
        b.iter().for_each(|y| println!("received : {y}"));
        Ok(())
    });
    words.update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0))).print(10);
    lines.oks().window(secs(10), secs(10)).print(10);
    words.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, secs(60), secs(10)).print(10);
    lines.oks().map(|l| (l.len() as u64, l)).accumulate().count_by_value().complete().print(10);
    Ok(())
}

/// S3: offsets.
fn offsets(ssc: &StreamingContext<'_>) -> Built {
    ssc.kafka_direct_stream(kafka()).foreach_batch(|b| {
        for r in b.offset_ranges() {
            println!("{} {} {} {}", r.topic, r.partition, r.from, r.until);
        }
        Ok(())
    });
    Ok(())
}

#[derive(Clone, Debug, PartialEq)]
struct LogLine {
    method: String,
    endpoint: String,
}

impl LogLine {
    fn method(&self) -> &str {
        &self.method
    }
    fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl std::str::FromStr for LogLine {
    type Err = BoxError;
    fn from_str(line: &str) -> Result<Self, BoxError> {
        let mut words = line.split('"').nth(1).ok_or("no request")?.split(' ').map(str::to_owned);
        Ok(LogLine { method: words.next().ok_or("no method")?, endpoint: words.next().ok_or("no endpoint")? })
    }
}

/// S4: saving, and the web log.
fn weblog(ssc: &StreamingContext<'_>) -> Built {
    ssc.kafka_direct_stream(kafka()).pairs().oks().save_as_text_files("out/msg", "log");
    let hits = ssc.text_file_stream(std::env::temp_dir()).oks().try_map(|l| l.parse::<LogLine>()).oks();
    for (name, by) in [("method", LogLine::method as fn(&LogLine) -> &str), ("endpoint", LogLine::endpoint)] {
        hits.count_by::<str>(move |h, o| o.push(by(h))).map(move |r| (name, r)).print(10);
    }
    Ok(())
}

#[test]
fn every_tutorials_graph_builds() {
    let programs: [(&str, Program); 6] = [
        ("batch tweets", batch_tweets),
        ("windowed tweets", windowed_tweets),
        ("word counts", word_counts),
        ("chapter seven", chapter_seven),
        ("offsets", offsets),
        ("weblog", weblog),
    ];
    for (name, program) in programs {
        let graph = tidemill::testing::graph(secs(5), program).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(graph.len() > 1, "{name}: {graph:?}");
    }
}
