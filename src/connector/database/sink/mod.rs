//! Writes rows in transactions. Invariant: the progress of an exactly-once output is in the transaction of its rows.
//!
//! After any error the connection is dropped, and the next try opens another one. So an interrupted transaction is rolled back.

mod dead_letters;

use std::collections::BTreeMap;

use super::table::Table;
use super::values::{Unfit, Value, values};
use super::{Connection, Database};
use crate::api::dstream::DStream;
use crate::connector::console::TextSink;
use crate::connector::sink::{
    BatchId, CommitGroup, Committed, Distribution, FatalError, Part, Sink, SinkBatch, SinkContext, TransactionalSink,
};
use crate::core::data::{Change, Exchange, encoded};
use crate::core::error::{BoxError, Error};
use crate::core::fault::{FaultPoint, point};
use crate::core::plan::RunId;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::replay::request::OutputTarget;

/// The last batch of each shard. `owner` is the generation that may write, and `generation` the one that wrote the batch.
const PROGRESS: &str = "CREATE TABLE IF NOT EXISTS tidemill_progress (job TEXT, sink TEXT, shard BIGINT, directory TEXT, \
     owner BIGINT, generation BIGINT, time BIGINT, plan TEXT, PRIMARY KEY (job, sink, shard))";

/// The values of a row, and how many copies of it enter the table or, below 0, leave it.
type Written = (Vec<Value>, i64);

/// How rows of a stream are written.
type Read<T> = fn(&T, &Table) -> Result<Written, Unfit>;

fn entering<T: Exchange>(row: &T, table: &Table) -> Result<Written, Unfit> {
    Ok((values(row, &table.columns)?, 1))
}

fn changed<T: Exchange>(change: &Change<T>, table: &Table) -> Result<Written, Unfit> {
    Ok((values(&change.row, &table.columns)?, change.diff))
}

/// What is to be written in one transaction.
#[derive(Default)]
struct Pending<'a> {
    /// Rows of a table without a key.
    rows: Vec<&'a [Value]>,
    /// By key: the row, and whether it is in the table afterwards. Ordered, so that transactions lock rows in the same order.
    by_key: BTreeMap<Vec<u8>, (&'a [Value], bool)>,
}

impl<'a> Pending<'a> {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.by_key.is_empty()
    }

    /// Adds the rows of a batch. A row that enters it replaces one that leaves it, in whichever order they come.
    fn add(&mut self, table: &Table, batch: &'a [Written]) {
        if !table.has_key() {
            let copies = |(row, diff): &'a Written| std::iter::repeat_n(&row[..], (*diff).max(0) as usize);
            return self.rows.extend(batch.iter().flat_map(copies));
        }
        let mut by_key = BTreeMap::new();
        for (row, diff) in batch {
            let key = encoded(&table.key_places().map(|at| &row[at]).collect::<Vec<_>>());
            match *diff > 0 {
                true => _ = by_key.insert(key, (&row[..], true)),
                false => _ = by_key.entry(key).or_insert((&row[..], false)),
            }
        }
        self.by_key.append(&mut by_key);
    }

    fn write(&self, table: &Table, connection: &mut impl Connection) -> Result<(), BoxError> {
        let of = |stay: bool| self.by_key.values().filter(move |(_, stays)| *stays == stay).map(|(row, _)| *row);
        in_statements(connection, &of(false).collect::<Vec<_>>(), |connection, rows| connection.delete(table, rows))?;
        let rows: Vec<&[Value]> = self.rows.iter().copied().chain(of(true)).collect();
        in_statements(connection, &rows, |connection, rows| match table.dead_letters {
            None => connection.insert(table, rows),
            Some(_) => dead_letters::insert(table, connection, rows),
        })
    }
}

/// Does work for rows, as many of them at once as the connection takes.
fn in_statements<C: Connection>(
    connection: &mut C,
    rows: &[&[Value]],
    work: impl Fn(&mut C, &[&[Value]]) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let mut rest = rows;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(C::at_once(rest));
        work(connection, now)?;
        rest = later;
    }
    Ok(())
}

