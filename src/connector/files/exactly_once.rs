//! `save_as_text_files` of a job with a checkpoint directory: each batch is written exactly once.
//!
//! `_SUCCESS` names the plan of the batch and its parts. A replayed batch with this `_SUCCESS` is not written again. A batch
//! that a crash interrupted, or that has another plan, is written again. Everything is synced to the disk before `_SUCCESS`
//! names it. If there is a log of files, a batch with `_SUCCESS` is put into it: the same batch again changes nothing there.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::connector::files::durable::{at, make, parent, remove, sync};
use crate::connector::files::sink::{TextFileWriter, is_part};
use crate::connector::sink::{BatchId, Part};
use crate::core::error::BoxError;
use crate::core::fault::{FaultPoint, point};

/// The content of `_SUCCESS`, and of the note that each of several processes writes after its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub generation: u64,
    pub plan: String,
    pub parts: BTreeSet<String>,
}

impl Note {
    pub fn new(id: BatchId) -> Self {
        Note { generation: id.run.generation, plan: format!("{:016x}", id.plan), parts: BTreeSet::new() }
    }

    /// `None`: the bytes are not those of a complete note.
    pub fn parse(bytes: &[u8]) -> Option<Note> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether it is of the same run and batch.
    pub fn goes_with(&self, other: &Note) -> bool {
        self.generation == other.generation && self.plan == other.plan
    }

    /// `None`: no complete note exists.
    fn read(path: &Path) -> Option<Note> {
        Note::parse(&std::fs::read(path).ok()?)
    }

    fn write(&self, dir: &Path, name: &str) -> Result<(), BoxError> {
        let (hidden, path) = (dir.join(format!(".{}.tmp", name.trim_start_matches('.'))), dir.join(name));
        let mut file = at(&hidden, File::create(&hidden))?;
        at(&hidden, file.write_all(&serde_json::to_vec(self)?).and_then(|()| file.sync_all()))?;
        at(&path, std::fs::rename(&hidden, &path))?;
        sync(dir)
    }
}

