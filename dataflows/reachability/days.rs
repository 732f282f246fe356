//! A source of timed edges: a file of lines `FROM TO SECONDS`, of which each batch reads one day.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tidemill::connector::source::*;
use tidemill::prelude::*;

/// A row of a day: its date, or an edge.
#[derive(Clone, Debug)]
pub enum Row {
    Day(String),
    Edge(u32, u32),
}

/// The rows of each day, from the first to the last, quiet ones too.
#[derive(Clone)]
pub struct Days(Arc<Vec<Vec<Row>>>);

impl Days {
    /// Reads a file, also one that gzip has packed. Lines that begin with `#`, and a first line without numbers, are left out.
    pub fn read(path: &Path) -> tidemill::Result<Days> {
        let fault = |what: String| Error::source(path.display().to_string(), what);
        let bytes = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
        let mut text = String::new();
        if bytes.starts_with(b"\x1f\x8b") {
            flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text).map_err(|e| fault(e.to_string()))?;
        } else {
            text = String::from_utf8(bytes).map_err(|e| fault(e.to_string()))?;
        }
        let mut days = BTreeMap::<i64, Vec<Row>>::new();
        for (n, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
            match edge(line) {
                Some((from, to, seconds)) => days.entry(seconds.div_euclid(86_400)).or_default().push(Row::Edge(from, to)),
                None if n == 1 => {}
                None => return Err(fault(format!("line {n} is not FROM TO SECONDS: {line}"))),
            }
        }
        let (Some(first), Some(last)) = (days.keys().next().copied(), days.keys().next_back().copied()) else {
            return Err(fault("it has no edge".into()));
        };
        let day = |day: i64| {
            let mut rows = vec![Row::Day(date(day))];
            rows.extend(days.remove(&day).unwrap_or_default());
            rows
        };
        Ok(Days(Arc::new((first..=last).map(day).collect())))
    }

    /// The node from which the first edge leads.
    pub fn first_node(&self) -> Option<u32> {
        self.0.iter().flatten().find_map(|row| if let Row::Edge(from, _) = row { Some(*from) } else { None })
    }
}

fn edge(line: &str) -> Option<(u32, u32, i64)> {
    let mut parts = line.split_whitespace();
    let mut next = || parts.next();
    Some((next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?))
}

fn date(day: i64) -> String {
    let time = jiff::Timestamp::from_second(day * 86_400);
    time.map_or_else(|_| format!("day {day}"), |time| time.strftime("%F").to_string())
}

impl Source for Days {
    type Item = Row;

    fn name(&self) -> String {
        "days".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(Planner { days: self.0.len() as i64, planned: 0 }))
    }

    fn reader(&self, _: Waker) -> tidemill::Result<Box<dyn SourceReader<Row>>> {
        Ok(Box::new(self.clone()))
    }
}

fn split() -> Split {
    Split::custom("days", 0)
}

/// Plans a day for each batch: positions count days.
struct Planner {
    days: i64,
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
        self.planned >= self.days
    }
}

impl SourceReader<Row> for Days {
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
        for day in range.from..range.until {
            let rows = self.0.get(day as usize).ok_or_else(|| Error::source("days", format!("the file has no day {day}")))?;
            emit(split_id, rows.clone(), size_of_val(&rows[..]));
        }
        Ok(true)
    }
}
