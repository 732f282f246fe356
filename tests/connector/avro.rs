//! Records of Avro whose schemas are in a registry: its HTTP is that of Confluent's, from a server of these tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill::connector::message::Message;
use tidemill::format::{Avro, SchemaRegistry};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::temp_dir::TempDir;

/// What a registry answers, and what it was asked.
#[derive(Default)]
struct Shared {
    /// By path. The first answer is given once, the last one always.
    answers: BTreeMap<String, Vec<(u16, Value)>>,
    /// The path of each request, and whether it had the password.
    asked: Vec<(String, bool)>,
}

struct Registry {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

const PASSWORD: &str = "hunter2";
/// `reader:hunter2`.
const AUTHORIZATION: &str = "authorization: Basic cmVhZGVyOmh1bnRlcjI=";

impl Registry {
    fn start() -> Registry {
        Registry::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Registry {
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Mutex<Shared>>::default());
        let own = shared.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // A client may have gone.
                let _ = answer(stream, &own);
            }
        });
        Registry { address, shared }
    }

    fn give(&self, path: &str, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.shared.lock().unwrap().answers.insert(path.into(), answers.into_iter().collect());
    }

    fn schema(&self, id: u32, schema: &str) {
        self.give(&format!("/schemas/ids/{id}"), [(200, json!({"schema": schema}))]);
    }

    fn asked(&self) -> Vec<String> {
        self.shared.lock().unwrap().asked.iter().map(|(path, _)| path.clone()).collect()
    }

    fn client(&self) -> SchemaRegistry {
        SchemaRegistry::new(&format!("http://{}", self.address)).unwrap()
    }
}

fn answer(stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let head: Vec<String> = lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = {
        let mut shared = shared.lock().unwrap();
        shared.asked.push((path.clone(), head.iter().any(|line| line == AUTHORIZATION)));
        let missing = (404, json!({"error_code": 40403, "message": "Schema not found"}));
        match shared.answers.get_mut(&path) {
            Some(all) if all.len() > 1 => all.remove(0),
            Some(all) => all[0].clone(),
            None => missing,
        }
    };
    let body = body.to_string();
    write!(&stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// The first form of a sale, the second, and what the job reads.
const FIRST: &str = r#"{"type": "record", "name": "Sale", "fields": [
    {"name": "item", "type": "string"}, {"name": "amount", "type": "int"}]}"#;
const SECOND: &str = r#"{"type": "record", "name": "Sale", "fields": [
    {"name": "shop", "type": "long"}, {"name": "item", "type": "string"}, {"name": "amount", "type": "long"},
    {"name": "currency", "type": ["null", "string"], "default": null}]}"#;
const READ: &str = r#"{"type": "record", "name": "Sale", "fields": [
    {"name": "item", "type": "string"}, {"name": "amount", "type": "long"},
    {"name": "currency", "type": ["null", "string"], "default": null}]}"#;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sale {
    item: String,
    amount: i64,
    currency: Option<String>,
}

fn sale(item: &str, amount: i64, currency: Option<&str>) -> Sale {
    Sale { item: item.into(), amount, currency: currency.map(str::to_owned) }
}

#[derive(Serialize)]
struct First {
    item: String,
    amount: i32,
}

#[derive(Serialize)]
struct Second {
    shop: i64,
    item: String,
    amount: i64,
    currency: Option<String>,
}

/// A record as the serializer of a registry writes it.
fn framed(id: u32, schema: &str, record: &impl Serialize) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let record = GenericDatumWriter::builder(&schema).build().unwrap().write_ser_to_vec(record).unwrap();
    [&[0][..], &id.to_be_bytes(), &record].concat()
}

fn first(item: &str, amount: i32) -> Vec<u8> {
    framed(1, FIRST, &First { item: item.into(), amount })
}

fn second(item: &str, amount: i64, currency: Option<&str>) -> Vec<u8> {
    framed(2, SECOND, &Second { shop: 9, item: item.into(), amount, currency: currency.map(str::to_owned) })
}

/// The records that `format` reads, and why the others are bad.
fn read(
    workers: u16,
    batches: Vec<Vec<Vec<u8>>>,
    format: impl Fn() -> tidemill::Result<Avro<Sale>> + Send + Sync + 'static,
) -> tidemill::Result<(Vec<Sale>, Vec<String>)> {
    let (good, bad) = (MemorySink::new(), MemorySink::new());
    let (good_out, bad_out) = (good.clone(), bad.clone());
    StreamingContext::builder("sales", millis(1))
        .without_checkpoint()
        .workers(workers)
        .start_on_clock(ManualClock::at(0), move |ssc| {
            let messages =
                ssc.test_stream(batches.clone()).map(|bytes| Message::new("sales", 0, 0, None, None, Some(&bytes[..])));
            let sales = messages.decode(format()?);
            sales.oks().to_memory(&good_out);
            sales.errors().map(|bad| bad.reason).to_memory(&bad_out);
            Ok(())
        })?
        .await_termination()?;
    let (mut good, mut bad) = (good.rows(), bad.rows());
    good.sort_unstable();
    bad.sort_unstable();
    Ok((good, bad))
}

