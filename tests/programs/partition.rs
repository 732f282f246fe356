//! Two processes in two network namespaces, as on two machines. The link between them loses packets, in one direction or both, or
//! is slow.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::child::{Ended, Program, TempFile, path};

/// Longer than the outage that the job must survive, and than TCP's wait before its next try. TCP doubles this wait each time.
const HEARTBEAT: Duration = Duration::from_secs(15);
const CUT: Duration = Duration::from_secs(5);

fn system(words: &str) -> String {
    let mut split = words.split(' ');
    let done = Command::new(split.next().unwrap()).args(split).output();
    let needs = "this test needs root, and the packages iproute2 and iptables";
    let done = done.unwrap_or_else(|e| panic!("{words}: {e}; {needs}"));
    assert!(done.status.success(), "{words}: {}; {needs}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Two network namespaces and a link between them. They are removed on drop.
struct Machines([String; 2]);

impl Machines {
    fn new() -> Machines {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let machines = Machines([0, 1].map(|m| format!("tidemill-{}-{number}-{m}", std::process::id())));
        machines.0.iter().for_each(|name| drop(system(&format!("ip netns add {name}"))));
        let [zero, one] = &machines.0;
        system(&format!("ip link add cable netns {zero} type veth peer name cable netns {one}"));
        for (m, name) in machines.0.iter().enumerate() {
            system(&format!("ip -n {name} address add {}/24 dev cable", Self::address(m)));
            system(&format!("ip -n {name} link set cable up"));
            system(&format!("ip -n {name} link set lo up"));
        }
        machines
    }

    fn address(machine: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, 7, 1 + machine as u8)
    }

    fn command(&self, machine: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[machine], program]);
        command
    }

    /// From now on this machine receives no packet from the link.
    fn deafen(&self, machine: usize) {
        system(&format!("ip netns exec {} iptables -A INPUT -i cable -j DROP", self.0[machine]));
    }

    /// The machine receives packets again. Returns how many were lost.
    fn heal(&self, machine: usize) -> u64 {
        let name = &self.0[machine];
        let rules = system(&format!("ip netns exec {name} iptables -nvxL INPUT"));
        system(&format!("ip netns exec {name} iptables -F INPUT"));
        let drops = rules.lines().filter(|l| l.contains("DROP"));
        drops.map(|l| l.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// A word count of two processes, one on each machine, and a program that sends it lines.
struct Job {
    processes: [Program; 2],
    _lines: Program,
    _files: [TempFile; 2],
}

impl Job {
    fn start(machines: &Machines) -> Job {
        let serve = "import socket, time\ns = socket.create_server(('127.0.0.1', 9999))\nc = s.accept()[0]\nwhile True:\n    \
                     c.sendall(b'tide and mill\\n' * 50)\n    time.sleep(0.02)\n";
        let lines = Program::spawn("lines", machines.command(0, "python3").args(["-c", serve]), &[]);
        let hosts = [0, 1].map(|m| format!("{}:2101\n", Machines::address(m))).concat();
        let files = [TempFile::new("hosts", &hosts), TempFile::new("secret", "hunter2-canary-between-machines")];
        std::fs::set_permissions(files[1].path(), PermissionsExt::from_mode(0o600)).unwrap();
        let program = path("network_wordcount");
        let processes = [0, 1].map(|m| {
            let heartbeat = format!("{HEARTBEAT:?}");
            let flags = ["-n", "2", "-w", "2", "-p", if m == 0 { "0" } else { "1" }, "--hostfile", files[0].path()];
            let more = ["--secret-file", files[1].path(), "--heartbeat-timeout", &heartbeat, "--interval", "200ms", "127.0.0.1"];
            let mut command = machines.command(m, program.to_str().unwrap());
            Program::spawn("network_wordcount", command.args(flags).args(more), &[])
        });
        Job { processes, _lines: lines, _files: files }
    }

    fn batches(&self) -> usize {
        self.processes[0].said().0.matches("(\"tide\", ").count()
    }

    /// Waits for more batches.
    fn continues(&mut self) {
        let before = self.batches();
        self.processes[0].until("more batches", |out, _| out.matches("(\"tide\", ").count() > before + 10);
    }

    /// Waits until both processes have ended with exit code 1. Returns what each wrote to stderr.
    fn ends(self) -> [String; 2] {
        let ends = self.processes.map(Program::end);
        ends.map(|Ended { code, err, .. }| {
            assert_eq!(code, Some(1), "{err}");
            err
        })
    }
}

#[test]
#[ignore = "nightly: network namespaces need root"]
fn d3_d4_a_job_survives_packet_loss_for_5_s_and_ends_after_the_heartbeat_timeout() {
    let machines = Machines::new();
    // The machines that receive nothing.
    for deaf in [&[0, 1][..], &[0], &[1]] {
        let mut job = Job::start(&machines);
        job.continues();
        deaf.iter().for_each(|m| machines.deafen(*m));
        std::thread::sleep(CUT);
        deaf.iter().for_each(|m| assert!(machines.heal(*m) > 0, "no packet was lost"));
        job.continues();
        deaf.iter().for_each(|m| machines.deafen(*m));
        let errors = job.ends();
        let silent = "was lost: it was silent for 15s";
        assert!(errors.iter().any(|e| e.contains(silent)), "{errors:?}");
        for (m, error) in errors.iter().enumerate().filter(|(m, _)| deaf.contains(m)) {
            assert!(error.contains(&format!("process {} at 10.231.7.", 1 - m)) && error.contains(silent), "{errors:?}");
        }
        deaf.iter().for_each(|m| assert!(machines.heal(*m) > 0, "no packet was lost"));
    }
}

#[test]
#[ignore = "nightly: network namespaces need root"]
fn d4_a_slow_link_only_slows_the_job() {
    let machines = Machines::new();
    let mut job = Job::start(&machines);
    job.continues();
    for name in &machines.0 {
        system(&format!("ip netns exec {name} tc qdisc add dev cable root tbf rate 40kbit burst 4000 latency 5s"));
    }
    let begin = Instant::now();
    while begin.elapsed() < 2 * HEARTBEAT {
        job.continues();
    }
    for name in &machines.0 {
        let sent = system(&format!("ip netns exec {name} tc -s qdisc show dev cable"));
        let over = sent.split("overlimits ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        assert!(over > Some(0), "no packet was delayed: {sent}");
    }
}
