//! The thread that writes tweets, and runs the scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::scenario::Scenario;
use crate::cli::generate::{BEGIN_MS, Generate, Pace, Random, Tweets};
use crate::connector::kafka::embedded_broker::{EmbeddedBroker, KEPT_BYTES, KEPT_RECORDS};
use crate::connector::kafka::topic_writer::Producer;
use crate::core::error::Result;

/// The author of most tweets during the burst.
pub const LOUD: &str = "tide_pool";
/// The rate during the burst, as a multiple of the usual rate.
const BURST: f64 = 5.0;
/// How long the broker may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(35);

/// What happened to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Gone,
    Back,
}

/// Counters that the feed and the rest of the demo share.
#[derive(Default)]
pub struct Counters {
    /// Completed batches.
    pub batches: AtomicU64,
    /// Records in them.
    pub records: AtomicU64,
    /// The feed stops sending tweets.
    pub stop: AtomicBool,
}

/// Writes tweets to a topic of the embedded broker.
pub struct Feed {
    pub broker: Arc<EmbeddedBroker>,
    pub producer: Producer,
    pub partitions: u64,
    pub rate: f64,
    pub seed: u64,
    pub scenario: Scenario,
    pub counters: Arc<Counters>,
    pub events: Sender<Event>,
}

/// How many partitions can hold the records between two batches, with a reserve.
pub fn partitions(rate: f64, interval: Duration) -> i32 {
    let room = KEPT_BYTES / 2 / 300;
    (rate * interval.as_secs_f64() * 3.0 / room as f64).ceil().clamp(4.0, 64.0) as i32
}

impl Feed {
    /// Writes until `stop` is set, then waits until the broker has all records. Returns the number of records in the broker, in all
    /// and by partition.
    pub fn run(self) -> Result<(u64, Vec<u64>)> {
        let (mut tweets, mut random, mut pace) = (Tweets::new(self.seed), Random::new(self.seed), Pace::new(self.rate));
        let (start, mut sent, mut bytes, mut record) = (Instant::now(), 0u64, 0u64, Vec::new());
        let (mut weather, mut changes) = (1.0, Duration::ZERO);
        let (mut bad, mut away) = (self.scenario.bad.iter().peekable(), self.scenario.away.clone());
        let mut gone = false;
        while !self.counters.stop.load(Ordering::Relaxed) {
            let batch = self.counters.batches.load(Ordering::Relaxed);
            let burst = self.scenario.burst.contains(&batch);
            let now = start.elapsed();
            if now >= changes {
                (weather, changes) = (0.75 + 0.5 * random.unit(), now + Duration::from_millis(300));
            }
            pace.set_rate(self.rate * weather * if burst { BURST } else { 1.0 });
            let room = self.room(sent, bytes);
            for _ in 0..pace.due(now).min(room) {
                let at = BEGIN_MS + start.elapsed().as_millis() as u64;
                record.clear();
                if burst && random.unit() * BURST > 1.0 {
                    tweets.write_by(LOUD, at, &mut record);
                } else {
                    tweets.write(at, &mut record);
                }
                (sent, bytes) = self.send(sent, bytes, &record)?;
            }
            if let Some((_, n)) = bad.next_if(|(at, _)| *at <= batch) {
                for _ in 0..*n {
                    record.clear();
                    tweets.write_spoiled(BEGIN_MS + now.as_millis() as u64, &mut record);
                    (sent, bytes) = self.send(sent, bytes, &record)?;
                }
            }
            if away.contains(&batch) != gone {
                gone = !gone;
                self.broker(gone)?;
                // The broker goes away only once.
                away.start = if gone { away.start } else { u64::MAX };
            }
            self.producer.poll();
            std::thread::sleep(Duration::from_millis(2));
        }
        if gone {
            self.broker(false)?;
        }
        let delivered = self.producer.settle(PATIENCE)?;
        Ok((delivered, self.producer.delivered_by_partition()))
    }

    fn send(&self, sent: u64, bytes: u64, record: &[u8]) -> Result<(u64, u64)> {
        self.producer.send(Some((sent % self.partitions) as i32), record)?;
        Ok((sent + 1, bytes + record.len() as u64))
    }

    /// How many more records the broker keeps until the job has read them.
    fn room(&self, sent: u64, bytes: u64) -> u64 {
        let each = bytes.checked_div(sent).unwrap_or(300).max(1) + 64;
        let kept = self.partitions * KEPT_RECORDS.min(KEPT_BYTES / each) * 8 / 10;
        (self.counters.records.load(Ordering::Relaxed) + kept).saturating_sub(sent)
    }

    fn broker(&self, gone: bool) -> Result<()> {
        if gone {
            // The mock cluster forgets which records it acknowledged when a connection breaks, and would take them again.
            self.producer.settle(PATIENCE)?;
            self.broker.down()?;
        } else {
            self.broker.up()?;
        }
        let _ = self.events.send(if gone { Event::Gone } else { Event::Back });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rate_has_four_partitions_and_a_high_one_more() {
        assert_eq!(partitions(800.0, Duration::from_secs(1)), 4);
        assert!((50..=64).contains(&partitions(200_000.0, Duration::from_secs(1))));
    }
}
