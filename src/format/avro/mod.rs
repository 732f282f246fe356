//! Avro, by the crate of Apache: records alone, or those whose schema is in a registry.

mod registry;

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::util::max_allocation_bytes;
use apache_avro::{Schema, from_value};
use serde::de::DeserializeOwned;

pub use self::registry::SchemaRegistry;
use self::registry::Texts;
use crate::core::data::Data;
use crate::core::error::{BoxError, Error, Result};
use crate::core::lock::lock;
use crate::format::Decode;

/// The longest text, and the most memory of a list, in bytes. Bytes that are no record may announce more.
const LONGEST: usize = 64 << 20;
/// How long a registry is not asked again for a schema that it does not have.
const UNKNOWN: Duration = Duration::from_secs(60);

/// A record of Avro: `decode(Avro::<Sale>::new(SCHEMA)?)`, or [`Avro::confluent`] for records of a schema registry. Feature `avro`.
///
/// Fields go to those of the type with their names, by serde, and symbols of an enum to variants of a Rust enum. Bytes that are not a record
/// of the schema, or that have more behind it, are an error, which becomes a bad record. A text of more than 64 MiB is one too. Avro has no
/// mark in its bytes: some bytes of another schema are read as a record. A schema that contains itself has no limit of depth: bytes that nest
/// deep enough end the process.
///
/// ```
/// use tidemill::format::Avro;
/// use tidemill::prelude::*;
///
/// #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
/// struct Sale {
///     item: String,
///     amount: i64,
/// }
///
/// let schema = r#"{"type": "record", "name": "Sale", "fields": [{"name": "item", "type": "string"}, {"name": "amount", "type": "long"}]}"#;
/// let sales = Avro::<Sale>::new(schema)?;
/// // The length and the letters of the text, then the number in zigzag.
/// assert_eq!(sales.decode(&[8, b'n', b'u', b't', b's', 5]).unwrap(), Sale { item: "nuts".into(), amount: -3 });
/// assert!(sales.decode(&[8, b'n', b'u']).is_err());
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "from_avro")]
pub struct Avro<T> {
    written: Written,
    reader: Option<&'static Schemas>,
    record: PhantomData<fn() -> T>,
}

/// Which schema the bytes have.
enum Written {
    /// This one.
    Always(&'static Schemas, Reading),
    /// The one that is named before each record.
    Registered { registry: SchemaRegistry, known: RefCell<HashMap<u32, Known>> },
}

/// What is known of a registry's schema. A schema with a number never changes.
#[derive(Clone)]
enum Known {
    Readable(Rc<Reading>),
    Unreadable(Rc<str>),
    Missing(Rc<str>, Instant),
}

/// A schema with those that it refers to.
struct Schemas {
    main: Schema,
    references: Vec<Schema>,
}

impl Schemas {
    /// The schema of a text. It is kept as long as the process, once for each text: readers borrow it.
    fn of(texts: Texts) -> Result<&'static Schemas, BoxError> {
        static ALL: LazyLock<Mutex<HashMap<Texts, &'static Schemas>>> = LazyLock::new(Mutex::default);
        max_allocation_bytes(LONGEST);
        if let Some(known) = lock(&ALL).get(&texts).copied() {
            return Ok(known);
        }
        let (main, references) = Schema::parse_str_with_list(&texts.schema, &texts.references)?;
        let schemas: &'static Schemas = Box::leak(Box::new(Schemas { main, references }));
        Ok(*lock(&ALL).entry(texts).or_insert(schemas))
    }

    fn all(&self) -> Vec<&Schema> {
        self.references.iter().chain([&self.main]).collect()
    }

    /// Reads records of this schema as those of another one.
    fn read_as(&'static self, reader: Option<&'static Schemas>) -> Result<Reading, BoxError> {
        let builder = GenericDatumReader::builder(&self.main).writer_schemata(self.all())?;
        let datum = match reader {
            None => builder.build()?,
            Some(reader) => builder.reader_schema(&reader.main).reader_schemata(reader.all())?.build()?,
        };
        Ok(Reading { datum, resolves: reader.is_some() })
    }
}

/// How records of one schema are read.
struct Reading {
    datum: GenericDatumReader<'static>,
    /// Whether there is a schema of the reader.
    resolves: bool,
}

impl Reading {
    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, BoxError> {
        let mut rest = bytes;
        let record = match self.resolves {
            false => self.datum.read_deser(&mut rest)?,
            true => from_value(&self.datum.read_value(&mut rest)?)?,
        };
        match rest.len() {
            0 => Ok(record),
            left => Err(format!("{left} bytes follow the record: the bytes have another schema").into()),
        }
    }
}

