//! What a job serves to readers: figures that add up to its input, names that stay, and answers to strangers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tidemill::connector::sink::{Distribution, Part, Sink, SinkBatch};

use super::*;
use crate::harness::eventually;
use crate::http_client::{ask, get, json, status};

fn here() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// The value of a sample of `/metrics`.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

#[test]
fn figures_add_up_to_the_input() {
    for workers in [1, 4] {
        let (lines, clock) = (QueueSource::new(), ManualClock::at(5));
        let queue = lines.clone();
        let live = job(workers).listen(here()).start_on_clock(clock.clone(), move |ssc| {
            let longest = ssc.accumulator::<Max<usize>>("longest");
            let lines = ssc.queue_stream(&queue).map(move |line: &'static str| (longest.add(line.len()), line).1);
            let numbers = lines.try_map(|line: &&'static str| Ok(line.parse::<i64>()?));
            numbers.to_memory(&MemorySink::new());
            numbers.sum_by_parity().to_memory(&MemorySink::new());
            Ok(())
        });
        let live = live.unwrap();
        let address = live.address().unwrap();
        for (batch, rows) in [vec!["1", "x", "3"], vec![], vec!["4", "y"]].into_iter().enumerate() {
            lines.push(rows);
            clock.set(10 * (batch as u64 + 1));
            eventually("the batch is completed", || live.statistics().batches == batch as u64 + 1);
        }
        eventually("bad records are counted", || live.statistics().bad == 2);
        let now = json(address, "/api/v1/job");
        assert_eq!([&now["batches"], &now["records"], &now["bad"]].map(|v| v.as_u64()), [Some(3), Some(5), Some(2)]);
        assert_eq!((&now["name"], &now["interval_ms"], &now["workers"]), (&"live".into(), &10.0.into(), &workers.into()));
        assert_eq!(now["accumulators"], serde_json::json!([{ "name": "longest", "value": "Some(1)" }]));
        let batches = json(address, "/api/v1/batches");
        let of = |field: &str| batches.as_array().unwrap().iter().map(|b| b[field].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!((of("time"), of("records"), of("bad")), (vec![30, 20, 10], vec![2, 0, 3], vec![1, 0, 1]));
        assert_eq!(json(address, "/api/v1/batches?after=20"), Value::from(batches.as_array().unwrap()[..1].to_vec()));
        let first = json(address, "/api/v1/batches/10");
        let input = &first["inputs"][0];
        assert_eq!([&input["from"], &input["until"], &input["records"]].map(|v| v.as_u64()), [Some(0), Some(3), Some(3)]);
        assert_eq!((first["inputs"].as_array().unwrap().len(), first["outputs"].as_array().unwrap().len()), (1, 2));
        assert_eq!(first["outputs"][1]["tries"], 1);
        assert_eq!([0, 1].map(|n| first["outputs"][n]["rows"].as_u64()), [Some(2), Some(1)], "numbers, and a sum by parity");
        let rows = |verb: &str| {
            let operators = first["operators"].as_array().unwrap();
            let operator = operators.iter().find(|o| o["name"].as_str().unwrap().starts_with(verb)).unwrap();
            let by_worker = operator["workers"].as_array().unwrap().iter().map(|w| w["rows_in"].as_u64().unwrap()).sum::<u64>();
            assert_eq!(operator["rows_in"], by_worker, "{operator}");
            (by_worker, operator["rows_out"].as_u64().unwrap())
        };
        // A bad record that no stream takes does not leave its operator.
        assert_eq!(["queue_stream", "try_map", "reduce_by_key"].map(rows), [(0, 3), (3, 2), (2, 1)]);
        let recent = json(address, "/api/v1/operators");
        assert_eq!((&recent["batches"], &recent["operators"][1]["rows_in"]), (&3.into(), &5.into()), "{recent}");
        let stages = ["planning_ms", "computing_ms", "output_ms"].map(|stage| first[stage].as_f64().unwrap());
        assert!((stages.iter().sum::<f64>() - first["processing_ms"].as_f64().unwrap()).abs() < 0.01, "{first}");
        let sources = json(address, "/api/v1/sources");
        assert_eq!((&sources[0]["records"], &sources[0]["splits"][0]["position"]), (&5.into(), &5.into()), "{sources}");
        let metrics = get(address, "/metrics").1;
        for (name, value) in [
            ("tidemill_batches_total", 3.0),
            ("tidemill_records_total", 5.0),
            ("tidemill_source_records_total{source=\"0\",name=\"queue\"}", 5.0),
            ("tidemill_split_position{source=\"0\",topic=\"queue\",partition=\"0\"}", 5.0),
            ("tidemill_batch_processing_seconds_count", 3.0),
            ("tidemill_batch_total_delay_seconds_bucket{le=\"+Inf\"}", 3.0),
            ("tidemill_last_batch_timestamp_seconds", 0.03),
        ] {
            assert_eq!(sample(&metrics, name), value, "{name}");
        }
        assert_eq!([get(address, "/readyz").0, get(address, "/healthz").0], [200, 200]);
        let source =
            |l: &str| l.starts_with("tidemill_operator_rows_out_total{operator=\"0\",name=\"queue_stream (") && l.ends_with(" 5");
        assert!(metrics.lines().any(source), "{metrics}");
        live.stop_now().unwrap();
        assert!(TcpStream::connect(address).is_err(), "nobody answers after the job");
    }
}

/// A row longer than what is shown of it.
const LONG: &str = "a long line";

/// A sink that says how people read its rows.
struct Shouted;

impl Sink<String> for Shouted {
    fn write(&mut self, _: &SinkBatch, _: &[Part<String>]) -> Result<(), BoxError> {
        Ok(())
    }

    fn shown(&mut self, rows: &[&String]) -> Option<Vec<String>> {
        Some(rows.iter().map(|row| row.to_uppercase() + "!").collect())
    }
}

#[test]
fn what_came_out_last_is_shown() {
    for workers in [1, 4] {
        let (lines, clock) = (QueueSource::new(), ManualClock::at(5));
        let queue = lines.clone();
        let live = job(workers).listen(here()).start_on_clock(clock.clone(), move |ssc| {
            let lines = ssc.queue_stream(&queue).map(|line: &'static str| line.to_owned());
            lines.print(2);
            lines.map(|line| (line.len(), line)).foreach_batch(|_| Ok(()));
            lines.filter(|line| line == LONG).map(|line| line.repeat(100)).to_memory(&MemorySink::new());
            lines.filter(|line| line.is_empty()).to_memory(&MemorySink::new());
            lines.sink_to(Shouted, Distribution::Local);
            Ok(())
        });
        let live = live.unwrap();
        let address = live.address().unwrap();
        for (batch, rows) in [vec!["tide"], vec!["a", LONG, "b", "c", "d", "e", "f"], vec![]].into_iter().enumerate() {
            lines.push(rows);
            clock.set(10 * (batch as u64 + 1));
            eventually("the batch is completed", || live.statistics().batches == batch as u64 + 1);
        }
        let outputs = json(address, "/api/v1/outputs");
        let outputs = outputs.as_array().unwrap();
        let names: Vec<&str> = outputs.iter().map(|o| o["name"].as_str().unwrap().split(' ').next().unwrap()).collect();
        assert_eq!(names, ["print", "foreach_batch", "to_memory", "to_memory", "sink_to"]);
        assert!(outputs.iter().all(|o| o["batches"] == 3 && o["tries"] == 3), "{outputs:?}");
        // Of each batch print has two rows at most: what it prints.
        assert_eq!(outputs.iter().map(|o| o["rows"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 8, 1, 0, 8]);
        let rows = |n: usize| {
            assert_eq!(outputs[n]["last"]["time"], 20, "the last batch has no rows");
            outputs[n]["last"]["first_rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect::<Vec<_>>()
        };
        // One row more tells print that there are more.
        assert_eq!(rows(0), [r#""a""#, r#""a long line""#, r#""b""#]);
        assert_eq!(rows(1), [r#"[1,"a"]"#, r#"[11,"a long line"]"#, r#"[1,"b"]"#, r#"[1,"c"]"#, r#"[1,"d"]"#]);
        assert!(rows(2).len() == 1 && rows(2)[0].chars().count() == 301 && rows(2)[0].ends_with('…'), "{:?}", rows(2));
        assert_eq!(outputs[3]["last"], Value::Null);
        assert_eq!(rows(4), ["A!", "A LONG LINE!", "B!", "C!", "D!"]);
        live.stop_now().unwrap();
    }
}

trait Parity<'s> {
    fn sum_by_parity(&self) -> DStream<'s, (u8, i64)>;
}

impl<'s> Parity<'s> for DStream<'s, i64> {
    fn sum_by_parity(&self) -> DStream<'s, (u8, i64)> {
        self.map(|n| ((n % 2) as u8, n)).reduce_by_key(|a, b| a + b)
    }
}

/// People have these names in their dashboards.
const NAMES: &str = "\
process_cpu_seconds_total process_open_fds process_resident_memory_bytes process_start_time_seconds \
tidemill_arrangement_bytes tidemill_bad_records_total tidemill_batch_interval_seconds tidemill_batch_processing_seconds \
tidemill_batch_scheduling_delay_seconds tidemill_batch_total_delay_seconds tidemill_batches_in_flight tidemill_batches_total \
tidemill_build_info tidemill_checkpoint_bytes tidemill_checkpoint_duration_seconds tidemill_checkpoint_timestamp_seconds \
tidemill_checkpoints_failed_total tidemill_checkpoints_total tidemill_dictionary_bytes tidemill_dictionary_keys tidemill_job_info tidemill_last_batch_timestamp_seconds \
tidemill_lost_records_total tidemill_operator_rows_in_total tidemill_operator_rows_out_total \
tidemill_operator_seconds_total tidemill_output_batches_total tidemill_output_bytes_total tidemill_output_rows_total tidemill_output_seconds_total \
tidemill_output_tries_total tidemill_process_cpu_seconds_total tidemill_process_resident_memory_bytes tidemill_records_total \
tidemill_refused_connections_total tidemill_refused_requests_total tidemill_source_bytes_total tidemill_source_records_total tidemill_sources_in_trouble \
tidemill_split_position tidemill_split_records_total tidemill_waiting_bytes";

#[test]
fn names_of_metrics_stay_and_each_sample_is_there_once() {
    let dir = crate::temp_dir::TempDir::new("page");
    let (queue, clock) = (QueueSource::new(), ManualClock::at(5));
    let lines = queue.clone();
    let live = job(2).listen(here()).checkpoint(dir.to_path_buf()).checkpoint_interval(millis(TICK));
    let live = live.start_on_clock(clock.clone(), move |ssc| {
        // Both have the same name.
        for _ in 0..2 {
            ssc.queue_stream(&lines).try_map(|line: &String| Ok(line.parse::<i64>()?)).to_memory(&MemorySink::new());
        }
        Ok(())
    });
    let live = live.unwrap();
    queue.push(vec!["x \"quoted\"".to_owned()]);
    clock.set(10);
    eventually("a checkpoint and a bad record", || {
        let now = live.statistics();
        now.checkpoints.made == 1 && now.bad == 1
    });
    let text = get(live.address().unwrap(), "/metrics").1;
    let mut names: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names.join(" "), NAMES);
    let mut samples: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0).collect();
    let all = samples.len();
    samples.sort_unstable();
    samples.dedup();
    assert_eq!(samples.len(), all, "{text}");
    live.stop_now().unwrap();
}

/// Each metric of the dashboard and of the alert rules is one that `/metrics` writes.
#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let written = std::fs::read_to_string("src/http/samples.rs").unwrap();
    for (file, least) in [("deploy/grafana.json", 22), ("deploy/alerts.yml", 12)] {
        let text = std::fs::read_to_string(file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
        let mut names: Vec<&str> = words.filter(|w| w.starts_with("tidemill_") || w.starts_with("process_")).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() >= least, "{file}: {names:?}");
        for name in names {
            let metric = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(written.contains(&format!("\"{metric}\"")), "{file} names {name}, which /metrics does not have");
        }
    }
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string("deploy/grafana.json").unwrap()).unwrap();
    assert_eq!(dashboard["panels"].as_array().unwrap().len(), 16);
}

#[test]
fn counters_go_on_after_a_restart() {
    let dir = crate::temp_dir::TempDir::new("counters");
    for (run, from) in [(1.0, 5), (2.0, 1_005)] {
        let live = sums(job(2).listen(here()).checkpoint(dir.to_path_buf()), from);
        live.queue.push(vec![1, 2, 3]);
        live.clock.set(from + 5);
        eventually("the batch is completed", || live.job.statistics().records == 3);
        let text = get(live.job.address().unwrap(), "/metrics").1;
        assert_eq!(sample(&text, "tidemill_records_total"), 3.0 * run);
        assert_eq!(sample(&text, "tidemill_source_records_total{source=\"0\",name=\"queue\"}"), 3.0 * run);
        live.job.stop_gracefully().unwrap();
    }
}

#[test]
fn the_state_names_checkpoints_and_what_a_restart_would_run_again() {
    let dir = crate::temp_dir::TempDir::new("kept");
    let builder = || job(2).listen(here()).checkpoint(dir.to_path_buf()).checkpoint_interval(millis(3 * TICK));
    let state = |live: &Live| json(live.job.address().unwrap(), "/api/v1/state");
    let live = sums(builder(), 5);
    assert_eq!(state(&live)["views"], serde_json::json!([]));
    for n in 1..=5 {
        live.queue.push(vec![1, 2]);
        live.clock.set(TICK * n);
        eventually("the batch is completed", || live.job.statistics().batches == n);
    }
    eventually("the checkpoint of the third batch is made", || live.job.statistics().checkpoints.made == 1);
    let now = state(&live);
    let kept = &now["checkpoint"];
    assert_eq!((&kept["generation"], &kept["began_with"], &kept["ran_again"]), (&1.into(), &Value::Null, &0.into()), "{now}");
    let tried = kept["tried"].as_array().unwrap();
    assert_eq!((tried.len(), &tried[0]["time"], &tried[0]["failure"]), (1, &30.into(), &Value::Null), "{now}");
    let states = kept["states"].as_array().unwrap();
    assert_eq!((states.len(), &states[0]["name"]), (1, &"update_state_by_key#1".into()), "{now}");
    assert_eq!((&states[0]["bytes"], &tried[0]["bytes"]), (&kept["restart"]["bytes"], &states[0]["bytes"]), "{now}");
    let restart = &kept["restart"];
    let again = [&restart["from"], &restart["batches"], &restart["records"]].map(|v| v.as_u64().unwrap());
    assert_eq!((again, &restart["complete"]), ([30, 2, 4], &true.into()), "{now}");
    live.job.stop_now().unwrap();

    let live = sums(builder(), 55);
    eventually("the batches run again", || live.job.statistics().batches >= 2);
    let now = state(&live);
    let kept = &now["checkpoint"];
    assert_eq!(
        [&kept["generation"], &kept["began_with"], &kept["ran_again"]].map(|v| v.as_u64()),
        [Some(2), Some(30), Some(2)],
        "{now}"
    );
    assert_eq!(kept["states"].as_array().unwrap().len(), 1, "{now}");
    live.job.stop_now().unwrap();
}

#[test]
fn the_state_says_what_workers_hold_in_memory() {
    for workers in [1, 4] {
        let (rows, clock) = (QueueSource::<(u8, i64)>::new(), ManualClock::at(5));
        let source = rows.clone();
        let live = job(workers).listen(here()).start_on_clock(clock.clone(), move |ssc| {
            let rows = ssc.queue_stream(&source);
            rows.sum_by_key().named("sums").update().to_memory(&MemorySink::new());
            rows.count_by_value_and_window(millis(3 * TICK), millis(TICK)).update().to_memory(&MemorySink::new());
            rows.update_state_by_key(|_: &[i64], n: Option<i64>| Some(n.unwrap_or(0) + 1)).to_memory(&MemorySink::new());
            Ok(())
        });
        let live = live.unwrap();
        for batch in 1..=4 {
            rows.push((0..10).map(|key| (key, batch as i64)).collect());
            clock.set(TICK * batch);
            eventually("the batch is completed", || live.statistics().batches == batch);
        }
        let address = live.address().unwrap();
        let figures = |state: &Value| ["keys", "panes"].map(|of| state[of].as_u64().unwrap());
        let mut now = Value::Null;
        eventually("all workers have told what they hold", || {
            now = json(address, "/api/v1/state")["memory"].clone();
            let states = now["states"].as_array().unwrap();
            // Three panes are in the window. A row has another number in each batch, so the first ten keys may still wait to go.
            states.len() == 3
                && figures(&states[0]) == [10, 0]
                && figures(&states[1])[0] >= 30
                && figures(&states[1])[1] >= 3
                && figures(&states[2]) == [10, 0]
        });
        let states = now["states"].as_array().unwrap();
        assert_eq!(states[0]["name"], "sums", "{now}");
        for state in states {
            let of = |field: &str| state["workers"].as_array().unwrap().iter().map(|w| w[field].as_u64().unwrap()).sum::<u64>();
            assert_eq!((&state["keys"], &state["bytes"]), (&of("keys").into(), &of("bytes").into()), "{now}");
            assert!(state["bytes"].as_u64() > Some(10 * 8), "{now}");
            assert_eq!(state["workers"].as_array().unwrap().len(), usize::from(workers), "{now}");
        }
        // The keys of the sums, and the rows of the window.
        assert!(now["dictionaries"]["keys"].as_u64() >= Some(40), "{now}");
        assert!(now["arrangements"]["bytes"].as_u64() >= Some(40 * 8), "{now}");
        let process = &now["processes"][0];
        assert!(process["resident_bytes"].as_u64() > Some(1 << 20) && process["cpu_seconds"].as_f64() > Some(0.0), "{now}");
        let text = get(address, "/metrics").1;
        assert_eq!(sample(&text, "tidemill_state_keys{state=\"sums\"}"), 10.0);
        assert!(sample(&text, "tidemill_dictionary_keys") >= 40.0 && sample(&text, "tidemill_arrangement_bytes") >= 320.0);
        assert!(sample(&text, "tidemill_process_resident_memory_bytes{process=\"0\"}") > 1e6);
        live.stop_now().unwrap();
    }
}

#[test]
fn what_went_wrong_is_named_with_its_batch() {
    let (lines, clock, tries) = (QueueSource::new(), ManualClock::at(5), std::sync::atomic::AtomicU32::new(0));
    let (queue, tries) = (lines.clone(), std::sync::Arc::new(tries));
    let live = job(2).listen(here()).start_on_clock(clock.clone(), move |ssc| {
        let numbers = ssc.queue_stream(&queue).try_map(|line: &&'static str| Ok(line.parse::<i64>()?));
        let tries = tries.clone();
        numbers.foreach_batch(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            1 => Err("the table is locked".into()),
            _ => Ok(()),
        });
        Ok(())
    });
    let live = live.unwrap();
    let address = live.address().unwrap();
    for (n, rows) in [vec!["1", "x"], vec!["2"]].into_iter().enumerate() {
        lines.push(rows);
        clock.set(TICK * (n as u64 + 1));
        eventually("the batch is completed", || live.statistics().batches == n as u64 + 1);
    }
    eventually("bad records are counted", || live.statistics().bad == 1);
    let stranger = ask(address, b"GET / HTTP/1.1\r\nHost: job.example\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&stranger), 403);
    let errors = json(address, "/api/v1/errors");
    let bad = &errors["bad"][0];
    let [stream, what] = ["stream", "what"].map(|field| bad[field].as_str().unwrap());
    assert!(stream.starts_with("try_map (page.rs:") && what.contains("invalid digit"), "{errors}");
    assert_eq!((&bad["time"], &errors["bad_by_stream"][0]["records"]), (&10.into(), &1.into()), "{errors}");
    let output = &errors["outputs"][0];
    assert!(output["output"].as_str().unwrap().starts_with("foreach_batch (page.rs:"), "{errors}");
    assert_eq!((&output["time"], &output["tries"]), (&20.into(), &2.into()), "{errors}");
    assert_eq!(
        (&errors["refused"]["requests"], &errors["refused"]["why"]),
        (&1.into(), &"it named another host".into()),
        "{errors}"
    );
    assert_eq!(sample(&get(address, "/metrics").1, "tidemill_refused_requests_total"), 1.0);
    for nothing in ["restarts", "checkpoints", "trouble", "refused_connections"] {
        assert_eq!(errors[nothing], serde_json::json!([]), "{errors}");
    }
    live.stop_now().unwrap();
}

#[test]
fn the_graph_says_which_operator_gives_rows_to_which() {
    for workers in [1, 4] {
        let live = sums(job(workers).listen(here()), 5);
        live.queue.push(vec![1]);
        live.clock.set(TICK);
        started(&live.job);
        let of = json(live.job.address().unwrap(), "/api/v1/operators");
        let name = |place: &Value| {
            of["operators"][place.as_u64().unwrap() as usize]["name"].as_str().unwrap().split(' ').next().unwrap()
        };
        let edges = of["edges"].as_array().unwrap().iter().map(|edge| (name(&edge[0]), name(&edge[1]))).collect::<Vec<_>>();
        let expected = [("queue_stream", "map"), ("map", "update_state_by_key"), ("update_state_by_key", "to_memory")];
        assert_eq!(edges, expected, "{workers} workers: {of}");
        live.job.stop_now().unwrap();
    }
}

#[test]
fn strange_requests_are_refused_and_others_are_answered_meanwhile() {
    let live = sums(job(1).listen(here()), 5);
    let address = live.job.address().unwrap();
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(4_000));
    for (request, expected) in [
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 405),
        ("DELETE /api/v1/job HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", 403),
        ("GET / HTTP/1.0\r\n\r\n", 403),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        ("GET /api/v1/batches/1e9 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        ("GET /api/v1/batches/99999999999999999999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        ("GET /api/v1/batches/77 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        ("GET /api/v1/batches?after=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n", 400),
        (&long, 431),
        (&many, 431),
    ] {
        let answer = ask(address, request.as_bytes());
        let short = &request[..request.len().min(60)];
        assert_eq!(status(&answer), expected, "{short:?}: {answer}");
    }
    // Of what is no HTTP, or never complete, nothing remains but a closed connection.
    for request in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"\0\0\0\0", b"GET / HT"] {
        let answer = ask(address, request);
        assert!(answer.is_empty() || [400, 408].contains(&status(&answer)), "{request:?}: {answer}");
    }
    // More silent callers than there are places keep nobody out.
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(get(address, "/healthz").0, 200);
    drop(silent);
    let page = ask(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(page.contains("content-security-policy: default-src 'self'") && page.contains("<title>tidemill</title>"), "{page}");
    live.job.stop_now().unwrap();
}

#[test]
fn events_bring_each_batch_and_the_end() {
    let live = sums(job(1).listen(here()), 5);
    let address = live.job.address().unwrap();
    let mut events = TcpStream::connect(address).unwrap();
    events.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: [::1]:4040\r\n\r\n").unwrap();
    let mut heard = String::new();
    let mut until = |what: &str| {
        let mut chunk = [0; 4096];
        while !heard.contains(what) {
            let n = events.read(&mut chunk).unwrap();
            assert!(n > 0, "the events end before {what}: {heard}");
            heard.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
        }
    };
    until("\"batch\":null");
    for time in [10, 20, 30] {
        live.queue.push(vec![time as i64]);
        live.clock.set(time);
        until(&format!("\"time\":{time},"));
    }
    live.job.stop_now().unwrap();
    until("event: end");
}

#[test]
fn the_next_port_is_taken_and_others_need_a_secret() {
    let (one, two) = (sums(job(1).listen(here()), 5), sums(job(1), 5));
    let taken = one.job.address().unwrap();
    assert_eq!(two.job.address(), None, "nothing is served unless it is asked for");
    let third = sums(job(1).listen(taken), 5);
    let next = third.job.address().unwrap();
    assert!(next.port() > taken.port() && get(next, "/healthz").0 == 200, "{taken} {next}");
    for live in [one, two, third] {
        live.job.stop_now().unwrap();
    }
    let open = job(1).listen(([0, 0, 0, 0], 0).into()).start(|_| Ok(()));
    let e = open.err().unwrap().to_string();
    assert!(e.contains("--listen 0.0.0.0:0") && e.contains("--secret-file FILE"), "{e}");
}
