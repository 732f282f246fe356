//! The ticks: the end of each batch, as a stream. A plan and the overdue batch times after it close together.

use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::api::context::{CommandQueue, Port};
use crate::checkpoint::PlanRecord;
use crate::core::plan::Plan;
use crate::core::time::{BatchTime, Interval};
use crate::engine::flow::VecStream;
use crate::engine::tick::Tick;
use crate::job::protocol::Command;

/// The ticks: when a batch closes, every worker sends its plan. Built before everything else.
pub(crate) fn ticks<'s>(scope: Scope<'s, BatchTime>, interval: Interval) -> (VecStream<'s, Arc<Tick>>, Box<dyn Port>) {
    let mut builder = OperatorBuilder::new("ticks".into(), scope);
    let (out, stream) = builder.new_output::<Vec<Arc<Tick>>>();
    let mut out = OutputBuilder::<_, NoopBuilder<Vec<Arc<Tick>>>>::from(out);
    let queue = CommandQueue::new(scope, builder.operator_info().address);
    let port = Box::new(queue.clone());
    builder.build(move |mut caps| {
        let mut cap = caps.pop();
        move |_| {
            while let Some(command) = queue.commands.borrow_mut().pop_front() {
                match (command, cap.as_mut()) {
                    (Command::Open { time, .. }, Some(cap)) => cap.downgrade(&time),
                    (Command::Restore { time: Some(time), .. }, Some(cap)) => {
                        cap.downgrade(&time);
                        let plan = Plan { time, ..Plan::default() };
                        let tick = Arc::new(Tick { plan, restored: true, ..Tick::default() });
                        out.activate().session_with_builder(&*cap).give_container(&mut vec![tick]);
                    }
                    (Command::Close { record: PlanRecord { plan, run, fill }, snapshot, stamp }, Some(cap)) => {
                        let mut out = out.activate();
                        for (left, plan) in (0..=run).rev().zip(with_overdue(plan, run, fill, interval)) {
                            cap.downgrade(&plan.time);
                            let tick = Tick { plan, stamp, restored: false, snapshot: snapshot.filter(|_| left == 0) };
                            out.session_with_builder(&*cap).give_container(&mut vec![Arc::new(tick)]);
                        }
                        cap.downgrade(&interval.after(*cap.time()));
                    }
                    (Command::End, _) => cap = None,
                    _ => {}
                }
            }
        }
    });
    (stream, port)
}

/// The plan of a batch, then the empty ones of the overdue times after it. Without `fill` only the last is shown, and the first
/// if it has rows.
fn with_overdue(plan: Plan, run: u32, fill: bool, interval: Interval) -> impl Iterator<Item = Plan> {
    let mut next = Some(plan);
    (0..=run).map(move |i| {
        let mut plan = next.take().expect("one after the other");
        next = Some(Plan { time: interval.after(plan.time), ranges: Vec::new(), shown: plan.shown });
        plan.shown &= fill || i == run || plan.ranges.iter().any(|r| r.from < r.until);
        plan
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overdue_times_are_empty_and_only_the_last_is_shown_on_skip() {
        let i = Interval::new(std::time::Duration::from_secs(1)).unwrap();
        let plan = Plan { time: BatchTime::from_millis(1_000), ranges: Vec::new(), shown: true };
        let shown = |fill| with_overdue(plan.clone(), 2, fill, i).map(|p| (p.time.millis(), p.shown)).collect::<Vec<_>>();
        assert_eq!(shown(true), [(1_000, true), (2_000, true), (3_000, true)]);
        assert_eq!(shown(false), [(1_000, false), (2_000, false), (3_000, true)]);
    }
}
