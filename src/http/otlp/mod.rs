//! Sends the metrics of a job, and a trace for each batch, to a collector of OpenTelemetry (feature `otlp`): OTLP over HTTP, with Protocol
//! Buffers. A thread of its own sends. *Invariant:* a collector that does not answer costs memory for the last batches, and holds up nothing.

pub(crate) mod endpoint;
#[cfg(feature = "otlp")]
mod messages;
#[cfg(feature = "otlp")]
mod post;
#[cfg(feature = "otlp")]
mod sender;

#[cfg(feature = "otlp")]
pub(crate) use sender::{Exporter, start};

/// In place of what sends.
#[cfg(not(feature = "otlp"))]
pub(crate) struct Exporter;

/// Refuses to send.
///
/// # Errors
/// Always.
#[cfg(not(feature = "otlp"))]
pub(crate) fn start(
    _: endpoint::Endpoint,
    _: crate::http::About,
    _: crate::metrics::Metrics,
) -> crate::core::error::Result<Exporter> {
    let what = "--otlp: this program was built without the feature `otlp` of tidemill";
    Err(crate::core::error::Error::config(format!("{what}; add it in Cargo.toml: features = [\"otlp\"]")))
}
