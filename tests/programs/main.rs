//! Programs as users run them: the command, the dataflows, what their output says, and how they end.

mod broker;
mod checkpoint;
mod child;
mod command;
mod demo;
mod errors;
mod golden;
mod launch;
mod model;
mod once;
mod partition;
mod pipes;
mod resumed;
mod sockets;
mod supervise;
mod tweets;
mod weblog;
mod wordcounts;
