//! Objects of a bucket for a reader: a thread waits for the store, unpacks, and hands over bytes, because a worker must not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use crate::bucket::Bucket;
use crate::connector::files::content::{Content, is_damage};
use crate::connector::files::cut::{Cut, Cutter};
use crate::connector::files::identity::FileStamp;
use crate::connector::files::place::Place;
use crate::connector::files::reader::{CHUNK, CHUNKS_A_CALL, changed, unreadable};
use crate::connector::source::{SplitRange, Waker};
use crate::core::thread::spawn;
use crate::format::lines::LINES_A_CALL;

/// How many chunks wait for the worker: 2 MiB.
const AHEAD: usize = 32;

/// What the thread hands over.
enum Fetched {
    /// The text begins here.
    Begin(i64),
    Bytes(Vec<u8>),
    /// There is no more.
    End,
    /// An error record stands in the place of the rest.
    Bad(String),
    /// The job must end.
    Failed(String),
}

/// An object on its way to a worker.
pub(super) struct Fetch<C> {
    pub range: SplitRange,
    path: Arc<str>,
    fetched: Receiver<Fetched>,
    waker: Waker,
    /// Once the object is open.
    cutter: Option<C>,
    /// The position of the next byte.
    at: i64,
}

/// Begins to read the object of a range.
///
/// # Errors
/// It is not one of this place, or no thread can start.
pub(super) fn begin<C>(
    place: &Place,
    range: &SplitRange,
    path: &Arc<str>,
    planned: FileStamp,
    is_text: bool,
    waker: Waker,
) -> Result<Fetch<C>, String> {
    let of_place = match place {
        Place::Bucket(listing) => listing.name(path).map(|name| (listing.bucket().clone(), name.to_owned())),
        Place::Disk(_) => None,
    };
    let (bucket, name) = of_place.ok_or_else(|| format!("{path} is not below {}", place.root().display()))?;
    let (sender, fetched) = sync_channel(AHEAD);
    let (from, until, giver) = (range.from, range.until, Giver { sender, waker: waker.clone() });
    let work = move || {
        let end = fetch(&bucket, &name, planned, (from, until), is_text, &giver);
        giver.give(end.unwrap_or_else(|ended| ended));
    };
    spawn("tm-s3-object", work).map_err(|e| e.to_string())?;
    Ok(Fetch { range: range.clone(), path: path.clone(), fetched, waker, cutter: None, at: from })
}

/// The end of the thread that hands over.
struct Giver {
    sender: SyncSender<Fetched>,
    waker: Waker,
}

impl Giver {
    /// `false`: the reader has gone on to another range.
    fn give(&self, fetched: Fetched) -> bool {
        let given = self.sender.send(fetched).is_ok();
        (self.waker)();
        given
    }
}

/// Reads an object and hands it over. Returns what comes last, as an error if the object cannot be read.
fn fetch(
    bucket: &Bucket,
    name: &str,
    planned: FileStamp,
    (from, until): (i64, i64),
    is_text: bool,
    to: &Giver,
) -> Result<Fetched, Fetched> {
    let opened = bucket.reader(name).map_err(Fetched::Failed)?;
    let object = opened.ok_or_else(|| Fetched::Bad("the object was gone before it was read".into()))?;
    let now = FileStamp { size: object.size, modified_ms: object.modified_ms };
    if now != planned {
        let (at, remedy) = (bucket.at(name), "Put another object under another name");
        return Err(Fetched::Failed(format!("{}. {remedy}", changed(&at, planned, now))));
    }
    let failed = |e: std::io::Error| Fetched::Failed(format!("{}: {e}", bucket.at(name)));
    let opened = Content::open(object, from, is_text);
    let mut content = opened.map_err(|e| if is_damage(&e) { Fetched::Bad(e.to_string()) } else { failed(e) })?;
    let mut goes_on = to.give(Fetched::Begin(content.at));
    while goes_on {
        let mut chunk = vec![0; CHUNK];
        let n = content.read(until, &mut chunk).map_err(|e| match is_damage(&e) {
            true => Fetched::Bad(format!("the file is damaged from here on: {e}")),
            false => failed(e),
        })?;
        if n == 0 {
            break;
        }
        chunk.truncate(n);
        goes_on = to.give(Fetched::Bytes(chunk));
    }
    Ok(Fetched::End)
}

