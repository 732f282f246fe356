//! What answers to readers are made of.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cluster::secret::Secret;
use crate::core::lock::lock;
use crate::http::{About, Views, json};
use crate::metrics::Metrics;

/// The job as its readers see it.
pub(super) struct Reader {
    pub about: About,
    pub metrics: Metrics,
    /// Set if readers must show its token.
    pub secret: Option<Secret>,
    pub views: Views,
    pub news: watch::Sender<News>,
    /// Held while a request has records that it gives back.
    pub correcting: tokio::sync::Mutex<()>,
    /// The last text of [`Reader::told`].
    told: Mutex<Option<Told>>,
}

/// How old a text may be that was made of the same batch: its sentence depends on the clock, too.
pub(super) const FRESH: Duration = Duration::from_secs(2);

/// What readers of events are told, and of which batch that is.
struct Told {
    batches: u64,
    at: Instant,
    text: Arc<str>,
}

impl Reader {
    pub fn new(about: About, metrics: Metrics, secret: Option<Secret>, views: Views) -> Reader {
        let (news, correcting) = (watch::channel(News::default()).0, tokio::sync::Mutex::default());
        Reader { about, metrics, secret, views, news, correcting, told: Mutex::default() }
    }

    /// A request is refused.
    pub fn refuse(&self, why: &'static str) {
        self.metrics.readers.add(why);
    }

    /// The data of an event. It is made once a batch, for all readers.
    pub fn told(&self) -> Arc<str> {
        let batches = self.news.borrow().batches;
        let mut told = lock(&self.told);
        match &*told {
            Some(told) if told.batches == batches && told.at.elapsed() < FRESH => told.text.clone(),
            _ => {
                let text: Arc<str> = json::news(self).into();
                *told = Some(Told { batches, at: Instant::now(), text: text.clone() });
                text
            }
        }
    }
}

/// What wakes the readers of events.
#[derive(Clone, Default)]
pub(super) struct News {
    /// How many batches were completed.
    pub batches: u64,
    /// The job has ended.
    pub ended: bool,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What readers of a job see that asks these views.
    pub fn reader(views: Views) -> Arc<Reader> {
        Arc::new(Reader::new(About::of_no_job(), Metrics::default(), None, views))
    }
}
