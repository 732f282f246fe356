//! What the outputs of a process have done with the batches that are not complete.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::core::time::BatchTime;
use crate::job::protocol::OutputReport;

/// What one output does with one batch.
struct Open {
    /// When it began to write.
    began: Instant,
    /// When the batch began to wait for its commit, if the output commits.
    written: Option<Instant>,
    report: OutputReport,
}

/// What is known of each batch and output.
#[derive(Default)]
pub(crate) struct OutputReports(BTreeMap<BatchTime, BTreeMap<usize, Open>>);

impl OutputReports {
    /// An output begins to write a batch: its first try.
    pub fn begin(&mut self, time: BatchTime, output: usize, bytes: usize) {
        let report = OutputReport { output, tries: 1, bytes: bytes as u64, ..OutputReport::default() };
        self.0.entry(time).or_default().insert(output, Open { began: Instant::now(), written: None, report });
    }

    /// A step succeeded at this try. The first try of a step is the first of the batch, or follows a step that succeeded.
    pub fn tried(&mut self, time: BatchTime, output: usize, tries: u32) {
        if let Some(open) = self.of(time, output) {
            open.report.tries += tries - 1;
        }
    }

    /// The first rows that an output writes of a batch.
    pub fn shows(&mut self, time: BatchTime, output: usize, first_rows: Vec<String>) {
        if let Some(open) = self.of(time, output) {
            open.report.first_rows = first_rows;
        }
    }

    /// The rows of a batch that came to an output.
    pub fn counted(&mut self, time: BatchTime, output: usize, rows: u64) {
        if let Some(open) = self.of(time, output) {
            open.report.rows = rows;
        }
    }

    /// An output that commits has written the batch.
    pub fn written(&mut self, time: BatchTime, output: usize) {
        if let Some(open) = self.of(time, output) {
            open.written = Some(Instant::now());
        }
    }

    /// The batch has arrived at an output, or is committed there.
    pub fn done(&mut self, time: BatchTime, output: usize) {
        if let Some(open) = self.of(time, output) {
            open.report.time = open.began.elapsed();
            open.report.commit_time = open.written.map(|written| written.elapsed()).unwrap_or_default();
        }
    }

    fn of(&mut self, time: BatchTime, output: usize) -> Option<&mut Open> {
        self.0.get_mut(&time)?.get_mut(&output)
    }

    /// Takes the reports of a batch.
    pub fn take(&mut self, time: BatchTime) -> Vec<OutputReport> {
        self.0.remove(&time).into_iter().flatten().map(|(_, open)| open.report).collect()
    }
}
