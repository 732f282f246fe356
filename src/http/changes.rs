//! The changes of a view as JSON lines: its rows as of one batch, and then what each later batch has changed, without a gap or a double.
//!
//! A follower asks for the difference between the batch of its last line and the newest one, so nothing is kept here. The workers hold the
//! batch of its last line. A reader that is slow gets the net change of several batches, and one that is much too slow is cut off with a word.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::core::question::{Filter, Follow, Part, Question};
use crate::core::time::BatchTime;
use crate::http::reader::{FRESH, News, Reader};
use crate::http::views::{self, Asking, list_of};

/// The least time between two lines.
const APART: Duration = Duration::from_millis(20);

/// Begins to follow a view.
pub(super) async fn follow(
    view: &str,
    query: Option<&str>,
    reader: &Arc<Reader>,
) -> Result<Channel<Bytes>, (StatusCode, String)> {
    let mut question = views::question(view, query).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    if question.top || question.at.is_some() || query.is_some_and(|q| q.split('&').any(|part| part.starts_with("limit="))) {
        let what = "changes are of all rows from now on: there are key, from_key, until_key and prefix";
        return Err((StatusCode::BAD_REQUEST, what.into()));
    }
    (question.follow, question.limit) = (Some(Follow::Begin), u32::MAX);
    let news = reader.news.subscribe();
    let (asking, (time, part)) = views::answer(question.clone(), reader).await?;
    let (sender, body) = Channel::new(1);
    let following = Following { asking, news, filter: question.filter, view: question.view, since: time };
    let first = format!(r#"{{"rows":[{}],"time":{}}}"#, list_of(&part.rows), time.millis());
    tokio::spawn(following.send(reader.clone(), sender, first));
    Ok(body)
}

/// Somebody who follows a view.
struct Following {
    /// The first question, whose number the workers know.
    asking: Asking,
    news: watch::Receiver<News>,
    view: String,
    filter: Filter,
    /// The batch of the last line.
    since: BatchTime,
}

/// A line, which is sent when the reader has taken the one before it.
async fn line(sender: &mut Sender<Bytes>, text: &str) -> bool {
    sender.send_data(format!("{text}\n").into()).await.is_ok()
}

impl Following {
    async fn send(mut self, reader: Arc<Reader>, mut sender: Sender<Bytes>, first: String) {
        let mut open = line(&mut sender, &first).await;
        while open {
            sleep(APART).await;
            while !self.news.has_changed().unwrap_or(true) {
                if timeout(FRESH, self.news.changed()).await.is_ok() {
                    break;
                }
                // A sign of life, which also tells whether the reader is there.
                if !line(&mut sender, "").await {
                    return;
                }
            }
            if self.news.borrow_and_update().ended {
                line(&mut sender, r#"{"ended":true}"#).await;
                return;
            }
            let follow = Some(Follow::Next { first: self.asking.id(), since: self.since });
            let (view, filter) = (self.view.clone(), self.filter.clone());
            let question = Question { view, filter, follow, at: None, top: false, limit: u32::MAX };
            open = match views::answer(question, &reader).await {
                // No batch has been computed since.
                Ok((_, (time, _))) if time <= self.since => true,
                Ok((_, (time, part))) => {
                    let text = changes(self.since, time, &part);
                    self.since = time;
                    line(&mut sender, &text).await
                }
                Err((_, why)) => {
                    line(&mut sender, &serde_json::json!({ "error": why }).to_string()).await;
                    return;
                }
            };
        }
    }
}

/// What has changed after `since`, up to the batch of `time`.
fn changes(since: BatchTime, time: BatchTime, part: &Part) -> String {
    let (added, removed) = (list_of(&part.rows), list_of(&part.removed));
    format!(r#"{{"added":[{added}],"removed":[{removed}],"since":{},"time":{}}}"#, since.millis(), time.millis())
}