#[test]
fn records_of_several_schemas_are_rows_of_the_readers_schema() {
    let batches = vec![
        vec![first("nuts", 3), second("oil", 1 << 40, Some("EUR")), first("salt", -2)],
        vec![],
        vec![second("tea", 5, None), first("nuts", 4)],
    ];
    let expected = [
        sale("nuts", 3, None),
        sale("nuts", 4, None),
        sale("oil", 1 << 40, Some("EUR")),
        sale("salt", -2, None),
        sale("tea", 5, None),
    ];
    for workers in [1, 2, 4] {
        let registry = Registry::start();
        registry.schema(1, FIRST);
        registry.schema(2, SECOND);
        let client = registry.client();
        let (good, bad) = read(workers, batches.clone(), move || Avro::confluent(client.clone()).reader_schema(READ)).unwrap();
        assert_eq!((&good[..], bad), (&expected[..], Vec::new()), "{workers} workers");
        // Once on each worker that has such a record.
        let asked = registry.asked();
        for path in ["/schemas/ids/1", "/schemas/ids/2"] {
            let times = asked.iter().filter(|asked| *asked == path).count();
            assert!((1..=usize::from(workers)).contains(&times), "{workers} workers: {asked:?}");
        }
    }
}

#[test]
fn without_a_schema_of_the_reader_a_record_is_as_it_was_written() {
    let registry = Registry::start();
    registry.schema(2, SECOND);
    let client = registry.client();
    let (good, bad) = read(1, vec![vec![second("oil", 7, Some("EUR"))]], move || Ok(Avro::confluent(client.clone()))).unwrap();
    assert_eq!((good, bad), (vec![sale("oil", 7, Some("EUR"))], vec![]));
}

#[test]
fn a_schema_has_those_that_it_refers_to() {
    let registry = Registry::start();
    let item = r#"{"type": "record", "name": "Item", "namespace": "shop", "fields": [{"name": "kind", "type": "shop.Kind"}]}"#;
    let kind = r#"{"type": "enum", "name": "Kind", "namespace": "shop", "symbols": ["oil", "tea"]}"#;
    let outer =
        r#"{"type": "record", "name": "Stock", "fields": [{"name": "item", "type": "shop.Item"}, {"name": "n", "type": "int"}]}"#;
    let refers = |name: &str, subject: &str| json!([{"name": name, "subject": subject, "version": 3}]);
    registry.give("/schemas/ids/1", [(200, json!({"schema": outer, "references": refers("shop.Item", "shop/item")}))]);
    registry
        .give("/subjects/shop%2Fitem/versions/3", [(200, json!({"schema": item, "references": refers("shop.Kind", "kind")}))]);
    registry.give("/subjects/kind/versions/3", [(200, json!({"schema": kind}))]);

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Oil,
        Tea,
    }
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct Item {
        kind: Kind,
    }
    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct Stock {
        item: Item,
        n: i32,
    }
    let stock = Avro::<Stock>::confluent(registry.client());
    for (kind, byte) in [(Kind::Oil, 0), (Kind::Tea, 2)] {
        assert_eq!(stock.decode(&[0, 0, 0, 0, 1, byte, 6]).unwrap(), Stock { item: Item { kind }, n: 3 });
    }
    // One that the registry lost.
    registry.give("/schemas/ids/2", [(200, json!({"schema": outer, "references": refers("shop.Item", "gone")}))]);
    let e = stock.decode(&[0, 0, 0, 0, 2, 2, 6]).unwrap_err().to_string();
    assert!(e.contains("has no version 3 of gone, to which schema 2 refers"), "{e}");
}

#[test]
fn what_is_no_record_is_a_bad_record_that_says_why() {
    let registry = Registry::start();
    registry.schema(1, FIRST);
    registry.schema(3, "{");
    registry.give("/schemas/ids/4", [(200, json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}))]);
    let framed = |id: u8, record: &[u8]| [&[0, 0, 0, 0, id][..], record].concat();
    let good = first("nuts", 3);
    let batch = vec![
        good.clone(),
        framed(77, &good[5..]),
        framed(77, &good[5..]),
        framed(3, &good[5..]),
        framed(4, &good[5..]),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        b"{}".to_vec(),
    ];
    let (client, url) = (registry.client(), format!("the schema registry http://{}", registry.address));
    let (good, bad) = read(1, vec![batch], move || Avro::confluent(client.clone()).reader_schema(READ)).unwrap();
    assert_eq!(good, [sale("nuts", 3, None)]);
    for why in [
        format!("{url} has no schema 77"),
        format!("schema 3 of {url} cannot be read: "),
        format!("schema 4 of {url} is one of PROTOBUF, not of Avro"),
        "it is not a record of schema 1: 1 bytes follow the record".into(),
        "do not begin with a zero and the number of a schema".into(),
    ] {
        assert!(bad.iter().any(|bad| bad.contains(&why)), "{why}: {bad:?}");
    }
    assert_eq!(bad.len(), 7, "{bad:?}");
    let asked = registry.asked();
    assert_eq!(
        asked.iter().filter(|path| path.ends_with("/77")).count(),
        1,
        "what is missing is not asked for at once again: {asked:?}"
    );
}

