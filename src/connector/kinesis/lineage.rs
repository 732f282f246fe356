//! Which shard follows which. A child is read when its parents were read to their ends, so that the records of a key stay in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::connector::kinesis::number::{Place, at_time};
use crate::connector::kinesis::source::InitialPosition;

/// A shard as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub shard: String,
    /// One after a split, two after a merge. A parent that is not listed has no more records.
    pub parents: Vec<String>,
    /// Whether it takes no more records.
    pub closed: bool,
}

/// The shards that the job knows.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    /// Those that are read. `Some`: to the end, whose place this is.
    read: BTreeMap<String, Option<String>>,
}

impl Lineage {
    /// A shard is read from now on.
    pub fn reads(&mut self, shard: &str) {
        self.read.entry(shard.to_owned()).or_default();
    }

    /// A shard was read to its end, at this place. Returns whether that is new.
    pub fn ended(&mut self, shard: &str, place: &str) -> bool {
        self.read.insert(shard.to_owned(), Some(place.to_owned())).flatten().is_none()
    }

    /// Whether every shard that is read is also listed.
    pub fn lost<'l>(&'l self, listed: &[Listed]) -> Option<&'l str> {
        let there = |shard: &str| listed.iter().any(|l| l.shard == *shard);
        self.read.iter().find(|(shard, end)| end.is_none() && !there(shard)).map(|(shard, _)| shard.as_str())
    }

    /// Where the first run of a job begins: each shard, and its place.
    pub fn first(&mut self, listed: &[Listed], start: InitialPosition, now_ms: i64) -> Vec<(String, String)> {
        let ready = |shard: &&Listed| match start {
            // A closed shard has nothing that is to come. One without children shows which child is the next one.
            InitialPosition::Latest => !shard.closed || !has_child(listed, &shard.shard),
            _ => !shard.parents.iter().any(|parent| listed.iter().any(|l| l.shard == *parent)),
        };
        let starts: Vec<_> = listed.iter().filter(ready).map(|l| (l.shard.clone(), start.place(now_ms))).collect();
        starts.iter().for_each(|(shard, _)| self.reads(shard));
        starts
    }

    /// The shards that may be read now, and where each begins. Shards that are older than one that is read are left out.
    pub fn next(&mut self, listed: &[Listed]) -> Vec<(String, String)> {
        let older = ancestors(listed, self.read.keys());
        let mut starts = Vec::new();
        for Listed { shard, parents, .. } in
            listed.iter().filter(|l| !self.read.contains_key(&l.shard) && !older.contains(&l.shard))
        {
            let listed = parents.iter().filter(|parent| listed.iter().any(|l| l.shard == **parent));
            let mut place = Some(String::new());
            for parent in listed {
                match self.read.get(parent) {
                    // Nothing of the parent was new enough, so the child begins at the same time.
                    Some(Some(end)) => {
                        if let (Place::Time(ms), Some(place)) = (Place::of(end), &mut place) {
                            *place = at_time(ms);
                        }
                    }
                    Some(None) => place = None,
                    None if older.contains(parent) => {}
                    None => place = None,
                }
            }
            starts.extend(place.map(|place| (shard.clone(), place)));
        }
        starts.iter().for_each(|(shard, _)| self.reads(shard));
        starts
    }
}

fn has_child(listed: &[Listed], shard: &str) -> bool {
    listed.iter().any(|l| l.parents.iter().any(|parent| parent == shard))
}

/// The parents of these shards, their parents, and so on.
fn ancestors<'l>(listed: &'l [Listed], of: impl Iterator<Item = &'l String>) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), of.collect::<Vec<_>>());
    while let Some(shard) = left.pop() {
        for parent in listed.iter().filter(|l| l.shard == *shard).flat_map(|l| &l.parents) {
            if found.insert(parent.clone()) {
                left.push(parent);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str, parents: &[&str], closed: bool) -> Listed {
        Listed { shard: name.into(), parents: parents.iter().map(|p| (*p).into()).collect(), closed }
    }

    fn names(starts: &[(String, String)]) -> Vec<(&str, &str)> {
        starts.iter().map(|(shard, place)| (shard.as_str(), place.as_str())).collect()
    }

    /// 0 is split into 1 and 2; 2 and 3 are merged into 4.
    fn resharded() -> Vec<Listed> {
        vec![
            shard("0", &[], true),
            shard("1", &["0"], false),
            shard("2", &["0"], true),
            shard("3", &[], true),
            shard("4", &["2", "3"], false),
        ]
    }

    #[test]
    fn children_follow_when_all_of_their_parents_are_read() {
        let (mut lineage, listed) = (Lineage::default(), resharded());
        let first = lineage.first(&listed, InitialPosition::TrimHorizon, 7);
        assert_eq!(names(&first), [("0", ""), ("3", "")]);
        assert!(lineage.next(&listed).is_empty());
        assert!(lineage.ended("3", "30"));
        assert!(lineage.next(&listed).is_empty(), "4 waits for 2");
        assert!(lineage.ended("0", "10") && !lineage.ended("0", "10"));
        assert_eq!(names(&lineage.next(&listed)), [("1", ""), ("2", "")]);
        lineage.ended("2", "20");
        assert_eq!(names(&lineage.next(&listed)), [("4", "")]);
        assert!(lineage.next(&listed).is_empty());
    }

    #[test]
    fn the_latest_are_the_open_ones() {
        let (mut lineage, listed) = (Lineage::default(), resharded());
        assert_eq!(names(&lineage.first(&listed, InitialPosition::Latest, 7)), [("1", "@7"), ("4", "@7")]);
        assert!(lineage.next(&listed).is_empty(), "their ancestors are not read");
        // A job that was started again knows no more than what it reads.
        let mut again = Lineage::default();
        again.reads("1");
        again.reads("4");
        assert!(again.next(&listed).is_empty());
    }

    #[test]
    fn a_child_of_a_parent_that_had_nothing_new_begins_at_the_same_time() {
        let mut lineage = Lineage::default();
        let listed = vec![shard("0", &[], true), shard("1", &["0"], false)];
        assert_eq!(names(&lineage.first(&listed, InitialPosition::AtTimestamp(5), 7)), [("0", "@5")]);
        lineage.ended("0", "@5");
        assert_eq!(names(&lineage.next(&listed)), [("1", "@5")]);
    }

    #[test]
    fn a_shard_whose_parents_have_expired_is_read() {
        let mut lineage = Lineage::default();
        assert_eq!(names(&lineage.first(&[shard("5", &["4"], false)], InitialPosition::TrimHorizon, 7)), [("5", "")]);
        assert_eq!(lineage.lost(&[]), Some("5"));
        lineage.ended("5", "50");
        assert_eq!(lineage.lost(&[]), None);
        assert_eq!(names(&lineage.next(&[shard("7", &["5"], false)])), [("7", "")]);
    }
}
