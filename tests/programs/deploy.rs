//! The files of deploy/: paths that they name exist, the parts fit together, and the commands of the compose file run as they stand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::broker::Broker;
use crate::child::{Program, TempDir, TempFile, run};

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new("deploy").join(name)).unwrap_or_else(|e| panic!("deploy/{name}: {e}"))
}

/// The lines of each service of the compose file, without their indentation.
fn services() -> BTreeMap<String, Vec<String>> {
    let text = file("compose.yml");
    let (_, all) = text.split_once("\nservices:\n").unwrap();
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last = String::new();
    for line in all.lines().take_while(|line| line.is_empty() || line.starts_with(' ')) {
        let inner = line.trim_start();
        match line.len() - inner.len() {
            2 if !inner.starts_with('#') => {
                last = inner.trim_end_matches(':').to_owned();
                services.insert(last.clone(), Vec::new());
            }
            4.. => services.get_mut(&last).unwrap().push(inner.to_owned()),
            _ => {}
        }
    }
    services
}

/// A list in brackets, of the line with this key.
fn list(lines: &[String], key: &str) -> Vec<String> {
    let line =
        lines.iter().find_map(|line| line.strip_prefix(&format!("{key}: "))).unwrap_or_else(|| panic!("no {key}: {lines:?}"));
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))
}

/// What is mounted where: the items of all lists that have a path of the host.
fn mounts(lines: &[String]) -> Vec<(String, String)> {
    let item = |line: &String| {
        line.strip_prefix("- \"./")
            .and_then(|rest| rest.trim_end_matches('"').split_once(':'))
            .map(|(from, to)| (from.to_owned(), to.trim_end_matches(":ro").to_owned()))
    };
    lines.iter().filter_map(item).collect()
}

#[test]
fn the_parts_of_the_compose_file_fit_together() {
    let services = services();
    assert_eq!(
        services.keys().map(String::as_str).collect::<Vec<_>>(),
        ["feed", "grafana", "kafka", "prometheus", "topics", "words"]
    );
    for (name, lines) in &services {
        let image = lines.iter().find_map(|line| line.strip_prefix("image: ")).unwrap_or_else(|| panic!("{name} has no image"));
        assert!(["words", "feed"].contains(&name.as_str()) || image.contains(":"), "{name}: {image} has no version");
        for (from, _) in mounts(lines) {
            // A person makes these two, and they are not in the repository.
            let made = ["secret", "token"].contains(&from.as_str());
            assert!(made || Path::new("deploy").join(&from).is_file(), "{name}: deploy/{from}");
        }
    }
    let ignored = std::fs::read_to_string(".gitignore").unwrap() + &std::fs::read_to_string(".dockerignore").unwrap();
    for secret in ["/deploy/secret\n", "/deploy/token\n", "\ndeploy/secret\n", "\ndeploy/token\n"] {
        assert!(ignored.contains(secret), "{secret:?}");
    }
    let build = services["words"].iter().find(|line| line.starts_with("build: ")).unwrap();
    assert_eq!(build, "build: { context: .., dockerfile: deploy/Dockerfile }");
    let image = file("Dockerfile");
    let toolchain = std::fs::read_to_string("rust-toolchain.toml").unwrap();
    let version = image.split_once("FROM rust:").unwrap().1.split_once('-').unwrap().0;
    assert!(toolchain.contains(&format!("channel = \"{version}.")), "the image has Rust {version}");
    for (service, program) in [("words", "tidemill"), ("words", "kafka_wordcount"), ("feed", "tidemill")] {
        let command = list(&services[service], "command");
        assert!(command.iter().any(|word| word == program) && image.contains(&format!("--bin {program}")), "{command:?}");
    }

    // Prometheus scrapes the port of the job, with what is mounted.
    let config = file("prometheus.yml");
    let command = list(&services["words"], "command");
    let listens = &command[command.iter().position(|word| word == "--listen").unwrap() + 1];
    let (_, port) = listens.rsplit_once(':').unwrap();
    assert!(config.contains(&format!("targets: [\"words:{port}\"]")), "{config}");
    assert!(services["words"].contains(&format!("- \"127.0.0.1:{port}:{port}\"")), "only this machine reaches the page");
    let mounted: Vec<String> = mounts(&services["prometheus"]).into_iter().map(|(_, to)| to).collect();
    for path in ["/etc/prometheus/alerts.yml", "/etc/prometheus/token"] {
        assert!(config.contains(path) && mounted.iter().any(|to| to == path), "{path}: {mounted:?}");
    }
    let of_config =
        list(&services["prometheus"], "command").iter().find_map(|a| a.strip_prefix("--config.file=").map(str::to_owned));
    assert!(mounted.contains(&of_config.unwrap()));

    // Grafana finds its data and its dashboard.
    let mounted = mounts(&services["grafana"]);
    let of = |from: &str| &mounted.iter().find(|(f, _)| f == from).unwrap_or_else(|| panic!("{from}: {mounted:?}")).1;
    assert!(of("grafana/datasources.yml").starts_with("/etc/grafana/provisioning/datasources/"));
    assert!(of("grafana/dashboards.yml").starts_with("/etc/grafana/provisioning/dashboards/"));
    let folder = Path::new(of("grafana.json")).parent().unwrap().display().to_string();
    assert!(file("grafana/dashboards.yml").contains(&format!("path: {folder}\n")));
    assert!(
        file("grafana/datasources.yml").contains("type: prometheus\n")
            && file("grafana/datasources.yml").contains("http://prometheus:9090")
    );
}