impl<C: Cutter> Fetch<C> {
    /// Cuts what has been fetched into rows, as many as one call gives. Returns whether the object is complete.
    ///
    /// # Errors
    /// The job must end.
    pub fn rows(&mut self, cut: &impl Cut<Cutter = C>, rows: &mut Vec<C::Item>) -> Result<bool, String> {
        let mut chunks = 0;
        while rows.len() < LINES_A_CALL && chunks < CHUNKS_A_CALL {
            match (self.fetched.try_recv(), &mut self.cutter) {
                (Ok(Fetched::Begin(at)), cutter) => {
                    self.at = at;
                    *cutter = Some(cut.begin(&self.path, at as u64, self.range.from == 0));
                }
                (Ok(Fetched::Bytes(bytes)), Some(cutter)) => {
                    cutter.feed(&bytes, rows);
                    self.at += bytes.len() as i64;
                    chunks += 1;
                }
                (Ok(Fetched::End), Some(cutter)) => {
                    cutter.finish(rows);
                    return Ok(true);
                }
                (Ok(Fetched::Bad(reason)), _) => {
                    rows.push(unreadable::<C>(&self.path, self.at, reason));
                    return Ok(true);
                }
                (Ok(Fetched::Failed(reason)), _) => return Err(reason),
                // The thread wakes the worker.
                (Err(TryRecvError::Empty), _) => return Ok(false),
                (Ok(Fetched::Bytes(_) | Fetched::End), None) | (Err(TryRecvError::Disconnected), _) => {
                    return Err(format!("{}: the thread that reads it has ended without a word", self.path));
                }
            }
        }
        // Emitted rows cause the next call. Without rows, as inside a very long line, wake the worker here.
        (self.waker)();
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::connector::files::bucket_listing::BucketListing;
    use crate::connector::files::cut::LineCut;
    use crate::connector::files::reader::FileReader;
    use crate::connector::source::SourceReader;
    use crate::core::error::Result as Done;
    use crate::core::plan::Split;
    use crate::format::lines::{LINE_LIMIT, Line};

    fn range(bucket: &Bucket, name: &str) -> SplitRange {
        let object = bucket.list("", true).unwrap().into_iter().find(|object| object.name == name).unwrap();
        let split = Split::File { path: bucket.at(name).into(), size: object.size, modified_ms: object.modified_ms };
        SplitRange { split, from: 0, until: object.size as i64 }
    }

    /// Reads a range as a worker does: after a call without rows it waits for the waker.
    fn read(bucket: &Bucket, range: &SplitRange) -> Done<Vec<Line>> {
        let (wake, woken) = channel();
        let waker: Waker = {
            let wake = std::sync::Mutex::new(wake);
            Arc::new(move || _ = wake.lock().unwrap().send(()))
        };
        let place = Arc::new(Place::Bucket(BucketListing::within(bucket.clone(), Default::default(), true)));
        let mut reader = FileReader::new("objects".into(), place, LineCut::new(LINE_LIMIT, false), waker);
        let mut lines = Vec::new();
        loop {
            let before = lines.len();
            if reader.read_range(7, range, &mut |_, rows: Vec<Line>, _| lines.extend(rows))? {
                return Ok(lines);
            }
            if lines.len() == before {
                woken.recv_timeout(std::time::Duration::from_secs(300)).expect("a call of the waker");
            }
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        let text = |line| match line {
            Line::Text(text, _) => text,
            Line::Bad(bad) => format!("bad: {}", bad.reason),
        };
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn the_lines_of_objects_are_those_of_files() {
        let bucket = Bucket::in_memory();
        let many: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packed, many.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        bucket
            .put(vec![
                ("few".into(), b"\xef\xbb\xbfto be\r\nor not".to_vec()),
                ("deep/many".into(), many.clone().into_bytes()),
                ("many.gz".into(), packed.clone()),
                ("cut.gz".into(), packed[..packed.len() / 2].to_vec()),
            ])
            .unwrap();
        assert_eq!(texts(read(&bucket, &range(&bucket, "few")).unwrap()), ["to be", "or not"]);
        for name in ["deep/many", "many.gz"] {
            let lines = texts(read(&bucket, &range(&bucket, name)).unwrap());
            assert!(lines.len() == 50_000 && lines.iter().eq(many.lines()), "{name}");
        }
        let cut = texts(read(&bucket, &range(&bucket, "cut.gz")).unwrap());
        assert!(cut.len() > 1 && cut.last().unwrap().contains("the file is damaged from here on"), "{:?}", cut.last());
    }

    #[test]
    fn an_object_that_is_gone_is_a_bad_record_and_another_one_under_its_name_ends_the_job() {
        let bucket = Bucket::in_memory();
        bucket.put(vec![("a".into(), b"one\n".to_vec()), ("b".into(), b"two\n".to_vec())]).unwrap();
        let (a, b) = (range(&bucket, "a"), range(&bucket, "b"));
        bucket.remove(vec!["a".into()]).unwrap();
        assert_eq!(texts(read(&bucket, &a).unwrap()), ["bad: the object was gone before it was read"]);
        bucket.put(vec![("b".into(), b"another\n".to_vec())]).unwrap();
        let e = read(&bucket, &b).unwrap_err().to_string();
        assert!(e.contains("b changed between the plan of its batch and its reading") && e.contains("another name"), "{e}");
        let split = Split::File { path: "/elsewhere/c".into(), size: 1, modified_ms: 1 };
        let e = read(&bucket, &SplitRange { split, from: 0, until: 1 }).unwrap_err().to_string();
        assert!(e.contains("/elsewhere/c is not below memory://a/b"), "{e}");
    }
}
