//! Programs as users run them: the command, and what its output says.

mod checkpoint;
mod command;
mod demo;
mod pipes;
