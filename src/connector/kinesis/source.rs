//! [`KinesisSource`]: the user's description of a Kinesis stream. It names the stream, where to begin, and who reads.
//!
//! The planner's half is in `enumerator`, the worker's in `reader`.

use std::fmt;
use std::time::Duration;

use crate::api::config::Config;
use crate::connector::kinesis::number::at_time;
use crate::core::error::{Error, Result};

/// The shortest time between two reads of a shard that has more: the service takes five reads a second from all consumers of a shard.
pub(super) const BETWEEN_READS: Duration = Duration::from_millis(250);
/// Milliseconds of this time are days of 1970. In seconds it is 2001 to 2286.
const SECONDS_OF_OUR_TIME: std::ops::RangeInclusive<i64> = 1_000_000_000..=9_999_999_999;
/// The year 2286 in milliseconds.
const YEAR_2286: i64 = 10_000_000_000_000;

/// Where a Kinesis stream begins if no checkpoint exists. Spark's `initialPositionInStream`.
///
/// ```
/// use tidemill::connector::kinesis::source::InitialPosition;
/// assert_eq!(InitialPosition::default(), InitialPosition::latest());
/// assert_ne!(InitialPosition::trim_horizon(), InitialPosition::at_timestamp(0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialPosition {
    /// At the records that arrive from the start on, by the clock of this machine. Spark's default.
    #[default]
    Latest,
    /// At the oldest record that the stream still holds.
    TrimHorizon,
    /// At the first record that arrived at this time or later, in milliseconds since the epoch.
    AtTimestamp(i64),
}

impl InitialPosition {
    /// See [`InitialPosition::Latest`].
    pub fn latest() -> Self {
        InitialPosition::Latest
    }

    /// See [`InitialPosition::TrimHorizon`].
    #[doc(alias = "TRIM_HORIZON")]
    pub fn trim_horizon() -> Self {
        InitialPosition::TrimHorizon
    }

    /// See [`InitialPosition::AtTimestamp`]. A number that cannot be milliseconds of our time, such as seconds, is an error at the start.
    ///
    /// ```
    /// use tidemill::connector::kinesis::source::{InitialPosition, KinesisSource};
    /// let since = |at| KinesisSource::stream("clicks").initial_position(InitialPosition::at_timestamp(at));
    /// since(1_764_331_200_000).check()?; // 2025-11-28 12:00 UTC
    /// assert!(since(1_764_331_200).check().unwrap_err().to_string().contains("multiply it by 1,000"));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "AT_TIMESTAMP")]
    pub fn at_timestamp(ms: i64) -> Self {
        InitialPosition::AtTimestamp(ms)
    }

    /// As a [`ShardSpan`](crate::core::plan::ShardSpan) writes it.
    pub(super) fn place(self, now_ms: i64) -> String {
        match self {
            InitialPosition::Latest => at_time(now_ms),
            InitialPosition::TrimHorizon => String::new(),
            InitialPosition::AtTimestamp(ms) => at_time(ms),
        }
    }
}

/// Keys of an account. They never appear in a message.
#[derive(Clone)]
pub(super) struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// A role to take.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub arn: String,
    pub session: String,
    pub external_id: Option<String>,
}

