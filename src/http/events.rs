//! Server-sent events: one a batch, with one text for all readers. A slow reader gets the newest batch, not all, so it costs no more
//! memory than others. Without a batch, a sign of life says how the job is now.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::time::{sleep, timeout};

use crate::http::reader::{FRESH, Reader};

/// The least time between two events: a person reads them.
const APART: Duration = Duration::from_millis(50);

/// The events of the job from now on, the last batch first.
pub(super) fn events(reader: &Arc<Reader>) -> Channel<Bytes> {
    let (sender, body) = Channel::new(1);
    tokio::spawn(send(reader.clone(), sender));
    body
}

async fn send(reader: Arc<Reader>, mut sender: Sender<Bytes>) {
    let mut news = reader.news.subscribe();
    // Waits until the reader has taken the previous event.
    while sender.send_data(event("batch", &reader.told())).await.is_ok() {
        sleep(APART).await;
        while !news.has_changed().unwrap_or(true) {
            if timeout(FRESH, news.changed()).await.is_ok() {
                break;
            }
            if sender.send_data(event("alive", &reader.told())).await.is_err() {
                return;
            }
        }
        if news.borrow_and_update().ended {
            let _ = sender.send_data(event("end", &reader.told())).await;
            return;
        }
    }
}

fn event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Views;
    use crate::metrics::BatchInfo;
    use http_body_util::BodyExt;

    fn reader() -> Arc<Reader> {
        crate::http::reader::tests::reader(Views::of_no_job())
    }

    /// What is read next.
    async fn next(body: &mut Channel<Bytes>) -> String {
        let frame = body.frame().await.expect("a frame").unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn all_readers_share_the_text_of_a_batch() {
        let reader = reader();
        let complete = |n: u64| {
            reader.metrics.complete(&BatchInfo { records: n, ..BatchInfo::default() }, &[]);
            reader.news.send_modify(|news| news.batches += 1);
        };
        complete(1);
        let (first, again) = (reader.told(), reader.told());
        assert!(Arc::ptr_eq(&first, &again) && first.contains("\"records\":1,"), "{first}");
        complete(2);
        assert!(reader.told().contains("\"batches\":2,"));
    }

    /// A reader that does not read for many batches finds what it had not taken, and then the newest.
    #[test]
    fn a_slow_reader_gets_the_newest_batch() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let reader = reader();
            let mut body = events(&reader);
            for n in 1..=1_000 {
                reader.metrics.complete(&BatchInfo { records: n, ..BatchInfo::default() }, &[]);
                reader.news.send_modify(|news| news.batches += 1);
                tokio::task::yield_now().await;
            }
            let mut read = 0;
            while !next(&mut body).await.contains("\"records\":1000,") {
                read += 1;
            }
            assert!(read <= 3, "{read} events waited");
            reader.news.send_modify(|news| news.ended = true);
            while !next(&mut body).await.starts_with("event: end") {}
            assert!(body.frame().await.is_none());
        });
    }
}
