//! A pane: the combined records of one slice of time, sorted by key group. A checkpoint saves a key group of it as a slice.

use crate::engine::dictionary::Code;

/// Rows with their counts, by key group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pane {
    rows: Vec<(Code, i64)>,
    /// The key groups with rows, ascending, each with the end of its rows.
    ends: Vec<(u16, u32)>,
}

impl Pane {
    /// From rows in any order.
    pub fn new(mut rows: Vec<(u64, (Code, i64))>) -> Self {
        rows.sort_by_key(|(group, _)| *group);
        let mut pane = Pane { rows: Vec::with_capacity(rows.len()), ends: Vec::new() };
        rows.into_iter().for_each(|(group, row)| pane.extend(group, [row]));
        pane
    }

    /// Appends rows of a group. Groups must ascend.
    pub fn extend(&mut self, group: u64, rows: impl IntoIterator<Item = (Code, i64)>) {
        self.rows.extend(rows);
        let end = u32::try_from(self.rows.len()).expect("fewer rows than codes");
        match self.ends.last_mut() {
            Some((last, e)) if u64::from(*last) == group => *e = end,
            _ => self.ends.push((group as u16, end)),
        }
    }

    pub fn rows(&self) -> &[(Code, i64)] {
        &self.rows
    }

    /// The rows of one group.
    pub fn of(&self, group: u64) -> &[(Code, i64)] {
        let Ok(at) = self.ends.binary_search_by_key(&group, |(g, _)| u64::from(*g)) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        &self.rows[start as usize..self.ends[at].1 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_slice_of_its_pane() {
        let pane = Pane::new(vec![(127, (4, 1)), (0, (7, 2)), (3, (9, -1)), (0, (1, 1))]);
        assert_eq!(pane.rows(), [(7, 2), (1, 1), (9, -1), (4, 1)]);
        let groups: Vec<_> = (0..128).map(|g| pane.of(g)).filter(|rows| !rows.is_empty()).collect();
        assert_eq!(groups, [&[(7, 2), (1, 1)][..], &[(9, -1)], &[(4, 1)]]);
        assert_eq!((pane.of(2), Pane::default().of(0)), (&[][..], &[][..]));
    }
}
