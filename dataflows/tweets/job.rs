//! The tutorial's windowed program, without its `main`: `tidemill demo` runs this code, too.

use std::time::Duration;

use tidemill::prelude::*;

/// The fields of a tweet that the program reads.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Tweet {
    #[serde(default)]
    pub id: u64,
    pub text: String,
    pub user: User,
}

/// The author of a tweet.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct User {
    pub screen_name: String,
}

/// The streams that the program makes. The demo reads them too.
pub struct Windowed<'s> {
    pub tweets: Decoded<'s, Tweet>,
    pub total: DStream<'s, i64>,
    pub by_author: View<'s, (String, i64)>,
}

/// Counts tweets and authors in each batch, and over the last `length` every `slide`.
pub fn windowed<'s>(raw: &DStream<'s, Message>, length: Duration, slide: Duration) -> Windowed<'s> {
    let name = if length == mins(1) { "One minute".into() } else { format!("{} s", length.as_secs_f64()) };
    let tweets = raw.decode(Json::<Tweet>::new());
    let authors = tweets.oks().map(|t| t.user.screen_name);

    let total = raw.count_by_window(length, slide).complete();
    let rolling = name.clone();
    raw.count()
        .map(|n| format!("Tweets this batch: {n}"))
        .union(&total.map(move |n| format!("Tweets total ({rolling} rolling count): {n}")))
        .print(10);

    let this_batch = authors.count_by_value().sort_by(|(_, n)| -n);
    this_batch.map(|(a, n)| format!("Author counts this batch:\tValue {a}\tCount {n}")).print(5);

    let by_author = authors.count_by_value_and_window(length, slide);
    by_author
        .sort_by(|(_, n)| -n)
        .complete()
        .map(move |(a, n)| format!("Author counts ({name} rolling):\tValue {a}\tCount {n}"))
        .print(5);
    Windowed { tweets, total, by_author }
}
