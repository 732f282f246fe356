//! Starts all processes of a job on this machine, and ends them together: what `tidemill launch` does. With a checkpoint
//! directory it starts them again, see `supervise.rs`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output_lines::Output;
use super::rescale::{Control, Request, Scale};
use super::supervise;
use super::temp_file::{self, TempFile};
use crate::checkpoint::Directory;
use crate::cluster::parent_process::{self, LAUNCHER, PROGRESS, RESTARTS, Restart};
use crate::core::error::{Error, Result};
use crate::core::signals::{StopRequest, StopRequests, name};

/// Time between two checks of the processes.
const CHECK: Duration = Duration::from_millis(20);
/// How long to wait for the last lines of output after all processes have ended.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The program to start, the number of its processes, and the time limits.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: OsString,
    /// Its arguments. `-n N -p I -w W --hostfile FILE` are added after them.
    pub args: Vec<OsString>,
    /// Number of processes.
    pub processes: usize,
    /// Workers of each process.
    pub workers: usize,
    /// A process that was asked to end is killed after this time.
    pub kill_after: Duration,
    /// When one process has ended with code 0, the others are asked to end after this time.
    pub grace: Duration,
    /// The program's checkpoint directory, added to its arguments as `--checkpoint DIR`. When a process fails or hangs, all are
    /// ended and started again. `None`: nothing is started again.
    pub checkpoint: Option<PathBuf>,
    /// At most this number of restarts without a newly committed batch.
    pub restarts: u32,
    /// Pause before the first restart. Each further pause is twice as long, at most 30 s.
    pub pause: Duration,
    /// With a checkpoint directory, a process that is stopped (SIGSTOP) for this time is killed and started again.
    pub stopped_for: Duration,
    /// Whether each line of stdout begins with `[p] `, where p is the process. Lines of stderr always do.
    pub prefix: bool,
}

impl Launch {
    /// A launch with the default limits: killed 10 s after the request to end; asked to end 30 s after the first has ended.
    pub fn new(program: impl Into<OsString>, args: Vec<OsString>, processes: usize, workers: usize) -> Self {
        let (kill_after, grace) = (Duration::from_secs(10), Duration::from_secs(30));
        let (pause, stopped_for) = (Duration::from_secs(1), Duration::from_secs(15));
        let program = program.into();
        let (checkpoint, restarts, prefix) = (None, 10, false);
        Launch { program, args, processes, workers, kill_after, grace, checkpoint, restarts, pause, stopped_for, prefix }
    }

    /// Starts the processes, copies their output line by line, and waits for all. Lines of stderr begin with `[p] `, where p is the
    /// process. Returns the exit code of the process that failed first, or 0. A process that was killed from outside counts as the first, because the others fail when they lose
    /// it. SIGINT and SIGTERM are passed on to the processes, which stop in order; a second signal kills them. Programs of tidemill
    /// end when the thread that calls this ends.
    ///
    /// With a checkpoint directory they are started again when they fail. [`rescale`] starts them again with other numbers.
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
        let forward = move || signals.forever().try_for_each(|signal| send.send(Request::Signal(signal))).is_ok();
        let thread = Builder::new().name("tm-forward".into()).spawn(forward);
        let thread = thread.map_err(|e| Error::io("cannot start the thread that waits for signals", e))?;
        let code = self.supervise(out, err, &received);
        handle.close();
        let _ = thread.join();
        drop(control);
        code
    }

    /// Like [`run`](Self::run), but takes signals and requests from `requests`.
    pub(super) fn supervise<O, E>(&self, out: O, err: E, requests: &Receiver<Request>) -> Result<i32>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        if self.processes == 0 || self.workers == 0 {
            let (n, w) = (self.processes, self.workers);
            return Err(Error::config(format!("-n {n} -w {w}: a job has at least one process with one worker")));
        }
        temp_file::remove_left();
        supervise::supervise(self, &Output::new(out, self.prefix), &Output::new(err, true), requests)
    }

    /// Starts all processes once, and waits until all have ended. `rescaled` gets a reply when they run, or have failed before. The
    /// processes write into the file `progress` that they run, and which batch was committed last.
    pub(super) fn round<O, E>(
        &self,
        size: (usize, usize),
        mut rescaled: Option<Scale>,
        Told { progress, restarts }: Told<'_>,
        out: &Output<O>,
        err: &Output<E>,
        requests: &Receiver<Request>,
    ) -> Result<Ended>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        let hostfile = hostfile(size.0)?;
        if let Some(file) = progress {
            parent_process::begin(file);
        }
        let (reading, all_read) = channel();
        let mut group = Group {
            launch: self,
            children: Vec::new(),
            stage: Stage::Running,
            first_done: None,
            sent: Vec::new(),
            code: None,
            why: None,
            killed: false,
            asked: StopRequests::default(),
            wanted: None,
        };
        for process in 0..size.0 {
            let mut child = self.spawn(process, size, hostfile.path(), Told { progress, restarts })?;
            let pipes = (child.stdout.take(), child.stderr.take());
            group.children.push(Running { child, ended: None, stopped: None });
            out.copy(process, pipes.0, &reading)?;
            err.copy(process, pipes.1, &reading)?;
        }
        drop(reading);
        let mut answer = || {
            if let Some(caller) = rescaled.take_if(|_| progress.is_some_and(parent_process::runs)) {
                caller.reply(true, &format!("runs as -n {} -w {}", size.0, size.1));
            }
        };
        while !group.check(out.closed(), |text| err.say(text)) {
            answer();
            match requests.recv_timeout(CHECK) {
                Ok(Request::Signal(signal)) => group.signal(signal, |text| err.say(text)),
                Ok(Request::Scale(wanted)) => group.rescale(wanted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(CHECK),
            }
        }
        answer();
        if let Some(caller) = rescaled {
            caller.reply(false, &group.why_not_run(size));
        }
        // What the processes have started ends with them. It would keep their pipes and ports open.
        group.send(Signal::KILL, |_| true);
        let until = Instant::now() + LAST_LINES;
        while !matches!(
            all_read.recv_timeout(until.saturating_duration_since(Instant::now())),
            Err(RecvTimeoutError::Disconnected)
        ) && Instant::now() < until
        {}
        let (code, why) = (group.code.unwrap_or(0), group.why.take());
        Ok(Ended { code, why, asked: group.asked.any(), wanted: group.wanted.take() })
    }

    fn spawn(&self, process: usize, size: (usize, usize), hostfile: &Path, told: Told<'_>) -> Result<Child> {
        let numbers = [("-n", size.0), ("-p", process), ("-w", size.1)];
        Command::new(&self.program)
            .args(&self.args)
            .args(numbers.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_string()]))
            .arg("--hostfile")
            .arg(hostfile)
            .args(self.checkpoint.iter().flat_map(|dir| [OsStr::new("--checkpoint"), dir.as_os_str()]))
            .env(LAUNCHER, std::process::id().to_string())
            .envs(told.progress.map(|file| (PROGRESS, file)))
            .env(RESTARTS, parent_process::told(told.restarts))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It gets its own process group, so that a terminal's ctrl-c reaches it only once, through the launcher.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::io(format!("cannot start {}", self.program.display()), e))
    }
}

