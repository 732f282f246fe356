//! The chunks of one key group in the newest checkpoint, and how long such a list gets.

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64;

use crate::core::time::BatchTime;

/// A list of this many chunks is compacted. Higher groups may have a few more, so that not all groups are compacted at once.
pub(super) const LONG: usize = 64;

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
    /// From when on the group is saved: since the previous snapshot, or, if the list is long, as far back as chunks are no
    /// longer than half of what follows them. So a row is written again only when much follows it: two or three times in all,
    /// however long the list would be.
    pub fn since(&self, group: u64, last: BatchTime) -> BatchTime {
        if self.chunks.len() < LONG + group as usize / 2 {
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

    /// Adds a chunk, which replaces those after `since`. No bytes: nothing is added.
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
