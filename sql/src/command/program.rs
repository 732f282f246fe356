//! Statements as a job: tables are sources and sinks, and each INSERT and SELECT is a query of it.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::prelude::{BoxError, RuntimeArgs, StreamingContext};

use super::script::{Statement, Table, names};
use super::watermark_clause::watermark;
use crate::data_frame::quoted;
use crate::files::ddl;
use crate::streaming::{StreamTables, StreamingDataFrame, StreamingQueries, Trigger};
use crate::{DataFrameReader, OutputMode, TableSession};

type Result<T, E = BoxError> = std::result::Result<T, E>;

/// What was stated so far, and how jobs run.
pub(super) struct Program {
    session: TableSession,
    /// Tables and views of streams, in their order.
    stated: Vec<Statement>,
    name: String,
    interval: Duration,
    once: bool,
    runtime: RuntimeArgs,
}

/// The statements of one job.
#[derive(Clone)]
struct Job {
    session: TableSession,
    stated: Vec<Statement>,
    queries: Vec<Statement>,
    once: bool,
}

impl Program {
    pub(super) fn new(name: String, interval: Duration, once: bool, runtime: RuntimeArgs) -> Self {
        Program { session: TableSession::new(), stated: Vec::new(), name, interval, once, runtime }
    }

    /// Runs statements in order. All queries over streams are one job.
    pub(super) fn run(mut self, statements: &[Statement]) -> Result<()> {
        let mut queries = Vec::new();
        for statement in statements {
            queries.extend(self.stated(statement)?);
        }
        self.job(queries)
    }

    /// Notes a table or view, or runs what needs no stream. Returns a query over streams.
    pub(super) fn stated(&mut self, statement: &Statement) -> Result<Option<Statement>> {
        match statement {
            Statement::CreateTable(table) => match self.loaded(table)? {
                true => Ok(None),
                false => {
                    self.replace(&table.name);
                    self.stated.push(statement.clone());
                    Ok(None)
                }
            },
            Statement::CreateView { name, watermark, query } => {
                match self.session.sql(query) {
                    Ok(_) if watermark.is_some() => {
                        return Err(
                            format!("CREATE VIEW {name}: WATERMARK is for rows of a stream, and this query has none").into()
                        );
                    }
                    Ok(view) => {
                        self.replace(name);
                        view.create_or_replace_temp_view(name)?;
                    }
                    // It may name streams. If it does not, its job says what is wrong.
                    Err(_) => {
                        self.replace(name);
                        self.stated.push(statement.clone());
                    }
                }
                Ok(None)
            }
            Statement::Explain(query) => self.explain(query).map(|()| None),
            Statement::Query(query) => match self.reads_streams(query) {
                true => Ok(Some(statement.clone())),
                false => self.session.sql(query)?.show().map(|()| None).map_err(Into::into),
            },
            Statement::Insert { table, .. } => match self.table(table) {
                Some(_) => Ok(Some(statement.clone())),
                None => {
                    Err(format!("INSERT INTO {table}: the table is unknown; CREATE TABLE {table} USING .. OPTIONS (..)").into())
                }
            },
        }
    }

    /// Runs queries over streams as one job, until it ends.
    pub(super) fn job(&self, queries: Vec<Statement>) -> Result<()> {
        if queries.is_empty() {
            return Ok(());
        }
        let job = Job { session: self.session.clone(), stated: self.stated.clone(), queries, once: self.once };
        let builder = StreamingContext::builder(self.name.clone(), self.interval).runtime(self.runtime.clone());
        let queries = StreamingQueries::start(&self.session, builder, move |ssc| job.build(ssc))?;
        Ok(queries.await_termination()?)
    }

    /// Loads a table that does not stream: Parquet without the option `stream`, and any with the option `stream` = false.
    fn loaded(&self, table: &Table) -> Result<bool> {
        let mut table = table.clone();
        let (streams, reloads) = (switch(&mut table, "stream")?, reload(&mut table)?.is_some());
        if reloads && (streams == Some(true) || table.watermark.is_some()) {
            let reason = "reload is for a table that does not stream; leave out stream = 'true' and WATERMARK";
            return Err(of_table(&table, reason).into());
        }
        // A file that is read again is a part of each job.
        if reloads || streams.unwrap_or_else(|| !table.format.eq_ignore_ascii_case("parquet")) {
            return Ok(false);
        }
        if watermark(&mut table).map_err(|e| of_table(&table, &e))?.is_some() {
            return Err(of_table(&table, "WATERMARK is for a stream; leave it out, or say stream = 'true'").into());
        }
        let (reader, path) = reader(&self.session, &mut table)?;
        reader.load(path)?.create_or_replace_temp_view(&table.name)?;
        Ok(true)
    }