/// A table, and the connection to it.
struct Writer<T, D: Database> {
    database: D,
    table: Table,
    read: Read<T>,
    connection: Option<D::Connection>,
}

impl<T, D: Database> Writer<T, D> {
    /// The rows of a batch as what is written.
    fn read(&self, rows: &[T]) -> Result<Vec<Written>, BoxError> {
        let read = |row| (self.read)(row, &self.table);
        let written: Result<_, Unfit> = rows.iter().map(read).collect();
        written.map_err(|e| FatalError(format!("the table {}: {e}", self.table.name)).into())
    }

    /// Works in a transaction, which is rolled back after an error.
    fn transaction<R>(&mut self, work: impl FnOnce(&Table, &mut D::Connection) -> Result<R, BoxError>) -> Result<R, BoxError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect()?,
        };
        let all = || {
            connection.run(D::Connection::BEGIN)?;
            let done = work(&self.table, &mut connection)?;
            connection.run("COMMIT")?;
            Ok(done)
        };
        let done: Result<R, BoxError> = all();
        match done {
            Ok(done) => {
                self.connection = Some(connection);
                Ok(done)
            }
            Err(e) if D::Connection::is_lasting(&e) || e.is::<FatalError>() => {
                Err(FatalError(format!("the table {}: {e}", self.table.name)).into())
            }
            Err(e) => Err(e),
        }
    }
}

/// Writes each batch in a transaction of its own, at least once.
struct AtLeastOnce<T, D: Database>(Writer<T, D>);

impl<T: Exchange, D: Database> Sink<T> for AtLeastOnce<T, D> {
    fn write(&mut self, _: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        let read: Vec<_> = parts.iter().map(|part| self.0.read(&part.rows)).collect::<Result<_, _>>()?;
        let mut pending = Pending::default();
        read.iter().for_each(|rows| pending.add(&self.0.table, rows));
        if pending.is_empty() {
            return Ok(());
        }
        self.0.transaction(|table, connection| pending.write(table, connection))
    }
}

/// Writes each batch once.
struct ExactlyOnce<T, D: Database> {
    writer: Writer<T, D>,
    name: String,
    context: Option<SinkContext>,
    /// By shard and batch: rows that are not committed. A batch may be written before an earlier one is committed, so a commit takes
    /// those of its group only.
    pending: BTreeMap<u32, BTreeMap<BatchTime, Vec<Written>>>,
}

impl<T: Exchange, D: Database> Sink<T> for ExactlyOnce<T, D> {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        // All rows are read first, so that half of a batch is never kept.
        let read: Vec<_> =
            parts.iter().map(|part| Ok((part.number, self.writer.read(&part.rows)?))).collect::<Result<_, BoxError>>()?;
        for (shard, rows) in read.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            self.pending.entry(shard).or_default().insert(batch.time(), rows);
        }
        Ok(())
    }
}

