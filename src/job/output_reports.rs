//! What the outputs of a process have done with the batches that are not complete.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::core::time::BatchTime;
use crate::job::protocol::OutputReport;

/// A report for each batch and output, and when the output began to write.
#[derive(Default)]
pub(crate) struct OutputReports(BTreeMap<BatchTime, BTreeMap<usize, (Instant, OutputReport)>>);

impl OutputReports {
    /// An output begins to write a batch: its first try.
    pub fn begin(&mut self, time: BatchTime, output: usize, bytes: usize) {
        let report = OutputReport { output, tries: 1, bytes: bytes as u64, ..OutputReport::default() };
        self.0.entry(time).or_default().insert(output, (Instant::now(), report));
    }

    /// A step succeeded at this try. The first try of a step is the first of the batch, or follows a step that succeeded.
    pub fn tried(&mut self, time: BatchTime, output: usize, tries: u32) {
        if let Some((_, report)) = self.of(time, output) {
            report.tries += tries - 1;
        }
    }

    /// The batch has arrived at an output, or is committed there.
    pub fn done(&mut self, time: BatchTime, output: usize) {
        if let Some((began, report)) = self.of(time, output) {
            report.time = began.elapsed();
        }
    }

    fn of(&mut self, time: BatchTime, output: usize) -> Option<&mut (Instant, OutputReport)> {
        self.0.get_mut(&time)?.get_mut(&output)
    }

    /// Takes the reports of a batch.
    pub fn take(&mut self, time: BatchTime) -> Vec<OutputReport> {
        self.0.remove(&time).into_iter().flatten().map(|(_, (_, report))| report).collect()
    }
}
