//! Records that the Kinesis Producer Library has packed into one.

use md5::{Digest, Md5};
use prost::Message as _;
use tidemill::prelude::*;

use crate::reading::{in_order, numbers, reaches, reads_all, start, take_over};
use crate::server::Server;
use crate::temp_dir::TempDir;

#[derive(Clone, PartialEq, prost::Message)]
struct Packed {
    #[prost(string, repeated, tag = "1")]
    keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Inner>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(uint64, tag = "1")]
    key: u64,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// Numbers with one key, as the library packs them.
fn packed(key: &str, numbers: std::ops::Range<i64>) -> Vec<u8> {
    // An index that is 0 is written, as the format requires.
    let records: Vec<Inner> = numbers.map(|n| Inner { key: 0, data: n.to_string().into_bytes() }).collect();
    let mut bytes = Packed { keys: vec![key.into()], records: Vec::new() }.encode_to_vec();
    for record in records {
        let inner = [&[0x08, 0x00][..], &record.encode_to_vec()].concat();
        bytes.extend([&[0x1a, inner.len() as u8][..], &inner].concat());
    }
    [&[0xF3, 0x89, 0x9A, 0xC2][..], &bytes, &Md5::digest(&bytes)[..]].concat()
}

#[test]
fn packed_records_are_unpacked_and_a_batch_has_all_of_one() {
    let (server, dir) = (Server::start(), TempDir::made("kinesis-packed"));
    server.stream("numbers", 2);
    let keys = ["a", "b", "c"];
    let (mut all, mut put) = (std::collections::BTreeMap::new(), 0);
    for round in 0..4 {
        // Ten of the 50 numbers of a record would be enough for a batch.
        let kinesis = server.source("numbers").max_rate_per_shard(400);
        let (job, rows) = start(Some(&dir), [1, 2, 4, 1][round], kinesis);
        for i in 0..6 {
            let key = keys[i % 3];
            server.put("numbers", [(key, packed(key, put..put + 50)), (key, (put + 50).to_string().into_bytes())]);
            put += 51;
        }
        reaches(&job, "some are read", || rows.rows().iter().any(|(_, n, ..)| *n >= put - 200));
        job.stop_now().unwrap();
        take_over(&mut all, &rows);
    }
    let (job, rows) = start(Some(&dir), 2, server.source("numbers"));
    reads_all(&job, &all, &rows, put);
    job.stop_gracefully().unwrap();
    take_over(&mut all, &rows);
    in_order(all.values());
    for batch in all.values() {
        for first in (0..put).step_by(51) {
            let of = batch.iter().filter(|(_, n, ..)| (first..first + 50).contains(n)).count();
            assert!(of == 0 || of == 50, "{of} of a record");
        }
    }
    assert_eq!(numbers(&all.into_values().flatten().collect::<Vec<_>>()), (0..put).collect::<Vec<_>>());
}

#[test]
fn a_record_whose_checksum_is_wrong_stays_as_it_is() {
    let server = Server::start();
    server.stream("numbers", 1);
    let mut wrong = packed("a", 0..3);
    *wrong.last_mut().unwrap() ^= 1;
    server.put("numbers", [("a", wrong.clone())]);
    let (kinesis, values) = (server.source("numbers"), MemorySink::new());
    let out = values.clone();
    let job = StreamingContext::builder("bytes", millis(25)).without_checkpoint().start(move |ssc| {
        ssc.kinesis_stream(kinesis.clone()).map(|m| m.raw().to_vec()).to_memory(&out);
        Ok(())
    });
    let job = job.unwrap();
    reaches(&job, "it is read", || !values.rows().is_empty());
    assert_eq!(values.rows(), [wrong]);
    job.stop_now().unwrap();
}