/// A Kinesis stream: its name, where to begin, who reads. No server is contacted before the job starts.
///
/// | knob | default |
/// |---|---|
/// | [`endpoint_url`](KinesisSource::endpoint_url) | that of the region |
/// | [`region_name`](KinesisSource::region_name) | that of the environment or of `~/.aws/config` |
/// | [`credentials`](KinesisSource::credentials), [`assume_role`](KinesisSource::assume_role) | the chain of AWS |
/// | [`initial_position`](KinesisSource::initial_position) | [`InitialPosition::Latest`] |
/// | [`max_rate_per_shard`](KinesisSource::max_rate_per_shard), [`first_batch_cap`](KinesisSource::first_batch_cap) | no cap |
/// | [`fail_on_data_loss`](KinesisSource::fail_on_data_loss) | records that aged out stop the job |
/// | [`idle_time_between_reads`](KinesisSource::idle_time_between_reads) | 1 second |
/// | [`discover_every`](KinesisSource::discover_every) | 10 seconds |
///
/// The chain of AWS are the variables of the environment (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE` and others), the files in `~/.aws`, a web
/// identity, and the role of the container or the machine. Single sign-on and processes that print keys are left out.
///
/// ```
/// use tidemill::connector::kinesis::source::{InitialPosition, KinesisSource};
/// use tidemill::prelude::{mins, millis};
/// let clicks = KinesisSource::stream("clicks").region_name("eu-central-1").initial_position(InitialPosition::trim_horizon());
/// clicks.check()?;
/// let shown = format!("{:?}", clicks.clone().credentials("AKIA1", "secret").session_token("of an hour"));
/// assert!(shown.contains("eu-central-1") && !shown.contains("secret") && !shown.contains("AKIA1"), "{shown}");
///
/// // Of another account, and with other limits.
/// let theirs = clicks.assume_role("arn:aws:iam::123456789012:role/reader", "clicks").initial_position(InitialPosition::latest());
/// let theirs = theirs.endpoint_url("https://kinesis.eu-central-1.amazonaws.com").fail_on_data_loss(false);
/// theirs.first_batch_cap(100_000).idle_time_between_reads(millis(500)).discover_every(mins(1)).check()?;
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "it describes what to read"]
pub struct KinesisSource {
    pub(super) stream: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) keys: Option<Keys>,
    pub(super) role: Option<Role>,
    pub(super) start: InitialPosition,
    pub(super) stops_at_loss: bool,
    /// Whether earlier batches run again (`--replay`). If so, no record may be lost.
    pub(super) replayed: bool,
    rate: Option<u64>,
    first_batch: Option<u64>,
    pub(super) idle: Duration,
    pub(super) every: Duration,
    faults: Vec<String>,
}

impl fmt::Debug for KinesisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KinesisSource { stream, endpoint, region, start, .. } = self;
        let mut all = f.debug_struct("KinesisSource");
        all.field("stream", stream).field("endpoint_url", endpoint).field("region_name", region);
        all.field("initial_position", start).finish_non_exhaustive()
    }
}

impl KinesisSource {
    /// The stream of this name.
    #[doc(alias = "streamName")]
    pub fn stream(name: impl Into<String>) -> Self {
        KinesisSource {
            stream: name.into(),
            endpoint: None,
            region: None,
            keys: None,
            role: None,
            start: InitialPosition::default(),
            stops_at_loss: true,
            replayed: false,
            rate: None,
            first_batch: None,
            idle: Duration::from_secs(1),
            every: Duration::from_secs(10),
            faults: Vec::new(),
        }
    }

    /// A source from the names of Spark's `KinesisUtils.createStream`: `streamName`, `endpointUrl`, `regionName`,
    /// `initialPositionInStream` (`LATEST`, `TRIM_HORIZON`, or milliseconds since the epoch), `awsAccessKeyId`, `awsSecretKey`,
    /// `stsAssumeRoleArn`, `stsSessionName`, `stsExternalId`.
    ///
    /// `kinesisAppName`, `checkpointInterval`, `storageLevel` and `metricsLevel` are accepted and have no effect. The job keeps its
    /// positions in its own checkpoints, at its own interval, and needs no table of DynamoDB.
    ///
    /// ```
    /// use tidemill::connector::kinesis::source::KinesisSource;
    /// let words = KinesisSource::params([
    ///     ("kinesisAppName", "wordcount"),
    ///     ("streamName", "words"),
    ///     ("endpointUrl", "https://kinesis.us-east-1.amazonaws.com"),
    ///     ("regionName", "us-east-1"),
    ///     ("initialPositionInStream", "TRIM_HORIZON"),
    ///     ("checkpointInterval", "2"),
    /// ]);
    /// words.check()?;
    /// assert!(words.set("initialPositionInStream", "OLDEST").check().unwrap_err().to_string().contains("TRIM_HORIZON"));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "KinesisUtils")]
    pub fn params<K: AsRef<str>, V: AsRef<str>>(params: impl IntoIterator<Item = (K, V)>) -> Self {
        params.into_iter().fold(KinesisSource::stream(""), |kinesis, (k, v)| kinesis.set(k.as_ref(), v.as_ref()))
    }