    fn replace(&mut self, name: &str) {
        self.session.drop_temp_view(name);
        self.stated.retain(|other| stated_name(other).is_none_or(|other| !other.eq_ignore_ascii_case(name)));
    }

    fn table(&self, name: &str) -> Option<&Table> {
        table(&self.stated, name)
    }

    fn reads_streams(&self, query: &str) -> bool {
        self.stated.iter().filter_map(stated_name).any(|name| names(query, name))
    }

    fn explain(&self, query: &str) -> Result<()> {
        let text = match self.reads_streams(query) {
            false => self.session.sql(query)?.explain()?,
            true => {
                let seen = Arc::new(Mutex::new(None));
                let job = Job { session: self.session.clone(), stated: self.stated.clone(), queries: Vec::new(), once: false };
                let (query, out) = (query.to_owned(), seen.clone());
                // The graph is only built, and its plan is kept.
                let built = StreamingContext::builder("explain", self.interval).without_checkpoint().start(move |ssc| {
                    let text = job.tables(ssc, &query).and_then(|tables| Ok(tables.sql(&query)?.explain_text()?));
                    *out.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.map_err(|e| e.to_string()));
                    Err("explained".into())
                });
                let text = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
                text.ok_or_else(|| format!("the plan was not made: {:?}", built.err()))??
            }
        };
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }
}

/// What is wrong with a table.
fn of_table(table: &Table, reason: &str) -> String {
    format!("CREATE TABLE {}: {reason}", table.name)
}

/// Takes an option out that is true or false.
fn switch(table: &mut Table, name: &str) -> Result<Option<bool>> {
    match table.take(name).as_deref().map(str::to_lowercase).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(of_table(table, &format!("option {name} is `{other}`; say true or false")).into()),
    }
}

/// What becomes of results when a file has changed.
enum Reload {
    /// They stay: a stream joins the version of its batch.
    AsOfBatch,
    /// They are corrected.
    View,
}

/// Takes the option `reload` out. `None`: the file is read once.
fn reload(table: &mut Table) -> Result<Option<Reload>> {
    match table.take("reload").as_deref().map(str::to_lowercase).as_deref() {
        None | Some("false") => Ok(None),
        Some("true") => Ok(Some(Reload::AsOfBatch)),
        Some("view") => Ok(Some(Reload::View)),
        Some(other) => Err(of_table(table, &format!("option reload is `{other}`; say true, view or false")).into()),
    }
}

/// What reads the files of a table that does not stream, and their path.
fn reader(session: &TableSession, table: &mut Table) -> Result<(DataFrameReader, String)> {
    let path = table.take("path").ok_or_else(|| of_table(table, "it needs the option path"))?;
    let mut reader = session.read().format(&table.format);
    if let Some(schema) = &table.schema {
        reader = reader.schema(schema);
    }
    Ok((table.options.iter().fold(reader, |reader, (name, value)| reader.option(name, value)), path))
}

fn stated_name(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::CreateTable(table) => Some(&table.name),
        Statement::CreateView { name, .. } => Some(name),
        _ => None,
    }
}

fn table<'t>(stated: &'t [Statement], name: &str) -> Option<&'t Table> {
    stated.iter().find_map(|statement| match statement {
        Statement::CreateTable(table) if table.name.eq_ignore_ascii_case(name) => Some(table),
        _ => None,
    })
}

