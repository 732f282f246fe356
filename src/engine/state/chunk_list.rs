//! The list of chunks of one key group in the newest checkpoint, and its compaction.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use crate::core::time::BatchTime;

/// A list of this many chunks is compacted. Of [`SPREAD`] groups in a row each may have a few more than the one before, so that not all
/// groups are compacted at once.
pub(super) const LONG: usize = 64;
const SPREAD: usize = 128;

/// The chunks of a key group, oldest first: their times and sizes.
pub(super) struct ChunkList {
    chunks: VecDeque<(BatchTime, usize)>,
    /// The checksum of the last one.
    checksum: u64,
}

impl Default for ChunkList {
    fn default() -> Self {
        ChunkList { chunks: VecDeque::new(), checksum: xxh3_64(&[]) }
    }
}

impl ChunkList {
    /// The time since which the next chunk saves the group: usually the previous snapshot, `last`. A long list is compacted. Then the
    /// new chunk replaces the last chunks, as far back as each is at most half as long as all later ones together. So each row is
    /// written only two or three times in total.
    pub fn since(&self, group: u64, last: BatchTime) -> BatchTime {
        if self.chunks.len() < LONG + group as usize % SPREAD / 2 {
            return last;
        }
        let mut behind = 0;
        let stays = self.chunks.iter().rposition(|(_, bytes)| {
            let stays = behind > 0 && 2 * *bytes > behind;
            behind += bytes;
            stays
        });
        stays.map_or(BatchTime::default(), |at| self.chunks[at].0)
    }

    /// Adds a chunk, which replaces those after `since`. Empty `bytes` only remove those.
    pub fn put(&mut self, time: BatchTime, since: BatchTime, bytes: &[u8]) {
        self.chunks.truncate(self.chunks.partition_point(|(t, _)| *t <= since));
        if !bytes.is_empty() {
            self.chunks.push_back((time, bytes.len()));
        }
        self.checksum = xxh3_64(bytes);
    }

    /// Adds a chunk that was loaded.
    pub fn load(&mut self, time: BatchTime, bytes: &[u8]) {
        self.chunks.push_back((time, bytes.len()));
        self.checksum = xxh3_64(bytes);
    }

    /// Whether the last chunk has these bytes.
    pub fn ends_with(&self, bytes: &[u8]) -> bool {
        self.checksum == xxh3_64(bytes)
    }

    /// Drops the chunks up to `until`.
    pub fn expire(&mut self, until: BatchTime) {
        self.chunks.retain(|(t, _)| *t > until);
    }
}
