//! The dataflows of added computations on one worker. Every worker builds and ends them in the order of the planner's commands.

use std::collections::BTreeMap;
use std::rc::Rc;

use timely::worker::Worker;

use crate::api::context::{BuiltAdded, Graph, Outbox, Port};
use crate::core::error::{Error, Result};
use crate::core::plan::RateLimits;
use crate::core::time::BatchTime;
use crate::engine::dense::Tap;
use crate::engine::flow::Flow;
use crate::job::protocol::Command;
use crate::job::ticks::ticks;
use crate::job::worker::WorkerArgs;
use crate::live::Stop;
use crate::live::build::{Taps, build};
use crate::live::parse::parse;

/// What runs beside the program.
pub(crate) struct AddedDataflows {
    /// How the views of the program, and those of added computations, are read.
    taps: Taps,
    running: BTreeMap<String, Running>,
}

struct Running {
    ports: Vec<Box<dyn Port>>,
    stop: Stop,
}

impl AddedDataflows {
    pub fn new(taps: Vec<(String, Tap)>) -> Self {
        AddedDataflows { taps: taps.into_iter().collect(), running: BTreeMap::new() }
    }

    /// Obeys a command, or passes it on.
    ///
    /// # Errors
    /// The computation cannot be built, which the planner has checked.
    pub fn obey(&mut self, worker: &mut Worker, args: &WorkerArgs, outbox: &Outbox, command: &Command) -> Result<()> {
        match command {
            Command::Add { name, text, base } => self.add(worker, args, outbox, (name, text, *base), command),
            Command::Remove { name } => {
                self.taps.remove(name);
                if let Some(running) = self.running.remove(name) {
                    running.stop.stop();
                    running.ports.iter().for_each(|port| port.command(&Command::End));
                }
                Ok(())
            }
            command => {
                self.running.values().flat_map(|running| &running.ports).for_each(|port| port.command(command));
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        worker: &mut Worker,
        args: &WorkerArgs,
        outbox: &Outbox,
        (name, text, base): (&str, &str, BatchTime),
        command: &Command,
    ) -> Result<()> {
        let fault = |reason: String| Error::bug(format!("the added computation {name}: {reason}"));
        let description = parse(text).map_err(fault)?;
        let (shared, config) = (args.shared.clone(), args.config.clone());
        let built = worker.dataflow_named::<BatchTime, _, _>(name, |scope| {
            let (stream, ticks) = ticks(scope, config.interval);
            let graph = Graph::new(
                Flow::new(scope, stream),
                config.clone(),
                false,
                args.outputs.clone(),
                outbox.clone(),
                Rc::new(move |e| shared.fail(e)),
                args.shared.stopper(),
                args.places.clone(),
            );
            let stop = build(&graph, name, &description, &self.taps, base)?;
            Ok::<_, String>((ticks, graph.finish_added(), stop))
        });
        let (ticks, BuiltAdded { mut ports, taps }, stop) = built.map_err(fault)?;
        // The batch of `base` is closed, and the next one is open.
        ports.iter().for_each(|port| port.command(command));
        ticks.command(&Command::Open { time: config.interval.after(base), live: true, limits: RateLimits::default() });
        ports.push(ticks);
        self.taps.extend(taps);
        self.running.insert(name.into(), Running { ports, stop });
        Ok(())
    }
}
