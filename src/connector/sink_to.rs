//! `sink_to` and `sink_to_exactly_once`: the verbs that send a stream's rows to a sink. Every output of the library uses them.

use std::sync::Arc;

use crate::api::config::Config;
use crate::api::dstream::DStream;
use crate::connector::console::{RowsAsText, TextSink};
use crate::connector::sink::{DEFAULT_SHARDS, Distribution, Sink, SinkBatch, SinkContext, TransactionalSink};
use crate::connector::sink_task::{Arrange, SinkTask, Texts, TransactionalTask, json, one_part, parts};
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::core::key_groups::KeyGroups;
use crate::core::plan::RunId;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::{NewOutput, PartRows, RowQueue, TransactionalSpec};
use crate::format::object::object_text;
use crate::replay::request::{OutputTarget, warn_discarded};

impl<'s, T: Exchange> DStream<'s, T> {
    /// Writes each batch to a sink of the program, at least once. Flink's `sinkTo`. An asserting example is at [`Sink`].
    ///
    /// The build closure runs once on each worker, but each process uses only one of its sinks. So open files and connections
    /// at the first `write`, not earlier. [`sink`](crate::connector::sink) draws the order of calls.
    ///
    /// A replay does not use the sink, except with `--replay-foreach`.
    ///
    /// # Errors
    /// The engine retries a failed `write` or `flush` with the same rows, for the time of `--output-retry` (default: 30
    /// seconds). Then the job stops with the batch not written. A job with a checkpoint directory writes that batch first when it starts again.
    #[doc(alias = "sinkTo")]
    #[track_caller]
    pub fn sink_to(&self, sink: impl Sink<T> + 'static, distribution: Distribution) {
        let operator = OperatorId::of("sink_to");
        let graph = &self.node.graph;
        if let Distribution::Parts(n) | Distribution::Shards(n) = distribution
            && let Some(problem) = wrong_shards(n, graph.key_groups())
        {
            graph.report(&operator, problem);
        }
        if !self.goes_elsewhere(&operator, graph.config.function_target()) {
            self.sink_rows(&operator, sink, distribution);
        }
    }

    /// Writes each batch to a sink of the program, exactly once, by shard. Rows of one key, or of one source partition, are
    /// always in the same shard, and in order.
    ///
    /// Needs a checkpoint directory, and replayable sources: Kafka or files. [`sink`](crate::connector::sink) draws the order
    /// of calls; `examples/custom_sink.rs` is a short sink. A replay does not use the sink.
    ///
    /// # Errors
    /// The engine retries a failed `write` or `commit`, for the time of `--output-retry` (default: 30 seconds). Then the job
    /// stops. When it starts again, it writes the uncommitted batches: the same rows in the same batches.
    #[doc(alias = "sinkTo")]
    #[track_caller]
    pub fn sink_to_exactly_once(&self, sink: impl TransactionalSink<T> + 'static) {
        let operator = OperatorId::of("sink_to_exactly_once");
        if !self.goes_elsewhere(&operator, self.node.graph.config.transaction_target()) {
            self.sink_in_transactions(&operator, "sink_to_exactly_once()", sink);
        }
    }

    /// Sends the rows of a replay elsewhere than to a function or sink of the program, whose destination is unknown. The rows are
    /// discarded, or their encoding is kept for comparison. `false`: the program's own function or sink takes them.
    pub(crate) fn goes_elsewhere(&self, operator: &OperatorId, target: OutputTarget) -> bool {
        let graph = &self.node.graph;
        match target {
            OutputTarget::Own => return false,
            OutputTarget::Discarded if !graph.dry && graph.on_worker_0() => warn_discarded(&operator.to_string()),
            _ => {}
        }
        self.sink_as_text(operator, TextSink::new(&graph.config, target, operator, ""), |row| Ok(object_text(row)));
        true
    }

    /// Sends each row, as a line of text, to stdout or to the place where lines are compared.
    pub(crate) fn sink_as_text(
        &self,
        operator: &OperatorId,
        text: TextSink,
        line: impl FnMut(&T) -> Result<String, BoxError> + Send + 'static,
    ) {
        self.sink_gathered(operator, RowsAsText { text, line }, one_part, json);
    }

