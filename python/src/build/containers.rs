//! The kernel of the verbs that call Python: a function of each container of rows, while its batch is open.

use std::rc::Rc;

use tidemill::core::data::{Data, Rows};
use tidemill::prelude::{BatchTime, DStream};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// The rows that `f` makes of each container. They stay in their partitions.
pub fn containers<'s, A: Data, B: Data>(
    stream: &DStream<'s, A>,
    name: &str,
    mut f: impl FnMut(BatchTime, Vec<A>) -> Vec<B> + 'static,
) -> DStream<'s, B> {
    let inner = stream.inner();
    let mut builder = OperatorBuilder::new(name.to_owned(), inner.scope());
    let mut input = builder.new_input(inner, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, made) = builder.new_output();
    let mut output = OutputBuilder::<_, NoopBuilder<Rows<B>>>::from(output);
    builder.build(move |_| {
        move |_frontiers| {
            let mut output = output.activate();
            input.for_each(|cap, container: &mut Rows<A>| {
                let container = std::mem::take(container);
                let (time, partition) = (*cap.least().expect("containers are sent at a batch time"), container.partition);
                let rows = Rc::try_unwrap(container.rows).unwrap_or_else(|shared| shared.to_vec());
                let mut made = Rows::default();
                made.partition = partition;
                made.rows = Rc::new(f(time, rows));
                if !made.rows.is_empty() {
                    output.session_with_builder(&cap).give_container(&mut made);
                }
            });
        }
    });
    stream.wrap(made)
}
