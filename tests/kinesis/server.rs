//! A server with the protocol of Kinesis, and what puts records into its streams.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ScalingType, Shard};
use aws_smithy_http_client::Builder;
use tidemill::connector::kinesis::source::{InitialPosition, KinesisSource};
use tidemill::prelude::millis;
use tokio::runtime::Runtime;

/// The keys of the tests. The servers accept any.
pub const KEYS: (&str, &str) = ("AKIATIDEMILL", "of-the-tests");

pub struct Server {
    process: Child,
    pub address: String,
    runtime: Runtime,
    client: Client,
}

impl Server {
    /// Kinesalite.
    pub fn start() -> Server {
        Server::of("kinesalite")
    }

    pub fn of(name: &str) -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kinesis");
        let mut command = Command::new(script);
        let mut process = command.args(["--server", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "scripts/kinesis did not start: its output is above");
        let address = address.trim().to_owned();
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(Builder::new().build_http())
            .endpoint_url(&address)
            .region(Region::new("us-east-1"))
            .retry_config(RetryConfig::standard().with_max_attempts(10))
            .credentials_provider(Credentials::new(KEYS.0, KEYS.1, None, None, "tests"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Server { process, address, runtime, client: Client::from_conf(config.build()) }
    }

    /// Makes a stream, and waits until it is active.
    pub fn stream(&self, name: &str, shards: i32) {
        self.runtime.block_on(async {
            self.client.create_stream().stream_name(name).shard_count(shards).send().await.unwrap();
        });
        self.active(name);
    }

    pub fn delete(&self, name: &str) {
        self.runtime.block_on(async { self.client.delete_stream().stream_name(name).send().await.unwrap() });
    }

    fn active(&self, name: &str) {
        crate::harness::eventually("the stream is active", || {
            let state = self.runtime.block_on(self.client.describe_stream_summary().stream_name(name).send()).unwrap();
            let summary = state.stream_description_summary().unwrap();
            summary.stream_status().as_str() == "ACTIVE"
        });
    }

    pub fn shards(&self, name: &str) -> Vec<Shard> {
        self.runtime.block_on(self.client.list_shards().stream_name(name).send()).unwrap().shards.unwrap()
    }

    /// The open shards.
    pub fn open(&self, name: &str) -> Vec<String> {
        let open = |shard: &Shard| shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none());
        self.shards(name).iter().filter(|shard| open(shard)).map(|shard| shard.shard_id().to_owned()).collect()
    }

    /// Splits a shard in the middle of its hash keys.
    pub fn split(&self, name: &str, shard: &str) {
        let shards = self.shards(name);
        let range = shards.iter().find(|s| s.shard_id() == shard).unwrap().hash_key_range().unwrap().clone();
        let key = |text: &str| text.parse::<u128>().unwrap();
        let (first, last) = (key(range.starting_hash_key()), key(range.ending_hash_key()));
        let middle = (first + (last - first) / 2).to_string();
        let call = self.client.split_shard().stream_name(name).shard_to_split(shard).new_starting_hash_key(middle);
        self.runtime.block_on(call.send()).unwrap();
        self.active(name);
    }

    /// Changes the number of shards: kinesis-local.
    pub fn reshard(&self, name: &str, shards: i32) {
        let call = self.client.update_shard_count().stream_name(name).target_shard_count(shards);
        self.runtime.block_on(call.scaling_type(ScalingType::UniformScaling).send()).unwrap();
        self.active(name);
    }

    pub fn merge(&self, name: &str, one: &str, other: &str) {
        let call = self.client.merge_shards().stream_name(name).shard_to_merge(one).adjacent_shard_to_merge(other);
        self.runtime.block_on(call.send()).unwrap();
        self.active(name);
    }

    /// Puts records with these keys, in their order.
    pub fn put<K: ToString>(&self, name: &str, records: impl IntoIterator<Item = (K, Vec<u8>)>) {
        let records: Vec<_> = records.into_iter().map(|(key, data)| (key.to_string(), data)).collect();
        for part in records.chunks(500) {
            let entry = |(key, data): &(String, Vec<u8>)| {
                PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data.clone())).build().unwrap()
            };
            let call = self.client.put_records().stream_name(name).set_records(Some(part.iter().map(entry).collect()));
            let answer = self.runtime.block_on(call.send()).unwrap();
            assert_eq!(answer.failed_record_count().unwrap_or(0), 0);
        }
    }

    /// Puts numbers as text; the key is the number modulo `keys`.
    pub fn put_numbers(&self, name: &str, numbers: std::ops::Range<i64>, keys: i64) {
        self.put(name, numbers.map(|n| (n % keys, n.to_string().into_bytes())));
    }

    /// A source that begins at the oldest record, and asks often.
    pub fn source(&self, stream: &str) -> KinesisSource {
        source(&self.address, stream)
    }
}

pub fn source(address: &str, stream: &str) -> KinesisSource {
    KinesisSource::stream(stream)
        .endpoint_url(address)
        .region_name("us-east-1")
        .credentials(KEYS.0, KEYS.1)
        .initial_position(InitialPosition::trim_horizon())
        .idle_time_between_reads(millis(20))
        .discover_every(millis(100))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
