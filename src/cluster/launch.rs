//! Starts all processes of a job on this machine, and ends them together: what `tidemill launch` does. With a checkpoint
//! directory it starts them again, see `supervise.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::rescale::{Control, Scale, Word};
use super::supervise;
use crate::cluster::parent_process::{LAUNCHER, PROGRESS};
use crate::core::error::{Error, Result};
use crate::core::lock::lock;

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A line longer than this is written in pieces.
const LINE: u64 = 1 << 20;
/// How long the last lines may take once all processes have ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Which program to start, how often, and how patient to be.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: OsString,
    /// Its arguments; `-n N -p I -w W --hostfile FILE` follow them.
    pub args: Vec<OsString>,
    /// How many processes.
    pub processes: usize,
    /// How many workers each.
    pub workers: usize,
    /// From the request to end to the kill.
    pub kill_after: Duration,
    /// From the first end with 0 to the request to the others to end.
    pub grace: Duration,
    /// Where the program's states are: `--checkpoint DIR` follows its arguments, and when a process fails or hangs all are
    /// ended and started again.
    pub checkpoint: Option<PathBuf>,
    /// So often in a row, without a new batch that was committed in between.
    pub restarts: u32,
    /// Before the first of these; each is twice as long, to half a minute.
    pub pause: Duration,
    /// A process that is stopped (SIGSTOP) for this time counts as hung and is killed, if it will be started again.
    pub stopped_for: Duration,
}

/// Where the lines of the processes go; one for stdout, one for stderr.
pub(super) type Out<W> = Arc<Mutex<W>>;

impl Launch {
    /// A launch with the usual patience: 10 s from the request to the kill, 30 s for those that go on when one is done.
    pub fn new(program: impl Into<OsString>, args: Vec<OsString>, processes: usize, workers: usize) -> Self {
        let (kill_after, grace) = (Duration::from_secs(10), Duration::from_secs(30));
        let (pause, stopped_for) = (Duration::from_secs(1), Duration::from_secs(15));
        let program = program.into();
        Launch { program, args, processes, workers, kill_after, grace, checkpoint: None, restarts: 10, pause, stopped_for }
    }

    /// Starts the processes, writes each line of process p as `[p] line`, and waits for all; gives the exit code of the
    /// first that failed, or 0. A process that a signal killed which does not come from here is that first, also where the
    /// others, which lose it, are seen to fail before. SIGINT and SIGTERM go on to the processes, which end in order; the
    /// second kills them. Programs of tidemill do not outlive the thread that calls this, however it ends.
    ///
    /// With a checkpoint directory they are started again when they fail, and with other numbers when [`rescale`] asks.
    ///
    /// # Errors
    /// The program cannot be started, or the hostfile not be written; another launch has the checkpoint directory.
    ///
    /// [`rescale`]: super::rescale::rescale
    pub fn run<O, E>(&self, out: O, err: E) -> Result<i32>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Error::io("cannot wait for signals", e))?;
        let handle = signals.handle();
        let (send, received) = channel();
        let control = self.checkpoint.as_deref().map(|dir| Control::open(dir, send.clone())).transpose()?;
        let forward = move || signals.forever().try_for_each(|signal| send.send(Word::Signal(signal))).is_ok();
        let thread = Builder::new().name("tm-forward".into()).spawn(forward);
        let thread = thread.map_err(|e| Error::io("cannot start the thread that waits for signals", e))?;
        let code = self.supervise(out, err, &received);
        handle.close();
        let _ = thread.join();
        drop(control);
        code
    }

    /// [`run`](Self::run), with the signals as they are given.
    pub(super) fn supervise<O, E>(&self, out: O, err: E, words: &Receiver<Word>) -> Result<i32>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        if self.processes == 0 || self.workers == 0 {
            let (n, w) = (self.processes, self.workers);
            return Err(Error::config(format!("-n {n} -w {w}: a job has at least one process with one worker")));
        }
        supervise::supervise(self, &Arc::new(Mutex::new(out)), &Arc::new(Mutex::new(err)), words)
    }

    /// One start of all processes, until all have ended. `told` hears when they run; in `progress` they say how far they are.
    pub(super) fn round<O, E>(
        &self,
        size: (usize, usize),
        told: Option<Scale>,
        progress: Option<&Path>,
        out: &Out<O>,
        err: &Out<E>,
        words: &Receiver<Word>,
    ) -> Result<Ended>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        let hostfile = hostfile(size.0)?;
        let (reading, all_read) = channel();
        let mut family = Family {
            launch: self,
            children: Vec::new(),
            stage: Stage::Running,
            first_done: None,
            sent: Vec::new(),
            code: None,
            why: None,
            killed: false,
            asked: false,
            wanted: None,
        };
        for process in 0..size.0 {
            let mut child = self.spawn(process, size, hostfile.path(), progress)?;
            let pipes = (child.stdout.take(), child.stderr.take());
            family.children.push(Running { child, ended: None, stopped: None });
            copy(process, pipes.0, out, &reading)?;
            copy(process, pipes.1, err, &reading)?;
        }
        drop(reading);
        if let Some(told) = told {
            told.reply(true, &format!("runs as -n {} -w {}", size.0, size.1));
        }
        while !family.look(|text| line(err, "launch", text.as_bytes())) {
            match words.recv_timeout(LOOK) {
                Ok(Word::Signal(signal)) => family.signal(signal),
                Ok(Word::Scale(wanted)) => family.scale(wanted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
        }
        // What the processes started themselves ends with them: it would hold their pipes, and their ports.
        family.send(Signal::KILL, |_| true);
        let until = Instant::now() + LAST_LINES;
        while !matches!(
            all_read.recv_timeout(until.saturating_duration_since(Instant::now())),
            Err(RecvTimeoutError::Disconnected)
        ) && Instant::now() < until
        {}
        let (code, why) = (family.code.unwrap_or(0), family.why.take());
        Ok(Ended { code, why, asked: family.asked, wanted: family.wanted.take() })
    }

    fn spawn(&self, process: usize, size: (usize, usize), hostfile: &Path, progress: Option<&Path>) -> Result<Child> {
        let numbers = [("-n", size.0), ("-p", process), ("-w", size.1)];
        Command::new(&self.program)
            .args(&self.args)
            .args(numbers.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]))
            .arg("--hostfile")
            .arg(hostfile)
            .args(self.checkpoint.iter().flat_map(|dir| [OsStr::new("--checkpoint"), dir.as_os_str()]))
            .env(LAUNCHER, std::process::id().to_string())
            .envs(progress.map(|file| (PROGRESS, file)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a terminal's ctrl-c reaches it once, from here.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::io(format!("cannot start {}", self.program.display()), e))
    }
}