    /// Sets one of the names of [`params`](KinesisSource::params). An unknown one is an error at the start.
    ///
    /// ```
    /// use tidemill::connector::kinesis::source::KinesisSource;
    /// let e = KinesisSource::stream("words").set("streamname", "w").check().unwrap_err();
    /// assert!(e.to_string().contains("streamname"), "{e}");
    /// ```
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let keys = |keys: Option<Keys>| keys.unwrap_or(Keys { id: String::new(), secret: String::new(), token: None });
        let role =
            |role: Option<Role>| role.unwrap_or(Role { arn: String::new(), session: "tidemill".into(), external_id: None });
        match key.trim() {
            "streamName" => self.stream = value.into(),
            "endpointUrl" => self.endpoint = Some(value.into()),
            "regionName" => self.region = Some(value.into()),
            "initialPositionInStream" => match (value, value.parse()) {
                ("LATEST", _) => self.start = InitialPosition::Latest,
                ("TRIM_HORIZON", _) => self.start = InitialPosition::TrimHorizon,
                (_, Ok(ms)) => self.start = InitialPosition::AtTimestamp(ms),
                _ => self.faults.push(format!(
                    "Kinesis: initialPositionInStream is {value:?}: say LATEST, TRIM_HORIZON, or milliseconds since the epoch"
                )),
            },
            "awsAccessKeyId" => self.keys = Some(Keys { id: value.into(), ..keys(self.keys.take()) }),
            "awsSecretKey" => self.keys = Some(Keys { secret: value.into(), ..keys(self.keys.take()) }),
            "stsAssumeRoleArn" => self.role = Some(Role { arn: value.into(), ..role(self.role.take()) }),
            "stsSessionName" => self.role = Some(Role { session: value.into(), ..role(self.role.take()) }),
            "stsExternalId" => self.role = Some(Role { external_id: Some(value.into()), ..role(self.role.take()) }),
            "kinesisAppName" | "checkpointInterval" | "storageLevel" | "metricsLevel" => {}
            other => self.faults.push(format!("Kinesis: there is no setting {other:?}; KinesisSource::params has their names")),
        }
        self
    }

    /// The address of the service: `http://` or `https://`, a host, and a port if it is not that of the protocol. Default: that of AWS in
    /// the region.
    #[doc(alias = "endpointUrl")]
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// The region, such as `eu-central-1`. Default: that of the environment or of the files in `~/.aws`; `us-east-1` if only
    /// [`endpoint_url`](KinesisSource::endpoint_url) is given.
    #[doc(alias = "regionName")]
    pub fn region_name(mut self, name: impl Into<String>) -> Self {
        self.region = Some(name.into());
        self
    }

    /// The keys of an account. They never appear in a message. Default: the chain of AWS.
    #[doc(alias = "awsAccessKeyId")]
    #[doc(alias = "awsSecretKey")]
    pub fn credentials(mut self, access_key_id: impl Into<String>, secret_key: impl Into<String>) -> Self {
        self.keys = Some(Keys { id: access_key_id.into(), secret: secret_key.into(), token: None });
        self
    }

    /// The token that belongs to temporary [`credentials`](KinesisSource::credentials), which must be given before.
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        match &mut self.keys {
            Some(keys) => keys.token = Some(token.into()),
            None => self.faults.push("Kinesis: session_token belongs to credentials, which must be given before".into()),
        }
        self
    }

    /// Takes a role before it reads, with the credentials above: its ARN, and a name for the session that the logs of AWS show.
    #[doc(alias = "stsAssumeRoleArn")]
    pub fn assume_role(mut self, arn: impl Into<String>, session_name: impl Into<String>) -> Self {
        self.role = Some(Role { arn: arn.into(), session: session_name.into(), external_id: None });
        self
    }

    /// Where to begin if no checkpoint exists. Default: [`InitialPosition::Latest`]. Shards that appear later begin at their first record.
    #[doc(alias = "initialPositionInStream")]
    pub fn initial_position(mut self, start: InitialPosition) -> Self {
        self.start = start;
        self
    }

    /// At most this many records a second from each shard. Default: no limit. Records that the producer library has packed into one are in
    /// one batch, so a batch may have more.
    ///
    /// ```
    /// use tidemill::connector::kinesis::source::KinesisSource;
    /// KinesisSource::stream("clicks").max_rate_per_shard(1_000).check()?;
    /// assert!(KinesisSource::stream("clicks").max_rate_per_shard(0).check().is_err());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn max_rate_per_shard(mut self, records_per_second: u64) -> Self {
        self.rate = Some(records_per_second);
        self
    }

    /// At most this many records from each shard in the first batch, which may find a long stream. Default: no limit.
    pub fn first_batch_cap(mut self, records: u64) -> Self {
        self.first_batch = Some(records);
        self
    }

    /// Whether the job stops when records were older than the retention period before it read them, as after a long downtime. Default:
    /// `true`. With `false` it continues at the oldest record. Kinesis does not tell how many were lost, so each gap of a shard counts as one
    /// record in [`Statistics::lost`](crate::metrics::Statistics::lost); of a batch that runs again the number is known. With a checkpoint
    /// directory losses are in the plan log too, so that a batch that runs again reads the same records.
    pub fn fail_on_data_loss(mut self, fail: bool) -> Self {
        self.stops_at_loss = fail;
        self
    }

    /// How long it waits after it has read all records of a shard, before it asks again. Default: 1 second. A shard that has more is read
    /// every 250 ms, or at this time if that is shorter: Kinesis answers five reads a second of a shard, for all of its consumers together.
    #[doc(alias = "idleTimeBetweenReadsInMillis")]
    pub fn idle_time_between_reads(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// How often it looks for new shards. Default: 10 seconds. It also looks when it has read a closed shard to its end.
    pub fn discover_every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// The source with the job's settings.
    pub(super) fn of_job(mut self, job: &Config) -> Self {
        self.replayed = job.replay.is_some();
        self
    }

    /// The source's name in errors and logs.
    pub(super) fn name(&self) -> String {
        format!("kinesis stream {}", self.stream)
    }

    pub(super) fn fault(&self, reason: impl ToString) -> Error {
        Error::source(self.name(), self.without_secrets(&reason.to_string()))
    }

    /// A text of the service or its client, which might repeat a key.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let Some(Keys { id, secret, token }) = &self.keys else { return text.into() };
        let secrets = [Some(secret), token.as_ref(), Some(id)].into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// The maximum number of records a second and shard, if a limit is set.
    pub(super) fn rate_per_shard(&self) -> Option<u64> {
        self.rate
    }

    /// The maximum number of records a shard in the first batch, if a limit is set.
    pub(super) fn first_batch_records(&self) -> Option<u64> {
        self.first_batch
    }

    /// Checks the description. No server is contacted.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub fn check(&self) -> Result<()> {
        let mut found = self.faults.clone();
        let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if self.stream.is_empty() {
            found.push("Kinesis: no stream is given; name it by KinesisSource::stream".into());
        } else if self.stream.len() > 128 || !self.stream.chars().all(fine) {
            found.push(format!(
                "Kinesis: no stream can be called {:?}: a name has at most 128 of a-z, A-Z, 0-9, '_', '.' and '-'",
                self.stream
            ));
        }
        found.extend(self.endpoint.as_deref().and_then(endpoint_problem));
        if let Some(Keys { id, secret, .. }) = &self.keys
            && (id.is_empty() || secret.is_empty())
        {
            found.push("Kinesis: the credentials lack a half: give both, the access key id and the secret key".into());
        }
        if self.role.as_ref().is_some_and(|role| role.arn.is_empty()) {
            found.push("Kinesis: stsSessionName and stsExternalId need stsAssumeRoleArn, the role".into());
        }
        for (name, zero) in [("max_rate_per_shard", self.rate), ("first_batch_cap", self.first_batch)] {
            if zero == Some(0) {
                found.push(format!("Kinesis: {name} is 0, nothing would ever be read"));
            }
        }
        if self.every.is_zero() {
            found.push("Kinesis: discover_every is 0".into());
        }
        if let InitialPosition::AtTimestamp(ms) = self.start {
            let unit = match ms {
                ms if SECONDS_OF_OUR_TIME.contains(&ms) => Some("seconds; multiply it by 1,000"),
                ms if ms < 0 => Some("a time before 1970; use trim_horizon()"),
                ms if ms >= YEAR_2286 => Some("microseconds or nanoseconds; divide it"),
                _ => None,
            };
            found.extend(unit.map(|unit| format!("Kinesis: at_timestamp says {ms} ms, and this looks like {unit}")));
        }
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }
}

