//! The control dataflow: built first on every worker, it carries the planner's orders to all workers and their reports back.
//!
//! It has its own time, which never moves: it only transports. It ends when the worker says that it is done.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::scheduling::SyncActivator;
use timely::worker::Worker;

use crate::api::context::Outbox;
use crate::core::plan::{Order, Report};

/// The ends of the control dataflow that only the first worker of the job has.
pub(crate) struct Planning {
    pub orders: Receiver<Order>,
    pub reports: Sender<Report>,
}

/// One worker's end of the control dataflow.
pub(crate) struct Control {
    /// Orders that have arrived here.
    pub inbox: Rc<RefCell<VecDeque<Order>>>,
    /// Set when no report will follow.
    pub done: Rc<Cell<bool>>,
    /// Wakes the first worker when the planner has sent an order.
    pub wake: SyncActivator,
}

/// Builds the control dataflow on this worker. `planning` is there on the first worker only.
pub(crate) fn build(worker: &mut Worker, outbox: &Outbox, planning: Option<Planning>) -> Control {
    let peers = worker.peers() as u64;
    let inbox: Rc<RefCell<VecDeque<Order>>> = Rc::default();
    let done = Rc::new(Cell::new(false));
    let (orders, reports) = planning.map_or((None, None), |p| (Some(p.orders), Some(p.reports)));
    let (to, over, outbox) = (inbox.clone(), done.clone(), outbox.clone());
    let wake = worker.dataflow_named::<u64, _, _>("control", move |scope| {
        let mut wake = None;
        let out = source(scope, "orders out", |cap, info| {
            wake = Some(scope.worker().sync_activator_for(info.address.to_vec()));
            let mut live = orders.map(|rx| (rx, cap));
            move |output| {
                let Some((rx, cap)) = &live else { return };
                let mut last = false;
                let mut session = output.session(cap);
                while let Ok(order) = rx.try_recv() {
                    last |= matches!(order, Order::End | Order::Stop);
                    session.give_iterator((0..peers).map(|w| (w, order.clone())));
                }
                drop(session);
                if last {
                    live = None;
                }
            }
        });
        out.container::<Vec<(u64, Order)>>().sink(Exchange::new(|(w, _): &(u64, Order)| *w), "orders in", move |(input, _)| {
            input.for_each(|_, orders| to.borrow_mut().extend(orders.drain(..).map(|(_, o)| o)));
        });
        let up = source(scope, "reports out", |cap, info| {
            outbox.wake_with(scope.activator_for(info.address));
            let mut cap = Some(cap);
            move |output| {
                if let Some(cap) = &cap {
                    output.session(cap).give_iterator(outbox.take().into_iter());
                }
                if over.get() {
                    cap = None;
                }
            }
        });
        up.container::<Vec<Report>>().sink(Exchange::new(|_: &Report| 0), "reports in", move |(input, _)| {
            input.for_each(|_, batch| {
                for report in batch.drain(..) {
                    if let Some(reports) = &reports {
                        let _ = reports.send(report);
                    }
                }
            });
        });
        wake.expect("the operator was built")
    });
    Control { inbox, done, wake }
}