impl<T: Exchange, D: Database> TransactionalSink<T> for ExactlyOnce<T, D> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn shards(&self) -> u32 {
        self.writer.table.shards
    }

    fn begin(&mut self, context: &SinkContext) -> Result<Vec<Committed>, BoxError> {
        point(FaultPoint::SinkOpen);
        let make = |_: &Table, connection: &mut D::Connection| connection.run(PROGRESS);
        // Two processes that make the table at once may disturb each other.
        self.writer.transaction(make).or_else(|_| self.writer.transaction(make))?;
        let found = self.writer.transaction(|_, connection| {
            let take = |shard: &u32| take_over(connection, context, *shard);
            context.shards.iter().map(take).collect::<Result<Vec<_>, _>>()
        })?;
        self.context = Some(context.clone());
        Ok(found.into_iter().flatten().collect())
    }

    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError> {
        let context = self.context.as_ref().ok_or_else(|| Error::bug("a commit before the beginning"))?;
        for shard in &context.shards {
            let mut rows = Pending::default();
            let of_group = self.pending.get(shard).into_iter().flat_map(|batches| batches.range(..=group.last.time));
            of_group.for_each(|(_, batch)| rows.add(&self.writer.table, batch));
            if rows.is_empty() && !group.checkpoint {
                continue;
            }
            point(FaultPoint::SinkBegin);
            self.writer.transaction(|table, connection| {
                let found = Progress::read(connection, context, *shard)?;
                if !found.as_ref().is_some_and(|p| p.belongs_to(context.run)) {
                    let owner = found.map_or("nobody".into(), |p| format!("generation {} of {}", p.owner, p.directory));
                    return Err(FatalError(format!("{owner} writes it now, and this run is shut out")).into());
                }
                // A commit that returned an error may have taken effect. And an earlier run may have been further than this batch:
                // progress never goes back.
                if found.and_then(|p| p.batch()).is_some_and(|batch| batch.time >= group.last.time) {
                    return Ok(());
                }
                rows.write(table, connection)?;
                let set = "UPDATE tidemill_progress SET generation = $1, time = $2, plan = $3 WHERE job = $4 AND sink = $5 AND shard = $6";
                let BatchId { time, run, plan } = group.last;
                let values = [int(run.generation), int(time.millis()), Value::Text(format!("{plan:016x}"))];
                connection.execute(set, &[&values[..], &key(context, *shard)].concat())?;
                point(FaultPoint::SinkCommitBefore);
                Ok(())
            })?;
            point(FaultPoint::SinkCommitAfter);
        }
        self.pending.values_mut().for_each(|batches| batches.retain(|time, _| *time > group.last.time));
        Ok(())
    }
}

fn int(n: u64) -> Value {
    Value::Int(n as i64)
}

fn key(context: &SinkContext, shard: u32) -> [Value; 3] {
    [Value::Text(context.job.clone()), Value::Text(context.sink.clone()), int(shard.into())]
}

/// The progress of one shard.
struct Progress {
    directory: String,
    owner: i64,
    generation: i64,
    time: i64,
    plan: String,
}

impl Progress {
    /// Reads it for the rest of the transaction.
    fn read<C: Connection>(connection: &mut C, context: &SinkContext, shard: u32) -> Result<Option<Progress>, BoxError> {
        let select =
            "SELECT directory, owner, generation, time, plan FROM tidemill_progress WHERE job = $1 AND sink = $2 AND shard = $3";
        let Some(row) = connection.first(&format!("{select}{}", C::LOCK), &key(context, shard))? else { return Ok(None) };
        match <[Value; 5]>::try_from(row) {
            Ok([Value::Text(directory), Value::Int(owner), Value::Int(generation), Value::Int(time), Value::Text(plan)]) => {
                Ok(Some(Progress { directory, owner, generation, time, plan }))
            }
            other => Err(FatalError(format!("tidemill_progress has a row that no run wrote: {other:?}")).into()),
        }
    }

    fn belongs_to(&self, run: RunId) -> bool {
        (self.directory.as_str(), self.owner) == (&*directory(run), run.generation as i64)
    }

    /// The last batch; `None` before the first.
    fn batch(&self) -> Option<BatchId> {
        let directory = u128::from_str_radix(&self.directory, 16).ok()?;
        let run = RunId { directory, generation: self.generation as u64 };
        let plan = u64::from_str_radix(&self.plan, 16).ok()?;
        Some(BatchId { time: BatchTime::from_millis(self.time as u64), run, plan })
    }
}

fn directory(run: RunId) -> String {
    format!("{:032x}", run.directory)
}

