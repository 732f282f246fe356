//! Tables and SQL for [tidemill]: a DataFrame for each batch of a stream, with Spark's verbs and Spark's SQL.
//!
//! DataFusion parses, plans and computes. This crate gives it the rows of batches, and Spark's meaning where the two differ. It is a crate of its
//! own, so a program without tables does not compile DataFusion.
//!
//! ```
//! use tidemill::prelude::*;
//! use tidemill_sql::{TableSession, ToTable};
//!
//! let session = TableSession::new();
//! let lines = QueueSource::from_batches([vec!["to be or", "not to be"]]);
//! StreamingContext::builder("sql", millis(10)).run(move |ssc| {
//!     let session = session.clone();
//!     let words = ssc.queue_stream(&lines).flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
//!     words.foreach_batch(move |batch| {
//!         println!("========= {} =========", batch.time());
//!         batch.to_table(&session)?.to_df(["word"])?.create_or_replace_temp_view("words")?;
//!         session.sql("select word, count(*) as total from words group by word order by word")?.show()?;
//!         Ok(())
//!     });
//!     Ok(())
//! })?;
//! # Ok::<(), tidemill::Error>(())
//! ```
//!
//! | | |
//! |---|---|
//! | [`TableSession`] | tables by name, and SQL over them |
//! | [`ToTable`] | a batch as a table |
//! | [`DataFrame`] | a table that a query describes, and its verbs |
//! | [`GroupedData`] | the groups of `group_by` |
//! | [`UdfRegistration`] | functions of a program that queries call |
//! | [`BatchSql`] | a query over each batch, on all workers |
//! | [`StreamTables`] | streams as tables without end, and queries over them |
//! | [`StreamingDataFrame`] | the result of such a query, its verbs, and where it goes |
//! | [`Watermark`] | how late rows of a stream may come |
//! | [`SqlError`] | why a query was not planned or run |
//!
//! `docs/guide/sql.md` is the page for users.

// In reading order, from the rows of a batch to the text of its table.
mod batch;
mod rows;
mod files;
mod parquet;
mod session;
mod dialect;
mod names;
mod overflow;
mod spark_aggregates;
mod window_names;
mod functions;
mod average;
mod udf;
mod planner;
mod data_frame;
mod grouped;
mod show;
mod table_text;
mod streaming;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod command;
mod error;

pub use batch::ToTable;
pub use data_frame::DataFrame;
pub use error::{Result, SqlError};
pub use files::read::DataFrameReader;
pub use grouped::GroupedData;
pub use session::TableSession;
pub use streaming::{
    BatchSql, DataStreamReader, DataStreamWriter, IntoOutputMode, OutputMode, SinkProgress, SourceProgress, StreamTables,
    StreamingDataFrame, StreamingGroupedData, StreamingQueries, StreamingQuery, StreamingQueryProgress, StreamingQueryStatus,
    Trigger, Watermark,
};
pub use udf::UdfRegistration;

/// Arrow, at the version of DataFusion.
pub use datafusion::arrow;

/// The pages for users: every program in them is a doc test.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/guide/sql.md")]
    mod sql {}
    // With Kafka, files of Parquet, and databases.
    #[cfg(feature = "cli")]
    #[doc = include_str!("../../docs/guide/tutorials/building-a-kafka-pipeline.md")]
    mod building_a_kafka_pipeline {}
    #[cfg(feature = "cli")]
    #[doc = include_str!("../../docs/guide/tutorials/stream-processing-and-messaging.md")]
    mod stream_processing_and_messaging {}
}
