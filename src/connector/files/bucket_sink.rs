//! `save_as_text_files` into S3: each batch as objects with a common folder, complete when `_SUCCESS` is among them.
//!
//! The names are those of files, and so is the order: parts, notes of several processes, `_SUCCESS`. An object is there as a whole, or not at
//! all, and is durable when it is there. A batch that is written again puts the same bytes under the same names. What another plan left
//! there is removed before `_SUCCESS` is put.

use std::collections::BTreeSet;
use std::fmt::Debug;

use crate::connector::files::claim::Claim;
use crate::connector::files::exactly_once::Note;
use crate::connector::files::sink::{TextFileWriter, is_part};
use crate::connector::files::target::BatchFolder;
use crate::connector::sink::{Part, Sink, SinkBatch};
use crate::core::error::{BoxError, Error, Result};
use crate::core::fault::{FaultPoint, point};
use crate::core::time::BatchTime;

const SUCCESS: &str = "_SUCCESS";

/// Writes the batches of one output in one process.
pub(super) struct BucketWriter {
    to: BatchFolder,
    /// Makes names and contents. It writes no files.
    files: TextFileWriter,
    claim: Option<Claim>,
    /// The last batch that was written, or the one being written.
    begun: Option<BatchTime>,
    warned: bool,
}

impl BucketWriter {
    pub fn new(to: BatchFolder, files: TextFileWriter) -> Self {
        BucketWriter { to, files, claim: None, begun: None, warned: false }
    }

    /// Checks that the bucket is there and can be listed.
    pub fn check(&self) -> impl FnOnce() -> Result<()> + Send + use<> {
        let (bucket, none) = (self.to.bucket.clone(), self.folder(BatchTime::from_millis(0)));
        move || bucket.list(&none, false).map(drop).map_err(Error::config)
    }

    /// The folder of a batch.
    fn folder(&self, time: BatchTime) -> String {
        self.files.dir(time).display().to_string()
    }

    /// The names in the folder of a batch.
    fn names(&self, folder: &str) -> Result<BTreeSet<String>, BoxError> {
        let below = |name: String| name.strip_prefix(folder).map(|name| name.trim_start_matches('/').to_owned());
        Ok(self.to.bucket.list(folder, false)?.into_iter().filter_map(|object| below(object.name)).collect())
    }

    fn note(&self, folder: &str, name: &str) -> Result<Option<Note>, BoxError> {
        Ok(self.to.bucket.read(&format!("{folder}/{name}"))?.and_then(|bytes| Note::parse(&bytes)))
    }

    fn put_note(&self, folder: &str, name: &str, note: Option<&Note>) -> Result<(), BoxError> {
        let bytes = note.map_or(Ok(Vec::new()), serde_json::to_vec)?;
        Ok(self.to.bucket.put(vec![(format!("{folder}/{name}"), bytes)])?)
    }

    fn remove(&self, folder: &str, names: impl IntoIterator<Item = String>) -> Result<(), BoxError> {
        let names = names.into_iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>();
        if !names.is_empty() {
            self.to.bucket.remove(names)?;
        }
        Ok(())
    }

    /// The parts of all processes, if all have written the batch. Without a checkpoint directory, those of this process.
    fn complete(&self, folder: &str, note: Option<&Note>, mine: BTreeSet<String>) -> Result<Option<BTreeSet<String>>, BoxError> {
        let mut parts = mine;
        let others = (0..self.files.processes).filter(|process| *process != self.files.process);
        match note {
            Some(note) => {
                for process in others {
                    let theirs = self.note(folder, &self.files.done(process))?.filter(|theirs| theirs.goes_with(note));
                    let Some(theirs) = theirs else { return Ok(None) };
                    parts.extend(theirs.parts);
                }
            }
            None => {
                let there = self.names(folder)?;
                if !others.map(|process| self.files.done(process)).all(|done| there.contains(&done)) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(parts))
    }

    /// Removes the notes of a batch that all processes have written, if there is nothing else. Returns whether it did.
    fn removed(&self, folder: &str) -> Result<bool, BoxError> {
        if !self.files.skip_empty {
            return Ok(false);
        }
        let names = self.names(folder)?;
        let only_notes = names.iter().all(|name| name.starts_with(".done-"));
        if only_notes {
            self.remove(folder, names)?;
        }
        Ok(only_notes)
    }

    fn warn(&mut self, folder: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            let folder = self.to.bucket.at(folder);
            tracing::warn!(%folder, "the folder holds a batch of another run, which is overwritten; later folders are not named");
        }
    }

