//! What a launch with a checkpoint directory does when a process dies or hangs: all are ended and started again, with growing
//! pauses, until it has gone wrong too often without a new batch in between: one that was committed, and none before it.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::launch::{Ended, Launch, Out, TempFile, line};
use super::rescale::{Scale, Word};
use crate::checkpoint::Directory;
use crate::cluster::parent_process::committed;
use crate::core::error::Result;
use crate::core::time::BatchTime;

/// Pauses grow no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What clap ends a program with whose arguments are wrong: they will be wrong again.
const USAGE: i32 = 2;

/// The time of the newest checkpoint, for words.
fn newest(dir: &Path) -> Option<BatchTime> {
    let all = Directory::open(dir).and_then(|d| d.checkpoints()).ok()?;
    all.into_iter().find(|(_, manifest)| manifest.is_ok()).map(|(file, _)| file.time)
}

/// Starts all processes, again and again where there is a checkpoint directory; gives the last exit code.
pub(super) fn supervise<O, E>(launch: &Launch, out: &Out<O>, err: &Out<E>, words: &Receiver<Word>) -> Result<i32>
where
    O: Write + Send + 'static,
    E: Write + Send + 'static,
{
    let say = |text: &str| line(err, "launch", text.as_bytes());
    let (mut size, mut scale, mut failures) = ((launch.processes, launch.workers), None::<Scale>, 0);
    let progress = launch.checkpoint.as_ref().map(|_| TempFile::new("progress", b"")).transpose()?;
    // Over all starts: batches that run again are no progress.
    let mut reached = None;
    loop {
        let progress = progress.as_ref().map(TempFile::path);
        let Ended { code, why, asked, wanted } = launch.round(size, scale.take(), progress, out, err, words)?;
        if let Some(wanted) = wanted {
            say(&format!("goes on with -n {} -w {}", wanted.processes, wanted.workers));
            size = (wanted.processes, wanted.workers);
            scale = Some(wanted);
        }
        let Some(dir) = launch.checkpoint.as_deref() else { return Ok(code) };
        if code == 0 && scale.is_some() {
            failures = 0;
            continue;
        }
        if code == 0 || asked {
            return Ok(code);
        }
        let why = why.unwrap_or_else(|| format!("exit status: {code}"));
        if code == USAGE {
            say(&format!("not started again: {why}, which says that arguments are wrong"));
            return Ok(code);
        }
        let now = progress.and_then(committed).max(reached);
        failures = if now > reached { 1 } else { failures + 1 };
        reached = now;
        if failures > launch.restarts {
            let (tries, since) = (launch.restarts, now.map_or("ever".into(), |t| format!("since that of {t}")));
            let gave_up = format!("gave up after {tries} restarts without a new batch {since}; the last time {why}");
            say(&format!("{gave_up}; a program that is mended goes on there"));
            return Ok(code);
        }
        let pause = launch.pause.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_PAUSE);
        let from = newest(dir).map_or("the beginning".into(), |t| format!("the checkpoint of {t}"));
        say(&format!("restart {failures} of {} in {pause:?}, from {from}: {why}", launch.restarts));
        match wait(pause, words) {
            Waited::Over => {}
            Waited::Wanted(wanted) => {
                size = (wanted.processes, wanted.workers);
                if let Some(older) = scale.replace(wanted) {
                    older.reply(false, "other numbers were asked for since");
                }
            }
            Waited::Asked => {
                say("asked to end: not started again");
                return Ok(code);
            }
        }
    }
}

enum Waited {
    Over,
    Asked,
    Wanted(Scale),
}

fn wait(pause: Duration, words: &Receiver<Word>) -> Waited {
    let until = Instant::now() + pause;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match words.recv_timeout(left) {
            Ok(Word::Signal(_)) => return Waited::Asked,
            Ok(Word::Scale(wanted)) => return Waited::Wanted(wanted),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= until {
            return Waited::Over;
        }
    }
}
