//! Corrections: bad records that are read once more, for the batch that they were in.
//!
//! A batch that is a correction has records of one earlier batch and nothing else (`Plan::corrects`). So windows know from the tick of the batch
//! where its rows belong, and no row has to say it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::data::{BadRecord, encoded};
use crate::core::plan::{Split, SplitRange};
use crate::core::time::BatchTime;

/// The most records of one correction.
pub(crate) const MOST_RECORDS: usize = 10_000;
/// The most bytes of its records. They are in the plan log.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// What became of bad records that a job has read once more: see [`JobHandle::correct`](crate::job::JobHandle::correct).
///
/// ```
/// use tidemill::core::correction::Corrected;
/// use tidemill::prelude::*;
/// let (of, batch) = (BatchTime::from_millis(5_000), BatchTime::from_millis(65_000));
/// let corrected = Corrected { of, batch, records: 1, left: vec!["over#1".into()] };
/// assert!(corrected.batch > corrected.of && corrected.left == ["over#1"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrected {
    /// The batch that the records belong to.
    pub of: BatchTime,
    /// The batch that read them. It has no other records.
    pub batch: BatchTime,
    /// How many they are.
    pub records: usize,
    /// The windows that no longer hold the batch of the records, by the names of their verbs. They stay as they are.
    pub left: Vec<String>,
}

/// Gets what became of a correction, or why it was refused.
pub(crate) type Reply = Box<dyn FnOnce(Result<Corrected, String>) + Send>;

/// Records of one batch and one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Correction {
    pub of: BatchTime,
    /// The topic, path or address.
    pub origin: String,
    pub letters: Vec<BadRecord>,
}

impl Correction {
    /// The fewest corrections that have these records: one for each batch and source, by batch.
    pub fn all(letters: &[BadRecord]) -> Vec<Correction> {
        let mut all: BTreeMap<(BatchTime, &str), Vec<BadRecord>> = BTreeMap::new();
        letters.iter().for_each(|letter| all.entry((letter.time, &letter.origin)).or_default().push(letter.clone()));
        all.into_iter().map(|((of, origin), letters)| Correction { of, origin: origin.into(), letters }).collect()
    }

    /// Whether a plan can have it.
    ///
    /// # Errors
    /// It has no records, or too many.
    pub fn check(&self) -> Result<(), String> {
        let (records, bytes) = (self.letters.len(), encoded(&self.letters).len());
        if !(1..=MOST_RECORDS).contains(&records) || bytes > MOST_BYTES {
            let most = format!("at most {MOST_RECORDS} records of {MOST_BYTES} bytes");
            return Err(format!(
                "{records} records of {bytes} bytes: a correction has {most}, and at least one; correct them in parts"
            ));
        }
        Ok(())
    }

    /// What a plan has of it: a range for each partition.
    pub fn ranges(&self) -> Vec<SplitRange> {
        let mut partitions: BTreeMap<i32, Vec<&BadRecord>> = BTreeMap::new();
        self.letters.iter().for_each(|letter| partitions.entry(letter.partition).or_default().push(letter));
        let name: Arc<str> = self.origin.as_str().into();
        let range = |(partition, letters): (i32, Vec<&BadRecord>)| {
            let count = letters.len() as u32;
            let split =
                Split::Correction { of: self.of, name: name.clone(), partition, count, records: encoded(&letters).into() };
            SplitRange { split, from: 0, until: count.into() }
        };
        partitions.into_iter().map(range).collect()
    }
}

/// The records of a range of a plan.
///
/// # Errors
/// The bytes are damaged, or are not of this range.
pub(crate) fn letters(split: &Split) -> Result<Vec<BadRecord>, String> {
    let Split::Correction { count, records, .. } = split else { return Err(format!("{split} is no correction")) };
    let letters: Vec<BadRecord> = postcard::from_bytes(records).map_err(|e| format!("{split}: its records are damaged: {e}"))?;
    match letters.len() == *count as usize {
        true => Ok(letters),
        false => Err(format!("{split}: it has {} records, and should have {count}", letters.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(time: u64, origin: &str, partition: i32, raw: &str) -> BadRecord {
        BadRecord {
            origin: origin.into(),
            partition,
            offset: 7,
            time: BatchTime::from_millis(time),
            raw: raw.into(),
            key: Some(vec![0, 255]),
            headers: vec![("unit".into(), b"words".to_vec())],
            verb: "decode (main.rs:7)".into(),
            reason: "bad".into(),
        }
    }

    #[test]
    fn records_are_put_into_corrections_by_batch_and_source_and_come_back() {
        let letters_of = [letter(20, "a", 1, "x"), letter(10, "b", 0, "y"), letter(20, "a", 0, "z"), letter(20, "b", 0, "w")];
        let all = Correction::all(&letters_of);
        let places: Vec<_> = all.iter().map(|c| (c.of.millis(), c.origin.as_str(), c.letters.len())).collect();
        assert_eq!(places, [(10, "b", 1), (20, "a", 2), (20, "b", 1)]);
        let ranges = all[1].ranges();
        assert_eq!(ranges.iter().map(|r| (r.split.partition(), r.until)).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
        assert_eq!(letters(&ranges[0].split).unwrap(), [letters_of[2].clone()]);
        assert!(all[1].check().is_ok());
        let many = Correction { letters: vec![letter(20, "a", 0, "x"); MOST_RECORDS + 1], ..all[1].clone() };
        assert!(many.check().unwrap_err().contains("at most 10000 records"));
        assert!(Correction { letters: Vec::new(), ..many }.check().is_err());
    }

    #[test]
    fn damaged_records_are_an_error() {
        let split = |count, records: &[u8]| Split::Correction {
            of: BatchTime::from_millis(7),
            name: "n".into(),
            partition: 0,
            count,
            records: records.into(),
        };
        assert!(letters(&split(1, &[255])).unwrap_err().contains("its records are damaged"));
        assert!(letters(&split(3, &[0])).unwrap_err().contains("it has 0 records, and should have 3"));
        assert!(letters(&Split::custom("n", 0)).is_err());
    }
}
