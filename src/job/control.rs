//! The control dataflow, which every worker builds first. It carries the planner's commands to all workers, and events back.
//!
//! *Invariant:* its time never advances, because it only transports. It ends when the worker sets `done`.

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
use crate::job::protocol::{Command, Event};

/// The planner's ends of the control dataflow, for worker 0.
pub(crate) struct Planning {
    pub commands: Receiver<Command>,
    pub events: Sender<Event>,
}

/// Sends commands of the planner to all workers.
#[derive(Clone)]
pub(crate) struct CommandSender {
    pub commands: Sender<Command>,
    /// Wakes worker 0.
    pub wake: SyncActivator,
}

impl CommandSender {
    /// Sends a command. Has no effect after the workers have ended.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            let _ = self.wake.activate();
        }
    }
}

/// One worker's end of the control dataflow.
pub(crate) struct Control {
    /// Commands that have arrived here.
    pub inbox: Rc<RefCell<VecDeque<Command>>>,
    /// Set when this worker sends no more events.
    pub done: Rc<Cell<bool>>,
    /// Wakes worker 0 when the planner has sent a command.
    pub wake: SyncActivator,
}

/// Builds the control dataflow on this worker. Only worker 0 has `planning`.
pub(crate) fn build(worker: &mut Worker, outbox: &Outbox, planning: Option<Planning>) -> Control {
    let peers = worker.peers() as u64;
    let inbox: Rc<RefCell<VecDeque<Command>>> = Rc::default();
    let done = Rc::new(Cell::new(false));
    let (commands, events) = planning.map_or((None, None), |p| (Some(p.commands), Some(p.events)));
    let (to, over, outbox) = (inbox.clone(), done.clone(), outbox.clone());
    let wake = worker.dataflow_named::<u64, _, _>("control", move |scope| {
        let mut wake = None;
        let out = source(scope, "commands out", |cap, info| {
            wake = Some(scope.worker().sync_activator_for(info.address.to_vec()));
            let mut live = commands.map(|rx| (rx, cap));
            move |output| {
                let Some((rx, cap)) = &live else { return };
                let mut last = false;
                let mut session = output.session(cap);
                while let Ok(command) = rx.try_recv() {
                    last |= matches!(command, Command::End | Command::Stop);
                    session.give_iterator((0..peers).map(|w| (w, command.clone())));
                }
                drop(session);
                if last {
                    live = None;
                }
            }
        });
        out.container::<Vec<(u64, Command)>>().sink(
            Exchange::new(|(w, _): &(u64, Command)| *w),
            "commands in",
            move |(input, _)| {
                input.for_each(|_, commands| to.borrow_mut().extend(commands.drain(..).map(|(_, o)| o)));
            },
        );
        let up = source(scope, "events out", |cap, info| {
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
        up.container::<Vec<Event>>().sink(Exchange::new(|_: &Event| 0), "events in", move |(input, _)| {
            input.for_each(|_, batch| {
                for event in batch.drain(..) {
                    if let Some(events) = &events {
                        let _ = events.send(event);
                    }
                }
            });
        });
        wake.expect("the operator was built")
    });
    Control { inbox, done, wake }
}