/// How one start of all processes went.
pub(super) struct Ended {
    pub code: i32,
    /// Which process failed, and how.
    pub why: Option<String>,
    /// Whether a signal asked for the end.
    pub asked: bool,
    /// The numbers to go on with.
    pub wanted: Option<Scale>,
}

struct Running {
    child: Child,
    ended: Option<ExitStatus>,
    /// Since when it is stopped.
    stopped: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Running,
    /// Asked by a signal: take your time.
    Asked,
    /// Told to end, since then.
    Ending(Instant),
    Killed,
}

/// The processes, and how far their end has come.
struct Family<'a> {
    launch: &'a Launch,
    children: Vec<Running>,
    stage: Stage,
    first_done: Option<(usize, Instant)>,
    /// Signals that were sent to the processes.
    sent: Vec<Signal>,
    code: Option<i32>,
    /// Whose code that is.
    why: Option<String>,
    /// Whether that is the code of a process that was killed from outside.
    killed: bool,
    asked: bool,
    wanted: Option<Scale>,
}

impl Family<'_> {
    /// Looks who has ended and does what follows from it; true when all have.
    fn look(&mut self, mut say: impl FnMut(&str)) -> bool {
        for process in 0..self.children.len() {
            let running = &mut self.children[process];
            if running.ended.is_none()
                && let Ok(Some(status)) = running.child.try_wait()
            {
                running.ended = Some(status);
                self.ended(process, status, &mut say);
            }
        }
        if self.launch.checkpoint.is_some() {
            self.wake_or_kill(&mut say);
        }
        let all = self.children.iter().all(|c| c.ended.is_some());
        match (self.stage, self.first_done) {
            (Stage::Running, Some((process, at))) if !all && at.elapsed() >= self.launch.grace => {
                say(&format!("process {process} is done since {:?}, the others are ended", self.launch.grace));
                self.end();
            }
            (Stage::Ending(since), _) if !all && since.elapsed() >= self.launch.kill_after => {
                say(&format!("not ended after {:?}: killed", self.launch.kill_after));
                self.kill();
            }
            _ => {}
        }
        all
    }

    /// A process that is stopped hears no request. Its peers would find out, if it has any.
    fn wake_or_kill(&mut self, say: &mut impl FnMut(&str)) {
        for (process, running) in self.children.iter_mut().enumerate().filter(|(_, c)| c.ended.is_none()) {
            if !is_stopped(running.child.id()) {
                running.stopped = None;
            } else if running.stopped.get_or_insert_with(Instant::now).elapsed() >= self.launch.stopped_for {
                say(&format!("process {process} is stopped since {:?}: killed", self.launch.stopped_for));
                let _ = running.child.kill();
            }
        }
    }

    fn ended(&mut self, process: usize, status: ExitStatus, say: &mut impl FnMut(&str)) {
        if status.success() {
            self.first_done.get_or_insert((process, Instant::now()));
            return;
        }
        // A shell's way to say which signal it was.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let from_outside = status.signal().is_some_and(|n| self.sent.iter().all(|s| s.as_raw() != n));
        let short = from_outside && status.signal() == Some(Signal::KILL.as_raw()) && self.children[process].stopped.is_none();
        let hint = if short { ", as the system does where memory is short" } else { "" };
        let words = format!("process {process} ended: {status}{hint}");
        say(&words);
        if from_outside && !self.killed {
            (self.code, self.why, self.killed) = (Some(code), Some(words), true);
        } else if self.code.is_none() {
            (self.code, self.why) = (Some(code), Some(words));
        }
        if matches!(self.stage, Stage::Running | Stage::Asked) {
            self.end();
        }
    }

    /// The job stops in order; what follows is not decided here.
    fn scale(&mut self, wanted: Scale) {
        match self.stage {
            Stage::Running if self.launch.checkpoint.is_some() => {
                self.stage = Stage::Asked;
                self.wanted = Some(wanted);
                self.tell(Signal::TERM);
            }
            _ => wanted.reply(false, "the job is on its way to its end already"),
        }
    }

    fn signal(&mut self, signal: i32) {
        self.asked = true;
        if let Some(wanted) = self.wanted.take() {
            wanted.reply(false, "the job was asked to end");
        }
        match self.stage {
            Stage::Running => {
                self.stage = Stage::Asked;
                self.tell(if signal == SIGINT { Signal::INT } else { Signal::TERM });
            }
            _ => self.kill(),
        }
    }

    fn end(&mut self) {
        self.stage = Stage::Ending(Instant::now());
        self.tell(Signal::TERM);
        // One that is stopped would not hear it.
        self.send(Signal::CONT, |c| c.ended.is_none());
    }

    fn kill(&mut self) {
        self.stage = Stage::Killed;
        self.tell(Signal::KILL);
    }

    fn tell(&mut self, signal: Signal) {
        self.sent.push(signal);
        self.send(signal, |c| c.ended.is_none());
    }

    /// To the process and all it started, which are its group.
    fn send(&self, signal: Signal, to: impl Fn(&Running) -> bool) {
        for running in self.children.iter().filter(|c| to(c)) {
            if let Some(group) = i32::try_from(running.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, signal);
            }
        }
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        // Only if the start failed half-way: no process stays behind.
        self.send(Signal::KILL, |c| c.ended.is_none());
        for running in self.children.iter_mut().filter(|c| c.ended.is_none()) {
            let _ = running.child.wait();
        }
    }
}

