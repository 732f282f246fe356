//! `decode`, `values`, `pairs`: from bytes to records. And `Decoded`: what went well, and what did not.

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::DeserializeOwned;

use crate::api::context::Switch;
use crate::api::dstream::DStream;
use crate::connector::message::Message;
use crate::core::data::{BadRecord, Data, Rows};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::flow::batched;
use crate::engine::operator_id::OperatorId;

/// How bytes become a record.
pub trait Decode: 'static {
    /// The record.
    type Out: Data;
    /// Reads one record.
    ///
    /// # Errors
    /// Whatever makes the bytes no record: becomes the reason of a [`BadRecord`].
    fn decode(&self, bytes: &[u8]) -> Result<Self::Out, BoxError>;
}

/// JSON by serde: `decode(Json::<Tweet>::new())`.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// Reads `T` from JSON.
    pub fn new() -> Self {
        Json(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Json::new()
    }
}

impl<T: DeserializeOwned + Data> Decode for Json<T> {
    type Out = T;
    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// What a fallible verb gives: the records that went well, and the others with where they came from and why.
///
/// Errors that no verb takes are counted, and logged once a batch: never silent.
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct Decoded<'s, T: 'static> {
    oks: DStream<'s, T>,
    errors: DStream<'s, BadRecord>,
    taken: Switch,
}

impl<T> Clone for Decoded<'_, T> {
    fn clone(&self) -> Self {
        Decoded { oks: self.oks.clone(), errors: self.errors.clone(), taken: self.taken.clone() }
    }
}

impl<'s, T: 'static> Decoded<'s, T> {
    pub(crate) fn new(oks: DStream<'s, T>, errors: DStream<'s, BadRecord>, operator: &OperatorId) -> Self {
        let taken: Switch = Rc::new(Cell::new(false));
        let (switch, stream, operator) = (taken.clone(), errors.clone(), operator.clone());
        oks.node.graph.on_built(move || {
            if !switch.get() {
                count_and_log(&stream, &operator);
            }
        });
        Decoded { oks, errors, taken }
    }

    /// What went well.
    pub fn oks(&self) -> DStream<'s, T> {
        self.oks.clone()
    }

    /// What did not, as data.
    pub fn errors(&self) -> DStream<'s, BadRecord> {
        self.taken.set(true);
        self.errors.clone()
    }

    /// Both. A second stream that is not used is still counted and logged.
    pub fn split(&self) -> (DStream<'s, T>, DStream<'s, BadRecord>) {
        // A binding such as `_bad` is the usual way not to take errors, so the log stays on.
        (self.oks.clone(), self.errors.clone())
    }
}

/// Errors counted in this process that no verb took: what the demo and the log report.
static UNTAKEN: AtomicUsize = AtomicUsize::new(0);

/// How many bad records no verb has taken, over all jobs of this process.
#[cfg(any(test, doctest, feature = "testing"))]
pub fn untaken_errors() -> usize {
    UNTAKEN.load(Ordering::Relaxed)
}

fn count_and_log(errors: &DStream<'_, BadRecord>, operator: &OperatorId) {
    let name = operator.to_string();
    let graph = &errors.node.graph;
    let _ = batched(
        &graph.flow,
        operator,
        errors.inner(),
        timely::dataflow::channels::pact::Pipeline,
        |pending, t, rows: Rows<BadRecord>| {
            let seen: &mut (usize, Option<BadRecord>) = pending.at(t);
            seen.0 += rows.rows.len();
            seen.1 = seen.1.take().or_else(|| rows.rows.first().cloned());
        },
        move |plan, (n, first), _: &mut crate::engine::flow::Emitter<'_, Rows<()>>| {
            if let Some(f) = first {
                UNTAKEN.fetch_add(n, Ordering::Relaxed);
                tracing::warn!(
                    batch = plan.time.millis(),
                    bad_records = n,
                    first = format!("{}/{} offset {}: {}", f.origin, f.partition, f.offset, f.reason),
                    "{name}: bad records that no stream takes"
                );
            }
        },
    );
}

/// A row that failed, with what is known of where it came from.
pub(crate) fn bad_record<T: 'static>(row: &T, time: BatchTime, reason: &dyn std::fmt::Display) -> BadRecord {
    let row: &dyn Any = row;
    let bad = |origin: &str, partition, offset, raw: &[u8]| BadRecord {
        origin: origin.into(),
        partition,
        offset,
        time,
        raw: raw.to_vec(),
        reason: reason.to_string(),
    };
    if let Some(m) = row.downcast_ref::<Message>() {
        return bad(m.topic(), m.partition(), m.offset(), m.raw());
    }
    let text = row.downcast_ref::<String>().map(|s| s.as_bytes()).or_else(|| row.downcast_ref::<Vec<u8>>().map(|v| &v[..]));
    bad("", 0, -1, text.unwrap_or_default())
}

impl<'s> DStream<'s, Message> {
    /// The message values, decoded: `decode(Json::<Tweet>::new())`. A null value is an error record too, unless the source
    /// skips tombstones.
    #[track_caller]
    pub fn decode<D: Decode>(&self, how: D) -> Decoded<'s, D::Out> {
        self.try_each(&OperatorId::of("decode"), "decode", move |m, out| {
            out.push(how.decode(m.value()?)?);
            Ok(())
        })
    }

    /// The message values as UTF-8 text.
    #[track_caller]
    pub fn values(&self) -> Decoded<'s, String> {
        self.try_each(&OperatorId::of("values"), "values", |m, out| {
            out.push(std::str::from_utf8(m.value()?)?.to_owned());
            Ok(())
        })
    }

    /// Keys and values as UTF-8 text; `None` for a message without a key.
    #[track_caller]
    pub fn pairs(&self) -> Decoded<'s, (Option<String>, String)> {
        self.try_each(&OperatorId::of("pairs"), "pairs", |m, out| {
            let key = m.key().map(std::str::from_utf8).transpose()?.map(str::to_owned);
            out.push((key, std::str::from_utf8(m.value()?)?.to_owned()));
            Ok(())
        })
    }
}
