//! Tweets as JSON, as the tutorial read them from Twitter: few authors write most of them. Some repeat a tweet, and some have a link.

use serde::Serialize;

use super::{Generate, Random, Zipf, date, spoil_json};

const AUTHORS: usize = 20_000;
/// The first author writes 1.3 % of all tweets, as the tutorial's did.
const TAIL: f64 = 0.7;

const STARTS: &[&str] =
    &["An", "Ka", "Lee", "Mo", "Sa", "Tor", "Vi", "Jo", "Ben", "Cla", "Dee", "Fin", "Gus", "Ida", "Kim", "Ros"];
const MIDDLES: &[&str] = &["na", "li", "ra", "to", "mi", "bel", "son", "der", "ka", "vin", "ley", "sha", "nor", "wen"];
const ENDS: &[&str] = &["", "Bravo", "_", "press", "Tide", "XO", "dotcom", "Mill", "Real", "World", "Sab", "tweets"];
const WORDS: &[&str] = &[
    "the",
    "a",
    "to",
    "is",
    "of",
    "and",
    "it",
    "in",
    "tide",
    "mill",
    "water",
    "harbour",
    "coffee",
    "today",
    "again",
    "nobody",
    "streaming",
    "window",
    "batch",
    "count",
    "late",
    "train",
    "rain",
    "lovely",
    "really",
    "never",
    "always",
    "good",
    "new",
    "morning",
    "tonight",
    "love",
    "this",
    "that",
    "what",
    "who",
    "one",
    "more",
    "time",
    "watch",
    "river",
    "moon",
    "spring",
    "wheel",
    "pond",
    "turns",
    "rises",
    "falls",
    "waits",
    "before",
    "after",
];
const TAGS: &[&str] = &["#tide", "#monday", "#nowplaying", "#rust", "#timely", "#news", "#football", "#weather"];
/// Texts that JSON must escape, and characters of more than one byte.
const ODDITIES: &[&str] =
    &["caf\u{e9}", "\"quoted\"", "\u{1f30a}", "back\\slash", "two\nlines", "\u{65e5}\u{672c}", "na\u{ef}ve"];
const SOURCES: &[&str] = &["Twitter for iPhone", "Twitter for Android", "Twitter Web Client", "TweetDeck"];
const LANGUAGES: &[&str] = &["en", "en", "en", "es", "fr", "ja", "pt"];

/// Where links lead.
const SITES: &[&str] = &["news.example", "www.news.example", "blog.example", "video.example", "shop.example"];
/// One tweet in so many has a link, and one in so many repeats another one.
const LINK: usize = 5;
const RETWEET: usize = 8;

/// Makes tweets.
pub struct Tweets {
    random: Random,
    rank: Zipf,
    authors: Vec<Author>,
    next: u64,
    text: String,
}

struct Author {
    id: u64,
    name: String,
    followers: u64,
}

#[derive(Serialize)]
struct Tweet<'a> {
    created_at: &'a str,
    id: u64,
    text: &'a str,
    source: &'a str,
    lang: &'a str,
    user: User<'a>,
    entities: Entities<'a>,
}

/// The links of a tweet. Its text has the short form.
#[derive(Serialize)]
struct Entities<'a> {
    urls: &'a [Link],
}

#[derive(Serialize)]
struct Link {
    url: String,
    expanded_url: String,
}

#[derive(Serialize)]
struct User<'a> {
    id: u64,
    screen_name: &'a str,
    followers_count: u64,
}

impl Tweets {
    /// The tweets of this seed. Their ids count from 0.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let author = |n| Author { id: 10_000 + n, name: name(&mut random), followers: 1 << random.below(20) };
        let authors = (0..AUTHORS as u64).map(author).collect();
        Tweets { random, rank: Zipf::new(AUTHORS, TAIL), authors, next: 0, text: String::new() }
    }

    /// Appends a tweet by this author, as in a burst.
    pub fn write_by(&mut self, author: &str, at_ms: u64, out: &mut Vec<u8>) {
        self.tweet(Some(author), at_ms, out);
    }

    fn tweet(&mut self, by: Option<&str>, at_ms: u64, out: &mut Vec<u8>) {
        self.compose();
        let link = (self.random.below(LINK) == 0).then(|| self.link());
        let author = &self.authors[self.rank.next(&mut self.random)];
        let user = match by {
            Some(name) => User { id: 1, screen_name: name, followers_count: 1 << 20 },
            None => User { id: author.id, screen_name: &author.name, followers_count: author.followers },
        };
        let tweet = Tweet {
            created_at: &date(at_ms, "%a %b %d %H:%M:%S +0000 %Y"),
            id: self.next,
            text: &self.text,
            source: self.random.one_of(SOURCES),
            lang: self.random.one_of(LANGUAGES),
            user,
            entities: Entities { urls: link.as_slice() },
        };
        self.next += 1;
        // Writing to memory cannot fail, and everything in it is a string or a number.
        let _ = serde_json::to_writer(out, &tweet);
    }

    fn compose(&mut self) {
        self.text.clear();
        if self.random.below(RETWEET) == 0 {
            let author = self.rank.next(&mut self.random);
            self.text.push_str("RT @");
            self.text.push_str(&self.authors[author].name);
            self.text.push_str(": ");
        }
        let words = 4 + self.random.below(12);
        for n in 0..words {
            if n > 0 {
                self.text.push(' ');
            }
            let word = match self.random.below(40) {
                0 => self.random.one_of(ODDITIES),
                1..=3 => self.random.one_of(TAGS),
                4 => {
                    self.text.push('@');
                    let author = self.rank.next(&mut self.random);
                    &self.authors[author].name
                }
                _ => self.random.one_of(WORDS),
            };
            self.text.push_str(word);
        }
    }

    /// Adds a link to the text.
    fn link(&mut self) -> Link {
        let url = format!("https://t.co/{:x}", self.next);
        self.text.push(' ');
        self.text.push_str(&url);
        Link { url, expanded_url: format!("https://{}/{}", self.random.one_of(SITES), self.next) }
    }
}

