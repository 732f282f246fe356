//! The page of a job of several processes: it adds up to the input, its views answer, and a reader of another machine needs a token.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value as Json;

use crate::broker::{Broker, Value};
use crate::child::{Program, Signal, TempDir, TempFile, addresses, hostfile, run};

const WORDS: &[Value] = &[Some(br#"{"word":"tide"}"#), Some(br#"{"word":"mill"}"#), Some(b"no json")];

/// The address in the line about the page.
pub fn address(program: &mut Program) -> String {
    let mut found = None;
    program.until("the line about the page", |_, err| {
        found = err.lines().find_map(|l| Some(l.split_once(" at http://")?.1.split('/').next()?.to_owned()));
        found.is_some()
    });
    found.unwrap()
}

/// The status and the body. `header`: one more header.
fn get(address: &str, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

pub fn json(address: &str, path: &str) -> Json {
    serde_json::from_str(&get(address, path, "").1).unwrap()
}

#[test]
fn the_page_of_several_processes_adds_up_to_the_input() {
    for (processes, workers) in [(1, 1), (1, 4), (2, 2)] {
        let broker = Broker::start();
        let input: [Vec<Value>; 3] = [WORDS.repeat(4), WORDS.to_vec(), WORDS.repeat(20)];
        broker.topic("words", &input.each_ref().map(Vec::as_slice));
        broker.topic("counts", &[&[]]);
        let all = addresses(processes);
        let hosts = hostfile(&all);
        let start = |process: usize| {
            let numbers = [processes, process, workers].map(|n| n.to_string());
            let layout = ["-n", &numbers[0], "-p", &numbers[1], "-w", &numbers[2], "--hostfile", hosts.path()];
            let job = ["--brokers", &broker.address, "--in", "words", "--out", "counts", "--interval", "50ms"];
            let args = job.iter().chain(&layout).chain(&["--listen", "127.0.0.1:0"]);
            Program::start_in("kafka_wordcount", args, &[("RUST_LOG", "info")])
        };
        let mut programs: Vec<Program> = (0..processes).map(start).collect();
        let page = address(&mut programs[0]);
        programs[0].until("all records", |_, _| {
            let now = json(&page, "/api/v1/job");
            now["records"] == 75 && now["bad"] == 25
        });
        let batches = json(&page, "/api/v1/batches");
        let mut by_partition = [0; 3];
        let (mut read, mut counted) = (0, 0);
        for batch in batches.as_array().unwrap().iter().filter(|b| b["records"] != 0) {
            let batch = json(&page, &format!("/api/v1/batches/{}", batch["time"]));
            for input in batch["inputs"].as_array().unwrap() {
                let [partition, records, from, until] =
                    ["partition", "records", "from", "until"].map(|f| input[f].as_u64().unwrap());
                assert_eq!((records, &input["topic"]), (until - from, &"words".into()));
                by_partition[partition as usize] += records;
            }
            let rows = |verb: &str, field: &str| {
                let operators = batch["operators"].as_array().unwrap();
                let operator = operators.iter().find(|o| o["name"].as_str().unwrap().starts_with(verb)).unwrap();
                let of = operator["workers"].as_array().unwrap();
                assert_eq!(of.len(), processes * workers, "{operator}");
                assert_eq!(operator[field], of.iter().map(|w| w[field].as_u64().unwrap()).sum::<u64>());
                operator[field].as_u64().unwrap()
            };
            (read, counted) = (read + rows("kafka_direct_stream", "rows_out"), counted + rows("try_count_by", "rows_in"));
            let outputs = batch["outputs"].as_array().unwrap();
            assert!(!outputs.is_empty() && outputs.iter().all(|o| o["tries"] == 1), "{outputs:?}");
        }
        assert_eq!(by_partition, [12, 3, 60], "{processes} x {workers}");
        assert_eq!((read, counted), (75, 75), "{processes} x {workers}");
        let bad = batches.as_array().unwrap().iter().map(|b| b["bad"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(bad, 25);
        let splits = json(&page, "/api/v1/sources")[0]["splits"].clone();
        let positions: Vec<u64> = splits.as_array().unwrap().iter().map(|s| s["position"].as_u64().unwrap()).collect();
        assert_eq!(positions, [12, 3, 60]);
        let top = run("tidemill", ["top", &page, "--once"]);
        assert!(top.code == Some(0) && top.out.contains("records               75"), "{} {}", top.out, top.err);
        assert!(top.out.lines().any(|l| l.starts_with("try_count_by (kafka_wordcount.rs:")), "{}", top.out);
        let query = |args: &[&str]| run("tidemill", ["query", &page].iter().chain(args));
        assert_eq!(query(&[]).out, "counts\n");
        assert_eq!(query(&["counts"]).out, "mill\t25\ntide\t25\n", "{processes} x {workers}");
        assert_eq!(query(&["counts", "--key", "tide", "--json"]).out, "[\"tide\",25]\n");
        assert_eq!(
            (query(&["counts", "--top", "1"]).out, query(&["counts", "--prefix", "x"]).out),
            ("mill\t25\n".into(), "".into())
        );
        let unknown = query(&["words"]);
        assert!(unknown.code == Some(1) && unknown.err.contains("there are: counts"), "{}", unknown.err);
        programs[0].until("what processes use and workers hold", |_, _| {
            let memory = json(&page, "/api/v1/state")["memory"].clone();
            let numbers: Vec<_> = memory["processes"].as_array().unwrap().iter().map(|p| p["process"].as_u64()).collect();
            let workers = memory["states"][0]["workers"].as_array().map_or(0, Vec::len);
            // Two words are counted.
            numbers == (0..processes as u64).map(Some).collect::<Vec<_>>() && workers > 0 && memory["states"][0]["keys"] == 2
        });
        let used = get(&page, "/metrics", "").1;
        for process in 0..processes {
            assert!(sum(&used, &format!("tidemill_process_resident_memory_bytes{{process=\"{process}\"}}"), "") > 1 << 20);
        }
        if workers != 4 {
            programs[0].until("what the clients of Kafka say in each process", |_, _| {
                let clients = json(&page, "/api/v1/kafka");
                // Two words may go to one process, so the producer of the other one may have nothing to do.
                let kinds = if processes == 1 { &["consumer", "producer"][..] } else { &["consumer"] };
                (0..processes).all(|process| {
                    kinds.iter().all(|kind| {
                        let mut brokers = clients
                            .as_array()
                            .unwrap()
                            .iter()
                            .filter(|c| c["process"] == process && c["client"] == *kind)
                            .flat_map(|c| c["brokers"].as_array().unwrap());
                        let up = |b: &Json| b["state"] == "UP" && b["rtt_ms"].as_f64() > Some(0.0);
                        brokers.any(|b| b["broker"] == broker.address.as_str() && up(b))
                    })
                })
            });
            let metrics = get(&page, "/metrics", "").1;
            for name in ["rtt_seconds", "rtt_p99_seconds", "waiting_requests", "request_errors_total"] {
                let sample = format!("tidemill_kafka_{name}{{client=\"consumer\",broker=\"{}\"}} ", broker.address);
                assert!(metrics.contains(&sample), "{sample}: {metrics}");
            }
            let queued = if processes == 1 { "producer" } else { "consumer" };
            assert!(metrics.contains(&format!("tidemill_kafka_queued_records{{client=\"{queued}\"}} ")), "{metrics}");
        }
        if processes > 1 {
            let mut stranger = TcpStream::connect(&all[1]).unwrap();
            stranger.write_all(b"GET / HTTP/1.1\r\nHost: job\r\n\r\n").unwrap();
            // It is closed when it has been refused.
            let _ = stranger.read_to_end(&mut Vec::new());
            programs[0].until("the stranger was refused", |_, _| {
                let refused = json(&page, "/api/v1/errors")["refused_connections"].clone();
                refused[0]["process"] == 1 && refused[0]["connections"] == 1 && refused[0]["why"].is_string()
            });
        }
        for program in &mut programs[1..] {
            let other = address(program);
            let metrics = get(&other, "/metrics", "").1;
            assert_eq!(sum(&metrics, "tidemill_refused_connections_total", ""), 1);
            assert!(metrics.contains("tidemill_job_info{name=\"") && metrics.contains("process=\"1\"} 1"), "{metrics}");
            let round_trip = format!("tidemill_kafka_rtt_seconds{{client=\"consumer\",broker=\"{}\"}} ", broker.address);
            assert!(metrics.contains(&round_trip), "each process has its own clients in its metrics: {metrics}");
            assert!(
                metrics.contains("process_resident_memory_bytes") && !metrics.contains("tidemill_batches_total"),
                "{metrics}"
            );
            assert_eq!(get(&other, "/", "").0, "404", "process 0 has the page");
        }
    }
}

/// The sum of the samples whose names begin so, with these labels.
fn sum(metrics: &str, name: &str, of: &str) -> u64 {
    let samples = metrics.lines().filter(|l| l.starts_with(name) && l.contains(of));
    samples.map(|l| l.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Counters of a job that is killed and started again on other layouts are those of one run that was never killed.
#[test]
fn counters_add_up_to_the_input_over_kills_and_rescales() {
    let (broker, dir) = (Broker::start(), TempDir::new("counted"));
    broker.topic("words", &[&[], &[], &[]]);
    broker.topic("counts", &[&[]]);
    let mut sent = [0_u64; 3];
    let layouts = [(1, 1), (1, 4), (2, 2), (1, 2)];
    for (run, (processes, workers)) in layouts.into_iter().enumerate() {
        let hosts = hostfile(&addresses(processes));
        let start = |process: usize| {
            let numbers = [processes, process, workers].map(|n| n.to_string());
            let layout = ["-n", &numbers[0], "-p", &numbers[1], "-w", &numbers[2], "--hostfile", hosts.path()];
            let job = ["--brokers", &broker.address, "--in", "words", "--out", "counts", "--interval", "20ms"];
            let kept = ["--checkpoint", dir.path(), "--checkpoint-interval", "100ms", "--listen", "127.0.0.1:0"];
            Program::start_in("kafka_wordcount", job.iter().chain(&layout).chain(&kept), &[("RUST_LOG", "info")])
        };
        let mut programs: Vec<Program> = (0..processes).map(start).collect();
        let page = address(&mut programs[0]);
        for portion in 1..=4 {
            for (partition, sent) in sent.iter_mut().enumerate() {
                let times = portion * (1 + 3 * partition);
                broker.send("words", partition as i32, &WORDS.repeat(times));
                *sent += 3 * times as u64;
            }
            let all: u64 = sent.iter().sum();
            programs[0].until("all records", |_, _| {
                // What /api/v1/job says is of this run; the counters of metrics are of all runs.
                let metrics = get(&page, "/metrics", "").1;
                sum(&metrics, "tidemill_records_total ", "") == all && sum(&metrics, "tidemill_bad_records_total", "") == all / 3
            });
        }
        let all: u64 = sent.iter().sum();
        let metrics = get(&page, "/metrics", "").1;
        let sum = |name: &str, of: &str| sum(&metrics, name, of);
        for (partition, sent) in sent.into_iter().enumerate() {
            let of = format!("partition=\"{partition}\"");
            for name in ["tidemill_split_records_total", "tidemill_split_position"] {
                assert_eq!(sum(name, &of), sent, "{name} of partition {partition}, run {run} on {processes} x {workers}");
            }
        }
        for (name, of, expected) in [
            ("tidemill_records_total ", "", all),
            ("tidemill_source_records_total", "", all),
            ("tidemill_bad_records_total", "", all / 3),
            ("tidemill_operator_rows_out_total", "name=\"kafka_direct_stream (", all),
            ("tidemill_operator_rows_in_total", "name=\"try_count_by (", all),
        ] {
            assert_eq!(sum(name, of), expected, "{name}{of}, run {run} on {processes} x {workers}");
        }
        let state = json(&page, "/api/v1/state")["checkpoint"].clone();
        assert_eq!(state["generation"], run + 1, "{state}");
        assert_eq!(state["began_with"].is_null(), run == 0, "{state}");
        // Some batches of this run have no checkpoint yet, most likely.
        programs.iter().for_each(|program| program.signal(Signal::KILL));
        programs.into_iter().for_each(|program| drop(program.end()));
    }
}

#[test]
fn readers_of_another_machine_show_a_token() {
    let secret = TempFile::new("secret", "a secret that nobody else knows");
    std::fs::set_permissions(secret.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let token = run("tidemill", ["token", "--secret-file", secret.path()]).out;
    let args = ["127.0.0.1", "1", "--listen", "0.0.0.0:0", "--secret-file", secret.path()];
    let mut program = Program::start_in("network_wordcount", args, &[("RUST_LOG", "info")]);
    let address = address(&mut program).replace("0.0.0.0", "127.0.0.1");
    assert_eq!(get(&address, "/api/v1/job", "").0, "401");
    assert_eq!(get(&address, "/healthz", "").0, "200", "probes show no token");
    assert_eq!(get(&address, "/metrics", "Authorization: Bearer a secret that nobody else knows\r\n").0, "401");
    assert_eq!(get(&address, "/metrics", &format!("Authorization: Bearer {}\r\n", token.trim())).0, "200");
    assert!(!program.said().1.contains(token.trim()), "no log line shows it");
    assert!(run("tidemill", ["top", &address]).err.contains("show the token"));
    let top = run("tidemill", ["top", &address, "--secret-file", secret.path()]);
    assert!(top.out.contains("network_wordcount") || top.out.contains("a batch every"), "{} {}", top.out, top.err);
    let none = run("tidemill", ["token"]);
    assert!(none.code == Some(1) && none.err.contains("--secret-file FILE"), "{}", none.err);
}
