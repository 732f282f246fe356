//! The reports of a librdkafka client: trouble with its connection, and failed deliveries. No text contains the value of a
//! secret setting.

use std::sync::{Arc, Mutex, OnceLock};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::connector::kafka::client::described_code;
use crate::core::lock::lock;

/// A record that was not delivered.
#[derive(Debug)]
struct FailedDelivery {
    text: String,
    /// librdkafka dropped it because another record had failed.
    purged: bool,
}

/// A client's reports: errors of the client as a whole, and failed deliveries.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    secrets: Vec<String>,
    trouble: Mutex<Option<String>>,
    /// A permanent error, although librdkafka keeps trying.
    pub(crate) hopeless: OnceLock<String>,
    failed: Mutex<Option<FailedDelivery>>,
}

impl Reports {
    /// Empty reports. These values never appear in a text.
    pub(super) fn without(secrets: Vec<String>) -> Self {
        Reports { secrets, ..Reports::default() }
    }

    /// The current trouble with the connection.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    pub(crate) fn set_trouble(&self, text: &str) {
        *lock(&self.trouble) = Some(self.redact(text));
    }

    pub(crate) fn clear(&self) {
        lock(&self.trouble).take();
    }

    /// The first delivery that failed since the last call. A purged record is a consequence, so any other failure takes
    /// precedence.
    pub(crate) fn take_failed(&self) -> Option<String> {
        lock(&self.failed).take().map(|failed| failed.text)
    }

    pub(super) fn record_failure(&self, text: String, purged: bool) {
        let mut failed = lock(&self.failed);
        if failed.as_ref().is_none_or(|first| first.purged && !purged) {
            *failed = Some(FailedDelivery { text, purged });
        }
    }

    /// The text of an error, without the values of settings.
    pub(crate) fn words(&self, error: &KafkaError) -> String {
        match error {
            KafkaError::ClientConfig(_, _, key, _) => format!("setting {key}: librdkafka does not accept it"),
            KafkaError::ClientCreation(text) => self.redact(text),
            other => self.redact(&other.rdkafka_error_code().map_or_else(|| other.to_string(), described_code)),
        }
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.trim().to_string(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// librdkafka blames the issuer of a certificate, regardless of the fault that OpenSSL found.
pub(super) fn explained(reason: &str) -> String {
    match reason.split_once("certificate could not be verified") {
        Some((before, _)) => format!(
            "{before}certificate could not be verified: it has expired, or names another host, or no certificate in \
             ssl.ca.location has signed it; openssl s_client -connect HOST:PORT says which"
        ),
        None => reason.to_string(),
    }
}

/// Forwards librdkafka's errors to [`Reports`], and its log lines to tracing.
pub(crate) struct Context(pub(super) Arc<Reports>);

/// What a record carries until it is delivered or has failed. When the sink is its only owner, every record of a batch has.
pub(crate) type Receipt = Arc<()>;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        let message = self.0.redact(message);
        match level as i32 {
            0..=3 => tracing::error!(target: "librdkafka", "{fac}: {message}"),
            4 => tracing::warn!(target: "librdkafka", "{fac}: {message}"),
            _ => tracing::debug!(target: "librdkafka", "{fac}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{}: {}", self.0.words(&error), self.0.redact(reason));
        let text = if reason.trim().is_empty() { self.0.words(&error) } else { explained(reason) };
        // A retried answer over the size limit will be as large again.
        if text.contains("increase receive.message.max.bytes") {
            let _ = self.0.hopeless.set(self.0.redact(&text));
        }
        // "all brokers are down" is less useful than the broker's previous error.
        let vague = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if !vague || self.0.trouble().is_none() {
            self.0.set_trouble(&text);
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Receipt;

    fn delivery(&self, result: &DeliveryResult<'_>, _: Receipt) {
        let Err((error, record)) = result else { return };
        use RDKafkaErrorCode::{InvalidMessageSize, MessageSizeTooLarge, PurgeInflight, PurgeQueue};
        let code = error.rdkafka_error_code();
        let text = match code {
            Some(MessageSizeTooLarge | InvalidMessageSize) => {
                let bytes = record.key_len() + record.payload_len();
                format!("a record of {bytes} bytes is too large: raise max.message.bytes of the topic, or leave it out")
            }
            _ => self.0.words(error),
        };
        // When one record fails, librdkafka purges those behind it, and may report these first.
        self.0.record_failure(text, matches!(code, Some(PurgeQueue | PurgeInflight)));
    }
}