/// What a launch tells the processes that it starts.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// Where process 0 writes how far it is.
    pub progress: Option<&'a Path>,
    /// Why the job was started again, the newest last.
    pub restarts: &'a [Restart],
}

/// How one start of all processes went.
pub(super) struct Ended {
    pub code: i32,
    /// Which process failed, and how.
    pub why: Option<String>,
    /// Whether a signal asked for the end.
    pub asked: bool,
    /// The requested number of processes and workers, if the job was rescaled.
    pub wanted: Option<Scale>,
}

struct Running {
    child: Child,
    ended: Option<ExitStatus>,
    /// When it was first seen stopped.
    stopped: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Running,
    /// Asked to end by the user: without a time limit.
    Asked,
    /// Asked to end at this time, because another process has ended.
    Ending(Instant),
    Killed,
}

/// The processes of one start, and whether they run or end.
struct Group<'a> {
    launch: &'a Launch,
    children: Vec<Running>,
    stage: Stage,
    first_done: Option<(usize, Instant)>,
    /// Signals that this launch has sent to the processes.
    sent: Vec<Signal>,
    code: Option<i32>,
    /// Which process has ended with this code, and how.
    why: Option<String>,
    /// Whether the code is that of a process that was killed from outside.
    killed: bool,
    asked: StopRequests,
    wanted: Option<Scale>,
}

