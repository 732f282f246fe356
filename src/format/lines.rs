//! Splits bytes into lines. The lines do not depend on where the bytes were cut in transit. Sockets and text files use this.
//!
//! A line ends at LF; one CR before it is not part of it. The bytes after the last LF are a line too. Lines over the limit, and
//! lines that are not UTF-8, are error records. The splitter continues with the next line.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::data::Data;

/// The longest line, in bytes without its line end, unless the program sets `max_line_bytes`.
pub(crate) const LINE_LIMIT: usize = 1 << 20;
/// The number of lines that a reader gives in one call, so that a worker's steps stay short.
pub(crate) const LINES_A_CALL: usize = 4_096;

/// A line, or an error record, as a reader gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Line {
    /// Its text, and its position as a [`BadLine`] has it.
    Text(String, i64),
    Bad(Box<BadLine>),
}

/// A line that cannot be read, and its position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BadLine {
    pub origin: Arc<str>,
    pub offset: i64,
    pub raw: Vec<u8>,
    pub reason: String,
}

/// A row with its position, or why there is none.
pub(crate) trait Positioned: Data {
    /// The row.
    type Out: Data;

    fn positioned(self) -> Result<(Self::Out, i64), BadLine>;
}

impl Positioned for Line {
    type Out = String;

    fn positioned(self) -> Result<(String, i64), BadLine> {
        match self {
            Line::Text(text, offset) => Ok((text, offset)),
            Line::Bad(bad) => Err(*bad),
        }
    }
}

impl Line {
    /// Roughly the memory it holds, in bytes.
    pub fn bytes(&self) -> usize {
        let heap = match self {
            Line::Text(text, _) => text.len(),
            Line::Bad(bad) => size_of::<BadLine>() + bad.raw.len() + bad.reason.len(),
        };
        heap + size_of::<Line>()
    }
}

/// The bytes of one line, as the splitter found it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Raw<'a> {
    /// The position of its first byte, counted over all bytes that were fed.
    pub at: u64,
    pub bytes: &'a [u8],
    /// Whether it is longer than the limit. If so, these are its first bytes.
    pub over: bool,
}

impl Raw<'_> {
    /// The line, or why it cannot be read.
    pub fn line(self, origin: &Arc<str>, offset: i64) -> Line {
        let bad = |reason| Line::Bad(Box::new(BadLine { origin: origin.clone(), offset, raw: self.bytes.to_vec(), reason }));
        if self.over {
            return bad(format!(
                "the line is longer than {} bytes: its beginning is kept here, the rest skipped; max_line_bytes allows longer lines",
                self.bytes.len()
            ));
        }
        match std::str::from_utf8(self.bytes) {
            Ok(text) => Line::Text(text.to_owned(), offset),
            Err(e) => bad(e.to_string()),
        }
    }
}

/// Splits bytes into lines. Holds at most one byte more than the limit.
pub(crate) struct Splitter {
    limit: usize,
    /// The beginning of a line whose end has not arrived.
    part: Vec<u8>,
    /// The position of the line's first byte, and of the next byte.
    begin: u64,
    at: u64,
    /// Whether a line over the limit has been given, so that its other bytes are skipped.
    skipping: bool,
}

impl Splitter {
    pub fn new(limit: usize) -> Self {
        Splitter { limit, part: Vec::new(), begin: 0, at: 0, skipping: false }
    }

    /// Sets the position of the first byte.
    pub fn starting_at(mut self, at: u64) -> Self {
        (self.begin, self.at) = (at, at);
        self
    }