/// The commands of the job and of its feed, with other addresses and folders, under a supervisor: Prometheus gets what was sent.
#[test]
fn the_commands_of_the_compose_file_run_and_the_token_shows_metrics() {
    let services = services();
    let (broker, dir) = (Broker::start(), TempDir::new("compose"));
    broker.topic("words", &[&[], &[], &[], &[]]);
    broker.topic("counts", &[&[]]);
    let secret = TempFile::new("secret", "a secret that nobody else knows");
    std::fs::set_permissions(secret.path(), PermissionsExt::from_mode(0o600)).unwrap();
    let token = run("tidemill", ["token", "--secret-file", secret.path()]).out;
    let mounted = mounts(&services["words"]).into_iter().find(|(from, _)| from == "secret").unwrap().1;
    let here = |service: &str| -> Vec<String> {
        let word = |word: String| match word.as_str() {
            "kafka:9092" => broker.address.clone(),
            "0.0.0.0:4040" => "0.0.0.0:0".into(),
            "/var/lib/words/checkpoint" => dir.path().to_owned(),
            "kafka_wordcount" => crate::child::path("kafka_wordcount").display().to_string(),
            word if word == mounted => secret.path().into(),
            _ => word,
        };
        // The broker of this test knows no transactions.
        let command = list(&services[service], "command").into_iter().filter(|word| word != "--exactly-once");
        let command = command.map(word).collect::<Vec<_>>();
        assert_eq!(command[0], "tidemill");
        command[1..].to_vec()
    };
    let mut job = Program::start_in("tidemill", here("words"), &[("RUST_LOG", "info")]);
    let mut address = None;
    job.until("the line about the page", |_, err| {
        address =
            err.lines().find_map(|l| Some(l.split_once(" at http://")?.1.split('/').next()?.replace("0.0.0.0", "127.0.0.1")));
        address.is_some()
    });
    let address = address.unwrap();
    let feed = Program::start("tidemill", here("feed").into_iter().chain(["--count".into(), "2000".into()]));
    let fed = feed.end();
    assert_eq!(fed.code, Some(0), "{}", fed.err);
    let metrics = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let token = token.trim();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    };
    job.until("all records are counted", |_, _| metrics().contains("\ntidemill_records_total 2000\n"));
    assert!(metrics().lines().any(|l| l.starts_with("tidemill_bad_records_total{")), "one in a thousand is spoiled");
    job.signal(crate::child::Signal::TERM);
    assert_eq!(job.end().code, Some(0));
}
