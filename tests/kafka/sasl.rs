//! A Kafka with passwords and an authorizer: users who may not connect, and users who may not read.

use tidemill::prelude::*;

use crate::broker::Broker;
use crate::child::addresses;
use crate::fixture::{PATIENCE, topic_at};
use crate::recorder::Recorder;

const PASSWORD: &str = "canary-of-the-right-password";

/// A broker with two addresses. The first allows everything to every client. The second needs a password, and its users may read
/// nothing.
fn guarded() -> (Broker, String, String) {
    let [plain, sasl, controller] = addresses(3).try_into().unwrap();
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let properties = [
        format!("listeners=PLAINTEXT://{plain},SASL_PLAINTEXT://{sasl},CONTROLLER://{controller}"),
        format!("advertised.listeners=PLAINTEXT://{plain},SASL_PLAINTEXT://{sasl}"),
        format!("controller.quorum.bootstrap.servers={controller}"),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT".to_string(),
        "sasl.enabled.mechanisms=PLAIN".to_string(),
        format!("listener.name.sasl_plaintext.plain.sasl.jaas.config={module} required user_reader=\"{PASSWORD}\";"),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_string(),
        "super.users=User:ANONYMOUS".to_string(),
    ];
    let broker = Broker::start(plain.rsplit(':').next().unwrap(), &properties);
    (broker, plain, sasl)
}

/// The error of a job with this source.
fn end(kafka: KafkaSource) -> String {
    let text = Recorder::default().start(kafka, 1).await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    assert!(!text.contains("canary"), "{text}");
    text
}

#[test]
fn c20_c21_a_wrong_password_and_a_missing_permission_are_errors_in_time() {
    let (_broker, plain, sasl) = guarded();
    let topic = topic_at(&plain, "guarded", 1, &[]);
    let reader = |password: &str| {
        let kafka =
            KafkaSource::brokers(&sasl).topic(&topic).set("security.protocol", "SASL_PLAINTEXT").set("sasl.mechanism", "PLAIN");
        kafka.set("sasl.username", "reader").set("sasl.password", password)
    };
    let text = end(reader("canary-of-a-wrong-one"));
    assert!(text.contains(&sasl) && text.contains("Authentication failed"), "{text}");
    let text = end(reader(PASSWORD));
    assert!(text.contains(&topic) && text.contains("authorization failed"), "{text}");
    // Without a password, at the address that needs one.
    let text = end(KafkaSource::brokers(&sasl).topic(&topic));
    assert!(text.contains(&sasl) && text.contains("no broker answers"), "{text}");
    // With a password, at the address without authentication.
    let text = end(reader(PASSWORD).set("bootstrap.servers", &plain));
    assert!(text.contains(&plain) && text.contains("no broker answers"), "{text}");
}