/// The schema of a text of the program.
fn own(schema: &str) -> Result<&'static Schemas> {
    let texts = Texts { schema: schema.into(), references: Vec::new() };
    Schemas::of(texts).map_err(|e| Error::config(format!("the Avro schema cannot be read: {e}: {schema}")))
}

impl<T> Avro<T> {
    /// Reads records that were written with this schema, and have nothing before them.
    ///
    /// # Errors
    /// The text is not a schema.
    pub fn new(schema: &str) -> Result<Self> {
        let writer = own(schema)?;
        let reading =
            writer.read_as(None).map_err(|e| Error::config(format!("the Avro schema cannot be used: {e}: {schema}")))?;
        Ok(Avro { written: Written::Always(writer, reading), reader: None, record: PhantomData })
    }

    /// Reads records as the serializers of Confluent's schema registry write them: a zero, four bytes with the number of the schema, and the
    /// record. Each worker asks the registry once for each schema, with those that it refers to.
    ///
    /// A number that the registry does not know is a bad record that names it, and the registry is asked again after 60 seconds at the
    /// earliest. A schema of another kind than Avro is a bad record, too. If the registry does not answer, the worker waits, as
    /// [`SchemaRegistry::retry_for`] says, and then the job ends: no record becomes a bad one because the registry is away.
    ///
    /// ```no_run
    /// use tidemill::format::{Avro, SchemaRegistry};
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("sales", secs(1)).run(|ssc| {
    ///     let registry = SchemaRegistry::new("http://127.0.0.1:8081")?;
    ///     let sales = KafkaSource::brokers("127.0.0.1:9092").topic("sales");
    ///     let sales = ssc.kafka_direct_stream(sales).decode(Avro::<(String, i64)>::confluent(registry));
    ///     sales.reduce_by_key(|a, b| a + b).print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn confluent(registry: SchemaRegistry) -> Self {
        Avro { written: Written::Registered { registry, known: RefCell::default() }, reader: None, record: PhantomData }
    }

    /// Turns each record into one of this schema, whichever schema it was written with, by Avro's rules of resolution: numbers become wider,
    /// fields that the schema does not have are left out, and fields that are missing have its defaults. A missing field without a default is a bad
    /// record. Aliases of fields are not applied. Reading a record takes longer. Default: the record as it was written.
    ///
    /// ```
    /// use tidemill::format::Avro;
    /// use tidemill::prelude::*;
    ///
    /// #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    /// struct Sale {
    ///     amount: i64,
    ///     currency: String,
    /// }
    ///
    /// let old = r#"{"type": "record", "name": "Sale", "fields": [{"name": "amount", "type": "int"}]}"#;
    /// let new = r#"{"type": "record", "name": "Sale", "fields": [
    ///     {"name": "amount", "type": "long"}, {"name": "currency", "type": "string", "default": "EUR"}]}"#;
    /// let sales = Avro::<Sale>::new(old)?.reader_schema(new)?;
    /// assert_eq!(sales.decode(&[6]).unwrap(), Sale { amount: 3, currency: "EUR".into() });
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// The text is not a schema.
    pub fn reader_schema(mut self, schema: &str) -> Result<Self> {
        let reader = own(schema)?;
        self.reader = Some(reader);
        if let Written::Always(writer, reading) = &mut self.written {
            let wrong = |e: BoxError| Error::config(format!("the reader's Avro schema cannot be used: {e}: {schema}"));
            *reading = writer.read_as(self.reader).map_err(wrong)?;
        }
        Ok(self)
    }
}

/// How the records of a registry's schema are read.
fn registered(
    registry: &SchemaRegistry,
    known: &RefCell<HashMap<u32, Known>>,
    id: u32,
    reader: Option<&'static Schemas>,
) -> Result<Rc<Reading>, BoxError> {
    let found = known.borrow().get(&id).cloned();
    let found = match found {
        Some(Known::Missing(_, since)) if since.elapsed() > UNKNOWN => None,
        found => found,
    };
    let found = match found {
        Some(found) => found,
        None => {
            let found = match registry.schema(id)? {
                Err(why) if why.missing => Known::Missing(why.text.into(), Instant::now()),
                Err(why) => Known::Unreadable(why.text.into()),
                Ok(texts) => match Schemas::of(texts).and_then(|writer| writer.read_as(reader)) {
                    Ok(reading) => Known::Readable(Rc::new(reading)),
                    Err(e) => Known::Unreadable(format!("schema {id} of {registry} cannot be read: {e}").into()),
                },
            };
            known.borrow_mut().insert(id, found.clone());
            found
        }
    };
    match found {
        Known::Readable(reading) => Ok(reading),
        Known::Unreadable(why) | Known::Missing(why, _) => Err(BoxError::from(&*why)),
    }
}

impl<T: DeserializeOwned + Data> Decode for Avro<T> {
    type Out = T;

    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        match &self.written {
            Written::Always(_, reading) => reading.read(bytes),
            Written::Registered { registry, known } => {
                let [0, a, b, c, d, record @ ..] = bytes else {
                    return Err("the bytes do not begin with a zero and the number of a schema, as those of a registry do".into());
                };
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                let reading = registered(registry, known, id, self.reader)?;
                reading.read(record).map_err(|e| format!("it is not a record of schema {id}: {e}").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct Visit {
        page: String,
        seconds: Option<f64>,
        tags: Vec<String>,
        kind: Kind,
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    enum Kind {
        First,
        Again,
    }

    const VISIT: &str = r#"{"type": "record", "name": "Visit", "fields": [
        {"name": "page", "type": "string"},
        {"name": "seconds", "type": ["null", "double"], "default": null},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["First", "Again"]}, "default": "First"}]}"#;

