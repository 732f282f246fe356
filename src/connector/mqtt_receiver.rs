//! `mqtt_receiver`: messages that an MQTT broker pushes. The broker is told when they are safe.
//!
//! One thread has the connection. It takes messages while an earlier block of them is being stored, so the broker always hears from it.

use std::fmt;
use std::pin::pin;
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode};
use tokio::sync::oneshot;
use tokio::task::JoinHandle as Task;

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::message::Message;
use crate::connector::receiver::{Receiver, ReceiverHandle, StoreError};
use crate::core::error::BoxError;
use crate::core::thread::spawn;
use crate::engine::operator_id::OperatorId;

/// The port of a broker that is given without one.
const PORT: u16 = 1_883;
/// The longest message, in bytes, unless the program says otherwise; and at most, because a row of the log is at most this long.
const MESSAGE: usize = 1 << 20;
const LONGEST: usize = 15 << 20;
/// The longest packet that MQTT has.
const PACKET: usize = 256 << 20;
/// How often the connection shows that it is alive, if nothing is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Above this many bytes of messages that wait to be stored, none is taken from the connection.
const WAITING: usize = 8 << 20;
/// How many messages wait at most. So many acknowledgements fit into the queue of the connection.
const MESSAGES: usize = 4_096;
/// How long the end of the connection may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A broker, and the topics that [`mqtt_receiver`](StreamingContext::mqtt_receiver) subscribes to.
///
/// ```
/// use tidemill::connector::mqtt_receiver::MqttReceiver;
/// let sensors = MqttReceiver::new("127.0.0.1:1883").topic("sensors/+/heat").client_id("mill-1").max_message(64 << 10);
/// let shown = format!("{:?}", sensors.credentials("mill", "secret"));
/// assert!(shown.contains("mill-1") && !shown.contains("secret"), "{shown}");
/// ```
#[derive(Clone)]
#[must_use = "it describes what to receive"]
pub struct MqttReceiver {
    address: String,
    topics: Vec<String>,
    client_id: Option<String>,
    credentials: Option<(String, String)>,
    max_message: usize,
}

impl fmt::Debug for MqttReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MqttReceiver { address, topics, client_id, credentials, max_message } = self;
        let user = credentials.as_ref().map(|(user, _)| user);
        let mut all = f.debug_struct("MqttReceiver");
        all.field("address", address).field("topics", topics).field("client_id", client_id);
        all.field("user", &user).field("max_message", max_message).finish()
    }
}

impl MqttReceiver {
    /// A broker: `HOST`, `HOST:PORT` or `mqtt://HOST:PORT`. The port is 1883 if none is given. The connection is not encrypted: put a proxy
    /// with TLS beside the job where others can listen.
    pub fn new(address: impl Into<String>) -> Self {
        MqttReceiver { address: address.into(), topics: Vec::new(), client_id: None, credentials: None, max_message: MESSAGE }
    }

    /// Adds a topic, or a filter of topics: `+` is one level, `#` is all that follow.
    pub fn topic(mut self, filter: impl Into<String>) -> Self {
        self.topics.push(filter.into());
        self
    }

    /// The name by which the broker knows this receiver, and keeps its messages. No other client of the broker may have it: the broker
    /// ends the connection of the earlier one. Default: `tidemill-` and the name of the job.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// A user and a password. They are sent as they are.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// The longest message, in bytes. Default: 1 MiB; at most 15 MiB. A longer one is left out, and reported as an error of the receiver:
    /// the broker would send it again for ever.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    fn host_and_port(&self) -> Result<(String, u16), String> {
        let wrong = || format!("\"{}\" is not HOST:PORT; write for example 127.0.0.1:{PORT}", self.address);
        let address = match self.address.split_once("://") {
            None => self.address.as_str(),
            Some(("mqtt" | "tcp", address)) => address.trim_end_matches('/'),
            Some((other, _)) => {
                return Err(format!("\"{other}://\" is not possible: write mqtt://HOST:PORT, for a connection without TLS"));
            }
        };
        if address.contains('@') {
            return Err("user and password do not belong to the address: use credentials".into());
        }
        let (host, port) = match address.rsplit_once(':') {
            // The colons of an address of IPv6 are in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (address, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host.into(), port)) }
    }

