//! Programs as users run them: the command, the dataflows, what their output says, and how they end.

mod broker;
mod checkpoint;
mod child;
mod command;
mod demo;
mod errors;
mod golden;
mod launch;
mod load;
mod model;
mod once;
mod pipes;
mod replay;
mod resumed;
mod sockets;
mod supervise;
mod tweets;
mod weblog;
mod wordcounts;
