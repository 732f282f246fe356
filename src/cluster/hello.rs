//! The first message between two processes: what each runs, and what all must agree on.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::secret::Secret;
use crate::metrics::refused::Refusals;

/// What this process is, and what all processes must agree on.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The name of the job.
    pub job: String,
    /// The index of this process.
    pub process: usize,
    /// How many processes there are.
    pub processes: usize,
    /// How many workers each of them has.
    pub workers: usize,
    /// How many key groups the job has.
    pub max_parallelism: u16,
    /// Where process i listens.
    pub addresses: Vec<SocketAddr>,
    /// The hash of the graph.
    pub fingerprint: u128,
    /// The graph as readable lines. An error names the first line that differs.
    pub graph: Vec<String>,
    /// The generation that process 0 has begun; 0 without a checkpoint directory, and unknown elsewhere.
    pub generation: u64,
    /// The version, and a hash that tells two builds apart.
    pub build: String,
    /// The secret with which processes prove that they belong to the job. Without it, all addresses are those of this machine.
    pub secret: Option<Secret>,
    /// How long to wait for all processes.
    pub deadline: Duration,
    /// How long one handshake may take.
    pub limit: Duration,
    /// A process that is silent for this time is lost.
    pub heartbeat: Duration,
    /// Where refused callers are counted.
    pub refused: Refusals,
}

/// The version of tidemill and a hash of the running program. Timely's messages do not say which types their bytes are, so all
/// processes must run the same build.
pub(crate) fn build() -> String {
    // The link leads to the running program even if its file has been replaced.
    let image = std::fs::read("/proc/self/exe").or_else(|_| std::fs::read(std::env::current_exe()?));
    let program = image.map_or_else(|_| "unknown".into(), |bytes| format!("{:016x}", xxh3_64(&bytes)));
    format!("tidemill {} (program {program})", env!("CARGO_PKG_VERSION"))
}

/// The hash of a graph's description.
pub(crate) fn fingerprint(graph: &[String]) -> u128 {
    xxh3_128(graph.join("\n").as_bytes())
}

/// Which of the two sockets of a pair of processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Used by timely.
    Data,
    /// Used by tidemill: failures, ends, heartbeats.
    Link,
}

/// How much of the graph's description is sent, in bytes: it must fit into a message, and only serves to name a difference.
const GRAPH_BYTES: usize = 128 << 10;
const LINE_BYTES: usize = 400;

/// Which run of the job this is. Process 0 decides it and tells the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The generation of the checkpoint directory; 0 without one.
    pub generation: u64,
    /// The number of this start of process 0.
    pub instance: u64,
}

/// The process that calls or answers, and what it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub build: String,
    pub job: String,
    pub process: usize,
    pub processes: usize,
    pub workers: usize,
    pub addresses: Vec<String>,
    /// How long a process may be silent, in milliseconds.
    pub heartbeat: u64,
    pub fingerprint: u128,
    pub graph: Vec<String>,
    /// Differs between two starts of one process.
    pub instance: u64,
    pub kind: Kind,
    /// `None`: the process does not know the run yet.
    pub run: Option<Run>,
    pub max_parallelism: u16,
}

/// The answer of the called process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub hello: Hello,
    pub verdict: Verdict,
}

/// Whether the caller is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// It is, unless the two hellos differ, which both sides notice.
    Welcome,
    /// A running process with this index is connected already, from this address.
    Taken(String),
    /// All processes are connected and run.
    Whole,
    /// This process belongs to a later generation than the caller.
    Over(u64),
}

impl Hello {
    pub(super) fn new(spec: &Spec, instance: u64) -> Self {
        let mut left = GRAPH_BYTES;
        let lines = spec.graph.iter().map(|line| clip(line, LINE_BYTES).to_owned());
        let graph = lines.take_while(|line| left.checked_sub(line.len() + 8).map(|rest| left = rest).is_some()).collect();
        Hello {
            build: clip(&spec.build, LINE_BYTES).to_owned(),
            job: clip(&spec.job, LINE_BYTES).to_owned(),
            process: spec.process,
            processes: spec.processes,
            workers: spec.workers,
            addresses: spec.addresses.iter().map(ToString::to_string).collect(),
            heartbeat: spec.heartbeat.as_millis() as u64,
            fingerprint: spec.fingerprint,
            graph,
            instance,
            kind: Kind::Data,
            run: (spec.process == 0).then_some(Run { generation: spec.generation, instance }),
            max_parallelism: spec.max_parallelism,
        }
    }

    /// The generation that this process belongs to. 0: it does not know one yet.
    pub(super) fn generation(&self) -> u64 {
        self.run.map_or(0, |run| run.generation)
    }

    /// The first difference between the other process and this one, as a text for the user.
    pub(super) fn difference(&self, other: &Hello) -> Option<String> {
        let who = format!("process {}", other.process);
        if self.build != other.build {
            let (there, here) = (&other.build, &self.build);
            return Some(format!("{who} is {there}, and this one is {here}: start all with the same build"));
        }
        if self.job != other.job {
            let (there, here) = (&other.job, &self.job);
            return Some(format!(
                "{who} runs the job \"{there}\", and this one \"{here}\": give each job a hostfile with ports of its own"
            ));
        }
        for (flag, there, here) in [("-n", other.processes, self.processes), ("-w", other.workers, self.workers)] {
            if there != here {
                return Some(format!(
                    "{who} was started with {flag} {there}, and this one with {flag} {here}: start all with the same"
                ));
            }
        }
        if self.max_parallelism != other.max_parallelism {
            let (there, here) = (other.max_parallelism, self.max_parallelism);
            return Some(format!(
                "{who} has max_parallelism {there}, and this one has {here}: start all with the same --max-parallelism"
            ));
        }
        if self.heartbeat != other.heartbeat {
            let (there, here) = (other.heartbeat, self.heartbeat);
            return Some(format!(
                "{who} was started with --heartbeat-timeout {there}ms, and this one with {here}ms: start all with the same"
            ));
        }
        if let Some(line) = (0..self.processes).find(|&i| self.addresses.get(i) != other.addresses.get(i)) {
            let at = |list: &[String]| list.get(line).cloned().unwrap_or_else(|| "nothing".into());
            let (there, here) = (at(&other.addresses), at(&self.addresses));
            return Some(format!("{who} has process {line} at {there}, and this one at {here}: give all the same hostfile"));
        }
        if other.process >= self.processes || other.process == self.process {
            return Some(format!(
                "another process was started with -p {}, this one with -p {} of -n {}: give each its own index",
                other.process, self.process, self.processes
            ));
        }
        (self.fingerprint != other.fingerprint).then(|| self.graph_difference(&who, other))
    }

    fn graph_difference(&self, who: &str, other: &Hello) -> String {
        const REMEDY: &str = "every process must build the same program from the same arguments";
        let lines = self.graph.len().max(other.graph.len());
        match (0..lines).find(|&i| self.graph.get(i) != other.graph.get(i)) {
            Some(i) => {
                let at = |graph: &[String]| graph.get(i).map_or_else(|| "nothing".into(), |line| format!("\"{line}\""));
                let (there, here) = (at(&other.graph), at(&self.graph));
                format!("{who} built another graph: line {} is {there} there, {here} here: {REMEDY}", i + 1)
            }
            None => format!(
                "{who} built another graph (fingerprint {:032x} there, {:032x} here), though its first {lines} lines are the same: {REMEDY}",
                other.fingerprint, self.fingerprint
            ),
        }
    }
}

/// At most `bytes` bytes of a text, cut between characters.
pub(super) fn clip(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}
