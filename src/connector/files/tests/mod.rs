//! Tests of files as sources: on a disk, of the watch alone, and of what becomes of files that were read.

mod clean;
mod disk;
mod watch;
