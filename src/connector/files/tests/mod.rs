//! Tests of files as sources: on a disk, and of the watch alone.

mod disk;
mod watch;