    /// Sends the rows to a sink.
    pub(crate) fn sink_rows(&self, operator: &OperatorId, sink: impl Sink<T> + 'static, distribution: Distribution) {
        match distribution {
            Distribution::Gathered => self.sink_gathered(operator, sink, one_part, json),
            _ => {
                let orders = self.node.orders.to_vec();
                let arrange = move |_: &SinkBatch, workers| parts(&orders, workers);
                self.deliver_parts(operator, distribution, |queue| plain(queue, arrange, sink, json));
            }
        }
    }

    /// Sends whole batches to a sink in process 0; `arrange` makes the sink's rows from them, and `texts` makes texts of these.
    pub(crate) fn sink_gathered<U: Send + 'static>(
        &self,
        operator: &OperatorId,
        sink: impl Sink<U> + 'static,
        arrange: impl Arrange<Vec<T>, U> + 'static,
        texts: Texts<U>,
    ) {
        self.deliver_gathered(operator, |queue| plain(queue, arrange, sink, texts));
    }

    /// Sends batches to a sink of every process, by part; `arrange` makes the sink's rows from them, and `texts` makes texts of these.
    pub(crate) fn sink_parts<U: Send + 'static>(
        &self,
        operator: &OperatorId,
        sink: impl Sink<U> + 'static,
        shards: u32,
        arrange: impl Arrange<Vec<PartRows<T>>, U> + 'static,
        texts: Texts<U>,
    ) {
        self.deliver_parts(operator, Distribution::Parts(shards), |queue| plain(queue, arrange, sink, texts));
    }

    /// Sends the rows to a transactional sink. `what`: the program's name for the call, for errors.
    pub(crate) fn sink_in_transactions(&self, operator: &OperatorId, what: &str, sink: impl TransactionalSink<T> + 'static) {
        let graph = &self.node.graph;
        let shards = sink.shards();
        if graph.config.runtime.checkpoint.is_none() {
            graph.report(operator, format!("{what} needs a checkpoint directory: add --checkpoint DIR or checkpoint(dir)"));
        }
        if let Some(source) = graph.first_non_replayable(&self.node.meta.lineage) {
            let what = format!("{what} after the source {source}, whose records cannot be read again after a crash");
            graph.report(operator, format!("{what}: use the verb without exactly once, or write the records to Kafka first"));
        }
        if let Some(problem) = wrong_shards(shards, graph.key_groups()) {
            graph.report(operator, problem);
        }
        // Rows of a key that may be in any shard are in order only if batch is written after batch.
        let lasting = self.node.orders.iter().all(|order| order.lasting());
        let max_batches = if lasting { usize::MAX } else { 1 };
        let context = context(&graph.config, graph.sink_name(&sink.name()), shards);
        let transactional = Some(TransactionalSpec { sink: context.sink.clone(), shards, max_batches });
        let orders = self.node.orders.to_vec();
        let arrange = move |_: &SinkBatch, workers| parts(&orders, workers);
        self.deliver_parts(operator, Distribution::Shards(shards), |queue| {
            let task = Box::new(TransactionalTask::new(queue, arrange, sink, context));
            NewOutput { task, transactional }
        });
    }
}

fn plain<R: Send + 'static, T: Send + 'static>(
    queue: RowQueue<R>,
    arrange: impl Arrange<R, T> + 'static,
    sink: impl Sink<T> + 'static,
    texts: Texts<T>,
) -> NewOutput {
    NewOutput { task: Box::new(SinkTask::new(queue, arrange, sink, texts)), transactional: None }
}

/// Fewer key groups than the default number of shards leave some shards empty. More shards than that would be a mistake.
fn wrong_shards(shards: u32, groups: KeyGroups) -> Option<String> {
    let most = groups.count().max(DEFAULT_SHARDS.into());
    let remedy = "max_parallelism sets their number";
    (!(1..=most).contains(&shards.into()))
        .then(|| format!("shards({shards}): there can be 1 to {most}, as there are key groups; {remedy}"))
}

/// The shards of this process: those whose worker is in it.
fn context(config: &Config, sink: String, shard_count: u32) -> SinkContext {
    let r = &config.runtime;
    let here = |s: &u32| *s as usize % config.peers() / r.workers as usize == r.process as usize;
    let run = RunId { directory: 0, generation: 0 };
    let shards = (0..shard_count).filter(here).collect();
    SinkContext { job: config.name.clone(), sink, run, shards, shard_count, stop: Arc::default() }
}
