//! A source of edges in a file: each batch reads a step, which is a day, or a number of edges.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tidemill::connector::source::*;
use tidemill::prelude::*;

/// A row of a step: its name, or an edge.
#[derive(Clone, Debug)]
pub enum Row {
    Step(String),
    Edge(u32, u32),
}

/// The rows of each step, from the first to the last, quiet days too.
#[derive(Clone)]
pub struct Steps(Arc<Vec<Vec<Row>>>);

impl Steps {
    /// The days of a file of lines `FROM TO SECONDS`.
    pub fn by_day(path: &Path) -> tidemill::Result<Steps> {
        let mut days = BTreeMap::<i64, Vec<Row>>::new();
        for (from, to, seconds) in edges(path, "FROM TO SECONDS", |numbers| match *numbers {
            [from, to, seconds] => Some((from, to, seconds)),
            _ => None,
        })? {
            days.entry(seconds.div_euclid(86_400)).or_default().push(Row::Edge(from as u32, to as u32));
        }
        let (Some(first), Some(last)) = (days.keys().next().copied(), days.keys().next_back().copied()) else {
            return Err(fault(path, "it has no edge"));
        };
        let day = |day: i64| {
            let mut rows = vec![Row::Step(date(day))];
            rows.extend(days.remove(&day).unwrap_or_default());
            rows
        };
        Ok(Steps(Arc::new((first..=last).map(day).collect())))
    }

    /// Steps of `each` edges of a file of lines `FROM TO`, in the order of the lines.
    pub fn of_edges(path: &Path, each: usize) -> tidemill::Result<Steps> {
        let edges = edges(path, "FROM TO", |numbers| match *numbers {
            [from, to, ..] => Some(Row::Edge(from as u32, to as u32)),
            _ => None,
        })?;
        if edges.is_empty() {
            return Err(fault(path, "it has no edge"));
        }
        let step = |(n, edges): (usize, &[Row])| {
            let mut rows = vec![Row::Step(format!("{} edges", n * each + edges.len()))];
            rows.extend_from_slice(edges);
            rows
        };
        Ok(Steps(Arc::new(edges.chunks(each).enumerate().map(step).collect())))
    }

    /// The node from which the first edge leads.
    pub fn first_node(&self) -> Option<u32> {
        self.0.iter().flatten().find_map(|row| if let Row::Edge(from, _) = row { Some(*from) } else { None })
    }
}

fn fault(path: &Path, what: impl Into<String>) -> Error {
    Error::source(path.display().to_string(), what.into())
}

/// What `edge` makes of the numbers of each line of a file, also one that gzip has packed. Lines that begin with `#`, and a first line
/// without numbers, are left out.
fn edges<E>(path: &Path, form: &str, edge: impl Fn(&[i64]) -> Option<E>) -> tidemill::Result<Vec<E>> {
    let bytes = std::fs::read(path).map_err(|e| fault(path, e.to_string()))?;
    let mut text = String::new();
    if bytes.starts_with(b"\x1f\x8b") {
        flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text).map_err(|e| fault(path, e.to_string()))?;
    } else {
        text = String::from_utf8(bytes).map_err(|e| fault(path, e.to_string()))?;
    }
    let mut edges = Vec::new();
    for (n, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
        let numbers: Vec<i64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
        match numbers[..].iter().take(2).all(|node| u32::try_from(*node).is_ok()).then(|| edge(&numbers)).flatten() {
            Some(edge) => edges.push(edge),
            None if n == 1 => {}
            None => return Err(fault(path, format!("line {n} is not {form}: {line}"))),
        }
    }
    Ok(edges)
}

fn date(day: i64) -> String {
    let time = jiff::Timestamp::from_second(day * 86_400);
    time.map_or_else(|_| format!("day {day}"), |time| time.strftime("%F").to_string())
}

impl Source for Steps {
    type Item = Row;

    fn name(&self) -> String {
        "steps".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(Planner { steps: self.0.len() as i64, planned: 0 }))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<Row>>> {
        Ok(Box::new(self.clone()))
    }
}

fn split() -> Split {
    Split::custom("steps", 0)
}

/// Plans a step for each batch: positions count steps.
struct Planner {
    steps: i64,
    planned: i64,
}

impl SplitEnumerator for Planner {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        self.planned = read.first().map_or(0, |at| at.from);
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Ok(if self.planned == 0 { vec![SplitOffset { split: split(), from: 0 }] } else { Vec::new() })
    }

    fn plan(&mut self) -> tidemill::Result<Vec<SplitRange>> {
        if self.finished() {
            return Ok(Vec::new());
        }
        self.planned += 1;
        Ok(vec![SplitRange { split: split(), from: self.planned - 1, until: self.planned }])
    }

    fn planned(&self) -> bool {
        true
    }

    fn bounded(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        self.planned >= self.steps
    }
}

impl SourceReader<Row> for Steps {
    fn assign(&mut self, _: u32, _: &Split, _: Option<i64>) -> tidemill::Result<()> {
        Ok(())
    }

    fn read(&mut self, _: &mut Emit<'_, Row>) -> tidemill::Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, _: &mut Emit<'_, Row>) -> tidemill::Result<Sealed> {
        Ok(Sealed::default())
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Row>) -> tidemill::Result<bool> {
        for step in range.from..range.until {
            let rows = self.0.get(step as usize).ok_or_else(|| Error::source("steps", format!("the file has no step {step}")))?;
            emit(split_id, rows.clone(), size_of_val(&rows[..]));
        }
        Ok(true)
    }
}
