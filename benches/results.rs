//! The figures of a benchmark: Markdown for people on stdout, and lines of JSON for benches/report.py, which makes CSV and pictures.

use std::io::Write;

/// The times of several runs of one measurement.
pub struct Taken {
    /// Wall time in seconds, ascending.
    pub seconds: Vec<f64>,
    /// CPU time of all threads, in seconds, ascending.
    pub cpu: Vec<f64>,
}

impl Taken {
    /// The median of the wall time.
    pub fn median(&self) -> f64 {
        middle(&self.seconds)
    }
}

/// The median of ascending values.
pub fn middle(values: &[f64]) -> f64 {
    values[values.len() / 2]
}

/// `2.29 (2.27-2.74)`: median, minimum and maximum of ascending values.
pub fn spread(values: &[f64], digits: usize) -> String {
    let (least, most) = (values[0], values[values.len() - 1]);
    format!("{:.digits$} ({least:.digits$}-{most:.digits$})", middle(values))
}

/// Prints the head of a Markdown table.
pub fn head(columns: &[&str]) {
    println!("\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

/// Prints a row of a Markdown table.
pub fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) {
    let cells: Vec<String> = cells.into_iter().map(|cell| cell.as_ref().to_owned()).collect();
    println!("| {} |", cells.join(" | "));
}

/// Appends the values of one measurement to the file that `BENCH_RESULTS` names, if it is set. `series` is a line of the picture, and `x` the
/// place on its axis.
pub fn record(question: &str, series: &str, x: f64, metric: &str, values: &[f64]) {
    let Some(path) = std::env::var_os("BENCH_RESULTS") else { return };
    let line = serde_json::json!({ "question": question, "series": series, "x": x, "figures": { metric: values } });
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let mut file = file.unwrap_or_else(|e| panic!("BENCH_RESULTS={}: {e}", path.display()));
    writeln!(file, "{line}").expect("the file of the results");
}
