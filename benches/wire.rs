//! The cost of a record between processes: encoding and decoding, message by message, as timely's exchange does.
//!
//! `scripts/bench wire [counts|ids]...`. Without the feature `abomonation` that codec is left out.
//! Prints one line per codec, in nanoseconds per record: the median and extremes of five runs in which the codecs take turns.
//!
//! * bincode is how timely sends a `Vec`, so it is the cost of tidemill's exchanges today.
//! * columnar is the codec of timely's newer containers: rows become columns first, and a reader need not decode them.
//! * abomonation is the format of timely until its version 0.13: a copy of memory. It is unsound (RUSTSEC-2021-0120): bytes that it
//!   did not write itself break the program that decodes them. Here it is a yardstick, and no code with a socket can use it.

use std::hint::black_box;
use std::time::Instant;

use columnar::bytes::stash::Stash;
use columnar::{Columnar, Index, Push};
use timely::bytes::arc::{Bytes, BytesMut};
use timely::dataflow::channels::ContainerBytes;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs of each measurement. The output has the median and the extremes.
const RUNS: usize = 5;
/// Records of one message, about what an exchange has for one worker.
const RECORDS: usize = 1_000;
/// Messages of one measurement.
const MESSAGES: usize = 1_000;

fn main() {
    // cargo passes --bench.
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let benches = [("counts", counts as fn()), ("ids", ids)];
    if let Some(unknown) = asked.iter().find(|a| benches.iter().all(|(name, _)| name != a)) {
        eprintln!("wire: no workload '{unknown}'; there are: counts ids");
        std::process::exit(2);
    }
    for (name, bench) in benches {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            bench();
        }
    }
    if !cfg!(feature = "abomonation") {
        println!("abomonation: not measured, this was built without the feature of that name");
    }
}

/// Words of seven letters with a count.
fn counts() {
    let word = |i: usize| format!("{:07}", (i * 7_919) % 10_000_000);
    let rows: Vec<(String, i64)> = (0..RECORDS).map(|i| (word(i), i as i64)).collect();
    compare("counts: (7-letter word, i64)", &rows, |(word, n)| word.len() as i64 + n, |(word, n)| word.len() as i64 + n);
}

/// Numbers with a count, which have no heap memory.
fn ids() {
    let rows: Vec<(u64, i64)> = (0..RECORDS).map(|i| (i as u64 * 7_919, i as i64)).collect();
    compare("ids: (u64, i64)", &rows, |(id, n)| *id as i64 + n, |(id, n)| *id as i64 + n);
}

/// Nanoseconds per record in one run. `read` is `None` for a codec whose rows must be decoded before they can be read.
struct Cost {
    encode: f64,
    decode: f64,
    read: Option<f64>,
    bytes: usize,
}

type Codec<'a> = (&'static str, Box<dyn Fn() -> Cost + 'a>);

/// Measures every codec over the same rows. The functions turn a row into a number, and a row of columnar, too.
fn compare<T>(
    what: &str,
    rows: &Vec<T>,
    number: impl Fn(&T) -> i64 + Copy,
    number_in_place: impl Fn(columnar::Ref<'_, T>) -> i64 + Copy,
) where
    T: Row,
{
    #[allow(unused_mut)]
    let mut codecs: Vec<Codec<'_>> =
        vec![("bincode", Box::new(|| bincode(rows))), ("columnar", Box::new(move || columns(rows, number_in_place)))];
    #[cfg(feature = "abomonation")]
    codecs.push(("abomonation", Box::new(move || memory::cost(rows, number))));
    let _ = number;
    let mut costs: Vec<Vec<Cost>> = codecs.iter().map(|_| Vec::new()).collect();
    for _ in 0..RUNS {
        codecs.iter().zip(&mut costs).for_each(|((_, cost), all)| all.push(cost()));
    }
    println!("{what}, {RECORDS} a message, ns a record");
    for ((name, _), costs) in codecs.iter().zip(&costs) {
        let [encode, decode] = [|c: &Cost| c.encode, |c: &Cost| c.decode].map(|of| spread(costs.iter().map(of)));
        let both = spread(costs.iter().map(|c| c.encode + c.decode));
        let read = if costs[0].read.is_some() { spread(costs.iter().filter_map(|c| c.read)) } else { "-".into() };
        let bytes = costs[0].bytes as f64 / RECORDS as f64;
        println!(
            "  {name:<12} encode {encode:<19} decode {decode:<19} both {both:<21} read in place {read:<18} {bytes:>5.1} bytes"
        );
    }
}

/// Median, minimum and maximum.
fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1} to {:.1})", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Runs `f` for all messages. Returns nanoseconds per record.
fn timed(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..MESSAGES).for_each(|_| f());
    start.elapsed().as_secs_f64() * 1e9 / (MESSAGES * RECORDS) as f64
}