    /// Puts the parts of a batch. Returns their names.
    fn put_parts<T: Debug + 'static>(&self, folder: &str, parts: &[Part<T>]) -> Result<BTreeSet<String>, BoxError> {
        let (mut names, mut objects) = (BTreeSet::new(), Vec::new());
        for (number, rows) in self.files.files(parts) {
            let (name, mut bytes) = (self.files.part_name(number), Vec::new());
            self.files.write_rows(&mut bytes, &rows)?;
            objects.push((format!("{folder}/{name}"), bytes));
            names.insert(name);
        }
        self.to.bucket.put(objects)?;
        Ok(names)
    }
}

impl<T: Debug + 'static> Sink<T> for BucketWriter {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        if self.claim.is_none() {
            self.claim = Some(Claim::new(format!("saves under prefix {}, suffix \"{}\",", self.to.url, self.files.suffix))?);
        }
        let (time, folder, several) = (batch.time(), self.folder(batch.time()), self.files.processes > 1);
        let there = self.names(&folder)?;
        let mut note = batch.id().map(Note::new);
        if let Some(note) = &note
            && there.contains(SUCCESS)
            && self.note(&folder, SUCCESS)?.is_some_and(|found| found.plan == note.plan)
        {
            return Ok(());
        }
        // Of several processes, each must tell the others that it is done: only the last one knows that no process has rows.
        if self.files.skip_empty && !several && there.is_empty() && parts.iter().all(|p| p.rows.is_empty()) {
            return Ok(());
        }
        let again = self.begun.replace(time) == Some(time);
        if there.contains(SUCCESS) && !again {
            self.warn(&folder);
        }
        let done = self.files.done(self.files.process);
        self.remove(&folder, [SUCCESS.to_owned(), done.clone()].into_iter().filter(|name| there.contains(name)))?;
        point(FaultPoint::SaveBegin);
        let mut all = self.put_parts(&folder, parts)?;
        point(FaultPoint::SaveParts);
        if several {
            if let Some(note) = &mut note {
                note.parts.clone_from(&all);
            }
            self.put_note(&folder, &done, note.as_ref())?;
            // The last process continues.
            let Some(parts) = self.complete(&folder, note.as_ref(), all)? else { return Ok(()) };
            if self.removed(&folder)? {
                return Ok(());
            }
            all = parts;
        }
        // Without a checkpoint directory, this process does not know the parts of the others.
        let (ours, knows_all) = (format!("-of-{}", self.files.processes), !several || note.is_some());
        let of_others = |name: &String| name.starts_with(".done-") && (!several || !name.ends_with(&ours));
        let stale = |name: &String| knows_all && (of_others(name) || is_part(name) && !all.contains(name));
        self.remove(&folder, there.into_iter().filter(stale))?;
        if let Some(note) = &mut note {
            note.parts.clone_from(&all);
        }
        self.put_note(&folder, SUCCESS, note.as_ref())?;
        point(FaultPoint::SaveAfter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::bucket::Bucket;
    use crate::connector::sink::BatchId;
    use crate::core::plan::RunId;

    fn writer(bucket: &Bucket, name: &str, process: u16, processes: u16) -> BucketWriter {
        // Outputs of one process must not share a prefix, and the processes of a test do.
        let to = BatchFolder { bucket: bucket.clone(), prefix: name.into(), url: format!("s3://test/{name}?{process}") };
        BucketWriter::new(to, TextFileWriter::new(std::path::Path::new(name), "txt", process, processes, vec![false]))
    }

    fn batch(ms: u64, generation: u64, plan: u64) -> SinkBatch {
        let run = RunId { directory: 1, generation };
        SinkBatch::with_id(BatchId { time: BatchTime::from_millis(ms), run, plan })
    }

    fn part(number: u32, rows: &[&'static str]) -> Part<&'static str> {
        Part { number, rows: rows.to_vec() }
    }

    /// The objects of the bucket: their names, and their texts or, of notes, the parts that they name.
    fn objects(bucket: &Bucket) -> BTreeMap<String, String> {
        let read = |name: String| {
            let bytes = bucket.read(&name).unwrap().unwrap();
            let parts = Note::parse(&bytes).map(|note| note.parts.into_iter().collect::<Vec<_>>().join(" "));
            (name, parts.unwrap_or_else(|| String::from_utf8(bytes).unwrap()))
        };
        let folders = ["one", "none", "again", "zip", "two", "skip"].map(|name| format!("{name}-7.txt"));
        let names = folders.iter().flat_map(|folder| bucket.list(folder, true).unwrap()).map(|object| object.name);
        names.map(read).collect()
    }

    fn expected<const N: usize>(objects: [(&str, &str); N]) -> BTreeMap<String, String> {
        objects.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
    }

    #[test]
    fn a_batch_is_a_part_for_each_partition_and_success() {
        let bucket = Bucket::in_memory();
        let mut one = writer(&bucket, "one", 0, 1);
        let whole = expected([
            ("one-7.txt/_SUCCESS", "part-00000 part-00003"),
            ("one-7.txt/part-00000", "b\na\n"),
            ("one-7.txt/part-00003", "c\n"),
        ]);
        for _ in 0..2 {
            one.write(&batch(7, 1, 5), &[part(0, &["b", "a"]), part(1, &[]), part(3, &["c"])]).unwrap();
            assert_eq!(objects(&bucket), whole);
        }
        assert!(!one.warned);
        let e = writer(&bucket, "one", 0, 1).write(&batch(8, 1, 5), &[part(0, &["x"])]).unwrap_err().to_string();
        assert!(e.contains("another output of this process"), "{e}");

        // Without a checkpoint directory, `_SUCCESS` is empty.
        let mut none = writer(&bucket, "none", 0, 1);
        none.write(&SinkBatch::new(BatchTime::from_millis(7)), &[part(0, &["a"])]).unwrap();
        assert_eq!(objects(&bucket)["none-7.txt/_SUCCESS"], "");
    }

    #[test]
    fn a_complete_batch_is_not_touched_and_any_other_is_replaced() {
        let bucket = Bucket::in_memory();
        writer(&bucket, "again", 0, 1).write(&batch(7, 1, 5), &[part(0, &["a"]), part(9, &["old"])]).unwrap();
        bucket.put(vec![("again-7.txt/notes".into(), b"mine".to_vec())]).unwrap();
        let before = bucket.list("again-7.txt", false).unwrap();
        let mut second = writer(&bucket, "again", 0, 1);
        // The rows would be the same. Others show that they are not written.
        second.write(&batch(7, 2, 5), &[part(0, &["x"])]).unwrap();
        assert_eq!(bucket.list("again-7.txt", false).unwrap(), before);
        second.write(&batch(7, 2, 6), &[part(0, &["x"])]).unwrap();
        let replaced = [("again-7.txt/_SUCCESS", "part-00000"), ("again-7.txt/notes", "mine"), ("again-7.txt/part-00000", "x\n")];
        assert!(second.warned);
        assert_eq!(objects(&bucket), expected(replaced));
        // A batch that a crash interrupted has parts and no note.
        bucket.remove(vec!["again-7.txt/_SUCCESS".into()]).unwrap();
        bucket.put(vec![("again-7.txt/part-00077".into(), b"of another run".to_vec())]).unwrap();
        drop(second);
        writer(&bucket, "again", 0, 1).write(&batch(7, 3, 6), &[part(0, &["x"])]).unwrap();
        assert_eq!(objects(&bucket), expected(replaced));
    }

    #[test]
    fn parts_are_packed_on_request() {
        use std::io::Read;
        let bucket = Bucket::in_memory();
        let mut zip = writer(&bucket, "zip", 0, 1);
        zip.files.gzip = true;
        zip.write(&batch(7, 1, 5), &[part(0, &["a", "b"])]).unwrap();
        let (packed, mut text) = (bucket.read("zip-7.txt/part-00000.gz").unwrap().unwrap(), String::new());
        GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\nb\n");
        zip.write(&batch(7, 1, 6), &[part(1, &["c"])]).unwrap();
        let names: Vec<String> = bucket.list("zip-7.txt", false).unwrap().into_iter().map(|object| object.name).collect();
        assert_eq!(names, ["zip-7.txt/_SUCCESS", "zip-7.txt/part-00001.gz"]);
    }

    #[test]
    fn the_last_of_several_processes_lists_the_parts_of_all() {
        let bucket = Bucket::in_memory();
        // A run of two processes was killed, and one of three follows.
        writer(&bucket, "two", 0, 2).write(&batch(7, 1, 5), &[part(0, &["a"]), part(8, &["old"])]).unwrap();
        for (process, number) in [(1, 1), (0, 0), (2, 5)] {
            assert!(!objects(&bucket).contains_key("two-7.txt/_SUCCESS"));
            writer(&bucket, "two", process, 3).write(&batch(7, 2, 6), &[part(number, &["a"])]).unwrap();
        }
        let there = objects(&bucket);
        assert_eq!(there["two-7.txt/_SUCCESS"], "part-00000 part-00001 part-00005");
        assert!(!there.contains_key("two-7.txt/.done-0-of-2") && !there.contains_key("two-7.txt/part-00008"), "{there:?}");
        // Without a checkpoint directory a process does not know the parts of the other.
        let (bucket, time) = (Bucket::in_memory(), SinkBatch::new(BatchTime::from_millis(7)));
        for process in [1, 0] {
            writer(&bucket, "two", process, 2).write(&time, &[part(process.into(), &["a"])]).unwrap();
        }
        let names: Vec<String> = objects(&bucket).into_keys().collect();
        assert_eq!(
            names,
            [".done-0-of-2", ".done-1-of-2", "_SUCCESS", "part-00000", "part-00001"].map(|n| format!("two-7.txt/{n}"))
        );
    }

    #[test]
    fn empty_batches_are_skipped_on_request() {
        let bucket = Bucket::in_memory();
        let skipping = |process, processes| {
            let mut writer = writer(&bucket, "skip", process, processes);
            writer.files.skip_empty = true;
            writer
        };
        skipping(0, 1).write(&batch(7, 1, 5), &[part(0, &[])]).unwrap();
        assert_eq!(objects(&bucket), BTreeMap::new());
        skipping(0, 2).write(&batch(7, 1, 5), &[part(0, &[])]).unwrap();
        assert_eq!(objects(&bucket).len(), 1, "the second may have rows");
        skipping(1, 2).write(&batch(7, 1, 5), &[part(1, &[])]).unwrap();
        assert_eq!(objects(&bucket), BTreeMap::new());
        skipping(0, 2).write(&batch(7, 1, 5), &[part(0, &[])]).unwrap();
        skipping(1, 2).write(&batch(7, 1, 5), &[part(1, &["a"])]).unwrap();
        assert_eq!(objects(&bucket)["skip-7.txt/_SUCCESS"], "part-00001");
    }
}
