//! The text in a file: unpacks gzip, and skips a byte order mark.

use std::fs::File;
use std::io::{Cursor, Error, ErrorKind, Read, Result, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

/// The first bytes of a gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of a file from a position on.
pub(super) struct Content {
    pub(super) text: Box<dyn Read>,
    /// Whether the file is packed. Its text then ends where `text` does, and positions count bytes of the text.
    pub(super) packed: bool,
    /// The position of the first byte.
    pub(super) at: i64,
}

impl Content {
    /// The text of a file from a byte on.
    ///
    /// # Errors
    /// The file cannot be read. `InvalidData`: it is not text in UTF-8, and its bytes cannot be lines.
    pub(super) fn open(mut file: File, from: i64) -> Result<Content> {
        let magic = beginning(&mut file, GZIP.len())?;
        file.seek(SeekFrom::Start(from as u64))?;
        let packed = magic == GZIP;
        let mut text: Box<dyn Read> = Box::new(file);
        if from > 0 {
            return match packed {
                true => Err(Error::new(ErrorKind::InvalidData, "it is a gzip file, which can only be read from its beginning")),
                false => Ok(Content { text, packed, at: from }),
            };
        }
        if packed {
            text = Box::new(MultiGzDecoder::new(text));
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
