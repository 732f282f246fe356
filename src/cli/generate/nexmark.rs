//! An auction house, as the benchmark NEXMark has it: people, the auctions that they open, and their bids.
//!
//! The shares and skews are those of the public description: of 50 events one is a person, three are auctions and 46 are bids. Half of
//! the bids are for a hot auction, and three quarters are by a hot bidder; three quarters of the auctions are of a hot seller. No event
//! is older than the one before.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::{Generate, Random, date, spoil_json};

/// Of this many events, the first is a person, the next `AUCTIONS` are auctions, and the others are bids.
const EPOCH: u64 = 50;
const AUCTIONS: u64 = 3;
const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: usize = 5;
/// How many of the last people open auctions and bid.
const ACTIVE_PEOPLE: u64 = 1_000;
/// How many of the last auctions get bids.
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// One id in this many is a hot one.
const HOT_EVERY: u64 = 100;
const CHANNELS: usize = 10_000;
const HOT_CHANNELS: &[&str] = &["Google", "Facebook", "Baidu", "Apple"];
/// The mean size of an event in bytes, as a row of the benchmark.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

const FIRST_NAMES: &[&str] = &["Ada", "Ben", "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo", "Iris", "Jonas", "Kaya"];
const LAST_NAMES: &[&str] = &["Abel", "Brandt", "Castro", "Duarte", "Ekberg", "Ferrer", "Grant", "Holm", "Ito"];
const STATES: &[&str] = &["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: &[&str] =
    &["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const ITEMS: &[&str] = &["lamp", "clock", "chair", "atlas", "violin", "camera", "kettle", "compass", "globe", "radio"];

/// Somebody who opens auctions and bids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the benchmark")]
pub struct Person {
    pub id: i64,
    pub name: String,
    pub email_address: String,
    pub credit_card: String,
    pub city: String,
    pub state: String,
    /// Microseconds since 1970.
    pub date_time: i64,
    pub extra: String,
}

/// An item that is for sale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the benchmark")]
pub struct Auction {
    pub id: i64,
    pub item_name: String,
    pub description: String,
    pub initial_bid: i64,
    pub reserve: i64,
    /// Microseconds since 1970.
    pub date_time: i64,
    /// When the auction ends, in microseconds since 1970.
    pub expires: i64,
    /// The id of a person.
    pub seller: i64,
    pub category: i64,
    pub extra: String,
}

/// An offer for an item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the benchmark")]
pub struct Bid {
    /// The id of an auction.
    pub auction: i64,
    /// The id of a person.
    pub bidder: i64,
    pub price: i64,
    pub channel: String,
    pub url: String,
    /// Microseconds since 1970.
    pub date_time: i64,
    pub extra: String,
}

/// What happens in the auction house.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the benchmark")]
pub enum Event {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

/// An event that its generator has.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the benchmark")]
pub enum EventRef<'a> {
    Person(&'a Person),
    Auction(&'a Auction),
    Bid(&'a Bid),
}

impl EventRef<'_> {
    /// The event, to keep.
    pub fn to_owned(self) -> Event {
        match self {
            EventRef::Person(person) => Event::Person(person.clone()),
            EventRef::Auction(auction) => Event::Auction(auction.clone()),
            EventRef::Bid(bid) => Event::Bid(bid.clone()),
        }
    }
}

/// Letters that texts of no meaning are cut from.
const LETTERS: usize = 1 << 14;

/// Makes the events of an auction house.
pub struct Nexmark {
    seed: u64,
    random: Random,
    letters: String,
    /// The number of the next event.
    next: u64,
    /// When the first event was.
    began: Option<u64>,
    /// The last event of each kind: their memory is used again.
    person: Person,
    auction: Auction,
    bid: Bid,
}

impl Nexmark {
    /// The events of this seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let letters = (0..LETTERS).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
        let (person, auction, bid) = Default::default();
        Nexmark { seed, random, letters, next: 0, began: None, person, auction, bid }
    }

    /// Goes to the event of this number, so that several generators can make the events of one house. The first event was at `began_ms`.
    pub fn seek(&mut self, number: u64, began_ms: u64) {
        self.random = Random::new(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (self.next, self.began) = (number, Some(began_ms));
    }

    /// The next event. `at_ms` is when it happens: milliseconds since the epoch, not less than those of the event before.
    pub fn event(&mut self, at_ms: u64) -> Event {
        self.next_event(at_ms).to_owned()
    }

    /// The same, which is there until the event after it. It needs no memory of its own.
    pub fn next_event(&mut self, at_ms: u64) -> EventRef<'_> {
        let number = self.next;
        self.next += 1;
        let began = *self.began.get_or_insert(at_ms);
        let time = at_ms as i64 * 1_000;
        match number % EPOCH {
            0 => {
                let mut person = std::mem::take(&mut self.person);
                self.fill_person(number / EPOCH, time, &mut person);
                self.person = person;
                EventRef::Person(&self.person)
            }
            place if place <= AUCTIONS => {
                // An auction ends after about as long as the auctions in flight take to come.
                let events = AUCTIONS_IN_FLIGHT * EPOCH / AUCTIONS;
                let horizon = ((at_ms - began) as f64 / number as f64 * events as f64) as u64;
                let length = 1 + self.below(2 * horizon.max(1));
                let mut auction = std::mem::take(&mut self.auction);
                self.fill_auction(number, time, length as i64 * 1_000, &mut auction);
                self.auction = auction;
                EventRef::Auction(&self.auction)
            }
            _ => {
                let mut bid = std::mem::take(&mut self.bid);
                self.fill_bid(number, time, &mut bid);
                self.bid = bid;
                EventRef::Bid(&self.bid)
            }
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.below(n as usize) as u64
    }

    /// Whether the one case in `n` happens.
    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    /// A number from 100 to 100,000,000, of which small ones are as likely as large ones.
    fn price(&mut self) -> i64 {
        (10f64.powf(self.random.unit() * 6.0) * 100.0).round() as i64
    }

    /// One of the last people.
    fn active(&mut self, number: u64) -> u64 {
        let people = number / EPOCH + 1;
        people - 1 - self.below(people.min(ACTIVE_PEOPLE))
    }

    /// Letters that make a row of `bytes` on average. It has `used` bytes already.
    fn extra(&mut self, bytes: usize, used: usize, extra: &mut String) {
        let mean = bytes.saturating_sub(used);
        let length = mean - mean / 5 + self.random.below(2 * (mean / 5) + 1);
        let begin = self.random.below(LETTERS - length);
        replace(extra, &[&self.letters[begin..begin + length]]);
    }

    fn fill_person(&mut self, id: u64, date_time: i64, person: &mut Person) {
        let (first, last) = (self.random.one_of(FIRST_NAMES), self.random.one_of(LAST_NAMES));
        let card: Vec<String> = (0..4).map(|_| format!("{:04}", self.random.below(10_000))).collect();
        person.id = (FIRST_ID + id) as i64;
        replace(&mut person.name, &[first, " ", last]);
        replace(&mut person.email_address, &[&first.to_lowercase(), ".", &last.to_lowercase(), "@mail.example"]);
        person.credit_card = card.join(" ");
        replace(&mut person.city, &[self.random.one_of(CITIES)]);
        replace(&mut person.state, &[self.random.one_of(STATES)]);
        person.date_time = date_time;
        let used = 16 + person.name.len() + person.email_address.len() + person.credit_card.len() + person.city.len();
        self.extra(PERSON_BYTES, used + person.state.len(), &mut person.extra);
    }

    fn fill_auction(&mut self, number: u64, date_time: i64, length: i64, auction: &mut Auction) {
        let (epoch, place) = (number / EPOCH, number % EPOCH);
        let hot = epoch / HOT_EVERY * HOT_EVERY;
        let seller = if self.one_in(4) { self.active(number) } else { hot };
        let (initial, item) = (self.price(), self.random.one_of(ITEMS));
        auction.id = (FIRST_ID + epoch * AUCTIONS + place - 1) as i64;
        replace(&mut auction.item_name, &[item]);
        auction.description = format!("{item} of {} years", self.random.below(100));
        auction.initial_bid = initial;
        auction.reserve = initial + self.price();
        auction.date_time = date_time;
        auction.expires = date_time + length;
        auction.seller = (FIRST_ID + seller) as i64;
        auction.category = FIRST_CATEGORY + self.random.below(CATEGORIES) as i64;
        self.extra(AUCTION_BYTES, 56 + auction.item_name.len() + auction.description.len(), &mut auction.extra);
    }

    fn fill_bid(&mut self, number: u64, date_time: i64, bid: &mut Bid) {
        let epoch = number / EPOCH;
        let auctions = (epoch + 1) * AUCTIONS;
        let auction = match self.one_in(2) {
            true => (auctions - 1) / HOT_EVERY * HOT_EVERY,
            false => auctions - 1 - self.below(auctions.min(AUCTIONS_IN_FLIGHT)),
        };
        // The hot bidder is not the hot seller, who is the person before.
        let bidder = if self.one_in(4) { self.active(number) } else { (epoch / HOT_EVERY * HOT_EVERY + 1).min(epoch) };
        let mut path = *b"/___/___/___";
        for letter in path.iter_mut().filter(|letter| **letter == b'_') {
            *letter = b'a' + self.random.below(26) as u8;
        }
        let path = str::from_utf8(&path).unwrap_or_default();
        replace(&mut bid.url, &["https://www.nexmark.example", path, "/item.htm?query=1"]);
        match self.one_in(2) {
            true => replace(&mut bid.channel, &[self.random.one_of(HOT_CHANNELS)]),
            false => {
                let channel = self.random.below(CHANNELS);
                replace(&mut bid.channel, &["channel-"]);
                push_number(&mut bid.channel, channel);
                // A tenth of the links does not say it.
                if !self.one_in(10) {
                    bid.url.push_str("&channel_id=");
                    push_number(&mut bid.url, channel);
                }
            }
        }
        bid.auction = (FIRST_ID + auction) as i64;
        bid.bidder = (FIRST_ID + bidder) as i64;
        bid.price = self.price();
        bid.date_time = date_time;
        self.extra(BID_BYTES, 32 + bid.channel.len(), &mut bid.extra);
    }
}

/// Makes a text of these parts, in the memory that it has.
fn replace(text: &mut String, parts: &[&str]) {
    text.clear();
    parts.iter().for_each(|part| text.push_str(part));
}

/// Appends a number. Formatting would take most of the time of an event.
fn push_number(text: &mut String, mut number: usize) {
    let (mut digits, mut begin) = ([0; 20], 20);
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(str::from_utf8(&digits[begin..]).unwrap_or_default());
}

/// Appends an event as the JSON that programs of the benchmark read. No text of an event needs an escape.
fn write_json(event: EventRef<'_>, out: &mut Vec<u8>) {
    let time = |micros: &i64| date((*micros / 1_000) as u64, "%Y-%m-%dT%H:%M:%S%.3fZ");
    let written = match event {
        EventRef::Person(Person { id, name, email_address, credit_card, city, state, date_time, extra }) => write!(
            out,
            r#"{{"event_type":0,"person":{{"id":{id},"name":"{name}","emailAddress":"{email_address}","creditCard":"{credit_card}","city":"{city}","state":"{state}","dateTime":"{}","extra":"{extra}"}}}}"#,
            time(date_time)
        ),
        EventRef::Auction(Auction {
            id,
            item_name,
            description,
            initial_bid,
            reserve,
            date_time,
            expires,
            seller,
            category,
            extra,
        }) => write!(
            out,
            r#"{{"event_type":1,"auction":{{"id":{id},"itemName":"{item_name}","description":"{description}","initialBid":{initial_bid},"reserve":{reserve},"dateTime":"{}","expires":"{}","seller":{seller},"category":{category},"extra":"{extra}"}}}}"#,
            time(date_time),
            time(expires)
        ),
        EventRef::Bid(Bid { auction, bidder, price, channel, url, date_time, extra }) => write!(
            out,
            r#"{{"event_type":2,"bid":{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"{url}","dateTime":"{}","extra":"{extra}"}}}}"#,
            time(date_time)
        ),
    };
    // Writing to memory cannot fail.
    let _ = written;
}

impl Generate for Nexmark {
    fn write(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        write_json(self.next_event(at_ms), out);
    }

    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write(at_ms, out);
        spoil_json(&mut self.random, out, begin);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn events(n: u64) -> Vec<Event> {
        let mut nexmark = Nexmark::new(3);
        (0..n).map(|number| nexmark.event(1_000 + number / 10)).collect()
    }

    #[test]
    fn people_auctions_and_bids_have_the_shares_of_the_benchmark() {
        let events = events(50_000);
        let (mut people, mut auctions, mut bids) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut hot = 0;
        for event in events {
            match event {
                Event::Person(person) => assert!(people.insert(person.id)),
                Event::Auction(auction) => {
                    assert!(people.contains(&auction.seller) && (10..15).contains(&auction.category), "{auction:?}");
                    assert!(auction.expires > auction.date_time && auction.reserve > auction.initial_bid);
                    assert!(auctions.insert(auction.id));
                }
                Event::Bid(bid) => {
                    hot += usize::from(bid.auction % 100 == 0);
                    bids.push(bid);
                }
            }
        }
        assert_eq!((people.len(), auctions.len(), bids.len()), (1_000, 3_000, 46_000));
        assert!((22_500..24_500).contains(&hot), "{hot} bids are for hot auctions");
        let by_hot_channels = bids.iter().filter(|bid| HOT_CHANNELS.contains(&bid.channel.as_str())).count();
        assert!((22_500..23_500).contains(&by_hot_channels), "{by_hot_channels}");
        assert!(bids.iter().all(|bid| people.contains(&bid.bidder) && (100..=100_000_000).contains(&bid.price)));
        // A bid may be for an auction of its epoch, which comes before it.
        assert!(bids.iter().all(|bid| auctions.contains(&bid.auction)));
        let mut by_bidder = BTreeMap::<i64, usize>::new();
        bids.iter().for_each(|bid| *by_bidder.entry(bid.bidder).or_default() += 1);
        assert!(by_bidder.values().max() > Some(&3_000), "hot bidders: {by_bidder:?}");
    }

    #[test]
    fn an_event_is_the_same_without_memory_of_its_own() {
        let mut nexmark = Nexmark::new(3);
        for (number, event) in (0..).zip(events(5_000)) {
            assert_eq!(nexmark.next_event(1_000 + number / 10).to_owned(), event);
        }
        let mut text = String::new();
        [0, 7, 10, 9_999, usize::MAX].into_iter().for_each(|number| push_number(&mut text, number));
        assert_eq!(text, format!("07109999{}", usize::MAX));
    }

    #[test]
    fn a_house_can_be_made_in_parts() {
        let part = |number| {
            let mut nexmark = Nexmark::new(3);
            nexmark.seek(number, 1_000);
            (0..100).map(|n| nexmark.event(1_000 + number + n)).collect::<Vec<_>>()
        };
        assert_eq!(part(500), part(500));
        let Event::Person(person) = &part(500)[0] else { panic!("the first of fifty events is a person") };
        assert_eq!(person.id, 1_010);
    }

    #[test]
    fn an_auction_ends_about_when_its_last_bid_comes() {
        let lengths: Vec<i64> = events(50_000)
            .into_iter()
            .skip(5_000)
            .filter_map(
                |event| if let Event::Auction(auction) = event { Some(auction.expires - auction.date_time) } else { None },
            )
            .collect();
        // 1,667 events are 167 ms.
        let mean = lengths.iter().sum::<i64>() / lengths.len() as i64;
        assert!((150_000..185_000).contains(&mean), "{mean} microseconds");
    }

    #[test]
    fn an_event_is_a_line_of_json_of_about_its_size() {
        let mut nexmark = Nexmark::new(3);
        let mut sizes = BTreeMap::<u64, (usize, usize)>::new();
        for number in 0..5_000 {
            let mut line = Vec::new();
            nexmark.write(1_484_154_535_000 + number, &mut line);
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let kind = json["event_type"].as_u64().unwrap();
            let row = &json[["person", "auction", "bid"][kind as usize]];
            assert!(row["dateTime"].as_str().unwrap().starts_with("2017-01-11T17:08:") && row["extra"].is_string(), "{row}");
            let (lines, bytes) = sizes.entry(kind).or_default();
            (*lines, *bytes) = (*lines + 1, *bytes + line.len());
        }
        let mean = |kind| sizes[&kind].1 / sizes[&kind].0;
        assert!((250..400).contains(&mean(0)) && (550..750).contains(&mean(1)) && (200..350).contains(&mean(2)), "{sizes:?}");
        let mut spoiled = Vec::new();
        nexmark.write_spoiled(0, &mut spoiled);
        assert!(serde_json::from_slice::<serde_json::Value>(&spoiled).is_err());
    }
}
