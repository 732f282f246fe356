//! The text in a file: unpacks gzip and Zstandard, and skips a byte order mark.

use std::io::{Cursor, Error, ErrorKind, Read, Result, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

/// The first bytes of a gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The first bytes of a Zstandard file.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of a file from a position on.
pub(super) struct Content {
    text: Box<dyn Read>,
    /// Whether the file is packed. Its text then ends where `text` does, and positions count bytes of the text.
    packed: bool,
    /// The position of the next byte.
    pub(super) at: i64,
}

impl Content {
    /// The text of a file from a byte on. Without `is_text` its bytes, as they are.
    ///
    /// # Errors
    /// The file cannot be read. `InvalidData`: it is not text in UTF-8, and its bytes cannot be lines.
    pub(super) fn open(mut file: impl Read + Seek + 'static, from: i64, is_text: bool) -> Result<Content> {
        let magic = if is_text { beginning(&mut file, ZSTD.len())? } else { Vec::new() };
        file.seek(SeekFrom::Start(from as u64))?;
        let (gzip, zstd) = (magic.starts_with(GZIP), magic == ZSTD);
        let packed = gzip || zstd;
        let mut text: Box<dyn Read> = Box::new(file);
        if from > 0 || !is_text {
            let kind = if gzip { "gzip" } else { "Zstandard" };
            let wrong =
                || Error::new(ErrorKind::InvalidData, format!("it is a {kind} file, which can only be read from its beginning"));
            return match packed {
                true => Err(wrong()),
                false => Ok(Content { text, packed, at: from }),
            };
        }
        if gzip {
            text = Box::new(MultiGzDecoder::new(text));
        } else if zstd {
            text = unpacked(text)?;
        }
        let first = beginning(&mut text, MARK.len())?;
        if first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff") {
            return Err(Error::new(ErrorKind::InvalidData, "it is UTF-16: convert it to UTF-8"));
        }
        if first == MARK {
            return Ok(Content { text, packed, at: MARK.len() as i64 });
        }
        Ok(Content { text: Box::new(Cursor::new(first).chain(text)), packed, at: 0 })
    }

    /// Reads on: up to the byte `until` of a file, or to the end of one that is packed. 0: there is no more.
    ///
    /// # Errors
    /// The file cannot be read, or ends before `until`.
    pub(super) fn read(&mut self, until: i64, into: &mut [u8]) -> Result<usize> {
        let left = if self.packed { into.len() } else { (until - self.at).clamp(0, into.len() as i64) as usize };
        loop {
            match self.text.read(&mut into[..left]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(0) if left > 0 && !self.packed => {
                    return Err(Error::other(format!("it ends at byte {}, before the {until} of its plan", self.at)));
                }
                read => {
                    self.at += *read.as_ref().unwrap_or(&0) as i64;
                    return read;
                }
            }
        }
    }
}

/// The text of a Zstandard file.
#[cfg(feature = "zstd")]
fn unpacked(file: Box<dyn Read>) -> Result<Box<dyn Read>> {
    struct Frames(zstd::Decoder<'static, std::io::BufReader<Box<dyn Read>>>);
    impl Read for Frames {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            // The decoder's own errors have no kind. Those of the disk have a number.
            let named = |e: Error| match e.raw_os_error() {
                None if e.kind() == ErrorKind::Other => Error::new(ErrorKind::InvalidData, e),
                _ => e,
            };
            self.0.read(into).map_err(named)
        }
    }
    Ok(Box::new(Frames(zstd::Decoder::new(file)?)))
}

#[cfg(not(feature = "zstd"))]
fn unpacked(_: Box<dyn Read>) -> Result<Box<dyn Read>> {
    let what = "it is a Zstandard file, and this program was built without the feature `zstd` of tidemill; add it in Cargo.toml";
    Err(Error::new(ErrorKind::InvalidData, what))
}

/// At most `n` bytes.
fn beginning(input: &mut impl Read, n: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(n);
    input.take(n as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether an error of the text is one of the file's content, and not of the disk.
pub(super) fn is_damage(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof)
}
