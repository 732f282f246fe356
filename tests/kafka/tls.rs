//! Kafka over TLS with certificates of the test: a valid one, an expired one, and one of another host.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tidemill::prelude::*;

use crate::broker::Broker;
use crate::child::{TempDir, addresses};
use crate::fixture::{PATIENCE, producer, send, topic_at};
use crate::recorder::{Recorder, eventually};

/// The TLS listeners of the broker, and the options for the certificate of each.
const LISTENERS: [(&str, &[&str]); 3] = [
    ("RIGHT", &["-ext", "SAN=IP:127.0.0.1"]),
    ("EXPIRED", &["-ext", "SAN=IP:127.0.0.1", "-startdate", "-30d", "-validity", "7"]),
    ("OTHER", &["-ext", "SAN=DNS:elsewhere.example"]),
];

fn keytool(args: &[&str]) {
    let out = Command::new("keytool").args(args).args(["-storepass", "not-secret", "-alias", "broker"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

/// A broker with a topic of three records.
struct Tls {
    _broker: Broker,
    _dir: TempDir,
    topic: String,
    /// The address without TLS.
    plain: SocketAddr,
    /// In the order of `LISTENERS`.
    tls: [SocketAddr; 3],
    /// The authority that signed all certificates.
    ca: String,
}

impl Tls {
    fn start() -> Tls {
        let dir = TempDir::new("tls");
        std::fs::create_dir_all(dir.path()).unwrap();
        let all: [String; 5] = addresses(5).try_into().unwrap();
        let [plain, controller, tls @ ..] = all.map(|a| a.parse::<SocketAddr>().unwrap());
        let mut vouched = String::new();
        let mut properties = Vec::new();
        for (name, own) in LISTENERS {
            let [store, pem] = ["p12", "pem"].map(|kind| format!("{}/{name}.{kind}", dir.path()));
            let key = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=broker", "-storetype", "PKCS12", "-keystore", &store];
            keytool(&[&key[..], own].concat());
            keytool(&["-exportcert", "-rfc", "-keystore", &store, "-file", &pem]);
            vouched += &std::fs::read_to_string(pem).unwrap();
            let of = |what: &str, value: &str| format!("listener.name.{}.ssl.keystore.{what}={value}", name.to_lowercase());
            properties.extend([of("location", &store), of("type", "PKCS12"), of("password", "not-secret")]);
        }
        let open = |(name, at): (&str, &SocketAddr)| format!("{name}://{at}");
        let tls_listeners: Vec<String> = LISTENERS.iter().map(|(name, _)| *name).zip(&tls).map(open).collect();
        let listeners = format!("PLAINTEXT://{plain},{}", tls_listeners.join(","));
        properties.extend([
            format!("listeners={listeners},CONTROLLER://{controller}"),
            format!("advertised.listeners={listeners}"),
            format!("controller.quorum.bootstrap.servers={controller}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,RIGHT:SSL,EXPIRED:SSL,OTHER:SSL".to_string(),
        ]);
        let broker = Broker::start(&plain.port().to_string(), &properties);
        let topic = topic_at(&plain.to_string(), "tls", 2, &[]);
        let p = producer(&[("bootstrap.servers", &plain.to_string())]);
        send(&p, &topic, 0, &["a", "b"]);
        send(&p, &topic, 1, &["c"]);
        let ca = format!("{}/ca.pem", dir.path());
        std::fs::write(&ca, vouched).unwrap();
        Tls { _broker: broker, _dir: dir, topic, plain, tls, ca }
    }

    fn reader(&self, at: SocketAddr) -> KafkaSource {
        let kafka = KafkaSource::brokers(at.to_string()).topic(&self.topic).start(StartFrom::earliest());
        kafka.set("security.protocol", "SSL").set("ssl.key.password", "canary-of-a-password")
    }
}

/// Checks that a job that cannot start ends in time with an error that contains all words.
fn refused(at: SocketAddr, begin: impl FnOnce() -> tidemill::Result<JobHandle>, words: &[&str]) {
    let text = begin().and_then(|job| job.await_termination_or_timeout(PATIENCE)).unwrap_err().to_string();
    assert!(text.contains(&at.to_string()) && words.iter().all(|word| text.contains(word)), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn c20_a_topic_is_read_over_tls_from_the_right_broker_only() {
    let broker = Tls::start();
    let [right, expired, other] = broker.tls;
    let vouched = |at| broker.reader(at).set("ssl.ca.location", &broker.ca);

    let seen = Recorder::default();
    let job = seen.start(vouched(right), 2);
    eventually("all records", || seen.records() == 3);
    job.stop_gracefully().unwrap();
    seen.checked();

    let reads = |at, kafka: KafkaSource, words: &[&str]| {
        let seen = Recorder::default();
        let job = || StreamingContext::builder("tls", secs(1)).start(seen.slowly(kafka, Duration::ZERO));
        refused(at, job, words);
        assert_eq!(seen.batches(), 0, "the job ended before its first batch");
    };
    let words = ["certificate could not be verified", "has expired", "names another host", "ssl.ca.location"];
    reads(expired, vouched(expired), &words);
    reads(other, vouched(other), &words);
    reads(right, broker.reader(right), &words);
    reads(broker.plain, vouched(broker.plain), &["SSL handshake failed"]);
}