/// Makes this run the owner of a shard, and returns the last batch of the shard.
fn take_over<C: Connection>(connection: &mut C, context: &SinkContext, shard: u32) -> Result<Option<Committed>, BoxError> {
    let found = Progress::read(connection, context, shard)?;
    let owner = [Value::Text(directory(context.run)), int(context.run.generation)];
    let values = [&owner[..], &key(context, shard)].concat();
    let Some(found) = found else {
        let new = "INSERT INTO tidemill_progress (directory, owner, job, sink, shard, generation, time, plan) VALUES ($1, $2, $3, $4, $5, 0, 0, '')";
        return connection.execute(new, &values).map(|()| None);
    };
    let batch = found.batch();
    let foreign = found.directory != directory(context.run);
    if !foreign && found.owner > context.run.generation as i64 {
        return Err(format!("generation {} of this job writes there already", found.owner).into());
    }
    // The engine refuses a shard that another directory has written. That directory's run stays the owner.
    if !foreign || batch.is_none() {
        let set = "UPDATE tidemill_progress SET directory = $1, owner = $2 WHERE job = $3 AND sink = $4 AND shard = $5";
        connection.execute(set, &values)?;
    }
    Ok(batch.map(|batch| Committed { shard, batch }))
}

impl<T: Exchange> DStream<'_, T> {
    /// Writes the rows to a table.
    #[track_caller]
    pub(super) fn rows_to_table(&self, operator: &OperatorId, database: impl Database, table: Table) {
        self.to_table(operator, database, table, entering, false);
    }

    fn to_table<D: Database>(&self, operator: &OperatorId, database: D, mut table: Table, read: Read<T>, deletes: bool) {
        let graph = &self.node.graph;
        if let Some(problem) = table.problem(deletes) {
            return graph.report(operator, problem);
        }
        match graph.config.output_target(&table.name) {
            OutputTarget::Own => {}
            OutputTarget::Other(name) => {
                table.dead_letters = table.dead_letters.map(|_| format!("{name}_dead_letters"));
                (table.name, table.exactly_once) = (name, false);
            }
            target => {
                let text = TextSink::new(&graph.config, target, operator, &format!("table {}", table.name));
                return self.sink_as_text(operator, text, |row| Ok(serde_json::to_string(row)?));
            }
        }
        let (checked, connects) = (table.clone(), database.clone());
        graph.before_start(move || check(&connects, &checked));
        let (name, exactly_once) = (format!("{} {}", database.word(), table.name), table.exactly_once);
        let shards = Distribution::Shards(table.shards);
        let writer = Writer { database, table, read, connection: None };
        match exactly_once {
            false => self.sink_rows(operator, AtLeastOnce(writer), shards),
            true => {
                let sink = ExactlyOnce { writer, name, context: None, pending: BTreeMap::new() };
                self.sink_in_transactions(operator, "Table::exactly_once()", sink);
            }
        }
    }
}

impl<T: Exchange> DStream<'_, Change<T>> {
    /// Writes what changed in a view to a table.
    #[track_caller]
    pub(super) fn changes_to_table(&self, operator: &OperatorId, database: impl Database, table: Table) {
        self.to_table(operator, database, table, changed, true);
    }
}

/// Checks at the start that the database answers, and that the table takes the rows.
fn check<D: Database>(database: &D, table: &Table) -> Result<(), Error> {
    let (word, name) = (database.word(), &table.name);
    let mut connection =
        database.connect().map_err(|e| Error::config(format!("the table {name}: there is no connection to {word}: {e}")))?;
    connection.check(table).map_err(|e| {
        let create = table.create(D::Connection::type_of);
        Error::config(format!("the table {name} of {word} does not take these rows: {e}; this makes one that does: {create}"))
    })?;
    let Some((dead_letters, create)) = table.create_dead_letters(D::Connection::type_of) else { return Ok(()) };
    // Two processes that make the table at once may disturb each other.
    let made = connection.run(&create).or_else(|_| connection.run(&create));
    made.map_err(|e| Error::config(format!("the table {dead_letters} of {word}, for dead letters, cannot be made: {e}")))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
