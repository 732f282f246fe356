//! An object as a file that is read: block by block, always of the version that was there when it was opened.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange};

use super::{Answer, Bucket, or_gone, reason, wait};

/// How much one request reads, in bytes.
const BLOCK: u64 = 4 << 20;

/// An open object. Every read that leaves its block waits for the store.
pub(crate) struct ObjectReader {
    bucket: Bucket,
    key: Path,
    pub size: u64,
    /// When it was put, in milliseconds since the epoch.
    pub modified_ms: i64,
    etag: Option<String>,
    at: u64,
    /// The position of the block, and its bytes.
    begin: u64,
    block: Vec<u8>,
}

/// The bytes of a range with the size, the time and the content's mark of the whole object.
type Got = (Vec<u8>, u64, i64, Option<String>);

impl Bucket {
    /// Opens an object; `None` if it does not exist. One request reads a small object.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reader(&self, name: &str) -> std::result::Result<Option<ObjectReader>, String> {
        let key = self.key(name)?;
        let got = or_gone(self.get(&key, 0, None)).map_err(|e| format!("{}: {}", self.at(name), reason(&e)))?;
        Ok(got.map(|(block, size, modified_ms, etag)| ObjectReader {
            bucket: self.clone(),
            key,
            size,
            modified_ms,
            etag,
            at: 0,
            begin: 0,
            block,
        }))
    }

    /// A block of an object; of this version, if its mark is given.
    fn get(&self, key: &Path, from: u64, etag: Option<String>) -> Answer<Got> {
        let (store, key) = (self.store.clone(), key.clone());
        wait(async move {
            let range = GetRange::Bounded(from..from + BLOCK);
            let options = GetOptions::new().with_range(Some(range)).with_if_match(etag);
            let got = store.get_opts(&key, options).await?;
            let (size, modified_ms, etag) = (got.meta.size, got.meta.last_modified.timestamp_millis(), got.meta.e_tag.clone());
            Ok((got.bytes().await?.to_vec(), size, modified_ms, etag))
        })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        if self.at >= self.size || into.is_empty() {
            return Ok(0);
        }
        if !(self.begin..self.begin + self.block.len() as u64).contains(&self.at) {
            // Not `Other`, which the decoder of Zstandard has for damaged data.
            let failed = |e: StoreError| {
                let text = match e {
                    StoreError::Precondition { .. } | StoreError::NotFound { .. } => {
                        "the object was replaced or deleted while it was read".to_owned()
                    }
                    e => reason(&e),
                };
                Error::new(ErrorKind::ConnectionAborted, text)
            };
            self.block = self.bucket.get(&self.key, self.at, self.etag.clone()).map_err(failed)?.0;
            self.begin = self.at;
        }
        let block = &self.block[(self.at - self.begin) as usize..];
        let n = block.len().min(into.len());
        into[..n].copy_from_slice(&block[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a position before the beginning of an object"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_block_by_block_from_any_position() {
        let bucket = Bucket::in_memory();
        let bytes: Vec<u8> = (0..BLOCK as usize * 2 + 5).map(|n| (n % 251) as u8).collect();
        bucket.put(vec![("long".into(), bytes.clone())]).unwrap();
        let mut reader = bucket.reader("long").unwrap().unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(reader.size == bytes.len() as u64 && read == bytes);
        for from in [0, 7, BLOCK - 1, BLOCK, BLOCK * 2 + 4] {
            reader.seek(SeekFrom::Start(from)).unwrap();
            let mut some = [0; 3];
            let n = reader.read(&mut some).unwrap();
            assert!(n > 0 && some[..n] == bytes[from as usize..from as usize + n], "{from}");
        }
        assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), bytes.len() as u64);
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
        assert!(bucket.reader("none").unwrap().is_none());
    }

    #[test]
    fn an_object_that_is_replaced_meanwhile_is_not_mixed_up() {
        let bucket = Bucket::in_memory();
        bucket.put(vec![("x".into(), vec![1; BLOCK as usize + 1])]).unwrap();
        let mut reader = bucket.reader("x").unwrap().unwrap();
        bucket.put(vec![("x".into(), vec![2; BLOCK as usize + 1])]).unwrap();
        let e = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert!(e.contains("was replaced or deleted while it was read"), "{e}");
    }
}