/// Whether the system says that a process is stopped.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Copies what one pipe brings, line by line, until its end. `reading` is dropped then.
fn copy<W: Write + Send + 'static>(
    process: usize,
    pipe: Option<impl Read + Send + 'static>,
    to: &Out<W>,
    reading: &Sender<()>,
) -> Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let (to, reading, name) = (to.clone(), reading.clone(), process.to_string());
    let body = move || {
        let _reading = reading;
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.by_ref().take(LINE).read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            line(&to, &name, &bytes);
            bytes.clear();
        }
    };
    let spawned = Builder::new().name(format!("tm-lines-{process}")).spawn(body);
    spawned.map(|_| ()).map_err(|e| Error::io("cannot start the thread that copies output", e))
}

/// One whole line, in one write.
pub(super) fn line<W: Write>(to: &Out<W>, name: &str, bytes: &[u8]) {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut whole = format!("[{name}] ").into_bytes();
    whole.extend_from_slice(bytes);
    whole.push(b'\n');
    let mut to = lock(to);
    // The output has no reader any more. The processes continue.
    let _ = to.write_all(&whole).and_then(|()| to.flush());
}

/// A file with a free loopback port for each process.
fn hostfile(processes: usize) -> Result<TempFile> {
    let failed = |e| Error::io("cannot find free ports on 127.0.0.1", e);
    // All are held until each is found, so that no two are the same.
    let held = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let mut text = String::new();
    for listener in &held {
        text.push_str(&format!("{}\n", listener.local_addr().map_err(failed)?));
    }
    TempFile::new("hosts", text.as_bytes())
}

/// A file among temporary ones that only this user can read, gone when dropped.
pub(super) struct TempFile {
    path: PathBuf,
}

impl TempFile {
    pub fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        let (path, mut file) = Self::create(name)?;
        let this = TempFile { path };
        file.write_all(bytes).map_err(|e| Error::io(format!("cannot write {}", this.path.display()), e))?;
        Ok(this)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn create(name: &str) -> Result<(PathBuf, File)> {
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("tidemill-{name}-{}-{number}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io(format!("cannot create {}", path.display()), e)),
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
