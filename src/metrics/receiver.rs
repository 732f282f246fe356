//! What happens to the receivers of a job, as its listeners hear of it.

use serde::{Deserialize, Serialize};

/// What has happened to a receiver.
///
/// ```
/// use tidemill::metrics::ReceiverEvent;
/// assert_eq!(ReceiverEvent::Started.reason(), None);
/// assert_eq!(ReceiverEvent::Stopped("the line is gone".into()).reason(), Some("the line is gone"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiverEvent {
    /// It is started, also after a stop.
    Started,
    /// It has a trouble, and goes on or is stopped next.
    Error(String),
    /// It is stopped. It may be started again.
    Stopped(String),
}

impl ReceiverEvent {
    /// What the trouble is, or why the receiver is stopped. `None` of a start.
    pub fn reason(&self) -> Option<&str> {
        match self {
            ReceiverEvent::Started => None,
            ReceiverEvent::Error(why) | ReceiverEvent::Stopped(why) => Some(why),
        }
    }
}

/// A receiver, and what has happened to it: Spark's `ReceiverInfo`.
///
/// ```
/// use std::sync::Mutex;
/// use tidemill::connector::receiver::{Receiver, ReceiverHandle};
/// use tidemill::metrics::ReceiverInfo;
/// use tidemill::prelude::*;
///
/// /// A feed of one row.
/// struct Feed;
/// impl Receiver for Feed {
///     type Item = i64;
///     fn name(&self) -> String {
///         "feed".into()
///     }
///     fn on_start(&mut self, to: ReceiverHandle<i64>) -> Result<(), BoxError> {
///         to.store(7)?;
///         to.stop("there is no more");
///         Ok(())
///     }
/// }
///
/// #[derive(Default)]
/// struct Stops(Mutex<Vec<String>>);
/// impl StreamingListener for Stops {
///     fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
///         let why = receiver.event.reason().unwrap_or_default();
///         self.0.lock().unwrap().push(format!("{}: {why}", receiver.name));
///     }
/// }
///
/// let stops = std::sync::Arc::new(Stops::default());
/// let job = StreamingContext::builder("feed", millis(5)).without_checkpoint().streaming_listener(stops.clone()).start(|ssc| {
///     ssc.receiver_stream(Feed).to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// while stops.0.lock().unwrap().is_empty() {
///     std::thread::yield_now();
/// }
/// job.stop_gracefully()?;
/// assert_eq!(*stops.0.lock().unwrap(), ["receiver feed: there is no more"]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverInfo {
    /// The number of the source, in program order from 0.
    pub source: u32,
    /// Its name, as logs and plans have it: `receiver orders on port 9000`.
    pub name: String,
    /// The worker that runs it, over all processes, from 0.
    pub worker: usize,
    /// What has happened.
    pub event: ReceiverEvent,
}