    /// The record `page` "a", 0.5 seconds, the tags "x" and "y", a visit again.
    const BYTES: &[u8] = &[2, b'a', 2, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 4, 2, b'x', 2, b'y', 0, 2];

    fn visit() -> Visit {
        Visit { page: "a".into(), seconds: Some(0.5), tags: vec!["x".into(), "y".into()], kind: Kind::Again }
    }

    #[test]
    fn a_record_is_read_to_its_end_or_refused() {
        for visits in [Avro::<Visit>::new(VISIT).unwrap(), Avro::<Visit>::new(VISIT).unwrap().reader_schema(VISIT).unwrap()] {
            assert_eq!(visits.decode(BYTES).unwrap(), visit());
            for cut in 0..BYTES.len() {
                assert!(visits.decode(&BYTES[..cut]).is_err(), "{cut}");
            }
            let e = visits.decode(&[BYTES, &[0, 0]].concat()).unwrap_err().to_string();
            assert!(e.contains("2 bytes follow the record"), "{e}");
        }
    }

    #[test]
    fn an_old_record_has_the_defaults_of_the_reader() {
        let old = r#"{"type": "record", "name": "Visit", "fields": [
            {"name": "gone", "type": "long"}, {"name": "page", "type": "string"}, {"name": "seconds", "type": "float"}]}"#;
        let visits = Avro::<Visit>::new(old).unwrap().reader_schema(VISIT).unwrap();
        let read = visits.decode(&[2, 2, b'b', 0, 0, 0, 0x3f]).unwrap();
        assert_eq!(read, Visit { page: "b".into(), seconds: Some(0.5), tags: Vec::new(), kind: Kind::First });
        // `page` has no default.
        let none = r#"{"type": "record", "name": "Visit", "fields": []}"#;
        let e = Avro::<Visit>::new(none).unwrap().reader_schema(VISIT).unwrap().decode(&[]).unwrap_err().to_string();
        assert!(e.contains("page"), "{e}");
    }

    #[test]
    fn a_text_that_is_no_schema_is_an_error_that_shows_it() {
        let e = Avro::<Visit>::new("{}").err().unwrap().to_string();
        assert!(e.contains("the Avro schema cannot be read") && e.ends_with(": {}"), "{e}");
        let e = Avro::<Visit>::new(VISIT).unwrap().reader_schema("no").err().unwrap().to_string();
        assert!(e.contains("cannot be read"), "{e}");
    }

    #[test]
    fn a_schema_is_kept_once() {
        let of = || own(VISIT).unwrap();
        assert!(std::ptr::eq(of(), of()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0..BYTES.len(), byte: u8) {
            let visits = [Avro::<Visit>::new(VISIT).unwrap(), Avro::<Visit>::new(VISIT).unwrap().reader_schema(VISIT).unwrap()];
            let mut changed = BYTES.to_vec();
            changed[at] = byte;
            for bytes in [bytes, changed] {
                let read = visits.each_ref().map(|visits| visits.decode(&bytes).ok());
                prop_assert_eq!(format!("{:?}", read[0]), format!("{:?}", read[1]));
            }
        }
    }
}
