//! Both programs of `tweets`, compared byte for byte.

use crate::broker::{Broker, Value};
use crate::golden;
use crate::model::{Batch, Counts, Input, block, by_text, counts, last, ranked, shown};

const fn tweet(text: &'static str) -> Value {
    Some(text.as_bytes())
}

/// Equal counts, names of different lengths and scripts, and empty words. Also records that are not JSON, not UTF-8, not a tweet, or
/// have no value.
const PARTITIONS: &[&[Value]] = &[
    &[
        tweet(r#"{"id":1,"text":"to be or not to be","user":{"screen_name":"anna"}}"#),
        tweet("{\"id\":2,\"text\":\"na\u{ef}ve caf\u{e9} \u{2615}\",\"user\":{\"screen_name\":\"Zo\u{eb}\"}}"),
        tweet("this is not JSON"),
        tweet(r#"{"id":3,"text":"to  be ","user":{"screen_name":"rmoff"}}"#),
        None,
        tweet(r#"{"id":4,"text":"","user":{"screen_name":"bo"},"lang":"en"}"#),
        tweet(r#"{"id":5,"text":"to be","user":{"screen_name":"al"}}"#),
        tweet(r#"{"id":6,"text":"be","user":{"screen_name":"Zo\u00eb"}}"#),
    ],
    &[
        tweet(r#"{"text":"an id is not needed","user":{"screen_name":"anna"}}"#),
        tweet(r#"{"id":"7","text":"a number as text","user":{"screen_name":"anna"}}"#),
        tweet(
            "{\"id\":8,\"text\":\"\\\"quoted\\\"\\tand \\\\ slashed\",\"user\":{\"screen_name\":\"\u{65e5}\u{672c}\u{8a9e}\"}}",
        ),
        Some(b"{\"id\":9,\"text\":\"\xff\xfe\",\"user\":{\"screen_name\":\"anna\"}}"),
        tweet(r#"{"id":10,"text":"no user","user":{}}"#),
        tweet(r#"{"id":11,"text":"a b c d e f g h i j k","user":{"screen_name":"RMX"}}"#),
        tweet(r#"{"id":12,"text":"c b","user":{"screen_name":"cy"}}"#),
    ],
    &[
        tweet(r#"{"id":13,"text":"late","user":{"screen_name":"dee"}}"#),
        tweet(""),
        tweet(r#"{"id":14,"text":"late be","user":{"screen_name":"anna"}}"#),
    ],
];

/// The author and the text of a record.
fn read(record: &Value) -> Option<(String, String)> {
    let json: serde_json::Value = serde_json::from_slice((*record)?).ok()?;
    let id = &json["id"];
    let text = |json: &serde_json::Value| json.as_str().map(str::to_owned);
    Some((text(&json["user"]["screen_name"])?, text(&json["text"])?)).filter(|_| id.is_null() || id.is_u64())
}

fn each_batch(input: &Input) -> String {
    let mut page = String::new();
    for (time, records) in input.records() {
        let tweets: Vec<(String, String)> = records.iter().filter_map(read).collect();
        let authors = counts(tweets.iter().map(|(author, _)| author));
        let words = counts(tweets.iter().flat_map(|(_, text)| text.split(' ')));
        let rank = ranked(&authors);
        let five: Vec<(String, i64)> = rank.iter().take(5).cloned().collect();
        let busy = rank.iter().filter(|(a, n)| *n > 1 || a.starts_with("rm") || a.starts_with("RM")).cloned();
        page += &block(time, &[format!("Tweets in this batch: {}", tweets.len())], 10);
        page += &block(time, &by_text(&authors), 10);
        page += &block(time, &shown(rank.clone()), 10);
        page += &block(time, &shown(five), 10);
        page += &block(time, &shown(busy), 10);
        page += &block(time, &shown(ranked(&words)), 10);
    }
    page
}

fn windowed(input: &Input) -> String {
    let (mut page, mut authors, mut records_of) = (String::new(), Vec::<Counts>::new(), Vec::new());
    for (time, records) in input.records() {
        records_of.push(records.len());
        authors.push(counts(records.iter().filter_map(read).map(|(author, _)| author)));
        let mut rows = vec![format!("Tweets this batch: {}", records.len())];
        // There is no row before the first tweet, and always one after it.
        if records_of.iter().any(|n| *n > 0) {
            let total: usize = records_of.iter().rev().take(3).sum();
            rows.push(format!("Tweets total (One minute rolling count): {total}"));
        }
        page += &block(time, &rows, 10);
        for (when, counts) in [("this batch", last(1, &authors)), ("(One minute rolling)", last(3, &authors))] {
            let line = |(author, n)| format!("Author counts {when}:\tValue {author}\tCount {n}");
            page += &block(time, &ranked(&counts).into_iter().map(line).collect::<Vec<_>>(), 5);
        }
    }
    page
}

fn check(name: &str, args: &[&str], input: &Input, model: &str) {
    let broker = Broker::start();
    broker.topic("tweets-in", input.partitions);
    let plans = input.plans_of("tweets-in");
    let given = ["--brokers", &broker.address, "--topic", "tweets-in", "--plans", plans.path(), "--time-zone", "UTC"];
    let args: Vec<&str> = given.iter().chain(args).copied().collect();
    golden::check(name, model, |layout| layout.run("tweets", &args));
}

#[test]
fn each_batch_is_counted() {
    let input = Input {
        partitions: PARTITIONS,
        batches: &[
            Batch { time: "2017-01-11 17:08:00", ranges: Some(&[(0, 0, 6), (1, 0, 3)]) },
            Batch { time: "2017-01-11 17:09:00", ranges: Some(&[(0, 6, 6)]) },
            Batch { time: "2017-01-11 17:10:00", ranges: None },
            Batch { time: "2017-01-11 17:11:00", ranges: Some(&[(0, 6, 8), (1, 3, 7), (2, 0, 3)]) },
        ],
    };
    check("tweets_batch", &["--mode", "batch"], &input, &each_batch(&input));
}

/// The input of the windowed program.
pub fn windowed_input() -> Input {
    Input {
        partitions: PARTITIONS,
        batches: &[
            Batch { time: "2017-01-11 23:58:40", ranges: Some(&[]) },
            Batch { time: "2017-01-11 23:59:00", ranges: Some(&[(0, 0, 6), (1, 0, 3)]) },
            Batch { time: "2017-01-11 23:59:20", ranges: Some(&[(2, 0, 2), (1, 3, 7), (0, 6, 7)]) },
            Batch { time: "2017-01-11 23:59:40", ranges: Some(&[(0, 7, 7)]) },
            Batch { time: "2017-01-12 00:00:00", ranges: None },
            Batch { time: "2017-01-12 00:00:20", ranges: None },
            Batch { time: "2017-01-12 00:00:40", ranges: Some(&[(0, 7, 8), (2, 2, 3)]) },
        ],
    }
}

#[test]
fn e8_windows_fill_and_empty_without_input() {
    let input = windowed_input();
    check("tweets_windowed", &["--mode", "windowed", "--interval", "20s"], &input, &windowed(&input));
}
