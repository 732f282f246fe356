//! The SDK of AWS, as far as a source and a generator need it, and what its errors mean.
//!
//! The SDK does not try again by itself: the callers do, and say what the trouble is.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
#[cfg(feature = "cli")]
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use aws_sdk_kinesis::types::{Shard, ShardIteratorType};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::connector::kinesis::aggregated::HashKeys;
use crate::connector::kinesis::number::Place;
use crate::connector::kinesis::source::{Keys, KinesisSource, Role};

/// How long a start waits for a service that does not answer.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long a connection and an answer may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);
/// The most records of one answer.
const RECORDS: i32 = 10_000;
/// The first and the longest wait before a call is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The iterator is older than five minutes.
    Expired,
    /// The stream or the shard does not exist, or no longer.
    Missing(String),
    /// A sequence number or a time that the service does not accept.
    Refused(String),
    /// It may pass: the service is away, or is asked too often.
    Passing(String),
    /// It will not pass: such as missing permission.
    Fatal(String),
}

impl Problem {
    pub fn text(&self) -> &str {
        match self {
            Problem::Expired => "the iterator is too old",
            Problem::Missing(text) | Problem::Refused(text) | Problem::Passing(text) | Problem::Fatal(text) => text,
        }
    }
}

/// How long to wait before the next try: twice as long each time, and a random part less, so that readers do not ask all at once.
#[derive(Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub fn next(&mut self) -> Duration {
        let most = BACKOFF.0.saturating_mul(1 << self.tries.min(16)).min(BACKOFF.1);
        self.tries += 1;
        let mut random = [0];
        // Without random numbers all wait equally long.
        let _ = getrandom::fill(&mut random);
        most - most.mul_f64(f64::from(random[0]) / 1_024.0)
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A connection to one stream.
#[derive(Clone)]
pub(super) struct Client {
    kinesis: aws_sdk_kinesis::Client,
    source: KinesisSource,
}

