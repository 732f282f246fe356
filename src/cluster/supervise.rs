//! Restarts of a launch with a checkpoint directory. When a process dies or hangs, all are ended and started again, with growing
//! pauses. It gives up after too many restarts without a newly committed batch.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::launch::{Ended, Launch, Told};
use super::output_lines::Output;
use super::rescale::{Request, Scale};
use super::temp_file::TempFile;
use crate::checkpoint::Directory;
use crate::cluster::parent_process::{Restart, committed};
use crate::core::error::Result;
use crate::core::time::{BatchTime, human_duration};

/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The exit code of clap for wrong arguments. A restart would not help.
const USAGE: i32 = 2;

/// The time of the newest usable checkpoint.
fn newest(dir: &Path) -> Option<BatchTime> {
    let all = Directory::open(dir).and_then(|d| d.checkpoints()).ok()?;
    all.into_iter().find(|(_, manifest)| manifest.is_ok()).map(|(file, _)| file.time)
}

/// Starts all processes, and starts them again if there is a checkpoint directory. Returns the last exit code.
pub(super) fn supervise<O, E>(launch: &Launch, out: &Output<O>, err: &Output<E>, requests: &Receiver<Request>) -> Result<i32>
where
    O: Write + Send + 'static,
    E: Write + Send + 'static,
{
    let say = |text: &str| err.say(text);
    let (mut size, mut scale, mut failures) = ((launch.processes, launch.workers), None::<Scale>, 0);
    let progress = launch.checkpoint.as_ref().map(|_| TempFile::new("progress", b"")).transpose()?;
    let mut restarts = Vec::new();
    // The last committed batch of all starts: batches that run again are not progress.
    let mut reached = None;
    loop {
        let progress = progress.as_ref().map(TempFile::path);
        let Ended { code, why, asked, wanted } =
            launch.round(size, scale.take(), Told { progress, restarts: &restarts }, out, err, requests)?;
        if let Some(wanted) = wanted {
            restarts.push(Restart::now(format!("rescaled to -n {} -w {}", wanted.processes, wanted.workers)));
            say(&format!("rescale: the job continues with -n {} -w {}", wanted.processes, wanted.workers));
            size = (wanted.processes, wanted.workers);
            scale = Some(wanted);
        }
        let Some(dir) = launch.checkpoint.as_deref() else { return Ok(code) };
        if code == 0 && scale.is_some() {
            failures = 0;
            continue;
        }
        if code == 0 || asked || out.closed() {
            return Ok(code);
        }
        let why = why.unwrap_or_else(|| format!("exit status: {code}"));
        if code == USAGE {
            say(&format!("not started again: {why}, which means wrong arguments"));
            return Ok(code);
        }
        let now = progress.and_then(committed).max(reached);
        failures = if now > reached { 1 } else { failures + 1 };
        reached = now;
        if failures > launch.restarts {
            let (tries, since) = (launch.restarts, now.map_or(String::new(), |t| format!(" since the one of {t}")));
            let gave_up = format!("gave up after {tries} restarts without a new batch{since}; the last failure: {why}");
            say(&format!("{gave_up}; mend the program and start it again: it continues from its checkpoint"));
            return Ok(code);
        }
        restarts.push(Restart::now(why.as_str()));
        let pause = launch.pause.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_PAUSE);
        let from = newest(dir).map_or("there is no checkpoint yet".into(), |t| format!("from the checkpoint of {t}"));
        say(&format!("restart {failures} of {} in {}, {from}: {why}", launch.restarts, human_duration(pause)));
        match wait(pause, requests) {
            Waited::Over => {}
            Waited::Wanted(wanted) => {
                size = (wanted.processes, wanted.workers);
                if let Some(older) = scale.replace(wanted) {
                    older.reply(false, "replaced by a later request");
                }
            }
            Waited::Asked => {
                say("asked to end: the job is not started again");
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

fn wait(pause: Duration, requests: &Receiver<Request>) -> Waited {
    let until = Instant::now() + pause;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match requests.recv_timeout(left) {
            Ok(Request::Signal(_)) => return Waited::Asked,
            Ok(Request::Scale(wanted)) => return Waited::Wanted(wanted),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(left),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if Instant::now() >= until {
            return Waited::Over;
        }
    }
}