    /// What is wrong with the description.
    fn problem(&self) -> Option<String> {
        if let Err(e) = self.host_and_port() {
            return Some(e);
        }
        if self.topics.is_empty() {
            return Some("it has no topic: nothing would ever come; name one by topic".into());
        }
        if let Some(filter) = self.topics.iter().find(|filter| !rumqttc::valid_filter(filter)) {
            return Some(format!("\"{filter}\" is not a filter of topics: + and # are whole levels, and # is the last one"));
        }
        let fits = (1..=LONGEST).contains(&self.max_message);
        (!fits).then(|| format!("max_message is {}: it must be between 1 byte and 15 MiB", self.max_message))
    }
}

impl<'s> StreamingContext<'s> {
    /// The messages of topics of an MQTT broker, each once it is safe. A [receiver](StreamingContext::receiver_stream) with its log, by
    /// MQTT 3.1.1 with quality of service 1. Spark's `MQTTUtils.createStream`. Feature `mqtt`.
    ///
    /// The value of a [`Message`] is what was published, and its topic is the one it was published to. It has no key and no time, and its
    /// offset counts the messages since the receiver started. So [`values`](DStream::values), decoders and dead letters are those of Kafka.
    ///
    /// - **With a checkpoint directory** the broker is told that a message has arrived when the message is in the log. The broker keeps what
    ///   is published while the job is down, because it knows the [`client_id`](MqttReceiver::client_id). Nothing that was published with
    ///   quality 1 or 2 is lost by a crash of the job; a crash repeats at most what was not acknowledged. An orderly end repeats nothing.
    /// - **Without one** it is told when the message is in memory, and it keeps nothing for the job.
    /// - **Quality 0** of the publisher means what it means everywhere: such a message may be lost on its way to the job.
    /// - **Speed.** A broker sends only some messages ahead of their acknowledgements: about 20 with Mosquitto, as
    ///   `max_inflight_messages` says. One sync of the log covers these. Raise the number for more messages a second.
    /// - **A slow job** stops acknowledging, so the broker stops sending, and keeps the messages in its queue. It drops messages when that
    ///   queue is full: 1,000 with Mosquitto, as `max_queued_messages` says.
    /// - **Errors.** A connection that ends, or a broker that refuses, is logged, and tried again every 2 seconds.
    ///
    /// A retained message is delivered with every new connection. `spark.streaming.receiver.maxRate` limits a batch.
    ///
    /// ```no_run
    /// use tidemill::connector::mqtt_receiver::MqttReceiver;
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("heat", secs(1)).checkpoint("/data/heat").run(|ssc| {
    ///     let sensors = MqttReceiver::new("127.0.0.1:1883").topic("sensors/+/heat");
    ///     let readings = ssc.mqtt_receiver(sensors).map(|message| message.topic().to_owned());
    ///     readings.count_by_value().print(10);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A description that is wrong is an error at the start:
    ///
    /// ```
    /// use tidemill::connector::mqtt_receiver::MqttReceiver;
    /// use tidemill::prelude::*;
    /// let started = StreamingContext::builder("heat", secs(1)).start(|ssc| {
    ///     ssc.mqtt_receiver(MqttReceiver::new("127.0.0.1").topic("sensors/#/heat")).count().print(1);
    ///     Ok(())
    /// });
    /// let e = started.err().unwrap().to_string();
    /// assert!(e.contains("sensors/#/heat") && e.contains("# is the last one"), "{e}");
    /// ```
    #[doc(alias = "MQTTUtils")]
    #[track_caller]
    pub fn mqtt_receiver(&self, mqtt: MqttReceiver) -> DStream<'s, Message> {
        let operator = OperatorId::of("mqtt_receiver");
        if let Some(problem) = mqtt.problem() {
            self.graph.report(&operator, problem);
        }
        let config = &self.graph.config;
        let logged = config.runtime.checkpoint.is_some() && config.receiver_log;
        let own = || self.graph.numbered("client of MQTT", &format!("tidemill-{}", config.name));
        let id = mqtt.client_id.clone().unwrap_or_else(own);
        self.receive(&operator, Subscriber { mqtt, id, logged, running: None })
    }
}

/// The receiver: a thread that has the connection.
struct Subscriber {
    mqtt: MqttReceiver,
    id: String,
    /// Whether stored messages are durable. Then the broker keeps messages for this client.
    logged: bool,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Receiver for Subscriber {
    type Item = Message;

    fn name(&self) -> String {
        format!("mqtt of {}: {}", self.mqtt.address, self.mqtt.topics.join(", "))
    }

    fn on_start(&mut self, to: ReceiverHandle<Message>) -> Result<(), BoxError> {
        let (host, port) = self.mqtt.host_and_port()?;
        let mut options = MqttOptions::new(&self.id, host, port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(!self.logged).set_manual_acks(true);
        options.set_max_packet_size(PACKET, PACKET);
        if let Some((user, password)) = &self.mqtt.credentials {
            options.set_credentials(user, password);
        }
        let (client, events) = AsyncClient::new(options, 2 * MESSAGES);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (topics, longest) = (self.mqtt.topics.clone(), self.mqtt.max_message);
        let receive = move || {
            let (waiting, storing) = (Waiting::default(), None);
            let subscription = Subscription { client, topics, longest, to: to.clone(), next: 0, waiting, storing };
            // A restart brings what this connection did not acknowledge.
            if let Err(why) = runtime.block_on(subscription.run(events, stopped)) {
                to.restart(why);
            }
            // A thread that stores ends by itself: the receiver is stopped.
            runtime.shutdown_timeout(GOODBYE);
        };
        self.running = Some((stop, spawn("tm-mqtt", receive)?));
        Ok(())
    }

    fn on_stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Messages that are not being stored yet.
#[derive(Default)]
struct Waiting {
    published: Vec<Publish>,
    bytes: usize,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.bytes >= WAITING || self.published.len() >= MESSAGES
    }
}

/// What is stored: the answer, and what to acknowledge then.
type Stored = (Result<(), StoreError>, Vec<Publish>);

/// A connection to the broker.
struct Subscription {
    client: AsyncClient,
    topics: Vec<String>,
    longest: usize,
    to: ReceiverHandle<Message>,
    /// The offset of the next message.
    next: i64,
    waiting: Waiting,
    storing: Option<Task<Stored>>,
}

/// The end of what is being stored.
async fn stored(storing: &mut Option<Task<Stored>>) -> Stored {
    match storing {
        Some(task) => {
            let done = task.await.unwrap_or((Err(StoreError::Stopped), Vec::new()));
            *storing = None;
            done
        }
        None => std::future::pending().await,
    }
}

impl Subscription {
    /// Receives until it is stopped.
    ///
    /// # Errors
    /// Why the connection has ended, or why the broker refuses.
    async fn run(mut self, mut events: EventLoop, mut stopped: oneshot::Receiver<()>) -> Result<(), String> {
        'connected: loop {
            let full = self.waiting.is_full();
            let mut poll = pin!(async {
                match full {
                    true => std::future::pending().await,
                    false => events.poll().await,
                }
            });
            // A poll that connects must not be dropped, so it lives until it has an event.
            loop {
                let may_store = self.storing.is_none() && !self.waiting.published.is_empty();
                tokio::select! {
                    biased;
                    _ = &mut stopped => break 'connected,
                    event = &mut poll => {
                        self.event(event.map_err(|e| e.to_string())?)?;
                        continue 'connected;
                    }
                    done = stored(&mut self.storing) => self.acknowledge(done)?,
                    // No message is there at this moment.
                    () = tokio::task::yield_now(), if may_store => {
                        self.store();
                        if full {
                            continue 'connected;
                        }
                    }
                }
            }
        }
        // The rest comes again with the next connection, and what is stored must not.
        if self.storing.is_some()
            && let Ok(done) = tokio::time::timeout(GOODBYE, stored(&mut self.storing)).await
        {
            self.acknowledge(done)?;
        }
        let _ = self.client.try_disconnect();
        let _ = tokio::time::timeout(GOODBYE, async { while events.poll().await.is_ok() {} }).await;
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let lost = |e: rumqttc::ClientError| format!("the connection has ended: {e}");
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters = self.topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
                self.client.try_subscribe_many(filters).map_err(lost)
            }
            Event::Incoming(Packet::SubAck(answers)) => {
                let refused = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Failure);
                match answers.return_codes.iter().position(refused) {
                    Some(at) => Err(format!("the broker refuses the topic \"{}\"", self.topics.get(at).map_or("", |t| t))),
                    None => Ok(()),
                }
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let bytes = publish.payload.len();
                if bytes > self.longest {
                    // The broker would send it again for ever.
                    self.to.report_error(format!(
                        "a message of {bytes} bytes to \"{}\" is left out: max_message is {}",
                        publish.topic, self.longest
                    ));
                    return self.client.try_ack(&publish).map_err(lost);
                }
                self.waiting.bytes += bytes;
                self.waiting.published.push(publish);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Begins to store all that waits.
    fn store(&mut self) {
        let Waiting { published, .. } = std::mem::take(&mut self.waiting);
        let (first, to) = (self.next, self.to.clone());
        self.next += published.len() as i64;
        self.storing = Some(tokio::task::spawn_blocking(move || {
            let message = |(offset, p): (i64, &Publish)| Message::new(p.topic.as_str(), 0, offset, None, None, Some(&p.payload));
            (to.store_many((first..).zip(&published).map(message)), published)
        }));
    }

    fn acknowledge(&mut self, (result, published): Stored) -> Result<(), String> {
        match result {
            Ok(()) => {
                published.iter().try_for_each(|p| self.client.try_ack(p)).map_err(|e| format!("the connection has ended: {e}"))
            }
            // The end is on its way.
            Err(StoreError::Stopped) => Ok(()),
            Err(e @ StoreError::TooLong(_)) => Err(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let parts = |address: &str| MqttReceiver::new(address).host_and_port();
        for (address, host, port) in [
            ("broker", "broker", 1883),
            ("127.0.0.1:1884", "127.0.0.1", 1884),
            ("mqtt://broker:9", "broker", 9),
            ("tcp://broker/", "broker", 1883),
            ("[::1]:1884", "::1", 1884),
            ("[::1]", "::1", 1883),
        ] {
            assert_eq!(parts(address), Ok((host.to_owned(), port)), "{address}");
        }
        assert!(parts("mqtts://broker").unwrap_err().contains("without TLS"));
        assert!(parts("mqtt://mill:secret@broker").unwrap_err().contains("use credentials"));
        assert!(!parts("mqtt://mill:secret@broker").unwrap_err().contains("secret"));
        assert!(parts("broker:port").unwrap_err().contains("\"broker:port\" is not HOST:PORT"));
        assert!(parts("").is_err() && parts(":1883").is_err() && parts("broker:0").is_err());
    }

    #[test]
    fn topics_and_sizes_are_checked() {
        let problem = |topic: &str| MqttReceiver::new("broker").topic(topic).problem();
        assert_eq!([problem("a/+/b"), problem("#"), problem("a/#")], [None, None, None]);
        assert!(problem("a/#/b").unwrap().contains("a/#/b") && problem("a+").is_some() && problem("").is_some());
        assert!(MqttReceiver::new("broker").problem().unwrap().contains("no topic"));
        assert!(MqttReceiver::new("broker").topic("a").max_message(0).problem().unwrap().contains("max_message"));
    }
}