    /// Takes the next bytes and gives the lines that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Raw<'_>)) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            bytes = &bytes[piece.len() + usize::from(end.is_some())..];
            self.piece(piece, end.is_some(), each);
        }
    }

    /// Takes bytes of one line; `ended`: its LF follows them.
    fn piece(&mut self, piece: &[u8], ended: bool, each: &mut impl FnMut(Raw<'_>)) {
        self.at += (piece.len() + usize::from(ended)) as u64;
        let whole = piece.strip_suffix(b"\r").unwrap_or(piece);
        if self.skipping {
            self.skipping = !ended;
        } else if ended && self.part.is_empty() && whole.len() <= self.limit {
            each(Raw { at: self.begin, bytes: whole, over: false });
        } else {
            // One byte more than the limit, because it may be a CR that the LF removes.
            let kept = &piece[..piece.len().min(self.limit + 1 - self.part.len())];
            self.part.extend_from_slice(kept);
            let line = if ended { self.part.strip_suffix(b"\r").unwrap_or(&self.part) } else { &self.part };
            let may_end = !ended && line.len() == self.limit + 1 && line.ends_with(b"\r");
            let over = kept.len() < piece.len() || (line.len() > self.limit && !may_end);
            if over || ended {
                each(Raw { at: self.begin, bytes: &line[..line.len().min(self.limit)], over });
                self.part.clear();
                self.skipping = !ended;
            }
        }
        if ended {
            self.begin = self.at;
        }
    }

    /// No more bytes follow. Any remaining bytes are a line.
    pub fn finish(&mut self, each: &mut impl FnMut(Raw<'_>)) {
        if !self.part.is_empty() {
            let over = self.part.len() > self.limit;
            each(Raw { at: self.begin, bytes: &self.part[..self.part.len().min(self.limit)], over });
        }
        self.part.clear();
        self.skipping = false;
        self.begin = self.at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<(u64, Vec<u8>, bool)>;

    /// The lines that a splitter makes of these chunks.
    fn split(limit: usize, chunks: &[&[u8]]) -> Seen {
        let mut seen = Vec::new();
        let mut each = |raw: Raw<'_>| seen.push((raw.at, raw.bytes.to_vec(), raw.over));
        let mut splitter = Splitter::new(limit);
        for chunk in chunks {
            splitter.feed(chunk, &mut each);
            assert!(splitter.part.len() <= limit + 1);
        }
        splitter.finish(&mut each);
        splitter.finish(&mut each);
        seen
    }

    /// The definition of lines, over all bytes at once.
    fn model(limit: usize, bytes: &[u8]) -> Seen {
        let mut at = 0;
        let line = |piece: &[u8]| {
            let begin = at;
            at += piece.len() as u64;
            let line = match piece.strip_suffix(b"\n") {
                Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
                None => piece,
            };
            (begin, line[..line.len().min(limit)].to_vec(), line.len() > limit)
        };
        bytes.split_inclusive(|b| *b == b'\n').map(line).collect()
    }

    #[test]
    fn f2_lines_end_at_lf_and_lose_one_cr() {
        let text = |bytes: &[u8]| split(8, &[bytes]).into_iter().map(|(_, l, over)| (l, over)).collect::<Vec<_>>();
        for (bytes, lines) in [
            (&b""[..], &[][..]),
            (b"a\nb\n", &[&b"a"[..], b"b"][..]),
            (b"\n\r\n", &[b"", b""]),
            (b"a\r\n\rb\r\r\n", &[b"a", b"\rb\r"]),
            (b"half", &[b"half"]),
            (b"half\r", &[b"half\r"]),
            (b"12345678\r\n1", &[b"12345678", b"1"]),
            (b"a\0b\n", &[b"a\0b"]),
        ] {
            assert_eq!(text(bytes), lines.iter().map(|l| (l.to_vec(), false)).collect::<Vec<_>>(), "{bytes:?}");
        }
        assert_eq!(text(b"123456789\nx\n"), [(b"12345678".to_vec(), true), (b"x".to_vec(), false)]);
        assert_eq!(text(b"12345678\r"), [(b"12345678".to_vec(), true)]);
    }

    #[test]
    fn f2_a_line_over_the_limit_is_known_before_it_ends() {
        let mut splitter = Splitter::new(4);
        let mut seen = Vec::new();
        splitter.feed(b"12345", &mut |raw| seen.push((raw.bytes.to_vec(), raw.over)));
        assert_eq!(seen, [(b"1234".to_vec(), true)]);
        splitter.feed(&[b'x'; 1_000], &mut |_| panic!("the rest is skipped"));
        splitter.feed(b"\nab\n", &mut |raw| assert_eq!((raw.at, raw.bytes), (1_006, &b"ab"[..])));
    }

    #[test]
    fn f2_a_line_that_is_not_utf8_keeps_its_position() {
        let origin: Arc<str> = "peer:1".into();
        let raw = Raw { at: 7, bytes: b"a\xffb", over: false };
        let Line::Bad(bad) = raw.line(&origin, 3) else { panic!("it is not UTF-8") };
        assert_eq!((&*bad.origin, bad.offset, &bad.raw[..]), ("peer:1", 3, &b"a\xffb"[..]));
        assert!(bad.reason.contains("invalid utf-8"), "{}", bad.reason);
    }

    proptest! {
        #[test]
        fn f1_f2_any_cut_of_the_bytes_gives_the_same_lines(
            bytes in proptest::collection::vec(proptest::sample::select(&b"\n\n\r\rab\xc3\xa9\0"[..]), 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..12),
            limit in 1usize..9,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(split(limit, &chunks), model(limit, &bytes));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(split(limit, &single), model(limit, &bytes));
        }
    }
}
