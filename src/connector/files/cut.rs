//! How the bytes of a file become rows: lines, or records of a fixed length.

use std::sync::Arc;

use crate::core::data::Data;
use crate::format::lines::{BadLine, Line, Positioned, Splitter};

/// How files of a source are cut. Each file has a cutter of its own.
pub(super) trait Cut: Clone + 'static {
    type Cutter: Cutter;

    /// Whether files are text: unpacked, and without a byte order mark.
    fn is_text(&self) -> bool;

    /// The cutter for a file that is read from a byte on. `whole`: from its beginning.
    fn begin(&self, path: &Arc<str>, at: u64, whole: bool) -> Self::Cutter;
}

/// Cuts one file.
pub(super) trait Cutter: 'static {
    type Item: Data;

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Self::Item>);

    /// The file has no more bytes.
    fn finish(&mut self, out: &mut Vec<Self::Item>);

    fn bad(bad: BadLine) -> Self::Item;

    /// Roughly the memory of a row.
    fn bytes(item: &Self::Item) -> usize;
}

/// Lines.
#[derive(Clone)]
pub(super) struct LineCut {
    limit: usize,
    /// How many lines at the beginning of a file are left out.
    header: u64,
}

impl LineCut {
    /// `header`: whether the first line of a file is left out.
    pub fn new(limit: usize, header: bool) -> Self {
        LineCut { limit, header: u64::from(header) }
    }
}

impl Cut for LineCut {
    type Cutter = LineCutter;

    fn is_text(&self) -> bool {
        true
    }

    fn begin(&self, path: &Arc<str>, at: u64, whole: bool) -> LineCutter {
        let header = if whole { self.header } else { 0 };
        LineCutter { path: path.clone(), splitter: Splitter::new(self.limit).starting_at(at), header }
    }
}

/// Cuts a file into lines.
pub(super) struct LineCutter {
    path: Arc<str>,
    splitter: Splitter,
    header: u64,
}

impl Cutter for LineCutter {
    type Item = Line;

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Line>) {
        let LineCutter { path, splitter, header } = self;
        splitter.feed(bytes, &mut |raw| match header {
            0 => out.push(raw.line(path, raw.at as i64)),
            _ => *header -= 1,
        });
    }

    fn finish(&mut self, out: &mut Vec<Line>) {
        let LineCutter { path, splitter, header } = self;
        splitter.finish(&mut |raw| match header {
            0 => out.push(raw.line(path, raw.at as i64)),
            _ => *header -= 1,
        });
    }

    fn bad(bad: BadLine) -> Line {
        Line::Bad(Box::new(bad))
    }

    fn bytes(item: &Line) -> usize {
        item.bytes()
    }
}

/// Records of a fixed length.
#[derive(Clone)]
pub(super) struct RecordCut {
    pub length: usize,
}

/// A record of a fixed length, with its position, or what stands in its place.
pub(super) type Record = Result<(Vec<u8>, i64), Box<BadLine>>;

impl Positioned for Record {
    type Out = Vec<u8>;

    fn positioned(self) -> Result<(Vec<u8>, i64), BadLine> {
        self.map_err(|bad| *bad)
    }
}

impl Cut for RecordCut {
    type Cutter = RecordCutter;

    fn is_text(&self) -> bool {
        false
    }

    fn begin(&self, path: &Arc<str>, at: u64, _: bool) -> RecordCutter {
        RecordCutter { path: path.clone(), length: self.length, at: at as i64, part: Vec::new() }
    }
}

/// Cuts a file into records of a fixed length.
pub(super) struct RecordCutter {
    path: Arc<str>,
    length: usize,
    /// The position of the next record.
    at: i64,
    /// Its beginning.
    part: Vec<u8>,
}

impl Cutter for RecordCutter {
    type Item = Record;

    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Record>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.length - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == self.length {
                out.push(Ok((std::mem::take(&mut self.part), self.at)));
                self.at += self.length as i64;
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<Record>) {
        if self.part.is_empty() {
            return;
        }
        let raw = std::mem::take(&mut self.part);
        let reason = format!("the file ends after {} bytes of a record of {}", raw.len(), self.length);
        out.push(Err(Box::new(BadLine { origin: self.path.clone(), offset: self.at, raw, reason })));
    }

    fn bad(bad: BadLine) -> Record {
        Err(Box::new(bad))
    }

    fn bytes(item: &Record) -> usize {
        size_of::<Record>() + item.as_ref().map_or_else(|bad| bad.raw.len() + bad.reason.len(), |(bytes, _)| bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows<C: Cutter>(mut cutter: C, bytes: &[u8], chunk: usize) -> Vec<C::Item> {
        let mut out = Vec::new();
        bytes.chunks(chunk).for_each(|chunk| cutter.feed(chunk, &mut out));
        cutter.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_records(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            length in 1usize..9,
            chunk in 1usize..9,
        ) {
            let seen = rows(RecordCut { length }.begin(&"f".into(), 0, true), &bytes, chunk);
            let whole = bytes.len() / length;
            for (n, record) in seen[..whole].iter().enumerate() {
                let expected = (bytes[n * length..][..length].to_vec(), (n * length) as i64);
                prop_assert_eq!(record, &Ok(expected));
            }
            match seen.get(whole) {
                None => prop_assert_eq!(bytes.len() % length, 0),
                Some(rest) => {
                    let bad = rest.as_ref().unwrap_err();
                    prop_assert_eq!((&bad.raw[..], bad.offset), (&bytes[whole * length..], (whole * length) as i64));
                }
            }
        }
    }

    #[test]
    fn a_header_is_the_first_line_of_a_whole_file() {
        let cut = LineCut { limit: 99, header: 1 };
        let lines = |whole, text: &[u8]| rows(cut.begin(&"f".into(), 0, whole), text, 3);
        assert_eq!(lines(true, b"h,i\na\nb"), [Line::Text("a".into(), 4), Line::Text("b".into(), 6)]);
        assert_eq!(lines(true, b"h,i"), []);
        assert_eq!(lines(true, b""), []);
        assert_eq!(lines(false, b"a"), [Line::Text("a".into(), 0)]);
    }
}