#[test]
fn a_registry_that_is_away_for_a_while_makes_no_bad_record() {
    let registry = Registry::start();
    let busy = |status| (status, json!({"error_code": 50003, "message": "busy"}));
    registry.give("/schemas/ids/1", [busy(503), busy(429), (200, json!({"schema": FIRST}))]);
    let client = registry.client();
    let (good, bad) = read(2, vec![vec![first("nuts", 3)]], move || Avro::confluent(client.clone()).reader_schema(READ)).unwrap();
    assert_eq!((good, bad), (vec![sale("nuts", 3, None)], vec![]));
    assert_eq!(registry.asked().len(), 3);
}

#[test]
fn a_job_without_its_registry_ends_and_loses_nothing() {
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (dir, sums) = (TempDir::made("avro-away"), MemorySink::new());
    let run = |sums: &MemorySink<(String, i64)>| {
        let out = sums.clone();
        let batches = vec![vec![first("nuts", 3), second("oil", 7, None)], vec![first("nuts", 4)]];
        let job = StreamingContext::builder("sales", millis(1)).workers(2).checkpoint(&*dir);
        job.start_on_clock(ManualClock::at(0), move |ssc| {
            let messages =
                ssc.test_stream(batches.clone()).map(|bytes| Message::new("sales", 0, 0, None, None, Some(&bytes[..])));
            let registry = SchemaRegistry::new(&format!("http://{address}"))?.retry_for(Duration::ZERO);
            let sales = messages.decode(Avro::<Sale>::confluent(registry).reader_schema(READ)?);
            sales.map(|sale| (sale.item, sale.amount)).sum_by_key().complete().to_memory(&out);
            Ok(())
        })?
        .await_termination()
    };
    let e = run(&sums).unwrap_err().to_string();
    assert!(e.contains(&format!("the schema registry http://{address} cannot be reached")) && e.contains("decode ("), "{e}");
    assert!(sums.rows().is_empty(), "{:?}", sums.rows());
    let registry = Registry::on(TcpListener::bind(address).unwrap());
    registry.schema(1, FIRST);
    registry.schema(2, SECOND);
    run(&sums).unwrap();
    let mut last = sums.batches().pop().unwrap().1;
    last.sort_unstable();
    assert_eq!(last, [("nuts".to_owned(), 7), ("oil".to_owned(), 7)]);
}

#[test]
fn a_registry_that_refuses_ends_the_job_at_once_and_no_error_shows_the_password() {
    let registry = Registry::start();
    registry.schema(1, FIRST);
    let client = registry.client().basic_auth("reader", PASSWORD);
    let own = client.clone();
    let (good, _) = read(1, vec![vec![first("nuts", 3)]], move || Avro::confluent(own.clone()).reader_schema(READ)).unwrap();
    assert_eq!(good.len(), 1);
    assert!(registry.shared.lock().unwrap().asked.iter().all(|(_, authorized)| *authorized));
    for (status, why) in
        [(401, "check the user and the password"), (403, "check the user and the password"), (400, "check its URL")]
    {
        registry.give("/schemas/ids/1", [(status, json!({"error_code": status}))]);
        let own = client.clone();
        let e = read(1, vec![vec![first("nuts", 3)]], move || Ok(Avro::confluent(own.clone()))).unwrap_err().to_string();
        assert!(e.contains(why) && e.contains(&status.to_string()) && !e.contains(PASSWORD), "{e}");
    }
    // A server that is not a registry.
    registry.give("/schemas/ids/1", [(404, json!("no such page"))]);
    let own = client.clone();
    let e = read(1, vec![vec![first("nuts", 3)]], move || Ok(Avro::confluent(own.clone()))).unwrap_err().to_string();
    assert!(e.contains("with 404, as other servers do: check its URL"), "{e}");
    registry.give("/schemas/ids/1", [(200, json!({"id": 1}))]);
    let e = read(1, vec![vec![first("nuts", 3)]], move || Ok(Avro::confluent(client.clone()))).unwrap_err().to_string();
    assert!(e.contains("what a registry does not say"), "{e}");
}