impl TextFileWriter {
    /// Writes a batch unless it is already complete.
    pub(super) fn write_once<T: Debug + 'static>(&mut self, id: BatchId, parts: &[Part<T>]) -> Result<(), BoxError> {
        let dir = self.dir(id.time);
        let mut note = Note::new(id);
        let success = dir.join("_SUCCESS");
        if let Some(complete) = Note::read(&success).filter(|found| found.plan == note.plan) {
            return self.add_to_log(&dir, &complete.parts, true);
        }
        make(&dir)?;
        if remove(&success)? {
            // Otherwise a power cut might restore it, beside parts of two plans.
            sync(&dir)?;
            self.warn(&dir);
        }
        let mine = self.done(self.process);
        remove(&dir.join(&mine))?;
        point(FaultPoint::SaveBegin);
        for (number, rows) in self.files(parts) {
            note.parts.insert(self.write_part(&dir, number, &rows, true)?);
        }
        point(FaultPoint::SaveParts);
        if self.processes > 1 {
            match note.write(&dir, &mine) {
                // The others were done. So the last one has removed the directory meanwhile, because nobody has rows.
                Err(_) if self.skip_empty && note.parts.is_empty() && !dir.exists() => return Ok(()),
                written => written?,
            }
            for process in 0..self.processes {
                let theirs = Note::read(&dir.join(self.done(process)));
                let Some(theirs) = theirs.filter(|theirs| theirs.goes_with(&note)) else {
                    // The last process continues.
                    return Ok(());
                };
                note.parts.extend(theirs.parts);
            }
            if note.parts.is_empty() && self.removed(&dir)? {
                sync(parent(&dir))?;
                return self.add_to_log(&dir, &note.parts, true);
            }
        }
        self.clear_others(&dir, &note.parts)?;
        // Directory entries may become durable in any order. Sync the parts' names before the note that lists them.
        sync(&dir)?;
        note.write(&dir, "_SUCCESS")?;
        point(FaultPoint::SaveAfter);
        sync(parent(&dir))?;
        self.add_to_log(&dir, &note.parts, true)
    }

    /// Removes files that do not belong to the batch: parts of another plan, incomplete parts, and notes of another process
    /// count.
    fn clear_others(&self, dir: &Path, parts: &BTreeSet<String>) -> Result<(), BoxError> {
        let ours = format!("-of-{}", self.processes);
        for entry in at(dir, std::fs::read_dir(dir))? {
            let path = at(dir, entry)?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let stale = name.starts_with(".done-") && (self.processes == 1 || !name.ends_with(&ours));
            if stale || is_part(name) && !parts.contains(name) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::*;
    use crate::api::context::StreamingContext;
    use crate::checkpoint::Directory;
    use crate::connector::files::sink::TextFileSink;
    use crate::connector::files::sink_log::FileStreamSinkLog;
    use crate::connector::files::sink_log_reader::FOLDER;
    use crate::connector::sink::{Sink, SinkBatch};
    use crate::core::plan::RunId;
    use crate::core::time::{BatchTime, millis, secs};
    use crate::job::ManualClock;
    use crate::testing::temp_dir::TempDir;

    /// Every file of the batches, with its text; for `_SUCCESS`, its parts.
    fn saved(below: &Path) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let is_batch = |p: &std::path::PathBuf| !p.ends_with("checkpoint") && !p.ends_with(FOLDER);
        for dir in std::fs::read_dir(below).unwrap().map(|d| d.unwrap().path()).filter(is_batch) {
            for file in std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()) {
                let name = file.strip_prefix(below).unwrap().display().to_string();
                let text = match Note::read(&file) {
                    Some(note) => format!("{:?}", note.parts),
                    None => std::fs::read_to_string(&file).unwrap(),
                };
                files.insert(name, text);
            }
        }
        files
    }

    /// The files that the log names, by a reader of this test: in the last compaction, and in what came after it.
    fn logged(below: &Path) -> Vec<String> {
        let log = below.join(FOLDER);
        let mut numbers: Vec<(u64, String)> = Vec::new();
        for name in std::fs::read_dir(&log).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()) {
            numbers.extend(name.trim_end_matches(".compact").parse().ok().map(|number| (number, name)));
        }
        numbers.sort();
        assert!(numbers.iter().map(|(number, _)| *number).eq(0..numbers.len() as u64), "{numbers:?}");
        let from = numbers.iter().rposition(|(_, name)| name.ends_with(".compact")).unwrap_or(0);
        let mut files = Vec::new();
        for (number, name) in &numbers[from..] {
            assert_eq!(name.ends_with(".compact"), number % 10 == 9);
            let text = std::fs::read_to_string(log.join(name)).unwrap();
            let (version, lines) = text.split_once('\n').unwrap();
            assert_eq!(version, "v1");
            for line in lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
                let path = Path::new(line["path"].as_str().unwrap().strip_prefix("file://").unwrap());
                assert_eq!(line["size"], std::fs::metadata(path).unwrap().len());
                files.push(path.strip_prefix(below).unwrap().display().to_string());
            }
        }
        files
    }

    /// The log names the parts of all batches, once and in order.
    fn log_is_whole(below: &Path) {
        let parts = saved(below).into_keys().filter(|name| is_part(name.rsplit('/').next().unwrap()));
        let mut parts: Vec<String> = parts.collect();
        let batch = |name: &String| name.split(['-', '/']).nth(1).unwrap().parse::<u64>().unwrap();
        parts.sort_by_key(|name| (batch(name), name.clone()));
        assert_eq!(logged(below), parts);
    }

    const BATCHES: u64 = 15;

    fn run(dir: &Path, workers: u16) {
        let below = dir.join("words");
        let batches: Vec<Vec<String>> = (0..BATCHES).map(|b| (0..b % 4 * 3).map(|i| format!("{b} {i}")).collect()).collect();
        let job = StreamingContext::builder("save", millis(1)).workers(workers).checkpoint(dir.join("checkpoint"));
        // Long for the two tries that fail, short for a disk that stays full.
        let job = job.output_retry(secs(5)).checkpoint_interval(millis(2)).start_on_clock(ManualClock::at(0), move |ssc| {
            let counts = ssc.test_stream(batches.clone()).count_by_value();
            counts.save_as_text_files_with(TextFileSink::new(&below).metadata_log());
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
    }

    /// The process that dies runs this test again, with a directory. Without one, this test does nothing.
    #[test]
    fn the_job_that_is_killed() {
        if let Some(dir) = std::env::var_os("TIDEMILL_TEST_SAVE_DIR") {
            run(Path::new(&dir), 2);
        }
    }

    fn with(dir: &Path, variable: &str, at: &str) -> std::process::Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "connector::files::exactly_once::tests::the_job_that_is_killed", "--test-threads=1", "--nocapture"])
            .env("TIDEMILL_TEST_SAVE_DIR", dir)
            .env(variable, at)
            .output()
            .unwrap()
    }

    fn dies(dir: &Path, at: &str) {
        let child = with(dir, "TIDEMILL_CRASH_AT", at).status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child), Some(9), "{at}: the process must die there");
    }

    #[test]
    fn a_batch_that_a_crash_interrupted_is_completed_by_the_next_run() {
        let whole = TempDir::made("whole");
        run(&whole, 1);
        let expected = saved(&whole);
        assert_eq!(expected.keys().filter(|k| k.ends_with("_SUCCESS")).count() as u64, BATCHES);
        log_is_whole(&whole);
        let ends = ["save.begin:4", "save.parts:3", "save.part:5", "save.after:6", "plan.after:7", "manifest.before:1"];
        // The tenth file of the log is a compaction.
        for at in ends.into_iter().chain(["save.log:1", "save.log:5", "save.log:10"]) {
            let place = TempDir::made(at);
            dies(&place, at);
            dies(&place, "lease.after:1");
            run(&place, 3);
            assert_eq!(saved(&place), expected, "{at}");
            log_is_whole(&place);
        }
    }

    /// A briefly full disk costs a retry; a permanently full disk stops the job. Either way no row is lost or duplicated.
    #[test]
    fn b2_a_full_disk_under_an_output_loses_nothing() {
        let whole = TempDir::made("room");
        run(&whole, 1);
        let expected = saved(&whole);
        for (at, goes_on) in [("save:3-4:28", true), ("_spark_metadata.write:3-4:28", true), ("save:3-9999:28", false)] {
            let place = TempDir::made(if goes_on { "full" } else { "stays-full" });
            let child = with(&place, "TIDEMILL_FAIL_AT", at);
            let stderr = String::from_utf8_lossy(&child.stderr);
            assert_eq!(child.status.success(), goes_on, "{at}: {stderr}");
            assert!(goes_on || stderr.contains("No space left on device") && stderr.contains(".part-"), "{stderr}");
            assert_eq!(saved(&place) == expected, goes_on, "{at}");
            run(&place, 3);
            assert_eq!(saved(&place), expected, "{at}");
            log_is_whole(&place);
        }
    }

    /// A complete batch is not touched, because a reader may have taken it.
    #[test]
    fn a_complete_batch_is_not_touched_and_any_other_is_replaced() {
        let place = TempDir::made("again");
        dies(&place, "save.after:7");
        let plans = Directory::open(&place.join("checkpoint")).unwrap().plans().unwrap();
        let last = plans.iter().map(|p| p.plan.time.millis()).filter(|t| place.join(format!("words-{t}")).exists()).max();
        let last = last.unwrap();
        let (kept, cut) = (place.join(format!("words-{last}")), place.join(format!("words-{}", last - 1)));
        std::fs::write(kept.join("mark"), "whole").unwrap();
        std::fs::remove_file(cut.join("_SUCCESS")).unwrap();
        std::fs::write(cut.join("part-00077"), "of another run\n").unwrap();
        let before = Note::read(&kept.join("_SUCCESS")).unwrap();
        // Without a checkpoint, all batches run again.
        let _ = std::fs::remove_dir_all(place.join("checkpoint/manifests"));
        run(&place, 1);
        let (kept, cut) = (Note::read(&kept.join("_SUCCESS")).unwrap(), Note::read(&cut.join("_SUCCESS")).unwrap());
        assert_eq!(kept, before);
        assert_eq!((kept.generation, cut.generation), (1, 2));
        assert!(place.join(format!("words-{last}/mark")).exists());
        assert!(!place.join(format!("words-{}/part-00077", last - 1)).exists());
    }

    #[test]
    fn the_last_of_several_processes_lists_the_parts_of_all() {
        let place = TempDir::made("processes");
        let saver = |process, processes| {
            let mut writer = TextFileWriter::new(&place.join("p"), "", process, processes, vec![false]);
            writer.log = Some(FileStreamSinkLog::new(&*place).of_process(process, processes));
            writer
        };
        let batch = |generation| {
            let time = BatchTime::from_millis(7);
            SinkBatch::with_id(BatchId { time, run: RunId { directory: 1, generation }, plan: 5 })
        };
        let part = |number| [Part { number, rows: vec![format!("row {number}")] }];
        let success = place.join("p-7/_SUCCESS");
        saver(0, 2).write(&batch(1), &part(0)).unwrap();
        // A new run of three processes: the first process's note belongs to another generation.
        saver(1, 3).write(&batch(2), &part(1)).unwrap();
        saver(0, 3).write(&batch(2), &part(0)).unwrap();
        assert!(!success.exists() && !place.join(FOLDER).exists());
        saver(2, 3).write(&batch(2), &part(5)).unwrap();
        let note = Note::read(&success).unwrap();
        assert_eq!(note.parts.iter().collect::<Vec<_>>(), ["part-00000", "part-00001", "part-00005"]);
        assert!(!place.join("p-7/.done-0-of-2").exists());
        let parts = ["p-7/part-00000", "p-7/part-00001", "p-7/part-00005"];
        assert_eq!(logged(&place), parts);
        // The next run finds the batch complete, in every process.
        (0..2).for_each(|process| saver(process, 2).write(&batch(3), &part(process.into())).unwrap());
        assert_eq!(logged(&place), parts);
    }
}