impl Group<'_> {
    /// Checks which processes have ended, and acts on it. Returns true when all have ended. `unread`: nobody reads stdout any more.
    fn check(&mut self, unread: bool, mut say: impl FnMut(&str)) -> bool {
        for process in 0..self.children.len() {
            let running = &mut self.children[process];
            if running.ended.is_none()
                && let Ok(Some(status)) = running.child.try_wait()
            {
                running.ended = Some(status);
                self.ended(process, status, unread, &mut say);
            }
        }
        if self.launch.checkpoint.is_some() {
            self.kill_stopped(&mut say);
        }
        let all = self.children.iter().all(|c| c.ended.is_some());
        match (self.stage, self.first_done) {
            (Stage::Running, Some((process, at))) if !all && at.elapsed() >= self.launch.grace => {
                say(&format!("process {process} ended {:?} ago; the others are asked to end", self.launch.grace));
                self.end();
            }
            (Stage::Ending(since), _) if !all && since.elapsed() >= self.launch.kill_after => {
                say(&format!("processes have not ended {:?} after the request: they are killed", self.launch.kill_after));
                self.kill();
            }
            _ => {}
        }
        all
    }

    /// Kills a process that has been stopped for too long: it does not react to a request.
    fn kill_stopped(&mut self, say: &mut impl FnMut(&str)) {
        for (process, running) in self.children.iter_mut().enumerate().filter(|(_, c)| c.ended.is_none()) {
            if !is_stopped(running.child.id()) {
                running.stopped = None;
            } else if running.stopped.get_or_insert_with(Instant::now).elapsed() >= self.launch.stopped_for {
                say(&format!("process {process} has been stopped for {:?}: it is killed", self.launch.stopped_for));
                let _ = running.child.kill();
            }
        }
    }

    fn ended(&mut self, process: usize, status: ExitStatus, unread: bool, say: &mut impl FnMut(&str)) {
        // A shell reports a program that SIGPIPE has ended by 128 plus the signal.
        let pipe = Signal::PIPE.as_raw();
        if status.success() || unread && (status.signal() == Some(pipe) || status.code() == Some(128 + pipe)) {
            self.first_done.get_or_insert((process, Instant::now()));
            return;
        }
        // As in a shell: 128 plus the number of the signal.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let from_outside = status.signal().is_some_and(|n| self.sent.iter().all(|s| s.as_raw() != n));
        let short = from_outside && status.signal() == Some(Signal::KILL.as_raw()) && self.children[process].stopped.is_none();
        let hint = if short { ", as the system does when memory is short" } else { "" };
        let text = format!("process {process} ended: {status}{hint}");
        say(&text);
        if from_outside && !self.killed {
            (self.code, self.why, self.killed) = (Some(code), Some(text), true);
        } else if self.code.is_none() {
            (self.code, self.why) = (Some(code), Some(text));
        }
        if matches!(self.stage, Stage::Running | Stage::Asked) {
            self.end();
        }
    }

    /// Stops the job in order. `supervise` starts it again with the new numbers.
    fn rescale(&mut self, wanted: Scale) {
        let (workers, dir) = (wanted.processes * wanted.workers, self.launch.checkpoint.as_deref());
        // A directory that cannot be read is an error of the program that opens it.
        let most = dir.and_then(|dir| Directory::open(dir).ok()).map(|dir| dir.genesis().key_groups as usize);
        if let Some(most) = most.filter(|most| workers > *most) {
            return wanted
                .reply(false, &format!("{workers} workers are more than max_parallelism {most} of the checkpoint directory"));
        }
        match self.stage {
            Stage::Running if self.launch.checkpoint.is_some() => {
                self.stage = Stage::Asked;
                self.wanted = Some(wanted);
                self.signal_all(Signal::TERM);
            }
            _ => wanted.reply(false, "the job is ending already"),
        }
    }

    /// Why the job has ended before it ran, for the caller of a rescale.
    fn why_not_run(&self, (processes, workers): (usize, usize)) -> String {
        match &self.why {
            _ if self.asked.any() => "the job was asked to end".into(),
            _ if self.wanted.is_some() => "replaced by a later request".into(),
            Some(why) => {
                format!(
                    "{why}, before the job ran as -n {processes} -w {workers}; the log of `tidemill launch` says how it continues"
                )
            }
            None => "the job has ended".into(),
        }
    }

    fn signal(&mut self, signal: i32, mut say: impl FnMut(&str)) {
        let request = self.asked.signal(Instant::now());
        if request == StopRequest::Same {
            return;
        }
        if let Some(wanted) = self.wanted.take() {
            wanted.reply(false, "the job was asked to end");
        }
        match self.stage {
            Stage::Running => {
                self.stage = Stage::Asked;
                self.signal_all(if signal == SIGINT { Signal::INT } else { Signal::TERM });
            }
            // The job stops already, because of a rescale or a failure.
            _ if request == StopRequest::First => {}
            _ => {
                say(&format!("a second signal, {}: the processes are killed", name(signal)));
                self.kill();
            }
        }
    }

    fn end(&mut self) {
        self.stage = Stage::Ending(Instant::now());
        self.signal_all(Signal::TERM);
        // A stopped process must run to react.
        self.send(Signal::CONT, |c| c.ended.is_none());
    }

    fn kill(&mut self) {
        self.stage = Stage::Killed;
        self.signal_all(Signal::KILL);
    }

    fn signal_all(&mut self, signal: Signal) {
        self.sent.push(signal);
        self.send(signal, |c| c.ended.is_none());
    }

    /// Sends a signal to processes and to all that they have started, which are their process groups.
    fn send(&self, signal: Signal, to: impl Fn(&Running) -> bool) {
        for running in self.children.iter().filter(|c| to(c)) {
            if let Some(group) = i32::try_from(running.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, signal);
            }
        }
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        // Processes are left only if the start of another one failed.
        self.send(Signal::KILL, |c| c.ended.is_none());
        for running in self.children.iter_mut().filter(|c| c.ended.is_none()) {
            let _ = running.child.wait();
        }
    }
}

/// Whether the system says that a process is stopped.
fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state is behind the name, which may contain any characters.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// A temporary hostfile with a free loopback port for each process.
fn hostfile(processes: usize) -> Result<TempFile> {
    let failed = |e| Error::io("cannot find free ports on 127.0.0.1", e);
    // All ports stay open until the last one is found, so that no two are equal.
    let held = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let mut text = String::new();
    for listener in &held {
        text.push_str(&format!("{}\n", listener.local_addr().map_err(failed)?));
    }
    TempFile::new("hosts", text.as_bytes())
}
