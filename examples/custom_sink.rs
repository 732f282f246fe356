//! A custom sink that writes exactly once. It stores the rows of a batch and the batch id in one transaction of a database.
//! `cargo run --example custom_sink -- DIR`
//!
//! Put text files into DIR/in. The program adds the words of each batch to the counts in DIR/counts.redb. Kill it at any moment
//! (`kill -9`) and start it again with the same DIR: it counts every word once. Ctrl-C stops it and prints the counts.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable, TableDefinition};
use tidemill::connector::sink::{BatchId, CommitGroup, Committed, Part, Sink, SinkBatch, SinkContext, TransactionalSink};
use tidemill::prelude::*;

const COUNTS: TableDefinition<&str, i64> = TableDefinition::new("counts");
/// The last committed batch of each shard, as JSON.
const PROGRESS: TableDefinition<u32, String> = TableDefinition::new("progress");

/// Adds counts to a table. It keeps the default of one shard, because redb allows only one writer at a time.
struct CountTable {
    path: PathBuf,
    /// `begin` opens it.
    database: Option<Database>,
    /// The rows of all `write` calls since the last commit.
    uncommitted: Vec<(String, i64)>,
}

impl Sink<(String, i64)> for CountTable {
    fn write(&mut self, _: &SinkBatch, parts: &[Part<(String, i64)>]) -> Result<(), BoxError> {
        self.uncommitted.extend(parts.iter().flat_map(|part| part.rows.iter().cloned()));
        Ok(())
    }
}

impl TransactionalSink<(String, i64)> for CountTable {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn begin(&mut self, _: &SinkContext) -> Result<Vec<Committed>, BoxError> {
        // redb locks the file. If an earlier run still has it open, this is an error. If not, that run cannot commit any more.
        let database = Database::create(&self.path)?;
        let progress = progress(&database)?;
        self.database = Some(database);
        Ok(progress.map(|batch| Committed { shard: 0, batch }).into_iter().collect())
    }

    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError> {
        let database = self.database.as_ref().ok_or("begin comes first")?;
        // A commit that returned an error may have taken effect. Then there is nothing to do.
        if progress(database)? != Some(group.last) {
            let transaction = database.begin_write()?;
            {
                let mut counts = transaction.open_table(COUNTS)?;
                for (word, n) in &self.uncommitted {
                    let sum = counts.get(&**word)?.map_or(0, |sum| sum.value()) + n;
                    counts.insert(&**word, sum)?;
                }
                transaction.open_table(PROGRESS)?.insert(0, serde_json::to_string(&group.last)?)?;
            }
            transaction.commit()?;
        }
        self.uncommitted.clear();
        Ok(())
    }
}

/// The last committed batch.
fn progress(database: &Database) -> Result<Option<BatchId>, BoxError> {
    let table = match database.begin_read()?.open_table(PROGRESS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(0)?.map(|json| serde_json::from_str(&json.value())).transpose()?)
}

fn print_counts(path: &Path) -> Result<(), BoxError> {
    for row in Database::open(path)?.begin_read()?.open_table(COUNTS)?.iter()? {
        let (word, n) = row?;
        println!("{} {}", word.value(), n.value());
    }
    Ok(())
}

fn main() -> Result<(), BoxError> {
    tidemill::logging::init();
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("tidemill-custom-sink"), PathBuf::from);
    let (input, path) = (dir.join("in"), dir.join("counts.redb"));
    std::fs::create_dir_all(&input)?;
    let to = path.clone();
    StreamingContext::builder("custom-sink", secs(1)).checkpoint(dir.join("checkpoint")).run(move |ssc| {
        let lines = ssc.text_file_stream_with(TextFileSource::new(&input).existing(true)).oks();
        let words = lines.flat_map(|line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        words.count_by_value().sink_to_exactly_once(CountTable { path: to.clone(), database: None, uncommitted: Vec::new() });
        Ok(())
    })?;
    print_counts(&path)
}