/// A message in the form in which a socket delivers it.
fn received(bytes: Vec<u8>) -> Bytes {
    BytesMut::from(bytes).freeze()
}

/// A buffer for a message, as timely takes it from its slab: it asks for the length first, then writes.
fn room(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    buffer.resize(length.max(buffer.len()), 0);
    &mut buffer[..length]
}

/// Rows that every codec can send.
#[cfg(not(feature = "abomonation"))]
trait Row: Columnar + Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned {}
#[cfg(not(feature = "abomonation"))]
impl<T: Columnar + Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned> Row for T {}

/// Rows that every codec can send.
#[cfg(feature = "abomonation")]
trait Row: Columnar + Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned + abomonation::Abomonation {}
#[cfg(feature = "abomonation")]
impl<T: Columnar + Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned + abomonation::Abomonation> Row for T {}

/// timely's own implementation for a `Vec`.
fn bincode<T: Row>(rows: &Vec<T>) -> Cost {
    let mut buffer = Vec::new();
    let encode = timed(|| {
        let mut to = room(&mut buffer, black_box(rows).length_in_bytes());
        rows.into_bytes(&mut to);
        black_box(to.len());
    });
    let bytes = rows.length_in_bytes();
    let message = received(buffer[..bytes].to_vec());
    assert!(Vec::<T>::from_bytes(message.clone()) == *rows, "bincode must decode the same rows");
    let decode = timed(|| drop(black_box(Vec::<T>::from_bytes(message.clone()))));
    Cost { encode, decode, read: None, bytes }
}

/// As timely's example of a columnar container: it pushes rows into columns, and writes one column after the other.
fn columns<T: Row>(rows: &[T], number_in_place: impl Fn(columnar::Ref<'_, T>) -> i64) -> Cost {
    let mut buffer = Vec::new();
    let mut bytes = 0;
    let encode = timed(|| {
        let mut typed = T::Container::default();
        black_box(rows).iter().for_each(|row| typed.push(row));
        let stash = Stash::<T::Container, Bytes>::Typed(typed);
        bytes = stash.length_in_bytes();
        let mut to = room(&mut buffer, bytes);
        stash.write_bytes(&mut to).expect("room for a message");
        black_box(to.len());
    });
    let message = received(buffer[..bytes].to_vec());
    let parse = || Stash::<T::Container, Bytes>::try_from_bytes(message.clone()).expect("columns");
    let owned = || parse().borrow().into_index_iter().map(T::into_owned).collect::<Vec<T>>();
    assert!(owned() == rows, "columnar must decode the same rows");
    let decode = timed(|| drop(black_box(owned())));
    let read = timed(|| _ = black_box(parse().borrow().into_index_iter().map(&number_in_place).sum::<i64>()));
    Cost { encode, decode, read: Some(read), bytes }
}

/// timely's former codec. Only this module calls it, with bytes that it has just written itself.
#[cfg(feature = "abomonation")]
#[allow(unsafe_code)] // abomonation has no safe call; each has its reason beside it
mod memory {
    use std::hint::black_box;

    use super::{Cost, Row, timed};

    pub fn cost<T: Row>(rows: &Vec<T>, number: impl Fn(&T) -> i64) -> Cost {
        let mut buffer = Vec::new();
        let encode = timed(|| {
            buffer.clear();
            buffer.reserve(abomonation::measure(black_box(rows)));
            // SAFETY: rows are tuples of numbers and strings, which have no padding: every byte that is copied is initialised.
            unsafe { abomonation::encode(rows, &mut buffer) }.expect("memory can be written to");
            black_box(buffer.len());
        });
        assert!(decoded::<T>(&mut buffer) == rows, "abomonation must decode the same rows");
        let decode = timed(|| drop(black_box(decoded::<T>(&mut buffer).clone())));
        let read = timed(|| _ = black_box(decoded::<T>(&mut buffer).iter().map(&number).sum::<i64>()));
        Cost { encode, decode, read: Some(read), bytes: buffer.len() }
    }

    fn decoded<T: Row>(buffer: &mut [u8]) -> &Vec<T> {
        assert!(buffer.as_ptr().cast::<Vec<T>>().is_aligned(), "abomonation reads values in place");
        // SAFETY: `cost` has encoded a `Vec<T>` into this buffer, and nothing else was written to it. The buffer is aligned for the
        // vector. The rows after it have the same alignment, and bytes of strings need none. Nothing drops the borrowed values.
        unsafe { abomonation::decode::<Vec<T>>(buffer) }.expect("a message that was just encoded").0
    }
}