impl Generate for Tweets {
    fn write(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        self.tweet(None, at_ms, out);
    }

    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        self.tweet(None, at_ms, out);
        spoil_json(&mut self.random, out, begin);
    }
}

fn name(random: &mut Random) -> String {
    let mut name = String::from(random.one_of(STARTS));
    (0..1 + random.below(2)).for_each(|_| name.push_str(random.one_of(MIDDLES)));
    name.push_str(random.one_of(ENDS));
    match random.below(6) {
        0 => name = name.to_uppercase(),
        1 => name.push_str(&random.below(100).to_string()),
        2 => name = name.to_lowercase(),
        _ => {}
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::{BEGIN_MS, Spoiled};
    use super::*;

    fn made(seed: u64, share: f64, n: usize) -> Vec<Vec<u8>> {
        let mut tweets = Spoiled::new(Tweets::new(seed), share, seed);
        (0..n)
            .map(|i| {
                let mut out = Vec::new();
                tweets.write(BEGIN_MS + i as u64, &mut out);
                out
            })
            .collect()
    }

    #[test]
    fn the_same_seed_is_the_same_bytes() {
        assert_eq!(made(7, 0.1, 500), made(7, 0.1, 500));
        assert_ne!(made(7, 0.0, 1), made(8, 0.0, 1));
    }

    #[test]
    fn a_tweet_has_the_tutorials_fields() {
        let first: serde_json::Value = serde_json::from_slice(&made(7, 0.0, 1)[0]).unwrap();
        assert_eq!(first["created_at"], "Wed Jan 11 17:08:55 +0000 2017");
        assert_eq!(first["id"], 0);
        assert!(first["user"]["screen_name"].as_str().is_some_and(|s| s.len() > 2));
        assert!(first["text"].as_str().is_some_and(|s| s.split(' ').count() >= 4));
    }

    #[test]
    fn some_tweets_repeat_another_one_and_some_have_a_link() {
        let tweets = made(7, 0.0, 2_000);
        let tweets: Vec<serde_json::Value> =
            tweets.iter().map(|t| serde_json::from_slice(t).expect("every tweet is JSON")).collect();
        fn text(t: &serde_json::Value) -> &str {
            t["text"].as_str().unwrap()
        }
        let repeats = tweets.iter().filter(|t| text(t).starts_with("RT @")).count();
        let links: Vec<_> = tweets.iter().filter(|t| t["entities"]["urls"][0].is_object()).collect();
        assert!((150..350).contains(&repeats) && (300..500).contains(&links.len()), "{repeats} and {}", links.len());
        for tweet in links {
            let link = &tweet["entities"]["urls"][0];
            assert!(text(tweet).ends_with(link["url"].as_str().unwrap()), "{tweet}");
            assert!(link["expanded_url"].as_str().unwrap().contains(".example/"), "{tweet}");
        }
    }

    #[test]
    fn few_authors_write_most() {
        let mut by = std::collections::BTreeMap::<String, u32>::new();
        for t in made(7, 0.0, 20_000) {
            let t: serde_json::Value = serde_json::from_slice(&t).expect("every tweet is JSON");
            *by.entry(t["user"]["screen_name"].as_str().unwrap().into()).or_default() += 1;
        }
        let most = by.values().max().copied().unwrap_or_default();
        assert!((160..600).contains(&most), "the first of {} wrote {most} of 20,000", by.len());
        assert!(by.len() > 2_000, "{}", by.len());
    }

    #[test]
    fn the_share_of_bad_tweets_is_kept_and_none_of_them_can_be_read() {
        let bad = made(7, 0.1, 10_000).iter().filter(|t| serde_json::from_slice::<serde_json::Value>(t).is_err()).count();
        assert!((900..1_100).contains(&bad), "{bad}");
        let (mut tweets, mut out) = (Tweets::new(3), Vec::new());
        for _ in 0..1_000 {
            out.clear();
            tweets.write_spoiled(BEGIN_MS, &mut out);
            assert!(serde_json::from_slice::<serde_json::Value>(&out).is_err(), "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn a_burst_is_by_one_author() {
        let (mut tweets, mut out) = (Tweets::new(3), Vec::new());
        tweets.write_by("tide_pool", BEGIN_MS, &mut out);
        let t: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(t["user"]["screen_name"], "tide_pool");
    }
}
