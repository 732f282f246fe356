//! What answers to readers are made of.

use tokio::sync::watch;

use crate::cluster::secret::Secret;
use crate::http::About;
use crate::metrics::Metrics;

/// The job as its readers see it.
pub(super) struct Reader {
    pub about: About,
    pub metrics: Metrics,
    /// Set if readers must show its token.
    pub secret: Option<Secret>,
    pub news: watch::Sender<News>,
}

/// What wakes the readers of events.
#[derive(Clone, Default)]
pub(super) struct News {
    /// How many batches were completed.
    pub batches: u64,
    /// The job has ended.
    pub ended: bool,
}
