//! The proof: the tweets in the job's outputs, one by one, compared with those that the broker has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::core::lock::lock;
use crate::metrics::{BatchInfo, StreamingListener};

/// The output of the job so far.
#[derive(Default)]
pub struct Tally(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// One bit for each tweet, by its id.
    seen: Vec<u64>,
    counted: u64,
    twice: u64,
    bad: u64,
    /// How far each partition was read.
    until: BTreeMap<i32, u64>,
    delays: Vec<Duration>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }

    /// These tweets were counted.
    pub fn counted(&self, ids: &[u64]) {
        let mut e = self.lock();
        for id in ids {
            let (word, bit) = ((id / 64) as usize, 1 << (id % 64));
            if e.seen.len() <= word {
                e.seen.resize(word + 1, 0);
            }
            if e.seen[word] & bit == 0 {
                e.counted += 1;
            } else {
                e.twice += 1;
            }
            e.seen[word] |= bit;
        }
    }

    /// Adds bad records.
    pub fn bad(&self, n: u64) {
        self.lock().bad += n;
    }

    /// The number of bad records so far.
    pub fn bad_so_far(&self) -> u64 {
        self.lock().bad
    }

    /// The 50th and 95th percentile and the maximum of all batches' latencies.
    pub fn latency(&self) -> Option<[Duration; 3]> {
        let mut all = self.lock().delays.clone();
        all.sort_unstable();
        let rank = |share: f64| all[((all.len() as f64 * share).ceil() as usize).clamp(1, all.len()) - 1];
        (!all.is_empty()).then(|| [rank(0.5), rank(0.95), rank(1.0)])
    }

    /// The proof: counts against `sent`, the records that the broker has in each partition.
    pub fn proof(&self, sent: u64, by_partition: &[u64]) -> Proof {
        let e = self.lock();
        let read = |p: usize| e.until.get(&(p as i32)).copied().unwrap_or(0);
        let left = by_partition.iter().enumerate().map(|(p, n)| n.saturating_sub(read(p))).sum();
        let lost = sent.saturating_sub(left + e.counted + e.bad);
        Proof { sent, counted: e.counted, bad: e.bad, left, lost, twice: e.twice }
    }
}

impl StreamingListener for Tally {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let mut e = self.lock();
        e.delays.push(batch.total_delay());
        for r in batch.ranges() {
            e.until.insert(r.partition, r.until.max(0) as u64);
        }
    }
}

/// The number of tweets by what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Records the broker has.
    pub sent: u64,
    /// Different tweets in the job's outputs.
    pub counted: u64,
    /// Records in its stream of errors.
    pub bad: u64,
    /// Records that no batch reached, because the job was ended early.
    pub left: u64,
    /// The rest.
    pub lost: u64,
    /// Tweets that occur in the output more than once.
    pub twice: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::OffsetRange;
    use crate::metrics::InputInfo;

    #[test]
    fn a_missing_tweet_is_lost_and_a_repeated_one_is_counted_twice() {
        let tally = Tally::default();
        tally.counted(&[0, 1, 2, 70]);
        tally.counted(&[2, 3]);
        tally.bad(2);
        let inputs = [(0, 5), (1, 4)].map(|(partition, until)| {
            let range = OffsetRange::new("t", partition, 0, until);
            InputInfo { source: 0, range, records: until as u64, bytes: 0, lag: None, lag_time: None }
        });
        tally.on_batch_completed(&BatchInfo { inputs: inputs.into(), ..BatchInfo::default() });
        let proof = tally.proof(11, &[6, 5, 0]);
        assert_eq!(proof, Proof { sent: 11, counted: 5, bad: 2, left: 2, lost: 2, twice: 1 });
    }

    #[test]
    fn latencies_are_nearest_ranks() {
        let tally = Tally::default();
        assert_eq!(tally.latency(), None);
        for ms in (1..=20).rev() {
            let processing_time = Duration::from_millis(ms);
            tally.on_batch_completed(&BatchInfo { processing_time, ..BatchInfo::default() });
        }
        assert_eq!(tally.latency(), Some([10, 19, 20].map(Duration::from_millis)));
    }
}
