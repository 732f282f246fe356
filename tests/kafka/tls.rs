//! Kafka over TLS, with a certificate of the test's own.

use std::net::TcpListener;
use std::process::Command;

use tidemill::prelude::*;

use crate::broker::Broker;
use crate::noted::{Noted, eventually};
use crate::rig::{producer, send, topic_at};

fn keytool(args: &[&str]) {
    let out = Command::new("keytool").args(args).args(["-storepass", "not-secret", "-alias", "broker"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn c20_a_topic_is_read_over_tls() {
    let dir = std::env::temp_dir().join(format!("tidemill-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let [store, ca] = ["store.p12", "ca.pem"].map(|name| dir.join(name).to_str().unwrap().to_string());
    let key = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=broker", "-ext", "SAN=IP:127.0.0.1", "-storetype", "PKCS12"];
    keytool(&[&key[..], &["-keystore", &store]].concat());
    keytool(&["-exportcert", "-rfc", "-keystore", &store, "-file", &ca]);
    let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [plain, tls, controller] = free.map(|l| l.local_addr().unwrap());
    let properties = [
        format!("listeners=PLAINTEXT://{plain},SSL://{tls},CONTROLLER://{controller}"),
        format!("advertised.listeners=PLAINTEXT://{plain},SSL://{tls}"),
        format!("controller.quorum.bootstrap.servers={controller}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT".to_string(),
        format!("ssl.keystore.location={store}"),
        "ssl.keystore.type=PKCS12".to_string(),
        "ssl.keystore.password=not-secret".to_string(),
    ];
    let _broker = Broker::start(&plain.port().to_string(), &properties);
    let topic = topic_at(&plain.to_string(), "tls", 2, &[]);
    let p = producer(&[("bootstrap.servers", &plain.to_string())]);
    send(&p, &topic, 0, &["a", "b"]);
    send(&p, &topic, 1, &["c"]);

    let kafka = Kafka::brokers(tls.to_string()).topic(&topic).start(StartFrom::earliest()).set("security.protocol", "SSL");
    let seen = Noted::default();
    let job = seen.start(kafka.clone().set("ssl.ca.location", &ca), 2);
    eventually("all records", || seen.records() == 3);
    job.stop_gracefully().unwrap();
    seen.checked();

    // Nobody vouches for the broker.
    let run = StreamingContext::builder("tls", secs(1)).run(move |ssc| {
        ssc.kafka_direct_stream(kafka.clone()).count().print(1);
        Ok(())
    });
    let text = run.unwrap_err().to_string();
    assert!(text.contains(&tls.to_string()) && text.contains("certificate"), "{text}");
    std::fs::remove_dir_all(dir).unwrap();
}
