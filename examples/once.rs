//! Exactly once into a database: rows and progress in one transaction. `cargo run --example once -- DIR`
//!
//! `foreach_partition` passes a batch time and a part number. If a batch runs again after a crash, they are the same. This program
//! stores them in the transaction of the rows, so it knows which batches it has written. Kill it at any moment (`kill -9`) and
//! start it again with the same DIR, as often as you like. In the end it prints `21000 rows, sum 220510500`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableTable, ReadableTableMetadata, TableDefinition};
use tidemill::prelude::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
/// The last batch of each part.
const PROGRESS: TableDefinition<u32, u64> = TableDefinition::new("progress");

/// Writes the rows of one part of a batch, unless an earlier run has written them.
fn write(db: &Database, time: BatchTime, part: u32, rows: &[String]) -> Result<(), BoxError> {
    let transaction = db.begin_write()?;
    {
        let mut progress = transaction.open_table(PROGRESS)?;
        if progress.get(part)?.is_some_and(|last| last.value() >= time.millis()) {
            return Ok(());
        }
        progress.insert(part, time.millis())?;
        let mut table = transaction.open_table(ROWS)?;
        for row in rows {
            // The key is a counter, not the row, so a row that was written twice would show.
            let next = table.len()?;
            table.insert(next, row.parse::<u64>()?)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn run(dir: PathBuf) -> tidemill::Result<(u64, u64)> {
    std::fs::create_dir_all(dir.join("in")).map_err(|e| Error::Build(e.into()))?;
    let db = Arc::new(open(&dir).map_err(Error::Build)?);
    for file in 0..21u64 {
        put(&dir, file).map_err(|e| Error::Build(e.into()))?;
    }
    let (files, shared) = (dir.join("in"), db.clone());
    let job = StreamingContext::builder("once", millis(50)).checkpoint(dir.join("checkpoint")).start(move |ssc| {
        let (init, db) = (shared.clone(), shared.clone());
        let numbers = ssc.text_file_stream_with(TextFileSource::new(&files).existing(true)).oks();
        numbers.foreach_partition(move || Ok(init.clone()), move |_, time, part, rows| write(&db, time, part, rows));
        Ok(())
    })?;
    while !job.await_termination_or_timeout(Duration::from_millis(50))? && count(&db).map_err(Error::Build)?.0 < 21_000 {}
    job.stop_gracefully()?;
    count(&db).map_err(Error::Build)
}

/// Opens the database. A new one gets its name only when it is complete.
fn open(dir: &Path) -> Result<Database, BoxError> {
    let (path, hidden) = (dir.join("rows.redb"), dir.join("rows.new"));
    if !path.exists() {
        let _ = std::fs::remove_file(&hidden);
        drop(Database::create(&hidden)?);
        std::fs::rename(&hidden, &path)?;
    }
    Ok(Database::create(path)?)
}

/// Writes a file of a thousand numbers, unless it exists.
fn put(dir: &Path, file: u64) -> std::io::Result<()> {
    let path = dir.join("in").join(format!("{file}.txt"));
    if path.exists() {
        return Ok(());
    }
    let text: String = (1..=1_000).map(|n| format!("{}\n", file * 1_000 + n)).collect();
    let hidden = dir.join(format!("{file}.tmp"));
    std::fs::write(&hidden, text)?;
    std::fs::rename(hidden, path)
}

/// The number of rows, and their sum.
fn count(db: &Database) -> Result<(u64, u64), BoxError> {
    let table = match db.begin_read()?.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((0, 0)),
        table => table?,
    };
    let (mut rows, mut sum) = (0, 0);
    for row in table.iter()? {
        rows += 1;
        sum += row?.1.value();
    }
    Ok((rows, sum))
}

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let dir = std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("tidemill-once"), PathBuf::from);
    let (rows, sum) = run(dir)?;
    println!("{rows} rows, sum {sum}");
    Ok(())
}
