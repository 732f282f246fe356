//! The thread that sends, and what waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::core::clock::wall_ms;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::thread::spawn;
use crate::http::About;
use crate::http::otlp::endpoint::Endpoint;
use crate::http::otlp::messages;
use crate::http::otlp::post::post;
use crate::metrics::{BatchInfo, Metrics, StreamingListener};

/// The most batches that wait. Of more, the oldest are dropped.
const WAITING: usize = 512;
/// At most this many spans are in a request, besides those of one batch.
const SPANS: usize = 2_000;
/// Time between two requests with batches: that of the SDKs.
const EVERY: Duration = Duration::from_secs(5);

/// What sends. It sends the rest when it is dropped.
pub(crate) struct Exporter {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The batches that were not sent yet, with the time at which each was complete.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<(BatchInfo, u64)>>);

impl StreamingListener for Waiting {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let mut waiting = lock(&self.0);
        waiting.push_back((batch.clone(), wall_ms()));
        if waiting.len() > WAITING {
            waiting.pop_front();
        }
    }
}

/// Starts to send what a job does to a collector.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(to: Endpoint, about: About, metrics: Metrics) -> Result<Exporter> {
    let failed = |e| Error::io(format!("cannot send telemetry to {}", to.authority), e);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let waiting = Arc::new(Waiting::default());
    metrics.listen(waiting.clone());
    let service = to.service.clone().unwrap_or_else(|| about.name.clone());
    let (stop, stopped) = oneshot::channel();
    let sender = Sender { to, about, metrics, service, waiting, unwell: false };
    let thread = spawn("tm-otlp", move || sender.run(&runtime, stopped))?;
    Ok(Exporter { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Sender {
    to: Endpoint,
    about: About,
    metrics: Metrics,
    service: String,
    waiting: Arc<Waiting>,
    /// Whether the last request failed, and that was logged.
    unwell: bool,
}

impl Sender {
    fn run(mut self, runtime: &Runtime, mut stopped: oneshot::Receiver<()>) {
        runtime.block_on(async {
            let mut told = Instant::now();
            loop {
                let ended = timeout(EVERY.min(self.to.every), &mut stopped).await.is_ok();
                // At the end the collector has one more chance, and a broken one does not hold up the program.
                let sent = self.send_batches().await;
                if (ended && sent) || told.elapsed() >= self.to.every {
                    told = Instant::now();
                    let message = messages::metrics(&self.about, &self.service, &self.metrics, wall_ms());
                    let posted = post(&self.to, "/v1/metrics", message.encode_to_vec()).await;
                    self.tell(posted);
                }
                if ended {
                    return;
                }
            }
        });
    }

    /// Sends the batches that wait. Those of a request that failed wait again. Returns whether none wait.
    async fn send_batches(&mut self) -> bool {
        loop {
            let mut spans: Vec<Span> = Vec::new();
            let mut taken = Vec::new();
            while spans.len() < SPANS {
                let Some((batch, at)) = lock(&self.waiting.0).pop_front() else { break };
                spans.extend(messages::batch(&self.about, &batch, at));
                taken.push((batch, at));
            }
            if taken.is_empty() {
                return true;
            }
            let message = messages::traces(&self.about, &self.service, spans);
            let posted = post(&self.to, "/v1/traces", message.encode_to_vec()).await;
            if self.tell(posted) {
                continue;
            }
            let mut waiting = lock(&self.waiting.0);
            taken.into_iter().rev().for_each(|batch| waiting.push_front(batch));
            while waiting.len() > WAITING {
                waiting.pop_front();
            }
            return false;
        }
    }

    /// Logs when the collector stops to take what it gets, and when it begins again. Returns whether it has taken this.
    fn tell(&mut self, posted: std::result::Result<(), String>) -> bool {
        let to = &self.to.authority;
        match &posted {
            Err(why) if !self.unwell => tracing::warn!("the collector at {to} has no telemetry of this job: {why}"),
            Ok(()) if self.unwell => tracing::info!("the collector at {to} takes telemetry again"),
            _ => {}
        }
        self.unwell = posted.is_err();
        posted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::core::time::BatchTime;

    fn about() -> About {
        let (interval, checkpoint, restarts) = (Duration::from_millis(10), None, Vec::new());
        About { name: "j".into(), interval, workers: 1, processes: 1, process: 0, checkpoint, started_ms: 0, restarts }
    }

    fn batch(n: u64) -> BatchInfo {
        BatchInfo { time: BatchTime::from_millis(n), ..BatchInfo::default() }
    }

    /// A collector that is overloaded for two requests, and then takes all.
    #[test]
    fn batches_that_a_collector_refuses_come_again_once_each_and_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (got, requests) = channel();
        let collector = std::thread::spawn(move || {
            for n in 0.. {
                let (mut stream, _) = listener.accept().unwrap();
                let mut bytes = Vec::new();
                let body = loop {
                    let mut chunk = [0; 4096];
                    let read = stream.read(&mut chunk).unwrap();
                    bytes.extend_from_slice(&chunk[..read]);
                    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
                    let length: usize = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
                    if bytes.len() >= head + 4 + length {
                        break (text, bytes[head + 4..].to_vec());
                    }
                };
                let status = if n < 2 { "503 Service Unavailable" } else { "200 OK" };
                stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
                if n >= 2 && body.0.starts_with("post /v1/traces") && got.send(body.1).is_err() {
                    return;
                }
            }
        });
        let metrics = Metrics::default();
        let headers = vec![("api-key".to_owned(), "s".to_owned())];
        let every = Duration::from_millis(5);
        let to = Endpoint { authority, path: String::new(), headers, every, service: None };
        let exporter = start(to, about(), metrics.clone()).unwrap();
        let mut times = Vec::new();
        for n in 1..=5 {
            metrics.complete(&batch(n), &[]);
        }
        while times.len() < 5 {
            let request = ExportTraceServiceRequest::decode(&*requests.recv().unwrap()).unwrap();
            let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
            times.extend(spans.filter(|span| span.name == "batch").map(|span| span.attributes[0].clone()));
        }
        let shown: Vec<String> = times.iter().map(|time| format!("{:?}", time.value)).collect();
        assert!((1..=5).zip(&shown).all(|(n, time)| time.contains(&format!("IntValue({n})"))), "{shown:?}");
        drop(requests);
        drop(exporter);
        drop(collector);
    }

    #[test]
    fn batches_that_nobody_takes_cost_bounded_memory() {
        let waiting = Waiting::default();
        (0..2_000).for_each(|n| waiting.on_batch_completed(&batch(n)));
        let waiting = lock(&waiting.0);
        assert_eq!((waiting.len(), waiting[0].0.time.millis()), (WAITING, 2_000 - WAITING as u64));
    }
}
