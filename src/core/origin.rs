//! The origins of the rows of a container: records of a source, tracked through verbs that keep rows in their partition.
//!
//! Only a chain with a fallible verb at its end tracks origins. Other chains pay almost nothing: a verb reads one flag per container.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::core::plan::Split;

/// The origin of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// The topic, path or address.
    pub name: &'a str,
    pub partition: i32,
    /// -1 if it is not known.
    pub offset: i64,
    /// The bytes of the record, if they are still there.
    pub raw: Option<&'a [u8]>,
}

/// The records that the rows of a container were made of.
pub(crate) trait Records {
    /// The origin of the record at this index.
    fn origin(&self, index: usize) -> Origin<'_>;

    /// Its key, if records have keys.
    fn key(&self, _index: usize) -> Option<&[u8]> {
        None
    }

    /// Its headers, if records have headers.
    fn headers(&self, _index: usize) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
}

/// The rows of a source that does not number them.
impl Records for Split {
    fn origin(&self, _: usize) -> Origin<'_> {
        Origin { name: self.name(), partition: self.partition(), offset: -1, raw: None }
    }
}

/// The origin of each row of a container.
#[derive(Clone)]
pub(crate) struct Origins {
    records: Rc<dyn Records>,
    /// The record of each row; `None`: row i is of record i.
    index: Option<Rc<[u32]>>,
}

impl Origins {
    /// Row i is of record i.
    pub fn of(records: Rc<dyn Records>) -> Self {
        Origins { records, index: None }
    }

    pub fn get(&self, row: usize) -> Origin<'_> {
        self.records.origin(self.record(row))
    }

    /// The key of the record of a row.
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.records.key(self.record(row))
    }

    /// The headers of the record of a row.
    pub fn headers(&self, row: usize) -> Vec<(String, Vec<u8>)> {
        self.records.headers(self.record(row))
    }

    fn record(&self, row: usize) -> usize {
        self.index.as_ref().map_or(row, |index| index[row] as usize)
    }

    /// The origins of rows that were made of the rows at these indices.
    pub fn at(self, mut rows: Vec<u32>) -> Self {
        if let Some(index) = self.index {
            rows.iter_mut().for_each(|row| *row = index[*row as usize]);
        }
        Origins { records: self.records, index: Some(rows.into()) }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("first", &self.records.origin(0)).finish_non_exhaustive()
    }
}

/// Whether a stream must tell the origins of its rows.
#[derive(Default)]
pub(crate) struct OriginsWanted {
    on: Cell<bool>,
    above: Vec<Rc<OriginsWanted>>,
}

impl OriginsWanted {
    /// Of a stream that is made of these.
    pub fn below(above: impl IntoIterator<Item = Rc<OriginsWanted>>) -> Rc<Self> {
        Rc::new(OriginsWanted { on: Cell::new(false), above: above.into_iter().collect() })
    }

    pub fn get(&self) -> bool {
        self.on.get()
    }

    /// A fallible verb reads the stream: it and all streams that it is made of must tell origins.
    pub fn set(&self) {
        if !self.on.replace(true) {
            self.above.iter().for_each(|above| above.set());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered;

    impl Records for Numbered {
        fn origin(&self, index: usize) -> Origin<'_> {
            Origin { name: "numbers", partition: 0, offset: index as i64, raw: None }
        }
    }

    #[test]
    fn a_row_that_was_selected_twice_keeps_its_record() {
        let all = Origins::of(Rc::new(Numbered));
        let some = all.clone().at(vec![1, 3, 3, 7]).at(vec![0, 2, 3]);
        assert_eq!([0, 1, 2].map(|row| some.get(row).offset), [1, 3, 7]);
        assert_eq!(all.get(5).offset, 5);
    }

    #[test]
    fn a_stream_asks_all_streams_that_it_is_made_of() {
        let sources = [(); 2].map(|()| OriginsWanted::below([]));
        let both = OriginsWanted::below(sources.clone());
        let (read, other) = (OriginsWanted::below([both.clone()]), OriginsWanted::below([sources[0].clone()]));
        read.set();
        assert!(read.get() && both.get() && sources.iter().all(|s| s.get()) && !other.get());
    }
}
