//! Programs as users run them: the command and the dataflows, their output, and how they end.

mod bike_trips;
mod broker;
mod checkpoint;
mod child;
mod command;
mod consumer_groups;
mod custom_source;
mod demo;
mod deploy;
mod disks;
mod errors;
mod filtered_tweets;
mod golden;
mod graphs;
#[cfg(feature = "postgres")]
mod kafka_to_postgres;
#[cfg(feature = "kinesis")]
mod kinesis;
mod launch;
mod live;
mod load;
mod logs;
mod model;
mod new;
mod once;
mod page;
mod partition;
mod pipes;
mod receiver;
mod replay;
mod resumed;
#[cfg(feature = "object-store")]
mod s3;
mod shared;
mod sockets;
mod supervise;
mod tweets;
mod weblog;
mod weblog_files;
mod wordcounts;