impl Job {
    /// Builds the graph, on each worker.
    fn build(&self, ssc: &StreamingContext<'_>) -> Result<()> {
        let all: Vec<&str> = self.queries.iter().filter_map(query_of).collect();
        let tables = self.tables(ssc, &all.join("\n"))?;
        for statement in &self.queries {
            match statement {
                Statement::Query(query) => self.write(ssc, &tables.sql(query)?, None)?,
                Statement::Insert { table: name, query } => {
                    let sink = table(&self.stated, name).ok_or("the table of an INSERT is known")?;
                    self.write(ssc, &fitted(&tables, query, sink)?, Some(sink))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The streams and views that queries name.
    fn tables<'s>(&self, ssc: &StreamingContext<'s>, queries: &str) -> Result<StreamTables<'s>> {
        let tables = StreamTables::new(&self.session);
        // What a view names is read too.
        let views = self.stated.iter().filter_map(query_of);
        let text = views.chain([queries]).collect::<Vec<_>>().join("\n");
        for statement in &self.stated {
            match statement {
                Statement::CreateTable(table) if names(&text, &table.name) => {
                    let mut table = table.clone();
                    if let Some(reload) = reload(&mut table)? {
                        _ = table.take("stream");
                        let (reader, path) = reader(&self.session, &mut table)?;
                        match reload {
                            Reload::AsOfBatch => tables.broadcast_file(ssc, &table.name, &reader, path)?,
                            Reload::View => tables.file_view(ssc, &table.name, &reader, path)?,
                        }
                        continue;
                    }
                    let watermark = watermark(&mut table).map_err(|e| of_table(&table, &e))?;
                    ["stream", "outputMode", "queryName"].iter().for_each(|option| _ = table.take(option));
                    let mut reader = tables.read_stream(ssc).format(&table.format);
                    // Other formats have columns of their own.
                    if let Some(schema) = &table.schema {
                        reader = reader.schema(schema);
                    }
                    let reader = table.options.iter().fold(reader, |reader, (name, value)| reader.option(name, value));
                    let loaded = reader.load().and_then(|loaded| match watermark {
                        Some((column, watermark)) => loaded.with_watermark(&column, watermark),
                        None => Ok(loaded),
                    });
                    let loaded = loaded.map_err(|e| of_table(&table, &e.to_string()))?;
                    loaded.create_or_replace_temp_view(&table.name)?;
                }
                Statement::CreateView { name, watermark: None, query } => tables.create_view(name, query)?,
                Statement::CreateView { name, watermark: Some(clause), query } => {
                    let rows = tables.sql(query)?.with_watermark(&clause.column, &*clause.delay)?;
                    rows.create_or_replace_temp_view(name)?;
                }
                _ => {}
            }
        }
        Ok(tables)
    }

    /// Declares where a query writes. Without a table it prints.
    fn write(&self, ssc: &StreamingContext<'_>, frame: &StreamingDataFrame<'_>, sink: Option<&Table>) -> Result<()> {
        let mut sink = sink.cloned().unwrap_or_else(|| Table { format: "console".to_owned(), ..Table::default() });
        sink.take("stream");
        let mut writer = frame.write_stream().format(&sink.format);
        writer = match sink.take("outputMode") {
            Some(mode) => writer.output_mode(&*mode),
            None if frame.changes()? => {
                writer.output_mode(if sink.format == "kafka" { OutputMode::Update } else { OutputMode::Complete })
            }
            None => writer,
        };
        match sink.take("queryName") {
            Some(name) => writer = writer.query_name(&name),
            None if sink.format == "memory" => writer = writer.query_name(&sink.name),
            None => {}
        }
        if self.once {
            writer = writer.trigger(Trigger::AvailableNow);
        }
        let writer = sink.options.iter().fold(writer, |writer, (name, value)| writer.option(name, value));
        Ok(writer.start(ssc)?)
    }
}

fn query_of(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::CreateView { query, .. } | Statement::Insert { query, .. } | Statement::Query(query) => Some(query),
        _ => None,
    }
}

/// A query whose columns have the names and types of its table, by their order.
fn fitted<'s>(tables: &StreamTables<'s>, query: &str, sink: &Table) -> Result<StreamingDataFrame<'s>> {
    let frame = tables.sql(query)?;
    let Some(schema) = &sink.schema else { return Ok(frame) };
    let (schema, given) = (ddl::parsed(schema)?, frame.schema());
    if schema.fields().len() != given.fields().len() {
        let (has, takes) = (given.fields().len(), schema.fields().len());
        return Err(format!("INSERT INTO {}: the query has {has} columns, and the table {takes}", sink.name).into());
    }
    let pairs = given.fields().iter().zip(schema.fields());
    if pairs.clone().all(|(from, to)| from.name() == to.name() && from.data_type() == to.data_type()) {
        return Ok(frame);
    }
    let column = |(from, to): (&Arc<_>, &Arc<_>)| {
        let (from, to): (&datafusion::arrow::datatypes::Field, &datafusion::arrow::datatypes::Field) = (from, to);
        let value = match from.data_type() == to.data_type() {
            true => quoted(from.name()),
            false => format!("cast({} as {})", quoted(from.name()), ddl::type_text(to.data_type())),
        };
        format!("{value} as {}", quoted(to.name()))
    };
    let list = pairs.map(column).collect::<Vec<_>>().join(", ");
    Ok(tables.sql(&format!("select {list} from ({query}) t"))?)
}