impl Client {
    /// No call is made yet, except for a role or for keys that the machine gives.
    ///
    /// # Errors
    /// There is no region.
    pub async fn new(source: &KinesisSource) -> Result<Client, Problem> {
        // No proxies of the environment: a server of a test is on loopback.
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ANSWER).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        match (&source.region, &source.endpoint) {
            (Some(region), _) => loader = loader.region(Region::new(region.clone())),
            (None, Some(_)) => {
                loader = loader.region(aws_config::meta::region::RegionProviderChain::default_provider().or_else("us-east-1"));
            }
            (None, None) => {}
        }
        if let Some(Keys { id, secret, token }) = &source.keys {
            loader = loader.credentials_provider(Credentials::new(id, secret, token.clone(), None, "given"));
        }
        let mut config = loader.load().await;
        if config.region().is_none() {
            return Err(Problem::Fatal("no region is set: name it by region_name, or by AWS_REGION in the environment".into()));
        }
        if let Some(Role { arn, session, external_id }) = &source.role {
            let mut role = AssumeRoleProvider::builder(arn).session_name(session).configure(&config);
            if let Some(id) = external_id {
                role = role.external_id(id);
            }
            let provider = aws_sdk_kinesis::config::SharedCredentialsProvider::new(role.build().await);
            config = config.into_builder().credentials_provider(provider).build();
        }
        let mut config = aws_sdk_kinesis::config::Builder::from(&config);
        if let Some(url) = &source.endpoint {
            config = config.endpoint_url(url);
        }
        Ok(Client { kinesis: aws_sdk_kinesis::Client::from_conf(config.build()), source: source.clone() })
    }

    /// All shards that still have records, and those that are open.
    pub async fn shards(&self) -> Result<Vec<Shard>, Problem> {
        let (mut shards, mut next) = (Vec::new(), None);
        loop {
            // A name and a token together are refused.
            let name = next.is_none().then(|| self.source.stream.clone());
            let call = self.kinesis.list_shards().set_stream_name(name).set_next_token(next);
            let answer = call.send().await.map_err(|e| self.problem(e))?;
            shards.extend(answer.shards.unwrap_or_default());
            next = answer.next_token;
            if next.is_none() {
                return Ok(shards);
            }
        }
    }

    /// The hash keys of a shard, which do not change.
    pub async fn hash_keys(&self, shard: &str) -> Result<Option<HashKeys>, Problem> {
        let shards = self.shards().await?;
        let range = shards.iter().find(|s| s.shard_id == shard).and_then(|s| s.hash_key_range.as_ref());
        Ok(range.and_then(|range| {
            let (first, last) = (range.starting_hash_key.parse().ok()?, range.ending_hash_key.parse().ok()?);
            Some(HashKeys { first, last })
        }))
    }

    /// An iterator that begins at a place. After a record it begins *at* this record, so that it is seen whether the record is still there.
    pub async fn iterator(&self, shard: &str, place: Place<'_>) -> Result<String, Problem> {
        let call = self.kinesis.get_shard_iterator().stream_name(&self.source.stream).shard_id(shard);
        let call = match place {
            Place::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Place::Time(ms) => call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(ms)),
            Place::After(number) => {
                call.shard_iterator_type(ShardIteratorType::AtSequenceNumber).starting_sequence_number(number)
            }
        };
        let answer = call.send().await.map_err(|e| self.problem(e))?;
        answer.shard_iterator.ok_or_else(|| Problem::Passing("the service gave no iterator".into()))
    }

    pub async fn records(&self, iterator: &str) -> Result<GetRecordsOutput, Problem> {
        let call = self.kinesis.get_records().shard_iterator(iterator).limit(RECORDS);
        call.send().await.map_err(|e| self.problem(e))
    }

    /// Whether the stream can be written.
    #[cfg(feature = "cli")]
    pub async fn is_active(&self) -> Result<bool, Problem> {
        let call = self.kinesis.describe_stream_summary().stream_name(&self.source.stream);
        let answer = call.send().await.map_err(|e| self.problem(e))?;
        let status = answer.stream_description_summary.map(|summary| summary.stream_status);
        Ok(status.is_some_and(|status| matches!(status, StreamStatus::Active | StreamStatus::Updating)))
    }

    #[cfg(feature = "cli")]
    pub async fn create(&self, shards: i32) -> Result<(), Problem> {
        let call = self.kinesis.create_stream().stream_name(&self.source.stream).shard_count(shards);
        call.send().await.map(drop).map_err(|e| self.problem(e))
    }

    /// Puts records. Returns which of them were refused, and why.
    #[cfg(feature = "cli")]
    pub async fn put(&self, records: Vec<PutRecordsRequestEntry>) -> Result<Vec<(usize, String)>, Problem> {
        let call = self.kinesis.put_records().stream_name(&self.source.stream).set_records(Some(records));
        let answer = call.send().await.map_err(|e| self.problem(e))?;
        let refused = answer.records.into_iter().enumerate().filter_map(|(i, record)| {
            let message = record.error_message.unwrap_or_default();
            Some((i, self.source.without_secrets(&format!("{}: {message}", record.error_code?))))
        });
        Ok(refused.collect())
    }

    /// Why a call failed, without secrets.
    fn problem<E: ProvideErrorMetadata + std::error::Error + 'static>(&self, e: SdkError<E>) -> Problem {
        let text = |text: String| self.source.without_secrets(&text);
        match &e {
            SdkError::ServiceError(answer) => {
                let (status, error) = (answer.raw().status().as_u16(), answer.err());
                let code = error.code().unwrap_or("no code");
                let message = error.message().map_or_else(|| format!("status {status}"), str::to_owned);
                of_code(code, status, text(format!("{code}: {message}")))
            }
            SdkError::TimeoutError(_) => Problem::Passing("the service did not answer in time".into()),
            SdkError::ConstructionFailure(_) => Problem::Fatal(text(DisplayErrorContext(&e).to_string())),
            _ => Problem::Passing(text(DisplayErrorContext(&e).to_string())),
        }
    }
}

fn of_code(code: &str, status: u16, text: String) -> Problem {
    match code {
        "ExpiredIteratorException" => Problem::Expired,
        "ResourceNotFoundException" => Problem::Missing(text),
        "InvalidArgumentException" => Problem::Refused(text),
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "ExpiredTokenException"
        | "ResourceInUseException"
        | "InternalFailureException"
        | "InternalFailure"
        | "ServiceUnavailable" => Problem::Passing(text),
        _ if status >= 500 || status == 429 => Problem::Passing(text),
        _ => Problem::Fatal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_twice_as_long_each_time_within_bounds() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] <= BACKOFF.0 && waits[0] > BACKOFF.0 / 2, "{:?}", waits[0]);
        assert!(waits[3] > BACKOFF.0 * 4 && waits[39] <= BACKOFF.1 && waits[39] > BACKOFF.1 / 2, "{waits:?}");
        backoff.reset();
        assert!(backoff.next() <= BACKOFF.0);
    }

    #[test]
    fn an_error_passes_or_does_not() {
        let of = |code, status| of_code(code, status, String::new());
        assert_eq!(of("ExpiredIteratorException", 400), Problem::Expired);
        let passing = Problem::Passing(String::new());
        for (code, status) in [("ProvisionedThroughputExceededException", 400), ("LimitExceededException", 400), ("x", 503)] {
            assert_eq!(of(code, status), passing, "{code}");
        }
        assert_eq!(of("AccessDeniedException", 400), Problem::Fatal(String::new()));
        assert_eq!(of("ResourceNotFoundException", 400), Problem::Missing(String::new()));
    }
}