/// What is wrong with the address of a service. It may have a password, so it is not repeated.
fn endpoint_problem(url: &str) -> Option<String> {
    let problem =
        |what: &str| Some(format!("Kinesis: endpoint_url {what}; write for example https://kinesis.us-east-1.amazonaws.com"));
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        _ => return problem("begins with neither http:// nor https://"),
    };
    if rest.contains('@') {
        return problem("has a user in it: use credentials");
    }
    if rest.split('/').next().is_none_or(str::is_empty) {
        return problem("has no host");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(kinesis: KinesisSource) -> String {
        kinesis.check().unwrap_err().to_string()
    }

    #[test]
    fn sparks_names_are_understood() {
        let k = KinesisSource::params([
            ("streamName", "words"),
            ("endpointUrl", "http://127.0.0.1:4567"),
            ("regionName", "eu-west-1"),
            ("initialPositionInStream", "TRIM_HORIZON"),
            ("awsAccessKeyId", "id"),
            ("awsSecretKey", "key"),
            ("stsAssumeRoleArn", "arn:aws:iam::1:role/r"),
            ("stsExternalId", "e"),
            ("kinesisAppName", "app"),
            ("storageLevel", "MEMORY_AND_DISK_2"),
        ]);
        k.check().unwrap();
        assert_eq!((&*k.stream, k.start, k.region.as_deref()), ("words", InitialPosition::TrimHorizon, Some("eu-west-1")));
        let role = k.role.unwrap();
        assert_eq!((&*role.arn, &*role.session, role.external_id.as_deref()), ("arn:aws:iam::1:role/r", "tidemill", Some("e")));
        let text = problems(KinesisSource::params([("initialPositionInStream", "EARLIEST"), ("region", "x")]));
        assert!(text.contains("EARLIEST") && text.contains("\"region\"") && text.contains("no stream"), "{text}");
    }

    #[test]
    fn a_description_that_cannot_work_is_refused_before_anybody_is_asked() {
        let k = || KinesisSource::stream("words");
        assert!(problems(KinesisSource::stream("wörter")).contains("no stream can be called"));
        assert!(problems(k().credentials("id", "")).contains("lack a half"));
        assert!(problems(k().session_token("t")).contains("given before"));
        assert!(problems(k().set("stsSessionName", "s")).contains("stsAssumeRoleArn"));
        assert!(problems(k().discover_every(Duration::ZERO)).contains("discover_every"));
        assert!(problems(k().initial_position(InitialPosition::at_timestamp(-1))).contains("trim_horizon()"));
        for url in ["127.0.0.1:4567", "ftp://h", "http://", "http:///x"] {
            assert!(problems(k().endpoint_url(url)).contains("endpoint_url"), "{url}");
        }
    }

    #[test]
    fn no_message_has_a_secret() {
        let k = KinesisSource::stream("words").credentials("AKIA1", "s3cret").session_token("t0ken");
        let text = k.fault("the signature of AKIA1 with s3cret and t0ken is wrong").to_string();
        assert_eq!(text, "source kinesis stream words: the signature of *** with *** and *** is wrong");
        let text = problems(KinesisSource::stream("words").endpoint_url("http://me:s3cret@h"));
        assert!(!text.contains("s3cret"), "{text}");
    }
}
